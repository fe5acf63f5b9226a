//! The two threads of a queue, of which one does the work of both while there is little: a packet that is
//! answered at once, by this host or by the peer, wakes nobody on its way back. As soon as there is more,
//! each direction has a processor for itself. What comes of that is ESP as ever (RFC 4303): nothing but the
//! thread changes, and with it goes all that the direction owns.

use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use adit_sys::clock;
use adit_sys::wake::{CommandSender, Interest, Poller, Spin, Token};
use tracing::debug;

use super::outbound::Seat;
use crate::message::ToInbound;

/// A thread with more packets than so many in a [`WINDOW`] has enough to do. They are some tenths of
/// what one processor manages.
const FEW_PACKETS: u64 = 32;
const WINDOW: Duration = Duration::from_millis(1);
/// How long it must have had less before it does anything for the other.
const QUIET_FOR: Duration = Duration::from_millis(20);
/// The same at most, for a thread whose seat comes back again and again before so long is over. Whoever
/// has something to send a moment after a lot has come shall not wait for two threads to wake up.
const QUIET_FOR_MAX: Duration = Duration::from_millis(80);

/// How much a thread has had to do of late.
#[derive(Debug)]
pub(super) struct Load {
    /// When the window began, and what has come in it.
    window: (Instant, u64),
    quiet_from: Instant,
}

impl Load {
    /// That of a thread that has had nothing to do.
    pub(super) fn new(now: Instant) -> Self {
        Self { window: (now, 0), quiet_from: now }
    }

    /// Takes note of packets that came, whatever became of them.
    pub(super) fn note(&mut self, packets: u64, now: Instant) {
        let (begun, _) = self.window;
        if now.saturating_duration_since(begun) >= WINDOW {
            self.window = (now, 0);
        }
        self.window.1 = self.window.1.saturating_add(packets);
        if self.window.1 > FEW_PACKETS {
            self.quiet_from = now + QUIET_FOR;
        }
    }

    /// Whether there was little for long enough.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        now >= self.quiet_from
    }
}

/// The end of the outbound thread, which lends its seat.
pub(crate) struct Lender {
    inbound: CommandSender<ToInbound>,
    back: Receiver<Box<Seat>>,
    patience: Patience,
}

impl Lender {
    /// Whether the seat is to be lent now.
    pub(super) fn is_due(&self, load: &Load, now: Instant) -> bool {
        load.is_quiet(now) && now >= self.patience.until
    }

    /// Has the inbound thread do the work until there is a lot of it. The seat that is to be worked at
    /// now; `None` when the thread is to end.
    pub(super) fn lend(&mut self, seat: Box<Seat>) -> Option<Box<Seat>> {
        let lent = clock::now();
        let back = match self.inbound.try_send(ToInbound::Seat(seat)) {
            Ok(()) => self.back.recv().ok()?,
            Err(TrySendError::Full(ToInbound::Seat(seat))) => seat,
            Err(_) => return None,
        };
        self.patience.note(lent, clock::now());
        Some(back)
    }
}

/// From when a seat may be lent again. Who gets it back soon has lent it to a thread that has a lot to do
/// itself, or has its own share of what is too much together.
#[derive(Debug)]
struct Patience {
    until: Instant,
    lasts: Duration,
}

impl Patience {
    fn new(now: Instant) -> Self {
        Self { until: now, lasts: QUIET_FOR }
    }

    /// Takes note that a seat was lent then, and has come back.
    fn note(&mut self, lent: Instant, now: Instant) {
        let is_soon = now.saturating_duration_since(lent) < self.lasts;
        self.lasts = if is_soon { (self.lasts * 2).min(QUIET_FOR_MAX) } else { QUIET_FOR };
        self.until = now + self.lasts;
    }
}

/// The end of the inbound thread, which works at the seat of the other for as long as there is little.
pub(crate) struct Host {
    /// `None` once the other has ended.
    back: Option<SyncSender<Box<Seat>>>,
    seat: Option<Box<Seat>>,
    /// Whether the thread wakes when there is something to do at the seat.
    is_watched: bool,
    load: Load,
}

impl Host {
    /// Takes the seat of the other, unless there is a lot to do already.
    pub(super) fn take(&mut self, seat: Box<Seat>) {
        (self.seat, self.is_watched) = (Some(seat), false);
        if !self.load.is_quiet(clock::now()) {
            self.leave();
        }
    }

