//! `00 | 02 | eight or more octets that are not zero | 00 | message` (RFC 8017 §7.2).

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _, ConstantTimeGreater as _};

use super::rejection::Decoded;
use crate::{Rng, Secret};

/// What a message is shorter by than the modulus.
pub(super) const OVERHEAD_OCTETS: usize = SEPARATOR_OCTETS + 1;

/// Octets in front of the zero that ends the padding, at least.
pub(super) const SEPARATOR_OCTETS: usize = 2 + PADDING_OCTETS_MIN;

const PADDING_OCTETS_MIN: usize = 8;

/// The last place where the zero would end less padding than that.
const LAST_TOO_EARLY: u32 = 9;

/// `None` if the message is too long.
pub(super) fn encode(message: &[u8], len: usize, rng: &mut dyn Rng) -> Option<Secret> {
    let padding = len.checked_sub(message.len() + 3).filter(|len| *len >= PADDING_OCTETS_MIN)?;
    let mut encoded = Vec::with_capacity(len);
    encoded.extend([0, 2]);
    for _ in 0..padding {
        let [high, low] = rng.array();
        // 1 to 255, all as likely to one in 65,536.
        let drawn = u16::from_be_bytes([high, low]) % 255 + 1;
        encoded.extend(u8::try_from(drawn));
    }
    encoded.push(0);
    encoded.extend_from_slice(message);
    Some(Secret::new(encoded))
}

/// Takes the padding off without a branch on what it is.
pub(super) fn decode(encoded: &Secret) -> Decoded {
    let mut is_right = Choice::from(1);
    let (mut separator, mut is_found) = (0_u32, Choice::from(0));
    for (at, octet) in (0_u32..).zip(encoded.as_bytes()) {
        match at {
            0 => is_right &= octet.ct_eq(&0),
            1 => is_right &= octet.ct_eq(&2),
            _ => {
                let is_zero = octet.ct_eq(&0);
                separator.conditional_assign(&at, is_zero & !is_found);
                is_found |= is_zero;
            }
        }
    }
    // One that was not found stands at 0.
    is_right &= separator.ct_gt(&LAST_TOO_EARLY);
    Decoded { is_right, start: separator.wrapping_add(1), octets: encoded.duplicate() }
}
