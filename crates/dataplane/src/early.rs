//! Packets of SAs that are not there yet.
//!
//! Who answers a request for an SA may send by it before the answer is with us: it has the keys, and its
//! answer and its packets are on the way together (RFC 7296 §2.8). The last packets with an SPI that
//! nobody knows are kept for a moment and opened if their SA comes.
//!
//! They count among the packets of unknown SPIs in any case: nobody can tell them from those at that time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use adit_wire::PacketBuf;
use adit_wire::esp::Spi;

use crate::bucket::TokenBucket;
use crate::esp::HEADROOM_MAX;

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
    /// An SA has come that some may be for.
    is_due: bool,
}

struct Kept {
    spi: Spi,
    at: Instant,
    packet: PacketBuf,
}

impl Default for Early {
    fn default() -> Self {
        Self {
            kept: VecDeque::with_capacity(KEPT_MAX),
            free: (0..KEPT_MAX).map(|_| empty()).collect(),
            bucket: TokenBucket::NEW,
            is_due: false,
        }
    }
}

impl Early {
    /// Keeps a copy of a packet with this SPI, for which there is no SA.
    #[cold]
    pub(crate) fn keep(&mut self, spi: Spi, packet: &mut PacketBuf, now: Instant) {
        let before = usize::from(packet.meta.header_len);
        let len = packet.len().saturating_add(before);
        if len > LEN_MAX || !self.bucket.pass(PER_SECOND, now) {
            return;
        }
        if self.free.is_empty() {
            self.forget_first();
        }
        let Some(mut copy) = self.free.pop() else { return };
        copy.reset(HEADROOM_MAX);
        let is_copied = packet.push_front(before).is_some() && copy.fill(packet.data());
        if is_copied && packet.pull_front(before) && copy.pull_front(before) {
            copy.meta = packet.meta;
            self.kept.push_back(Kept { spi, at: now, packet: copy });
        } else {
            self.free.push(copy);
        }
    }

    fn forget_first(&mut self) {
        self.free.extend(self.kept.pop_front().map(|kept| kept.packet));
    }

    /// An SA has come.
    pub(crate) fn expect(&mut self, spi: Spi) {
        self.is_due |= self.kept.iter().any(|kept| kept.spi == spi);
    }

    /// When somebody is to ask for packets; if so, at once.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.kept.front().filter(|_| self.is_due).map(|kept| kept.at)
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
        let kept = self.kept.remove(place?)?;
        self.free.push(empty());
        Some(kept.packet)
    }
}

fn empty() -> PacketBuf {
    PacketBuf::with_capacity(HEADROOM_MAX, LEN_MAX)
}
