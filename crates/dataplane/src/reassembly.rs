//! Fragments joined to packets, RFC 791 §3.2, RFC 8200 §4.5, RFC 5722, RFC 3128; why is in
//! RFC 4301 §7.
//!
//! A policy that looks at ports cannot judge a fragment that does not show them, and transport
//! mode protects whole packets only. Such fragments wait here until the packet is whole. What
//! overlaps, or could not come from an honest sender, ends the packet it belongs to: filters have
//! been walked around with both.
//!
//! Memory is bounded: [`PACKETS_MAX`] packets, [`PACKETS_PER_ORIGIN`] of one origin. Buffers are
//! made when they are first needed and used again. A whole packet changes places with its last
//! fragment and is not copied; where packets come in shorter buffers than that, theirs wait here until
//! they are asked for ([`Reassembly::take_back`]).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_db::ChildSaId;
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Ecn, FragmentParts, IpPacket, head_whole_packet, set_ecn};

use crate::drop_reason::DropReason;
use crate::esp::{HEADROOM_MAX, TAILROOM_MAX};

/// Packets that may be incomplete at a time.
pub const PACKETS_MAX: usize = 64;

/// Packets of one origin that may be incomplete at a time; the oldest makes room.
pub const PACKETS_PER_ORIGIN: usize = 16;

/// How long the fragments of a packet wait for the others (RFC 1122 §3.3.2 and RFC 8200 §4.5 have
/// 60 s; what is not there after 15 was lost).
pub const FRAGMENTS_WAIT: Duration = Duration::from_secs(15);

/// Fragments of one packet: 65,535 octets in packets of 576.
const PIECES_MAX: usize = 128;

/// Octets of headers before the fragment header.
const HEADER_MAX: usize = 256;

/// Most octets of a packet behind its headers.
const DATA_MAX: usize = 65_535;

/// A buffer for any IP packet, and for an incomplete one.
pub fn packet_buffer() -> PacketBuf {
    PacketBuf::with_capacity(HEADROOM_MAX, BUFFER_OCTETS - HEADROOM_MAX)
}

/// Whom fragments come from. Those of different origins never meet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// Outbound: the host that sent them.
    Host(IpAddr),
    /// Inbound: the SA they came through.
    Sa(ChildSaId),
}

/// Incomplete packets.
#[derive(Default)]
pub(crate) struct Reassembly {
    packets: Vec<Incomplete>,
    spare: Vec<PacketBuf>,
    /// Short buffers in whose place long ones are used.
    lent: Vec<PacketBuf>,
    /// Fragments that were given up because others of their packet were missing.
    given_up: u64,
}

/// What belongs together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Key {
    origin: Origin,
    /// Outbound: the interface that they came by.
    table: u16,
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// RFC 791 §3.2 counts it in, RFC 8200 §4.5 does not.
    protocol: Option<IpProtocol>,
}

struct Incomplete {
    key: Key,
    since: Instant,
    /// Its data lies behind room for the header.
    buffer: PacketBuf,
    header: [u8; HEADER_MAX],
    /// Length of the header and what follows it; `None` before the first fragment is there.
    first: Option<(usize, IpProtocol)>,
    /// Octets of data in all; `None` before the last fragment is there.
    len: Option<usize>,
    /// Start and end of what is there, in no order.
    pieces: [(usize, usize); PIECES_MAX],
    piece_count: usize,
    ecn: Ecn,
    /// It overlapped or was otherwise impossible: whatever else comes of it goes (RFC 5722 §4).
    refused: bool,
}

impl Reassembly {
    /// Takes a fragment out of `packet`. If that makes its packet whole, `packet` holds it and what
    /// comes back is the number its fragments had; else the fragment waits for the others, and
    /// `packet` is free.
    ///
    /// # Errors
    ///
    /// [`DropReason::Fragment`] if no honest packet has such a fragment.
    pub(crate) fn join(
        &mut self,
        origin: Origin,
        packet: &mut PacketBuf,
        now: Instant,
    ) -> Result<Option<u32>, DropReason> {
        self.forget_old(now);
        let view = IpPacket::read(packet.data()).map_err(|_| DropReason::Fragment)?;
        let parts = view.fragment_parts().ok_or(DropReason::Fragment)?;
        let key = Key {
            origin,
            table: packet.meta.table,
            src: view.src(),
            dst: view.dst(),
            id: parts.info.id,
            protocol: view.is_ipv4().then_some(parts.protocol),
        };
        let at = self.find(key, view.ecn(), now);
        let incomplete = self.packets.get_mut(at).ok_or(DropReason::Fragment)?;
        if incomplete.refused || !is_honest(&view, &parts) || !incomplete.add(&parts, view.ecn()) {
            incomplete.refused = true;
            return Err(DropReason::Fragment);
        }
        if !incomplete.is_whole() {
            return Ok(None);
        }
        let mut whole = self.packets.swap_remove(at);
        let finished = whole.finish();
        if finished.is_some() {
            std::mem::swap(packet, &mut whole.buffer);
            packet.meta = whole.buffer.meta;
        }
        self.put_away(whole.buffer);
        finished.map(|()| Some(key.id)).ok_or(DropReason::Fragment)
    }

