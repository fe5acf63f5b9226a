//! Hashes that are the same in every run: for maps that nobody walks through, and whose keys no peer
//! chooses.

use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};

/// For names and identities of the configuration.
pub(crate) type FixedHash = BuildHasherDefault<DefaultHasher>;

/// For our own SPIs and numbers.
pub(crate) type SpreadHash = BuildHasherDefault<Spread>;

/// Spreads a short key over all bits of the hash.
#[derive(Debug, Default)]
pub(crate) struct Spread(u64);

/// 2^64 divided by the golden ratio: numbers that follow each other come to lie far apart.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        // Maps take what they need from both ends.
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, octets: &[u8]) {
        for part in octets.chunks(8) {
            let mut padded = [0; 8];
            for (to, from) in padded.iter_mut().zip(part) {
                *to = *from;
            }
            self.write_u64(u64::from_le_bytes(padded));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(GOLDEN);
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_usize(&mut self, number: usize) {
        // The length of an array of octets; all SPIs have the same.
        self.write_u64(u64::try_from(number).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;

    use adit_db::IkeSaId;
    use adit_wire::ikev2::IkeSpi;

    use super::*;

    /// Maps take the place from the lower bits and seven more from the upper ones.
    #[test]
    fn numbers_that_follow_each_other_are_spread() {
        let hash = SpreadHash::default();
        let hashes: Vec<u64> = (0..1_024).map(|id| hash.hash_one(IkeSaId(id))).collect();
        let lower: BTreeSet<u64> = hashes.iter().map(|hash| hash & 1_023).collect();
        let upper: BTreeSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert!(lower.len() > 600, "{} of 1024 places", lower.len());
        assert_eq!(upper.len(), 128);
    }

    #[test]
    fn every_octet_of_an_spi_counts() {
        let hash = SpreadHash::default();
        let mut hashes = BTreeSet::from([hash.hash_one(IkeSpi([0; 8]))]);
        for at in 0..8 {
            let mut spi = [0; 8];
            spi[at] = 1;
            hashes.insert(hash.hash_one(IkeSpi(spi)));
        }
        assert_eq!(hashes.len(), 9);
    }
}
