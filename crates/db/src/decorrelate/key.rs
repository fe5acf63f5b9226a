//! Selectors as numbers (RFC 4301 §4.4.1.1): 32 bits for IPv4, 128 for IPv6.

use std::fmt::Debug;
use std::hash::Hash;

/// A selector's value.
pub(crate) trait Key: Copy + Debug + Eq + Hash + Ord {
    /// The least value.
    const ZERO: Self;

    /// The next value; `None` behind the greatest.
    fn successor(self) -> Option<Self>;

    /// How far it lies behind `base`, zero if before it.
    fn offset(self, base: Self) -> Self;

    /// The number without its lowest `bits` bits, `usize::MAX` if it is greater.
    fn upper(self, bits: u32) -> usize;

    /// Whether the lowest `bits` bits are zero.
    fn lower_is_zero(self, bits: u32) -> bool;

    /// How many bits the number has.
    fn bits(self) -> u32;
}

macro_rules! key {
    ($kind:ty) => {
        impl Key for $kind {
            const ZERO: Self = 0;

            fn successor(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn offset(self, base: Self) -> Self {
                self.saturating_sub(base)
            }

            fn upper(self, bits: u32) -> usize {
                usize::try_from(self.checked_shr(bits).unwrap_or(0)).unwrap_or(usize::MAX)
            }

            fn lower_is_zero(self, bits: u32) -> bool {
                self.trailing_zeros() >= bits
            }

            fn bits(self) -> u32 {
                Self::BITS.saturating_sub(self.leading_zeros())
            }
        }
    };
}

key!(u32);
key!(u128);
