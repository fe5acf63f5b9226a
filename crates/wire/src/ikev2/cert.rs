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
        Ok(Self { encoding: CertEncoding(r.u8()?), data: r.rest() })
    }

    /// Appends the body; the exact inverse of [`Cert::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.encoding.0);
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
            testing::{fixed, prefixes_fail, round_trip},
        },
    };

    #[test]
    fn a_known_body_is_read_and_written() {
        let body = [4, 1, 2, 3];
        assert_eq!(
            fixed(PayloadType::CERT, &body),
            Payload::Cert(Cert { encoding: CertEncoding::X509_SIGNATURE, data: &[1, 2, 3] })
        );
        prefixes_fail(PayloadType::CERT, &body, 1);
    }

    proptest! {
        #[test]
        fn cert_round_trips(number: u8, data in prop::collection::vec(any::<u8>(), 0..300)) {
            round_trip(&Payload::Cert(Cert { encoding: CertEncoding(number), data: &data }));
        }
    }
}
