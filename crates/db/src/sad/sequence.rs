//! Sender's counter, RFC 4303 §3.3.3, of one thread or of several that share an SA.
//!
//! Several threads take numbers from one reserve, a block at a time, and spend their blocks without
//! looking at each other. Of a block that the others have left behind the rest is given up: numbers
//! are given out at most [`SPREAD_MAX`] below the highest one taken, so that the smallest replay
//! window there is (RFC 4303 §3.4.3) has room for what is on its way in the order of the numbers.

use std::sync::Arc;

use super::atomic::{AtomicU64, Ordering};

/// Most numbers that a thread takes from the reserve at once.
pub const BLOCK_MAX: u64 = 8;

/// How far below the highest number taken a number may be given out.
pub const SPREAD_MAX: u64 = 24;

/// Sender's counter, RFC 4303 §3.3.3.
///
/// It is not `Clone`: two counters that give out the same number are a nonce used twice.
#[derive(Debug)]
pub struct SequenceCounter {
    /// The last number given out; 0 before the first.
    last: u64,
    /// The last number of those that are this counter's own.
    end: u64,
    max: u64,
    reserve: Option<Box<Share>>,
}

/// One thread's access to the reserve.
#[derive(Debug)]
struct Share {
    reserve: Arc<Reserve>,
    /// How many numbers to take next time: a thread that is slower than the others takes fewer, so
    /// that it gives up fewer.
    block: u64,
}

/// Numbers that nobody has taken yet.
#[derive(Debug)]
struct Reserve {
    /// The highest number taken.
    taken: AtomicU64,
    max: u64,
}

/// Every sequence number has been used; the SA must send nothing more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("sequence numbers are used up")]
pub struct SequenceExhausted;

impl SequenceCounter {
    /// A counter that begins at 1 and ends before 2^32, or with ESN before 2^64.
    pub fn new(esn: bool) -> Self {
        Self::after(0, esn)
    }

    /// A counter whose next number follows `last`, for SAs taken over and for tests.
    pub fn after(last: u64, esn: bool) -> Self {
        let max = max(esn);
        Self { last, end: max, max, reserve: None }
    }

    /// Counters that give out the numbers after `last` between them, each number once.
    pub fn shared(last: u64, esn: bool, threads: usize) -> impl Iterator<Item = Self> {
        let max = max(esn);
        let reserve = Arc::new(Reserve { taken: AtomicU64::new(last), max });
        (0..threads).map(move |_| {
            let share = Share { reserve: Arc::clone(&reserve), block: 1 };
            Self { last, end: last, max, reserve: Some(Box::new(share)) }
        })
    }

    /// Whether others give out numbers of the same SA.
    pub fn is_shared(&self) -> bool {
        self.reserve.is_some()
    }

    /// Gives out the next number.
    ///
    /// # Errors
    ///
    /// [`SequenceExhausted`] for ever once the last number is spent.
    //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
    //# the sender MUST NOT send a packet on an SA if doing so would cause the
    //# sequence number to cycle.
    #[inline]
    pub fn spend(&mut self) -> Result<u64, SequenceExhausted> {
        if self.reserve.is_some() {
            self.look_at_reserve();
        }
        if self.last >= self.end {
            return Err(SequenceExhausted);
        }
        self.last = self.last.saturating_add(1);
        Ok(self.last)
    }

    /// Takes a block if there is none, or if the others have left it behind.
    fn look_at_reserve(&mut self) {
        let Some(share) = &mut self.reserve else { return };
        let next = self.last.saturating_add(1);
        let is_left_behind = share.reserve.taken().saturating_sub(next) > SPREAD_MAX;
        if self.last < self.end && !is_left_behind {
            return;
        }
        // What is given up stays so, even if nothing else is left.
        self.end = self.last;
        if let Some((before, end)) = share.take(is_left_behind) {
            (self.last, self.end) = (before, end);
        }
    }

    /// Gives out nothing up to this number any more. A counter is never moved back.
    pub fn skip_to(&mut self, last: u64) {
        if let Some(share) = &self.reserve {
            let reserve = &share.reserve;
            reserve.taken.fetch_max(last.min(reserve.max), Ordering::Relaxed);
            // What is left of a block is before that, or it is given up with the rest.
            self.end = self.last;
        } else {
            self.last = self.last.max(last);
        }
    }

    /// Leaves out so many numbers, of all threads together: the others notice as soon as they have
    /// fallen behind. No number may be left then.
    pub fn skip(&mut self, by: u64) {
        let Some(share) = &self.reserve else {
            self.last = self.last.saturating_add(by).min(self.max);
            return;
        };
        let reserve = &share.reserve;
        let up_to = |taken: u64| Some(taken.saturating_add(by).min(reserve.max));
        // The closure always gives a number, so the update always takes place.
        let _ = reserve.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, up_to);
        self.end = self.last;
    }

    /// The last number given out; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// No number above this has been given out by any of the threads. Of the block of each thread, which
    /// is below it, the rest has not been given out yet.
    pub fn newest(&self) -> u64 {
        self.reserve.as_ref().map_or(self.last, |share| share.reserve.taken())
    }

    /// Whether no number is left.
    #[inline]
    pub fn is_spent(&self) -> bool {
        let reserve = self.reserve.as_ref().map(|share| &share.reserve);
        self.last >= self.end && reserve.is_none_or(|reserve| reserve.taken() >= reserve.max)
    }

    /// Whether so few numbers are left that the SA should be replaced: the last sixteenth.
    #[inline]
    pub fn is_low(&self) -> bool {
        self.last >= self.max.saturating_sub(self.max >> 4)
    }
}

impl Share {
    /// Takes a block: the number before it and its last one.
    fn take(&mut self, is_left_behind: bool) -> Option<(u64, u64)> {
        self.block = if is_left_behind { 1 } else { self.block.saturating_mul(2).min(BLOCK_MAX) };
        self.reserve.take(self.block)
    }
}

impl Reserve {
    /// The highest number taken.
    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes up to `count` numbers. No other memory hangs on them, so the order of nothing else
    /// matters: that a change is made as a whole is enough for each number to have one owner.
    fn take(&self, count: u64) -> Option<(u64, u64)> {
        let up_to = |taken: u64| taken.saturating_add(count).min(self.max);
        let room = |taken: u64| (taken < self.max).then(|| up_to(taken));
        let before = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some((before, up_to(before)))
    }
}

fn max(esn: bool) -> u64 {
    if esn { u64::MAX } else { u32::MAX.into() }
}
