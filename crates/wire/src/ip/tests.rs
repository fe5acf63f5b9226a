//! Packets of both versions, whole, fragmented and broken.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::{WireError, iana::IpProtocol};

const SRC_V4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 5);
const DST_V4: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 7);
const SRC_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 5);
const DST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 7);

fn v4_packet(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = Ipv4Header {
        traffic_class: 0xb8,
        total_len: u16::try_from(Ipv4Header::LEN + payload.len()).unwrap(),
        identification: 0x1234,
        dont_fragment: true,
        ttl: 64,
        protocol,
        src: SRC_V4,
        dst: DST_V4,
    };
    let mut packet = header.to_octets().to_vec();
    packet.extend_from_slice(payload);
    packet
}

fn v6_packet(next: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0xb9,
        flow_label: 0xabcde,
        payload_len: u16::try_from(payload.len()).unwrap(),
        next,
        hop_limit: 63,
        src: SRC_V6,
        dst: DST_V6,
    };
    let mut packet = header.to_octets().to_vec();
    packet.extend_from_slice(payload);
    packet
}

/// The IPv4 header that RFC 1071 tutorials and Wikipedia compute by hand.
#[test]
fn a_known_ipv4_header_is_written_octet_for_octet() {
    let header = Ipv4Header {
        traffic_class: 0,
        total_len: 0x73,
        identification: 0,
        dont_fragment: true,
        ttl: 64,
        protocol: IpProtocol::UDP,
        src: Ipv4Addr::new(192, 168, 0, 1),
        dst: Ipv4Addr::new(192, 168, 0, 199),
    };
    assert_eq!(
        header.to_octets(),
        [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8,
            0, 0xc7
        ]
    );
}

#[test]
fn a_known_ipv6_header_is_written_octet_for_octet() {
    let packet = v6_packet(IpProtocol::NO_NEXT, &[]);
    assert_eq!(packet[..8], [0x6b, 0x9a, 0xbc, 0xde, 0, 0, 59, 63]);
    assert_eq!(packet[8..24], SRC_V6.octets());
    assert_eq!(packet[24..40], DST_V6.octets());
}

#[test]
fn an_ipv4_packet_shows_its_fields() {
    let octets = v4_packet(IpProtocol::UDP, &[0x9c, 0x40, 0x01, 0xbb, 0, 8, 0, 0]);
    let packet = IpPacket::read(&octets).unwrap();

    assert_eq!(packet.version(), 4);
    assert_eq!((packet.src(), packet.dst()), (SRC_V4.into(), DST_V4.into()));
    assert_eq!((packet.dscp(), packet.ecn()), (46, Ecn::NotEct));
    assert_eq!((packet.ttl(), packet.dont_fragment()), (64, true));
    assert_eq!((packet.header_len(), packet.total_len()), (20, 28));
    assert_eq!(packet.fragment(), None);
    assert_eq!(packet.ports(), Some((40_000, 443)));
    assert_eq!(packet.flow_key(), FlowKey::new(SRC_V4.into(), DST_V4.into(), 17, 40_000, 443));
    assert!(packet.has_good_checksum());
}

#[test]
fn options_and_link_padding_are_not_payload() {
    let mut octets = v4_packet(IpProtocol::UDP, &[1, 1, 1, 0, 0x9c, 0x40, 0x01, 0xbb]);
    octets[0] = 0x46;
    octets.extend([0xee; 18]);
    let packet = IpPacket::read(&octets).unwrap();

    assert_eq!(packet.payload(), [0x9c, 0x40, 0x01, 0xbb]);
    assert_eq!(packet.ports(), Some((40_000, 443)));
    assert_eq!(packet.total_len(), 28);
}

