//! Vendor ID payload, RFC 7296 §3.12.

use crate::{Reader, WireError, Writer};

/// Vendor ID payload body: octets that some implementation chose for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VendorId<'a>(pub &'a [u8]);

impl<'a> VendorId<'a> {
    /// What Adit calls itself.
    pub const ADIT: VendorId<'static> = VendorId(b"adit vendor id 1");

    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// None: every octet string is a vendor ID.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self(r.rest()))
    }

    /// Appends the body; the exact inverse of [`VendorId::read`].
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
        let body = *b"adit vendor id 1";
        assert_eq!(fixed(PayloadType::VENDOR_ID, &body), Payload::VendorId(VendorId::ADIT));
    }

    proptest! {
        #[test]
        fn vendor_round_trips(data in prop::collection::vec(any::<u8>(), 0..300)) {
            round_trip(&Payload::VendorId(VendorId(&data)));
        }
    }
}
