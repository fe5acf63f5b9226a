//! Extensible Authentication payload, RFC 7296 §3.16.

use crate::{Reader, WireError, Writer};

/// EAP payload body: one EAP packet (RFC 3748 §4), unread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Eap<'a>(pub &'a [u8]);

impl<'a> Eap<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// None: whoever speaks EAP reads the packet.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self(r.rest()))
    }

    /// Appends the body; the exact inverse of [`Eap::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(self.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        iana::PayloadType,
        ikev2::{
            Payload,
            testing::{fixed, round_trip},
        },
    };

    #[test]
    fn a_known_body_is_read_and_written() {
        let body = [1, 7, 0, 5, 1];
        assert_eq!(fixed(PayloadType::EAP, &body), Payload::Eap(Eap(&[1, 7, 0, 5, 1])));
    }

    proptest! {
        #[test]
        fn eap_round_trips(data in prop::collection::vec(any::<u8>(), 0..300)) {
            round_trip(&Payload::Eap(Eap(&data)));
        }
    }
}
