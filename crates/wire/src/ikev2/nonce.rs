//! Nonce payload, RFC 7296 §3.9.

use crate::{Reader, WireError, Writer};

/// Nonce payload body: 16 to 256 octets, RFC 7296 §3.9.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Nonce<'a>(&'a [u8]);

impl<'a> Nonce<'a> {
    /// Shortest legal nonce in octets.
    pub const LEN_MIN: usize = 16;
    /// Longest legal nonce in octets.
    pub const LEN_MAX: usize = 256;

    /// Takes the octets of a nonce.
    ///
    /// # Errors
    ///
    /// [`WireError::BadValue`] for a length the RFC does not allow.
    pub fn new(octets: &'a [u8]) -> Result<Self, WireError> {
        match octets.len() {
            Self::LEN_MIN..=Self::LEN_MAX => Ok(Self(octets)),
            len => Err(WireError::BadValue("Nonce.length", u64::try_from(len).unwrap_or(u64::MAX))),
        }
    }

    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::BadValue`] for a length the RFC does not allow; `r` is then used up as well.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Self::new(r.rest())
    }

    /// Appends the body; the exact inverse of [`Nonce::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(self.0);
    }

    /// The nonce.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
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
            testing::{fixed, prefixes_fail, read, round_trip},
        },
    };

    //= https://www.rfc-editor.org/rfc/rfc7296#section-3.9
    //= type=test
    //# The size of the Nonce Data MUST be between 16 and 256 octets, inclusive.
    #[test]
    fn a_nonce_has_16_to_256_octets() {
        let octets = [0x5a; 257];
        assert!(matches!(
            fixed(PayloadType::NONCE, &octets[..16]),
            Payload::Nonce(nonce) if nonce.as_bytes() == &octets[..16]
        ));
        fixed(PayloadType::NONCE, &octets[..256]);
        prefixes_fail(PayloadType::NONCE, &octets, 16);
        assert_eq!(
            read(PayloadType::NONCE, &octets),
            Err(WireError::BadValue("Nonce.length", 257))
        );
    }

    proptest! {
        #[test]
        fn nonce_round_trips(octets in prop::collection::vec(any::<u8>(), 16..=256)) {
            round_trip(&Payload::Nonce(Nonce::new(&octets).unwrap()));
        }
    }
}
