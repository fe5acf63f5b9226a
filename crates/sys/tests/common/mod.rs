//! Namespaces for the integration tests.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test program uses its part"
)]

use std::net::IpAddr;
use std::time::Duration;

use adit_sys::netlink::{Link, Netlink};
use adit_sys::netns::{Namespace, can_create};
use adit_sys::{BatchIo, udp::UdpSocket};
use adit_wire::PacketBuf;

/// Octets before each packet in these tests.
pub const HEADROOM: usize = 64;
pub const SOON: Duration = Duration::from_secs(5);

/// Whether the tests can run here; says so loudly if not, and fails where they must run (CI).
pub fn namespaces_allowed(test: &str) -> bool {
    if can_create() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{test}: CI must be allowed network namespaces");
    eprintln!("SKIPPED {test}: creating network namespaces needs root");
    false
}

/// Two namespaces joined by a veth pair: 192.0.2.1 and 2001:db8::1 to 192.0.2.2 and 2001:db8::2.
pub struct Pair {
    pub left: Namespace,
    pub right: Namespace,
}

impl Pair {
    pub fn new() -> Self {
        let left = Namespace::create().unwrap();
        let right = Namespace::create().unwrap();
        join(
            &left,
            "left0",
            &["192.0.2.1/24", "2001:db8::1/64"],
            &right,
            "right0",
            &["192.0.2.2/24", "2001:db8::2/64"],
        );
        Self { left, right }
    }
}

/// Joins two namespaces by a veth pair with addresses.
pub fn join(
    a: &Namespace,
    name_a: &str,
    of_a: &[&str],
    b: &Namespace,
    name_b: &str,
    of_b: &[&str],
) {
    let mut netlink_a = a.netlink().unwrap();
    netlink_a.add_veth_to(name_a, name_b, b).unwrap();
    let link_a = set_up(&mut netlink_a, name_a, of_a);
    let mut netlink_b = b.netlink().unwrap();
    let link_b = set_up(&mut netlink_b, name_b, of_b);
    assert!(netlink_b.wait_until_ready(link_b.index, SOON).unwrap());
    assert!(netlink_a.wait_until_ready(link_a.index, SOON).unwrap());
}

pub fn set_up(netlink: &mut Netlink, name: &str, addresses: &[&str]) -> Link {
    let link = netlink.link_by_name(name).unwrap();
    for address in addresses {
        netlink.add_address(link.index, address.parse().unwrap()).unwrap();
    }
    netlink.set_up(link.index, true).unwrap();
    link
}

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn packets(count: usize, capacity: usize) -> Vec<PacketBuf> {
    (0..count).map(|_| PacketBuf::with_capacity(HEADROOM, capacity)).collect()
}

/// Receives until `wanted` packets have arrived.
pub fn receive(socket: &UdpSocket, packets: &mut [PacketBuf], wanted: usize) {
    let mut io = BatchIo::new(HEADROOM);
    let mut got = 0;
    while got < wanted {
        assert!(wait(socket), "{got} of {wanted} packets arrived");
        got += socket.recv_batch(&mut io, &mut packets[got..]).unwrap();
    }
}

pub fn wait(source: impl std::os::fd::AsFd) -> bool {
    adit_sys::wake::wait_for(source, adit_sys::wake::Interest::Readable, Some(SOON)).unwrap()
}
