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
        Ok(Self {
            method,
            data: r.rest(),
        })
    }

    /// Appends the body; the exact inverse of [`Ke::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u16(self.method.0);
        w.u16(0);
        w.bytes(self.data);
    }
}
