//! What travels through a tunnel in bulk, where the kernel hands over many packets in one piece, is at
//! the other end what it was. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use adit_mgmt::api::TunnelState;
use adit_sys::thread::spawn_scoped_named;
use common::{Pair, Site};

/// One side's file. `extra` goes to the end.
fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
         remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\nsecret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

fn pair(name: &str, extra: &str) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    pair.start(&tunnel(1, 2, extra), &tunnel(2, 1, &format!("{extra}\nkeep = \"passive\"")));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    Some(pair)
}

/// Octets that no other place of the stream has in this order.
fn pattern(octets: usize) -> Vec<u8> {
    (0..octets / 4).flat_map(|n| u32::try_from(n).unwrap().to_be_bytes()).collect()
}

/// Sends so much by TCP that the kernel makes long super-packets of it.
fn assert_streams(from: &Site, to: &Site, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    let wanted = pattern(4_000_000);
    let listen = || TcpListener::bind((address, 5_201)).unwrap();
    let listener = to.namespace.run(listen).unwrap();
    let connect = || TcpStream::connect((address, 5_201)).unwrap();
    let mut stream = from.namespace.run(connect).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let got = std::thread::scope(|scope| {
        let reader = spawn_scoped_named(scope, "reader", || {
            let mut got = Vec::new();
            accepted.read_to_end(&mut got).unwrap();
            got
        });
        stream.write_all(&wanted).unwrap();
        drop(stream);
        reader.unwrap().join().unwrap()
    });
    assert!(got == wanted, "{} of {} octets; {}", got.len(), wanted.len(), from.log());
}

/// Sends datagrams of many lengths, each of which arrives as it was; few enough for any queue.
fn assert_datagrams(from: &Site, to: &Site, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    let bind = || UdpSocket::bind((address, 5_202)).unwrap();
    let receiver = to.namespace.run(bind).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let sender = from.namespace.run(|| UdpSocket::bind(any).unwrap()).unwrap();
    sender.connect((address, 5_202)).unwrap();
    for round in 0..20 {
        let lengths = [0, 1, 64, 64, 64, 1_000 + round, 1_300, 1_300, 700, 64];
        let wanted = lengths.map(|length| pattern(1_400).get(..length).unwrap().to_vec());
        wanted
            .iter()
            .for_each(|datagram| assert_eq!(sender.send(datagram).unwrap(), datagram.len()));
        let mut room = [0; 2_000];
        for datagram in &wanted {
            let length = receiver.recv(&mut room).unwrap();
            assert_eq!(room.get(..length).unwrap(), datagram);
        }
    }
}

fn assert_carries_bulk(pair: &Pair) {
    for (oslo, berlin) in [("10.1.0.1", "10.2.0.1"), ("fd01::1", "fd02::1")] {
        assert_streams(&pair.oslo, &pair.berlin, berlin);
        assert_streams(&pair.berlin, &pair.oslo, oslo);
        assert_datagrams(&pair.oslo, &pair.berlin, berlin);
    }
}

#[test]
fn streams_pass_inside_udp() {
    let Some(pair) = pair("streams-udp", "encap = \"udp\"") else { return };
    assert_carries_bulk(&pair);
}

#[test]
fn streams_pass_as_protocol_50() {
    let Some(pair) = pair("streams-esp", "") else { return };
    assert_carries_bulk(&pair);
}

/// The path's link is shorter than what the tunnel is made for: datagrams outside go in fragments, and
/// none of them in runs.
#[test]
fn streams_pass_over_a_shorter_link() {
    let Some(pair) = pair("streams-short", "encap = \"udp\"") else { return };
    for site in [&pair.oslo, &pair.berlin] {
        let mut netlink = site.namespace.netlink().unwrap();
        let wan = netlink.link_by_name("wan").unwrap().index;
        netlink.set_mtu(wan, 1_300).unwrap();
    }
    assert_streams(&pair.oslo, &pair.berlin, "10.2.0.1");
}
