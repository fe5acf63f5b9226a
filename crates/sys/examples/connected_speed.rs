//! Measures what a message costs the sender through a socket for all, with its address, and through one
//! connected to the peer: a single datagram, one of 40 segments, and sixteen of either in one call.
//!
//! Over a veth pair to a socket that nobody reads: `cargo run --release -p adit-sys --example
//! connected_speed [ROUNDS]`, as root. Ways take turns within each round; the lines have the least CPU
//! time of all rounds.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program to look at figures")]

use std::net::SocketAddr;
use std::time::Duration;

use adit_sys::netns::Namespace;
use adit_sys::udp::{DualUdpSocket, SocketOptions, UdpSocket};
use adit_sys::{BatchIo, SendReport, clock};
use adit_wire::PacketBuf;

const LEFT: &str = "192.0.2.1:4500";
const RIGHT: &str = "192.0.2.2:4500";
/// Messages that are sent for one value.
const MESSAGES: usize = 4_000;
/// Longest segment.
const OCTETS_MAX: usize = 1_400;

fn main() {
    let rounds = std::env::args().nth(1).map_or(20, |text| text.parse().unwrap());
    let (left, right) = namespaces();
    let (local, remote): (SocketAddr, SocketAddr) = (LEFT.parse().unwrap(), RIGHT.parse().unwrap());
    let options = SocketOptions::default();
    let small = SocketOptions { receive_buffer_octets: 4_096, ..options };
    let sink = right.run(|| UdpSocket::bind(remote, &small).unwrap()).unwrap();
    // The kernel would cut what comes for a socket that takes datagrams one by one.
    sink.join_datagrams().unwrap();
    let open = || {
        let shared = DualUdpSocket::bind(local.port(), &options).unwrap();
        shared.admit_connected(&options).unwrap();
        let own = shared.v4().beside(local.ip(), remote, &options).unwrap();
        own.connect().unwrap();
        (shared, own)
    };
    let (shared, own) = left.run(open).unwrap();
    let mut io = BatchIo::new(0);
    for (segments, octets, messages) in [
        (1, OCTETS_MAX, 1),
        (1, 100, 1),
        (40, OCTETS_MAX, 1),
        (1, OCTETS_MAX, 16),
        (40, OCTETS_MAX, 16),
    ] {
        let packets = packets([local, remote], segments * messages, segments, octets);
        let mut least = [Duration::MAX; 2];
        for _ in 0..rounds {
            let sent = cost(messages, || shared.v4().send_batch(&mut io, &packets));
            least[0] = least[0].min(sent);
            let sent = cost(messages, || own.send_batch(&mut io, &packets));
            least[1] = least[1].min(sent);
        }
        let [addressed, connected] = least.map(|time| time.as_nanos());
        let share = least[1].as_secs_f64() / least[0].as_secs_f64();
        println!(
            "{messages:2} messages of {segments:2} x {octets:4} octets: {addressed:5} ns each with \
             an address, {connected:5} ns connected, {share:.2}"
        );
    }
}

/// Packets of which so many are one message: one that is shorter ends each.
fn packets(at: [SocketAddr; 2], count: usize, segments: usize, octets: usize) -> Vec<PacketBuf> {
    let make = |number: usize| {
        let is_last = number % segments == segments - 1;
        // Messages of one packet are not joined if each is longer than the one before.
        let len = if segments == 1 { octets - 20 + number } else { octets - usize::from(is_last) };
        let mut packet = PacketBuf::with_capacity(0, OCTETS_MAX + 64);
        assert!(packet.fill(&vec![1; len]));
        [packet.meta.local, packet.meta.remote] = at;
        packet
    };
    (0..count).map(make).collect()
}

/// CPU time of one message.
fn cost(messages: usize, mut send: impl FnMut() -> SendReport) -> Duration {
    let before = clock::thread_cpu_time();
    for _ in 0..MESSAGES / messages {
        assert!(send().failed == 0);
    }
    let spent = clock::thread_cpu_time().saturating_sub(before);
    spent / u32::try_from(MESSAGES).unwrap()
}

fn namespaces() -> (Namespace, Namespace) {
    let (left, right) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    left.netlink().unwrap().add_veth_to("left0", "right0", &right).unwrap();
    let sides = [(&left, "left0", "192.0.2.1/24"), (&right, "right0", "192.0.2.2/24")];
    for (namespace, name, address) in sides {
        let mut netlink = namespace.netlink().unwrap();
        let index = netlink.link_by_name(name).unwrap().index;
        netlink.add_address(index, address.parse().unwrap()).unwrap();
        netlink.set_up(index, true).unwrap();
    }
    for (namespace, name, _) in sides {
        let mut netlink = namespace.netlink().unwrap();
        let index = netlink.link_by_name(name).unwrap().index;
        assert!(netlink.wait_until_ready(index, Duration::from_secs(5)).unwrap());
    }
    (left, right)
}
