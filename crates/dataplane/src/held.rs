//! Packets that wait for an SA, and how often one is asked for.
//!
//! RFC 4301 §4.4.1: a packet whose policy says PROTECT never leaves in clear. While the peers
//! negotiate, a few packets wait, so that the first ping or SYN is not lost; the rest is dropped
//! and sent again by whoever sent it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use adit_db::PolicyId;
use adit_wire::PacketBuf;

use crate::esp::{HEADROOM_MAX, INNER_MTU, TAILROOM_MAX};

/// Most packets that wait per policy.
pub const HELD_PER_POLICY: usize = 4;

/// Most packets that wait in all.
pub const HELD_MAX: usize = 256;

/// How long a packet waits; its sender has given up on it or sent it again by then.
pub const HELD_FOR: Duration = Duration::from_secs(10);

/// Least time between two [`Event::Acquire`](crate::Event::Acquire) of a policy.
pub const ACQUIRE_INTERVAL: Duration = Duration::from_secs(1);

/// All that waits.
#[derive(Default)]
pub(crate) struct Held {
    waiting: BTreeMap<PolicyId, Waiting>,
    /// Packets in all queues together.
    count: usize,
    /// No packet becomes stale before; `None` if that is not known.
    stale_from: Option<Instant>,
    ready: VecDeque<PacketBuf>,
}

#[derive(Default)]
struct Waiting {
    asked: Option<Instant>,
    /// With their time of arrival, the oldest first.
    queue: VecDeque<(Instant, PacketBuf)>,
}

impl Held {
    /// Whether the control loop may be asked for an SA again; if so, it counts as asked.
    pub(crate) fn may_ask(&mut self, policy: PolicyId, now: Instant) -> bool {
        let waiting = self.waiting.entry(policy).or_default();
        let since = waiting.asked.map(|asked| now.saturating_duration_since(asked));
        let may_ask = since.is_none_or(|since| since >= ACQUIRE_INTERVAL);
        if may_ask {
            waiting.asked = Some(now);
        }
        may_ask
    }

    /// Copies a packet into a buffer of its own; `false` if too many wait already.
    pub(crate) fn hold(&mut self, policy: PolicyId, packet: &PacketBuf, now: Instant) -> bool {
        self.forget_stale_of(policy, now);
        if self.count >= HELD_MAX && self.stale_from.is_none_or(|from| from <= now) {
            self.forget_stale(now);
        }
        let waiting = self.waiting.entry(policy).or_default();
        if waiting.queue.len() >= HELD_PER_POLICY || self.count >= HELD_MAX {
            return false;
        }
        // It may be filled up before it is sealed.
        let room = packet.len().max(INNER_MTU.into()).saturating_add(TAILROOM_MAX);
        let mut copy = PacketBuf::with_capacity(HEADROOM_MAX, room);
        if !copy.fill(packet.data()) {
            return false;
        }
        waiting.queue.push_back((now, copy));
        self.count = self.count.saturating_add(1);
        true
    }

    /// Takes out the packets of a policy that `wanted` picks, the oldest first; stale ones go.
    pub(crate) fn take(
        &mut self,
        policy: PolicyId,
        now: Instant,
        wanted: impl Fn(&PacketBuf) -> bool,
    ) -> VecDeque<PacketBuf> {
        let mut taken = VecDeque::new();
        let Some(waiting) = self.waiting.get_mut(&policy) else {
            return taken;
        };
        let before = waiting.queue.len();
        for (since, packet) in std::mem::take(&mut waiting.queue) {
            if is_stale(since, now) {
                continue;
            }
            if wanted(&packet) {
                taken.push_back(packet);
            } else {
                waiting.queue.push_back((since, packet));
            }
        }
        self.count = self.count.saturating_sub(before.saturating_sub(waiting.queue.len()));
        taken
    }

    fn forget_stale_of(&mut self, policy: PolicyId, now: Instant) {
        let waiting = self.waiting.entry(policy).or_default();
        while waiting.queue.pop_front_if(|(since, _)| is_stale(*since, now)).is_some() {
            self.count = self.count.saturating_sub(1);
        }
    }

    /// Walks all policies, so it must not run for every packet: only when it finds something.
    fn forget_stale(&mut self, now: Instant) {
        self.count = 0;
        let mut oldest: Option<Instant> = None;
        for waiting in self.waiting.values_mut() {
            waiting.queue.retain(|(since, _)| !is_stale(*since, now));
            self.count = self.count.saturating_add(waiting.queue.len());
            let first = waiting.queue.front().map(|(since, _)| *since);
            oldest = oldest.into_iter().chain(first).min();
        }
        self.stale_from = oldest.and_then(|oldest| oldest.checked_add(HELD_FOR));
    }

    /// Packets that wait.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Adds a packet that is sealed now; the oldest goes if nobody polls them.
    pub(crate) fn push_ready(&mut self, packet: PacketBuf) {
        if self.ready.len() >= HELD_MAX {
            self.ready.pop_front();
        }
        self.ready.push_back(packet);
    }

    /// The next packet that is sealed now.
    pub(crate) fn pop_ready(&mut self) -> Option<PacketBuf> {
        self.ready.pop_front()
    }
}

fn is_stale(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= HELD_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many policies there are, no more packets wait than [`HELD_MAX`], and stale ones
    /// make room.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn waiting_packets_are_bounded() {
        let now = Instant::now();
        let mut held = Held::default();
        let packet = PacketBuf::with_capacity(0, 20);
        for policy in 0..1000 {
            held.hold(PolicyId(policy), &packet, now);
        }
        assert_eq!(held.len(), HELD_MAX);
        assert!(!held.hold(PolicyId(5000), &packet, now));
        assert!(held.hold(PolicyId(5000), &packet, now + HELD_FOR));
        assert_eq!(held.len(), 1);
    }

    /// A flood of packets that find no room costs no walk over all policies each.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn a_full_house_is_not_searched_for_every_packet() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut held = Held::default();
        let packet = PacketBuf::with_capacity(0, 20);
        // One policy is full: its own queue is all that is looked at.
        for second in 0..HELD_PER_POLICY as u64 {
            assert!(held.hold(PolicyId(0), &packet, at(second)));
        }
        assert!(!held.hold(PolicyId(0), &packet, at(9)));
        assert_eq!(held.stale_from, None);
        assert!(held.hold(PolicyId(0), &packet, at(10)));
        assert_eq!(held.len(), HELD_PER_POLICY);

        // All are: after one search nothing is looked for before the oldest has become stale.
        for policy in 1..1000 {
            held.hold(PolicyId(policy), &packet, at(10));
        }
        assert_eq!(held.len(), HELD_MAX);
        assert_eq!(held.stale_from, Some(at(11)));
        assert!(!held.hold(PolicyId(5000), &packet, at(10)));
        assert!(held.hold(PolicyId(5000), &packet, at(11)));
        assert_eq!(held.len(), HELD_MAX);
        assert_eq!(held.stale_from, Some(at(12)));
    }
}
