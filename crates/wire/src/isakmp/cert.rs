//! Certificate and Certificate Request payloads, RFC 2408 §3.9 and §3.10.

use super::IsakmpError;
use crate::{
    Reader, WireError, Writer,
    iana::isakmp::{CertEncoding, NotifyType},
};

/// Certificate payload body, RFC 2408 §3.9.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Cert Encoding |                                               |
/// +-+-+-+-+-+-+-+-+                                               |
/// ~                       Certificate Data                        ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cert<'a> {
    /// How to read `data`.
    pub encoding: CertEncoding,
    /// The certificate, never empty.
    pub data: &'a [u8],
}

/// Certificate Request payload body, RFC 2408 §3.10.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Cert. Type   |                                               |
/// +-+-+-+-+-+-+-+-+                                               |
/// ~                    Certificate Authority                      ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CertReq<'a> {
    /// What is asked for.
    pub encoding: CertEncoding,
    /// DER of the authority's name; empty for any authority.
    pub authority: &'a [u8],
}

impl<'a> Cert<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// PAYLOAD-MALFORMED if there is no encoding; INVALID-CERTIFICATE if there is nothing after it.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        let encoding = CertEncoding(r.u8()?);
        if r.is_empty() {
            let cause = WireError::Truncated("CERT.data");
            return Err(IsakmpError::new(NotifyType::INVALID_CERTIFICATE, cause));
        }
        Ok(Self { encoding, data: r.rest() })
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.encoding.0);
        w.bytes(self.data);
    }
}

impl<'a> CertReq<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// PAYLOAD-MALFORMED if it is empty.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        Ok(Self { encoding: CertEncoding(r.u8()?), authority: r.rest() })
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.encoding.0);
        w.bytes(self.authority);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        iana::isakmp::PayloadType,
        isakmp::{
            Payload,
            testing::{fixed, notify},
        },
    };

    #[test]
    fn known_bodies_are_read_and_written() {
        let encoding = CertEncoding::X509_SIGNATURE;
        let cert = Cert { encoding, data: &[0x30, 0x03] };
        assert_eq!(fixed(PayloadType::CERT, &[4, 0x30, 0x03]), Payload::Cert(cert));
        let request = CertReq { encoding, authority: &[] };
        assert_eq!(fixed(PayloadType::CERTREQ, &[4]), Payload::CertReq(request));
        fixed(PayloadType::CERTREQ, &[4, 0x30, 0x00]);
    }

    #[test]
    fn an_empty_certificate_is_none() {
        assert_eq!(notify(PayloadType::CERT, &[]), NotifyType::PAYLOAD_MALFORMED);
        assert_eq!(notify(PayloadType::CERT, &[4]), NotifyType::INVALID_CERTIFICATE);
        assert_eq!(notify(PayloadType::CERTREQ, &[]), NotifyType::PAYLOAD_MALFORMED);
    }
}
