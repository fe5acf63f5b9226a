//! What the kernel tells of paths: ICMP too big from outside, and the fragments that it has joined.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::net::IpAddr;

use adit_sys::BatchIo;
use adit_sys::icmp_errors::{ICMP_HEADROOM, RouterSocket};
use adit_sys::netlink::Family;
use adit_sys::raw::BypassSocket;
use adit_sys::udp::{SocketOptions, UdpSocket};
use adit_wire::iana::{IpProtocol, SecurityFailure};
use adit_wire::ip::{IcmpError, IpPacket, Ipv4Header, Ipv6Header, checksum};
use common::{HEADROOM, Pair, address, namespaces_allowed, packets, receive, wait};

/// An ICMP message about some packet.
fn message(src: IpAddr, dst: IpAddr, kind: u8, code: u8) -> Vec<u8> {
    let mut icmp = vec![kind, code, 0, 0, 0, 0, 5, 0];
    let quoted = headed(dst, src, IpProtocol::ESP, &[0, 0, 1, 1, 0, 0, 0, 1]);
    icmp.extend(quoted);
    let (mut summed, protocol) = match (src, dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let len = u32::try_from(icmp.len()).unwrap().to_be_bytes();
            let pseudo = [&src.octets()[..], &dst.octets(), &len, &[0, 0, 0, 58]].concat();
            (pseudo, IpProtocol::ICMPV6)
        }
        _ => (Vec::new(), IpProtocol::ICMP),
    };
    summed.extend(&icmp);
    icmp[2..4].copy_from_slice(&checksum(&summed).to_be_bytes());
    headed(src, dst, protocol, &icmp)
}

fn headed(src: IpAddr, dst: IpAddr, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    let mut octets = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Ipv4Header {
            traffic_class: 0,
            total_len: 20 + len,
            identification: 1,
            dont_fragment: false,
            ttl: 60,
            protocol,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Ipv6Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len: len,
            next: protocol,
            hop_limit: 60,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        _ => panic!("two families"),
    };
    octets.extend(payload);
    octets
}

/// CHECKLIST PM-18, PM-29: errors arrive as they were sent, and nothing else does: no redirects, no source
/// quench (RFC 6633), no echo replies.
#[test]
fn only_what_routers_say_arrives() {
    if !namespaces_allowed("only_what_routers_say_arrives") {
        return;
    }
    let pair = Pair::new();
    let bypass = pair.left.run(|| BypassSocket::open(&SocketOptions::default()).unwrap()).unwrap();
    let v4 = [(3, 4), (11, 0), (3, 1), (12, 0)];
    let v6 = [(2, 0), (3, 0), (1, 4), (4, 1)];
    for (family, from, to, wanted, others) in [
        (Family::V4, "192.0.2.1", "192.0.2.2", v4, [(5, 1), (4, 0), (0, 0)]),
        (Family::V6, "2001:db8::1", "2001:db8::2", v6, [(137, 0), (129, 0), (136, 0)]),
    ] {
        let open = || RouterSocket::open(family, &SocketOptions::default()).unwrap();
        let socket = pair.right.run(open).unwrap();
        assert_eq!(socket.family(), family);
        let mut sent = packets(7, 200);
        let kinds = others.into_iter().chain(wanted);
        for (packet, (kind, code)) in sent.iter_mut().zip(kinds) {
            assert!(packet.fill(&message(address(from), address(to), kind, code)));
        }
        let report = bypass.send_batch(&mut BatchIo::new(HEADROOM), &sent);
        assert_eq!((report.sent, report.failed), (7, 0), "{report:?}");

        assert!(wait(&socket), "{family:?}");
        let mut io = BatchIo::new(ICMP_HEADROOM);
        let mut got = packets(7, 1_280);
        assert_eq!(socket.recv_batch(&mut io, &mut got).unwrap(), 4, "{family:?}");
        for (packet, right) in got.iter().zip(wanted) {
            let packet = IpPacket::read(packet.data()).unwrap();
            assert_eq!((packet.src(), packet.dst()), (address(from), address(to)));
            let error = IcmpError::read(&packet).unwrap();
            assert_eq!((error.icmp.kind, error.icmp.code), right);
            assert_eq!(error.too_big(), (right == wanted[0]).then_some(1_280));
            assert_eq!(error.spi().map(|quoted| quoted.spi), Some(0x101));
        }
    }
}

/// RFC 2521: of whatever code, and of IPv4 alone.
#[test]
fn security_failures_arrive() {
    if !namespaces_allowed("security_failures_arrive") {
        return;
    }
    let pair = Pair::new();
    let bypass = pair.left.run(|| BypassSocket::open(&SocketOptions::default()).unwrap()).unwrap();
    let open = || RouterSocket::open(Family::V4, &SocketOptions::default()).unwrap();
    let socket = pair.right.run(open).unwrap();
    let mut sent = packets(3, 200);
    for (packet, (kind, code)) in sent.iter_mut().zip([(41, 0), (39, 1), (40, 1)]) {
        assert!(packet.fill(&message(address("192.0.2.1"), address("192.0.2.2"), kind, code)));
    }
    let report = bypass.send_batch(&mut BatchIo::new(HEADROOM), &sent);
    assert_eq!((report.sent, report.failed), (3, 0), "{report:?}");

    assert!(wait(&socket));
    let mut got = packets(3, 1_280);
    assert_eq!(socket.recv_batch(&mut BatchIo::new(ICMP_HEADROOM), &mut got).unwrap(), 1);
    let error = IcmpError::read(&IpPacket::read(got[0].data()).unwrap()).unwrap();
    assert_eq!(error.security_failure(), Some(SecurityFailure::AUTHENTICATION_FAILED));
}

