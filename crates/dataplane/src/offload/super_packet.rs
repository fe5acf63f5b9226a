//! A super-packet that travels whole between two of us: several TCP segments (RFC 9293 §3.1) behind one
//! header, as an interface gives and takes them.
//!
//! It is what the kernel of the sender has not cut and that of the receiver need not join. Nothing sums
//! it up either: its checksum field holds the sum of the pseudo header, ESP vouches for the octets, and
//! who cuts it in the end makes the checksums.

use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Ipv4Header, Ipv6Header};
use adit_wire::vnet::{Gso, VnetHeader};

use super::Segments;
use super::segment::{TCP_DATA_OFFSET, TCP_FIN, TCP_FLAGS, TCP_PSH};
use crate::drop_reason::DropReason;
use crate::esp::INNER_MTU;

/// Most octets of a super-packet that travels whole. A data block counts 65,535 with the header
/// before it, and one message of the sender is about as long: what is lost with one ESP packet is no more.
pub const SUPER_OCTETS_MAX: usize = 65_000;

/// Most segments of one. The kernel of the receiver may have to make a packet of each, so a peer
/// cannot ask for more of these than honest segments are.
pub const SUPER_SEGMENTS_MAX: usize = 128;

/// A sound one: an IP packet without options, extension headers and fragments, with several plain
/// TCP segments that fit our interface each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SuperPacket<'a> {
    octets: &'a [u8],
    is_ipv4: bool,
    /// Octets before the TCP header, and before the payload.
    ip_len: u16,
    header_len: u16,
    segment_len: u16,
}

impl<'a> SuperPacket<'a> {
    /// What came from an interface behind this header; `None` if it is to be cut here.
    #[must_use]
    pub fn of(header: &VnetHeader, packet: &'a [u8]) -> Option<Self> {
        // Most packets are no such thing.
        if header.gso == Gso::None {
            return None;
        }
        let read = Self::read(packet, header.segment_len)?;
        let expected = VnetHeader { header_len: header.header_len, ..read.vnet_header() };
        (*header == expected).then_some(read)
    }

    /// The same for octets and length of segments that a peer has sent; `None` if they are no such thing.
    #[must_use]
    pub fn read(octets: &'a [u8], segment_len: u16) -> Option<Self> {
        let is_ipv4 = octets.first()? >> 4 == 4;
        let ip_len = if is_ipv4 { Ipv4Header::LEN } else { Ipv6Header::LEN };
        let (ip, tcp) = octets.split_at_checked(ip_len)?;
        let is_whole =
            if is_ipv4 { is_plain_ipv4(ip, octets.len()) } else { is_plain_ipv6(ip, tcp) };
        let tcp_len = usize::from(tcp.get(TCP_DATA_OFFSET)? >> 4).saturating_mul(4);
        let payload_len = tcp.len().checked_sub(tcp_len)?;
        let header_len = ip_len.saturating_add(tcp_len);
        let segment = usize::from(segment_len);
        let is_sound = is_whole
            && is_plain_tcp(tcp)
            && octets.len() <= SUPER_OCTETS_MAX
            && (1..payload_len).contains(&segment)
            && payload_len.div_ceil(segment) <= SUPER_SEGMENTS_MAX
            && header_len.saturating_add(segment) <= usize::from(INNER_MTU);
        let (ip_len, header_len) = (u16::try_from(ip_len).ok()?, u16::try_from(header_len).ok()?);
        is_sound.then_some(Self { octets, is_ipv4, ip_len, header_len, segment_len })
    }

    /// The same for a packet whose `meta` says that it stands for several.
    #[must_use]
    pub fn in_buffer(packet: &'a PacketBuf) -> Option<Self> {
        let segment_len = Some(packet.meta.segment_len).filter(|len| *len > 0)?;
        Self::read(packet.data(), segment_len)
    }

    /// The IP packet.
    #[must_use]
    pub const fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Octets of payload in each segment but the last.
    #[must_use]
    pub const fn segment_len(&self) -> u16 {
        self.segment_len
    }

    /// Octets of payload.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.octets.len().saturating_sub(self.header_len.into())
    }

    /// How many segments it stands for: two at least.
    #[must_use]
    pub fn count(&self) -> usize {
        self.payload_len().div_ceil(usize::from(self.segment_len).max(1))
    }

    /// What stands before it at an interface.
    #[must_use]
    pub fn vnet_header(&self) -> VnetHeader {
        VnetHeader {
            needs_checksum: true,
            gso: if self.is_ipv4 { Gso::TcpV4 } else { Gso::TcpV6 },
            header_len: self.header_len,
            segment_len: self.segment_len,
            checksum_start: self.ip_len,
            checksum_offset: TCP_CHECKSUM,
            ..VnetHeader::default()
        }
    }

    /// The packets it stands for, for an interface that does not take it whole.
    ///
    /// # Errors
    ///
    /// [`DropReason::BadOffload`] does not happen: it is sound.
    pub fn segments(&self) -> Result<Segments<'a>, DropReason> {
        Segments::read(&self.vnet_header(), self.octets)
    }

    /// Number of its first octet of payload.
    #[must_use]
    pub(crate) fn sequence(&self) -> u32 {
        let tcp = self.octets.get(usize::from(self.ip_len)..).unwrap_or_default();
        let field = tcp.get(4..).and_then(<[u8]>::first_chunk);
        field.map_or(0, |field| u32::from_be_bytes(*field))
    }

    /// Addresses and ports.
    #[must_use]
    pub(crate) fn flow(&self) -> &'a [u8] {
        let at = usize::from(self.ip_len);
        let addresses = if self.is_ipv4 { 8 } else { 32 };
        let (from, to) = (at.saturating_sub(addresses), at.saturating_add(4));
        self.octets.get(from..to).unwrap_or_default()
    }
}

/// No options, not a fragment, nothing behind it.
fn is_plain_ipv4(ip: &[u8], len: usize) -> bool {
    matches!(*ip, [0x45, _, l0, l1, _, _, f0, f1, _, protocol, ..]
        if usize::from(u16::from_be_bytes([l0, l1])) == len
            && u16::from_be_bytes([f0, f1]) & !DONT_FRAGMENT == 0
            && IpProtocol(protocol) == IpProtocol::TCP)
}

fn is_plain_ipv6(ip: &[u8], tcp: &[u8]) -> bool {
    matches!(*ip, [first, _, _, _, l0, l1, next, ..]
        if first >> 4 == 6
            && usize::from(u16::from_be_bytes([l0, l1])) == tcp.len()
            && IpProtocol(next) == IpProtocol::TCP)
}

/// Nothing that segments could not have alike: no reserved bits, and none of the flags SYN, RST, URG
/// and CWR.
fn is_plain_tcp(tcp: &[u8]) -> bool {
    let (Some(offset), Some(flags)) = (tcp.get(TCP_DATA_OFFSET), tcp.get(TCP_FLAGS)) else {
        return false;
    };
    *offset >= 5 << 4 && offset & 0x0f == 0 && flags & !(TCP_FIN | TCP_PSH | TCP_ECE) == TCP_ACK
}

const DONT_FRAGMENT: u16 = 0x4000;
const TCP_ACK: u8 = 0x10;
const TCP_ECE: u8 = 0x40;
/// Where the checksum is in the TCP header.
const TCP_CHECKSUM: u16 = 16;

#[cfg(test)]
pub(crate) mod tests;
