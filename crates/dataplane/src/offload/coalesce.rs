//! Packets of a flow that continue each other, TCP segments (RFC 9293 §3.1) or UDP datagrams of equal
//! size, made one super-packet for an interface that takes those: the inverse of
//! [`Segments`](super::Segments).
//!
//! Nothing is copied. The first packet gets the headers of the whole, and what is written is that
//! packet and the payloads of the others. Nothing is held either: what a burst has brought leaves
//! with it.
//!
//! What differs in anything that a segment could not get back stands alone: other headers, options or
//! flags, a gap in the sequence, a checksum that is wrong. The IPv4 identification counts up, as it
//! will when the whole is cut, or stays the same where nobody may fragment: what it is then does not
//! matter (RFC 6864 §4.1).

use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::Ipv4Header;
use adit_wire::vnet::{Gso, VnetHeader};

use super::checksum::{add, sum};

/// Most packets in one super-packet: the kernel counts so many UDP datagrams in one, and no more.
pub const MERGED_MAX: usize = 64;

/// What an interface takes in one piece.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mergeable {
    /// TCP segments of one flow.
    pub tcp: bool,
    /// UDP datagrams of one flow and of equal size.
    pub udp: bool,
}

/// The packets of a burst, sorted into what is written in one piece.
#[derive(Debug)]
pub struct Coalescer {
    bundles: Vec<Bundle>,
    /// By the number of a packet, that of the next in its bundle.
    links: Box<[u16]>,
    /// Bundles that may still grow, no two of one flow; the oldest makes room.
    open: [Option<usize>; OPEN_MAX],
    oldest: usize,
}

/// Packets that are written in one piece.
#[derive(Clone, Copy, Debug)]
struct Bundle {
    first: u16,
    last: u16,
    count: usize,
    /// Octets of all: headers once, and every payload.
    octets: usize,
    /// What may follow; `None` for packets that stand alone.
    tail: Option<Tail>,
}

#[derive(Clone, Copy, Debug)]
struct Tail {
    shape: Shape,
    /// Octets of payload in each packet but the last.
    segment_len: usize,
    next_sequence: u32,
    /// Whether the first packet is what it says; looked at when there is a second.
    is_verified: bool,
    /// Whether the last packet asks its receiver to hand everything up (RFC 9293 §3.9.1.2).
    push: bool,
    identification: Identification,
}

/// How the identification goes on from packet to packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Identification {
    /// There is one packet, or it is IPv6.
    Open,
    Counts,
    Stays,
}

/// Where the headers of a packet are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Shape {
    is_ipv4: bool,
    is_tcp: bool,
    /// The interface it goes to.
    table: u16,
    /// Octets before the transport header, and before the payload.
    ip_len: usize,
    header_len: usize,
}

/// A packet that could be part of a bundle.
struct Piece<'a> {
    octets: &'a [u8],
    shape: Shape,
    payload_len: usize,
    sequence: u32,
    push: bool,
}

impl Coalescer {
    /// For bursts of at most `packets_max` packets.
    #[must_use]
    pub fn new(packets_max: usize) -> Self {
        Self {
            bundles: Vec::with_capacity(packets_max),
            links: vec![0; packets_max].into_boxed_slice(),
            open: [None; OPEN_MAX],
            oldest: 0,
        }
    }

    /// Forgets the burst.
    pub fn clear(&mut self) {
        self.bundles.clear();
        self.open = [None; OPEN_MAX];
    }

