//! Packets that come before their SA, RFC 7296 §2.8.
//!
//! Who answers a request for an SA may send by it before the answer is with us: it has the keys, and its
//! answer and its packets are on the way together. The last packets with an SPI that
//! nobody knows are kept for a moment and opened if their SA comes.
//!
//! They count among the packets of unknown SPIs in any case: nobody can tell them from those at that time.
//! A peer that is told of those (RFC 2521) hears it when that time is over.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use adit_wire::PacketBuf;
use adit_wire::esp::Spi;

use crate::bucket::TokenBucket;
use crate::esp::HEADROOM_MAX;
use crate::security_failure::Came;

/// Most packets that are kept.
const KEPT_MAX: usize = 32;

/// Longest one, octets.
const LEN_MAX: usize = 2_048;

/// For how long. An answer that is lost on the way comes later, but then so does much else.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// Packets a second. A flood of strangers is not worth copying.
const PER_SECOND: u32 = 1_000;

/// The packets that were kept.
pub(crate) struct Early {
    /// The oldest first.
    kept: VecDeque<Kept>,
    /// Buffers for the others. All are there from the beginning: to drop packets costs no memory.
    free: Vec<PacketBuf>,
    bucket: TokenBucket,
    /// How many of those that are kept their senders are told of.
    untold: usize,
    /// An SA has come that some may be for.
    is_due: bool,
}

struct Kept {
    spi: Spi,
    at: Instant,
    packet: PacketBuf,
    /// How it came, if its sender is to hear that no SA has come for it.
    untold: Option<Came>,
}

impl Default for Early {
    fn default() -> Self {
        Self {
            kept: VecDeque::with_capacity(KEPT_MAX),
            free: (0..KEPT_MAX).map(|_| empty()).collect(),
            bucket: TokenBucket::NEW,
            untold: 0,
            is_due: false,
        }
    }
}

impl Early {
    /// Keeps a copy of a packet for which there is no SA; false if it does not. Its sender is to be told
    /// of it later if `untold` says how it came.
    #[cold]
    pub(crate) fn keep(
        &mut self,
        spi: Spi,
        packet: &mut PacketBuf,
        untold: Option<Came>,
        now: Instant,
    ) -> bool {
        let before = usize::from(packet.meta.header_len);
        let len = packet.len().saturating_add(before);
        if len > LEN_MAX || !self.bucket.pass(PER_SECOND, now) {
            return false;
        }
        if self.free.is_empty() {
            self.forget_first();
        }
        let Some(mut copy) = self.free.pop() else { return false };
        copy.reset(HEADROOM_MAX);
        let is_copied = packet.push_front(before).is_some() && copy.fill(packet.data());
        let is_copied = is_copied && packet.pull_front(before) && copy.pull_front(before);
        if is_copied {
            copy.meta = packet.meta;
            self.untold = self.untold.saturating_add(untold.iter().len());
            self.kept.push_back(Kept { spi, at: now, packet: copy, untold });
        } else {
            self.free.push(copy);
        }
        is_copied
    }

    /// Takes out a packet, counted from the oldest.
    fn take(&mut self, place: usize) -> Option<Kept> {
        let kept = self.kept.remove(place)?;
        self.untold = self.untold.saturating_sub(kept.untold.iter().len());
        Some(kept)
    }

    fn forget_first(&mut self) {
        let first = self.take(0);
        self.free.extend(first.map(|kept| kept.packet));
    }

    /// Has the senders told of packets for which no SA has come in time.
    pub(crate) fn give_up(&mut self, now: Instant, mut tell: impl FnMut(&PacketBuf, Came)) {
        let is_over = |kept: &Kept| now.saturating_duration_since(kept.at) >= KEPT_FOR;
        while self.untold > 0 && self.kept.front().is_some_and(is_over) {
            let Some(kept) = self.take(0) else { return };
            kept.untold.iter().for_each(|came| tell(&kept.packet, *came));
            self.free.push(kept.packet);
        }
    }

    /// An SA has come.
    pub(crate) fn expect(&mut self, spi: Spi) {
        self.is_due |= self.kept.iter().any(|kept| kept.spi == spi);
    }

    /// When somebody is to ask for packets, at once if so, or to give some up.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_due {
            return self.kept.front().map(|kept| kept.at);
        }
        if self.untold == 0 {
            return None;
        }
        let first = self.kept.iter().find(|kept| kept.untold.is_some())?;
        first.at.checked_add(KEPT_FOR)
    }

    /// The next packet whose SA is there, oldest first; `None` until another SA comes.
    pub(crate) fn pop(
        &mut self,
        is_there: impl Fn(Spi) -> bool,
        now: Instant,
    ) -> Option<PacketBuf> {
        let is_old = |kept: &Kept| now.saturating_duration_since(kept.at) > KEPT_FOR;
        while self.is_due && self.kept.front().is_some_and(is_old) {
            self.forget_first();
        }
        let place = self.kept.iter().position(|kept| self.is_due && is_there(kept.spi));
        self.is_due = place.is_some();
        let kept = self.take(place?)?;
        self.free.push(empty());
        Some(kept.packet)
    }
}

fn empty() -> PacketBuf {
    PacketBuf::with_capacity(HEADROOM_MAX, LEN_MAX)
}
