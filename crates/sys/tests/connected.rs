//! UDP sockets of one peer beside the socket for all.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adit_sys::netns::Namespace;
use adit_sys::thread::spawn_scoped_named;
use adit_sys::udp::{ConnectedSocket, DualUdpSocket, SocketOptions, UdpSocket};
use adit_sys::{BatchIo, SysError, clock};
use adit_wire::PacketBuf;
use common::{HEADROOM, Pair, namespaces_allowed, packets, receive, set_up, wait};
use nix::libc;

const PORT: u16 = 4500;
const V4: [&str; 2] = ["192.0.2.1:4500", "192.0.2.2:4500"];
const V6: [&str; 2] = ["[2001:db8::1]:4500", "[2001:db8::2]:4500"];

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn options() -> SocketOptions {
    SocketOptions::default()
}

/// The socket for all, as a daemon has it.
fn shared(namespace: &Namespace) -> DualUdpSocket {
    let bind = || {
        let socket = DualUdpSocket::bind(PORT, &options()).unwrap();
        socket.admit_connected(&options()).unwrap();
        socket
    };
    namespace.run(bind).unwrap()
}

fn half(socket: &DualUdpSocket, family_of: SocketAddr) -> &UdpSocket {
    if family_of.is_ipv4() { socket.v4() } else { socket.v6().unwrap() }
}

fn beside(namespace: &Namespace, socket: &UdpSocket, at: [SocketAddr; 2]) -> ConnectedSocket {
    let make = || socket.beside(at[0].ip(), at[1], &options()).unwrap();
    namespace.run(make).unwrap()
}

fn connected(namespace: &Namespace, socket: &UdpSocket, at: [SocketAddr; 2]) -> ConnectedSocket {
    let socket = beside(namespace, socket, at);
    socket.connect().unwrap();
    socket
}

fn datagrams(count: usize, len: usize, [local, remote]: [SocketAddr; 2]) -> Vec<PacketBuf> {
    let mut made = packets(count, 1_500);
    for (number, packet) in made.iter_mut().enumerate() {
        assert!(packet.fill(&vec![u8::try_from(number % 256).unwrap(); len]));
        (packet.meta.local, packet.meta.remote) = (local, remote);
    }
    made
}

/// How many datagrams wait.
fn waiting(socket: &UdpSocket) -> usize {
    let (mut io, mut room) = (BatchIo::new(HEADROOM), packets(64, 1_500));
    std::iter::repeat_with(|| socket.recv_batch(&mut io, &mut room).unwrap())
        .take_while(|got| *got > 0)
        .sum()
}

fn say(from: &UdpSocket, [local, remote]: [SocketAddr; 2]) {
    from.send_to(local, remote, 0, &[], b"said").unwrap();
}

/// What the peer sends comes to its socket, what others send does not, and what the socket sends is as
/// what the one for all sends.
#[test]
fn a_connected_socket_has_the_datagrams_of_its_peer() {
    if !namespaces_allowed("a_connected_socket_has_the_datagrams_of_its_peer") {
        return;
    }
    let pair = Pair::new();
    let left = shared(&pair.left);
    let right = pair.right.run(|| DualUdpSocket::bind(PORT, &options()).unwrap()).unwrap();
    for [ours, theirs] in [V4.map(at), V6.map(at)] {
        let all = half(&left, ours);
        let own = connected(&pair.left, all, [ours, theirs]);
        let mut io = BatchIo::new(HEADROOM);

        let mut sent = datagrams(100, 900, [ours, theirs]);
        sent.iter_mut().skip(50).for_each(|packet| packet.meta.tos = 0xb9);
        sent.iter_mut().skip(80).for_each(|packet| packet.meta.dont_fragment = true);
        let report = own.send_batch(&mut io, &sent);
        assert_eq!((report.sent, report.unsent, report.failed), (100, 0, 0));
        assert!(report.calls < 20, "{report:?}");
        let mut got = packets(100, 1_500);
        receive(half(&right, ours), &mut got, 100);
        for (packet, original) in got.iter().zip(&sent) {
            assert_eq!(packet.data(), original.data());
            assert_eq!((packet.meta.local, packet.meta.remote), (theirs, ours));
            assert_eq!(packet.meta.tos, original.meta.tos);
        }

        half(&right, ours).send_to(theirs, ours, 5, &[], b"said").unwrap();
        let mut heard = packets(1, 100);
        receive(own.socket(), &mut heard, 1);
        assert_eq!((heard[0].meta.local, heard[0].meta.remote), (ours, theirs));
        assert_eq!(
            (heard[0].meta.tos, heard[0].meta.udp, heard[0].data()),
            (5, true, &b"said"[..])
        );
        // The same host from another port, as a NAT would have it, is a stranger.
        let moved = SocketAddr::new(theirs.ip(), 1_024);
        let stranger = pair.right.run(|| UdpSocket::bind(moved, &options()).unwrap()).unwrap();
        say(&stranger, [moved, ours]);
        receive(all, &mut heard, 1);
        assert_eq!(heard[0].meta.remote, moved);
        assert_eq!(waiting(own.socket()), 0);
    }
    let another = pair.left.run(|| DualUdpSocket::bind(PORT, &options())).unwrap();
    assert!(matches!(another, Err(SysError::AddressInUse { port: PORT, .. })), "{another:?}");
}

