//! Security Association Database, RFC 4301 §4.4.2: what each direction needs per packet.
//!
//! The two directions share nothing: each has its owner thread, its table and its small run-time
//! parts. The big value they are made from is [`crate::child_sa::ChildSa`].

use std::hash::Hash;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::lifetime::{Age, Amounts, Lifetime, Usage};

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
        Self { last: 0, max: if esn { u64::MAX } else { u32::MAX.into() } }
    }

    /// A counter whose next number follows `last`, for SAs taken over and for tests.
    pub fn after(last: u64, esn: bool) -> Self {
        Self { last, ..Self::new(esn) }
    }

    /// Gives out the next number.
    ///
    /// # Errors
    ///
    /// [`SequenceExhausted`] for ever once the last number is spent.
    //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
    //# the sender MUST NOT send a packet on an SA if doing so would cause the
    //# sequence number to cycle.
    pub fn spend(&mut self) -> Result<u64, SequenceExhausted> {
        if self.is_spent() {
            return Err(SequenceExhausted);
        }
        self.last = self.last.saturating_add(1);
        Ok(self.last)
    }

    /// The last number given out; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether no number is left.
    pub fn is_spent(&self) -> bool {
        self.last >= self.max
    }

    /// Whether so few numbers are left that the SA should be replaced: the last sixteenth.
    pub fn is_low(&self) -> bool {
        self.last >= self.max.saturating_sub(self.max >> 4)
    }
}

/// Use of one direction held against its limits.
///
/// Per packet it compares with the nearest limits only; the rest is looked at when one of them is
/// reached.
#[derive(Clone, Debug)]
pub struct Meter {
    usage: Usage,
    nearest: Nearest,
    age: Age,
    last_used: Option<Instant>,
    plan: Box<Plan>,
}

/// The limits that end the present age.
#[derive(Clone, Copy, Debug)]
struct Nearest {
    time: Option<Instant>,
    octets: u64,
    packets: u64,
}

#[derive(Clone, Debug)]
struct Plan {
    installed: Instant,
    lifetime: Lifetime,
}

impl Meter {
    /// A meter at zero.
    pub fn new(lifetime: Lifetime, installed: Instant) -> Self {
        let plan = Box::new(Plan { installed, lifetime });
        let nearest = plan.nearest(Age::Fresh);
        Self { usage: Usage::default(), nearest, age: Age::Fresh, last_used: None, plan }
    }

    /// The age at which the next packet finds the SA; nothing may pass at [`Age::Hard`].
    pub fn age(&mut self, now: Instant) -> Age {
        if self.nearest.reached(now, self.usage) {
            let age = self.plan.lifetime.age(self.time(now), self.usage);
            self.grow(age);
        }
        self.age
    }

    /// Makes the SA at least this old, as when its sequence numbers run out.
    pub fn grow(&mut self, age: Age) {
        self.age = self.age.max(age);
        self.nearest = self.plan.nearest(self.age);
    }

    /// Counts a packet of so many inner octets.
    pub fn count(&mut self, octets: usize, now: Instant) {
        self.usage.add(octets);
        self.last_used = Some(now);
    }

    /// The next instant at which a limit of time is reached.
    pub fn next_limit(&self) -> Option<Instant> {
        self.nearest.time
    }

    /// What has gone through.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// When the last packet went through.
    pub fn last_used(&self) -> Option<Instant> {
        self.last_used
    }

    /// Time since installation.
    pub fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.plan.installed)
    }
}

impl Nearest {
    fn reached(&self, now: Instant, usage: Usage) -> bool {
        usage.octets >= self.octets
            || usage.packets >= self.packets
            || self.time.is_some_and(|limit| now >= limit)
    }
}

impl Plan {
    /// The smaller of the limits still ahead: at a fresh age the soft and the hard ones.
    fn nearest(&self, age: Age) -> Nearest {
        let hard = self.at(self.lifetime.hard);
        match age {
            Age::Fresh => hard.min(self.at(self.lifetime.soft)),
            Age::Soft => hard,
            Age::Hard => self.at(Amounts::NONE),
        }
    }

    fn at(&self, amounts: Amounts) -> Nearest {
        Nearest {
            time: amounts.time.and_then(|time| self.installed.checked_add(time)),
            octets: amounts.octets.unwrap_or(u64::MAX),
            packets: amounts.packets.unwrap_or(u64::MAX),
        }
    }
}

