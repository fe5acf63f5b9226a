//! Routers between the gateways as hops of the tunnel (RFC 4301 §5.1.2, §6.1.1), where the operator
//! wants them to be seen (`traceroute_transit = "reveal"`): who traces a path through it finds them.
//!
//! ```text
//! outbound  hops left of the inner packet -> those of the outer one; its first octets are remembered
//! inbound   a router outside: "time exceeded" about the outer packet, by SPI and sequence number
//!           -> the same about the inner packet, to who has sent that, from the router
//! ```
//!
//! The tunnel as such is uniform, as RFC 3443 §3.1 has it of others: the inner packet pays for the hops
//! that are known to lie between, so that the far gateway is on the path, too, once they are. Only
//! packets with few hops left are treated so, which are those of who traces a path; all others live
//! outside as long as they need, and nothing is remembered of them.
//!
//! How many hops lie between is known before anybody traces: when it begins to carry packets, and when its
//! peer has moved, an SA sends dummy packets (RFC 4303 §2.6) of one hop, two hops, and so on, some at a time
//! for as long as routers say that these had none left. So the gateway is there for who asks for all hops at
//! once.
//!
//! What routers say is not authenticated. It has no effect but an ICMP error to who has sent the packet
//! that was meant, some in a second, and that packets with few hops left may have fewer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use adit_db::{IcmpRules, Mode, Transit};
use adit_wire::PacketBuf;
use adit_wire::ip::{IcmpReport, IpPacket, QuotedSpi, set_ttl};

use crate::bucket::TokenBucket;
use crate::event::Event;
use crate::icmp_outside::{Complaint, Outer};
use crate::nesting::{BETWEEN_MAX, NESTING_MAX, put_outer};
use crate::outbound::Outbound;
use crate::sa::OutboundSa;

/// What an SA remembers of packets that may end outside.
#[derive(Clone, Debug)]
pub(crate) struct TransitLog {
    recent: Box<[Remembered]>,
    /// Where the next one goes; it is there without its number while it is being sealed.
    next: usize,
    /// Routers that are known to be between the gateways.
    hops: Option<Hops>,
    /// How many hops the last dummy had that looks for routers; zero if none was sent on this path.
    explored: u8,
    /// Senders who were told.
    told: TokenBucket,
}

/// Routers that have shown themselves.
#[derive(Clone, Copy, Debug)]
struct Hops {
    count: u8,
    /// When one was heard of last.
    heard: Instant,
    /// Until when they count, once nobody has been heard of for long and somebody traces again.
    ends: Option<Instant>,
}

/// The beginning of an inner packet, as its sender would know it.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    /// The lower half of the sequence number that it travels with; `None` if there is none.
    sequence: Option<u32>,
    /// The table of the interface by which it came.
    table: u16,
    /// Hops that it had left.
    ttl: u8,
    head_len: u8,
    head: [u8; HEAD_LEN],
}

impl Remembered {
    const NONE: Self = Self { sequence: None, table: 0, ttl: 0, head_len: 0, head: [0; HEAD_LEN] };

    fn head(&self) -> &[u8] {
        self.head.get(..self.head_len.into()).unwrap_or_default()
    }
}

impl TransitLog {
    fn new() -> Self {
        let recent = vec![Remembered::NONE; RECENT_MAX].into_boxed_slice();
        Self { recent, next: 0, hops: None, explored: 0, told: TokenBucket::NEW }
    }

    /// One if routers are to be seen.
    pub(crate) fn of(rules: &IcmpRules, mode: Mode) -> Option<Box<Self>> {
        let reveals = rules.transit == Transit::Reveal && mode == Mode::Tunnel;
        reveals.then(|| Box::new(Self::new()))
    }

    /// Its packets take another way.
    pub(crate) fn handle_new_path(&mut self) {
        (self.hops, self.explored) = (None, 0);
    }

    /// How many hops the next dummies have that look for routers; none if there are enough.
    pub(crate) fn explore(&mut self) -> RangeInclusive<u8> {
        let before = self.explored;
        let heard_far = self.hops.is_some_and(|hops| hops.count > before.saturating_sub(FAR));
        if before == 0 || heard_far {
            self.explored = before.saturating_add(STEP).min(HOPS_MAX);
        }
        before.saturating_add(1)..=self.explored
    }

    /// The next packet is a dummy with so many hops: nobody is to be told of it.
    pub(crate) fn remember_dummy(&mut self, ttl: u8) {
        if let Some(place) = self.recent.get_mut(self.next) {
            *place = Remembered { ttl, ..Remembered::NONE };
        }
    }

