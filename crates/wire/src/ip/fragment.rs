//! Fragments: what of each belongs to the packet, RFC 791 §3.2 and RFC 8200 §4.5.

use super::packet::{FragmentInfo, IpPacket};
use super::{Ipv4Header, Ipv6Header, checksum};
use crate::iana::IpProtocol;

/// A fragment taken apart: `header | (IPv6: fragment header) | data`.
#[derive(Clone, Copy, Debug)]
pub struct FragmentParts<'a> {
    /// What stands in front of every fragment of the packet: the IPv4 header with its options, the
    /// IPv6 header with the extension headers before the fragment header. The packet takes that of
    /// its first fragment.
    pub header: &'a [u8],
    /// Octets of the packet, those from `info.offset` on.
    pub data: &'a [u8],
    /// Where the data belongs.
    pub info: FragmentInfo,
    /// Protocol of what was cut: in IPv6 the one the fragment header names, which may be an
    /// extension header.
    pub protocol: IpProtocol,
}

impl<'a> IpPacket<'a> {
    /// The parts of a fragment; `None` of a whole packet.
    #[must_use]
    pub fn fragment_parts(&self) -> Option<FragmentParts<'a>> {
        let info = self.fragment?;
        if self.is_ipv4() {
            let (header, data) = self.octets.split_at_checked(self.header_len)?;
            return Some(FragmentParts { header, data, info, protocol: self.protocol });
        }
        let at = fragment_header_at(self.octets)?;
        let (header, rest) = self.octets.split_at_checked(at)?;
        let (fragment_header, data) = rest.split_at_checked(FRAGMENT_HEADER_LEN)?;
        let protocol = IpProtocol(*fragment_header.first()?);
        Some(FragmentParts { header, data, info, protocol })
    }
}

/// Makes the first fragment's header that of the whole packet, which `packet` begins with: length,
/// no fragment fields, `protocol` as what follows (RFC 8200 §4.5, RFC 791 §3.2).
///
/// `None` if the octets do not begin with such a header or are longer than IP has.
#[must_use]
pub fn head_whole_packet(packet: &mut [u8], header_len: usize, protocol: IpProtocol) -> Option<()> {
    let len = packet.len();
    match packet.first()? >> 4 {
        4 => {
            let total_len = u16::try_from(len).ok()?;
            let header = packet.get_mut(..header_len)?;
            header.get_mut(2..4)?.copy_from_slice(&total_len.to_be_bytes());
            // Flags and offset; DF did not stop whoever cut the packet, and goes with the rest.
            header.get_mut(6..8)?.copy_from_slice(&[0, 0]);
            header.get_mut(10..12)?.copy_from_slice(&[0, 0]);
            let sum = checksum(header);
            header.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
        }
        6 => {
            let payload_len = u16::try_from(len.checked_sub(Ipv6Header::LEN)?).ok()?;
            packet.get_mut(4..6)?.copy_from_slice(&payload_len.to_be_bytes());
            let at = next_header_at(packet.get(..header_len)?)?;
            *packet.get_mut(at)? = protocol.0;
        }
        _ => return None,
    }
    Some(())
}

/// Writes one fragment of a whole packet: up to `len` octets of its data from `offset` on, both
/// multiples of 8, behind its header; `id` tells the fragments of one IPv6 packet from those of
/// another, an IPv4 packet has its own. Returns the fragment's length, and whether others follow.
///
/// `None` if the packet is a fragment itself, has extension headers for routers, has no octets at
/// `offset`, or `out` is too small.
#[must_use]
pub fn write_fragment(
    packet: &IpPacket<'_>,
    id: u32,
    offset: u16,
    len: usize,
    out: &mut [u8],
) -> Option<(usize, bool)> {
    if packet.fragment.is_some() {
        return None;
    }
    let (header_len, protocol) = if packet.is_ipv4() {
        (packet.header_len, packet.protocol)
    } else {
        // Everything behind the IPv6 header may be cut, as long as no router has to read it.
        let next = IpProtocol(*packet.octets.get(NEXT_HEADER_AT)?);
        let is_for_routers = matches!(next, IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING);
        (!is_for_routers).then_some((Ipv6Header::LEN, next))?
    };
    let (header, data) = packet.octets.split_at_checked(header_len)?;
    let rest = data.get(offset.into()..).filter(|rest| !rest.is_empty())?;
    let piece = rest.get(..len).unwrap_or(rest);
    let more = piece.len() < rest.len();
    let gap = if packet.is_ipv4() { 0 } else { FRAGMENT_HEADER_LEN };
    let data_at = header_len.checked_add(gap)?;
    let total = data_at.checked_add(piece.len())?;
    let out = out.get_mut(..total)?;
    out.get_mut(..header_len)?.copy_from_slice(header);
    out.get_mut(data_at..)?.copy_from_slice(piece);
    if packet.is_ipv4() {
        let place = (offset / 8) | (u16::from(more) << 13);
        head_whole_packet(out, header_len, protocol)?;
        let header = out.get_mut(..header_len)?;
        if offset != 0 {
            blank_options(header.get_mut(Ipv4Header::LEN..)?);
        }
        header.get_mut(6..8)?.copy_from_slice(&place.to_be_bytes());
        header.get_mut(10..12)?.copy_from_slice(&[0, 0]);
        let sum = checksum(header);
        header.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    } else {
        let [o0, o1] = (offset | u16::from(more)).to_be_bytes();
        let [i0, i1, i2, i3] = id.to_be_bytes();
        let fragment_header = [protocol.0, 0, o0, o1, i0, i1, i2, i3];
        out.get_mut(header_len..data_at)?.copy_from_slice(&fragment_header);
        head_whole_packet(out, header_len, IpProtocol::FRAGMENT)?;
    }
    Some((total, more))
}