    /// How many fragments were given up since the last call, because others of their packet did
    /// not come.
    pub(crate) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// Puts a long buffer in the place of a short one, with its addressing and what lies before the
    /// packet, which is empty; `false` if it is long already, or if too many were lent.
    pub(crate) fn lend(&mut self, packet: &mut PacketBuf) -> bool {
        if is_long(packet) || self.lent.len() >= LENT_MAX {
            return false;
        }
        let mut buffer = self.spare.pop().unwrap_or_else(packet_buffer);
        buffer.reset(0);
        packet.truncate(0);
        let front_len = packet.headroom();
        let front = packet.push_front(front_len).map(|front| &*front);
        if !buffer.fill(front.unwrap_or_default()) || !buffer.pull_front(front_len) {
            return false;
        }
        buffer.meta = packet.meta;
        std::mem::swap(packet, &mut buffer);
        self.lent.push(buffer);
        true
    }

    /// Whether long buffers are used in the place of short ones.
    pub(crate) fn has_lent(&self) -> bool {
        !self.lent.is_empty()
    }

    /// Puts a short buffer in the place of a long one, if that is one that was lent.
    pub(crate) fn take_back(&mut self, packet: &mut PacketBuf) {
        if is_long(packet)
            && let Some(mut buffer) = self.lent.pop()
        {
            std::mem::swap(packet, &mut buffer);
            self.spare.push(buffer);
        }
    }

    /// Where the packet of this fragment is; it begins if it is not there.
    fn find(&mut self, key: Key, ecn: Ecn, now: Instant) -> usize {
        if let Some(at) = self.packets.iter().position(|packet| packet.key == key) {
            return at;
        }
        let of_origin = |packet: &&Incomplete| packet.key.origin == key.origin;
        if self.packets.iter().filter(of_origin).count() >= PACKETS_PER_ORIGIN {
            self.give_up_oldest(|packet| packet.key.origin == key.origin);
        } else if self.packets.len() >= PACKETS_MAX {
            self.give_up_oldest(|_| true);
        }
        let mut buffer = self.spare.pop().unwrap_or_else(packet_buffer);
        buffer.reset(DATA_AT);
        self.packets.push(Incomplete::new(key, buffer, ecn, now));
        self.packets.len().saturating_sub(1)
    }

    fn give_up_oldest(&mut self, which: impl Fn(&Incomplete) -> bool) {
        let candidates = self.packets.iter().enumerate().filter(|(_, packet)| which(packet));
        let oldest = candidates.min_by_key(|(_, packet)| packet.since).map(|(at, _)| at);
        if let Some(at) = oldest {
            self.give_up(at);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old =
            |packet: &Incomplete| now.saturating_duration_since(packet.since) >= FRAGMENTS_WAIT;
        while let Some(at) = self.packets.iter().position(is_old) {
            self.give_up(at);
        }
    }

    fn give_up(&mut self, at: usize) {
        let packet = self.packets.swap_remove(at);
        if !packet.refused {
            let fragments = u64::try_from(packet.piece_count).unwrap_or(u64::MAX);
            self.given_up = self.given_up.saturating_add(fragments);
        }
        self.put_away(packet.buffer);
    }

    fn put_away(&mut self, buffer: PacketBuf) {
        if is_long(&buffer) {
            self.spare.push(buffer);
        } else if self.lent.len() < LENT_MAX {
            self.lent.push(buffer);
        }
    }
}

impl Incomplete {
    fn new(key: Key, buffer: PacketBuf, ecn: Ecn, now: Instant) -> Self {
        Self {
            key,
            since: now,
            buffer,
            header: [0; HEADER_MAX],
            first: None,
            len: None,
            pieces: [(0, 0); PIECES_MAX],
            piece_count: 0,
            ecn,
            refused: false,
        }
    }

    fn pieces(&self) -> &[(usize, usize)] {
        self.pieces.get(..self.piece_count).unwrap_or_default()
    }

