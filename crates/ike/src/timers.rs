//! Who wants to be called when: a wheel over all IKE SAs and connections, so that setting, moving and
//! clearing a timer, and asking for the next instant, cost the same with one IKE SA and with a hundred
//! thousand.
//!
//! Time is cut into ticks of about a millisecond. A timer lies in a slot of the lowest level on which
//! its tick and that of the last call differ: the 64 slots of the first level are a tick wide each, those
//! of the next 64 ticks, and so on. As time enters a slot, what lies in it moves to lower levels. So a
//! timer moves at most as often as there are levels, and all slots before the first that is not empty
//! are over or empty.

use std::time::{Duration, Instant};

use adit_db::{ConnectionName, IkeSaId};

use crate::slab::{Key, Slab};

/// Who has a timer.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum TimerOwner {
    Ike(IkeSaId),
    Connection(ConnectionName),
}

/// The timer of one owner, who keeps it; not set at first. It is to be cleared before it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Key>);

/// The wheel.
#[derive(Debug)]
pub(crate) struct Timers {
    entries: Slab<Entry>,
    slots: Box<[Slot]>,
    /// For each level a bit for each slot that is not empty.
    occupied: [u64; LEVELS],
    /// When the first tick began: at the first call.
    origin: Option<Instant>,
    /// The tick of the latest call of [`Self::due`]. What is due then or before lies in [`CURRENT`].
    tick: u64,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    owner: TimerOwner,
    slot: usize,
    before: Option<Key>,
    after: Option<Key>,
}

/// A list of timers.
#[derive(Clone, Debug, Default)]
struct Slot {
    first: Option<Key>,
    count: usize,
    /// No timer in it is earlier.
    floor: Option<Instant>,
}

/// Nanoseconds of a tick, as a power of two.
const TICK_BITS: u32 = 20;
/// Slots of a level, as a power of two.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough for all ticks that there are in 64 bits of nanoseconds.
const LEVELS: usize = 8;
/// The slot of all that is due in this tick or was before; it follows those of the levels.
const CURRENT: usize = LEVELS * SLOTS;
/// Timers of a slot that are looked at for the next instant. Of more it is enough to know that none is
/// earlier: the wheel asks to be called then, and by that they come into narrower slots.
const LOOKED_AT_MAX: usize = 64;

impl Default for Timers {
    fn default() -> Self {
        Self {
            entries: Slab::default(),
            slots: vec![Slot::default(); CURRENT + 1].into_boxed_slice(),
            occupied: [0; LEVELS],
            origin: None,
            tick: 0,
        }
    }
}

