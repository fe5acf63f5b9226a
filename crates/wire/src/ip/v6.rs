//! IPv6 header and extension headers, RFC 8200 §3 and §4.

use core::net::Ipv6Addr;

use super::packet::{FragmentInfo, IpPacket};
use crate::{Reader, WireError, iana::IpProtocol};

/// Extension headers walked in one packet.
pub const EXTENSIONS_MAX: usize = 8;

/// IPv6 header, to be written.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Version| Traffic Class |           Flow Label                  |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |         Payload Length        |  Next Header  |   Hop Limit   |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                       Source Address                          ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                    Destination Address                        ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ipv6Header {
    /// DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// Names a flow, 20 bits; higher ones are dropped.
    pub flow_label: u32,
    /// Octets after the header, extension headers included.
    pub payload_len: u16,
    /// What follows the header.
    pub next: IpProtocol,
    /// Routers the packet may still pass.
    pub hop_limit: u8,
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
}

impl Ipv6Header {
    /// Length in octets.
    pub const LEN: usize = 40;

    /// The header's octets.
    #[must_use]
    pub fn to_octets(&self) -> [u8; Self::LEN] {
        let class = u32::from(self.traffic_class) << 20;
        let first = 6 << 28 | class | (self.flow_label & FLOW_LABEL);
        let mut octets = [0; Self::LEN];
        let parts: [&[u8]; 5] = [
            &first.to_be_bytes(),
            &self.payload_len.to_be_bytes(),
            &[self.next.0, self.hop_limit],
            &self.src.octets(),
            &self.dst.octets(),
        ];
        let source = parts.into_iter().flatten();
        octets.iter_mut().zip(source).for_each(|(octet, value)| *octet = *value);
        octets
    }
}

/// Reads the header of `octets`, whose version is known to be 6, and walks its extensions. Of a
/// `QUOTED` packet no more than these have to be there.
pub(super) fn read<const QUOTED: bool>(octets: &[u8]) -> Result<IpPacket<'_>, WireError> {
    let mut r = Reader(octets);
    let [.., class] = (r.u32()? >> 20).to_be_bytes();
    let payload_len = r.u16()?;
    let next = IpProtocol(r.u8()?);
    let ttl = r.u8()?;
    let src = r.array::<16>()?;
    let dst = r.array::<16>()?;
    let total_len = Ipv6Header::LEN.saturating_add(payload_len.into());
    let octets = match octets.get(..total_len) {
        Some(octets) => octets,
        None if QUOTED => octets,
        None => return Err(WireError::Truncated("IPv6 packet")),
    };
    let mut r = Reader(octets.get(Ipv6Header::LEN..).unwrap_or_default());
    let (protocol, fragment) = walk_extensions(next, &mut r)?;
    Ok(IpPacket {
        octets,
        src: src.into(),
        dst: dst.into(),
        traffic_class: class,
        ttl,
        protocol,
        header_len: octets.len().saturating_sub(r.len()),
        fragment: fragment.filter(FragmentInfo::is_fragment),
        dont_fragment: true,
    })
}

/// Skips the extension headers that RFC 4301 §4.4.1.1 names, up to the end of the last one or of
/// the fragment header of a later fragment.
fn walk_extensions(
    mut next: IpProtocol,
    r: &mut Reader<'_>,
) -> Result<(IpProtocol, Option<FragmentInfo>), WireError> {
    let mut fragment: Option<FragmentInfo> = None;
    for _ in 0..=EXTENSIONS_MAX {
        match next {
            IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING | IpProtocol::DESTINATION => {
                next = IpProtocol(r.u8()?);
                let units = usize::from(r.u8()?);
                r.bytes(units.saturating_mul(8).saturating_add(6))?;
            }
            IpProtocol::FRAGMENT if fragment.is_none() => {
                next = IpProtocol(r.u8()?);
                let _reserved = r.u8()?;
                let flags = r.u16()?;
                let info =
                    FragmentInfo { id: r.u32()?, offset: flags & !0b111, more: flags & 1 != 0 };
                if info.offset != 0 {
                    return Ok((next, Some(info)));
                }
                fragment = Some(info);
            }
            // A fragment of a fragment: nobody sends that.
            IpProtocol::FRAGMENT => return Err(WireError::TooMany("IPv6 fragment headers")),
            _ => return Ok((next, fragment)),
        }
    }
    Err(WireError::TooMany("IPv6 extension headers"))
}

/// Replaces the traffic class; `None` if there is no header.
pub(super) fn set_traffic_class(packet: &mut [u8], traffic_class: u8) -> Option<()> {
    let first = packet.first_chunk_mut::<4>()?;
    let other_bits = u32::from_be_bytes(*first) & !(0xff << 20);
    *first = (other_bits | u32::from(traffic_class) << 20).to_be_bytes();
    Some(())
}

/// Replaces the hop limit; `None` if there is no header.
pub(super) fn set_hop_limit(packet: &mut [u8], hop_limit: u8) -> Option<()> {
    let header = packet.first_chunk_mut::<{ Ipv6Header::LEN }>()?;
    let [_, _, _, _, _, _, _, place, ..] = header;
    *place = hop_limit;
    Some(())
}

const FLOW_LABEL: u32 = 0x000f_ffff;
