//! The program against frames of all kinds, and halves of queues between two namespaces.

use std::net::IpAddr;
use std::time::Duration;

use adit_db::{InboundThreads, KERNEL_SPI};
use adit_wire::PacketBuf;
use proptest::prelude::*;

use super::bpf::{Map, MapKind, Program};
use super::queue::{Queue, RECEIVED_OCTETS_MAX};
use super::*;
use crate::esp_receiver::EspReceiver;
use crate::esp_ring::EspRing;
use crate::netlink::Family;
use crate::netns::{Namespace, can_create};
use crate::raw::RawEspSocket;
use crate::udp::SocketOptions;
use crate::wake::{Interest, wait_for};

const REDIRECT: u32 = 4;
const OURS_V4: &str = "192.0.2.2";
const OURS_V6: &str = "2001:db8::2";
const OURS_ETHERNET: [u8; 6] = [0x02, 0, 0, 0xfe, 0, 0x82];

fn right0(interface: u32) -> XdpDevice<'static> {
    XdpDevice { interface, name: "right0", ethernet: OURS_ETHERNET }
}

/// Whether the tests can run here; fails where they must (CI).
fn allowed(test: &str) -> bool {
    if can_create() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{test}: CI must be allowed network namespaces");
    eprintln!("SKIPPED {test}: creating network namespaces needs root");
    false
}

/// Two namespaces joined by a veth pair that is up; the numbers are those of its ends.
struct Cable {
    left: (Namespace, u32),
    right: (Namespace, u32),
}

impl Cable {
    fn new() -> Self {
        let (left, right) = (Namespace::create().unwrap(), Namespace::create().unwrap());
        left.netlink().unwrap().add_veth_to("left0", "right0", &right).unwrap();
        let up = |namespace: &Namespace, name: &str| {
            let mut netlink = namespace.netlink().unwrap();
            let index = netlink.link_by_name(name).unwrap().index;
            netlink.set_up(index, true).unwrap();
            index
        };
        let (left_index, right_index) = (up(&left, "left0"), up(&right, "right0"));
        let ready = |namespace: &Namespace, index| {
            let soon = Duration::from_secs(5);
            assert!(namespace.netlink().unwrap().wait_until_ready(index, soon).unwrap());
        };
        ready(&left, left_index);
        ready(&right, right_index);
        Self { left: (left, left_index), right: (right, right_index) }
    }
}

fn ethernet(kind: [u8; 2], rest: &[u8]) -> Vec<u8> {
    [&OURS_ETHERNET[..], &[0x02, 0, 0, 0, 0, 1], &kind, rest].concat()
}

