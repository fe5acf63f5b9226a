//! IPv4 header, RFC 791 §3.1.

use core::net::Ipv4Addr;

use super::{
    checksum::{checksum, checksum_after_change},
    packet::{FragmentInfo, IpPacket},
};
use crate::{Reader, WireError, iana::IpProtocol};

/// IPv4 header without options, to be written.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Version|  IHL  |Type of Service|          Total Length         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |         Identification        |Flags|      Fragment Offset    |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Time to Live |    Protocol   |         Header Checksum       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       Source Address                          |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                    Destination Address                        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ipv4Header {
    /// DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// Octets of header and payload.
    pub total_len: u16,
    /// Tells the fragments of one packet from those of another.
    pub identification: u16,
    /// Whether nobody may fragment the packet.
    pub dont_fragment: bool,
    /// Routers the packet may still pass.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: IpProtocol,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
}

impl Ipv4Header {
    /// Length in octets.
    pub const LEN: usize = 20;

    /// The header's octets, its checksum computed.
    #[must_use]
    pub fn to_octets(&self) -> [u8; Self::LEN] {
        let [l0, l1] = self.total_len.to_be_bytes();
        let [i0, i1] = self.identification.to_be_bytes();
        let flags = if self.dont_fragment { 0x40 } else { 0 };
        let [s0, s1, s2, s3] = self.src.octets();
        let [d0, d1, d2, d3] = self.dst.octets();
        let with_checksum = |[c0, c1]: [u8; 2]| {
            let (tos, ttl, protocol) = (self.traffic_class, self.ttl, self.protocol.0);
            [
                0x45, tos, l0, l1, i0, i1, flags, 0, ttl, protocol, c0, c1, s0, s1, s2, s3, d0, d1,
                d2, d3,
            ]
        };
        with_checksum(checksum(&with_checksum([0, 0])).to_be_bytes())
    }
}

/// Reads the header of `octets`, whose version is known to be 4. Of a `QUOTED` packet no more than
/// the header has to be there.
pub(super) fn read<const QUOTED: bool>(octets: &[u8]) -> Result<IpPacket<'_>, WireError> {
    let mut r = Reader(octets);
    let header_len = usize::from(r.u8()? & 0x0f).saturating_mul(4);
    if header_len < Ipv4Header::LEN {
        return Err(WireError::BadValue("IPv4.ihl", octets.first().copied().unwrap_or(0).into()));
    }
    let traffic_class = r.u8()?;
    let total_len = r.u16()?;
    let id = r.u16()?;
    let flags = r.u16()?;
    let ttl = r.u8()?;
    let protocol = IpProtocol(r.u8()?);
    let _checksum = r.u16()?;
    let src = r.array::<4>()?;
    let dst = r.array::<4>()?;
    if usize::from(total_len) < header_len {
        return Err(WireError::BadValue("IPv4.total_length", total_len.into()));
    }
    let octets = match octets.get(..total_len.into()) {
        Some(octets) => octets,
        None if QUOTED && octets.len() >= header_len => octets,
        None => return Err(WireError::Truncated("IPv4 packet")),
    };
    let fragment = FragmentInfo {
        id: id.into(),
        offset: (flags & 0x1fff).saturating_mul(8),
        more: flags & MORE_FRAGMENTS != 0,
    };
    Ok(IpPacket {
        octets,
        src: src.into(),
        dst: dst.into(),
        traffic_class,
        ttl,
        protocol,
        header_len,
        fragment: fragment.is_fragment().then_some(fragment),
        dont_fragment: flags & DONT_FRAGMENT != 0,
    })
}

/// Replaces the traffic class and mends the checksum; `None` if there is no header.
pub(super) fn set_traffic_class(packet: &mut [u8], traffic_class: u8) -> Option<()> {
    let header = packet.first_chunk_mut::<{ Ipv4Header::LEN }>()?;
    let [version, class, ..] = header;
    let old_word = u16::from_be_bytes([*version, *class]);
    let new_word = u16::from_be_bytes([*version, traffic_class]);
    *class = traffic_class;
    let [.., c0, c1, _, _, _, _, _, _, _, _] = header;
    let before = u16::from_be_bytes([*c0, *c1]);
    [*c0, *c1] = checksum_after_change(before, old_word, new_word).to_be_bytes();
    Some(())
}

/// Replaces the time to live and mends the checksum; `None` if there is no header.
pub(super) fn set_ttl(packet: &mut [u8], ttl: u8) -> Option<()> {
    let header = packet.first_chunk_mut::<{ Ipv4Header::LEN }>()?;
    let [_, _, _, _, _, _, _, _, place, protocol, c0, c1, ..] = header;
    let old_word = u16::from_be_bytes([*place, *protocol]);
    let new_word = u16::from_be_bytes([ttl, *protocol]);
    *place = ttl;
    let before = u16::from_be_bytes([*c0, *c1]);
    [*c0, *c1] = checksum_after_change(before, old_word, new_word).to_be_bytes();
    Some(())
}

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