    /// Takes in the packet of this number, below `packets_max` and not taken in before; `mergeable`
    /// is what its interface takes. Packets taken in earlier are where they were. One that stands for
    /// several ([`SuperPacket`](super::SuperPacket)) is a piece for itself.
    pub fn add(&mut self, packets: &[PacketBuf], number: usize, mergeable: Mergeable) {
        let (Some(packet), Ok(link)) = (packets.get(number), u16::try_from(number)) else {
            return;
        };
        let alone = Bundle { first: link, last: link, count: 1, octets: packet.len(), tail: None };
        let takes = |piece: &Piece<'_>| {
            if piece.shape.is_tcp { mergeable.tcp } else { mergeable.udp }
        };
        let is_super = packet.meta.segment_len > 0;
        let Some(piece) = Piece::read(packet).filter(|piece| !is_super && takes(piece)) else {
            // What it belongs to must not overtake it.
            self.close_flow(packets, packet);
            return self.bundles.push(alone);
        };
        let Some(slot) = self.slot_of(packets, &piece) else {
            return self.open(alone, &piece);
        };
        match self.extend(packets, slot, &piece, link) {
            Some(true) => {}
            Some(false) => self.close(slot),
            None => {
                self.close(slot);
                self.open(alone, &piece);
            }
        }
    }

    /// How many pieces there are to write, in this order.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bundles.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bundles.is_empty()
    }

    /// How many packets are in a piece, and the number of the first.
    #[must_use]
    pub fn bundle(&self, number: usize) -> Option<(usize, usize)> {
        self.bundles.get(number).map(|bundle| (bundle.count, bundle.first.into()))
    }

    /// Gives the first packet of a piece the headers of the whole, once, and says what stands before
    /// it.
    pub fn finish(&self, number: usize, packets: &mut [PacketBuf]) -> VnetHeader {
        let bundle = self.bundles.get(number).filter(|bundle| bundle.count > 1);
        let written = bundle.and_then(|bundle| {
            let first = packets.get_mut(usize::from(bundle.first))?;
            let tail = bundle.tail?;
            tail.write_headers(first.data_mut(), bundle.octets)?;
            Some(tail.vnet_header())
        });
        written.unwrap_or_default()
    }

    /// What is written of a piece: its first packet, and the payloads of the others.
    pub fn parts<'a>(
        &'a self,
        number: usize,
        packets: &'a [PacketBuf],
    ) -> impl Iterator<Item = &'a [u8]> {
        let bundle = self.bundles.get(number);
        let count = bundle.map_or(0, |bundle| bundle.count);
        let header_len =
            bundle.and_then(|bundle| bundle.tail).map_or(0, |tail| tail.shape.header_len);
        let mut at = bundle.map_or(0, |bundle| usize::from(bundle.first));
        (0..count).map(move |place| {
            let octets = packets.get(at).map(PacketBuf::data).unwrap_or_default();
            at = self.links.get(at).copied().unwrap_or(0).into();
            octets.get(if place == 0 { 0 } else { header_len }..).unwrap_or_default()
        })
    }

    /// The packets of a piece, by their numbers in order.
    pub fn members(&self, number: usize) -> impl Iterator<Item = usize> {
        let bundle = self.bundles.get(number);
        let (count, mut at) = bundle.map_or((0, 0), |bundle| (bundle.count, bundle.first.into()));
        (0..count).map(move |_| {
            let member = at;
            at = self.links.get(at).copied().unwrap_or(0).into();
            member
        })
    }

    /// Where the open bundle of a packet's flow is.
    fn slot_of(&self, packets: &[PacketBuf], piece: &Piece<'_>) -> Option<usize> {
        self.open.iter().position(|open| {
            let (tail, first) = open.and_then(|at| self.first_of(packets, at)).unzip();
            tail.is_some_and(|tail: Tail| tail.shape.is_same_kind(piece.shape))
                && first.is_some_and(|first| piece.is_same_flow(first))
        })
    }

    fn first_of<'a>(&self, packets: &'a [PacketBuf], at: usize) -> Option<(Tail, &'a [u8])> {
        let bundle = self.bundles.get(at)?;
        Some((bundle.tail?, packets.get(usize::from(bundle.first))?.data()))
    }

    /// Puts a packet behind those of its flow; whether others may follow. `None` if it does not
    /// continue them.
    fn extend(
        &mut self,
        packets: &[PacketBuf],
        slot: usize,
        piece: &Piece<'_>,
        link: u16,
    ) -> Option<bool> {
        let at = self.open.get(slot).copied().flatten()?;
        let (_, first) = self.first_of(packets, at)?;
        let bundle = self.bundles.get_mut(at)?;
        let tail = bundle.tail.as_mut()?;
        let octets = bundle.octets.saturating_add(piece.payload_len);
        if bundle.count >= MERGED_MAX || octets > OCTETS_MAX || !tail.is_continued(first, piece) {
            return None;
        }
        let identification = tail.identification_with(first, piece.octets, bundle.count)?;
        tail.is_verified = tail.is_verified || tail.shape.has_good_checksums(first);
        if !tail.is_verified || !piece.shape.has_good_checksums(piece.octets) {
            return None;
        }
        tail.identification = identification;
        tail.next_sequence = piece.next_sequence();
        tail.push = piece.push;
        *self.links.get_mut(usize::from(bundle.last))? = link;
        bundle.last = link;
        bundle.count = bundle.count.saturating_add(1);
        bundle.octets = octets;
        Some(!piece.push && piece.payload_len == tail.segment_len)
    }

    /// Begins a bundle with a packet, which others may follow unless it asks for haste.
    fn open(&mut self, alone: Bundle, piece: &Piece<'_>) {
        let tail = Tail {
            shape: piece.shape,
            segment_len: piece.payload_len,
            next_sequence: piece.next_sequence(),
            is_verified: false,
            push: piece.push,
            identification: Identification::Open,
        };
        if !piece.push {
            let free = self.open.iter().position(Option::is_none);
            let slot = free.unwrap_or_else(|| {
                self.oldest = self.oldest.wrapping_add(1) % OPEN_MAX;
                self.oldest
            });
            if let Some(open) = self.open.get_mut(slot) {
                *open = Some(self.bundles.len());
            }
        }
        self.bundles.push(Bundle { tail: Some(tail), ..alone });
    }

    fn close(&mut self, slot: usize) {
        if let Some(open) = self.open.get_mut(slot) {
            *open = None;
        }
    }

    /// Lets nothing be added to what may be of the flow of this packet.
    fn close_flow(&mut self, packets: &[PacketBuf], packet: &PacketBuf) {
        for slot in 0..OPEN_MAX {
            let open = self.open.get(slot).copied().flatten();
            let first = open.and_then(|at| self.first_of(packets, at));
            if first.is_some_and(|(_, first)| may_be_of_flow(packet.data(), first)) {
                self.close(slot);
            }
        }
    }
}

