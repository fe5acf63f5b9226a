//! ESP sent in frames, between two namespaces.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use adit_sys::capture::Capture;
use adit_sys::esp_sender::EspSender;
use adit_sys::netlink::{Family, Route};
use adit_sys::raw::RawEspSocket;
use adit_sys::udp::SocketOptions;
use adit_sys::xdp::XdpDevices;
use adit_sys::{BatchIo, SendReport};
use adit_wire::PacketBuf;
use common::{HEADROOM, Pair, address, namespaces_allowed, packets, wait};

struct Line {
    pair: Pair,
    left: EspSender,
    right: RawEspSocket,
    io: BatchIo,
    sequence: u32,
    /// The addresses of both ends.
    ends: [&'static str; 2],
}

impl Line {
    fn new() -> Self {
        Self::of(Family::V4, ["192.0.2.1", "192.0.2.2"])
    }

    fn of(family: Family, ends: [&'static str; 2]) -> Self {
        let pair = Pair::new();
        let open = |family| RawEspSocket::open(family, &SocketOptions::default()).unwrap();
        let xdp = XdpDevices::sending().unwrap();
        let sender =
            || EspSender::by_frames(Family::BOTH.map(open).into(), None, xdp.clone()).unwrap();
        let left = pair.left.run(sender).unwrap();
        let right = pair.right.run(|| open(family)).unwrap();
        Self { pair, left, right, io: BatchIo::new(HEADROOM), sequence: 0, ends }
    }

    fn packets(&mut self, to: &str, lengths: &[usize]) -> Vec<PacketBuf> {
        let mut sent = packets(lengths.len(), 60_000);
        for (packet, length) in sent.iter_mut().zip(lengths) {
            let sequence = self.sequence.to_be_bytes();
            self.sequence += 1;
            assert!(packet.fill(&[&[0, 0, 1, 1], &sequence[..], &vec![7; *length]].concat()));
            packet.meta.remote = SocketAddr::new(address(to), 0);
            packet.meta.tos = 0x29;
            // Without one the socket does not know whose traffic class it is.
            if address(to).is_ipv6() {
                packet.meta.local = SocketAddr::new(address(self.ends[0]), 0);
            }
        }
        sent
    }

    fn send(&mut self, sent: &[PacketBuf]) -> SendReport {
        let (left, io) = (&mut self.left, &mut self.io);
        self.pair
            .left
            .run(move || {
                let left: &mut EspSender = left;
                left.send_batch(io, sent)
            })
            .unwrap()
    }

    /// Sends, and checks that all arrive, in order.
    fn carry(&mut self, sent: &[PacketBuf]) {
        let report = self.send(sent);
        let calls = report.calls;
        assert_eq!(report, SendReport { sent: sent.len(), calls, ..SendReport::default() });
        let mut got = packets(sent.len(), 60_000);
        let mut arrived = 0;
        while arrived < sent.len() {
            assert!(wait(&self.right), "{arrived} of {} packets arrived", sent.len());
            arrived += self.right.recv_batch(&mut self.io, &mut got[arrived..]).unwrap();
        }
        for (packet, original) in got.iter().zip(sent) {
            assert_eq!(packet.data(), original.data());
            assert_eq!(packet.meta.remote, SocketAddr::new(address(self.ends[0]), 0));
            assert_eq!(packet.meta.local.ip(), original.meta.remote.ip());
            let header = if packet.meta.remote.is_ipv4() { 20 } else { 0 };
            assert_eq!((packet.meta.tos, packet.meta.header_len), (0x29, header));
        }
    }

    /// Makes the neighbour known, which takes a packet through the raw socket, and waits until it is
    /// asked for again.
    fn warm_up(&mut self) {
        let first = self.packets(self.ends[1], &[100]);
        self.carry(&first);
        std::thread::sleep(Duration::from_millis(300));
        let second = self.packets(self.ends[1], &[100]);
        self.carry(&second);
    }
}

/// How many IPv4 packets a capture has; it does not see frames of ours.
fn captured(capture: &mut Capture) -> usize {
    let mut count = 0;
    while let Some(frame) = capture.next_frame().unwrap() {
        count += usize::from(frame.octets.get(12..14) == Some(&[8, 0]));
    }
    count
}

/// Plain packets go in frames, more at once than a device takes; what would have to be cut does not.
#[test]
fn packets_arrive_as_from_a_raw_socket() {
    if !namespaces_allowed("packets_arrive_as_from_a_raw_socket") {
        return;
    }
    let mut line = Line::new();
    let mut capture = line.pair.left.run(|| Capture::open("left0", 64).unwrap()).unwrap();
    line.warm_up();
    assert_eq!(captured(&mut capture), 2);

    let sent = line.packets("192.0.2.2", &[0, 1, 100, 1_400, 1_472]);
    line.carry(&sent);
    assert_eq!(captured(&mut capture), 0, "all went in frames");
    let sent = line.packets("192.0.2.2", &[100, 1_473, 100, 30_000]);
    line.carry(&sent);
    // Whatever is behind the one that had to be cut waits for it.
    assert_eq!(captured(&mut capture), 2 + 1 + 21, "one went in a frame, two in fragments");
    for _ in 0..50 {
        let sent = line.packets("192.0.2.2", &[64; 100]);
        line.carry(&sent);
    }
}

/// The same above IPv6, whose headers have a flow label that stays.
#[test]
fn packets_over_ipv6_arrive_as_from_a_raw_socket() {
    if !namespaces_allowed("packets_over_ipv6_arrive_as_from_a_raw_socket") {
        return;
    }
    let mut line = Line::of(Family::V6, ["2001:db8::1", "2001:db8::2"]);
    line.warm_up();
    let mut here = line.pair.left.run(|| Capture::open("left0", 64).unwrap()).unwrap();
    let mut there = line.pair.right.run(|| Capture::open("right0", 64).unwrap()).unwrap();
    let sent = line.packets("2001:db8::2", &[0, 1, 100, 1_400, 1_452]);
    line.carry(&sent);
    assert_eq!(esp_of_ipv6(&mut here).len(), 0, "all went in frames");
    let headers = esp_of_ipv6(&mut there);
    let length = |header: &[u8; 40]| usize::from(u16::from_be_bytes([header[4], header[5]]));
    assert!(headers.iter().map(length).eq(sent.iter().map(PacketBuf::len)));
    for header in &headers {
        assert_eq!((header[0], header[1] >> 4, header[7]), (0x62, 0x9, 64));
        assert_eq!(header[..4], headers[0][..4]);
        assert_ne!([header[1] & 0x0f, header[2], header[3]], [0; 3]);
    }
    let sent = line.packets("2001:db8::2", &[100, 1_453, 100, 30_000]);
    line.carry(&sent);
    assert_eq!(esp_of_ipv6(&mut here).len(), 1, "one went in a frame, two in fragments");
    assert_eq!(line.left.peers_by_frames(), Some(1));
}

/// A device with one queue has room for the frames of both families.
#[test]
fn both_families_leave_by_one_queue() {
    if !namespaces_allowed("both_families_leave_by_one_queue") {
        return;
    }
    let mut line = Line::new();
    line.warm_up();
    assert_eq!(line.left.peers_by_frames(), Some(1));
    let open = || RawEspSocket::open(Family::V6, &SocketOptions::default()).unwrap();
    line.right = line.pair.right.run(open).unwrap();
    line.ends = ["2001:db8::1", "2001:db8::2"];
    line.warm_up();
    assert_eq!(line.left.peers_by_frames(), Some(2));
    // A batch of both.
    let mut sent = line.packets("192.0.2.2", &[100]);
    sent.append(&mut line.packets("2001:db8::2", &[100]));
    let report = line.send(&sent);
    assert_eq!((report.sent, report.failed, report.unsent), (2, 0, 0), "{report:?}");
}

/// The headers of IPv6 packets that a capture has and that have nothing but ESP behind them.
fn esp_of_ipv6(capture: &mut Capture) -> Vec<[u8; 40]> {
    let mut headers = Vec::new();
    while let Some(frame) = capture.next_frame().unwrap() {
        let is_v6 = frame.octets.get(12..14) == Some(&[0x86, 0xdd]);
        if let Some(header) = frame.octets.get(14..54).filter(|header| is_v6 && header[6] == 50) {
            headers.push(header.try_into().unwrap());
        }
    }
    headers
}

/// The way is asked for again, and packets keep their order meanwhile.
#[test]
fn packets_stay_in_order_when_the_way_expires() {
    if !namespaces_allowed("packets_stay_in_order_when_the_way_expires") {
        return;
    }
    let mut line = Line::new();
    line.warm_up();
    let mut capture = line.pair.left.run(|| Capture::open("left0", 64).unwrap()).unwrap();
    let begun = adit_sys::clock::now();
    let mut batches = 0;
    while begun.elapsed() < Duration::from_millis(2_200) {
        let sent = line.packets("192.0.2.2", &[200; 20]);
        line.carry(&sent);
        batches += 1;
    }
    let by_socket = captured(&mut capture);
    assert!(by_socket == 20 || by_socket == 40, "{by_socket} by the socket");
    assert!(batches > 3, "{batches}");
    assert_eq!(line.left.peers_by_frames(), Some(1));
    assert!(!line.left.is_waiting());
    assert_eq!(line.left.flush(), SendReport::default());
}

/// An interface that sends no frames, here because it has another socket, is left alone.
#[test]
fn packets_go_by_the_socket_where_an_interface_refuses() {
    if !namespaces_allowed("packets_go_by_the_socket_where_an_interface_refuses") {
        return;
    }
    let mut line = Line::new();
    line.warm_up();
    let open = || {
        let socket = RawEspSocket::open(Family::V4, &SocketOptions::default()).unwrap();
        EspSender::by_frames(vec![socket], None, XdpDevices::sending().unwrap()).unwrap()
    };
    let other = line.pair.left.run(open).unwrap();
    let first = std::mem::replace(&mut line.left, other);
    line.warm_up();
    drop(first);
    line.warm_up();
    assert_eq!(line.left.peers_by_frames(), Some(0));
}

/// The header forbids being cut where it is to, and its checksum is right.
#[test]
fn the_header_says_what_the_packet_wants() {
    if !namespaces_allowed("the_header_says_what_the_packet_wants") {
        return;
    }
    let mut line = Line::new();
    line.warm_up();
    let mut capture = line.pair.right.run(|| Capture::open("right0", 64).unwrap()).unwrap();
    for dont_fragment in [false, true] {
        let mut sent = line.packets("192.0.2.2", &[100]);
        sent[0].meta.dont_fragment = dont_fragment;
        sent[0].meta.local = SocketAddr::new(address("192.0.2.1"), 0);
        // The first of these asks for the way from this address.
        line.carry(&sent);
        line.carry(&sent);
        let mut seen = 0;
        while let Some(frame) = capture.next_frame().unwrap() {
            let ip = &frame.octets[14..34];
            if frame.octets[12..14] == [8, 0] {
                assert_eq!(adit_wire::ip::checksum(ip), 0);
                assert_eq!((ip[0], ip[1], ip[8], ip[9]), (0x45, 0x29, 64, 50));
                assert_eq!(ip[6] & 0x40 != 0, dont_fragment);
                seen += 1;
            }
        }
        assert_eq!(seen, 2);
    }
}

/// Routes that change are followed: through a gateway, and to nowhere.
#[test]
fn routes_are_followed() {
    if !namespaces_allowed("routes_are_followed") {
        return;
    }
    let mut line = Line::new();
    let mut right = line.pair.right.netlink().unwrap();
    let index = right.link_by_name("lo").unwrap().index;
    right.set_up(index, true).unwrap();
    right.add_address(index, "198.51.100.7/32".parse().unwrap()).unwrap();
    let route = Route::by_gateway("198.51.100.0/24".parse().unwrap(), address("192.0.2.2"));
    let mut left = line.pair.left.netlink().unwrap();
    left.add_route(&route).unwrap();
    line.warm_up();
    for _ in 0..2 {
        let sent = line.packets("198.51.100.7", &[100, 200]);
        line.carry(&sent);
    }
    left.delete_route(&route).unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    let sent = line.packets("198.51.100.7", &[100, 200]);
    let report = line.send(&sent);
    assert_eq!((report.sent, report.failed), (0, 2), "{report:?}");
}

/// An interface that goes takes its socket with it; packets find the way that is left.
#[test]
fn an_interface_that_goes_down_is_let_go() {
    if !namespaces_allowed("an_interface_that_goes_down_is_let_go") {
        return;
    }
    let mut line = Line::new();
    line.warm_up();
    let mut left = line.pair.left.netlink().unwrap();
    let index = left.link_by_name("left0").unwrap().index;
    left.set_up(index, false).unwrap();
    let sent = line.packets("192.0.2.2", &[100]);
    // The first may still be handed to the device, which drops it.
    let _ = line.send(&sent);
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(line.send(&sent).sent, 0);
    left.set_up(index, true).unwrap();
    assert!(left.wait_until_ready(index, common::SOON).unwrap());
    std::thread::sleep(Duration::from_millis(300));
    while line.right.recv_batch(&mut line.io, &mut packets(8, 2_000)).unwrap() > 0 {}
    // What was lost stays lost.
    line.warm_up();
    let sent = line.packets("192.0.2.2", &[100; 40]);
    line.carry(&sent);
}
