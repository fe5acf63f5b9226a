//! Identification payload, RFC 2407 §4.6.2.

use super::IsakmpError;
use crate::{
    Reader, WireError, Writer,
    iana::{doi::IdType, isakmp::NotifyType},
};

/// Identification payload body, RFC 2407 §4.6.2.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |   ID Type     |  Protocol ID  |             Port              |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                     Identification Data                       ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
///
/// What hashes cover is the body as it was received: take it from the
/// [`RawPayload`](super::RawPayload). What the data say is in [`doi`](crate::doi).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Id<'a> {
    /// How to read `data`.
    pub kind: IdType,
    /// IP protocol; 0 for all, and in phase 1.
    pub protocol: u8,
    /// Port of it; 0 for all, and in phase 1.
    pub port: u16,
    /// The identity.
    pub data: &'a [u8],
}

impl<'a> Id<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// PAYLOAD-MALFORMED if it is cut short; INVALID-ID-INFORMATION if the data cannot be an
    /// identity of their type by their length.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        let kind = IdType(r.u8()?);
        let protocol = r.u8()?;
        let port = r.u16()?;
        let data = r.rest();
        if !length_is_legal(kind, data.len()) {
            let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
            let cause = WireError::BadValue("ID.length", len);
            return Err(IsakmpError::new(NotifyType::INVALID_ID_INFORMATION, cause));
        }
        Ok(Self { kind, protocol, port, data })
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.kind.0);
        w.u8(self.protocol);
        w.u16(self.port);
        w.bytes(self.data);
    }
}

/// RFC 2407 §4.6.2.2 to §4.6.2.12.
fn length_is_legal(kind: IdType, len: usize) -> bool {
    match kind {
        IdType::IPV4_ADDR => len == 4,
        IdType::IPV4_ADDR_SUBNET | IdType::IPV4_ADDR_RANGE => len == 8,
        IdType::IPV6_ADDR => len == 16,
        IdType::IPV6_ADDR_SUBNET | IdType::IPV6_ADDR_RANGE => len == 32,
        _ => len != 0,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{
        iana::isakmp::PayloadType,
        isakmp::{
            Payload,
            testing::{fixed, notify, prefixes_fail},
        },
    };

    #[test]
    fn a_known_identity_is_read_and_written() {
        let body = [4, 17, 0x06, 0xa5, 10, 1, 0, 0, 255, 255, 0, 0];
        let expected = Id {
            kind: IdType::IPV4_ADDR_SUBNET,
            protocol: 17,
            port: 1701,
            data: &[10, 1, 0, 0, 255, 255, 0, 0],
        };
        assert_eq!(fixed(PayloadType::ID, &body), Payload::Id(expected));
        prefixes_fail(PayloadType::ID, &body, body.len());
    }

    #[test]
    fn each_type_has_its_length() {
        let lens = [(1, 4_usize), (4, 8), (5, 16), (6, 32), (7, 8), (8, 32)];
        for (kind, len) in lens {
            let body = |len: usize| {
                let mut body = vec![kind, 0, 0, 0];
                body.resize(4 + len, 1);
                body
            };
            fixed(PayloadType::ID, &body(len));
            for wrong in [0, len - 1, len + 1] {
                let refused = notify(PayloadType::ID, &body(wrong));
                assert_eq!(refused, NotifyType::INVALID_ID_INFORMATION, "{kind}: {wrong}");
            }
        }
        for kind in [2, 3, 9, 10, 11, 200] {
            fixed(PayloadType::ID, &[kind, 0, 0, 0, 1]);
            let refused = notify(PayloadType::ID, &[kind, 0, 0, 0]);
            assert_eq!(refused, NotifyType::INVALID_ID_INFORMATION);
        }
    }
}
