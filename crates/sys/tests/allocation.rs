//! Packets pass the sockets and the TUN without a single allocation.

#![expect(unsafe_code, reason = "counting allocations needs an allocator")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

use adit_sys::BatchIo;
use adit_sys::netlink::Family;
use adit_sys::raw::RawEspSocket;
use adit_sys::tun::{Tun, TunConfig};
use adit_sys::udp::{DualUdpSocket, SocketOptions, UdpSocket};
use adit_wire::PacketBuf;
use common::{HEADROOM, Pair, address, namespaces_allowed, packets, wait};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the count touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations_of(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    f();
    ALLOCATIONS.with(Cell::get) - before
}

fn addressed(remote: &str, port: u16) -> Vec<PacketBuf> {
    let mut packets = packets(64, 1_500);
    for packet in &mut packets {
        packet.set_len(900);
        packet.meta.remote = SocketAddr::new(address(remote), port);
        packet.meta.tos = 3;
    }
    packets
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations_of(|| drop(Box::new(1))), 1);
}

#[test]
fn batches_pass_without_allocation() {
    if !namespaces_allowed("batches_pass_without_allocation") {
        return;
    }
    let pair = Pair::new();
    let options = SocketOptions::default();
    let open = || DualUdpSocket::bind(4500, &options).unwrap();
    let (left, right) = (pair.left.run(open).unwrap(), pair.right.run(open).unwrap());
    let open = || RawEspSocket::open(Family::V4, &options).unwrap();
    let (esp_left, esp_right) = (pair.left.run(open).unwrap(), pair.right.run(open).unwrap());
    let mut io = BatchIo::new(HEADROOM);
    let sent = addressed("192.0.2.2", 4500);
    let mut got = packets(64, 1_500);

    let count = allocations_of(|| {
        for _ in 0..10 {
            assert_eq!(left.send_batch(&mut io, &sent).sent, 64);
            assert!(wait(right.v4()));
            assert!(right.recv_batch(&mut io, &mut got).unwrap() > 0);
            assert_eq!(esp_left.send_batch(&mut io, &sent).sent, 64);
            assert!(wait(&esp_right));
            assert!(esp_right.recv_batch(&mut io, &mut got).unwrap() > 0);
        }
    });

    assert_eq!(count, 0);
}

#[test]
fn the_tunnel_interface_passes_packets_without_allocation() {
    if !namespaces_allowed("the_tunnel_interface_passes_packets_without_allocation") {
        return;
    }
    let namespace = adit_sys::netns::Namespace::create().unwrap();
    let config = TunConfig {
        name: "adit0".to_owned(),
        mtu: 1_400,
        addresses: vec!["10.7.0.1/24".parse().unwrap()],
    };
    let tun = namespace.run(|| Tun::create(&config).unwrap()).unwrap();
    let open = || UdpSocket::bind("10.7.0.1:9".parse().unwrap(), &SocketOptions::default());
    let socket = namespace.run(open).unwrap().unwrap();
    let mut io = BatchIo::new(HEADROOM);
    let sent = addressed("10.7.0.2", 9);
    let mut got = packets(64, 1_500);

    let count = allocations_of(|| {
        assert_eq!(socket.send_batch(&mut io, &sent).sent, 64);
        assert!(wait(&tun));
        let received = tun.recv_batch(HEADROOM, &mut got).unwrap();
        assert_eq!(received, 64);
        assert_eq!(tun.send_batch(&got).sent, 64);
    });

    assert_eq!(count, 0);
}