#[test]
fn joined_datagrams_come_to_a_connected_socket() {
    if !namespaces_allowed("joined_datagrams_come_to_a_connected_socket") {
        return;
    }
    let pair = Pair::new();
    let (left, right) = (shared(&pair.left), shared(&pair.right));
    let [ours, theirs] = V4.map(at);
    let own = connected(&pair.left, left.v4(), [ours, theirs]);
    own.socket().join_datagrams().unwrap();
    let from = connected(&pair.right, right.v4(), [theirs, ours]);
    let sent = datagrams(40, 1_400, [theirs, ours]);
    let report = from.send_batch(&mut BatchIo::new(HEADROOM), &sent);
    assert_eq!((report.sent, report.calls), (40, 1));
    let short = packets(64, 1_500);
    let mut io = adit_sys::gro::GroIo::new(HEADROOM, short, packets(1, 65_535));
    assert!(wait(own.socket()));
    let mut got = 0;
    while own.socket().recv_super(&mut io).unwrap() {
        while let Some(run) = own.socket().next_run(&mut io) {
            for packet in &io.packets()[run.packets] {
                assert_eq!((packet.data(), packet.meta.remote), (sent[got].data(), theirs));
                got += 1;
            }
        }
    }
    assert_eq!(got, 40);
    assert!(io.calls() < 10);
}

/// Whatever comes while sockets come and go arrives somewhere, once.
#[test]
fn nothing_is_lost_while_sockets_come_and_go() {
    if !namespaces_allowed("nothing_is_lost_while_sockets_come_and_go") {
        return;
    }
    let pair = Pair::new();
    set_up(&mut pair.left.netlink().unwrap(), "left0", &["192.0.2.77/24"]);
    let (left, right) = (shared(&pair.left), shared(&pair.right));
    let stranger = pair.right.run(|| UdpSocket::bind(at("0.0.0.0:1024"), &options()).unwrap());
    let stranger = stranger.unwrap();
    let theirs = at(V4[1]);
    // The second is not the one that the route chooses.
    for ours in [at(V4[0]), at("192.0.2.77:4500")] {
        let over = AtomicBool::new(false);
        let (mut sent, mut got, mut own) = (0, 0, 0);
        std::thread::scope(|scope| {
            let sender = spawn_scoped_named(scope, "sender", || {
                let mut sent = 0;
                while !over.load(Ordering::Relaxed) {
                    say(right.v4(), [theirs, ours]);
                    say(&stranger, [at("192.0.2.2:1024"), ours]);
                    sent += 2;
                    std::thread::sleep(Duration::from_micros(20));
                }
                sent
            });
            let until = clock::now() + Duration::from_secs(1);
            while clock::now() < until {
                let socket = connected(&pair.left, left.v4(), [ours, theirs]);
                std::thread::sleep(Duration::from_micros(300));
                socket.turn_away().unwrap();
                std::thread::sleep(Duration::from_millis(1));
                own += waiting(socket.socket());
                got += waiting(left.v4());
            }
            over.store(true, Ordering::Relaxed);
            sent = sender.unwrap().join().unwrap();
        });
        std::thread::sleep(Duration::from_millis(50));
        got += own + waiting(left.v4());
        assert_eq!((got, own > 0), (sent, true), "{ours}");
    }
}

