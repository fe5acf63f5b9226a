//! Pseudo-random functions, RFC 7296 §2.13 (prf+), RFC 4868 (HMAC-SHA-2), RFC 2104 (HMAC-SHA-1,
//! HMAC-MD5), RFC 4434 (AES-XCBC) and RFC 4615 (AES-CMAC).

use core::fmt;

use adit_wire::iana::PrfId;
use aws_lc_rs::hmac;

use crate::Secret;
use crate::mac::{BLOCK_LEN, Mac, MacOutput, MacState};

/// A negotiated pseudo-random function.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Prf {
    /// PRF_HMAC_SHA2_256.
    HmacSha2_256,
    /// PRF_HMAC_SHA2_384.
    HmacSha2_384,
    /// PRF_HMAC_SHA2_512.
    HmacSha2_512,
    /// PRF_AES128_XCBC.
    Aes128Xcbc,
    /// PRF_AES128_CMAC.
    Aes128Cmac,
    /// PRF_HMAC_SHA1.
    HmacSha1,
    /// PRF_HMAC_MD5.
    HmacMd5,
}

/// Most blocks of output that prf+ can give: its counter is one octet (RFC 7296 §2.13).
pub const PRF_PLUS_BLOCKS_MAX: usize = 255;

/// More key material was asked of prf+ than its one-octet counter can number.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("prf+ gives at most {max_octets} octets, {wanted_octets} were wanted")]
pub struct PrfPlusTooLong {
    /// Octets that were asked for.
    pub wanted_octets: usize,
    /// Octets that this function can give.
    pub max_octets: usize,
}

impl Prf {
    /// Every function, the preferred one first.
    pub const ALL: [Self; 7] = [
        Self::HmacSha2_384,
        Self::HmacSha2_256,
        Self::HmacSha2_512,
        Self::Aes128Xcbc,
        Self::Aes128Cmac,
        Self::HmacSha1,
        Self::HmacMd5,
    ];

    /// The function with this number, if we have it.
    pub fn from_id(id: PrfId) -> Option<Self> {
        Self::ALL.into_iter().find(|prf| prf.id() == id)
    }

    /// The number IANA gave the function.
    pub const fn id(self) -> PrfId {
        match self {
            Self::HmacSha2_256 => PrfId::HMAC_SHA2_256,
            Self::HmacSha2_384 => PrfId::HMAC_SHA2_384,
            Self::HmacSha2_512 => PrfId::HMAC_SHA2_512,
            Self::Aes128Xcbc => PrfId::AES128_XCBC,
            Self::Aes128Cmac => PrfId::AES128_CMAC,
            Self::HmacSha1 => PrfId::HMAC_SHA1,
            Self::HmacMd5 => PrfId::HMAC_MD5,
        }
    }

    /// Octets of output.
    pub const fn output_len(self) -> usize {
        match self {
            Self::HmacSha2_256 => 32,
            Self::HmacSha2_384 => 48,
            Self::HmacSha2_512 => 64,
            Self::HmacSha1 => 20,
            Self::Aes128Xcbc | Self::Aes128Cmac | Self::HmacMd5 => 16,
        }
    }

    /// Preferred key length in octets, that of SK_d, SK_pi and SK_pr (RFC 7296 §2.14).
    ///
    /// Keys of other lengths work too.
    pub const fn key_len(self) -> usize {
        self.output_len()
    }

    /// Octets of each nonce that make the key of SKEYSEED; `None` for all of them.
    ///
    /// RFC 7296 §2.14: if the prf is AES-XCBC or AES-CMAC, only the first 64 bits of Ni and of Nr
    /// are used there, and whole nonces everywhere else.
    pub const fn skeyseed_nonce_len(self) -> Option<usize> {
        match self {
            Self::Aes128Xcbc | Self::Aes128Cmac => Some(8),
            Self::HmacSha2_256
            | Self::HmacSha2_384
            | Self::HmacSha2_512
            | Self::HmacSha1
            | Self::HmacMd5 => None,
        }
    }

    /// prf(key, parts\[0\] | parts\[1\] | …).
    pub fn compute(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        self.keyed(key).compute(parts.iter().copied()).to_secret()
    }

    /// The first `len` octets of prf+(key, seed), where the seed is the concatenation of `seed`.
    ///
    /// ```text
    /// prf+ (K,S) = T1 | T2 | T3 | T4 | ...
    ///   T1 = prf (K, S | 0x01)
    ///   T2 = prf (K, T1 | S | 0x02)
    /// ```
    ///
    /// # Errors
    ///
    /// [`PrfPlusTooLong`] for more than [`PRF_PLUS_BLOCKS_MAX`] outputs of the function.
    pub fn plus(self, key: &[u8], seed: &[&[u8]], len: usize) -> Result<Secret, PrfPlusTooLong> {
        let max_octets = PRF_PLUS_BLOCKS_MAX * self.output_len();
        if len > max_octets {
            return Err(PrfPlusTooLong { wanted_octets: len, max_octets });
        }
        let mac = self.keyed(key);
        let mut octets = Vec::with_capacity(len);
        let mut previous = Secret::default();
        for counter in 1..=u8::MAX {
            let missing = len - octets.len();
            if missing == 0 {
                break;
            }
            let number = [counter];
            let parts = [previous.as_bytes()].into_iter();
            let parts = parts.chain(seed.iter().copied()).chain([number.as_slice()]);
            previous = mac.compute(parts).to_secret();
            octets.extend(previous.as_bytes().iter().take(missing));
        }
        Ok(Secret::new(octets))
    }

