//! Choosing SPIs, RFC 4303 §2.1, and CPIs, RFC 3173 §3.3.

use std::num::NonZeroU32;

use adit_crypto::Rng;
use adit_wire::esp::Spi;
use adit_wire::ipcomp::Cpi;

use crate::manual::MANUAL_SPIS;

/// How many threads share the inbound SAs: the SPI says which thread has an SA, so that the kernel can
/// tell whose a packet is, and a replay window has one owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InboundThreads(NonZeroU32);

impl InboundThreads {
    /// The most that there may be.
    pub const MAX: u32 = 64;
    /// One has them all.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// So many, but at least one and at most [`Self::MAX`].
    pub fn new(count: u32) -> Self {
        Self(NonZeroU32::new(count.min(Self::MAX)).unwrap_or(NonZeroU32::MIN))
    }

    /// How many.
    pub fn count(self) -> u32 {
        self.0.get()
    }

    /// The number of the thread that has the SA of an SPI; they count from 0.
    pub fn owner(self, spi: Spi) -> u32 {
        spi.0 % self.0
    }

    /// The SPI made one of the thread of this number, modulo that of all: it is moved by less than
    /// [`Self::MAX`].
    pub fn give(self, spi: Spi, number: u32) -> Spi {
        let first = spi.0.saturating_sub(self.owner(spi));
        Spi(first.saturating_add(number % self.0))
    }
}

/// Draws an SPI that is not reserved and not in use; `None` after 64 clashes, which
/// means that nearly all of the four thousand million are taken or `is_taken` is wrong.
///
/// RFC 4303 §2.1: the values 0 to 255 are not for SAs. [`MANUAL_SPIS`] are for others, also for
/// who makes another SPI of the one drawn: see [`is_free`].
pub fn random_spi(rng: &mut dyn Rng, mut is_taken: impl FnMut(Spi) -> bool) -> Option<Spi> {
    (0..TRIES_MAX).map(|_| Spi(rng.next_u32())).find(|spi| is_free(*spi) && !is_taken(*spi))
}

/// Whether negotiations may use an SPI for packets to us.
pub fn is_free(spi: Spi) -> bool {
    spi.0 > *MANUAL_SPIS.end()
}

/// Draws a CPI that peers may agree on and that is not in use; `None` after 64 clashes, which means
/// that the 61,184 are nearly all taken: a child without compression is better than none.
pub fn random_cpi(rng: &mut dyn Rng, mut is_taken: impl FnMut(Cpi) -> bool) -> Option<Cpi> {
    let mut draw = || {
        let [high, low] = rng.array();
        Cpi(u16::from_be_bytes([high, low]))
    };
    (0..TRIES_MAX).map(|_| draw()).find(|cpi| cpi.is_negotiable() && !is_taken(*cpi))
}

/// How often a clashing SPI is drawn again.
const TRIES_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out the numbers given.
    struct Script(Vec<u32>);

    impl Rng for Script {
        fn fill(&mut self, out: &mut [u8]) {
            let next = self.0.pop().unwrap_or(1);
            out.copy_from_slice(&next.to_be_bytes()[4 - out.len()..]);
        }
    }

    /// CHECKLIST I16: 0 to 255 never, nor what is keyed by hand, and a clash is drawn again.
    #[test]
    fn reserved_and_taken_spis_are_drawn_again() {
        let mut rng = Script(vec![0xc000_0002, 0xc000_0001, 0xffff, 255, 0]);
        let spi = random_spi(&mut rng, |spi| spi.0 == 0xc000_0001);
        assert_eq!(spi, Some(Spi(0xc000_0002)));
        assert_eq!(random_spi(&mut Script(vec![]), |_| false), None);
    }

    #[test]
    fn an_spi_has_one_thread() {
        let three = InboundThreads::new(3);
        assert_eq!([300, 301, 302, 303].map(|spi| three.owner(Spi(spi))), [0, 1, 2, 0]);
        assert_eq!(three.give(Spi(302), 0), Spi(300));
        assert_eq!(three.give(Spi(303), 4), Spi(304));
        assert_eq!(InboundThreads::new(0), InboundThreads::ONE);
        assert_eq!(InboundThreads::ONE.owner(Spi(u32::MAX)), 0);
        assert_eq!(InboundThreads::new(u32::MAX).count(), InboundThreads::MAX);
    }

    #[test]
    fn reserved_private_and_taken_cpis_are_drawn_again() {
        let mut rng = Script(vec![0x1235, 0x1234, 61_440, 255]);
        assert_eq!(random_cpi(&mut rng, |cpi| cpi.0 == 0x1234), Some(Cpi(0x1235)));
        assert_eq!(random_cpi(&mut Script(vec![]), |_| false), None);
    }
}
