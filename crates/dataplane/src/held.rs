//! Packets that wait for an SA, and how often one is asked for.
//!
//! RFC 4301 §4.4.1: a packet whose policy says PROTECT never leaves in clear. While the peers
//! negotiate, a few packets wait, so that the first ping or SYN is not lost; the rest is dropped
//! and sent again by whoever sent it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeBounds;
use std::time::{Duration, Instant};

use adit_db::{FlowClass, PolicyId};
use adit_wire::PacketBuf;

use crate::esp::{HEADROOM_MAX, INNER_MTU, TAILROOM_MAX};

/// Most packets that wait per policy; where selectors come from packets, per class of them.
pub const HELD_PER_POLICY: usize = 4;

/// Most SAs of a policy that packets wait for. Only where selectors come from packets is it more than
/// one; who scans a network asks for very many.
pub const WAITED_FOR_MAX: usize = 32;

/// Most packets that wait in all.
pub const HELD_MAX: usize = 256;

/// How long a packet waits; its sender has given up on it or sent it again by then.
pub const HELD_FOR: Duration = Duration::from_secs(10);

/// Least time between two [`Event::Acquire`](crate::Event::Acquire) for the same SA.
pub const ACQUIRE_INTERVAL: Duration = Duration::from_secs(1);

/// All that waits.
#[derive(Default)]
pub(crate) struct Held {
    waiting: BTreeMap<Wanted, Waiting>,
    /// Packets in all queues together.
    count: usize,
    /// No packet becomes stale before; `None` if that is not known.
    stale_from: Option<Instant>,
    ready: VecDeque<PacketBuf>,
    room: Room,
}

/// Octets that a packet in a buffer of its own may be filled up to before it is sealed.
struct Room(u16);

impl Default for Room {
    fn default() -> Self {
        Self(INNER_MTU)
    }
}

/// The SA that packets wait for: one of their policy, and where selectors come from packets, the one
/// of their class.
pub(crate) type Wanted = (PolicyId, FlowClass);

#[derive(Default)]
struct Waiting {
    asked: Option<Instant>,
    /// With their time of arrival, the oldest first.
    queue: VecDeque<(Instant, PacketBuf)>,
}

impl Held {
    /// Whether the control loop may be asked for an SA again; if so, it counts as asked.
    pub(crate) fn may_ask(&mut self, wanted: Wanted, now: Instant) -> bool {
        if !self.has_room_for(wanted, now) {
            return false;
        }
        let waiting = self.waiting.entry(wanted).or_default();
        let since = waiting.asked.map(|asked| now.saturating_duration_since(asked));
        let may_ask = since.is_none_or(|since| since >= ACQUIRE_INTERVAL);
        if may_ask {
            waiting.asked = Some(now);
        }
        may_ask
    }

    /// Copies a packet into a buffer of its own; `false` if too many wait already.
    pub(crate) fn hold(&mut self, wanted: Wanted, packet: &PacketBuf, now: Instant) -> bool {
        if !self.has_room_for(wanted, now) {
            return false;
        }
        self.forget_stale_of(wanted, now);
        if self.count >= HELD_MAX && self.stale_from.is_none_or(|from| from <= now) {
            self.forget_stale(now);
        }
        let waiting = self.waiting.entry(wanted).or_default();
        if waiting.queue.len() >= HELD_PER_POLICY || self.count >= HELD_MAX {
            return false;
        }
        let Some(copy) = copy_of(packet, &self.room) else { return false };
        waiting.queue.push_back((now, copy));
        self.count = self.count.saturating_add(1);
        true
    }

    /// Takes out the packets of a policy that `wanted` picks, the oldest first of those that wait for
    /// the same SA; stale ones go.
    pub(crate) fn take(
        &mut self,
        policy: PolicyId,
        now: Instant,
        wanted: impl Fn(&PacketBuf) -> bool,
    ) -> VecDeque<PacketBuf> {
        let mut taken = VecDeque::new();
        for waiting in self.waiting.range_mut(all_of(policy)).map(|(_, waiting)| waiting) {
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
        }
        self.forget_classes(policy, |waiting| waiting.queue.is_empty());
        taken
    }

    /// Whether packets may wait for this SA, too.
    fn has_room_for(&mut self, wanted: Wanted, now: Instant) -> bool {
        let (policy, class) = wanted;
        if class == FlowClass::default() || self.waiting.contains_key(&wanted) {
            return true;
        }
        if self.waiting.range(all_of(policy)).count() >= WAITED_FOR_MAX {
            self.forget_classes(policy, |waiting| {
                let was_asked = waiting.asked.is_some_and(|asked| !is_stale(asked, now));
                !was_asked && waiting.queue.back().is_none_or(|(since, _)| is_stale(*since, now))
            });
        }
        self.waiting.range(all_of(policy)).count() < WAITED_FOR_MAX
    }

    /// Forgets the classes of a policy that nothing is to be remembered about. What is remembered
    /// about a policy as a whole stays.
    fn forget_classes(&mut self, policy: PolicyId, is_done: impl Fn(&Waiting) -> bool) {
        let done: Vec<Wanted> = self
            .waiting
            .range(all_of(policy))
            .filter(|((_, class), waiting)| *class != FlowClass::default() && is_done(waiting))
            .map(|(wanted, _)| *wanted)
            .collect();
        for wanted in done {
            let waiting = self.waiting.remove(&wanted).unwrap_or_default();
            self.count = self.count.saturating_sub(waiting.queue.len());
        }
    }

