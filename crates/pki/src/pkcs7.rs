//! Certificates wrapped in PKCS #7 (RFC 2315 §9), as some peers of IKEv1 send theirs (RFC 2408 §3.9).

use der::Tag;

use crate::read::{Reader, explicit};
use crate::{CHAIN_MAX, PkiError, oid};

/// The certificates of a ContentInfo with a SignedData, DER of each. Nobody has signed anything in it: it
/// is a list. What is behind the first few is left unread.
///
/// # Errors
///
/// [`PkiError::Malformed`] if it is none, or not in DER.
pub fn wrapped_certificates(octets: &[u8]) -> Result<Vec<Vec<u8>>, PkiError> {
    let mut info = Reader::new(octets, PART)?.sequence(PART)?;
    if info.take(Tag::ObjectIdentifier)? != oid::SIGNED_DATA {
        return Err(info.error());
    }
    let mut signed = Reader::new(info.take(explicit(0))?, PART)?.sequence(PART)?;
    let _version = signed.take(Tag::Integer)?;
    let _digests = signed.take(Tag::Set)?;
    let _content = signed.sequence(PART)?;
    let Some(list) = signed.take_if(explicit(0))? else { return Ok(Vec::new()) };
    let mut list = Reader::new(list, PART)?;
    let mut certificates = Vec::new();
    while !list.is_empty() && certificates.len() <= CHAIN_MAX {
        certificates.push(list.raw()?.to_vec());
    }
    Ok(certificates)
}

const PART: &str = "PKCS #7";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let value = parts.concat();
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        let header = match value.len() {
            0..128 => vec![tag, length[1]],
            128..256 => vec![tag, 0x81, length[1]],
            _ => vec![tag, 0x82, length[0], length[1]],
        };
        [header, value].concat()
    }

    fn wrapped(certificates: &[&[u8]]) -> Vec<u8> {
        let data =
            element(0x30, &[&element(0x06, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1]])]);
        let signed = [
            element(0x02, &[&[1]]),
            element(0x31, &[]),
            data,
            element(0xa0, certificates),
            element(0x31, &[]),
        ];
        let signed = element(0x30, &[&signed.concat()]);
        let kind = element(0x06, &[oid::SIGNED_DATA]);
        element(0x30, &[&kind, &element(0xa0, &[&signed])])
    }

    /// CHECKLIST T15: what `openssl crl2pkcs7 -nocrl` writes, with as many certificates as a chain has.
    #[test]
    fn the_certificates_come_out_in_their_order() {
        let certificates: Vec<Vec<u8>> =
            (0..20).map(|one| element(0x30, &[&[5, 0], &[one; 200]])).collect();
        let all: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
        for count in [0, 1, 3, 20] {
            let read = wrapped_certificates(&wrapped(&all[..count])).unwrap();
            assert_eq!(read, certificates[..count.min(CHAIN_MAX + 1)]);
        }
        let mut other = wrapped(&all[..1]);
        let place = other.windows(9).position(|part| part == oid::SIGNED_DATA).unwrap();
        other[place + 8] = 3;
        assert!(wrapped_certificates(&other).is_err());
    }

    proptest! {
        /// Nothing that a stranger sends is more than an error.
        #[test]
        fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = wrapped_certificates(&octets);
            let _ = wrapped_certificates(&wrapped(&[&octets]));
        }
    }
}
