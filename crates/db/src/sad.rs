//! Security Association Database, RFC 4301 §4.4.2: what each direction needs per packet.
//!
//! The two directions share nothing: each has its table and its small run-time parts. An inbound SA
//! has one owner thread; where several threads send on an outbound SA, each has a part of its own, and
//! they share the numbers that nobody has taken yet and the sum of what has passed. The big value all
//! are made from is [`crate::child_sa::ChildSa`].

mod sequence;

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use self::atomic::{AtomicU64, Ordering};
pub use self::sequence::{BLOCK_MAX, SPREAD_MAX, SequenceCounter, SequenceExhausted};
use crate::lifetime::{Age, Amounts, Lifetime, Usage};

/// What threads share with each other; tests put a model of it in its place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// Use of one direction held against its limits.
///
/// Per packet it compares with the nearest limits only; the rest is looked at when one of them is
/// reached.
#[derive(Debug)]
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

#[derive(Debug)]
struct Plan {
    installed: Instant,
    soft: Limits,
    hard: Limits,
    /// There if others use the same SA.
    others: Option<Box<Others>>,
}

/// Limits in the least room: there are some for each direction of each SA.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Age since installation.
    time: Option<Duration>,
    /// The most there is stands for no limit.
    octets: u64,
    packets: u64,
}

impl Limits {
    fn of(amounts: Amounts) -> Self {
        Self {
            time: amounts.time,
            octets: amounts.octets.unwrap_or(u64::MAX),
            packets: amounts.packets.unwrap_or(u64::MAX),
        }
    }

    fn reached(&self, time: Duration, usage: Usage) -> bool {
        self.time.is_some_and(|limit| time >= limit)
            || usage.octets >= self.octets
            || usage.packets >= self.packets
    }
}

/// What the threads that share an SA tell each other of its use.
#[derive(Debug)]
struct Others {
    all: Arc<CommonUsage>,
    /// What this one has told.
    told: Usage,
    /// What the others had told then.
    heard: Usage,
}

/// The use of an SA by all its threads together.
#[derive(Debug, Default)]
struct CommonUsage {
    octets: AtomicU64,
    packets: AtomicU64,
    /// When the last packet passed: milliseconds since installation, and one; 0 is never.
    used_ms: AtomicU64,
}

/// Packets of one thread after which it tells the others: a limit that several threads work towards
/// is passed by at most so many packets of each.
pub const TELL_PACKETS: u64 = 8;

impl Meter {
    /// A meter at zero.
    pub fn new(lifetime: Lifetime, installed: Instant) -> Self {
        Self::of(Plan::new(lifetime, installed, None))
    }

    /// Meters at zero for threads that use one SA: its limits are held against what all of them do.
    pub fn shared(
        lifetime: Lifetime,
        installed: Instant,
        threads: usize,
    ) -> impl Iterator<Item = Self> {
        let all = Arc::new(CommonUsage::default());
        (0..threads).map(move |_| {
            let (told, heard) = (Usage::default(), Usage::default());
            let others = Some(Box::new(Others { all: Arc::clone(&all), told, heard }));
            Self::of(Plan::new(lifetime, installed, others))
        })
    }

    fn of(plan: Plan) -> Self {
        let usage = Usage::default();
        let nearest = plan.nearest(Age::Fresh, usage);
        Self { usage, nearest, age: Age::Fresh, last_used: None, plan: Box::new(plan) }
    }

    /// The age at which the next packet finds the SA; nothing may pass at [`Age::Hard`].
    #[inline]
    pub fn age(&mut self, now: Instant) -> Age {
        if self.nearest.reached(now, self.usage) {
            let total = self.plan.tell(self.usage, self.last_used);
            let age = self.plan.age(self.time(now), total);
            self.grow(age);
        }
        self.age
    }

    /// Makes the SA at least this old, as when its sequence numbers run out.
    pub fn grow(&mut self, age: Age) {
        self.age = self.age.max(age);
        self.nearest = self.plan.nearest(self.age, self.usage);
    }

    /// Counts a packet of so many inner octets.
    #[inline]
    pub fn count(&mut self, octets: usize, now: Instant) {
        self.usage.add(octets);
        self.last_used = Some(now);
    }

    /// Counts a super-packet of so many inner octets that stands for so many packets.
    pub fn count_super(&mut self, packets: u64, octets: usize, now: Instant) {
        self.usage.packets = self.usage.packets.saturating_add(packets.saturating_sub(1));
        self.count(octets, now);
    }

    /// The next instant at which a limit of time is reached.
    pub fn next_limit(&self) -> Option<Instant> {
        self.nearest.time
    }