fn octets(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn v4(spi: u32, to: &str, payload: usize) -> Vec<u8> {
    let total = u16::try_from(28 + payload).unwrap_or(u16::MAX).to_be_bytes();
    let header = [0x45, 0, total[0], total[1], 0, 7, 0x40, 0, 64, 50, 0, 0, 192, 0, 2, 1];
    let rest = [&header[..], &octets(to), &spi.to_be_bytes(), &[0, 0, 0, 1]].concat();
    [ethernet([0x08, 0x00], &rest), vec![7; payload]].concat()
}

fn v6(spi: u32, to: &str, payload: usize) -> Vec<u8> {
    let length = u16::try_from(8 + payload).unwrap_or(u16::MAX).to_be_bytes();
    let header = [0x60, 0, 0, 0, length[0], length[1], 50, 64];
    let rest = [&header[..], &octets("2001:db8::1"), &octets(to), &spi.to_be_bytes()].concat();
    [ethernet([0x86, 0xdd], &rest), vec![0, 0, 0, 1], vec![7; payload]].concat()
}

fn changed(mut frame: Vec<u8>, at: usize, octet: u8) -> Vec<u8> {
    frame[at] = octet;
    frame
}

/// The program of a host with so many threads, of which the first two have sockets on the first queue.
struct Loaded {
    program: Program,
    _cable: Cable,
    _queue: Queue,
    _receivers: Vec<XdpReceiver>,
}

impl Loaded {
    fn new(threads: u32) -> Self {
        let cable = Cable::new();
        let threads = InboundThreads::new(threads);
        let addresses = Map::new(MapKind::Hash, 8).unwrap();
        for address in [OURS_V4, OURS_V6] {
            addresses.set(&key_of(address.parse().unwrap()), 1).unwrap();
        }
        let sockets = Map::new(MapKind::Sockets, 8).unwrap();
        let (right, index) = &cable.right;
        let (queue, receivers) = right
            .run(|| {
                let mut queue = Queue::open(*index, 0).unwrap();
                let receivers: Vec<_> =
                    (0..2).map(|_| queue.receiver(threads.count()).unwrap()).collect();
                (queue, receivers)
            })
            .unwrap();
        for (slot, receiver) in (0_u32..).zip(&receivers) {
            sockets.set(&slot.to_ne_bytes(), bpf::socket_number(receiver.as_fd())).unwrap();
        }
        let program = load(&addresses, &sockets, threads, OURS_ETHERNET).unwrap();
        Self { program, _cable: cable, _queue: queue, _receivers: receivers }
    }

    fn takes(&self, frame: &[u8]) -> bool {
        match self.program.verdict(frame).unwrap() {
            REDIRECT => true,
            verdict => {
                assert_eq!(verdict, program::PASS.cast_unsigned());
                false
            }
        }
    }
}

#[test]
fn esp_to_an_address_of_ours_is_taken_and_nothing_else() {
    if !allowed("esp_to_an_address_of_ours_is_taken_and_nothing_else") {
        return;
    }
    let loaded = Loaded::new(1);
    let longest = usize::try_from(RECEIVED_OCTETS_MAX).unwrap();
    for (frame, header) in [(v4(0x101, OURS_V4, 64), 42), (v6(0x101, OURS_V6, 64), 62)] {
        assert!(loaded.takes(&frame));
        for length in 14..header {
            assert!(!loaded.takes(&frame[..length]), "cut to {length}");
        }
        assert!(loaded.takes(&frame[..header]), "no longer than its sequence number");
        for at in 0..6 {
            assert!(!loaded.takes(&changed(frame.clone(), at, 0xff)), "another station's");
        }
        let tagged = [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
        assert!(!loaded.takes(&tagged), "a VLAN's");
    }
    assert!(loaded.takes(&v4(0x101, OURS_V4, longest - 42)));
    assert!(!loaded.takes(&v4(0x101, OURS_V4, longest - 41)), "longer than a frame of ours");
    assert!(!loaded.takes(&v6(0x101, OURS_V6, longest - 61)), "longer than a frame of ours");
    for frame in [
        v4(0x101, "192.0.2.3", 64),
        v4(0x101, "224.0.0.1", 64),
        v6(0x101, "2001:db8::3", 64),
        v4(KERNEL_SPI | 1, OURS_V4, 64),
        v6(KERNEL_SPI | 1, OURS_V6, 64),
    ] {
        assert!(!loaded.takes(&frame), "{frame:02x?}");
    }
    let plain = v4(0x101, OURS_V4, 64);
    // Options, UDP, the first and a later fragment, a version that does not fit, another kind.
    for (at, octet) in [(14, 0x46), (23, 17), (20, 0x20), (21, 1), (20, 0x1f), (14, 0x65), (13, 6)]
    {
        assert!(!loaded.takes(&changed(plain.clone(), at, octet)), "{octet:#x} at {at}");
    }
    assert!(loaded.takes(&changed(plain, 20, 0)), "it may be cut, and was not");
    let plain = v6(0x101, OURS_V6, 64);
    // A fragment, hop-by-hop options, UDP, a version that does not fit.
    for (at, octet) in [(20, 44), (20, 0), (20, 17), (14, 0x40)] {
        assert!(!loaded.takes(&changed(plain.clone(), at, octet)), "{octet:#x} at {at}");
    }
}

#[test]
fn the_spi_chooses_the_thread() {
    if !allowed("the_spi_chooses_the_thread") {
        return;
    }
    let loaded = Loaded::new(3);
    for spi in 0x100..0x109 {
        // The third thread has no socket.
        let is_taken = spi % 3 < 2;
        assert_eq!(loaded.takes(&v4(spi, OURS_V4, 8)), is_taken, "{spi:#x}");
        assert_eq!(loaded.takes(&v6(spi, OURS_V6, 8)), is_taken, "{spi:#x}");
    }
}

#[test]
fn no_frame_is_taken_that_is_not_esp() {
    if !allowed("no_frame_is_taken_that_is_not_esp") {
        return;
    }
    let loaded = Loaded::new(1);
    proptest!(ProptestConfig::with_cases(512), |(
        is_v4: bool,
        changes in prop::collection::vec((12_usize..62, any::<u8>()), 0..4),
        length in 14_usize..200,
    )| {
        let mut frame = if is_v4 { v4(0x101, OURS_V4, 200) } else { v6(0x101, OURS_V6, 200) };
        changes.iter().for_each(|(at, octet)| frame[*at] = *octet);
        frame.truncate(length);
        let kind = frame.get(12..14);
        let is_esp = match kind {
            Some([0x08, 0x00]) => frame.get(23) == Some(&50) && frame.len() >= 42,
            Some([0x86, 0xdd]) => frame.get(20) == Some(&50) && frame.len() >= 62,
            _ => false,
        };
        prop_assert!(is_esp || !loaded.takes(&frame));
    });
}

/// More frames than either side has, through native and generic programs: all arrive, in order.
#[test]
fn frames_go_from_one_end_to_the_other_and_are_used_again() {
    if !allowed("frames_go_from_one_end_to_the_other_and_are_used_again") {
        return;
    }
    let cable = Cable::new();
    let ((left, from), (right, to)) = (&cable.left, &cable.right);
    let devices = XdpDevices::sending().unwrap();
    devices.receive(InboundThreads::new(2)).unwrap();
    devices.take_address(OURS_V4.parse().unwrap());
    let mut sender = left.run(|| XdpDevices::sending().unwrap().sender(*from).unwrap()).unwrap();
    let receivers = |thread| right.run(|| devices.receivers(right0(*to), thread).unwrap()).unwrap();
    let ((_, mut even), (_, mut odd)) = (receivers(0), receivers(1));
    assert_eq!(devices.memory_octets(), even.len() * queue::FRAMES_OCTETS);
    for round in 0..100_u32 {
        for number in 0..64 {
            let frame = v4(0x100 + number % 2, OURS_V4, usize::try_from(round).unwrap() + 4);
            assert!(sender.push(&frame, &number.to_be_bytes()));
        }
        sender.flush().unwrap();
        assert_eq!(sender.waiting(), 0, "round {round}");
        for (parity, receiver) in [(0, &mut even[0]), (1, &mut odd[0])] {
            let mut numbers = Vec::new();
            while numbers.len() < 32 {
                let soon = Some(Duration::from_secs(5));
                let ready = wait_for(&*receiver, Interest::Readable, soon).unwrap();
                assert!(ready, "{} of round {round} arrived", numbers.len());
                receiver.receive(10, |frame| {
                    numbers.push(u32::from_be_bytes(*frame.last_chunk().unwrap()));
                    true
                });
            }
            assert!(numbers.iter().copied().eq((parity..64).step_by(2)), "{numbers:?}");
        }
    }
}

/// What a device drops, and what it is too far down to take, is lost once: no frame is in use twice
/// afterwards, and none is lost for good.
#[test]
fn frames_that_were_given_up_are_used_again_once() {
    if !allowed("frames_that_were_given_up_are_used_again_once") {
        return;
    }
    let cable = Cable::new();
    let ((left, from), (right, to)) = (&cable.left, &cable.right);
    let (mut near, mut far) = (left.netlink().unwrap(), right.netlink().unwrap());
    let mut sender = left.run(|| XdpDevices::sending().unwrap().sender(*from).unwrap()).unwrap();
    for round in 0..3 {
        // Without a carrier the device drops, which is complete, and not shown as taken at once.
        far.set_up(*to, false).unwrap();
        (0..200_u32).for_each(|_| assert!(sender.push(&v4(0x100, OURS_V4, 4), &[])));
        sender.flush().unwrap();
        near.set_up(*from, false).unwrap();
        (0..500_u32).for_each(|_| assert!(sender.push(&v4(0x100, OURS_V4, 4), &[])));
        assert_eq!(sender.flush().unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
        let given_up = sender.waiting();
        assert_eq!((sender.abandon(), sender.waiting()), (given_up, 0), "round {round}");
        far.set_up(*to, true).unwrap();
        near.set_up(*from, true).unwrap();
        assert!(near.wait_until_ready(*from, Duration::from_secs(5)).unwrap());
        assert!(far.wait_until_ready(*to, Duration::from_secs(5)).unwrap());
        sender.flush().unwrap();
        assert_eq!(sender.waiting(), 0);
    }
    let devices = XdpDevices::sending().unwrap();
    devices.receive(InboundThreads::ONE).unwrap();
    devices.take_address(OURS_V4.parse().unwrap());
    let (_, mut receivers) = right.run(|| devices.receivers(right0(*to), 0).unwrap()).unwrap();
    let pushed =
        (0_u32..).take_while(|number| sender.push(&v4(0x100, OURS_V4, 4), &number.to_be_bytes()));
    let pushed = u32::try_from(pushed.count()).unwrap();
    assert_eq!(pushed, queue::SENDING_FRAMES);
    (0..64).for_each(|_| sender.flush().unwrap());
    assert_eq!(sender.waiting(), 0);
    let mut numbers = Vec::new();
    while numbers.len() < usize::try_from(pushed).unwrap() {
        let soon = Some(Duration::from_secs(5));
        assert!(wait_for(&receivers[0], Interest::Readable, soon).unwrap(), "{}", numbers.len());
        receivers[0].receive(256, |frame| {
            numbers.push(u32::from_be_bytes(*frame.last_chunk().unwrap()));
            true
        });
    }
    assert!(numbers.iter().copied().eq(0..pushed), "{numbers:?}");
}

/// A device that receives by more queues than it sends by has as many senders as the latter.
#[test]
fn a_queue_that_sends_nothing_is_nobodys() {
    if !allowed("a_queue_that_sends_nothing_is_nobodys") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    let made = namespace.run(|| {
        let link = "link add many0 numtxqueues 1 numrxqueues 3 type veth peer name many1";
        std::process::Command::new("ip").args(link.split(' ')).status()
    });
    assert!(made.unwrap().unwrap().success());
    let mut netlink = namespace.netlink().unwrap();
    let ends = ["many0", "many1"].map(|name| netlink.link_by_name(name).unwrap().index);
    ends.iter().for_each(|end| netlink.set_up(*end, true).unwrap());
    assert!(netlink.wait_until_ready(ends[0], Duration::from_secs(5)).unwrap());
    let devices = XdpDevices::sending().unwrap();
    let ask = || namespace.run(|| devices.sender(ends[0])).unwrap();
    let sender = ask().unwrap();
    for _ in 0..2 {
        assert_eq!(ask().unwrap_err().raw_os_error(), Some(libc::EBUSY));
        assert_eq!(devices.memory_octets(), queue::FRAMES_OCTETS);
    }
    drop(sender);
}

/// What the program takes and the header does not bear out comes out nowhere; the next good one does.
#[test]
fn hostile_frames_come_out_nowhere() {
    if !allowed("hostile_frames_come_out_nowhere") {
        return;
    }
    let cable = Cable::new();
    let ((left, from), (right, to)) = (&cable.left, &cable.right);
    let mut netlink = right.netlink().unwrap();
    for address in [OURS_V4, OURS_V6] {
        netlink.add_address(*to, format!("{address}/24").parse().unwrap()).unwrap();
    }
    assert!(netlink.wait_until_ready(*to, Duration::from_secs(5)).unwrap());
    let theirs = netlink.ethernet_link(*to).unwrap().unwrap().ours;
    let mut sender = left.run(|| XdpDevices::sending().unwrap().sender(*from).unwrap()).unwrap();
    let devices = XdpDevices::sending().unwrap();
    devices.receive(InboundThreads::ONE).unwrap();
    let open = || {
        let raw = RawEspSocket::open(Family::V4, &SocketOptions::default()).unwrap();
        let ring = EspRing::open(&raw, 64).unwrap();
        (EspReceiver::open(0, 64, Some(ring), Some(devices.clone()), None).unwrap(), raw)
    };
    let (mut receiver, _raw) = right.run(open).unwrap();
    let mut packets: Vec<_> = (0..8).map(|_| PacketBuf::with_capacity(64, 2_000)).collect();
    let mut exchange = |frames: &[Vec<u8>]| {
        for frame in frames {
            let frame = [&theirs[..], &frame[6..]].concat();
            assert!(sender.push(&frame, &[]));
            sender.flush().unwrap();
        }
        std::thread::sleep(Duration::from_millis(110));
        let look = || {
            let got = receiver.recv_batch(&mut packets).unwrap();
            receiver.confirm(|_| true);
            receiver.learn();
            got
        };
        let got = right.run(look).unwrap();
        (got, receiver.attached().len())
    };
    let good = |frame: Vec<u8>| {
        let sum = adit_wire::ip::checksum(&frame[14..34]).to_be_bytes();
        changed(changed(frame, 24, sum[0]), 25, sum[1])
    };
    let stranger = good(v4(0x101, "192.0.2.9", 64));
    let v4 = v4(0x101, OURS_V4, 64);
    assert_eq!(exchange(&[good(v4.clone())]), (1, 1), "by the ring");
    assert_eq!(exchange(&[good(v4.clone()), good(v4.clone())]), (2, 1), "by the program");
    devices.take_address(OURS_V6.parse().unwrap());
    let v6 = v6(0x101, OURS_V6, 64);
    let hostile = [
        // No checksum; longer than it is, than anything is; shorter than its header.
        v4.clone(),
        good(changed(v4.clone(), 17, 101)),
        good(changed(v4.clone(), 16, 0xff)),
        good(changed(v4.clone(), 17, 19)),
        good(changed(v4.clone(), 17, 0)),
        // Longer than it is, than anything is.
        changed(v6.clone(), 19, 73),
        changed(v6.clone(), 18, 0xff),
    ];
    assert_eq!(exchange(&hostile), (0, 1));
    // An address that has gone from this host is the kernel's from the first packet on.
    let address: IpAddr = "192.0.2.9".parse().unwrap();
    devices.take_address(address);
    let is_taken = || devices.lock().addresses.as_ref().unwrap().known.contains(&address);
    assert!(is_taken());
    assert_eq!(exchange(&[stranger]), (0, 1));
    assert!(!is_taken());
    assert_eq!(exchange(&[good(v4.clone()), v6, good(v4)]), (3, 1));
}

/// An address that is ours on one way and not on another is the kernel's for a while.
#[test]
fn an_address_that_was_left_is_not_taken_back_at_once() {
    if !allowed("an_address_that_was_left_is_not_taken_back_at_once") {
        return;
    }
    let devices = XdpDevices::sending().unwrap();
    devices.receive(InboundThreads::ONE).unwrap();
    let address: IpAddr = OURS_V4.parse().unwrap();
    let is_taken = || devices.lock().addresses.as_ref().unwrap().known.contains(&address);
    devices.take_address(address);
    assert!(is_taken());
    devices.leave_address(address);
    devices.take_address(address);
    assert!(!is_taken());
    devices.lock().addresses.as_mut().unwrap().left.insert(address, clock::now());
    devices.take_address(address);
    assert!(is_taken());
}

/// A program of somebody else's stays where it is, and no socket of ours is left behind.
#[test]
fn a_device_with_another_program_is_left_alone() {
    if !allowed("a_device_with_another_program_is_left_alone") {
        return;
    }
    let cable = Cable::new();
    let (right, index) = &cable.right;
    let open = || {
        let devices = XdpDevices::sending().unwrap();
        devices.receive(InboundThreads::ONE).unwrap();
        devices
    };
    let (first, second) = (open(), open());
    // A program of its own, and no sockets: those would be refused first.
    let other = Loaded::new(1);
    let link = right.run(|| other.program.attach(*index, FLAG_SKB_MODE).unwrap()).unwrap();
    let refused = right.run(|| first.receivers(right0(*index), 0).unwrap_err()).unwrap();
    let errno = refused.raw_os_error();
    assert!(matches!(errno, Some(libc::EBUSY | libc::EEXIST)), "{refused}");
    assert_eq!(first.memory_octets(), 0);
    drop(link);
    let begun = clock::now();
    // The kernel lets go of a socket's device when it has time.
    let open_in_the_end = |devices: &XdpDevices| loop {
        match right.run(|| devices.receivers(right0(*index), 0)).unwrap() {
            Ok((_, receivers)) => break receivers,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(5), "{error}"),
        }
    };
    assert_eq!(open_in_the_end(&first).len(), 1);
    // And now the sockets are in the way.
    let refused = right.run(|| second.receivers(right0(*index), 0).unwrap_err()).unwrap();
    assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
    // All of it goes with the last that has any of it.
    drop(first);
    assert_eq!(open_in_the_end(&second).len(), 1);
}

/// A device by which nobody receives loses its program, and the queues that nobody uses.
#[test]
fn what_is_unused_is_let_go() {
    if !allowed("what_is_unused_is_let_go") {
        return;
    }
    let cable = Cable::new();
    let (right, index) = &cable.right;
    let devices = XdpDevices::sending().unwrap();
    devices.receive(InboundThreads::new(2)).unwrap();
    let receivers =
        |thread| right.run(|| devices.receivers(right0(*index), thread).unwrap()).unwrap();
    let (first, second) = (receivers(0), receivers(1));
    drop(first);
    devices.let_go_if_unused(*index);
    assert_eq!(devices.receiving().len(), 1);
    drop(second);
    let sender = right.run(|| devices.sender(*index).unwrap()).unwrap();
    devices.let_go_if_unused(*index);
    assert!(devices.receiving().is_empty());
    assert_eq!(devices.memory_octets(), queue::FRAMES_OCTETS);
    drop(sender);
    devices.let_go_if_unused(*index);
    assert_eq!(devices.memory_octets(), 0);
}

/// One sender has the frames of a queue; a device that goes takes its sockets along.
#[test]
fn halves_are_handed_out_once() {
    if !allowed("halves_are_handed_out_once") {
        return;
    }
    let cable = Cable::new();
    let (right, index) = &cable.right;
    let devices = XdpDevices::sending().unwrap();
    devices.receive(InboundThreads::ONE).unwrap();
    let sender = right.run(|| devices.sender(*index).unwrap()).unwrap();
    let refused = right.run(|| devices.sender(*index).unwrap_err()).unwrap();
    assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
    let (_, receivers) = right.run(|| devices.receivers(right0(*index), 0).unwrap()).unwrap();
    assert!(!receivers[0].is_gone());
    cable.left.0.netlink().unwrap().delete_link(cable.left.1).unwrap();
    let begun = clock::now();
    while !receivers[0].is_gone() {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    // Whoever asks for what there is finds nothing of it.
    assert!(devices.receiving().is_empty());
    assert_eq!(devices.memory_octets(), 0);
    assert!(sender.is_gone() && sender.is_gone());
    assert!(right.run(|| devices.receivers(right0(*index), 0).is_err()).unwrap());
}
