//! The IP header of an ESP packet that the kernel has not looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::checksum;

use crate::destinations::Destinations;
use crate::raw::strip_header;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It is ESP for this host, and begins with the SPI.
    Ours,
    /// It is for another host.
    Strange(IpAddr),
    /// It is not what it says.
    Broken,
}

/// Checks the header of a packet as the kernel does (RFC 1122 §3.2.1, RFC 8200 §3), takes it off and
/// notes what it says. An IPv4 header stays in the buffer before the packet.
pub(crate) fn accept(packet: &mut PacketBuf, destinations: &mut Destinations) -> Verdict {
    let Some(header) = OuterHeader::read(packet.data()) else { return Verdict::Broken };
    if !destinations.is_ours(header.destination) {
        return Verdict::Strange(header.destination);
    }
    packet.truncate(header.total_octets);
    packet.meta.local = SocketAddr::new(header.destination, 0);
    packet.meta.remote = SocketAddr::new(header.source, 0);
    packet.meta.tos = header.tos;
    let is_stripped = match header.destination {
        IpAddr::V4(_) => strip_header(packet),
        IpAddr::V6(_) => packet.pull_front(IPV6_OCTETS),
    };
    if is_stripped { Verdict::Ours } else { Verdict::Broken }
}

/// What is needed of an IPv4 header whose checksum is right, or of an IPv6 header, before ESP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct OuterHeader {
    tos: u8,
    total_octets: usize,
    source: IpAddr,
    destination: IpAddr,
}

impl OuterHeader {
    fn read(octets: &[u8]) -> Option<Self> {
        match octets.first()? >> 4 {
            4 => Self::read_v4(octets),
            6 => Self::read_v6(octets),
            _ => None,
        }
    }

    fn read_v4(octets: &[u8]) -> Option<Self> {
        let header_octets = usize::from(octets.first()? & 0x0f) * 4;
        let header = octets.get(..header_octets)?;
        let fixed: &[u8; 20] = header.first_chunk()?;
        let [_, tos, t0, t1, _, _, _, _, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            *fixed;
        let total_octets = usize::from(u16::from_be_bytes([t0, t1]));
        let sound = (header_octets..=octets.len()).contains(&total_octets)
            && protocol == IpProtocol::ESP.0
            && checksum(header) == 0;
        sound.then(|| Self {
            tos,
            total_octets,
            source: Ipv4Addr::new(s0, s1, s2, s3).into(),
            destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        })
    }

    fn read_v6(octets: &[u8]) -> Option<Self> {
        let header: &[u8; IPV6_OCTETS] = octets.first_chunk()?;
        let [c0, c1, _, _, p0, p1, next_header, ..] = *header;
        let total_octets = IPV6_OCTETS + usize::from(u16::from_be_bytes([p0, p1]));
        let sound = total_octets <= octets.len() && next_header == IpProtocol::ESP.0;
        let address = |at: usize| -> Option<IpAddr> {
            let octets: &[u8; 16] = header.get(at..)?.first_chunk()?;
            Some(Ipv6Addr::from(*octets).into())
        };
        let (source, destination) = (address(8)?, address(24)?);
        let tos = c0 << 4 | c1 >> 4;
        sound.then_some(Self { tos, total_octets, source, destination })
    }
}

pub(crate) const IPV6_OCTETS: usize = 40;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v6(payload_octets: u16) -> Vec<u8> {
        let [p0, p1] = payload_octets.to_be_bytes();
        let mut header = vec![0x62, 0x91, 0x23, 0x45, p0, p1, 50, 64];
        header.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        header.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        header
    }

    #[test]
    fn an_ipv6_header_says_class_length_and_addresses() {
        let packet = [v6(10), vec![7; 16]].concat();
        let header = OuterHeader::read(&packet).unwrap();
        assert_eq!((header.tos, header.total_octets), (0x29, 50));
        assert_eq!(header.source.to_string(), "2001:db8::1");
        assert_eq!(header.destination.to_string(), "2001:db8::2");
        assert_eq!(OuterHeader::read(&[v6(17), vec![7; 16]].concat()), None, "cut short");
        let mut other = packet;
        other[6] = 44;
        assert_eq!(OuterHeader::read(&other), None, "a fragment");
    }

    proptest! {
        /// What a header says lies within what there is.
        #[test]
        fn no_header_says_more_than_there_is(octets in prop::collection::vec(any::<u8>(), 0..128)) {
            for version in [0x45, 0x46, 0x60] {
                let mut octets = octets.clone();
                if let Some(first) = octets.first_mut() {
                    *first = version;
                }
                if let Some(header) = OuterHeader::read(&octets) {
                    prop_assert!(header.total_octets <= octets.len());
                }
            }
        }
    }
}
