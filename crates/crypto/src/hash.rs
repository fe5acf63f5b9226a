//! Plain hashes: for NAT detection (RFC 7296 §2.23), to name things by short digests, and as IKEv1
//! negotiates them (RFC 2409 §4).

use aws_lc_rs::digest::{
    Algorithm, Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512,
};
use md5::Digest as _;

use crate::{Prf, Secret};

/// The hash algorithm of an ISAKMP SA (RFC 2409 §4).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Hash {
    /// MD5 (RFC 1321).
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha2_256,
    /// SHA-384.
    Sha2_384,
    /// SHA-512.
    Sha2_512,
}

impl Hash {
    /// Every algorithm, the preferred one first.
    pub const ALL: [Self; 5] =
        [Self::Sha2_384, Self::Sha2_256, Self::Sha2_512, Self::Sha1, Self::Md5];

    /// HMAC with this hash, the prf where none is negotiated (RFC 2409 §4).
    pub const fn prf(self) -> Prf {
        match self {
            Self::Md5 => Prf::HmacMd5,
            Self::Sha1 => Prf::HmacSha1,
            Self::Sha2_256 => Prf::HmacSha2_256,
            Self::Sha2_384 => Prf::HmacSha2_384,
            Self::Sha2_512 => Prf::HmacSha2_512,
        }
    }

    /// Octets of output.
    pub const fn output_len(self) -> usize {
        self.prf().output_len()
    }

    /// The hash of the concatenation of `parts`, [`Self::output_len`] octets. It may have been made
    /// of secrets, so it is treated as one.
    pub fn digest(self, parts: &[&[u8]]) -> Secret {
        let algorithm = match self {
            Self::Md5 => return Secret::from_slice(&md5(parts)),
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha2_256 => &SHA256,
            Self::Sha2_384 => &SHA384,
            Self::Sha2_512 => &SHA512,
        };
        Secret::from_slice(digest(algorithm, parts).as_ref())
    }
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut context = md5::Md5::new();
    parts.iter().for_each(|part| context.update(part));
    context.finalize().into()
}

/// SHA-1 over the concatenation of `parts`, as the NAT_DETECTION notifies carry it.
///
/// RFC 7296 §2.23 fixes SHA-1 there; nothing secret and no signature depends on it.
pub fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, parts).as_ref().try_into().expect("SHA-1 gives 20 octets")
}

/// SHA-256 over the concatenation of `parts`.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    digest(&SHA256, parts).as_ref().try_into().expect("SHA-256 gives 32 octets")
}

fn digest(algorithm: &'static Algorithm, parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4, example "abc".
    #[test]
    fn sha1_of_abc_in_any_cut() {
        let expected = [
            0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e, 0x25, 0x71, 0x78, 0x50,
            0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d,
        ];
        assert_eq!(sha1(&[b"abc"]), expected);
        assert_eq!(sha1(&[b"a", b"", b"bc"]), expected);
    }

    /// FIPS 180-4, example "abc".
    #[test]
    fn sha256_of_abc_in_any_cut() {
        let expected = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae,
            0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61,
            0xf2, 0x00, 0x15, 0xad,
        ];
        assert_eq!(sha256(&[b"abc"]), expected);
        assert_eq!(sha256(&[b"a", b"", b"bc"]), expected);
    }

    /// RFC 1321 §A.5 and FIPS 180-4: "abc" under each algorithm.
    #[test]
    fn negotiated_hashes_of_abc_in_any_cut() {
        let starts = [
            (Hash::Md5, [0x90, 0x01, 0x50, 0x98]),
            (Hash::Sha1, [0xa9, 0x99, 0x3e, 0x36]),
            (Hash::Sha2_256, [0xba, 0x78, 0x16, 0xbf]),
            (Hash::Sha2_384, [0xcb, 0x00, 0x75, 0x3f]),
            (Hash::Sha2_512, [0xdd, 0xaf, 0x35, 0xa1]),
        ];
        for (hash, start) in starts {
            let digest = hash.digest(&[b"a", b"", b"bc"]);
            assert_eq!(digest.as_bytes()[..4], start, "{hash:?}");
            assert_eq!(digest.len(), hash.output_len());
        }
    }
}
