//! Raw ESP and bypass sockets between two namespaces.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use adit_db::KERNEL_SPI;
use adit_sys::netlink::Family;
use adit_sys::raw::{BypassSocket, RawEspSocket};
use adit_sys::raw_ah::{AH_HEADROOM, RawAhSocket};
use adit_sys::steering::keep_from_kernel_ah;
use adit_sys::udp::SocketOptions;
use adit_sys::{BATCH_MAX, BatchIo};
use common::{HEADROOM, Pair, address, namespaces_allowed, packets, receive, wait};

#[test]
fn esp_packets_round_trip_in_both_families() {
    if !namespaces_allowed("esp_packets_round_trip_in_both_families") {
        return;
    }
    let pair = Pair::new();
    for (family, from, to) in
        [(Family::V4, "192.0.2.1", "192.0.2.2"), (Family::V6, "2001:db8::1", "2001:db8::2")]
    {
        let (from, to) = (SocketAddr::new(address(from), 0), SocketAddr::new(address(to), 0));
        let open = || RawEspSocket::open(family, &SocketOptions::default()).unwrap();
        let left = pair.left.run(open).unwrap();
        let right = pair.right.run(open).unwrap();
        let mut io = BatchIo::new(HEADROOM);
        let count = BATCH_MAX + 3;

        let mut sent = packets(count, 1_400);
        for (n, packet) in sent.iter_mut().enumerate() {
            let sequence = u32::try_from(n).unwrap().to_be_bytes();
            let octets = [&[0, 0, 1, 1], &sequence[..], &vec![7; 100 + n]].concat();
            assert!(packet.fill(&octets));
            packet.meta.local = from;
            packet.meta.remote = SocketAddr::new(to.ip(), 4500);
            packet.meta.tos = 0x29;
        }
        let report = left.send_batch(&mut io, &sent);
        assert_eq!((report.sent, report.failed), (count, 0), "{family:?} {report:?}");

        let mut got = packets(count, 1_500);
        let mut arrived = 0;
        while arrived < count {
            assert!(wait(&right), "{family:?}: {arrived} packets arrived");
            arrived += right.recv_batch(&mut io, &mut got[arrived..]).unwrap();
        }
        for (packet, original) in got.iter().zip(&sent) {
            assert_eq!(packet.data(), original.data());
            assert_eq!((packet.meta.local, packet.meta.remote), (to, from));
            assert_eq!((packet.meta.tos, packet.meta.udp), (0x29, false));
            assert!(packet.headroom() >= HEADROOM);
        }
    }
}

#[test]
fn bypassed_packets_leave_as_they_are() {
    if !namespaces_allowed("bypassed_packets_leave_as_they_are") {
        return;
    }
    let pair = Pair::new();
    let bypass = pair.left.run(|| BypassSocket::open(&SocketOptions::default()).unwrap()).unwrap();
    let mut sent = packets(3, 200);
    assert!(sent[0].fill(&udp_in_ipv4()));
    assert!(sent[1].fill(&udp_in_ipv6()));
    assert!(sent[2].fill(b"no packet"));

    for (any, from) in [("0.0.0.0:7", "10.9.8.7:7"), ("[::]:7", "[2001:db8:9::7]:7")] {
        let right = pair
            .right
            .run(|| {
                // Answers could not come back, which the reverse path filter would object to.
                adit_sys::netns::write_sysctl("net.ipv4.conf.all.rp_filter", "0").unwrap();
                adit_sys::netns::write_sysctl("net.ipv4.conf.right0.rp_filter", "0").unwrap();
                adit_sys::udp::UdpSocket::bind(any.parse().unwrap(), &SocketOptions::default())
            })
            .unwrap()
            .unwrap();

        let report = bypass.send_batch(&mut BatchIo::new(HEADROOM), &sent);

        assert_eq!((report.sent, report.failed), (2, 1), "{report:?}");
        let mut got = packets(1, 100);
        receive(&right, &mut got, 1);
        assert_eq!(got[0].data(), b"ping");
        assert_eq!(got[0].meta.remote, from.parse::<SocketAddr>().unwrap());
    }
}