    fn remember(&mut self, packet: &PacketBuf, ttl: u8) {
        let Some(place) = self.recent.get_mut(self.next) else { return };
        let octets = packet.data();
        let head = octets.get(..HEAD_LEN).unwrap_or(octets);
        *place = Remembered { table: packet.meta.table, ttl, ..Remembered::NONE };
        place.head_len = u8::try_from(head.len()).unwrap_or(0);
        place.head.iter_mut().zip(head).for_each(|(place, octet)| *place = *octet);
    }

    /// The packet that was remembered last has this number.
    pub(crate) fn number(&mut self, number: u64) {
        let [.., s0, s1, s2, s3] = number.to_be_bytes();
        if let Some(place) = self.recent.get_mut(self.next) {
            place.sequence = Some(u32::from_be_bytes([s0, s1, s2, s3]));
        }
        self.next = self.next.wrapping_add(1).checked_rem(self.recent.len()).unwrap_or(0);
    }

    fn recall(&self, sequence: u32) -> Option<Remembered> {
        self.recent.iter().find(|one| one.sequence == Some(sequence)).copied()
    }

    /// A packet with so many hops left has ended at a router; true if that is news for other threads.
    pub(crate) fn note_hop(&mut self, ttl: u8, now: Instant) -> bool {
        let before = self.hops;
        let count = ttl.max(self.hops_now(now));
        self.hops = Some(Hops { count, heard: now, ends: None });
        let is_old = |at: Instant| now.saturating_duration_since(at) >= HOPS_TOLD_AGAIN;
        before.is_none_or(|before| before.count != count || is_old(before.heard))
    }

    /// Routers that count as hops. Where nobody has been heard of for long they do for a moment more: if they
    /// are still there, who traces now makes them say so.
    fn hops_now(&mut self, now: Instant) -> u8 {
        let Some(hops) = &mut self.hops else { return 0 };
        if now.saturating_duration_since(hops.heard) >= HOPS_AGE {
            let ends = hops.ends.or_else(|| now.checked_add(HOPS_GRACE));
            hops.ends = ends;
            if ends.is_none_or(|ends| ends <= now) {
                self.hops = None;
                return 0;
            }
        }
        hops.count
    }
}

impl OutboundSa {
    /// Looks at a packet before it is sealed: `Some` is how many hops its outer packet has.
    ///
    /// It may leave the inner packet with fewer, as the routers outside are hops that it has taken.
    #[cold]
    pub(crate) fn hops_of(&mut self, packet: &mut PacketBuf, now: Instant) -> Option<u8> {
        let ttl = IpPacket::read(packet.data()).ok()?.ttl();
        if !self.has_hops() || !(1..=HOPS_MAX).contains(&ttl) {
            return None;
        }
        let transit = self.transit()?;
        transit.remember(packet, ttl);
        let left = ttl.checked_sub(transit.hops_now(now)).filter(|left| (1..ttl).contains(left));
        if let Some(left) = left {
            let _ = set_ttl(packet.data_mut(), left);
        }
        Some(ttl)
    }

    /// Whether its packets have hops: a stream has none of single packets, and without a source we make no
    /// header.
    pub(crate) fn has_hops(&self) -> bool {
        !self.encap.tcp && !self.encap.local.ip().is_unspecified()
    }

    /// That packet has this number.
    #[cold]
    pub(crate) fn note_sealed(&mut self, number: u64) {
        if let Some(transit) = self.transit() {
            transit.number(number);
        }
    }
}

/// Gives a sealed packet an outer header with so many hops, if it then fits a path of `path_max` octets;
/// else it lives as long as it needs. `number` tells it from the sender's other packets.
pub(crate) fn put_hops(packet: &mut PacketBuf, number: u64, ttl: u8, path_max: usize) {
    let fits = packet.len().saturating_add(BETWEEN_MAX) <= path_max;
    if !packet.meta.whole {
        let has_room = packet.headroom() >= BETWEEN_MAX;
        let ends = (packet.meta.local.is_ipv4(), packet.meta.remote.is_ipv4());
        if !fits || !has_room || ends.0 != ends.1 || put_outer(packet, number).is_none() {
            return;
        }
        packet.meta.whole = true;
    }
    let _ = set_ttl(packet.data_mut(), ttl);
}

