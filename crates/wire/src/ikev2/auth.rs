//! Authentication payload, RFC 7296 §3.8.

use crate::{Reader, WireError, Writer, iana::AuthMethod};

/// Authentication payload body, RFC 7296 §3.8.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Auth Method   |                RESERVED                       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                      Authentication Data                      ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Auth<'a> {
    /// How the sender proves its identity.
    pub method: AuthMethod,
    /// The proof.
    pub data: &'a [u8],
}

impl<'a> Auth<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let method = AuthMethod(r.u8()?);
        let _reserved: [u8; 3] = r.array()?;
        Ok(Self {
            method,
            data: r.rest(),
        })
    }

    /// Appends the body; the exact inverse of [`Auth::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.method.0);
        w.bytes(&[0; 3]);
        w.bytes(self.data);
    }
}