    /// What has gone through, by this thread.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// What has gone through, by all threads; that of others as far as they have told.
    pub fn usage_of_all(&self) -> Usage {
        let Some(others) = &self.plan.others else { return self.usage };
        let Others { all, told, .. } = &**others;
        let sum = |all: &AtomicU64, told: u64, now: u64| {
            all.load(Ordering::Relaxed).saturating_sub(told).saturating_add(now)
        };
        Usage {
            octets: sum(&all.octets, told.octets, self.usage.octets),
            packets: sum(&all.packets, told.packets, self.usage.packets),
        }
    }

    /// When the last packet went through; those of other threads are known by what they have told.
    pub fn last_used(&self) -> Option<Instant> {
        self.last_used.max(self.plan.others_used())
    }

    /// When the SA was installed.
    pub fn installed(&self) -> Instant {
        self.plan.installed
    }

    /// Time since installation.
    pub fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.plan.installed)
    }
}

impl Nearest {
    #[inline]
    fn reached(&self, now: Instant, usage: Usage) -> bool {
        usage.octets >= self.octets
            || usage.packets >= self.packets
            || self.time.is_some_and(|limit| now >= limit)
    }
}

impl Plan {
    fn new(lifetime: Lifetime, installed: Instant, others: Option<Box<Others>>) -> Self {
        let (soft, hard) = (Limits::of(lifetime.soft), Limits::of(lifetime.hard));
        Self { installed, soft, hard, others }
    }

    /// Where an SA of this age and use stands, as [`Lifetime::age`] says.
    fn age(&self, time: Duration, usage: Usage) -> Age {
        match () {
            () if self.hard.reached(time, usage) => Age::Hard,
            () if self.soft.reached(time, usage) => Age::Soft,
            () => Age::Fresh,
        }
    }

    /// The smaller of the limits still ahead: at a fresh age the soft and the hard ones. What others
    /// have used up counts, and they want to hear of ours soon.
    fn nearest(&self, age: Age, usage: Usage) -> Nearest {
        let hard = self.at(self.hard);
        let nearest = match age {
            Age::Fresh => hard.min(self.at(self.soft)),
            Age::Soft => hard,
            Age::Hard => return self.at(Limits::of(Amounts::NONE)),
        };
        let Some(others) = &self.others else { return nearest };
        let heard = &others.heard;
        let packets = nearest.packets.saturating_sub(heard.packets);
        Nearest {
            octets: nearest.octets.saturating_sub(heard.octets),
            packets: packets.min(usage.packets.saturating_add(TELL_PACKETS)),
            ..nearest
        }
    }

    /// Tells the others what passed here; gives what has passed everywhere.
    fn tell(&mut self, usage: Usage, last_used: Option<Instant>) -> Usage {
        let installed = self.installed;
        let Some(others) = &mut self.others else { return usage };
        let Others { all, told, heard } = &mut **others;
        let add = |sum: &AtomicU64, now: u64, before: u64| {
            let more = now.saturating_sub(before);
            sum.fetch_add(more, Ordering::Relaxed).wrapping_add(more)
        };
        let total = Usage {
            octets: add(&all.octets, usage.octets, told.octets),
            packets: add(&all.packets, usage.packets, told.packets),
        };
        *told = usage;
        *heard = Usage {
            octets: total.octets.saturating_sub(usage.octets),
            packets: total.packets.saturating_sub(usage.packets),
        };
        if let Some(used) = last_used {
            let ms = used.saturating_duration_since(installed).as_millis();
            let ms = u64::try_from(ms).unwrap_or(u64::MAX).saturating_add(1);
            all.used_ms.fetch_max(ms, Ordering::Relaxed);
        }
        total
    }

    /// When the last packet passed that was told of.
    fn others_used(&self) -> Option<Instant> {
        let ms = self.others.as_ref()?.all.used_ms.load(Ordering::Relaxed).checked_sub(1)?;
        self.installed.checked_add(Duration::from_millis(ms))
    }

