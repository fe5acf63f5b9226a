//! What runs draw from their seeds.

use adit_crypto::{Rng, SeededRng};

/// Draws in the words of this crate.
pub(crate) trait Draw {
    /// A number from 0 to one less than `bound`.
    fn below(&mut self, bound: u64) -> u64;

    /// Whether something happens that happens so often.
    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// An index of something of this length.
    fn index(&mut self, len: usize) -> usize {
        let bound = u64::try_from(len).unwrap_or(u64::MAX);
        usize::try_from(self.below(bound)).unwrap_or(0)
    }

    /// One of several.
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.get(self.index(from.len())).expect("the index is below the count")
    }
}

impl Draw for SeededRng {
    fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }
}
