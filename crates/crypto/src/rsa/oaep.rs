//! `00 | seed, masked | (hash of the label | zeros | 01 | message), masked` (RFC 8017 §7.1).

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::rejection::Decoded;
use crate::{Rng, Secret, sha256};

/// What a message is shorter by than the modulus.
pub(super) const OVERHEAD_OCTETS: usize = 2 * HASH_OCTETS + 2;

const HASH_OCTETS: usize = 32;

/// `None` if the message is too long.
pub(super) fn encode(message: &[u8], len: usize, rng: &mut dyn Rng) -> Option<Secret> {
    let zeros = len.checked_sub(message.len() + OVERHEAD_OCTETS)?;
    let block = Secret::concat(&[&sha256(&[]), &vec![0; zeros], &[1], message]);
    let seed = Secret::random(HASH_OCTETS, rng);
    let block = masked(&block, &seed);
    let seed = masked(&seed, &block);
    Some(Secret::concat(&[&[0], seed.as_bytes(), block.as_bytes()]))
}

/// Takes the padding off without a branch on what it is.
pub(super) fn decode(encoded: &Secret) -> Decoded {
    let (first, rest) = encoded.as_bytes().split_at_checked(1).unwrap_or_default();
    let (seed, block) = rest.split_at_checked(HASH_OCTETS).unwrap_or_default();
    let block = Secret::from_slice(block);
    let seed = masked(&Secret::from_slice(seed), &block);
    let block = masked(&block, &seed);
    let (hash, rest) = block.as_bytes().split_at_checked(HASH_OCTETS).unwrap_or_default();
    let mut is_right = first.ct_eq(&[0]) & hash.ct_eq(&sha256(&[]));
    let (mut start, mut is_found) = (0_u32, Choice::from(0));
    for (at, octet) in (0_u32..).zip(rest) {
        let is_one = octet.ct_eq(&1);
        start.conditional_assign(&at.wrapping_add(1), is_one & !is_found);
        is_right &= is_found | is_one | octet.ct_eq(&0);
        is_found |= is_one;
    }
    is_right &= is_found;
    // As long as what is given instead: the masks stand in front of the message.
    let octets = Secret::concat(&[first, seed.as_bytes(), block.as_bytes()]);
    Decoded { is_right, start: start.wrapping_add(BEFORE_OCTETS), octets }
}

/// What stands in front of the zeros.
const BEFORE_OCTETS: u32 = 1 + 2 * 32;

/// `octets xor MGF1(seed)` with SHA-256 (RFC 8017 B.2.1).
fn masked(octets: &Secret, seed: &Secret) -> Secret {
    let mask = (0_u32..).flat_map(|number| sha256(&[seed.as_bytes(), &number.to_be_bytes()]));
    Secret::new(octets.as_bytes().iter().zip(mask).map(|(octet, mask)| octet ^ mask).collect())
}
