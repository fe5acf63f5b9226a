//! Certificate payload, RFC 7296 §3.6.

use crate::{Reader, WireError, Writer, iana::CertEncoding};

/// Certificate payload body, RFC 7296 §3.6: the encoding, then the certificate unread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cert<'a> {
    /// How to read `data`.
    pub encoding: CertEncoding,
    /// The certificate, its list, its address or its status.
    pub data: &'a [u8],
}

impl<'a> Cert<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            encoding: CertEncoding(r.u8()?),
            data: r.rest(),
        })
    }

    /// Appends the body; the exact inverse of [`Cert::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.encoding.0);
        w.bytes(self.data);
    }
}
