//! Packets that are longer than their SAs take: refused with an answer, cut, or sent to be cut outside
//! (RFC 4301 §8.1, §8.2.1).
//!
//! | packet | what becomes of it |
//! |---|---|
//! | IPv4 with DF, IPv6 | dropped; its sender is told the size that fits |
//! | IPv4 without DF | cut before it is protected, or after, by policy |
//! | IPv6 up to 1,280 octets | sent; its outer packet is cut (RFC 2473 §7.1, RFC 8200 §5), by us if that is of IPv6 |
//! | joined from fragments | sent; its outer packet is cut: its sender has cut it already |

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use adit_wire::ip::{IcmpReport, IpPacket, Ipv6Header, may_be_answered, write_fragment};
use adit_wire::{PacketBuf, PacketMeta};

use super::{Outbound, Verdict};
use crate::bucket::TokenBucket;
use crate::drop_reason::DropReason;
use crate::esp::{HEADROOM_MAX, INNER_MTU, TAILROOM_MAX};
use crate::mss::V6_MTU_MIN;
use crate::nesting::{BETWEEN_MAX, put_outer};
use crate::outbound_sad::{Chain, Slot};
use crate::seal::Inner;

/// What becomes of a packet that is too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It is sent, and cut outside.
    Goes,
    /// It is cut, and its pieces are protected.
    Cut,
    /// It is dropped, and its sender hears of it.
    Refused,
}

/// ICMP errors that wait to be polled.
#[derive(Default)]
pub(super) struct Answers {
    queue: VecDeque<PacketBuf>,
    bucket: TokenBucket,
}

impl Answers {
    fn push(&mut self, answer: PacketBuf) {
        if self.queue.len() < ANSWERS_MAX {
            self.queue.push_back(answer);
        }
    }

    pub(super) fn pop(&mut self) -> Option<PacketBuf> {
        self.queue.pop_front()
    }

    fn has_room(&mut self, now: Instant) -> bool {
        self.queue.len() < ANSWERS_MAX && self.bucket.pass(ANSWERS_PER_SECOND, now)
    }
}

/// Room for any header in a fragment that we cut.
const PIECE_HEADERS: u16 = 60 + 8;

/// Most answers that wait to be polled.
const ANSWERS_MAX: usize = 64;

/// Most answers a second, about packets of all SAs together.
pub const ANSWERS_PER_SECOND: u32 = 200;

impl Outbound {
    /// Does what is to be done with a packet of which an SA, and those over it, take only the first
    /// `limit` octets.
    #[cold]
    pub(super) fn seal_long(
        &mut self,
        packet: &mut PacketBuf,
        slot: Slot,
        limit: usize,
        now: Instant,
    ) -> Verdict {
        let Some(sa) = self.sad.get(slot) else { return Verdict::Drop(DropReason::NoSa) };
        let Ok(inner) = IpPacket::read(packet.data()) else {
            return Verdict::Drop(DropReason::NotIp);
        };
        match fate(&inner, packet.meta.joined, sa.cuts_before()) {
            Fate::Goes => match self.sad.chain(slot) {
                Ok(chain) => self.seal_piece(packet, &chain, now),
                Err(_) => self.refuse(slot, DropReason::NoSa, now),
            },
            Fate::Cut => self.seal_pieces(packet, slot, limit, now),
            Fate::Refused => {
                if may_be_answered(&inner) && sa.may_answer(now) {
                    self.answer(&inner, packet.meta.table, limit, now);
                }
                self.refuse(slot, DropReason::TooBig, now)
            }
        }
    }

    /// Lets a packet leave in clear. Its way is another than the tunnels', and the kernel cuts nothing that
    /// has its own header: what may be longer than a usual link is cut here, or refused.
    pub(super) fn bypass(&mut self, packet: &PacketBuf, now: Instant) -> Verdict {
        // What was joined its caller cuts, who knows the number of its fragments.
        if packet.len() <= usize::from(INNER_MTU) || packet.meta.joined {
            return Verdict::Bypass;
        }
        let Ok(inner) = IpPacket::read(packet.data()) else {
            return Verdict::Drop(DropReason::NotIp);
        };
        match fate(&inner, false, true) {
            Fate::Goes => Verdict::Bypass,
            Fate::Cut => self.cut(packet, 0, INNER_MTU.into()),
            Fate::Refused => {
                if may_be_answered(&inner) {
                    self.answer(&inner, packet.meta.table, INNER_MTU.into(), now);
                }
                Verdict::Drop(DropReason::TooBig)
            }
        }
    }

    /// Tells the sender of a packet that came by the interface of this table what would have fitted.
    ///
    /// The source of the answer is left open, and whoever sends it fills in what the route to the
    /// host says: the engine knows no address of the inner side, and neither the host's peer nor our
    /// outer address is true there. The first is another's, and a kernel that sees the second come
    /// out of a TUN takes it for forged.
    pub(super) fn answer(&mut self, inner: &IpPacket<'_>, table: u16, limit: usize, now: Instant) {
        if !self.answers.has_room(now) {
            return;
        }
        let (source, least, room) = if inner.is_ipv4() {
            (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0, IcmpReport::V4_MAX)
        } else {
            (IpAddr::V6(Ipv6Addr::UNSPECIFIED), usize::from(V6_MTU_MIN), IcmpReport::V6_MAX)
        };
        let mtu = u32::try_from(limit.max(least)).unwrap_or(u32::MAX);
        let mut answer = PacketBuf::with_capacity(0, room);
        let report = IcmpReport::too_big(inner.is_ipv4(), mtu);
        if let Some(len) = report.write(inner, source, answer.spare_mut()) {
            answer.set_len(len);
            answer.meta.table = table;
            answer.meta.remote.set_ip(inner.src());
            self.answers.queue.push_back(answer);
        }
    }

