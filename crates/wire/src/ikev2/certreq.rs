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
        Ok(Self { encoding: CertEncoding(r.u8()?), authorities: r.rest() })
    }

    /// Appends the body; the exact inverse of [`CertReq::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.encoding.0);
        w.bytes(self.authorities);
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
            testing::{fixed, prefixes_fail, round_trip},
        },
    };

    #[test]
    fn a_known_body_is_read_and_written() {
        let body = [4, 1, 2, 3];
        assert_eq!(
            fixed(PayloadType::CERTREQ, &body),
            Payload::CertReq(CertReq {
                encoding: CertEncoding::X509_SIGNATURE,
                authorities: &[1, 2, 3]
            })
        );
        prefixes_fail(PayloadType::CERTREQ, &body, 1);
    }

    proptest! {
        #[test]
        fn certreq_round_trips(number: u8, data in prop::collection::vec(any::<u8>(), 0..300)) {
            round_trip(&Payload::CertReq(CertReq { encoding: CertEncoding(number), authorities: &data }));
        }
    }
}