    /// The function with its key absorbed.
    fn keyed(self, key: &[u8]) -> Keyed {
        let hmac = |algorithm| Keyed::Hmac(hmac::Key::new(algorithm, key));
        match self {
            Self::HmacSha2_256 => hmac(hmac::HMAC_SHA256),
            Self::HmacSha2_384 => hmac(hmac::HMAC_SHA384),
            Self::HmacSha2_512 => hmac(hmac::HMAC_SHA512),
            Self::HmacSha1 => hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            Self::HmacMd5 => Keyed::Other(Mac::hmac_md5(key)),
            Self::Aes128Xcbc => Keyed::Other(Mac::xcbc(&xcbc_key(key))),
            Self::Aes128Cmac => Keyed::Other(Mac::cmac(&cmac_key(key))),
        }
    }
}

/// A function for one computation, on the stack.
#[expect(clippy::large_enum_variant, reason = "a box costs more than the rest of the computation")]
enum Keyed {
    /// The library's, which takes more than a thousand octets.
    Hmac(hmac::Key),
    Other(Mac),
}

impl Keyed {
    fn compute<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> MacOutput {
        match self {
            Self::Hmac(key) => MacState::of_hmac(key).of(parts),
            Self::Other(mac) => mac.compute(parts),
        }
    }
}

/// RFC 4434 §2: a short key is filled with zeros, a long one is hashed under zeros.
fn xcbc_key(key: &[u8]) -> [u8; BLOCK_LEN] {
    if key.len() <= BLOCK_LEN {
        return filled(key);
    }
    filled(Mac::xcbc(&[0; BLOCK_LEN]).compute([key]).truncated(BLOCK_LEN))
}

/// RFC 4615 §3: a key of another length is hashed under zeros.
fn cmac_key(key: &[u8]) -> [u8; BLOCK_LEN] {
    if key.len() == BLOCK_LEN {
        return filled(key);
    }
    filled(Mac::cmac(&[0; BLOCK_LEN]).compute([key]).truncated(BLOCK_LEN))
}

fn filled(octets: &[u8]) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    block.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
    block
}

impl fmt::Display for Prf {
    /// Writes the word of swanctl's proposals, `prfsha256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha2_256 => "prfsha256",
            Self::HmacSha2_384 => "prfsha384",
            Self::HmacSha2_512 => "prfsha512",
            Self::Aes128Xcbc => "prfaesxcbc",
            Self::Aes128Cmac => "prfaescmac",
            Self::HmacSha1 => "prfsha1",
            Self::HmacMd5 => "prfmd5",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= https://www.rfc-editor.org/rfc/rfc7296#section-2.13
    //= type=test
    //# The prf+ function is not defined beyond 255 times the size of the
    //# prf function output.
    #[test]
    fn plus_refuses_more_than_255_blocks() {
        for prf in Prf::ALL {
            let max = PRF_PLUS_BLOCKS_MAX * prf.output_len();
            assert_eq!(prf.plus(b"k", &[b"s"], max).unwrap().len(), max);
            assert_eq!(
                prf.plus(b"k", &[b"s"], max + 1),
                Err(PrfPlusTooLong { wanted_octets: max + 1, max_octets: max })
            );
        }
    }

    #[test]
    fn plus_is_the_chain_of_the_rfc() {
        for prf in Prf::ALL {
            let t1 = prf.compute(b"key", &[b"seed", &[1]]);
            let t2 = prf.compute(b"key", &[t1.as_bytes(), b"seed", &[2]]);
            let t3 = prf.compute(b"key", &[t2.as_bytes(), b"seed", &[3]]);
            let chain = Secret::concat(&[t1.as_bytes(), t2.as_bytes(), t3.as_bytes()]);
            for len in [0, 1, prf.output_len(), prf.output_len() + 1, chain.len()] {
                let output = prf.plus(b"key", &[b"se", b"ed"], len).unwrap();
                assert_eq!(output.as_bytes(), &chain.as_bytes()[..len]);
            }
        }
    }

    #[test]
    fn ids_name_the_functions_back() {
        for prf in Prf::ALL {
            assert_eq!(Prf::from_id(prf.id()), Some(prf));
        }
        assert_eq!(Prf::from_id(PrfId(0)), None);
    }
}
