//! What is given instead of a message where there is none (draft-irtf-cfrg-rsa-guidance §7.2), as OpenSSL
//! makes it, too: it looks like a message of random length, and is the same whenever the same ciphertext comes.

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeLess as _};

use crate::{Prf, Secret, sha256};

/// What a padding says: whether it is right, where the message begins, and the octets that it ends.
pub(super) struct Decoded {
    pub(super) is_right: Choice,
    pub(super) start: u32,
    pub(super) octets: Secret,
}

/// A message that is none.
pub(super) struct Synthetic {
    octets: Secret,
    start: u32,
}

/// The key of all that is foretold: a hash of the private exponent, as long as the modulus.
pub(super) fn key(exponent: &[u8], len: usize) -> Secret {
    let zeros = vec![0; len.saturating_sub(exponent.len())];
    Secret::from_slice(&sha256(&[&zeros, exponent]))
}

impl Synthetic {
    /// Of a ciphertext, by the key that it has; `len` octets, of which fewer than `max` are the message.
    pub(super) fn new(key: &Secret, len: usize, max: usize) -> Self {
        let octets = octets(key, b"message", len);
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        // All bits up to the highest of the bound.
        let mask = u32::MAX.checked_shr(max.leading_zeros()).unwrap_or(0);
        // The last of many candidates that is in bounds: one is, but for one time in 2^128.
        let candidates = self::octets(key, b"length", CANDIDATES_OCTETS);
        let (candidates, _) = candidates.as_bytes().as_chunks::<2>();
        let mut chosen = 0;
        for candidate in candidates {
            let candidate = u32::from(u16::from_be_bytes(*candidate)) & mask;
            chosen.conditional_assign(&candidate, candidate.ct_lt(&max));
        }
        Self { octets, start: u32::try_from(len).unwrap_or(u32::MAX).wrapping_sub(chosen) }
    }

    /// The message, if there is one.
    pub(super) fn unless(self, decoded: Decoded) -> Secret {
        let Decoded { is_right, start, octets } = decoded;
        let pairs = self.octets.as_bytes().iter().zip(octets.as_bytes());
        let either = pairs.map(|(none, one)| u8::conditional_select(none, one, is_right));
        let either = Secret::new(either.collect());
        let start = u32::conditional_select(&self.start, &start, is_right);
        let message = either.as_bytes().get(start as usize..).unwrap_or_default();
        Secret::from_slice(message)
    }
}

/// 128 candidates for a length.
const CANDIDATES_OCTETS: usize = 256;

/// `HMAC(key, number | label | bits)`, as many octets as wanted.
pub(super) fn octets(key: &Secret, label: &[u8], len: usize) -> Secret {
    let bits = u16::try_from(len * 8).unwrap_or(u16::MAX).to_be_bytes();
    let mut octets = Vec::with_capacity(len);
    for number in 0_u16.. {
        let missing = len.saturating_sub(octets.len());
        if missing == 0 {
            break;
        }
        let block =
            Prf::HmacSha2_256.compute(key.as_bytes(), &[&number.to_be_bytes(), label, &bits]);
        octets.extend(block.as_bytes().iter().take(missing));
    }
    Secret::new(octets)
}