#[test]
fn icmp_type_and_code_are_both_ports() {
    let octets = v4_packet(IpProtocol::ICMP, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    let flow = IpPacket::read(&octets).unwrap().flow_key();
    assert_eq!((flow.src_port, flow.dst_port, flow.opaque), (0x0800, 0x0800, false));

    let octets = v6_packet(IpProtocol::ICMPV6, &[129, 1, 0, 0]);
    let flow = IpPacket::read(&octets).unwrap().flow_key();
    assert_eq!((flow.src_port, flow.dst_port, flow.opaque), (0x8101, 0x8101, false));

    let octets = v6_packet(IpProtocol::MOBILITY, &[59, 1, 5, 0, 0, 0, 0, 0]);
    let flow = IpPacket::read(&octets).unwrap().flow_key();
    assert_eq!((flow.src_port, flow.dst_port, flow.opaque), (0x0500, 0x0500, false));
}

#[test]
fn later_ipv4_fragments_are_opaque() {
    let mut octets = v4_packet(IpProtocol::UDP, &[0x9c, 0x40, 0x01, 0xbb, 0, 8, 0, 0]);
    octets[6..8].copy_from_slice(&[0x20, 0]);
    let first = IpPacket::read(&octets).unwrap();
    assert_eq!(first.fragment(), Some(FragmentInfo { id: 0x1234, offset: 0, more: true }));
    assert!(!first.is_later_fragment());
    assert_eq!(first.ports(), Some((40_000, 443)));

    octets[6..8].copy_from_slice(&[0x1f, 0xff]);
    let last = IpPacket::read(&octets).unwrap();
    assert_eq!(last.fragment(), Some(FragmentInfo { id: 0x1234, offset: 65_528, more: false }));
    assert!(last.is_later_fragment());
    assert_eq!(last.ports(), None);
    assert_eq!(last.flow_key(), FlowKey::without_ports(SRC_V4.into(), DST_V4.into(), 17));
}

#[test]
fn a_transport_header_cut_short_makes_the_flow_opaque() {
    for (protocol, payload) in [
        (IpProtocol::TCP, [0x9c, 0x40, 0x01].as_slice()),
        (IpProtocol::ICMP, &[8]),
        (IpProtocol::MOBILITY, &[59, 1]),
        (IpProtocol::GRE, &[0; 8]),
    ] {
        let octets = v4_packet(protocol, payload);
        assert!(IpPacket::read(&octets).unwrap().flow_key().opaque, "{protocol}");
    }
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let mut payload = Vec::new();
    payload.extend([60, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop
    payload.extend([43, 1, 1, 4, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0]); // destination
    payload.extend([44, 0, 0, 0, 0, 0, 0, 0]); // routing
    payload.extend([6, 0, 0, 1, 0, 0, 0, 7]); // first fragment
    payload.extend([0x9c, 0x40, 0x01, 0xbb]);
    let octets = v6_packet(IpProtocol::HOP_BY_HOP, &payload);
    let packet = IpPacket::read(&octets).unwrap();

    assert_eq!(packet.version(), 6);
    assert_eq!((packet.dscp(), packet.ecn(), packet.ttl()), (46, Ecn::Ect1, 63));
    assert_eq!(packet.protocol(), IpProtocol::TCP);
    assert_eq!(packet.header_len(), 80);
    assert_eq!(packet.fragment(), Some(FragmentInfo { id: 7, offset: 0, more: true }));
    assert_eq!(packet.ports(), Some((40_000, 443)));
}

#[test]
fn later_ipv6_fragments_are_opaque_and_atomic_ones_whole() {
    let octets = v6_packet(IpProtocol::FRAGMENT, &[6, 0, 0, 8, 0, 0, 0, 7, 0x9c, 0x40, 1, 0xbb]);
    let later = IpPacket::read(&octets).unwrap();
    assert_eq!(later.fragment(), Some(FragmentInfo { id: 7, offset: 8, more: false }));
    assert_eq!(later.flow_key(), FlowKey::without_ports(SRC_V6.into(), DST_V6.into(), 6));

    let octets = v6_packet(IpProtocol::FRAGMENT, &[6, 0, 0, 0, 0, 0, 0, 7, 0x9c, 0x40, 1, 0xbb]);
    let atomic = IpPacket::read(&octets).unwrap();
    assert_eq!(atomic.fragment(), None);
    assert_eq!(atomic.ports(), Some((40_000, 443)));
}

#[test]
fn extension_headers_are_bounded() {
    let headers = |count: usize| {
        let mut payload = Vec::new();
        for left in (0..count).rev() {
            payload.extend([if left == 0 { 59 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
        }
        v6_packet(IpProtocol::DESTINATION, &payload)
    };
    assert!(IpPacket::read(&headers(EXTENSIONS_MAX)).is_ok());
    assert_eq!(
        IpPacket::read(&headers(EXTENSIONS_MAX + 1)).unwrap_err(),
        WireError::TooMany("IPv6 extension headers")
    );

    let twice = [44, 0, 0, 1, 0, 0, 0, 7, 6, 0, 0, 1, 0, 0, 0, 7];
    assert_eq!(
        IpPacket::read(&v6_packet(IpProtocol::FRAGMENT, &twice)).unwrap_err(),
        WireError::TooMany("IPv6 fragment headers")
    );
}

#[test]
fn lengths_are_held_against_the_octets() {
    assert_eq!(IpPacket::read(&[]).unwrap_err(), WireError::Truncated("IP packet"));
    assert_eq!(IpPacket::read(&[0x55; 60]).unwrap_err(), WireError::BadValue("IP.version", 5));

    let mut octets = v4_packet(IpProtocol::UDP, &[0; 8]);
    octets[0] = 0x44;
    assert_eq!(IpPacket::read(&octets).unwrap_err(), WireError::BadValue("IPv4.ihl", 0x44));
    octets[0] = 0x45;
    octets[2..4].copy_from_slice(&19_u16.to_be_bytes());
    assert_eq!(IpPacket::read(&octets).unwrap_err(), WireError::BadValue("IPv4.total_length", 19));
    octets[2..4].copy_from_slice(&29_u16.to_be_bytes());
    assert_eq!(IpPacket::read(&octets).unwrap_err(), WireError::Truncated("IPv4 packet"));

    // A hop-by-hop header that ends after the packet.
    let octets = v6_packet(IpProtocol::HOP_BY_HOP, &[6, 1, 1, 4, 0, 0, 0, 0]);
    assert_eq!(IpPacket::read(&octets).unwrap_err(), WireError::Truncated("IPv6 header"));
}

#[test]
fn ecn_and_traffic_class_change_in_place_and_keep_the_checksum_good() {
    let mut octets = v4_packet(IpProtocol::UDP, &[0; 8]);
    assert!(set_ecn(&mut octets, Ecn::Ce));
    let packet = IpPacket::read(&octets).unwrap();
    assert_eq!((packet.traffic_class(), packet.has_good_checksum()), (0xbb, true));
    octets[15] ^= 1;
    assert!(!IpPacket::read(&octets).unwrap().has_good_checksum());

    let mut octets = v6_packet(IpProtocol::UDP, &[0; 8]);
    assert!(set_traffic_class(&mut octets, 0x5a));
    assert_eq!(octets[..4], [0x65, 0xaa, 0xbc, 0xde]);
    assert!(set_ecn(&mut octets, Ecn::NotEct));
    assert_eq!(octets[..4], [0x65, 0x8a, 0xbc, 0xde]);

    assert!(!set_ecn(&mut octets[..39], Ecn::Ce));
    assert!(!set_traffic_class(&mut octets[..3], 0));
    assert!(!set_traffic_class(&mut [0x45; 19], 0));
    assert!(!set_traffic_class(&mut [0x75; 60], 0));
    assert!(!set_traffic_class(&mut [], 0));
}

proptest! {
    /// Any octets give a packet or an error, and a packet's parts lie within it.
    #[test]
    fn any_octets_are_a_packet_or_an_error(
        version in prop::sample::select([0x45_u8, 0x4f, 0x60, 0x00].as_slice()),
        mut octets in prop::collection::vec(any::<u8>(), 1..200),
        honest_len: bool,
    ) {
        octets[0] = version;
        let len = octets.len();
        if honest_len && len > 40 {
            octets[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            octets[4..6].copy_from_slice(&u16::try_from(len - 40).unwrap().to_be_bytes());
        }
        if let Ok(packet) = IpPacket::read(&octets) {
            prop_assert!(packet.total_len() <= len);
            prop_assert_eq!(packet.header_len() + packet.payload().len(), packet.total_len());
            let flow = packet.flow_key();
            prop_assert!(!packet.is_later_fragment() || flow.opaque);
        }
    }

    /// What the IPv4 writer emits, the reader shows, and every prefix fails.
    #[test]
    fn ipv4_round_trips(
        traffic_class: u8, identification: u16, dont_fragment: bool, ttl: u8, protocol: u8,
        src: u32, dst: u32, payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let header = Ipv4Header {
            traffic_class,
            total_len: u16::try_from(20 + payload.len()).unwrap(),
            identification,
            dont_fragment,
            ttl,
            protocol: IpProtocol(protocol),
            src: src.into(),
            dst: dst.into(),
        };
        let mut octets = header.to_octets().to_vec();
        octets.extend(&payload);
        let packet = IpPacket::read(&octets).unwrap();

        prop_assert!(packet.has_good_checksum());
        prop_assert_eq!(packet.traffic_class(), traffic_class);
        prop_assert_eq!(packet.dont_fragment(), dont_fragment);
        prop_assert_eq!(packet.ttl(), ttl);
        prop_assert_eq!(packet.protocol().0, protocol);
        prop_assert_eq!(packet.src(), IpAddr::V4(src.into()));
        prop_assert_eq!(packet.dst(), IpAddr::V4(dst.into()));
        prop_assert_eq!(packet.payload(), payload);
        for cut in 0..octets.len() {
            prop_assert!(IpPacket::read(&octets[..cut]).is_err());
        }
    }

    /// What the IPv6 writer emits, the reader shows, and every prefix fails.
    #[test]
    fn ipv6_round_trips(
        traffic_class: u8, flow_label: u32, hop_limit: u8,
        src: u128, dst: u128, payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let header = Ipv6Header {
            traffic_class,
            flow_label,
            payload_len: u16::try_from(payload.len()).unwrap(),
            next: IpProtocol::UDP,
            hop_limit,
            src: src.into(),
            dst: dst.into(),
        };
        let mut octets = header.to_octets().to_vec();
        octets.extend(&payload);
        let packet = IpPacket::read(&octets).unwrap();

        prop_assert_eq!(packet.traffic_class(), traffic_class);
        prop_assert_eq!(packet.ttl(), hop_limit);
        prop_assert_eq!(packet.src(), IpAddr::V6(src.into()));
        prop_assert_eq!(packet.dst(), IpAddr::V6(dst.into()));
        prop_assert_eq!(packet.payload(), payload);
        for cut in 0..octets.len() {
            prop_assert!(IpPacket::read(&octets[..cut]).is_err());
        }
    }
}