/// A datagram that the kernel has joined has the size of its largest fragment; others have none. With
/// IPv6, too, nobody cuts one that is not to be cut.
#[test]
fn the_largest_fragment_is_told() {
    if !namespaces_allowed("the_largest_fragment_is_told") {
        return;
    }
    let pair = Pair::new();
    for (any, to) in [("0.0.0.0:4500", "192.0.2.2:4500"), ("[::]:4500", "[2001:db8::2]:4500")] {
        let bind = || UdpSocket::bind(any.parse().unwrap(), &SocketOptions::default()).unwrap();
        let left = pair.left.run(bind).unwrap();
        let right = pair.right.run(bind).unwrap();
        let mut sent = packets(3, 3_000);
        for (packet, len) in sent.iter_mut().zip([2_500, 500, 2_000]) {
            packet.set_len(len);
            packet.meta.remote = to.parse().unwrap();
        }
        sent[2].meta.dont_fragment = true;
        let report = left.send_batch(&mut BatchIo::new(HEADROOM), &sent);
        assert_eq!((report.sent, report.too_big), (2, 1), "{report:?}");
        let mut got = packets(2, 3_000);
        receive(&right, &mut got, 2);
        got.sort_by_key(|packet| packet.len());
        assert_eq!((got[0].len(), got[0].meta.largest_fragment), (500, 0));
        let largest = got[1].meta.largest_fragment;
        assert!((1_400..=1_500).contains(&largest), "{to}: {largest}");
    }
}

/// What nobody may cut takes nothing from what other threads send through the same socket meanwhile: that
/// is cut, and arrives.
#[test]
fn what_is_not_to_be_cut_is_nothing_to_others() {
    if !namespaces_allowed("what_is_not_to_be_cut_is_nothing_to_others") {
        return;
    }
    let pair = Pair::new();
    for (any, [from, to]) in [
        ("0.0.0.0:4500", ["192.0.2.1:4500", "192.0.2.2:4500"]),
        ("[::]:4500", ["[2001:db8::1]:4500", "[2001:db8::2]:4500"]),
    ] {
        nothing_to_others(&pair, any, [from, to]);
    }
}

fn nothing_to_others(pair: &Pair, any: &str, [from, to]: [&str; 2]) {
    let bind = || UdpSocket::bind(any.parse().unwrap(), &SocketOptions::default()).unwrap();
    let (left, right) = (pair.left.run(bind).unwrap(), pair.right.run(bind).unwrap());
    let packet = |len: usize, dont_fragment: bool| {
        let mut packet = packets(1, 3_000).remove(0);
        packet.set_len(len);
        packet.data_mut().fill(7);
        packet.meta.local = from.parse().unwrap();
        packet.meta.remote = to.parse().unwrap();
        packet.meta.dont_fragment = dont_fragment;
        packet
    };
    let another = left.try_clone().unwrap();
    let (failed, too_big) = std::thread::scope(|scope| {
        let others = adit_sys::thread::spawn_scoped_named(scope, "others", || {
            let (long, mut io) = (packet(2_500, false), BatchIo::new(HEADROOM));
            (0..2_000).map(|_| another.send_batch(&mut io, [&long]).too_big).sum::<usize>()
        });
        let (probe, mut io) = (packet(2_000, true), BatchIo::new(HEADROOM));
        let refused: usize = (0..2_000).map(|_| left.send_batch(&mut io, [&probe]).too_big).sum();
        (others.unwrap().join().unwrap(), refused)
    });
    assert_eq!((failed, too_big), (0, 2_000), "{any}");
    drop(right);
    // One that is short enough arrives as any other.
    let right = pair.right.run(bind).unwrap();
    let report = left.send_batch(&mut BatchIo::new(HEADROOM), &[packet(1_001, true)]);
    assert_eq!((report.sent, report.calls), (1, 1), "{report:?}");
    let mut got = packets(1, 3_000);
    receive(&right, &mut got, 1);
    assert_eq!((got[0].len(), got[0].meta.largest_fragment), (1_001, 0));
    assert_eq!(got[0].meta.remote, from.parse().unwrap());
    assert!(got[0].data().iter().all(|octet| *octet == 7));
    // What comes back has not gone to the socket that hears nothing.
    right.send_to(to.parse().unwrap(), from.parse().unwrap(), 0, &[], b"heard").unwrap();
    receive(&left, &mut got, 1);
    assert_eq!(got[0].data(), b"heard");
}
