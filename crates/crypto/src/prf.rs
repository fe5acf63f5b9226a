//! Pseudo-random functions, RFC 7296 §2.13 (prf+) and RFC 4868 (HMAC-SHA-2).

use core::fmt;

use adit_wire::iana::PrfId;
use aws_lc_rs::hmac;

use crate::Secret;

/// A negotiated pseudo-random function.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Prf {
    /// PRF_HMAC_SHA2_256.
    HmacSha2_256,
    /// PRF_HMAC_SHA2_384.
    HmacSha2_384,
    /// PRF_HMAC_SHA2_512.
    HmacSha2_512,
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
    pub const ALL: [Self; 3] = [Self::HmacSha2_384, Self::HmacSha2_256, Self::HmacSha2_512];

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
        }
    }

    /// Octets of output.
    pub const fn output_len(self) -> usize {
        match self {
            Self::HmacSha2_256 => 32,
            Self::HmacSha2_384 => 48,
            Self::HmacSha2_512 => 64,
        }
    }

    /// Preferred key length in octets, that of SK_d, SK_pi and SK_pr (RFC 7296 §2.14).
    ///
    /// Keys of other lengths work too, as for any HMAC.
    pub const fn key_len(self) -> usize {
        self.output_len()
    }

    /// prf(key, parts\[0\] | parts\[1\] | …).
    pub fn compute(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        let key = hmac::Key::new(self.algorithm(), key);
        let mut context = hmac::Context::with_key(&key);
        for part in parts {
            context.update(part);
        }
        Secret::from_slice(context.sign().as_ref())
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
        let key = hmac::Key::new(self.algorithm(), key);
        let mut octets = Vec::with_capacity(len);
        let mut previous = Secret::default();
        for counter in 1..=u8::MAX {
            let missing = len - octets.len();
            if missing == 0 {
                break;
            }
            let mut context = hmac::Context::with_key(&key);
            context.update(previous.as_bytes());
            for part in seed {
                context.update(part);
            }
            context.update(&[counter]);
            previous = Secret::from_slice(context.sign().as_ref());
            octets.extend(previous.as_bytes().iter().take(missing));
        }
        Ok(Secret::new(octets))
    }

    fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::HmacSha2_256 => hmac::HMAC_SHA256,
            Self::HmacSha2_384 => hmac::HMAC_SHA384,
            Self::HmacSha2_512 => hmac::HMAC_SHA512,
        }
    }
}

impl fmt::Display for Prf {
    /// Writes the word of swanctl's proposals, `prfsha256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha2_256 => "prfsha256",
            Self::HmacSha2_384 => "prfsha384",
            Self::HmacSha2_512 => "prfsha512",
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
