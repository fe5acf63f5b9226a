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
        Ok(Self {
            kind,
            data: r.rest(),
        })
    }

    /// Appends the body; the exact inverse of [`Id::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.kind.0);
        w.bytes(&[0; 3]);
        w.bytes(self.data);
    }
}
