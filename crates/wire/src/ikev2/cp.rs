//! Configuration payload, RFC 7296 §3.15.

use crate::{Reader, WireError, Writer, iana::ConfigurationType};

/// Configuration payload body, RFC 7296 §3.15: its kind, then the attributes unread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cp<'a> {
    /// Question or answer.
    pub kind: ConfigurationType,
    /// The attributes.
    pub attributes: &'a [u8],
}

impl<'a> Cp<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let kind = ConfigurationType(r.u8()?);
        let _reserved: [u8; 3] = r.array()?;
        Ok(Self { kind, attributes: r.rest() })
    }

    /// Appends the body; the exact inverse of [`Cp::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.kind.0);
        w.bytes(&[0; 3]);
        w.bytes(self.attributes);
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
            testing::{fixed, prefixes_fail, round_trip},
        },
    };

    #[test]
    fn a_known_body_is_read_and_written() {
        let body = [1, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(
            fixed(PayloadType::CP, &body),
            Payload::Cp(Cp { kind: ConfigurationType::REQUEST, attributes: &[0, 1, 0, 0] })
        );
        prefixes_fail(PayloadType::CP, &body, 4);
    }

    proptest! {
        #[test]
        fn cp_round_trips(number: u8, data in prop::collection::vec(any::<u8>(), 0..300)) {
            round_trip(&Payload::Cp(Cp { kind: ConfigurationType(number), attributes: &data }));
        }
    }
}