    fn forget_stale_of(&mut self, wanted: Wanted, now: Instant) {
        let waiting = self.waiting.entry(wanted).or_default();
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

    /// Packets that wait may be filled up to so many octets.
    pub(crate) fn set_room(&mut self, octets: u16) {
        self.room = Room(octets);
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

/// The packet in a buffer of its own, with room to be filled up and sealed.
fn copy_of(packet: &PacketBuf, room: &Room) -> Option<PacketBuf> {
    let room = packet.len().max(room.0.into()).saturating_add(TAILROOM_MAX);
    let mut copy = PacketBuf::with_capacity(HEADROOM_MAX, room);
    copy.fill(packet.data()).then_some(())?;
    copy.meta = packet.meta;
    Some(copy)
}

/// Packets for SAs that other threads send on, in order.
#[derive(Default)]
pub(crate) struct Passed {
    queue: VecDeque<(u16, PacketBuf)>,
    room: Room,
}

/// Most packets that wait to be polled for other threads.
pub(crate) const PASSED_MAX: usize = 1_024;

impl Passed {
    /// Packets may be filled up to so many octets by their thread.
    pub(crate) fn set_room(&mut self, octets: u16) {
        self.room = Room(octets);
    }

    /// Copies a packet for a thread; `false` if too many wait already.
    pub(crate) fn push(&mut self, thread: u16, packet: &PacketBuf) -> bool {
        let has_place = self.queue.len() < PASSED_MAX;
        let copy = has_place.then(|| copy_of(packet, &self.room)).flatten();
        let is_copied = copy.is_some();
        self.queue.extend(copy.map(|copy| (thread, copy)));
        is_copied
    }

    /// The next one and its thread.
    pub(crate) fn pop(&mut self) -> Option<(u16, PacketBuf)> {
        self.queue.pop_front()
    }
}

/// All that packets of a policy wait for.
fn all_of(policy: PolicyId) -> impl RangeBounds<Wanted> {
    let next = PolicyId(policy.0.saturating_add(1));
    (policy, FlowClass::default())..(next, FlowClass::default())
}

fn is_stale(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= HELD_FOR
}

#[cfg(test)]
mod tests {
    use adit_db::Pfp;
    use adit_wire::ip::FlowKey;

    use super::*;

    fn whole(policy: u32) -> Wanted {
        (PolicyId(policy), FlowClass::default())
    }

    /// The SA for one host that was scanned.
    fn to_host(policy: u32, host: u16) -> Wanted {
        let [high, low] = host.to_be_bytes();
        let (src, dst) = ([10, 1, 0, 5].into(), [10, 2, high, low].into());
        let pfp = Pfp { remote: true, ..Pfp::NONE };
        (PolicyId(policy), pfp.class(&FlowKey::without_ports(src, dst, 1)))
    }

    /// Who scans a network fills the room of its own policy, for as long as packets wait.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn a_scanner_leaves_room_for_other_policies() {
        let now = Instant::now();
        let mut held = Held::default();
        let packet = PacketBuf::with_capacity(0, 20);
        let mut scan = |now| {
            let mut asked = 0;
            for host in 0..5_000 {
                asked += usize::from(held.may_ask(to_host(3, host), now));
                held.hold(to_host(3, host), &packet, now);
            }
            assert!(held.waiting.len() <= WAITED_FOR_MAX);
            assert!(held.len() <= WAITED_FOR_MAX * HELD_PER_POLICY);
            asked
        };
        assert_eq!(scan(now), WAITED_FOR_MAX);
        assert_eq!(scan(now + ACQUIRE_INTERVAL / 2), 0);
        assert_eq!(scan(now + HELD_FOR + ACQUIRE_INTERVAL), WAITED_FOR_MAX);
        for other in [whole(2), whole(4), to_host(4, 7)] {
            assert!(held.may_ask(other, now) && held.hold(other, &packet, now));
        }
        // What has its SA leaves nothing behind.
        let taken = held.take(PolicyId(3), now + HELD_FOR + ACQUIRE_INTERVAL, |_| true);
        assert_eq!(taken.len(), WAITED_FOR_MAX);
        assert_eq!((held.waiting.len(), held.len()), (3, 3));
    }

    /// However many policies there are, no more packets wait than [`HELD_MAX`], and stale ones
    /// make room.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn waiting_packets_are_bounded() {
        let now = Instant::now();
        let mut held = Held::default();
        let packet = PacketBuf::with_capacity(0, 20);
        for policy in 0..1000 {
            held.hold(whole(policy), &packet, now);
        }
        assert_eq!(held.len(), HELD_MAX);
        assert!(!held.hold(whole(5000), &packet, now));
        assert!(held.hold(whole(5000), &packet, now + HELD_FOR));
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
            assert!(held.hold(whole(0), &packet, at(second)));
        }
        assert!(!held.hold(whole(0), &packet, at(9)));
        assert_eq!(held.stale_from, None);
        assert!(held.hold(whole(0), &packet, at(10)));
        assert_eq!(held.len(), HELD_PER_POLICY);

        // All are: after one search nothing is looked for before the oldest has become stale.
        for policy in 1..1000 {
            held.hold(whole(policy), &packet, at(10));
        }
        assert_eq!(held.len(), HELD_MAX);
        assert_eq!(held.stale_from, Some(at(11)));
        assert!(!held.hold(whole(5000), &packet, at(10)));
        assert!(held.hold(whole(5000), &packet, at(11)));
        assert_eq!(held.len(), HELD_MAX);
        assert_eq!(held.stale_from, Some(at(12)));
    }
}
