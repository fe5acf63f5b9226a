//! `adit status --engine`: bulk travels in few system calls, and the daemon says so. Needs root.

mod common;

use adit_dataplane::DropReason;
use adit_mgmt::api::{EngineHalf, EnginePath, TunnelState};
use adit_mgmt::drops;
use adit_sys::thread::spawn_scoped_named;
use common::{Pair, Site, engine, stream, wait_until};

fn tunnel(here: u8, there: u8, keep: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24\"]\nremote = [\"10.{there}.0.0/24\"]\n\
         secret = \"file:tunnel.psk\"\nencap = \"udp\"\nkeep = \"{keep}\"\n"
    )
}

fn is_on(half: &EngineHalf, name: &str) -> bool {
    half.paths.iter().any(|path| path.name == name && path.on && path.reason.is_none())
}

#[test]
fn bulk_takes_few_system_calls_and_the_daemon_says_so() {
    let Some(mut pair) = Pair::new("engine") else { return };
    pair.start(&tunnel(1, 2, "up"), &tunnel(2, 1, "passive"));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert_eq!(engine(&pair.oslo).inbound.packets, 0);

    stream(&pair.oslo, &pair.berlin, "10.2.0.1:5201", 20_000_000);

    let (sent, received) = (engine(&pair.oslo).outbound, engine(&pair.berlin).inbound);
    assert!(is_on(&sent, "TUN TSO") && is_on(&sent, "UDP GSO"), "{sent:?}");
    assert!(is_on(&received, "TUN TSO") && is_on(&received, "UDP GRO"), "{received:?}");
    let packets = 20_000_000 / 1_390;
    assert!(sent.packets > packets && received.packets > packets, "{sent:?} {received:?}");
    assert!(sent.super_packets > 0 && received.super_packets > 0, "{sent:?} {received:?}");
    assert!(sent.calls() < sent.packets, "{sent:?}");
    // Each packet alone would take one call in and one out.
    assert!(received.calls() < received.packets, "{received:?}");
    // 16 MiB hold all buffers, though those for the longest packets take 64 KiB each.
    assert!(sent.memory_octets < 16 << 20 && received.memory_octets < 16 << 20);
}

#[test]
fn one_thread_does_both_ways_until_there_is_a_lot_to_do() {
    const BOTH: &str = "one thread";
    let Some(mut pair) = Pair::new("one-thread") else { return };
    pair.start(&tunnel(1, 2, "up"), &tunnel(2, 1, "passive"));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let is_one = |site: &Site| is_on(&engine(site).outbound, BOTH);
    wait_until("one thread is enough", || is_one(&pair.oslo) && is_one(&pair.berlin));
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    assert!(is_one(&pair.oslo) && is_one(&pair.berlin));

    std::thread::scope(|scope| {
        let stream = || stream(&pair.oslo, &pair.berlin, "10.2.0.1:5201", 60_000_000);
        let bulk = spawn_scoped_named(scope, "bulk", stream).unwrap();
        // Of a path that is not shown at all nobody could tell.
        let is_apart = |path: &EnginePath| path.name == BOTH && !path.on && path.reason.is_some();
        let apart = || engine(&pair.oslo).outbound.paths.iter().any(is_apart);
        wait_until("each direction has a thread", apart);
        bulk.join().unwrap();
    });

    wait_until("one thread is enough again", || is_one(&pair.oslo) && is_one(&pair.berlin));
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    // A thread that waits for its work ends, too.
    pair.oslo.terminate();
    assert!(pair.oslo.log().contains("stopped"), "{}", pair.oslo.log());
}

/// The engine's labels and the operator's advice are in crates that do not know each other: each reason has advice,
/// or is one of those against which nothing here helps.
#[test]
fn every_reason_for_a_drop_has_its_advice() {
    const UNADVISED: [DropReason; 13] = [
        DropReason::NotIp,
        DropReason::BadOffload,
        DropReason::LinkLocalMulticast,
        DropReason::Redirect,
        DropReason::NoRoom,
        DropReason::Truncated,
        DropReason::BadSequence,
        DropReason::BadPadding,
        DropReason::Dummy,
        DropReason::BadAggfrag,
        DropReason::BadSuperPacket,
        DropReason::BadInner,
        DropReason::EcnNotCapable,
    ];
    for reason in DropReason::ALL {
        let (name, has_advice) = (reason.name(), drops::fix(reason.name()).is_some());
        assert_eq!(has_advice, !UNADVISED.contains(reason), "{name}");
    }
    // What is no fault is a reason that there is.
    for name in [
        "dummy",
        "icmp_refused",
        "link_local_multicast",
        "no_policy",
        "no_sa",
        "policy_discard",
        "redirect",
        "too_big",
    ] {
        assert!(!drops::is_fault(name), "{name}");
        assert!(DropReason::ALL.iter().any(|reason| reason.name() == name), "{name}");
    }
}
