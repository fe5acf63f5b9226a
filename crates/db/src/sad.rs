//! Security Association Database, RFC 4301 §4.4.2: what each direction needs per packet.
//!
//! The two directions share nothing: each has its owner thread, its table and its small run-time
//! parts. The big value they are made from is [`crate::child_sa::ChildSa`].

use std::time::{Duration, Instant};

use adit_wire::esp::Spi;
use hashbrown::HashMap;

use crate::lifetime::{Age, Lifetime, Usage};

/// Sender's counter, RFC 4303 §3.3.3.
#[derive(Clone, Debug)]
pub struct SequenceCounter {
    /// The last number given out; 0 before the first.
    last: u64,
    max: u64,
}

/// Every sequence number has been used; the SA must send nothing more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("sequence numbers are used up")]
pub struct SequenceExhausted;

impl SequenceCounter {
    /// A counter that begins at 1 and ends before 2^32, or with ESN before 2^64.
    pub fn new(esn: bool) -> Self {
        Self {
            last: 0,
            max: if esn { u64::MAX } else { u32::MAX.into() },
        }
    }

    /// A counter whose next number follows `last`, for SAs taken over and for tests.
    pub fn after(last: u64, esn: bool) -> Self {
        Self {
            last,
            ..Self::new(esn)
        }
    }

    /// The next number.
    ///
    /// # Errors
    ///
    /// [`SequenceExhausted`] for ever once the last number is spent.
    //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
    //# the sender MUST NOT send a packet on an SA if doing so would cause the
    //# sequence number to cycle.
    pub fn next(&mut self) -> Result<u64, SequenceExhausted> {
        if self.last >= self.max {
            return Err(SequenceExhausted);
        }
        self.last = self.last.saturating_add(1);
        Ok(self.last)
    }

    /// The last number given out; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether so few numbers are left that the SA should be replaced: the last sixteenth.
    pub fn is_low(&self) -> bool {
        self.last >= self.max.saturating_sub(self.max >> 4)
    }
}

/// Use of one direction held against its limits.
#[derive(Clone, Debug)]
pub struct Meter {
    usage: Usage,
    lifetime: Lifetime,
    installed: Instant,
    /// The worst age already reported, so that each is reported once.
    reported: Age,
}

impl Meter {
    /// A meter at zero.
    pub fn new(lifetime: Lifetime, installed: Instant) -> Self {
        Self {
            usage: Usage::default(),
            lifetime,
            installed,
            reported: Age::Fresh,
        }
    }

    /// Whether the hard limit forbids one more packet.
    pub fn is_over(&self, now: Instant) -> bool {
        self.lifetime.hard.reached(self.time(now), self.usage)
    }

    /// Counts a packet of so many inner octets.
    pub fn count(&mut self, octets: usize) {
        self.usage.add(octets);
    }

    /// The age, if it is worse than any this method returned before.
    pub fn newly_reached(&mut self, now: Instant) -> Option<Age> {
        self.report(self.lifetime.age(self.time(now), self.usage))
    }

    /// Notes an age that something else than the limits brought about, as a sequence number that
    /// runs out; returns it if it is worse than any before.
    pub fn report(&mut self, age: Age) -> Option<Age> {
        if age <= self.reported {
            return None;
        }
        self.reported = age;
        Some(age)
    }

    /// The next instant at which a limit of time is reached that was not reported.
    pub fn next_limit(&self) -> Option<Instant> {
        let time = match self.reported {
            Age::Fresh => self.lifetime.soft.time.or(self.lifetime.hard.time),
            Age::Soft => self.lifetime.hard.time,
            Age::Hard => None,
        };
        self.installed.checked_add(time?)
    }

    /// What has gone through.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Time since installation.
    pub fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.installed)
    }
}

/// Inbound SAs by SPI (RFC 4301 §4.4.2: a unicast SA is found by its SPI alone).
#[derive(Debug)]
pub struct SpiTable<T> {
    entries: HashMap<Spi, T>,
}

impl<T> Default for SpiTable<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
        }
    }
}

impl<T> SpiTable<T> {
    /// Adds an entry.
    ///
    /// # Errors
    ///
    /// Gives the entry back if the SPI is taken: two SAs must never share one (CHECKLIST I16).
    pub fn insert(&mut self, spi: Spi, entry: T) -> Result<(), T> {
        match self.entries.entry(spi) {
            hashbrown::hash_map::Entry::Occupied(_) => Err(entry),
            hashbrown::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(entry);
                Ok(())
            }
        }
    }

    /// The entry of an SPI.
    pub fn get_mut(&mut self, spi: Spi) -> Option<&mut T> {
        self.entries.get_mut(&spi)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, spi: Spi) -> Option<T> {
        self.entries.remove(&spi)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifetime::Amounts;

    //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
    //= type=test
    //# the sender MUST NOT send a packet on an SA if doing so would cause the
    //# sequence number to cycle.
    /// CHECKLIST S03.
    #[test]
    fn sequence_starts_at_one_and_never_wraps() {
        let mut counter = SequenceCounter::new(false);
        assert_eq!((counter.next(), counter.next()), (Ok(1), Ok(2)));

        let mut counter = SequenceCounter::after(u64::from(u32::MAX) - 1, false);
        assert!(counter.is_low());
        assert_eq!(counter.next(), Ok(u32::MAX.into()));
        assert_eq!(counter.next(), Err(SequenceExhausted));
        assert_eq!(counter.next(), Err(SequenceExhausted));

        let mut counter = SequenceCounter::after(u32::MAX.into(), true);
        assert!(!counter.is_low());
        assert_eq!(counter.next(), Ok(1 << 32));
        assert_eq!(
            SequenceCounter::after(u64::MAX, true).next(),
            Err(SequenceExhausted)
        );
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to start from"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    /// CHECKLIST S06: soft once, then hard once.
    #[test]
    fn each_age_is_reported_once() {
        let start = start();
        let at = |seconds| start + Duration::from_secs(seconds);
        let lifetime = Lifetime {
            soft: Amounts {
                time: Some(Duration::from_secs(10)),
                ..Amounts::NONE
            },
            hard: Amounts {
                packets: Some(2),
                ..Amounts::NONE
            },
        };
        let mut meter = Meter::new(lifetime, start);
        assert_eq!(meter.next_limit(), Some(at(10)));
        assert_eq!(meter.newly_reached(at(9)), None);
        assert_eq!(meter.newly_reached(at(10)), Some(Age::Soft));
        assert_eq!(meter.newly_reached(at(11)), None);
        assert_eq!(meter.next_limit(), None);
        meter.count(100);
        assert!(!meter.is_over(at(11)));
        meter.count(100);
        assert!(meter.is_over(at(11)));
        assert_eq!(meter.newly_reached(at(11)), Some(Age::Hard));
        assert_eq!(meter.newly_reached(at(12)), None);
    }

    /// CHECKLIST I16: a clash is refused, not overwritten.
    #[test]
    fn an_spi_has_one_owner() {
        let mut table = SpiTable::default();
        assert_eq!(table.insert(Spi(300), 'a'), Ok(()));
        assert_eq!(table.insert(Spi(300), 'b'), Err('b'));
        assert_eq!(table.get_mut(Spi(300)).copied(), Some('a'));
        assert_eq!(table.remove(Spi(300)), Some('a'));
        assert!(table.is_empty());
    }
}
