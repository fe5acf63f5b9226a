//! UDP sockets between two namespaces.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;

use adit_sys::capture::Capture;
use adit_sys::icmp_errors::interface_name;
use adit_sys::netlink::Family;
use adit_sys::raw::RawEspSocket;
use adit_sys::udp::{DualUdpSocket, PathMtu, SocketError, SocketOptions, UdpSocket};
use adit_sys::{BATCH_MAX, BatchIo, SysError};
use common::{HEADROOM, Pair, address, namespaces_allowed, packets, receive, set_up};
use nix::libc;

const PORT: u16 = 4500;

fn bind(namespace: &adit_sys::netns::Namespace, local: &str) -> UdpSocket {
    let local: SocketAddr = local.parse().unwrap();
    namespace.run(|| UdpSocket::bind(local, &SocketOptions::default()).unwrap()).unwrap()
}

#[test]
fn batches_echo_with_local_address_and_traffic_class() {
    if !namespaces_allowed("batches_echo_with_local_address_and_traffic_class") {
        return;
    }
    let pair = Pair::new();
    // A second address: the answer must come from the one that was asked.
    set_up(&mut pair.right.netlink().unwrap(), "right0", &["192.0.2.77/24", "2001:db8::77/64"]);
    for (any, client, server) in [
        ("0.0.0.0", "192.0.2.1:4500", "192.0.2.77:4500"),
        ("[::]", "[2001:db8::1]:4500", "[2001:db8::77]:4500"),
    ] {
        let (client, server): (SocketAddr, SocketAddr) =
            (client.parse().unwrap(), server.parse().unwrap());
        let left = bind(&pair.left, &format!("{any}:{PORT}"));
        let right = bind(&pair.right, &format!("{any}:{PORT}"));
        let count = 2 * BATCH_MAX + 7;
        let mut io = BatchIo::new(HEADROOM);

        let mut sent = packets(count, 1_500);
        for (n, packet) in sent.iter_mut().enumerate() {
            assert!(packet.fill(&vec![u8::try_from(n).unwrap(); n + 1]));
            packet.meta.remote = server;
            packet.meta.local = SocketAddr::new(client.ip(), 0);
            packet.meta.tos = 0xb9;
        }
        let report = left.send_batch(&mut io, &sent);
        assert_eq!((report.sent, report.unsent, report.failed), (count, 0, 0));

        let mut at_server = packets(count, 1_500);
        receive(&right, &mut at_server, count);
        for (n, packet) in at_server.iter_mut().enumerate() {
            assert_eq!((packet.headroom(), packet.len()), (HEADROOM, n + 1));
            assert_eq!((packet.meta.local, packet.meta.remote), (server, client));
            assert_eq!((packet.meta.tos, packet.meta.udp), (0xb9, true));
            packet.meta.tos = 0x02;
        }
        assert_eq!(right.send_batch(&mut io, &at_server).sent, count);

        let mut back = packets(count, 1_500);
        receive(&left, &mut back, count);
        for (packet, original) in back.iter().zip(&sent) {
            assert_eq!(packet.data(), original.data());
            assert_eq!((packet.meta.local, packet.meta.remote), (client, server));
            assert_eq!(packet.meta.tos, 0x02);
        }
    }
}

#[test]
fn a_prefix_goes_out_in_front_without_copying() {
    if !namespaces_allowed("a_prefix_goes_out_in_front_without_copying") {
        return;
    }
    let pair = Pair::new();
    let left = bind(&pair.left, "0.0.0.0:4500");
    let right = bind(&pair.right, "0.0.0.0:4500");
    let remote = "192.0.2.2:4500".parse().unwrap();

    left.send_to(left.local(), remote, 0, &[0; 4], b"IKE").unwrap();

    let mut got = packets(1, 100);
    receive(&right, &mut got, 1);
    assert_eq!(got[0].data(), b"\0\0\0\0IKE");
}