    /// Has this poller wake the thread for the seat too. If it cannot, the seat goes back.
    pub(super) fn watch(&mut self, poller: &Poller, token: Token) {
        let Some(seat) = self.seat.as_ref().filter(|_| !self.is_watched) else { return };
        match poller.add(&**seat, token, Interest::Readable) {
            Ok(()) => self.is_watched = true,
            Err(error) => {
                debug!(%error, "the outbound direction cannot be waited for");
                self.leave();
            }
        }
    }

    /// How long there is nothing to do at the seat if no packet comes; `None` for ever.
    pub(super) fn timeout(&self, now: Instant) -> Option<Duration> {
        self.seat.as_ref()?.timeout(now)
    }

    /// Whether to look again before one sleeps who has just sent so many packets; `None` if there were
    /// none.
    pub(super) fn sent(&mut self) -> Option<(&mut Spin, u64)> {
        let seat = self.seat.as_mut().filter(|seat| seat.moved() > 0)?;
        let moved = seat.moved();
        Some((seat.spin(), moved))
    }

    /// Does what there is to do at the seat, or gives it back if there is a lot. So many packets have come
    /// to the thread itself.
    pub(super) fn work(&mut self, taken: u64, poller: &Poller, is_ready: bool) {
        let now = clock::now();
        self.load.note(taken, now);
        if self.load.is_quiet(now)
            && let Some(seat) = &mut self.seat
        {
            if !is_ready && !seat.is_due(now) {
                seat.rest();
            } else if seat.look() {
                self.load.note(seat.taken(), now);
            } else {
                // Its thread waits for it, and ends.
                (self.seat, self.back) = (None, None);
            }
        }
        if !self.load.is_quiet(now) {
            self.give_back(poller);
        }
    }

    fn give_back(&mut self, poller: &Poller) {
        if let Some(seat) = self.seat.as_ref().filter(|_| self.is_watched)
            && let Err(error) = poller.remove(&**seat)
        {
            debug!(%error, "the outbound direction was not waited for");
        }
        self.leave();
    }

    /// Gives the seat back that nobody waits for here any more.
    pub(super) fn leave(&mut self) {
        if let (Some(seat), Some(back)) = (self.seat.take(), &self.back) {
            // There is one seat, and its thread waits for it.
            let _ = back.try_send(seat);
        }
    }
}

/// The ends of the two threads of a queue. The outbound thread ends when the inbound thread does, or when
/// it is told to while that works for it.
pub(crate) fn pair(inbound: CommandSender<ToInbound>) -> (Lender, Host) {
    let (give, back) = mpsc::sync_channel(1);
    let (load, patience) = (Load::new(clock::now()), Patience::new(clock::now()));
    (
        Lender { inbound, back, patience },
        Host { back: Some(give), seat: None, is_watched: false, load },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_quiet_again_a_while_after_its_last_busy_window() {
        let start = clock::now();
        let mut load = Load::new(start);
        assert!(load.is_quiet(start));
        load.note(FEW_PACKETS, start);
        assert!(load.is_quiet(start));
        load.note(1, start + WINDOW / 2);
        assert!(!load.is_quiet(start + WINDOW));
        // One packet in each window from now on.
        let calm = |n: u32| start + WINDOW / 2 + WINDOW * n;
        (1..40).for_each(|n| load.note(1, calm(n)));
        assert!(!load.is_quiet(start + QUIET_FOR));
        assert!(load.is_quiet(start + WINDOW / 2 + QUIET_FOR));
    }

    #[test]
    fn packets_that_come_slowly_never_add_up() {
        let start = clock::now();
        let mut load = Load::new(start);
        for n in 0..1_000 {
            load.note(FEW_PACKETS, start + WINDOW * n);
            assert!(load.is_quiet(start + WINDOW * n));
        }
    }

    #[test]
    fn a_seat_that_comes_back_soon_is_lent_less_and_less_often() {
        let start = clock::now();
        let mut patience = Patience::new(start);
        assert_eq!(patience.until, start);
        let mut now = start;
        let waits: Vec<u128> = (0..4)
            .map(|_| {
                patience.note(now, now + WINDOW);
                let wait = patience.until - (now + WINDOW);
                now = patience.until;
                wait.as_millis()
            })
            .collect();
        assert_eq!(waits, [40, 80, 80, 80]);
        // What was worked at elsewhere for longer is lent again as at first.
        patience.note(now, now + QUIET_FOR_MAX);
        assert_eq!(patience.until, now + QUIET_FOR_MAX + QUIET_FOR);
    }
}