/// AH comes out whole, as the ICV covers it: IPv4 as it was, IPv6 with its extension headers back in
/// their places; flow label and hop limit, which no ICV covers, are lost.
#[test]
fn ah_packets_come_out_whole() {
    if !namespaces_allowed("ah_packets_come_out_whole") {
        return;
    }
    let pair = Pair::new();
    let bypass = pair.left.run(|| BypassSocket::open(&SocketOptions::default()).unwrap()).unwrap();
    let ah = [17, 4, 0, 0, 0, 0, 1, 1, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 42];
    let hop_by_hop = [60, 0, 0x3e, 4, 1, 2, 3, 4];
    let destination = [43, 0, 1, 4, 0, 0, 0, 0];
    let routing = [51, 2, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];
    let v4 = |options: &[u8]| {
        let words = u8::try_from(5 + options.len() / 4).unwrap();
        let len = u8::try_from(usize::from(words) * 4 + ah.len()).unwrap();
        let header = [0x40 | words, 0x2d, 0, len, 0, 7, 0, 0, 63, 51, 0, 0];
        [&header[..], &[192, 0, 2, 1, 192, 0, 2, 2], options, &ah].concat()
    };
    let v6 = |next: u8, extensions: &[u8]| {
        let len = u8::try_from(extensions.len() + ah.len()).unwrap();
        let ends = ["2001:db8::1", "2001:db8::2"]
            .map(|end| end.parse::<std::net::Ipv6Addr>().unwrap().octets());
        let header = [0x62, 0xd0, 0, 0, 0, len, next, 64];
        [&header[..], &ends.concat(), extensions, &ah].concat()
    };
    let cases = [
        (Family::V4, v4(&[])),
        (Family::V4, v4(&[148, 4, 0, 0])),
        (Family::V6, v6(51, &[])),
        (Family::V6, v6(0, &[51, 0, 0x3e, 4, 1, 2, 3, 4])),
        (Family::V6, v6(0, &[&hop_by_hop[..], &destination, &routing].concat())),
    ];
    for (family, octets) in cases {
        let open = || RawAhSocket::open(family, &SocketOptions::default()).unwrap();
        let right = pair.right.run(open).unwrap();
        let mut sent = packets(1, 200);
        assert!(sent[0].fill(&octets));
        let report = bypass.send_batch(&mut BatchIo::new(HEADROOM), &sent);
        assert_eq!(report.sent, 1, "{report:?}");

        assert!(wait(&right));
        let mut io = BatchIo::new(AH_HEADROOM);
        let mut got = packets(1, 2_000);
        assert_eq!(right.recv_batch(&mut io, &mut got).unwrap(), 1);
        let mut whole = got[0].data().to_vec();
        if family == Family::V4 {
            // The kernel has filled in the checksum.
            assert_eq!(adit_wire::ip::checksum(&whole[..usize::from(whole[0] & 15) * 4]), 0);
            whole[10..12].fill(0);
        }
        assert_eq!(whole, octets, "{family:?}");
        assert!(got[0].meta.whole && !got[0].meta.udp);
        let (local, remote) = (got[0].meta.local.ip(), got[0].meta.remote.ip());
        let second = if family == Family::V4 { "192.0.2.2" } else { "2001:db8::2" };
        assert_eq!((local, remote == local), (address(second), false));
    }
}

/// The kernel's IPsec leaves copies of what it opens to raw sockets.
#[test]
fn an_ah_socket_does_not_see_the_kernels_packets() {
    let pair = Pair::new();
    let bypass = pair.left.run(|| BypassSocket::open(&SocketOptions::default()).unwrap()).unwrap();
    for family in Family::BOTH {
        let open = || RawAhSocket::open(family, &SocketOptions::default()).unwrap();
        let right = pair.right.run(open).unwrap();
        keep_from_kernel_ah(right.as_fd(), family).unwrap();
        let ah = |spi: u32| {
            let spi = spi.to_be_bytes();
            [&[17, 4, 0, 0][..], &spi, &[0, 0, 0, 9], &[7; 12], &[42]].concat()
        };
        let whole = |ah: &[u8]| {
            let len = u8::try_from(ah.len()).unwrap();
            let v6 = ["2001:db8::1", "2001:db8::2"]
                .map(|end| end.parse::<std::net::Ipv6Addr>().unwrap().octets());
            match family {
                Family::V4 => {
                    let header = [0x45, 0, 0, 20 + len, 0, 7, 0, 0, 63, 51, 0, 0];
                    [&header[..], &[192, 0, 2, 1, 192, 0, 2, 2], ah].concat()
                }
                Family::V6 => [&[0x60, 0, 0, 0, 0, len, 51, 64][..], &v6.concat(), ah].concat(),
            }
        };
        let mut sent = packets(3, 200);
        for (packet, spi) in sent.iter_mut().zip([KERNEL_SPI | 300, 300, KERNEL_SPI | 301]) {
            assert!(packet.fill(&whole(&ah(spi))));
        }
        assert_eq!(bypass.send_batch(&mut BatchIo::new(HEADROOM), &sent).sent, 3);
        assert!(wait(&right));
        let mut got = packets(3, 2_000);
        assert_eq!(right.recv_batch(&mut BatchIo::new(AH_HEADROOM), &mut got).unwrap(), 1);
        assert!(got[0].data().ends_with(&ah(300)));
    }
}

/// 10.9.8.7:7 to 192.0.2.2:7; the kernel fills the header checksum.
fn udp_in_ipv4() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 9, 8, 7, 192, 0, 2, 2];
    packet.extend([0, 7, 0, 7, 0, 12, 0, 0]);
    packet.extend(b"ping");
    packet
}

/// [2001:db8:9::7]:7 to [2001:db8::2]:7 with its UDP checksum, which IPv6 demands.
fn udp_in_ipv6() -> Vec<u8> {
    let source: std::net::Ipv6Addr = "2001:db8:9::7".parse().unwrap();
    let destination: std::net::Ipv6Addr = "2001:db8::2".parse().unwrap();
    let mut udp = vec![0, 7, 0, 7, 0, 12, 0, 0];
    udp.extend(b"ping");
    let pseudo = [&source.octets()[..], &destination.octets(), &[0, 0, 0, 12, 0, 0, 0, 17], &udp];
    let sum: u32 = pseudo
        .concat()
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    udp[6..8].copy_from_slice(&(!sum).to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0, 0, 12, 17, 64];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(udp);
    packet
}