/// Makes no-operations of the options that only a first fragment has: those without the copied
/// flag (RFC 791 §3.1).
fn blank_options(options: &mut [u8]) {
    let mut at = 0;
    while let Some([kind, rest @ ..]) = options.get_mut(at..) {
        let len = match (*kind, rest.first()) {
            (OPTION_END, _) => return,
            (OPTION_NOP, _) => 1,
            (_, Some(len)) => usize::from(*len).max(2),
            (_, None) => 1,
        };
        if *kind & OPTION_COPIED == 0 {
            let option = options.iter_mut().skip(at).take(len);
            option.for_each(|octet| *octet = OPTION_NOP);
        }
        at = at.saturating_add(len);
    }
}

/// Where the fragment header begins.
fn fragment_header_at(octets: &[u8]) -> Option<usize> {
    walk(octets, |next, at| (next == IpProtocol::FRAGMENT).then_some(at))
}

/// Where the last of the headers that `header` consists of names what follows it.
fn next_header_at(header: &[u8]) -> Option<usize> {
    let mut named_at = NEXT_HEADER_AT;
    walk(header, |_, at| {
        if at == header.len() {
            return Some(());
        }
        named_at = at;
        None
    })?;
    Some(named_at)
}

/// Walks the extension headers that may stand before a fragment header, and stops where `found`
/// does: it gets the protocol of the next header and its place.
fn walk<T>(octets: &[u8], mut found: impl FnMut(IpProtocol, usize) -> Option<T>) -> Option<T> {
    let mut next = IpProtocol(*octets.get(NEXT_HEADER_AT)?);
    let mut at = Ipv6Header::LEN;
    loop {
        if let Some(value) = found(next, at) {
            return Some(value);
        }
        match next {
            IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING | IpProtocol::DESTINATION => {}
            _ => return None,
        }
        let [following, units] = *octets.get(at..)?.first_chunk()?;
        next = IpProtocol(following);
        at = at.checked_add(usize::from(units).checked_add(1)?.checked_mul(8)?)?;
    }
}

