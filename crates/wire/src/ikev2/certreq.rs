//! Certificate Request payload, RFC 7296 §3.7.

use crate::{Reader, WireError, Writer, iana::CertEncoding};

/// Certificate Request payload body, RFC 7296 §3.7: the encoding, then the authorities unread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CertReq<'a> {
    /// Which kind of certificate is wanted.
    pub encoding: CertEncoding,
    /// For X.509: SHA-1 hashes of trusted public keys, one after the other.
    pub authorities: &'a [u8],
}

impl<'a> CertReq<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            encoding: CertEncoding(r.u8()?),
            authorities: r.rest(),
        })
    }

    /// Appends the body; the exact inverse of [`CertReq::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.encoding.0);
        w.bytes(self.authorities);
    }
}
