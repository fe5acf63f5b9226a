//! No packet costs an allocation: sealing, opening, dropping, with any cipher.

use adit_crypto::{Authentication, Cipher};
use adit_dataplane::{Inbound, InboundSa, OpenVerdict, OutboundSa, Verdict, split};
use adit_db::{Aggfrag, ChildSa, TableId, WindowSize};
use adit_wire::PacketBuf;

use crate::fixtures::{
    Options, POLICY, Tunnel, buffer, copy, packet_between, protecting_engine, start, ts, udp_packet,
};
use crate::ipcomp::compressing;
use crate::nesting::four_levels;
use crate::tables::{by, two_interfaces};

/// Allocations of the calling thread while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(std::hint::black_box(vec![1_u8]))) > 0);
}

/// What an SA takes, in its box and beside it, before there is a packet: the library expands the key with
/// the first, to 592 octets more. The window is one of 1,024 packets.
#[test]
fn an_sa_takes_little() {
    let options = Options { window: WindowSize::DEFAULT, ..Options::default() };
    let site = ts(&["10.1.0.0/24"]);
    let sa = ChildSa { local_ts: site.clone(), remote_ts: site, ..options.child_sa(true) };
    let now = start();
    let octets = |which: fn((InboundSa, OutboundSa)) -> Box<dyn std::any::Any>| {
        let mut kept: Option<Box<dyn std::any::Any>> = None;
        let work = || kept = Some(which(split(&sa, POLICY, now).unwrap()));
        allocation_counter::measure(work).bytes_current
    };
    let (inbound, outbound) = (octets(|(sa, _)| Box::new(sa)), octets(|(_, sa)| Box::new(sa)));
    assert!(inbound <= 688, "{inbound}");
    assert!(outbound <= 576, "{outbound}");
}

/// What two Adits agree on beyond that takes nothing before there is a packet: messages about the path and
/// what probes it, notices, what puts packets into those that they share.
#[test]
fn what_is_agreed_on_takes_nothing_before_it_is_used() {
    let agreed = Options {
        path_probe: true,
        notices: true,
        aggfrag: Some(Aggfrag { super_packets: true }),
        ..Options::default()
    };
    let [plain, agreed] = [Options::default(), agreed].map(|options| {
        let (mut left, mut right) = (protecting_engine(start()), Inbound::new());
        let installed = allocation_counter::measure(|| {
            left.handle_command(options.left_half(start(), true), start());
            right.handle_command(options.right_half(start()));
        });
        installed.bytes_current
    });
    assert_eq!(plain, agreed);
}

#[test]
fn packets_are_sealed_and_opened_without_allocation() {
    for cipher in Cipher::ALL {
        let mut tunnel = Options { cipher, ..Options::default() }.tunnel();
        check_batch(&mut tunnel, &cipher.to_string());
    }
    check_batch(&mut compressing().tunnel(), "IPComp");
    check_batch(&mut four_levels(), "four SAs, one in another");
    check_two_interfaces();
    for algorithm in Authentication::ALL {
        let options = Options { ah: Some(algorithm), udp: false, ..Options::default() };
        check_batch(&mut options.tunnel(), &algorithm.to_string());
    }
}

/// Packets that come by two interfaces in turn.
fn check_two_interfaces() {
    let mut tunnel = two_interfaces();
    let inner = udp_packet(true, 0, 1400);
    let mut batch: Vec<PacketBuf> = (0..64).map(|at| by(TableId(1 + at % 2), &inner)).collect();
    check(&mut tunnel, &mut batch, "two interfaces");
}

fn check_batch(tunnel: &mut Tunnel, name: &str) {
    let inner = udp_packet(true, 2, 1_100);
    let mut batch: Vec<PacketBuf> = (0..64).map(|_| buffer(&inner)).collect();
    check(tunnel, &mut batch, name);
}

fn check(tunnel: &mut Tunnel, batch: &mut [PacketBuf], name: &str) {
    let now = tunnel.now;
    let mut verdicts = Vec::with_capacity(batch.len());
    let mut opened = Vec::with_capacity(batch.len());

    let count = allocations(|| {
        tunnel.left.seal_batch(batch, &mut verdicts, now);
        tunnel.right.open_batch(batch, &mut opened, now);
    });
    assert_eq!(count, 0, "{name}");
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Send));
    assert!(opened.iter().all(|verdict| *verdict == OpenVerdict::Deliver));
}

#[test]
fn packets_are_dropped_without_allocation() {
    let mut tunnel = Options::default().tunnel();
    let now = tunnel.now;
    let sealed = tunnel.sealed(&udp_packet(false, 0, 100));
    let mut tampered = copy(&sealed);
    tampered.data_mut()[30] ^= 1;
    let mut strangers = vec![copy(&sealed), copy(&sealed), tampered, buffer(b"short")];
    let mut unroutable =
        vec![buffer(&packet_between("10.1.0.5", "192.0.2.9", 0, 60)), buffer(b"no packet")];
    let mut verdicts = Vec::with_capacity(8);
    let mut opened = Vec::with_capacity(8);

    // An SA's counters come with the first of its packets that is dropped: most never need them.
    let count = allocations(|| tunnel.right.open_batch(&mut strangers, &mut opened, now));
    assert_eq!(count, 1);
    let count = allocations(|| {
        for _ in 0..100 {
            tunnel.right.open_batch(&mut strangers, &mut opened, now);
            tunnel.left.seal_batch(&mut unroutable, &mut verdicts, now);
        }
    });
    assert_eq!(count, 0);
    assert!(tunnel.right.report().drops.total() > 300);
    assert_eq!(tunnel.left.report().drops.total(), 200);
}