    /// Whether the fragment fits the others; if so it is among them.
    fn add(&mut self, parts: &FragmentParts<'_>, ecn: Ecn) -> bool {
        let start = usize::from(parts.info.offset);
        let end = start.saturating_add(parts.data.len());
        // RFC 8200 §4.5: an exact duplicate is no attack. What came first stays.
        if self.pieces().contains(&(start, end)) {
            return true;
        }
        let farthest = self.pieces().iter().map(|(_, end)| *end).max().unwrap_or(0);
        let fits = match (parts.info.more, self.len) {
            (true, Some(len)) => end < len,
            (true, None) => true,
            (false, len) => len.is_none() && farthest <= end,
        };
        let overlaps = self.pieces().iter().any(|(from, to)| start < *to && *from < end);
        let ecn = combined(self.ecn, ecn);
        let place = self.buffer.spare_mut().get_mut(start..end);
        let (true, false, Some(ecn), Some(place)) = (fits, overlaps, ecn, place) else {
            return false;
        };
        let Some(piece) = self.pieces.get_mut(self.piece_count) else {
            return false;
        };
        if start == 0 {
            let Some(header) = self.header.get_mut(..parts.header.len()) else {
                return false;
            };
            header.copy_from_slice(parts.header);
            self.first = Some((parts.header.len(), parts.protocol));
        }
        place.copy_from_slice(parts.data);
        *piece = (start, end);
        self.piece_count = self.piece_count.saturating_add(1);
        self.ecn = ecn;
        if !parts.info.more {
            self.len = Some(end);
        }
        true
    }

    /// Nothing overlaps, so nothing is missing if the lengths add up.
    fn is_whole(&self) -> bool {
        let present = self.pieces().iter().map(|(start, end)| end.saturating_sub(*start)).sum();
        self.len == Some(present)
    }

    /// Puts the header before the data; `None` if that is longer than a packet can be.
    fn finish(&mut self) -> Option<()> {
        let (header_len, protocol) = self.first?;
        self.buffer.set_len(self.len?);
        self.buffer.push_front(header_len)?.copy_from_slice(self.header.get(..header_len)?);
        head_whole_packet(self.buffer.data_mut(), header_len, protocol)?;
        set_ecn(self.buffer.data_mut(), self.ecn).then_some(())
    }
}

/// Whether an honest sender may have cut a packet so.
fn is_honest(packet: &IpPacket<'_>, parts: &FragmentParts<'_>) -> bool {
    let len = parts.data.len();
    let is_first = parts.info.offset == 0;
    // Routers cut at multiples of 8 octets, and never nothing off.
    if len == 0 || parts.info.more && !len.is_multiple_of(8) {
        return false;
    }
    // RFC 3128 §2: the flags of TCP stay with its ports.
    if parts.protocol == IpProtocol::TCP
        && (parts.info.offset == 8 || is_first && len < TCP_FIRST_MIN)
    {
        return false;
    }
    // RFC 7112 §5: the first fragment shows what the packet is.
    let flow = packet.flow_key();
    let shows = packet.protocol().has_ports()
        || matches!(
            packet.protocol(),
            IpProtocol::ICMP | IpProtocol::ICMPV6 | IpProtocol::MOBILITY
        );
    !(is_first && shows && flow.opaque)
}

/// The congestion mark of a packet from those of its fragments (RFC 3168 §5.3); `None` if they
/// contradict each other.
fn combined(one: Ecn, other: Ecn) -> Option<Ecn> {
    match (one, other) {
        _ if one == other => Some(one),
        (Ecn::Ce, Ecn::NotEct) | (Ecn::NotEct, Ecn::Ce) => None,
        (Ecn::Ce, _) | (_, Ecn::Ce) => Some(Ecn::Ce),
        (Ecn::NotEct, _) | (_, Ecn::NotEct) => Some(Ecn::NotEct),
        _ => Some(one),
    }
}

fn is_long(buffer: &PacketBuf) -> bool {
    buffer.capacity() >= BUFFER_OCTETS
}

/// Most long buffers that are lent at a time: as many as packets come in one piece.
const LENT_MAX: usize = 128;

/// Where data begins in a buffer.
const DATA_AT: usize = HEADROOM_MAX + HEADER_MAX;

/// Octets of [`packet_buffer`].
const BUFFER_OCTETS: usize = DATA_AT + DATA_MAX + TAILROOM_MAX;

/// Least octets of TCP in a first fragment (RFC 1858 §3.2.1).
const TCP_FIRST_MIN: usize = 16;

#[cfg(test)]
mod tests;
