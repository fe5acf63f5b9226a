//! ESP through a ring, between two namespaces.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use adit_sys::BatchIo;
use adit_sys::esp_ring::EspRing;
use adit_sys::netlink::Family;
use adit_sys::raw::{BypassSocket, RawEspSocket};
use adit_sys::udp::SocketOptions;
use adit_sys::wake::{Interest, wait_for};
use adit_wire::PacketBuf;
use common::{HEADROOM, Pair, address, namespaces_allowed, packets, wait};

/// A sender on the left, ring and raw socket on the right.
struct Line {
    pair: Pair,
    left: RawEspSocket,
    right: RawEspSocket,
    ring: EspRing,
    io: BatchIo,
}

impl Line {
    fn new() -> Self {
        let pair = Pair::new();
        let open = || RawEspSocket::open(Family::V4, &SocketOptions::default()).unwrap();
        let left = pair.left.run(open).unwrap();
        let right = pair.right.run(open).unwrap();
        let ring = pair.right.run(|| EspRing::open(&right, HEADROOM).unwrap()).unwrap();
        Self { pair, left, right, ring, io: BatchIo::new(HEADROOM) }
    }

    /// Sends ESP packets of these lengths, whose sequence numbers count from 0.
    fn send(&mut self, lengths: &[usize]) -> Vec<PacketBuf> {
        let mut sent = packets(lengths.len(), 60_000);
        for (n, (packet, length)) in sent.iter_mut().zip(lengths).enumerate() {
            let sequence = u32::try_from(n).unwrap().to_be_bytes();
            assert!(packet.fill(&[&[0, 0, 1, 1], &sequence[..], &vec![7; *length]].concat()));
            packet.meta.local = SocketAddr::new(address("192.0.2.1"), 0);
            packet.meta.remote = SocketAddr::new(address("192.0.2.2"), 0);
            packet.meta.tos = 0x29;
        }
        let report = self.left.send_batch(&mut self.io, &sent);
        assert_eq!((report.sent, report.failed), (lengths.len(), 0), "{report:?}");
        sent
    }

    fn receive(&mut self, wanted: usize) -> Vec<PacketBuf> {
        let mut got = packets(wanted, 60_000);
        let mut arrived = 0;
        while arrived < wanted {
            assert!(wait(&self.ring), "{arrived} of {wanted} packets arrived");
            arrived += self.ring.recv_batch(&mut got[arrived..]).unwrap();
        }
        got
    }

    /// Neither the ring nor the raw socket has anything.
    fn assert_quiet(&mut self) {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(self.ring.recv_batch(&mut packets(4, 60_000)).unwrap(), 0);
        let raw = self.right.recv_batch(&mut self.io, &mut packets(4, 60_000)).unwrap();
        assert_eq!(raw, 0, "the raw socket has what the ring had already");
    }
}

/// All come, once, in order, whole, as a raw socket delivers them: more than the ring has frames, and
/// those that the network had to cut, or that no frame has room for.
#[test]
fn packets_come_once_and_as_from_a_raw_socket() {
    if !namespaces_allowed("packets_come_once_and_as_from_a_raw_socket") {
        return;
    }
    let mut line = Line::new();
    for lengths in [vec![0, 1, 100, 1_400], vec![4_000, 20, 30_000, 1_500, 55_000]] {
        let sent = line.send(&lengths);
        let got = line.receive(sent.len());
        for (packet, original) in got.iter().zip(&sent) {
            assert_eq!(packet.data(), original.data());
            assert_eq!(packet.meta.local.to_string(), "192.0.2.2:0");
            assert_eq!(packet.meta.remote.to_string(), "192.0.2.1:0");
            assert_eq!((packet.meta.tos, packet.meta.udp), (0x29, false));
            assert_eq!(packet.meta.header_len, 20);
            assert_eq!(packet.headroom(), HEADROOM + 20);
        }
        line.assert_quiet();
    }
    for _ in 0..200 {
        let sent = line.send(&[64; 50]);
        let got = line.receive(sent.len());
        assert!(got.iter().zip(&sent).all(|(packet, original)| packet.data() == original.data()));
    }
    line.assert_quiet();
}

/// The kernel finds a taker for the packets, and tells the sender nothing.
#[test]
fn nobody_is_told_that_the_protocol_is_unknown() {
    if !namespaces_allowed("nobody_is_told_that_the_protocol_is_unknown") {
        return;
    }
    let mut line = Line::new();
    line.send(&[100]);
    line.receive(1);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(line.left.next_error().unwrap(), None);
}

/// SPIs of the kernel's engine are the kernel's, here and there.
#[test]
fn packets_of_the_kernels_engine_are_left_alone() {
    if !namespaces_allowed("packets_of_the_kernels_engine_are_left_alone") {
        return;
    }
    let mut line = Line::new();
    let mut sent = packets(1, 100);
    assert!(sent[0].fill(&[&[0x80, 0, 1, 1, 0, 0, 0, 1][..], &[7; 40]].concat()));
    sent[0].meta.remote = SocketAddr::new(address("192.0.2.2"), 0);
    assert_eq!(line.left.send_batch(&mut line.io, &sent).sent, 1);
    line.assert_quiet();
}