    fn at(&self, limits: Limits) -> Nearest {
        Nearest {
            time: limits.time.and_then(|time| self.installed.checked_add(time)),
            octets: limits.octets,
            packets: limits.packets,
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

    /// Each direction of each SA has one of both.
    #[test]
    fn meters_stay_small() {
        let (meter, plan) = (size_of::<Meter>(), size_of::<Plan>());
        assert!(meter <= 88 && plan <= 88, "{meter} {plan}");
    }

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

    /// Each number once, whoever takes its turn, and never far below the highest one.
    #[test]
    fn threads_share_the_numbers_of_an_sa() {
        let mut counters: Vec<_> = SequenceCounter::shared(0, false, 3).collect();
        let (mut seen, mut top) = (std::collections::BTreeSet::new(), 0);
        for turn in 0..10_000_usize {
            // The third is much slower than the others.
            let who = if turn % 97 == 0 { 2 } else { turn % 2 };
            let number = counters[who].spend().unwrap();
            assert!(seen.insert(number), "{number} twice");
            assert!(number + SPREAD_MAX + BLOCK_MAX > top, "{number} under {top}");
            top = top.max(number);
        }
        assert!(top < 10_200, "few numbers are given up: {top}");
    }

    #[test]
    fn a_counter_skips_forward_alone() {
        let mut counter = SequenceCounter::new(false);
        counter.skip_to(9);
        counter.skip_to(3);
        assert_eq!(counter.spend(), Ok(10));
        let mut counters: Vec<_> = SequenceCounter::shared(0, false, 2).collect();
        assert_eq!(counters[0].spend(), Ok(1));
        counters[1].skip_to(9);
        assert_eq!(counters[1].spend(), Ok(10));
        assert!(counters[0].spend().is_ok_and(|number| number == 2 || number > 10));
    }

    /// RFC 6311 §5.2: one of the threads is told, and all leave the numbers out.
    #[test]
    fn numbers_are_left_out_by_all_threads() {
        let mut counter = SequenceCounter::after(7, false);
        counter.skip(1_000);
        assert_eq!(counter.spend(), Ok(1_008));
        counter.skip(u64::MAX);
        assert!(counter.is_spent() && counter.spend().is_err());
        let mut counters: Vec<_> = SequenceCounter::shared(0, false, 2).collect();
        let first: Vec<_> = counters.iter_mut().map(|one| one.spend().unwrap()).collect();
        assert!(first.iter().all(|number| *number < 10), "{first:?}");
        counters[0].skip(1_000);
        let mut next: Vec<_> = counters.iter_mut().map(|one| one.spend().unwrap()).collect();
        next.sort_unstable();
        assert!(next[0] > 1_000 && next[0] < next[1], "{next:?}");
    }

    #[test]
    fn shared_numbers_end_for_all() {
        let max = u64::from(u32::MAX);
        let mut counters: Vec<_> = SequenceCounter::shared(max - 5, false, 2).collect();
        let mut numbers: Vec<u64> =
            (0..20).filter_map(|turn: usize| counters[turn % 2].spend().ok()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [max - 4, max - 3, max - 2, max - 1, max]);
        assert!(counters.iter().all(SequenceCounter::is_spent));
        assert!(counters.iter().all(SequenceCounter::is_low));
        let counters = SequenceCounter::shared(u64::MAX, true, 2);
        assert!(counters.map(|mut counter| counter.spend()).all(|next| next.is_err()));
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

    /// A limit of 100 packets: three threads together pass it by what they have not told at most.
    #[test]
    fn threads_share_the_limits_of_an_sa() {
        let start = start();
        let packets = |packets| Amounts { packets: Some(packets), ..Amounts::NONE };
        let lifetime = Lifetime { soft: packets(50), hard: packets(100), idle: None };
        let mut meters: Vec<Meter> = Meter::shared(lifetime, start, 3).collect();
        let (mut passed, mut soft_at) = (0, None);
        for turn in 0..1_000 {
            let meter = &mut meters[turn % 3];
            let now = start + Duration::from_millis(turn as u64);
            match meter.age(now) {
                Age::Hard => continue,
                Age::Soft => soft_at = soft_at.or(Some(passed)),
                Age::Fresh => {}
            }
            meter.count(10, now);
            passed += 1;
        }
        let slack = 3 * TELL_PACKETS;
        assert!((100..100 + slack).contains(&passed), "{passed}");
        assert!(soft_at.is_some_and(|at| (50..50 + slack).contains(&at)), "{soft_at:?}");
        let sum: u64 = meters.iter().map(|meter| meter.usage().packets).sum();
        assert_eq!(sum, passed);
        assert!(meters.iter().all(|meter| meter.age == Age::Hard));
    }

    #[test]
    fn a_thread_knows_when_another_has_used_the_sa() {
        let start = start();
        let mut meters = Meter::shared(Lifetime::NONE, start, 2);
        let (mut one, other) = (meters.next().unwrap(), meters.next().unwrap());
        assert_eq!(other.last_used(), None);
        let at = start + Duration::from_millis(70);
        for _ in 0..TELL_PACKETS {
            one.count(1, at);
        }
        assert_eq!(one.age(at), Age::Fresh);
        assert_eq!(other.last_used(), Some(at));
        assert_eq!(one.usage_of_all(), one.usage());
        assert_eq!((other.usage_of_all(), other.usage()), (one.usage(), Usage::default()));
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