#[test]
fn both_families_share_one_port() {
    if !namespaces_allowed("both_families_share_one_port") {
        return;
    }
    let pair = Pair::new();
    let open = || DualUdpSocket::bind(PORT, &SocketOptions::default()).unwrap();
    let left = pair.left.run(open).unwrap();
    let right = pair.right.run(open).unwrap();
    let mut io = BatchIo::new(HEADROOM);

    let mut sent = packets(4, 100);
    for (n, packet) in sent.iter_mut().enumerate() {
        let to = if n % 2 == 0 { "192.0.2.2" } else { "2001:db8::2" };
        packet.meta.remote = SocketAddr::new(address(to), PORT);
        assert!(packet.fill(b"x"));
    }
    assert_eq!(left.send_batch(&mut io, &sent).sent, 4);

    let mut got = packets(4, 100);
    let mut count = 0;
    while count < 4 {
        assert!(common::wait(right.v6().unwrap()) || common::wait(right.v4()));
        count += right.recv_batch(&mut io, &mut got[count..]).unwrap();
    }
    let v6 = got.iter().filter(|packet| packet.meta.remote.is_ipv6()).count();
    assert_eq!(v6, 2);
}

#[test]
fn a_closed_port_is_reported_as_a_value_and_stops_nobody() {
    if !namespaces_allowed("a_closed_port_is_reported_as_a_value_and_stops_nobody") {
        return;
    }
    let pair = Pair::new();
    for (left, closed, open) in [
        ("0.0.0.0:4500", "192.0.2.2:9", "192.0.2.2:4500"),
        ("[::]:4500", "[2001:db8::2]:9", "[2001:db8::2]:4500"),
    ] {
        let right = bind(&pair.right, left);
        let left = bind(&pair.left, left);
        let (closed, open): (SocketAddr, SocketAddr) =
            (closed.parse().unwrap(), open.parse().unwrap());
        let mut io = BatchIo::new(HEADROOM);

        left.send_to(left.local(), closed, 0, &[], b"lost").unwrap();
        assert!(common::wait(&left), "an error makes the socket ready");
        let mut sent = packets(3, 10);
        for packet in &mut sent {
            packet.meta.remote = open;
        }
        // The pending error must cost neither the batch nor the receiver a packet.
        assert_eq!(left.send_batch(&mut io, &sent).sent, 3);
        assert_eq!(left.recv_batch(&mut io, &mut sent).unwrap(), 0);

        let error = left.next_error().unwrap().unwrap();
        let SocketError::Unreachable { remote, errno, from, icmp, interface } = error else {
            panic!("{error:?}");
        };
        assert_eq!((remote, errno), (closed, libc::ECONNREFUSED));
        assert_eq!(from, Some(closed.ip()));
        let name = pair.left.run(|| interface_name(interface)).unwrap();
        assert!(name.is_some_and(|name| name != "lo"), "{interface}");
        let port_unreachable = if closed.is_ipv4() { (3, 3) } else { (1, 4) };
        assert_eq!(icmp.map(|icmp| (icmp.kind, icmp.code)), Some(port_unreachable));
        assert_eq!(left.next_error().unwrap(), None);
        receive(&right, &mut packets(3, 10), 3);
    }
}

#[test]
fn what_does_not_fit_is_told_apart() {
    if !namespaces_allowed("what_does_not_fit_is_told_apart") {
        return;
    }
    let pair = Pair::new();
    let left = bind(&pair.left, "0.0.0.0:4500");
    let right = bind(&pair.right, "0.0.0.0:4500");
    let remote = "192.0.2.2:4500".parse().unwrap();
    let mut io = BatchIo::new(HEADROOM);
    let mut sent = packets(3, 2_000);
    for (packet, length) in sent.iter_mut().zip([2_000, 10, 1_000]) {
        packet.meta.remote = remote;
        packet.set_len(length);
    }

    // With DF the first exceeds the interface's 1,500 octets; the others go.
    left.set_path_mtu(PathMtu::Discover).unwrap();
    let report = left.send_batch(&mut io, &sent);
    assert_eq!((report.sent, report.too_big, report.failed), (2, 1, 0));
    assert_eq!(report.errno, libc::EMSGSIZE);

    // Without, the kernel fragments it.
    left.set_path_mtu(PathMtu::Fragment).unwrap();
    assert_eq!(left.send_batch(&mut io, &sent).sent, 3);

    // The receiver's buffer is too small for the two larger ones: those come out empty.
    let mut got = packets(5, 500);
    receive(&right, &mut got, 5);
    let mut lengths: Vec<usize> = got.iter().map(|packet| packet.len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [0, 0, 0, 10, 10]);
}

