//! Randomness as an argument: the operating system's in production, a seed's in simulation.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

/// A source of random octets, handed down as `&mut dyn Rng` to whoever needs them.
pub trait Rng {
    /// Overwrites all of `out` with random octets.
    fn fill(&mut self, out: &mut [u8]);

    /// Whether the same run draws the same octets again.
    ///
    /// Algorithms that would otherwise draw their own randomness (ML-KEM of aws-lc-rs) take all of
    /// it from a deterministic source, so that a seeded run reproduces octet for octet.
    fn is_deterministic(&self) -> bool {
        false
    }

    /// Draws a number of 32 bits.
    fn next_u32(&mut self) -> u32 {
        let mut octets = [0; 4];
        self.fill(&mut octets);
        u32::from_be_bytes(octets)
    }

    /// Draws a number of 64 bits.
    fn next_u64(&mut self) -> u64 {
        let mut octets = [0; 8];
        self.fill(&mut octets);
        u64::from_be_bytes(octets)
    }
}

impl dyn Rng + '_ {
    /// Draws `N` octets.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.fill(&mut octets);
        octets
    }
}

/// The operating system's entropy through the generator of aws-lc-rs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    /// # Panics
    ///
    /// If the system has no entropy to give: a key made without entropy would be worse.
    fn fill(&mut self, out: &mut [u8]) {
        aws_lc_rs::rand::fill(out).expect("the operating system gives entropy");
    }
}

/// [`SystemRng`] in pieces of a useful size: what the generator does before it gives anything takes
/// longer than a nonce or a key.
///
/// Octets that wait are as secret as what becomes of them, and are erased as they are given away.
pub struct BufferedRng {
    octets: [u8; BUFFER_OCTETS],
    /// Octets already given away.
    used: usize,
}

/// Octets drawn at a time: those of a few handshakes.
const BUFFER_OCTETS: usize = 512;

impl Default for BufferedRng {
    fn default() -> Self {
        Self { octets: [0; BUFFER_OCTETS], used: BUFFER_OCTETS }
    }
}

impl Rng for BufferedRng {
    /// # Panics
    ///
    /// As [`SystemRng::fill`].
    fn fill(&mut self, out: &mut [u8]) {
        if out.len() > BUFFER_OCTETS {
            return SystemRng.fill(out);
        }
        if out.len() > BUFFER_OCTETS - self.used {
            SystemRng.fill(&mut self.octets);
            self.used = 0;
        }
        let waiting = self.octets.iter_mut().skip(self.used);
        for (to, from) in out.iter_mut().zip(waiting) {
            *to = std::mem::take(from);
        }
        self.used += out.len();
    }
}

impl core::fmt::Debug for BufferedRng {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BufferedRng").finish_non_exhaustive()
    }
}

impl Drop for BufferedRng {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

/// A ChaCha20 keystream under a seed: **for simulation and tests, never for production**.
///
/// Whoever knows the 64 bits of the seed knows every key of the run. The same seed gives the same
/// octets on every machine, however the reads are cut.
pub struct SeededRng {
    key: LessSafeKey,
    /// Number of the next block, which is the nonce.
    next_block: u64,
    block: [u8; BLOCK_OCTETS],
    /// Octets of `block` already given away.
    used: usize,
}

/// Octets of keystream made at a time.
const BLOCK_OCTETS: usize = 256;

impl SeededRng {
    /// Starts the stream of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut octets = [0; 32];
        let (head, _) = octets.split_at_mut(8);
        head.copy_from_slice(&seed.to_be_bytes());
        let key = UnboundKey::new(&CHACHA20_POLY1305, &octets).expect("the key has 32 octets");
        Self {
            key: LessSafeKey::new(key),
            next_block: 0,
            block: [0; BLOCK_OCTETS],
            used: BLOCK_OCTETS,
        }
    }

    fn refill(&mut self) {
        let mut nonce = [0; 12];
        let (_, counter) = nonce.split_at_mut(4);
        counter.copy_from_slice(&self.next_block.to_be_bytes());
        self.next_block = self.next_block.wrapping_add(1);
        self.block.zeroize();
        // Zeros encrypted are the keystream; the tag is of no use.
        let _tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut self.block,
            )
            .expect("256 octets are within the limits of the cipher");
        self.used = 0;
    }
}

impl core::fmt::Debug for SeededRng {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SeededRng").field("next_block", &self.next_block).finish_non_exhaustive()
    }
}

impl Rng for SeededRng {
    fn fill(&mut self, out: &mut [u8]) {
        for octet in out {
            if self.used == BLOCK_OCTETS {
                self.refill();
            }
            *octet = self.block.get(self.used).copied().unwrap_or_default();
            self.used += 1;
        }
    }

    fn is_deterministic(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        SeededRng::new(seed).fill(&mut out);
        out
    }

    #[test]
    fn same_seed_gives_same_octets() {
        assert_eq!(draw(7, 1_000), draw(7, 1_000));
        assert_ne!(draw(7, 32), draw(8, 32));
    }

    #[test]
    fn stream_does_not_depend_on_how_reads_are_cut() {
        let mut rng = SeededRng::new(7);
        let mut out = Vec::new();
        for len in [1, 255, 256, 257, 231] {
            let mut part = vec![0; len];
            rng.fill(&mut part);
            out.extend(part);
        }
        assert_eq!(out, draw(7, 1_000));
    }

    #[test]
    fn only_the_seeded_source_is_deterministic() {
        assert!(SeededRng::new(0).is_deterministic());
        assert!(!SystemRng.is_deterministic());
    }

    #[test]
    fn buffered_octets_are_given_once_and_erased() {
        let mut rng = BufferedRng::default();
        let mut seen = std::collections::BTreeSet::new();
        for len in [8, 32, 48, 300, 300, 513, 8, 512, 8].repeat(20) {
            let mut out = vec![0; len];
            rng.fill(&mut out);
            assert!(out.iter().any(|octet| *octet != 0));
            assert!(rng.octets.iter().take(rng.used).all(|octet| *octet == 0));
            assert!(out.chunks_exact(8).all(|part| seen.insert(part.to_vec())), "octets twice");
        }
    }

    #[test]
    fn system_source_does_not_repeat() {
        let rng: &mut dyn Rng = &mut SystemRng;
        assert_ne!(rng.array::<32>(), rng.array::<32>());
        assert_ne!(rng.next_u64(), rng.next_u64());
    }
}
