//! Packets pass the sockets and the TUN without a single allocation.

#![expect(unsafe_code, reason = "counting allocations needs an allocator")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use adit_db::InboundThreads;
use adit_sys::BatchIo;
use adit_sys::esp_receiver::EspReceiver;
use adit_sys::esp_ring::EspRing;
use adit_sys::esp_sender::EspSender;
use adit_sys::netlink::Family;
use adit_sys::raw::RawEspSocket;
use adit_sys::tun::{Tun, TunConfig};
use adit_sys::udp::{DualUdpSocket, SocketOptions, UdpSocket};
use adit_sys::xdp::XdpDevices;
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
        offloads: false,
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

/// Seeking a way may allocate; packets on ways that are known do not.
#[test]
fn frames_pass_without_allocation() {
    if !namespaces_allowed("frames_pass_without_allocation") {
        return;
    }
    let pair = Pair::new();
    let open = || RawEspSocket::open(Family::V4, &SocketOptions::default()).unwrap();
    let sender =
        || EspSender::by_frames(vec![open()], None, XdpDevices::sending().unwrap()).unwrap();
    let mut sender = pair.left.run(sender).unwrap();
    let receiver = || {
        let (devices, raw) = (XdpDevices::sending().unwrap(), open());
        devices.receive(InboundThreads::ONE).unwrap();
        let ring = EspRing::open(&raw, HEADROOM).unwrap();
        (EspReceiver::open(0, HEADROOM, Some(ring), Some(devices), None).unwrap(), raw)
    };
    let (mut receiver, _raw) = pair.right.run(receiver).unwrap();
    let (mut io, sent, mut got) = (BatchIo::new(0), addressed("192.0.2.2", 0), packets(64, 1_500));
    let mut exchange = || {
        let (sender, io, sent) = (&mut sender, &mut io, &sent);
        let send = move || {
            let sender: &mut EspSender = sender;
            allocations_of(|| assert_eq!(sender.send_batch(io, sent).sent, 64))
        };
        let allocated = pair.left.run(send).unwrap();
        let receive = || {
            let mut arrived = 0;
            let allocated = allocations_of(|| {
                while arrived < 64 && wait(&receiver) {
                    arrived += receiver.recv_batch(&mut got).unwrap();
                    receiver.confirm(|_| true);
                }
            });
            receiver.learn();
            assert_eq!(arrived, 64);
            allocated
        };
        (allocated, pair.right.run(receive).unwrap(), receiver.attached().len())
    };
    // The neighbour is looked for meanwhile, and the way is asked for once a second.
    exchange();
    std::thread::sleep(Duration::from_millis(300));
    exchange();
    let counts: Vec<_> = (0..10).map(|_| exchange()).collect();
    assert!(counts.iter().filter(|count| **count == (0, 0, 1)).count() >= 8, "{counts:?}");
}
