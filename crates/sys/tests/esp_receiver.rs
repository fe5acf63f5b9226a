//! ESP by AF_XDP, or by what there is instead, between two namespaces.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use adit_db::InboundThreads;
use adit_sys::BatchIo;
use adit_sys::esp_receiver::EspReceiver;
use adit_sys::esp_ring::EspRing;
use adit_sys::netlink::{Family, Route};
use adit_sys::raw::{BypassSocket, RawEspSocket};
use adit_sys::steering::{Part, keep_part};
use adit_sys::udp::SocketOptions;
use adit_sys::wake::{Interest, wait_for};
use adit_sys::xdp::XdpDevices;
use adit_wire::PacketBuf;
use common::{HEADROOM, Pair, SOON, address, namespaces_allowed, packets};

/// A thread on the right: what it receives by, and its raw sockets.
struct Thread {
    receiver: EspReceiver,
    raw: [RawEspSocket; 2],
    /// Packets that came by the raw sockets.
    by_socket: usize,
}

/// Senders on the left, threads on the right.
struct Line {
    pair: Pair,
    left: [RawEspSocket; 2],
    threads: Vec<Thread>,
    io: BatchIo,
}

const V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

fn open_raw() -> [RawEspSocket; 2] {
    Family::BOTH.map(|family| RawEspSocket::open(family, &SocketOptions::default()).unwrap())
}

fn devices(threads: InboundThreads) -> XdpDevices {
    let devices = XdpDevices::sending().unwrap();
    devices.receive(threads).unwrap();
    devices
}

impl Line {
    fn new(threads: u32) -> Self {
        let pair = Pair::new();
        let left = pair.left.run(open_raw).unwrap();
        let threads = pair.right.run(|| open_threads(threads)).unwrap();
        Self { pair, left, threads, io: BatchIo::new(HEADROOM) }
    }

    /// Sends ESP packets of these lengths with these SPIs, whose sequence numbers count from 0.
    fn send(&mut self, ends: [&str; 2], wanted: &[(u32, usize)]) -> Vec<PacketBuf> {
        let [from, to] = ends.map(|end| SocketAddr::new(address(end), 0));
        let mut sent = packets(wanted.len(), 60_000);
        for (number, (packet, (spi, length))) in (0_u32..).zip(sent.iter_mut().zip(wanted)) {
            let header = [spi.to_be_bytes(), number.to_be_bytes()].concat();
            assert!(packet.fill(&[&header[..], &vec![7; *length]].concat()));
            (packet.meta.local, packet.meta.remote, packet.meta.tos) = (from, to, 0x29);
        }
        let [v4, v6] = &self.left;
        let socket = if from.is_ipv4() { v4 } else { v6 };
        let report = socket.send_batch(&mut self.io, &sent);
        assert_eq!((report.sent, report.failed), (wanted.len(), 0), "{report:?}");
        sent
    }

    /// What comes to a thread: by its receiver, and by its raw sockets.
    fn receive(&mut self, thread: usize, wanted: usize) -> Vec<PacketBuf> {
        let mut got = Vec::new();
        let begun = adit_sys::clock::now();
        while got.len() < wanted {
            assert!(begun.elapsed() < SOON, "{} of {wanted} packets arrived", got.len());
            got.extend(self.look(thread));
        }
        got
    }

    fn look(&mut self, thread: usize) -> Vec<PacketBuf> {
        let (thread, io) = (&mut self.threads[thread], &mut self.io);
        self.pair.right.run(|| thread.look(io)).unwrap()
    }

    /// Nothing more is there for anybody.
    fn assert_quiet(&mut self) {
        std::thread::sleep(Duration::from_millis(100));
        for thread in 0..self.threads.len() {
            assert_eq!(self.look(thread).len(), 0);
        }
    }

    /// Sends until packets come by AF_XDP.
    fn attach(&mut self, ends: [&str; 2]) {
        for thread in 0..self.threads.len() {
            self.send(ends, &[(0x1000 + u32::try_from(thread).unwrap(), 100)]);
            self.receive(thread, 1);
            assert_eq!(self.threads[thread].receiver.attached().len(), 1);
            // The next lesson is to be given.
            std::thread::sleep(Duration::from_millis(110));
        }
    }