/// Not yet connected, it is chosen for nobody; what comes stays with the socket for all.
#[test]
fn a_socket_that_is_not_yet_connected_has_nothing() {
    if !namespaces_allowed("a_socket_that_is_not_yet_connected_has_nothing") {
        return;
    }
    let pair = Pair::new();
    let left = shared(&pair.left);
    let right = pair.right.run(|| DualUdpSocket::bind(PORT, &options()).unwrap()).unwrap();
    for [ours, theirs] in [V4.map(at), V6.map(at)] {
        let others: Vec<_> =
            (0..3).map(|_| beside(&pair.left, half(&left, ours), [ours, theirs])).collect();
        for number in 0..50 {
            let from = SocketAddr::new(theirs.ip(), 2_000 + number);
            let from = pair.right.run(|| UdpSocket::bind(from, &options()).unwrap()).unwrap();
            say(&from, [from.local(), ours]);
        }
        say(half(&right, ours), [theirs, ours]);
        assert_eq!(waiting(half(&left, ours)), 51);
        assert!(others.iter().all(|socket| waiting(socket.socket()) == 0));
        // They come to be connected, and go, in any order.
        others[1].connect().unwrap();
        say(half(&right, ours), [theirs, ours]);
        assert_eq!(waiting(others[1].socket()), 1);
        drop(others);
        say(half(&right, ours), [theirs, ours]);
        assert_eq!(waiting(half(&left, ours)), 1);
    }
}

/// A peer whose port is closed says so again and again: what is sent next goes out all the same, and
/// the error is there to be read.
#[test]
fn errors_of_the_network_end_nothing() {
    if !namespaces_allowed("errors_of_the_network_end_nothing") {
        return;
    }
    let pair = Pair::new();
    let left = shared(&pair.left);
    for [ours, theirs] in [V4.map(at), V6.map(at)] {
        let own = connected(&pair.left, half(&left, ours), [ours, theirs]);
        let mut io = BatchIo::new(HEADROOM);
        for _ in 0..20 {
            let sent = datagrams(10, 500, [ours, theirs]);
            let report = own.send_batch(&mut io, &sent);
            assert_eq!((report.sent, report.failed), (10, 0));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(waiting(own.socket()), 0);
        let error = own.socket().next_error().unwrap().unwrap();
        assert!(error.interface() > 0, "it came by an interface that has a number");
        let closed = adit_sys::udp::SocketError::Unreachable {
            remote: theirs,
            errno: libc::ECONNREFUSED,
            from: Some(theirs.ip()),
            icmp: Some(match theirs.is_ipv4() {
                true => adit_wire::ip::Icmp { kind: 3, code: 3 },
                false => adit_wire::ip::Icmp { kind: 1, code: 4 },
            }),
            interface: error.interface(),
        };
        assert_eq!(error, closed);
        while own.socket().next_error().unwrap().is_some() {}

        // The peer is back.
        let right = pair.right.run(|| UdpSocket::bind(theirs, &options()).unwrap()).unwrap();
        assert_eq!(own.send_batch(&mut io, &datagrams(10, 500, [ours, theirs])).sent, 10);
        receive(&right, &mut packets(10, 1_500), 10);
        say(&right, [theirs, ours]);
        assert_eq!(waiting(own.socket()), 1);
    }
}

#[test]
fn there_is_no_socket_where_there_is_no_way() {
    if !namespaces_allowed("there_is_no_socket_where_there_is_no_way") {
        return;
    }
    let pair = Pair::new();
    let left = shared(&pair.left);
    let make = |local: &str, remote: &str| {
        let (local, remote) = (at(local).ip(), at(remote));
        pair.left.run(|| left.v4().beside(local, remote, &options())).unwrap()
    };
    assert!(matches!(make(V4[0], "203.0.113.1:4500"), Err(SysError::Io { .. })));
    let foreign = make("192.0.2.99:4500", V4[1]);
    assert!(matches!(foreign, Err(SysError::AddressMissing { .. })), "{foreign:?}");
}
