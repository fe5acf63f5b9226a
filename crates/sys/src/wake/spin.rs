//! Looking again before one sleeps, which spares the next packet a wake-up. It holds for ESP of all kinds
//! (RFC 4303): who waits for a single packet mostly waits for the threads that pass it on.

use std::io;
use std::num::NonZero;
use std::time::Duration;

use super::{Events, Poller};
use crate::clock;

impl Poller {
    /// Waits like [`Self::wait`], and looks again and again before it sleeps if `spin` has reason to.
    ///
    /// # Errors
    ///
    /// As [`Self::wait`].
    pub fn wait_spinning(
        &self,
        events: &mut Events,
        timeout: Option<Duration>,
        spin: &mut Spin,
    ) -> io::Result<()> {
        if spin.begins() && timeout.is_none_or(|timeout| timeout > SPIN_FOR) {
            let begun = clock::now();
            let mut before = begun;
            let first = spin.counters.looks + 1;
            let outcome = loop {
                spin.counters.looks += 1;
                self.wait(events, Some(Duration::ZERO))?;
                let now = clock::now();
                if !events.is_empty() {
                    break if spin.counters.looks == first {
                        Outcome::Ready
                    } else {
                        Outcome::Paid
                    };
                }
                if now.saturating_duration_since(before) >= YIELDED_MAX {
                    break Outcome::Crowded;
                }
                if now.saturating_duration_since(begun) >= SPIN_FOR {
                    break Outcome::Vain;
                }
                before = now;
                std::thread::yield_now();
            };
            spin.conclude(outcome);
            if matches!(outcome, Outcome::Ready | Outcome::Paid) {
                return Ok(());
            }
        }
        self.wait(events, timeout)
    }
}

/// Whether a thread looks again for packets before it sleeps, which spares the next one a wake-up.
///
/// It does after a few packets, which are those that somebody waits for, and not after many: these
/// are better left to gather. It does less and less often where nothing came in time, and hardly ever
/// where others want the processor.
#[derive(Debug)]
pub struct Spin {
    is_possible: bool,
    /// Whether the thread has just had few packets.
    is_due: bool,
    /// Waits that sleep at once.
    skip: u32,
    /// How many those will be after the next that was in vain.
    skip_next: u32,
    counters: SpinCounters,
}

/// What spinning has done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SpinCounters {
    /// Times that a thread has looked again before it slept.
    pub spins: u64,
    /// Of those, the times that a packet came.
    pub paid: u64,
    /// System calls for that.
    pub looks: u64,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// Something was there at the first look, as it would have been without spinning.
    Ready,
    Paid,
    Vain,
    /// Another thread had the processor in between.
    Crowded,
}

impl Spin {
    /// Off where there is one processor: whoever spins there keeps the packet from coming.
    #[must_use]
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self::with_processors(processors)
    }

    fn with_processors(processors: usize) -> Self {
        Self {
            is_possible: processors > 1,
            is_due: false,
            skip: 0,
            skip_next: 1,
            counters: SpinCounters::default(),
        }
    }

    /// Whether it may ever spin.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.is_possible
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> SpinCounters {
        self.counters
    }

    /// Takes note of how many packets the last wait has brought.
    pub fn note(&mut self, packets: u64) {
        self.is_due = (1..=FEW_PACKETS).contains(&packets);
    }

    /// Whether the next wait begins with looking.
    fn begins(&mut self) -> bool {
        if !self.is_possible || !std::mem::take(&mut self.is_due) {
            return false;
        }
        let is_skipped = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        self.counters.spins += u64::from(!is_skipped);
        !is_skipped
    }

    fn conclude(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ready => self.counters.paid += 1,
            Outcome::Paid => {
                self.counters.paid += 1;
                self.skip_next = 1;
            }
            Outcome::Vain => {
                self.skip = self.skip_next;
                self.skip_next = self.skip_next.saturating_mul(2).min(SKIP_MAX);
            }
            Outcome::Crowded => {
                self.skip_next = self.skip_next.saturating_mul(CROWDED_COSTS).min(SKIP_MAX);
                self.skip = self.skip_next;
            }
        }
    }
}

impl Default for Spin {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a thread looks before it sleeps: about what it costs to wake up, and the peer before that.
const SPIN_FOR: Duration = Duration::from_micros(100);
/// Longest time from one look to the next; if it takes longer, somebody else needed the processor.
const YIELDED_MAX: Duration = Duration::from_micros(10);
/// Most packets of one wait after which the next is worth waiting for.
const FEW_PACKETS: u64 = 8;
/// How many times more waits sleep at once after each in a row that kept others from the processor.
const CROWDED_COSTS: u32 = 16;
/// Most waits that sleep at once because spinning has not paid.
const SKIP_MAX: u32 = 256;

#[cfg(test)]
mod tests {
    use super::super::{Interest, Token, Waker};
    use super::*;

    #[test]
    fn spinning_sees_what_comes_and_ends_by_itself() {
        let poller = Poller::new().unwrap();
        let waker = Waker::new().unwrap();
        poller.add(&waker, Token(1), Interest::Readable).unwrap();
        let (mut events, mut spin) = (Events::new(), Spin::with_processors(2));

        waker.wake();
        spin.note(1);
        poller.wait_spinning(&mut events, None, &mut spin).unwrap();
        assert_eq!(events.iter().count(), 1);
        assert_eq!(spin.counters(), SpinCounters { spins: 1, paid: 1, looks: 1 });

        waker.clear();
        spin.note(1);
        poller.wait_spinning(&mut events, Some(Duration::from_millis(1)), &mut spin).unwrap();
        assert!(events.is_empty());
        assert_eq!((spin.counters().spins, spin.counters().paid), (2, 1));
        // The next wait sleeps at once.
        let looks = spin.counters().looks;
        spin.note(1);
        poller.wait_spinning(&mut events, Some(Duration::from_millis(1)), &mut spin).unwrap();
        assert_eq!(spin.counters().looks, looks);
    }

    /// How many of so many waits with a packet begin with looking, each with this outcome.
    fn spins_of(spin: &mut Spin, waits: u64, outcome: Outcome) -> u64 {
        let before = spin.counters().spins;
        for _ in 0..waits {
            spin.note(1);
            if spin.begins() {
                spin.conclude(outcome);
            }
        }
        spin.counters().spins - before
    }

    #[test]
    fn what_does_not_pay_is_done_ever_less() {
        let mut spin = Spin::with_processors(2);
        assert_eq!(spins_of(&mut spin, 1_000, Outcome::Paid), 1_000);
        let first = spins_of(&mut spin, 1_000, Outcome::Vain);
        assert!((5..20).contains(&first), "{first}");
        assert!(spins_of(&mut spin, 10_000, Outcome::Vain) < 50);
        assert!(spins_of(&mut spin, 10_000, Outcome::Crowded) < 50);
        // It is tried again, and where it pays it is back.
        assert!(spins_of(&mut spin, 1_000, Outcome::Paid) > 700);
    }

    #[test]
    fn nobody_spins_when_idle_or_busy_or_alone() {
        let mut spin = Spin::with_processors(2);
        for packets in [0, FEW_PACKETS + 1, u64::MAX] {
            spin.note(packets);
            assert!(!spin.begins());
        }
        spin.note(FEW_PACKETS);
        assert!(spin.begins());
        // Once for what has come.
        assert!(!spin.begins());
        let mut alone = Spin::with_processors(1);
        assert_eq!(spins_of(&mut alone, 10, Outcome::Paid), 0);
        assert!(!alone.is_possible());
    }
}