const FRAGMENT_HEADER_LEN: usize = 8;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_COPIED: u8 = 0x80;
/// Place of the Next Header field in the IPv6 header.
const NEXT_HEADER_AT: usize = 6;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn ipv4(offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
        let mut octets = [
            &[0x46, 0, 0, 0, 0x12, 0x34, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..],
            &[1, 1, 1, 0],
            data,
        ]
        .concat();
        let total_len = u16::try_from(octets.len()).unwrap();
        octets[2..4].copy_from_slice(&total_len.to_be_bytes());
        octets[6..8].copy_from_slice(&((u16::from(more) << 13) | (offset / 8)).to_be_bytes());
        let sum = checksum(&octets[..24]);
        octets[10..12].copy_from_slice(&sum.to_be_bytes());
        octets
    }

    /// Hop-by-hop options and a routing header before the fragment header.
    fn ipv6(offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
        let payload_len = u16::try_from(data.len() + 24).unwrap();
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len,
            next: IpProtocol::HOP_BY_HOP,
            hop_limit: 64,
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
        };
        let place = (offset | u16::from(more)).to_be_bytes();
        [
            &header.to_octets()[..],
            &[43, 0, 1, 4, 0, 0, 0, 0],
            &[44, 0, 253, 0, 0, 0, 0, 0],
            &[17, 0, place[0], place[1], 0, 0, 0x12, 0x34],
            data,
        ]
        .concat()
    }

    #[test]
    fn an_ipv4_fragment_is_header_and_data() {
        let octets = ipv4(1_480, true, &[7; 16]);
        let parts = IpPacket::read(&octets).unwrap().fragment_parts().unwrap();
        assert_eq!((parts.header.len(), parts.data), (24, &[7; 16][..]));
        assert_eq!(parts.info, FragmentInfo { id: 0x1234, offset: 1_480, more: true });
        assert_eq!(parts.protocol, IpProtocol::UDP);
    }

    #[test]
    fn an_ipv6_fragment_is_what_stands_around_its_fragment_header() {
        let octets = ipv6(1_232, false, &[7; 5]);
        let parts = IpPacket::read(&octets).unwrap().fragment_parts().unwrap();
        assert_eq!((parts.header, parts.data), (&octets[..56], &[7; 5][..]));
        assert_eq!(parts.info, FragmentInfo { id: 0x1234, offset: 1_232, more: false });
        assert_eq!(parts.protocol, IpProtocol::UDP);
    }

    #[test]
    fn a_whole_packet_has_no_parts() {
        assert!(IpPacket::read(&ipv4(0, false, &[7; 16])).unwrap().fragment_parts().is_none());
        // RFC 6946: so is an atomic fragment.
        assert!(IpPacket::read(&ipv6(0, false, &[7; 16])).unwrap().fragment_parts().is_none());
    }

    #[test]
    fn the_header_of_the_first_fragment_becomes_that_of_the_packet() {
        let first = ipv4(0, true, &[0, 53, 0, 53, 0, 32, 0, 0]);
        let mut whole = [&first[..], &[7; 24]].concat();
        head_whole_packet(&mut whole, 24, IpProtocol::UDP).unwrap();
        let packet = IpPacket::read(&whole).unwrap();
        assert_eq!((packet.total_len(), packet.fragment()), (56, None));
        assert!(packet.has_good_checksum());
        assert_eq!(packet.ports(), Some((53, 53)));

        let first = ipv6(0, true, &[0, 53, 0, 53, 0, 32, 0, 0]);
        let parts = IpPacket::read(&first).unwrap().fragment_parts().unwrap();
        let mut whole = [parts.header, parts.data, &[7; 24]].concat();
        head_whole_packet(&mut whole, 56, parts.protocol).unwrap();
        let packet = IpPacket::read(&whole).unwrap();
        assert_eq!((packet.total_len(), packet.fragment()), (88, None));
        assert_eq!((packet.protocol(), packet.ports()), (IpProtocol::UDP, Some((53, 53))));
    }

    /// Fragments that were written are read back as pieces of the packet, and nothing is lost.
    #[test]
    fn a_packet_is_cut_and_its_fragments_have_it_all() {
        let whole_v4 = ipv4(0, false, &[5; 3_001]);
        let header = Ipv6Header {
            traffic_class: 3,
            flow_label: 7,
            payload_len: 3_001,
            next: IpProtocol::UDP,
            hop_limit: 64,
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
        };
        let whole_v6 = [&header.to_octets()[..], &[5; 3_001]].concat();
        for (whole, id, header_len) in [(whole_v4, 0x1234, 24), (whole_v6, 99, 40)] {
            let packet = IpPacket::read(&whole).unwrap();
            let (mut data, mut offset, mut out) = (Vec::new(), 0, [0; 1_500]);
            loop {
                let (len, more) = write_fragment(&packet, id, offset, 1_232, &mut out).unwrap();
                let fragment = IpPacket::read(&out[..len]).unwrap();
                let parts = fragment.fragment_parts().unwrap();
                assert_eq!(parts.info, FragmentInfo { id, offset, more });
                assert_eq!((parts.header.len(), parts.protocol), (header_len, IpProtocol::UDP));
                assert!(fragment.has_good_checksum());
                data.extend_from_slice(parts.data);
                offset += 1_232;
                if !more {
                    break;
                }
            }
            assert_eq!(data, [5; 3_001]);
            assert_eq!(write_fragment(&packet, id, offset, 1_232, &mut out), None);
            assert_eq!(write_fragment(&packet, id, 0, 1_232, &mut [0; 100]), None);
        }
    }

    /// RFC 791 §3.1: record route (7) is for the first fragment, a loose source route (131) for all.
    #[test]
    fn options_without_copied_flag_stay_in_the_first_fragment() {
        let mut options = [7, 3, 4, 131, 3, 4, 1, 0];
        blank_options(&mut options);
        assert_eq!(options, [1, 1, 1, 131, 3, 4, 1, 0]);
        for mut hostile in [[7; 4], [7, 0, 0, 0], [68, 255, 1, 1]] {
            blank_options(&mut hostile);
        }
    }

    #[test]
    fn what_is_no_header_is_left_alone() {
        assert_eq!(head_whole_packet(&mut [], 0, IpProtocol::UDP), None);
        assert_eq!(head_whole_packet(&mut [0x45; 10], 20, IpProtocol::UDP), None);
        assert_eq!(head_whole_packet(&mut [0x60; 44], 44, IpProtocol::UDP), None);
        assert_eq!(head_whole_packet(&mut [0x45; 70_000], 20, IpProtocol::UDP), None);
    }
}