    /// Has a host told something; the caller has a brake on that.
    pub(crate) fn push_answer(&mut self, answer: PacketBuf) {
        self.answers.push(answer);
    }

    /// Cuts an IPv4 packet as a router would (RFC 791 §3.2), and protects each piece.
    fn seal_pieces(
        &mut self,
        packet: &PacketBuf,
        slot: Slot,
        limit: usize,
        now: Instant,
    ) -> Verdict {
        let (Ok(whole), Ok(chain)) = (IpPacket::read(packet.data()), self.sad.chain(slot)) else {
            return Verdict::Drop(DropReason::NotIp);
        };
        let piece_len = limit.saturating_sub(whole.header_len()) & !0b111;
        // A piece may be filled up to what the others have.
        let room = limit.min(packet.len()).max(self.tun_mtu.into()).saturating_add(TAILROOM_MAX);
        let mut offset = 0;
        loop {
            let mut piece = PacketBuf::with_capacity(HEADROOM_MAX, room);
            let written = write_fragment(&whole, 0, offset, piece_len, piece.spare_mut());
            let Some((len, more)) = written.filter(|_| piece_len > 0) else {
                return self.refuse(slot, DropReason::NoRoom, now);
            };
            piece.set_len(len);
            piece.meta.table = packet.meta.table;
            match self.seal_piece(&mut piece, &chain, now) {
                Verdict::Send => self.held.push_ready(piece),
                Verdict::Held => {}
                verdict @ (Verdict::Drop(_) | Verdict::Bypass) => return verdict,
            }
            if !more {
                return Verdict::Held;
            }
            offset = offset.saturating_add(u16::try_from(piece_len).unwrap_or(u16::MAX));
        }
    }

    /// Sends a sealed packet, in pieces if its path takes less: here, if nobody else does that. The kernel
    /// does not cut what has its own header, and of IPv6 knows only what its first link takes, while no
    /// router cuts it (RFC 8200 §5). `number` is that of the packet in its SA.
    pub(super) fn cut_outside(
        &mut self,
        packet: &mut PacketBuf,
        number: u64,
        chain: &Chain,
    ) -> Verdict {
        let path = self.path_of(chain);
        let meta = packet.meta;
        let around = if meta.udp { BETWEEN_MAX } else { Ipv6Header::LEN };
        let is_long = packet.len().saturating_add(around) > path;
        let is_for_us = meta.remote.is_ipv6() && !meta.tcp && !meta.whole;
        if is_long && is_for_us && self.is_narrow(chain) {
            if put_outer(packet, number).is_none() {
                return Verdict::Drop(DropReason::NoRoom);
            }
            packet.meta.whole = true;
        }
        if packet.meta.whole && packet.len() > path {
            self.fragment_id = self.fragment_id.wrapping_add(1);
            return self.cut(packet, self.fragment_id, path);
        }
        Verdict::Send
    }

    /// Cuts a packet that was joined to be looked at or protected, and leaves with its own header:
    /// the kernel does not cut those. No piece is longer than `piece_max` octets.
    pub(super) fn cut(&mut self, packet: &PacketBuf, id: u32, piece_max: usize) -> Verdict {
        let Ok(whole) = IpPacket::read(packet.data()) else {
            return Verdict::Drop(DropReason::NotIp);
        };
        // What is cut is long: no path takes less than headers and some octets.
        let data_len = u16::try_from(piece_max).unwrap_or(u16::MAX).min(INNER_MTU);
        let data_len = data_len.saturating_sub(PIECE_HEADERS).max(8) & !0b111;
        let mut offset = 0;
        loop {
            let mut piece = PacketBuf::with_capacity(HEADROOM_MAX, INNER_MTU.into());
            let out = piece.spare_mut();
            let Some((len, more)) = write_fragment(&whole, id, offset, data_len.into(), out) else {
                return Verdict::Drop(DropReason::NoRoom);
            };
            piece.set_len(len);
            piece.meta = PacketMeta { whole: true, ..packet.meta };
            self.held.push_ready(piece);
            if !more {
                return Verdict::Held;
            }
            offset = offset.saturating_add(data_len);
        }
    }

    fn seal_piece(&mut self, piece: &mut PacketBuf, chain: &Chain, now: Instant) -> Verdict {
        match IpPacket::read(piece.data()).map(|inner| Inner::of(&inner)) {
            Ok(inner) => self.seal_through(piece, &inner, chain, now),
            Err(_) => Verdict::Drop(DropReason::NotIp),
        }
    }
}

/// Whether a packet that is too long is dropped, and its sender hears of it.
pub(super) fn is_refused(inner: &IpPacket<'_>, is_joined: bool, cuts_before: bool) -> bool {
    fate(inner, is_joined, cuts_before) == Fate::Refused
}

fn fate(inner: &IpPacket<'_>, is_joined: bool, cuts_before: bool) -> Fate {
    let may_cut = inner.is_ipv4() && !inner.dont_fragment();
    // A fragment that is too long is not cut again here: its pieces would need its offset.
    if may_cut && cuts_before && !is_joined && inner.fragment().is_none() {
        return Fate::Cut;
    }
    let is_least = !inner.is_ipv4() && inner.total_len() <= usize::from(V6_MTU_MIN);
    if may_cut || is_joined || is_least { Fate::Goes } else { Fate::Refused }
}
