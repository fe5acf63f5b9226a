//! Identification payloads, RFC 7296 §3.5.

use crate::{Reader, WireError, Writer, iana::IdType};

/// Identification payload body (IDi and IDr alike), RFC 7296 §3.5.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |   ID Type     |                 RESERVED                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                   Identification Data                         ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
///
/// What AUTH signs is the body as it was received, reserved octets and all (RFC 7296 §2.15):
/// take it from the [`RawPayload`](super::RawPayload), not from a rewritten one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Id<'a> {
    /// How to read `data`.
    pub kind: IdType,
    /// The identity.
    pub data: &'a [u8],
}

impl<'a> Id<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`]; [`WireError::BadValue`] if an address has a wrong length.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let kind = IdType(r.u8()?);
        let _reserved: [u8; 3] = r.array()?;
        let len_is_legal = match kind {
            IdType::IPV4_ADDR => r.len() == 4,
            IdType::IPV6_ADDR => r.len() == 16,
            _ => true,
        };
        if !len_is_legal {
            let len = u64::try_from(r.len()).unwrap_or(u64::MAX);
            return Err(WireError::BadValue("ID.length", len));
        }
        Ok(Self { kind, data: r.rest() })
    }

    /// Appends the body; the exact inverse of [`Id::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.kind.0);
        w.bytes(&[0; 3]);
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
        let body = [2, 0, 0, 0, b'g', b'w', b'.', b'e'];
        let id = Id { kind: IdType::FQDN, data: b"gw.e" };
        assert_eq!(fixed(PayloadType::ID_I, &body), Payload::IdI(id));
        assert_eq!(fixed(PayloadType::ID_R, &body), Payload::IdR(id));
        prefixes_fail(PayloadType::ID_I, &body, 4);
    }

    /// CHECKLIST D05.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_eq!(
            read(PayloadType::ID_I, &[11, 1, 2, 3, 9]),
            read(PayloadType::ID_I, &[11, 0, 0, 0, 9])
        );
    }

    #[test]
    fn an_address_has_the_length_of_its_family() {
        let with = |kind: IdType, len: usize| {
            let body = [&[kind.0, 0, 0, 0], [7; 20].get(..len).unwrap()].concat();
            read(PayloadType::ID_R, &body).map(|_| ())
        };
        assert_eq!(with(IdType::IPV4_ADDR, 4), Ok(()));
        assert_eq!(with(IdType::IPV6_ADDR, 16), Ok(()));
        assert_eq!(with(IdType::KEY_ID, 0), Ok(()));
        for (kind, len) in [
            (IdType::IPV4_ADDR, 0),
            (IdType::IPV4_ADDR, 5),
            (IdType::IPV4_ADDR, 16),
            (IdType::IPV6_ADDR, 4),
            (IdType::IPV6_ADDR, 17),
        ] {
            let error = WireError::BadValue("ID.length", u64::try_from(len).unwrap());
            assert_eq!(with(kind, len), Err(error));
        }
    }

    proptest! {
        #[test]
        fn id_round_trips(kind in 6_u8.., data in prop::collection::vec(any::<u8>(), 0..300)) {
            round_trip(&Payload::IdI(Id { kind: IdType(kind), data: &data }));
            round_trip(&Payload::IdR(Id { kind: IdType(kind), data: &data }));
        }
    }
}