    fn by_socket(&self) -> usize {
        self.threads.iter().map(|thread| thread.by_socket).sum()
    }
}

impl Thread {
    fn look(&mut self, io: &mut BatchIo) -> Vec<PacketBuf> {
        let mut all = Vec::new();
        let moment = Some(Duration::from_millis(10));
        let _ = wait_for(&self.receiver, Interest::Readable, moment).unwrap();
        loop {
            let mut got = packets(16, 60_000);
            let count = self.receiver.recv_batch(&mut got).unwrap();
            self.receiver.confirm(|place| is_authentic(&got[place]));
            got.truncate(count);
            if got.is_empty() {
                break;
            }
            all.append(&mut got);
        }
        for socket in &self.raw {
            let mut got = packets(64, 60_000);
            let count = socket.recv_batch(io, &mut got).unwrap();
            got.truncate(count);
            self.receiver.see(&got);
            self.receiver.confirm(|place| is_authentic(&got[place]));
            self.by_socket += count;
            all.append(&mut got);
        }
        self.receiver.learn();
        all
    }
}

/// What these tests hold to be: not all that has an SPI of another's.
fn is_authentic(packet: &PacketBuf) -> bool {
    packet.data().first_chunk() != Some(&STRANGERS_SPI.to_be_bytes())
}

const STRANGERS_SPI: u32 = 0x0bad_0000;

fn open_threads(count: u32) -> Vec<Thread> {
    let threads = InboundThreads::new(count);
    let devices = devices(threads);
    let sockets: Vec<_> = (0..count).map(|_| open_raw()).collect();
    for (number, [v4, v6]) in (0..).zip(&sockets) {
        for socket in [v4, v6] {
            keep_part(socket.as_fd(), socket.family(), Part { number, threads }, true).unwrap();
        }
    }
    let v4: Vec<_> = sockets.iter().map(|[v4, _]| v4).collect();
    let rings = EspRing::open_all(&v4, HEADROOM).unwrap();
    let open = |(number, (ring, raw))| {
        let devices = Some(devices.clone());
        let receiver = EspReceiver::open(number, HEADROOM, Some(ring), devices, None).unwrap();
        Thread { receiver, raw, by_socket: 0 }
    };
    (0..).zip(rings.into_iter().zip(sockets)).map(open).collect()
}

fn assert_same(got: &[PacketBuf], sent: &[PacketBuf], ends: [&str; 2]) {
    assert_eq!(got.len(), sent.len());
    let [from, to] = ends.map(address);
    for (packet, original) in got.iter().zip(sent) {
        assert_eq!(packet.data(), original.data());
        let meta = &packet.meta;
        assert_eq!((meta.local, meta.remote), (SocketAddr::new(to, 0), SocketAddr::new(from, 0)));
        assert_eq!((meta.tos, meta.udp), (0x29, false));
        assert_eq!(meta.header_len, if from.is_ipv4() { 20 } else { 0 });
        assert!(packet.headroom() >= HEADROOM);
    }
}

/// The first comes another way; then all do by AF_XDP, once, in order, whole, and more of them than
/// there are frames. Both families.
#[test]
fn packets_come_as_from_a_raw_socket() {
    if !namespaces_allowed("packets_come_as_from_a_raw_socket") {
        return;
    }
    let mut line = Line::new(1);
    for ends in [V4, V6] {
        line.attach(ends);
        let before = line.by_socket();
        let sent = line.send(ends, &[(0x101, 0), (0x101, 1), (0x102, 100), (0x101, 1_400)]);
        let got = line.receive(0, sent.len());
        assert_same(&got, &sent, ends);
        for _ in 0..100 {
            let sent = line.send(ends, &[(0x101, 64); 50]);
            let got = line.receive(0, sent.len());
            assert_same(&got, &sent, ends);
        }
        assert_eq!(line.by_socket(), before);
        line.assert_quiet();
    }
    let attached = line.threads[0].receiver.attached();
    assert!(attached[0].starts_with("right0: "), "{attached:?}");
    assert!(line.threads[0].receiver.memory_octets() >= 6 << 20);
}

