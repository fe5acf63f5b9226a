//! Several threads beside each other: whose a packet is, inbound by its SPI, outbound by its flow.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use adit_db::InboundThreads;
use adit_sys::netlink::Family;
use adit_sys::netns::Namespace;
use adit_sys::raw::RawEspSocket;
use adit_sys::steering::{Part, keep_part};
use adit_sys::tun::{Queues, Tun, TunConfig};
use adit_sys::udp::{DualUdpSocket, SocketOptions, UdpSocket};
use adit_sys::{BatchIo, SysError};
use adit_wire::PacketBuf;
use common::{HEADROOM, Pair, address, namespaces_allowed, packets, wait};

/// The first four octets of all that waits, after something has come.
fn spis(got: &[PacketBuf]) -> Vec<u32> {
    let spi = |packet: &PacketBuf| packet.data().first_chunk().map(|spi| u32::from_be_bytes(*spi));
    got.iter().map(|packet| spi(packet).unwrap_or(u32::MAX)).collect()
}

#[test]
fn a_port_is_divided_among_threads_by_spi() {
    if !namespaces_allowed("a_port_is_divided_among_threads_by_spi") {
        return;
    }
    let pair = Pair::new();
    let options = SocketOptions::default();
    let threads = InboundThreads::new(3);
    let left = pair.left.run(|| DualUdpSocket::bind(4500, &options)).unwrap().unwrap();
    let bind = || DualUdpSocket::bind_for(threads, 4500, &options);
    let right = pair.right.run(bind).unwrap().unwrap();
    for (from, to) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
        let (from, to) = (SocketAddr::new(address(from), 4500), SocketAddr::new(address(to), 4500));
        // A marker of zero is IKE; a keepalive has no SPI.
        for spi in [300_u32, 301, 302, 303, 0, 305] {
            left.send_to(from, to, 0, &spi.to_be_bytes(), b"esp").unwrap();
        }
        left.send_to(from, to, 0, &[], &[0xff]).unwrap();
        let wanted = [vec![300, 303, 0, u32::MAX], vec![301], vec![302, 305]];
        for (socket, wanted) in right.iter().zip(wanted) {
            let mut got = packets(8, 100);
            assert!(wait(socket.halves().nth(usize::from(to.is_ipv6())).unwrap()));
            let count = socket.recv_batch(&mut BatchIo::new(HEADROOM), &mut got).unwrap();
            assert_eq!(spis(&got[..count]), wanted);
        }
    }
    let another = pair.right.run(|| DualUdpSocket::bind(4500, &options)).unwrap();
    assert!(matches!(another, Err(SysError::AddressInUse { port: 4500, .. })), "{another:?}");
}

#[test]
fn esp_is_divided_among_threads_by_spi() {
    if !namespaces_allowed("esp_is_divided_among_threads_by_spi") {
        return;
    }
    let pair = Pair::new();
    let threads = InboundThreads::new(2);
    for (family, from, to) in
        [(Family::V4, "192.0.2.1", "192.0.2.2"), (Family::V6, "2001:db8::1", "2001:db8::2")]
    {
        let open = || RawEspSocket::open(family, &SocketOptions::default()).unwrap();
        let left = pair.left.run(open).unwrap();
        let right: Vec<_> = (0..2).map(|_| pair.right.run(open).unwrap()).collect();
        for (number, socket) in (0..).zip(&right) {
            keep_part(socket.as_fd(), family, Part { number, threads }, false).unwrap();
        }
        let mut sent = packets(4, 1_400);
        for (packet, spi) in sent.iter_mut().zip(300_u32..) {
            assert!(packet.fill(&[&spi.to_be_bytes()[..], &[0; 60]].concat()));
            packet.meta.local = SocketAddr::new(address(from), 0);
            packet.meta.remote = SocketAddr::new(address(to), 0);
        }
        assert_eq!(left.send_batch(&mut BatchIo::new(HEADROOM), &sent).sent, 4);
        for (socket, wanted) in right.iter().zip([[300, 302], [301, 303]]) {
            let mut got = packets(8, 1_500);
            assert!(wait(socket));
            let count = socket.recv_batch(&mut BatchIo::new(HEADROOM), &mut got).unwrap();
            assert_eq!(spis(&got[..count]), wanted);
        }
    }
}

/// Flows are spread over those that read, and stay there whoever writes the packets of their other
/// direction.
#[test]
fn an_interface_is_read_by_several_threads() {
    if !namespaces_allowed("an_interface_is_read_by_several_threads") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    let config = TunConfig {
        name: "adit0".to_owned(),
        mtu: 1_400,
        addresses: vec!["10.7.0.1/24".parse().unwrap()],
        offloads: false,
    };
    let queues = Queues { readers: 2, writers: 2 };
    let tun = namespace.run(|| Tun::create_with(&config, queues)).unwrap().unwrap();
    let options = SocketOptions { mark: None, ..SocketOptions::default() };
    let remote: SocketAddr = "10.7.0.2:7".parse().unwrap();
    let sockets: Vec<UdpSocket> = (0..32)
        .map(|_| namespace.run(|| UdpSocket::bind("10.7.0.1:0".parse().unwrap(), &options)))
        .map(|socket| socket.unwrap().unwrap())
        .collect();

    let mut place_of_flow = BTreeMap::new();
    for round in 0..3 {
        for socket in &sockets {
            socket.send_to(socket.local(), remote, 0, &[], &[round; 20]).unwrap();
        }
        let mut seen = 0;
        for number in 0..2 {
            let mut got = packets(64, 1_500);
            let count = tun.reader(number).recv_batch(HEADROOM, &mut got).unwrap();
            seen += count;
            for packet in &mut got[..count] {
                let port = u16::from_be_bytes([packet.data()[20], packet.data()[21]]);
                assert_eq!(*place_of_flow.entry(port).or_insert(number), number);
                // The answer, with the other half of the flow.
                let (source, destination) = packet.data_mut()[12..20].split_at_mut(4);
                source.swap_with_slice(destination);
                packet.data_mut()[20..24].rotate_left(2);
            }
            // All answers by one thread.
            assert_eq!(tun.writer(1).send_batch(&got[..count]).sent, count);
        }
        assert_eq!(seen, sockets.len());
        for socket in &sockets {
            let mut got = packets(1, 100);
            common::receive(socket, &mut got, 1);
            assert_eq!(got[0].data(), [round; 20]);
        }
    }
    let on_first = place_of_flow.values().filter(|place| **place == 0).count();
    assert!((4..=28).contains(&on_first), "{on_first} of 32 flows");
}