/// CHECKLIST S17: of one batch, each packet has its own DF bit; and then the socket is as before.
#[test]
fn each_packet_has_its_own_df_bit() {
    if !namespaces_allowed("each_packet_has_its_own_df_bit") {
        return;
    }
    let pair = Pair::new();
    let left = bind(&pair.left, "0.0.0.0:4500");
    let raw = || RawEspSocket::open(Family::V4, &SocketOptions::default()).unwrap();
    let raw = pair.left.run(raw).unwrap();
    let open = || Capture::open("right0", 64).unwrap();
    let mut capture = pair.right.run(open).unwrap();
    let mut io = BatchIo::new(HEADROOM);
    let mut sent = packets(6, 2_000);
    let bits = [false, true, true, false, true, true];
    for ((n, packet), dont_fragment) in sent.iter_mut().enumerate().zip(bits) {
        // Each is longer than the one before, so that the capture sees each.
        assert!(packet.fill(&vec![u8::try_from(n).unwrap(); 16 + n]));
        packet.meta.remote = "192.0.2.2:4500".parse().unwrap();
        packet.meta.dont_fragment = dont_fragment;
    }
    // This one exceeds the link, and costs the others nothing.
    sent[4].set_len(2_000);

    for protocol in [17, 50] {
        let report = match protocol {
            17 => left.send_batch(&mut io, &sent),
            _ => raw.send_batch(&mut io, &sent),
        };
        assert_eq!((report.sent, report.too_big, report.failed), (5, 1, 0), "{report:?}");
        let seen = df_bits(&mut capture, protocol, 5);
        assert_eq!(seen, [false, true, true, false, true], "protocol {protocol}");
    }
    left.send_to(left.local(), sent[0].meta.remote, 0, &[], b"IKE").unwrap();
    assert_eq!(df_bits(&mut capture, 17, 1), [false]);
}

/// Packets of one length that follow each other are one message, and arrive as they were, in order.
#[test]
fn runs_of_packets_go_in_few_calls_and_arrive_apart() {
    if !namespaces_allowed("runs_of_packets_go_in_few_calls_and_arrive_apart") {
        return;
    }
    let pair = Pair::new();
    // As in a burst: full packets with a shorter last one, small ones of one length, one alone,
    // one that is empty, and more of one length than a message takes.
    let lengths =
        [vec![1_400; 44], vec![700], vec![68; 20], vec![500, 0], vec![1_420; 150]].concat();
    for (any, to) in [("0.0.0.0:4500", "192.0.2.2:4500"), ("[::]:4500", "[2001:db8::2]:4500")] {
        let (left, right) = (bind(&pair.left, any), bind(&pair.right, any));
        assert!(left.segments());
        let mut io = BatchIo::new(HEADROOM);
        let mut sent = packets(lengths.len(), 1_500);
        for ((n, packet), length) in sent.iter_mut().enumerate().zip(&lengths) {
            assert!(packet.fill(&vec![u8::try_from(n).unwrap(); *length]));
            packet.meta.remote = to.parse().unwrap();
            packet.meta.local = left.local();
            packet.meta.tos = 0x02;
        }
        let report = left.send_batch(&mut io, &sent);
        assert_eq!((report.sent, report.calls), (lengths.len(), 1), "{report:?}");

        let mut got = packets(lengths.len(), 1_500);
        receive(&right, &mut got, lengths.len());
        for (got, sent) in got.iter().zip(&sent) {
            assert!(got.data() == sent.data());
            assert_eq!(got.meta.tos, 0x02);
        }
    }
}