/// What the network had to cut is the kernel's, which joins it; so is what is too long for a frame.
#[test]
fn fragments_and_long_packets_come_another_way() {
    if !namespaces_allowed("fragments_and_long_packets_come_another_way") {
        return;
    }
    let mut line = Line::new(1);
    for ends in [V4, V6] {
        line.attach(ends);
        for length in [4_000, 30_000] {
            let sent = line.send(ends, &[(0x101, length)]);
            let got = line.receive(0, 1);
            assert_same(&got, &sent, ends);
        }
        line.assert_quiet();
    }
    for (namespace, name) in [(&line.pair.left, "left0"), (&line.pair.right, "right0")] {
        let mut netlink = namespace.netlink().unwrap();
        let index = netlink.link_by_name(name).unwrap().index;
        netlink.set_mtu(index, 2_500).unwrap();
    }
    for ends in [V4, V6] {
        let sent = line.send(ends, &[(0x101, 2_000)]);
        let got = line.receive(0, 1);
        assert_same(&got, &sent, ends);
    }
}

/// A packet that no SA finds authentic has no device asked.
#[test]
fn strangers_have_no_device_asked() {
    if !namespaces_allowed("strangers_have_no_device_asked") {
        return;
    }
    let mut line = Line::new(1);
    for ends in [V4, V6] {
        line.send(ends, &[(STRANGERS_SPI, 64); 3]);
        line.receive(0, 3);
        assert!(line.threads[0].receiver.attached().is_empty());
    }
    line.attach(V4);
}

/// A driver that runs no programs, here for its MTU, leaves that to the network stack.
#[test]
fn a_device_without_native_programs_has_generic_ones() {
    if !namespaces_allowed("a_device_without_native_programs_has_generic_ones") {
        return;
    }
    let mut line = Line::new(1);
    for (namespace, name) in [(&line.pair.left, "left0"), (&line.pair.right, "right0")] {
        let mut netlink = namespace.netlink().unwrap();
        let index = netlink.link_by_name(name).unwrap().index;
        netlink.set_mtu(index, 9_000).unwrap();
    }
    for (number, ends) in (0..).zip([V4, V6]) {
        line.attach(ends);
        assert_eq!(line.threads[0].receiver.attached(), ["right0: generic"]);
        let before = line.by_socket();
        let sent = line.send(ends, &[(0x101, 0), (0x101, 100), (0x101, 1_400)]);
        let got = line.receive(0, sent.len());
        assert_same(&got, &sent, ends);
        assert_eq!(line.by_socket(), before);
        // That of IPv4 comes by the ring.
        let sent = line.send(ends, &[(0x101, 8_000)]);
        let got = line.receive(0, 1);
        assert_same(&got, &sent, ends);
        assert_eq!(line.by_socket(), before + number);
        line.assert_quiet();
    }
}

/// Each thread gets its SPIs, whichever way they come, fragments included.
#[test]
fn threads_share_packets_by_spi() {
    if !namespaces_allowed("threads_share_packets_by_spi") {
        return;
    }
    let mut line = Line::new(2);
    for ends in [V4, V6] {
        line.attach(ends);
        let before = line.by_socket();
        for round in 0..20 {
            let wanted: Vec<_> = (0x100..0x120).map(|spi| (spi, 64)).collect();
            let sent = line.send(ends, &wanted);
            for thread in 0..2 {
                let own = |packet: &&PacketBuf| usize::from(packet.data()[3]) % 2 == thread;
                let expected = sent.iter().filter(own).count();
                let got = line.receive(thread, expected);
                assert_eq!(got.iter().filter(own).count(), expected, "round {round}");
            }
        }
        line.assert_quiet();
        assert_eq!(line.by_socket(), before);
        let sent = line.send(ends, &[(0x100, 4_000), (0x101, 4_000)]);
        for thread in 0..2 {
            let got = line.receive(thread, 1);
            assert_same(&got, &sent[thread..=thread], ends);
        }
        line.assert_quiet();
    }
}