impl<'a> Piece<'a> {
    /// `None` for what is never merged: other protocols, fragments, options, flags, nothing in it.
    fn read(packet: &'a PacketBuf) -> Option<Self> {
        let octets = packet.data();
        let (is_ipv4, protocol, ip_len) = match *octets.first_chunk::<IPV4_LEN>()? {
            [0x45, _, l0, l1, _, _, f0, f1, _, protocol, ..] => {
                let is_whole = u16::from_be_bytes([f0, f1]) & !DONT_FRAGMENT == 0;
                let len = usize::from(u16::from_be_bytes([l0, l1]));
                (true, (is_whole && len == octets.len()).then_some(protocol)?, IPV4_LEN)
            }
            [version, _, _, _, l0, l1, next, ..] if version >> 4 == 6 => {
                let len = usize::from(u16::from_be_bytes([l0, l1])).checked_add(IPV6_LEN)?;
                (false, (len == octets.len()).then_some(next)?, IPV6_LEN)
            }
            _ => return None,
        };
        let table = packet.meta.table;
        let transport = octets.get(ip_len..)?;
        let (is_tcp, transport_len, sequence, push) = match IpProtocol(protocol) {
            IpProtocol::TCP => read_tcp(transport)?,
            IpProtocol::UDP => read_udp(transport)?,
            _ => return None,
        };
        let header_len = ip_len.checked_add(transport_len)?;
        let payload_len = octets.len().checked_sub(header_len).filter(|len| *len > 0)?;
        let shape = Shape { is_ipv4, is_tcp, table, ip_len, header_len };
        Some(Self { octets, shape, payload_len, sequence, push })
    }

    fn next_sequence(&self) -> u32 {
        self.sequence.wrapping_add(u32::try_from(self.payload_len).unwrap_or(0))
    }

    /// Addresses and ports, which stand together.
    fn is_same_flow(&self, other: &[u8]) -> bool {
        let range = if self.shape.is_ipv4 { IPV4_FLOW } else { IPV6_FLOW };
        self.octets.get(range.clone()) == other.get(range)
    }
}