/// A place with another class, or another place, ends a run.
#[test]
fn runs_end_where_packets_go_elsewhere() {
    if !namespaces_allowed("runs_end_where_packets_go_elsewhere") {
        return;
    }
    let pair = Pair::new();
    set_up(&mut pair.right.netlink().unwrap(), "right0", &["192.0.2.77/24"]);
    let (left, right) = (bind(&pair.left, "0.0.0.0:4500"), bind(&pair.right, "0.0.0.0:4500"));
    let places = [("192.0.2.2", 0), ("192.0.2.2", 4), ("192.0.2.77", 4), ("192.0.2.2", 0)];
    let mut sent = packets(12, 100);
    for (n, packet) in sent.iter_mut().enumerate() {
        let (to, tos) = places[n / 3];
        assert!(packet.fill(&[u8::try_from(n).unwrap(); 80]));
        packet.meta.remote = SocketAddr::new(address(to), PORT);
        packet.meta.tos = tos;
    }
    assert_eq!(left.send_batch(&mut BatchIo::new(HEADROOM), &sent).sent, 12);
    let mut got = packets(12, 100);
    receive(&right, &mut got, 12);
    for (n, packet) in got.iter().enumerate() {
        let (to, tos) = places[n / 3];
        assert_eq!(packet.data(), [u8::try_from(n).unwrap(); 80]);
        assert_eq!((packet.meta.local.ip(), packet.meta.tos), (address(to), tos));
    }
}

/// What is longer than the link cannot go in runs: it goes in fragments, one by one, and the next
/// time without asking.
#[test]
fn what_no_run_can_carry_goes_one_by_one() {
    if !namespaces_allowed("what_no_run_can_carry_goes_one_by_one") {
        return;
    }
    let pair = Pair::new();
    let (left, right) = (bind(&pair.left, "0.0.0.0:4500"), bind(&pair.right, "0.0.0.0:4500"));
    let mut io = BatchIo::new(HEADROOM);
    let mut sent = packets(10, 2_000);
    for (n, packet) in sent.iter_mut().enumerate() {
        let length = if n < 5 { 2_000 } else { 1_000 };
        assert!(packet.fill(&vec![u8::try_from(n).unwrap(); length]));
        packet.meta.remote = "192.0.2.2:4500".parse().unwrap();
    }
    // The shorter packet behind those that are too long ends their run.
    for calls in [9, 1] {
        let report = left.send_batch(&mut io, &sent);
        assert_eq!((report.sent, report.calls), (10, calls), "{report:?}");
        let mut got = packets(10, 2_000);
        receive(&right, &mut got, 10);
        assert!(got.iter().zip(&sent).all(|(got, sent)| got.data() == sent.data()));
    }
    // None of a run that may not be cut is lost from the count.
    for packet in &mut sent {
        packet.meta.dont_fragment = true;
    }
    let report = left.send_batch(&mut BatchIo::new(HEADROOM), &sent);
    assert_eq!((report.sent, report.too_big, report.errno), (5, 5, libc::EMSGSIZE), "{report:?}");
}

/// The DF bits of so many IPv4 packets of a protocol, in the order in which they came.
fn df_bits(capture: &mut Capture, protocol: u8, wanted: usize) -> Vec<bool> {
    let mut bits = Vec::new();
    while bits.len() < wanted {
        assert!(capture.wait(common::SOON).unwrap(), "{bits:?}");
        while let Some(frame) = capture.next_frame().unwrap() {
            let ip = &frame.octets[14..];
            if frame.octets[12..14] == [8, 0] && ip[9] == protocol && ip[16..20] == [192, 0, 2, 2] {
                bits.push(ip[6] & 0x40 != 0);
            }
        }
    }
    bits
}

#[test]
fn a_port_in_use_is_named() {
    if !namespaces_allowed("a_port_in_use_is_named") {
        return;
    }
    let pair = Pair::new();
    let _first = bind(&pair.left, "0.0.0.0:500");

    let open = || UdpSocket::bind("0.0.0.0:500".parse().unwrap(), &SocketOptions::default());
    let error = pair.left.run(open).unwrap().unwrap_err();
    assert!(matches!(error, SysError::AddressInUse { port: 500, .. }), "{error:?}");
    assert_eq!(error.code(), Some("E502"));

    let foreign = || UdpSocket::bind("192.0.2.9:500".parse().unwrap(), &SocketOptions::default());
    let error = pair.left.run(foreign).unwrap().unwrap_err();
    assert!(matches!(error, SysError::AddressMissing { .. }), "{error:?}");
}
