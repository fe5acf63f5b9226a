//! Key Exchange payload, RFC 7296 §3.4.

use crate::{Reader, WireError, Writer, iana::KeyExchangeId};

/// Key Exchange payload body, RFC 7296 §3.4.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |   Diffie-Hellman Group Num    |           RESERVED            |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                       Key Exchange Data                       ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ke<'a> {
    /// The key exchange method.
    pub method: KeyExchangeId,
    /// Public value, encapsulation key or ciphertext; never empty.
    pub data: &'a [u8],
}

impl<'a> Ke<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`], also if there is no key exchange data.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let method = KeyExchangeId(r.u16()?);
        let _reserved = r.u16()?;
        if r.is_empty() {
            return Err(WireError::Truncated("KE.data"));
        }
        Ok(Self { method, data: r.rest() })
    }

    /// Appends the body; the exact inverse of [`Ke::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u16(self.method.0);
        w.u16(0);
        w.bytes(self.data);
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

    #[test]
    fn a_known_body_is_read_and_written() {
        let body = [0, 31, 0, 0, 1, 2, 3];
        assert_eq!(
            fixed(PayloadType::KE, &body),
            Payload::Ke(Ke { method: KeyExchangeId::CURVE25519, data: &[1, 2, 3] })
        );
        prefixes_fail(PayloadType::KE, &body, 5);
    }

    /// CHECKLIST D05.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_eq!(
            read(PayloadType::KE, &[0, 31, 0xff, 0xff, 9]),
            read(PayloadType::KE, &[0, 31, 0, 0, 9])
        );
    }

    proptest! {
        #[test]
        fn ke_round_trips(method: u16, data in prop::collection::vec(any::<u8>(), 1..1200)) {
            round_trip(&Payload::Ke(Ke { method: KeyExchangeId(method), data: &data }));
        }
    }
}