impl Nearest {
    fn min(self, other: Self) -> Self {
        Self {
            time: self.time.into_iter().chain(other.time).min(),
            octets: self.octets.min(other.octets),
            packets: self.packets.min(other.packets),
        }
    }
}

/// SAs by a key: inbound by SPI (RFC 4301 §4.4.2: a unicast SA is found by its SPI alone),
/// outbound by number.
///
/// There is no way to walk it, because the order of a walk could reach the wire or the log.
#[derive(Debug)]
pub struct Table<K, T> {
    entries: HashMap<K, T>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self { entries: HashMap::new() }
    }
}

impl<K: Eq + Hash, T> Table<K, T> {
    /// Adds an entry.
    ///
    /// # Errors
    ///
    /// Gives the entry back if the key is taken: two SAs must never share an SPI (CHECKLIST I16).
    pub fn insert(&mut self, key: K, entry: T) -> Result<(), T> {
        match self.entries.entry(key) {
            Entry::Occupied(_) => Err(entry),
            Entry::Vacant(vacant) => {
                vacant.insert(entry);
                Ok(())
            }
        }
    }

    /// The entry of a key.
    pub fn get(&self, key: &K) -> Option<&T> {
        self.entries.get(key)
    }

    /// The entry of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut T> {
        self.entries.get_mut(key)
    }

    /// The entry of a key, made by `default` if there is none.
    pub fn get_or_insert_with(&mut self, key: K, default: impl FnOnce() -> T) -> &mut T {
        self.entries.entry(key).or_insert_with(default)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<T> {
        self.entries.remove(key)
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
    use adit_wire::esp::Spi;

    use super::*;

    //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
    //= type=test
    //# the sender MUST NOT send a packet on an SA if doing so would cause the
    //# sequence number to cycle.
    /// CHECKLIST S03.
    #[test]
    fn sequence_starts_at_one_and_never_wraps() {
        let mut counter = SequenceCounter::new(false);
        assert_eq!((counter.spend(), counter.spend()), (Ok(1), Ok(2)));

        let mut counter = SequenceCounter::after(u64::from(u32::MAX) - 1, false);
        assert!(counter.is_low());
        assert_eq!(counter.spend(), Ok(u32::MAX.into()));
        assert_eq!(counter.spend(), Err(SequenceExhausted));
        assert_eq!(counter.spend(), Err(SequenceExhausted));

        let mut counter = SequenceCounter::after(u32::MAX.into(), true);
        assert!(!counter.is_low());
        assert_eq!(counter.spend(), Ok(1 << 32));
        assert_eq!(SequenceCounter::after(u64::MAX, true).spend(), Err(SequenceExhausted));
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn start() -> Instant {
        Instant::now()
    }

    /// CHECKLIST S06: soft, then hard, and a hard limit of two packets lets two through.
    #[test]
    fn a_meter_ages_by_time_and_use() {
        let start = start();
        let at = |seconds| start + Duration::from_secs(seconds);
        let lifetime = Lifetime {
            soft: Amounts { time: Some(Duration::from_secs(10)), ..Amounts::NONE },
            hard: Amounts { packets: Some(2), ..Amounts::NONE },
            idle: None,
        };
        let mut meter = Meter::new(lifetime, start);
        assert_eq!(meter.next_limit(), Some(at(10)));
        assert_eq!(meter.age(at(9)), Age::Fresh);
        assert_eq!(meter.age(at(10)), Age::Soft);
        assert_eq!(meter.next_limit(), None);
        meter.count(100, at(11));
        assert_eq!(meter.age(at(11)), Age::Soft);
        meter.count(100, at(11));
        assert_eq!(meter.age(at(11)), Age::Hard);
        assert_eq!(meter.usage(), Usage { octets: 200, packets: 2 });
        assert_eq!(meter.last_used(), Some(at(11)));
    }

    #[test]
    fn a_meter_never_grows_younger() {
        let mut meter = Meter::new(Lifetime::NONE, start());
        meter.grow(Age::Soft);
        meter.grow(Age::Fresh);
        assert_eq!(meter.age(start()), Age::Soft);
    }

    /// CHECKLIST I16: a clash is refused, not overwritten.
    #[test]
    fn an_spi_has_one_owner() {
        let mut table = Table::default();
        assert_eq!(table.insert(Spi(300), 'a'), Ok(()));
        assert_eq!(table.insert(Spi(300), 'b'), Err('b'));
        assert_eq!(table.get(&Spi(300)).copied(), Some('a'));
        assert_eq!(table.remove(&Spi(300)), Some('a'));
        assert!(table.is_empty());
    }
}