/// Header length, sequence number and PSH of a segment that carries nothing special.
fn read_tcp(transport: &[u8]) -> Option<(bool, usize, u32, bool)> {
    let [_, _, _, _, s0, s1, s2, s3, _, _, _, _, offset, flags, ..] =
        *transport.first_chunk::<TCP_LEN>()?;
    let header_len = usize::from(offset >> 4).saturating_mul(4);
    let is_plain = offset & 0x0f == 0 && flags & !PSH == ACK;
    let push = flags & PSH != 0;
    let sequence = u32::from_be_bytes([s0, s1, s2, s3]);
    (is_plain && header_len >= TCP_LEN).then_some((true, header_len, sequence, push))
}

/// The same of a datagram, which has no such things.
fn read_udp(transport: &[u8]) -> Option<(bool, usize, u32, bool)> {
    let [_, _, _, _, l0, l1, c0, c1] = *transport.first_chunk::<UDP_LEN>()?;
    let is_whole = usize::from(u16::from_be_bytes([l0, l1])) == transport.len();
    // RFC 768: without a checksum, the whole could not have one, and its parts would get one.
    (is_whole && [c0, c1] != [0, 0]).then_some((false, UDP_LEN, 0, false))
}

/// Whether a packet that stands alone may be of the flow of another: it is between the same hosts, and
/// its ports, if it has those in the same place, are the same.
fn may_be_of_flow(packet: &[u8], first: &[u8]) -> bool {
    let is_same = |range: core::ops::Range<usize>| packet.get(range.clone()) == first.get(range);
    match (packet.first(), first.first()) {
        // Without options and not a fragment: the ports are behind the header.
        (Some(0x45), Some(0x45))
            if matches!(packet.get(6..8), Some([0 | 0x40, 0])) && packet.get(9) == first.get(9) =>
        {
            is_same(IPV4_FLOW)
        }
        (Some(one), Some(other)) if one >> 4 != other >> 4 => false,
        (Some(one), _) if one >> 4 == 4 => is_same(IPV4_ADDRESSES),
        _ if packet.get(6) == first.get(6) => is_same(IPV6_FLOW),
        _ => is_same(IPV6_ADDRESSES),
    }
}

impl Shape {
    fn is_same_kind(self, other: Self) -> bool {
        (self.is_ipv4, self.is_tcp, self.table) == (other.is_ipv4, other.is_tcp, other.table)
    }

    /// Whether the checksums of a packet of this shape are right.
    fn has_good_checksums(self, octets: &[u8]) -> bool {
        let (ip, transport) = octets.split_at_checked(self.ip_len).unwrap_or_default();
        let is_good = add(self.pseudo_sum(ip, transport.len()), sum(transport)) == ALL_ONES;
        is_good && (!self.is_ipv4 || sum(ip) == ALL_ONES)
    }

    /// Sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1).
    fn pseudo_sum(self, ip: &[u8], transport_len: usize) -> u16 {
        let addresses = if self.is_ipv4 { IPV4_ADDRESSES } else { IPV6_ADDRESSES };
        let protocol = if self.is_tcp { IpProtocol::TCP } else { IpProtocol::UDP };
        let len = u16::try_from(transport_len).unwrap_or(0);
        let addresses = sum(ip.get(addresses).unwrap_or_default());
        add(add(addresses, u16::from(protocol.0)), len)
    }
}

impl Tail {
    /// Whether a packet of the flow is what would be cut off next.
    fn is_continued(&self, first: &[u8], piece: &Piece<'_>) -> bool {
        let is_same = |from: usize, to: usize| first.get(from..to) == piece.octets.get(from..to);
        let at = self.shape.ip_len;
        let ip = if self.shape.is_ipv4 {
            // Version, class, flags, TTL, protocol.
            is_same(0, 2) && is_same(6, 10)
        } else {
            // Version, class, flow label, next header, hop limit.
            is_same(0, 4) && is_same(6, 8)
        };
        let transport = !self.shape.is_tcp
            // Acknowledgement, window, urgent pointer, options.
            || piece.sequence == self.next_sequence
                && is_same(at + 8, at + 13)
                && is_same(at + 14, at + 16)
                && is_same(at + 18, self.shape.header_len);
        ip && transport && piece.shape == self.shape && piece.payload_len <= self.segment_len
    }

