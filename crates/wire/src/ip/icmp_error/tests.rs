//! Errors about packets of both versions, quoted in full, cut short, extended and forged.

use alloc::{vec, vec::Vec};
use core::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::ip::{Ipv4Header, Ipv6Header};

const HOST_V4: [u8; 4] = [10, 1, 0, 5];
const PEER_V4: [u8; 4] = [10, 2, 0, 7];
const ROUTER_V4: [u8; 4] = [172, 16, 0, 1];

fn v6_of(last: u16) -> core::net::Ipv6Addr {
    core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

fn v4_between(src: [u8; 4], dst: [u8; 4], protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = Ipv4Header {
        traffic_class: 0xb9,
        total_len: u16::try_from(Ipv4Header::LEN + payload.len()).unwrap(),
        identification: 0x1234,
        dont_fragment: true,
        ttl: 64,
        protocol,
        src: src.into(),
        dst: dst.into(),
    };
    [&header.to_octets()[..], payload].concat()
}

fn v4(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    v4_between(HOST_V4, PEER_V4, protocol, payload)
}

fn v6(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: u16::try_from(payload.len()).unwrap(),
        next: protocol,
        hop_limit: 64,
        src: v6_of(1),
        dst: v6_of(2),
    };
    [&header.to_octets()[..], payload].concat()
}

/// A datagram from port 40,000 to port 53.
fn udp(len: usize) -> Vec<u8> {
    [&[0x9c, 0x40, 0, 53, 0, 0, 0, 0][..], &vec![7; len - 8]].concat()
}

fn router(about: &[u8]) -> IpAddr {
    if about[0] >> 4 == 4 { ROUTER_V4.into() } else { v6_of(9).into() }
}

fn report(report: IcmpReport, about: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; 2_000];
    let len = report.write(&IpPacket::read(about).unwrap(), router(about), &mut out)?;
    out.truncate(len);
    Some(out)
}