impl Outbound {
    /// Takes it that a packet of ours had no hops left at a router outside.
    pub(crate) fn handle_expired(
        &mut self,
        outer: &Outer,
        router: IpAddr,
        now: Instant,
    ) -> Complaint {
        let Some(child) = self.sender_of(outer) else { return Complaint::Unknown };
        let Some(sa) = self.sad.by_child(child) else { return Complaint::Unknown };
        if sa.transit().is_none() {
            return Complaint::Hidden;
        }
        let first = child;
        let (mut child, mut sequence) = (child, outer.quoted.sequence);
        // What another of our SAs has sealed has no sender behind us: its inner packet has.
        for _ in 0..NESTING_MAX {
            let found = self.recall(child, sequence, now);
            let Some(found) = found else { return Complaint::Elsewhere };
            if found.head().is_empty() {
                self.explore(child, now);
                return Complaint::Explored;
            }
            let Ok(about) = IpPacket::read_quoted(found.head()) else { return Complaint::Unknown };
            let below = QuotedSpi::read(&about).map(|quoted| Outer::of(&about, quoted));
            match below.and_then(|outer| Some((self.sender_of(&outer)?, outer.quoted.sequence))) {
                Some(below) => (child, sequence) = below,
                None => {
                    if !self.may_reveal(first, now) {
                        return Complaint::TooMany;
                    }
                    self.tell_expired(&about, router, found.table);
                    return Complaint::Revealed;
                }
            }
        }
        Complaint::Unknown
    }

    fn recall(
        &mut self,
        child: adit_db::ChildSaId,
        sequence: Option<u32>,
        now: Instant,
    ) -> Option<Remembered> {
        let transit = self.sad.by_child(child)?.transit()?;
        let found = transit.recall(sequence?)?;
        if transit.note_hop(found.ttl, now) {
            self.events.push(Event::Hops { child, hops: found.ttl });
        }
        Some(found)
    }

    /// Whether one more sender may be told of a router on the way of an SA.
    fn may_reveal(&mut self, child: adit_db::ChildSaId, now: Instant) -> bool {
        let transit = self.sad.by_child(child).and_then(OutboundSa::transit);
        transit.is_some_and(|it| it.told.spend(TOLD_PER_SECOND, TOLD_INTERVAL, now))
    }

    /// Tells the sender of a packet of which router its outer packet came to.
    fn tell_expired(&mut self, about: &IpPacket<'_>, router: IpAddr, table: u16) {
        let room = if about.is_ipv4() { IcmpReport::V4_MAX } else { IcmpReport::V6_MAX };
        let mut answer = PacketBuf::with_capacity(0, room);
        let report = IcmpReport::time_exceeded(about.is_ipv4());
        let source = shown_as(router, about.is_ipv4());
        if let Some(len) = report.write(about, source, answer.spare_mut()) {
            answer.set_len(len);
            answer.meta.table = table;
            answer.meta.remote.set_ip(about.src());
            self.push_answer(answer);
        }
    }
}

/// The address of a router for hosts of the inner family: one that stands for its own where that is of
/// the other.
fn shown_as(router: IpAddr, is_ipv4: bool) -> IpAddr {
    match (router, is_ipv4) {
        (IpAddr::V4(v4), false) => {
            let [a, b, c, d] = v4.octets();
            let [high, low] = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            // RFC 6052 §2.1: the well-known prefix.
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into()
        }
        // RFC 7600 §4.8: the dummy address for routers that have no address of IPv4.
        (IpAddr::V6(_), true) => Ipv4Addr::new(192, 0, 0, 8).into(),
        (router, _) => router,
    }
}

/// Octets that are remembered of a packet: IP and transport headers, or those of ESP in UDP above IPv6
/// up to the sequence number, and some of what extension headers take.
const HEAD_LEN: usize = 80;
/// Packets that are remembered of an SA.
const RECENT_MAX: usize = 64;
/// Packets with no more hops left are those of who traces a path, and one more than the usual tools try.
const HOPS_MAX: u8 = 31;
/// For how long routers count as hops since one was heard of, whoever traces, and for how much longer.
const HOPS_AGE: Duration = Duration::from_secs(600);
const HOPS_GRACE: Duration = Duration::from_secs(2);
/// After how long other threads are told once more that routers are where they were.
const HOPS_TOLD_AGAIN: Duration = Duration::from_secs(60);
/// Dummies that look for routers at a time. More follow if one of the last so many has found one.
const STEP: u8 = 8;
const FAR: u8 = 4;
/// Senders who are told at once about packets of one SA, and from one to the next.
const TOLD_PER_SECOND: u32 = 10;
const TOLD_INTERVAL: Duration = Duration::from_millis(100);