/// A gateway forwards ESP of others, and what is broken is nobody's.
#[test]
fn strangers_and_broken_packets_are_left_out() {
    if !namespaces_allowed("strangers_and_broken_packets_are_left_out") {
        return;
    }
    let mut line = Line::new();
    let bypass =
        line.pair.left.run(|| BypassSocket::open(&SocketOptions::default()).unwrap()).unwrap();
    let via_right = adit_sys::netlink::Route::by_gateway(
        "198.51.100.0/24".parse().unwrap(),
        address("192.0.2.2"),
    );
    line.pair.left.netlink().unwrap().add_route(&via_right).unwrap();
    let header = |total: u8, to: [u8; 4]| {
        let header = [0x45, 0x29, 0, total, 0, 7, 0x40, 0, 64, 50, 0, 0, 192, 0, 2, 1];
        [&header[..], &to, &[0, 0, 1, 1, 0, 0, 0, 1], &[7; 32]].concat()
    };
    let mut sent = packets(1, 200);
    assert!(sent[0].fill(&header(60, [198, 51, 100, 7])));
    let report = bypass.send_batch(&mut line.io, &sent);
    assert_eq!(report.sent, 1, "{report:?}");
    line.assert_quiet();
    // One to us through the same socket does arrive.
    assert!(sent[0].fill(&header(60, [192, 0, 2, 2])));
    assert_eq!(bypass.send_batch(&mut line.io, &sent).sent, 1);
    assert_eq!(line.receive(1)[0].len(), 40);
}

/// An address that comes later is ours from then on.
#[test]
fn a_new_address_works_at_once() {
    if !namespaces_allowed("a_new_address_works_at_once") {
        return;
    }
    let mut line = Line::new();
    let mut netlink = line.pair.right.netlink().unwrap();
    let right = netlink.link_by_name("right0").unwrap().index;
    netlink.add_address(right, "192.0.2.77/24".parse().unwrap()).unwrap();
    let mut sent = packets(1, 200);
    assert!(sent[0].fill(&[&[0, 0, 1, 1, 0, 0, 0, 1][..], &[7; 40]].concat()));
    sent[0].meta.remote = SocketAddr::new(address("192.0.2.77"), 0);
    assert_eq!(line.left.send_batch(&mut line.io, &sent).sent, 1);
    assert_eq!(line.receive(1)[0].meta.local.ip(), address("192.0.2.77"));
}

/// Packets to a group have the raw socket, which has joined it.
#[test]
fn packets_to_groups_stay_with_the_raw_socket() {
    if !namespaces_allowed("packets_to_groups_stay_with_the_raw_socket") {
        return;
    }
    let mut line = Line::new();
    let index = |namespace: &adit_sys::netns::Namespace, name: &str| {
        namespace.netlink().unwrap().link_by_name(name).unwrap().index
    };
    line.right.join(address("239.1.2.3"), index(&line.pair.right, "right0")).unwrap();
    let mut sent = packets(1, 200);
    assert!(sent[0].fill(&[&[0, 0, 1, 1, 0, 0, 0, 1][..], &[7; 40]].concat()));
    sent[0].meta.local = SocketAddr::new(address("192.0.2.1"), 0);
    sent[0].meta.remote = SocketAddr::new(address("239.1.2.3"), 0);
    assert_eq!(line.left.send_batch(&mut line.io, &sent).sent, 1);
    assert!(wait(&line.right));
    let mut got = packets(2, 200);
    assert_eq!(line.right.recv_batch(&mut line.io, &mut got).unwrap(), 1);
    assert_eq!(got[0].data(), sent[0].data());
    assert!(!wait_for(&line.ring, Interest::Readable, Some(Duration::ZERO)).unwrap());
}

/// An interface that goes down is told once, and the ring rests afterwards.
#[test]
fn an_interface_that_goes_down_does_not_keep_the_ring_awake() {
    if !namespaces_allowed("an_interface_that_goes_down_does_not_keep_the_ring_awake") {
        return;
    }
    let mut line = Line::new();
    let mut right = line.pair.right.netlink().unwrap();
    let index = right.link_by_name("right0").unwrap().index;
    right.set_up(index, false).unwrap();
    let mut packets = packets(4, 200);
    for _ in 0..4 {
        let _ = line.ring.recv_batch(&mut packets);
    }
    assert!(!wait_for(&line.ring, Interest::Readable, Some(Duration::ZERO)).unwrap());
    right.set_up(index, true).unwrap();
    assert!(right.wait_until_ready(index, common::SOON).unwrap());
    line.send(&[100]);
    line.receive(1);
}

/// One that closes leaves nothing of the ring in the way of the next.
#[test]
fn rings_come_and_go() {
    if !namespaces_allowed("rings_come_and_go") {
        return;
    }
    let mut line = Line::new();
    for _ in 0..3 {
        let right = &line.right;
        line.ring = line.pair.right.run(|| EspRing::open(right, HEADROOM).unwrap()).unwrap();
        line.send(&[100]);
        line.receive(1);
        line.assert_quiet();
    }
}