/// A message with these octets behind the type and code, in an IP packet, its checksum right.
fn message(is_ipv4: bool, kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Vec<u8> {
    let head = [&[kind, code, 0, 0][..], &rest, body].concat();
    let (at, mut packet) = if is_ipv4 {
        (22, v4(IpProtocol::ICMP, &head))
    } else {
        (42, v6(IpProtocol::ICMPV6, &head))
    };
    let view = IpPacket::read(&packet).unwrap();
    let sum = message_sum(view.src(), view.dst(), view.payload());
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// CHECKLIST PM-14: type, code, MTU, quoted header, checksum, addresses.
#[test]
fn a_report_is_read_as_it_was_written() {
    for (is_ipv4, about) in
        [(true, v4(IpProtocol::UDP, &udp(1_400))), (false, v6(IpProtocol::UDP, &udp(1_400)))]
    {
        let written = report(IcmpReport::too_big(is_ipv4, 1_300), &about).unwrap();
        let max = if is_ipv4 { 576 } else { 1_280 };
        assert_eq!(written.len(), max);

        let packet = IpPacket::read(&written).unwrap();
        assert!(packet.has_good_checksum());
        assert_eq!(packet.src(), router(&about));
        assert_eq!(packet.dst(), IpPacket::read(&about).unwrap().src());
        assert_eq!(packet.total_len(), max);
        let error = IcmpError::read(&packet).unwrap();
        assert_eq!(error.too_big(), Some(1_300));
        assert_eq!(error.quoted, &about[..error.quoted.len()]);
        assert_eq!(error.flow(), Some(IpPacket::read(&about).unwrap().flow_key()));
        assert_eq!(error.flow().unwrap().reversed().dst_port, 40_000);
    }
}

/// An ICMP message of which every octet is known (RFC 792), computed by hand.
#[test]
fn a_known_error_is_written_octet_for_octet() {
    let about = v4(IpProtocol::UDP, &[0, 1, 0, 2, 0, 8, 0, 0]);
    let written = report(IcmpReport::unreachable(true, 3), &about).unwrap();

    assert_eq!(written.len(), 20 + 8 + 28);
    // DSCP of the packet, without its ECN.
    assert_eq!(written[..10], [0x45, 0xb8, 0, 56, 0, 0, 0x40, 0, 64, 1]);
    assert_eq!(written[12..20], [172, 16, 0, 1, 10, 1, 0, 5]);
    assert_eq!(written[20..22], [3, 3]);
    assert_eq!(written[24..28], [0; 4]);
    assert_eq!(written[28..], about);
    assert_eq!(checksum(&written[20..]), 0);
}

/// CHECKLIST PM-19: the outer header alone, 8 octets of what follows, and anything between.
#[test]
fn a_short_quote_shows_what_it_has() {
    let esp = [0, 0, 0x12, 0x34, 0, 0, 0, 9, 1, 2, 3, 4];
    let about = v4(IpProtocol::ESP, &esp);
    for len in 0..=about.len() {
        let octets = message(true, 3, 4, [0, 0, 5, 0], &about[..len]);
        let error = IcmpError::read(&IpPacket::read(&octets).unwrap()).unwrap();
        assert_eq!(error.too_big(), Some(1_280));
        assert_eq!(error.flow().is_some(), len >= 20, "{len}");
        assert_eq!(error.spi().is_some(), len >= 24, "{len}");
        let sequence = error.spi().and_then(|spi| spi.sequence);
        assert_eq!(sequence, (len >= 28).then_some(9), "{len}");
    }
    let udp = v4(IpProtocol::UDP, &udp(20));
    let octets = message(true, 11, 0, [0; 4], &udp[..22]);
    let flow = IcmpError::read(&IpPacket::read(&octets).unwrap()).unwrap().flow().unwrap();
    assert!(flow.opaque, "the ports are not quoted");
}

/// RFC 3948: ESP in UDP, and AH; the SPI of zero is IKE.
#[test]
fn the_spi_is_found_under_udp_and_ah() {
    let read = |about: &[u8]| QuotedSpi::read(&IpPacket::read_quoted(about).unwrap());
    let in_udp = [&[0x11, 0x94, 0x11, 0x94, 0, 24, 0, 0][..], &[0, 0, 0, 7, 0, 0, 0, 1]].concat();
    let spi = read(&v4(IpProtocol::UDP, &in_udp)).unwrap();
    assert_eq!((spi.protocol, spi.spi, spi.sequence), (IpProtocol::ESP, 7, Some(1)));
    assert_eq!(spi.udp_ports, Some((4_500, 4_500)));

    let ah = [6, 4, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2];
    let spi = read(&v6(IpProtocol::AH, &ah)).unwrap();
    assert_eq!((spi.protocol, spi.spi, spi.sequence), (IpProtocol::AH, 8, Some(2)));

    let ike = [&[0x11, 0x94, 0x11, 0x94, 0, 24, 0, 0][..], &[0; 4]].concat();
    assert_eq!(read(&v4(IpProtocol::UDP, &ike)), None);
    assert_eq!(read(&v4(IpProtocol::TCP, &ike)), None);
}

/// CHECKLIST PM-22: what routers put into the code of packet too big does not matter.
#[test]
fn too_big_may_have_any_code() {
    let about = v6(IpProtocol::UDP, &udp(64));
    let octets = message(false, 2, 7, 1_400_u32.to_be_bytes(), &about);
    let error = IcmpError::read(&IpPacket::read(&octets).unwrap()).unwrap();
    assert_eq!(error.too_big(), Some(1_400));

    let octets = message(true, 3, 3, [0, 0, 5, 0], &v4(IpProtocol::UDP, &udp(8)));
    let error = IcmpError::read(&IpPacket::read(&octets).unwrap()).unwrap();
    assert_eq!(error.too_big(), None);
}

/// CHECKLIST PM-41: the length of RFC 4884 ends the quote; a length that lies ends nothing.
#[test]
fn extensions_are_no_part_of_the_quote() {
    let mut padded = v4(IpProtocol::UDP, &udp(60));
    padded.resize(128, 0);
    // An MPLS label stack object of one entry (RFC 4950).
    let extensions = [0x20, 0, 0xdf, 0xff, 0, 8, 1, 1, 0, 1, 0xf1, 1];
    let body = [&padded[..], &extensions].concat();

    let read = |length: u8| {
        let octets = message(true, 11, 0, [0, length, 0, 0], &body);
        let error = IcmpError::read(&IpPacket::read(&octets).unwrap()).unwrap();
        (error.quoted.len(), error.about().unwrap().total_len())
    };
    assert_eq!(read(32), (128, 80));
    assert_eq!(read(255), (140, 80), "more than there is");
    assert_eq!(read(0), (140, 80), "whoever knows no extensions");

    let about = v6(IpProtocol::UDP, &udp(88));
    let body = [&about[..], &extensions].concat();
    let octets = message(false, 3, 0, [16, 0, 0, 0], &body);
    let error = IcmpError::read(&IpPacket::read(&octets).unwrap()).unwrap();
    assert_eq!(error.quoted, about);
}

/// RFC 2521 §2: the layout, and no more of the packet than its headers and 64 bits.
#[test]
fn a_security_failure_points_at_the_spi() {
    let about = v4(IpProtocol::ESP, &[9; 200]);
    let written =
        report(IcmpReport::security_failure(SecurityFailure::BAD_SPI, 20), &about).unwrap();
    assert_eq!(written[20..22], [40, 0]);
    assert_eq!(written[24..28], [0, 0, 0, 20]);
    assert_eq!(written[28..], about[..28]);

    let error = IcmpError::read(&IpPacket::read(&written).unwrap()).unwrap();
    assert_eq!(error.security_failure(), Some(SecurityFailure::BAD_SPI));
    assert_eq!(error.pointer(), Some(20));
    assert_eq!(error.spi().unwrap().spi, 0x0909_0909);
    assert_eq!(report(IcmpReport::time_exceeded(true), &written), None, "it is an error itself");
}

/// RFC 1122 §3.2.2, RFC 4443 §2.4 (e).
#[test]
fn what_must_not_be_answered_is_not() {
    let answered = |octets: &[u8]| may_be_answered(&IpPacket::read(octets).unwrap());
    let to = |dst| v4_between(HOST_V4, dst, IpProtocol::UDP, &udp(8));
    let from = |src| v4_between(src, PEER_V4, IpProtocol::UDP, &udp(8));

    assert!(answered(&to(PEER_V4)));
    assert!(answered(&v4(IpProtocol::ICMP, &[8, 0, 0, 0])), "echo request");
    for dst in [[224, 0, 0, 1], [255; 4]] {
        assert!(!answered(&to(dst)), "{dst:?}");
    }
    for src in [[0; 4], [0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]] {
        assert!(!answered(&from(src)), "{src:?}");
    }
    for kind in [3, 4, 5, 11, 12, 40] {
        assert!(!answered(&v4(IpProtocol::ICMP, &[kind, 0, 0, 0])), "{kind}");
    }
    assert!(!answered(&v4(IpProtocol::ICMP, &[8])), "nothing says that it is no error");
    for kind in [1, 2, 3, 4, 100, 127, 137] {
        assert!(!answered(&v6(IpProtocol::ICMPV6, &[kind, 0, 0, 0])), "{kind}");
    }
    assert!(answered(&v6(IpProtocol::ICMPV6, &[128, 0, 0, 0])));
    let mut to_many = v6(IpProtocol::UDP, &udp(8));
    to_many[24] = 0xff;
    assert!(!answered(&to_many));

    let mut fragment = to(PEER_V4);
    fragment[6..8].copy_from_slice(&[0x20, 0]);
    assert!(answered(&fragment), "the first fragment");
    fragment[6..8].copy_from_slice(&[0x20, 1]);
    assert!(!answered(&fragment), "a later one");
}

#[test]
fn a_report_is_written_within_its_buffer_and_its_version() {
    let octets = v4(IpProtocol::UDP, &udp(8));
    let about = IpPacket::read(&octets).unwrap();
    let report = IcmpReport::time_exceeded(true);

    assert_eq!(report.write(&about, ROUTER_V4.into(), &mut [0; 55]), None);
    assert_eq!(report.write(&about, ROUTER_V4.into(), &mut [0; 56]), Some(56));
    assert_eq!(report.write(&about, v6_of(9).into(), &mut [0; 2_000]), None);
}

#[test]
fn what_is_no_error_is_not_read_as_one() {
    let read = |octets: &[u8]| IcmpError::read(&IpPacket::read(octets).unwrap()).err();
    assert_eq!(read(&message(true, 8, 0, [0; 4], &[])), Some(WireError::BadValue("ICMP.type", 8)));
    assert_eq!(read(&v4(IpProtocol::UDP, &udp(8))), Some(WireError::BadValue("IP.protocol", 17)));
    // ICMPv6 in IPv4 is nothing.
    assert!(read(&v4(IpProtocol::ICMPV6, &[1, 0, 0, 0, 0, 0, 0, 0])).is_some());
    assert_eq!(
        read(&v4(IpProtocol::ICMP, &[3, 0, 0, 0, 0])),
        Some(WireError::Truncated("ICMP error"))
    );
    let mut forged = message(true, 3, 4, [0, 0, 5, 0], &[]);
    forged[27] ^= 1;
    assert!(matches!(read(&forged), Some(WireError::BadValue("ICMP.checksum", _))));
}

proptest! {
    /// Whatever is an IP packet is read as an error, or refused, and its quote is part of it.
    #[test]
    fn any_packet_is_read_within(
        is_ipv4: bool, kind: u8, code: u8, rest: [u8; 4],
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let octets = message(is_ipv4, kind, code, rest, &body);
        if let Ok(error) = IcmpError::read(&IpPacket::read(&octets).unwrap()) {
            prop_assert!(body.starts_with(error.quoted));
            let _ = (error.flow(), error.spi(), error.too_big(), error.pointer());
        }
    }

    /// Whatever may be answered is, with a packet that is an error about it and no longer than the
    /// limits.
    #[test]
    fn any_report_is_read_again(
        is_ipv4: bool, len in 8_usize..1_600, mtu: u16, cut in 0_usize..1_600,
    ) {
        let about = if is_ipv4 {
            v4(IpProtocol::UDP, &udp(len))
        } else {
            v6(IpProtocol::UDP, &udp(len))
        };
        let mut out = vec![0; cut];
        let view = IpPacket::read(&about).unwrap();
        let written =
            IcmpReport::too_big(is_ipv4, mtu.into()).write(&view, router(&about), &mut out);
        if let Some(written) = written {
            let packet = IpPacket::read(&out[..written]).unwrap();
            let error = IcmpError::read(&packet).unwrap();
            prop_assert_eq!(error.too_big(), Some(mtu.into()));
            prop_assert!(about.starts_with(error.quoted));
            prop_assert_eq!(error.flow(), Some(view.flow_key()));
        }
    }
}