impl Timers {
    /// Sets, moves or clears the timer of an owner. `owner` is asked who that is where it is not known.
    pub(crate) fn set(
        &mut self,
        timer: &mut Timer,
        at: Option<Instant>,
        now: Instant,
        owner: impl FnOnce() -> TimerOwner,
    ) {
        self.origin.get_or_insert(now);
        let before = timer.0.and_then(|key| Some((key, self.entries.get(key)?.at)));
        match (before, at) {
            (None, None) => {}
            (Some((_, before)), Some(at)) if before == at => {}
            (Some((key, _)), Some(at)) => {
                self.unlink(key);
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.at = at;
                }
                self.link(key, at);
            }
            (None, Some(at)) => {
                let owner = owner();
                let entry = Entry { at, owner, slot: CURRENT, before: None, after: None };
                let key = self.entries.insert(entry);
                timer.0 = Some(key);
                self.link(key, at);
            }
            (Some((key, _)), None) => {
                self.unlink(key);
                self.entries.remove(key);
                timer.0 = None;
            }
        }
    }

    /// Clears a timer whose owner goes.
    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(key) = timer.0 {
            self.unlink(key);
            self.entries.remove(key);
        }
    }

    /// The earliest instant. If very many timers are close together it may be earlier than the first of
    /// them; after [`Self::due`] at that time it is a later one.
    pub(crate) fn next(&self) -> Option<Instant> {
        let slot = self.slots.get(self.first_slot()?)?;
        if slot.count > LOOKED_AT_MAX {
            return slot.floor;
        }
        self.entries_of(slot).map(|(_, entry)| entry.at).min()
    }

    /// Adds everybody whose time has come to `due`, the earliest first. Their timers stay until they
    /// are set anew.
    pub(crate) fn due(&mut self, now: Instant, due: &mut Vec<(Instant, TimerOwner)>) {
        self.origin.get_or_insert(now);
        self.advance(now);
        let Some(slot) = self.slots.get(CURRENT) else { return };
        let begin = due.len();
        let mut floor = None;
        for (_, entry) in self.entries_of(slot) {
            if entry.at <= now {
                due.push((entry.at, entry.owner.clone()));
            } else {
                floor = Some(floor.map_or(entry.at, |floor: Instant| floor.min(entry.at)));
            }
        }
        due.get_mut(begin..).unwrap_or_default().sort_unstable();
        let earliest = due.get(begin).map(|(at, _)| *at);
        if let Some(slot) = self.slots.get_mut(CURRENT) {
            slot.floor = earliest.or(floor);
        }
    }

    // ---- Lists ----

    fn link(&mut self, key: Key, at: Instant) {
        let tick = self.tick_of(at);
        let place = place(self.tick, tick);
        let Some(slot) = self.slots.get_mut(place) else { return };
        let after = slot.first.replace(key);
        slot.count = slot.count.saturating_add(1);
        slot.floor = Some(slot.floor.map_or(at, |floor| floor.min(at)));
        if let Some(after) = after.and_then(|after| self.entries.get_mut(after)) {
            after.before = Some(key);
        }
        if let Some(entry) = self.entries.get_mut(key) {
            (entry.slot, entry.before, entry.after) = (place, None, after);
        }
        if let Some(occupied) = self.occupied.get_mut(place / SLOTS) {
            *occupied |= 1 << (place % SLOTS);
        }
    }

    fn unlink(&mut self, key: Key) {
        let Some(entry) = self.entries.get(key) else { return };
        let (place, before, after) = (entry.slot, entry.before, entry.after);
        if let Some(after) = after.and_then(|after| self.entries.get_mut(after)) {
            after.before = before;
        }
        let Some(slot) = self.slots.get_mut(place) else { return };
        slot.count = slot.count.saturating_sub(1);
        match before.and_then(|before| self.entries.get_mut(before)) {
            Some(before) => before.after = after,
            None => slot.first = after,
        }
        if slot.count == 0 {
            *slot = Slot::default();
            if let Some(occupied) = self.occupied.get_mut(place / SLOTS) {
                *occupied &= !(1 << (place % SLOTS));
            }
        }
    }

    fn entries_of(&self, slot: &Slot) -> impl Iterator<Item = (Key, &Entry)> {
        let entry = |key: Option<Key>| key.and_then(|key| Some((key, self.entries.get(key)?)));
        std::iter::successors(entry(slot.first), move |(_, before)| entry(before.after))
    }

    // ---- Time ----

    /// The number of the tick of an instant; 0 before the first one.
    fn tick_of(&self, at: Instant) -> u64 {
        let since =
            self.origin.map_or(Duration::ZERO, |origin| at.saturating_duration_since(origin));
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) >> TICK_BITS
    }

    /// The first slot that is not empty; timers in others are later.
    fn first_slot(&self) -> Option<usize> {
        if self.slots.get(CURRENT)?.count > 0 {
            return Some(CURRENT);
        }
        let level = self.occupied.iter().position(|occupied| *occupied != 0)?;
        let slot = self.occupied.get(level)?.trailing_zeros();
        Some(level * SLOTS + usize::try_from(slot).ok()?)
    }

    /// Lets time go on, and what it has reached come into narrower slots.
    fn advance(&mut self, now: Instant) {
        let (from, to) = (self.tick, self.tick_of(now));
        if to <= from {
            return;
        }
        self.tick = to;
        for level in 0..LEVELS {
            let reached = self.occupied.get(level).copied().unwrap_or(0) & reached(level, from, to);
            for slot in (0..SLOTS).filter(|slot| reached >> slot & 1 == 1) {
                self.spread(level * SLOTS + slot);
            }
            if digits_above(level, from) == digits_above(level, to) {
                // Higher digits are alike, too, and what lies there is later.
                return;
            }
        }
    }

    /// Moves all timers of a slot to where they belong.
    fn spread(&mut self, place: usize) {
        while let Some(key) = self.slots.get(place).and_then(|slot| slot.first) {
            let Some(at) = self.entries.get(key).map(|entry| entry.at) else { return };
            self.unlink(key);
            self.link(key, at);
        }
    }
}

/// The slot of a timer.
fn place(now: u64, tick: u64) -> usize {
    if tick <= now {
        return CURRENT;
    }
    let highest = (tick ^ now).ilog2();
    let level = highest / SLOT_BITS;
    let digit = (tick >> (level * SLOT_BITS)) & (SLOTS as u64 - 1);
    usize::try_from(level).unwrap_or(0) * SLOTS + usize::try_from(digit).unwrap_or(0)
}

/// The slots of a level that time reaches between two ticks, as bits.
fn reached(level: usize, from: u64, to: u64) -> u64 {
    if digits_above(level, from) != digits_above(level, to) {
        return u64::MAX;
    }
    let digit = (to >> bits(level)) & (SLOTS as u64 - 1);
    u64::MAX >> (SLOTS as u64 - 1 - digit)
}

/// What of a tick the levels above this one are about.
fn digits_above(level: usize, tick: u64) -> u64 {
    tick >> bits(level + 1)
}

fn bits(level: usize) -> u32 {
    u32::try_from(level).unwrap_or(0) * SLOT_BITS
}

#[cfg(test)]
mod tests;