/// A gateway forwards ESP of others as it did, and the kernel's engine has its own.
#[test]
fn strangers_packets_are_the_kernels() {
    if !namespaces_allowed("strangers_packets_are_the_kernels") {
        return;
    }
    let mut line = Line::new(1);
    line.attach(V4);
    // A further hop, beyond the right one.
    let beyond = adit_sys::netns::Namespace::create().unwrap();
    common::join(
        &line.pair.right,
        "right1",
        &["198.51.100.1/24"],
        &beyond,
        "far0",
        &["198.51.100.7/24"],
    );
    let network = "198.51.100.0/24".parse().unwrap();
    let route = Route::by_gateway(network, address("192.0.2.2"));
    line.pair.left.netlink().unwrap().add_route(&route).unwrap();
    let back = Route::by_gateway("192.0.2.0/24".parse().unwrap(), address("198.51.100.1"));
    beyond.netlink().unwrap().add_route(&back).unwrap();
    let forward = || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1");
    line.pair.right.run(forward).unwrap().unwrap();
    let far = beyond.run(open_raw).unwrap();
    line.send(["192.0.2.1", "198.51.100.7"], &[(0x101, 64)]);
    assert!(common::wait(&far[0]));
    line.assert_quiet();
    line.send(V4, &[(0x8000_0101, 64)]);
    line.assert_quiet();
    // An address that comes later is ours from then on.
    let mut right = line.pair.right.netlink().unwrap();
    let index = right.link_by_name("right0").unwrap().index;
    right.add_address(index, "192.0.2.77/24".parse().unwrap()).unwrap();
    for _ in 0..2 {
        line.send(["192.0.2.1", "192.0.2.77"], &[(0x101, 64)]);
        line.receive(0, 1);
        std::thread::sleep(Duration::from_millis(110));
    }
}

/// Hostile frames between good ones: what comes out is good.
#[test]
fn broken_packets_come_out_nowhere() {
    if !namespaces_allowed("broken_packets_come_out_nowhere") {
        return;
    }
    let mut line = Line::new(1);
    line.attach(V4);
    let bypass =
        line.pair.left.run(|| BypassSocket::open(&SocketOptions::default()).unwrap()).unwrap();
    let IpAddr::V4(to) = address("192.0.2.2") else { unreachable!() };
    let packet = |octets: &[u8]| {
        let mut packet = packets(1, 3_000);
        assert!(packet[0].fill(octets));
        packet
    };
    let header = |total: u16, first: u8| {
        let [t0, t1] = total.to_be_bytes();
        let header = [first, 0x29, t0, t1, 0, 7, 0, 0, 64, 50, 0, 0, 192, 0, 2, 1];
        [&header[..], &to.octets(), &[0, 0, 1, 1, 0, 0, 0, 1], &[7; 32]].concat()
    };
    // Options: the kernel's, and the ring's. No room for a sequence number: nobody's business here.
    for octets in [header(60, 0x46), header(28, 0x45)[..28].to_vec()] {
        let _ = bypass.send_batch(&mut line.io, &packet(&octets));
        let _ = line.look(0);
    }
    let sent = line.send(V4, &[(0x101, 64)]);
    let got = line.receive(0, 1);
    assert_same(&got[got.len() - 1..], &sent, V4);
}

/// A device that goes and comes back is found again.
#[test]
fn a_device_that_comes_back_is_found_again() {
    if !namespaces_allowed("a_device_that_comes_back_is_found_again") {
        return;
    }
    let mut line = Line::new(1);
    line.attach(V4);
    let mut left = line.pair.left.netlink().unwrap();
    let index = left.link_by_name("left0").unwrap().index;
    left.delete_link(index).unwrap();
    let Pair { left, right } = &line.pair;
    common::join(left, "left0", &["192.0.2.1/24"], right, "right0", &["192.0.2.2/24"]);
    // The ring tells of the old one.
    let _ = line.pair.right.run(|| line.threads[0].receiver.recv_batch(&mut packets(1, 100)));
    line.attach(V4);
    let before = line.by_socket();
    let sent = line.send(V4, &[(0x101, 64); 8]);
    let got = line.receive(0, 8);
    assert_same(&got, &sent, V4);
    assert_eq!(line.by_socket(), before);
}
