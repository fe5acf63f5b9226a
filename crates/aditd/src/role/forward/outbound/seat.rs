//! All that the outbound direction consists of (RFC 4301 §5.1), at which one thread works at a time: its own
//! or, while there is little, the inbound thread of the same queue.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
use std::{fmt, io};

use adit_sys::clock;
use adit_sys::wake::{CommandReceiver, Events, Interest, Poller, Spin, Token};
use tracing::error;

use super::{COMMANDS, FRAMES_WAIT, ICMP, Role, Running, TUN};
use crate::message::{ToOutbound, ToParent};
use crate::role::forward::pair::{Lender, Load};

impl Role {
    /// Runs until it is told to stop, or until the inbound thread ends while that works for this one.
    pub(crate) fn run(self, commands: CommandReceiver<ToOutbound>, mut lender: Option<Lender>) {
        let parent = self.parent.clone();
        let failed = |error: io::Error, what: &str| {
            error!(%error, "the outbound thread cannot {what}");
            let _ = parent.send(ToParent::Failed("outbound"));
        };
        let mut seat = match Seat::new(self, commands) {
            Ok(seat) => Box::new(seat),
            Err(error) => return failed(error, "start"),
        };
        loop {
            if let Some(lender) = &mut lender
                && lender.is_due(&seat.load, clock::now())
            {
                seat.running.is_lent = Some(true);
                let Some(back) = lender.lend(seat) else { return };
                seat = back;
                seat.running.is_lent = Some(false);
            }
            if let Err(error) = seat.wait() {
                return failed(error, "wait");
            }
            if !seat.work() {
                return;
            }
        }
    }
}

/// What one thread works at.
pub(crate) struct Seat {
    running: Running,
    poller: Poller,
    commands: CommandReceiver<ToOutbound>,
    events: Events,
    /// Packets that were sent, and that came, when last somebody worked here.
    moved: u64,
    taken: u64,
    load: Load,
}

impl Seat {
    fn new(role: Role, commands: CommandReceiver<ToOutbound>) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&*role.tun, TUN, Interest::Readable)?;
        poller.add(&commands, COMMANDS, Interest::Readable)?;
        for (number, socket) in (ICMP..).zip(&role.routers) {
            poller.add(socket, Token(number), Interest::Readable)?;
        }
        let (running, events, load) = (Running::new(role), Events::new(), Load::new(clock::now()));
        Ok(Self { running, poller, commands, events, moved: 0, taken: 0, load })
    }

    /// How long there is nothing to do if no packet comes; `None` for ever.
    pub(in crate::role::forward) fn timeout(&self, now: Instant) -> Option<Duration> {
        let Running { engine, peers, role, .. } = &self.running;
        let next = engine.poll_timeout().into_iter().chain(peers.poll_timeout()).min();
        let next = next.map(|at| at.saturating_duration_since(now));
        let waiting = role.raw.is_waiting().then_some(FRAMES_WAIT);
        next.into_iter().chain(waiting).min()
    }

    /// Whether something is due by time. Frames that wait for their device are, whenever one looks.
    pub(in crate::role::forward) fn is_due(&self, now: Instant) -> bool {
        self.running.role.raw.is_waiting() || self.timeout(now).is_some_and(|left| left.is_zero())
    }

    /// Packets that were sent when last somebody worked here.
    pub(in crate::role::forward) fn moved(&self) -> u64 {
        self.moved
    }

    /// Packets that came then, whatever became of them.
    pub(in crate::role::forward) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether to look again before one sleeps who has moved packets here last.
    pub(in crate::role::forward) fn spin(&mut self) -> &mut Spin {
        &mut self.running.spin
    }

    /// Waits for something to do.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.timeout(clock::now());
        let Running { counters, spin, .. } = &mut self.running;
        counters.calls_wait += 1;
        spin.note(self.moved);
        self.poller.wait_spinning(&mut self.events, timeout, spin)
    }

    /// Nothing was there to do.
    pub(in crate::role::forward) fn rest(&mut self) {
        (self.moved, self.taken) = (0, 0);
    }

    /// Does what there is to do, and waits for nothing. False when that was the last.
    pub(in crate::role::forward) fn look(&mut self) -> bool {
        self.running.counters.calls_wait += 1;
        if let Err(error) = self.poller.wait(&mut self.events, Some(Duration::ZERO)) {
            error!(%error, "what there is to send cannot be seen");
            let _ = self.running.role.parent.send(ToParent::Failed("outbound"));
            return false;
        }
        self.work()
    }

    fn work(&mut self) -> bool {
        let before = self.running.counters.packets;
        let goes_on = self.running.work(&self.events, &self.poller, &self.commands);
        self.moved = self.running.counters.packets - before;
        self.taken = std::mem::take(&mut self.running.taken);
        self.load.note(self.taken, clock::now());
        goes_on
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

impl AsFd for Seat {
    /// Readable while there is something to do, but for what is due by time.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