    /// How the identification goes on if this packet is the next; `None` if it goes astray.
    fn identification_with(
        &self,
        first: &[u8],
        octets: &[u8],
        count: usize,
    ) -> Option<Identification> {
        if !self.shape.is_ipv4 {
            return Some(Identification::Open);
        }
        let [_, _, _, _, f0, f1, flags, ..] = *first.first_chunk::<IPV4_LEN>()?;
        let [_, _, _, _, i0, i1, ..] = *octets.first_chunk::<IPV4_LEN>()?;
        let (begun, found) = (u16::from_be_bytes([f0, f1]), u16::from_be_bytes([i0, i1]));
        let counted = begun.wrapping_add(u16::try_from(count).ok()?);
        if found == counted && self.identification != Identification::Stays {
            return Some(Identification::Counts);
        }
        let may_stay = flags & 0x40 != 0 && self.identification != Identification::Counts;
        (found == begun && may_stay).then_some(Identification::Stays)
    }

    fn write_headers(&self, packet: &mut [u8], octets: usize) -> Option<()> {
        let Shape { is_ipv4, is_tcp, ip_len, header_len, .. } = self.shape;
        let (ip, rest) = packet.split_at_mut_checked(ip_len)?;
        let transport = rest.get_mut(..header_len.checked_sub(ip_len)?)?;
        let transport_len = octets.checked_sub(ip_len)?;
        if is_ipv4 {
            ip.get_mut(2..4)?.copy_from_slice(&u16::try_from(octets).ok()?.to_be_bytes());
            ip.get_mut(10..12)?.fill(0);
            let checksum = !sum(ip);
            ip.get_mut(10..12)?.copy_from_slice(&checksum.to_be_bytes());
        } else {
            let payload_len = u16::try_from(transport_len).ok()?;
            ip.get_mut(4..6)?.copy_from_slice(&payload_len.to_be_bytes());
        }
        if is_tcp {
            *transport.get_mut(13)? |= if self.push { PSH } else { 0 };
        } else {
            let udp_len = u16::try_from(transport_len).ok()?;
            transport.get_mut(4..6)?.copy_from_slice(&udp_len.to_be_bytes());
        }
        let pseudo = self.shape.pseudo_sum(ip, transport_len);
        let at = self.checksum_offset();
        transport.get_mut(at..at.checked_add(2)?)?.copy_from_slice(&pseudo.to_be_bytes());
        Some(())
    }

    fn checksum_offset(&self) -> usize {
        if self.shape.is_tcp { 16 } else { 6 }
    }

    fn vnet_header(&self) -> VnetHeader {
        let number = |octets: usize| u16::try_from(octets).unwrap_or(u16::MAX);
        VnetHeader {
            needs_checksum: true,
            gso: match (self.shape.is_tcp, self.shape.is_ipv4) {
                (true, true) => Gso::TcpV4,
                (true, false) => Gso::TcpV6,
                (false, _) => Gso::UdpL4,
            },
            header_len: number(self.shape.header_len),
            segment_len: number(self.segment_len),
            checksum_start: number(self.shape.ip_len),
            checksum_offset: number(self.checksum_offset()),
            ..VnetHeader::default()
        }
    }
}

/// Flows whose packets may be merged at a time, though others come between.
const OPEN_MAX: usize = 16;
/// Longest IPv4 packet; of IPv6 the payload alone counts, which is more than enough.
const OCTETS_MAX: usize = 65_535;
const IPV4_LEN: usize = Ipv4Header::LEN;
const IPV6_LEN: usize = adit_wire::ip::Ipv6Header::LEN;
const TCP_LEN: usize = 20;
const UDP_LEN: usize = 8;
const IPV4_ADDRESSES: core::ops::Range<usize> = 12..20;
const IPV6_ADDRESSES: core::ops::Range<usize> = 8..40;
/// Addresses and ports.
const IPV4_FLOW: core::ops::Range<usize> = 12..24;
const IPV6_FLOW: core::ops::Range<usize> = 8..44;
const DONT_FRAGMENT: u16 = 0x4000;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// What octets sum up to that include their own right checksum.
const ALL_ONES: u16 = 0xffff;

#[cfg(test)]
mod tests;
