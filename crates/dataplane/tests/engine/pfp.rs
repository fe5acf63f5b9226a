//! SAs whose selectors come from packets, RFC 4301 §4.4.1.2 (PFP).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use adit_dataplane::{
    DropReason, Event, HELD_FOR, OpenVerdict, Outbound, OutboundCommand, SAS_PER_POLICY_MAX,
    Verdict, WAITED_FOR_MAX,
};
use adit_db::{Action, ChildSaId, Dscp, Pfp, PolicyId, Spd, SpdEntry, TableId};
use adit_wire::ip::{FlowKey, IpPacket};

use crate::fixtures::{
    CHILD, Options, POLICY, buffer, packet_between, seal, start, ts, udp_packet,
};

const OTHER: PolicyId = PolicyId(9);

/// An engine with one policy that takes selectors from packets and one that does not.
fn engine(pfp: Pfp, now: Instant) -> Outbound {
    let entry = |remote: &str, policy| SpdEntry {
        local: ts(&["0.0.0.0/0"]),
        remote: ts(&[remote]),
        action: Action::Protect(policy),
    };
    let entries = vec![entry("10.2.0.0/16", POLICY), entry("10.3.0.0/16", OTHER)];
    let spd = Spd::new(entries).unwrap().populating(BTreeMap::from([(POLICY, pfp)]));
    let mut engine = Outbound::new();
    engine.handle_command(OutboundCommand::SetPolicies(Arc::new(spd)), now);
    engine
}

const BY_REMOTE: Pfp = Pfp { remote: true, ..Pfp::NONE };

fn to(dst: &str) -> Vec<u8> {
    packet_between("10.1.0.5", dst, 0, 60)
}

fn host(number: usize) -> String {
    format!("10.2.{}.{}", number / 256, number % 256)
}

/// The packets that asked for an SA.
fn asked(engine: &mut Outbound) -> Vec<FlowKey> {
    let mut asked = Vec::new();
    while let Some(event) = engine.poll_event() {
        if let Event::Acquire { policy: POLICY, flow } = event {
            asked.push(flow);
        }
    }
    asked
}

/// The SA that was made for one host.
fn for_host(number: usize) -> Options {
    let child = ChildSaId(CHILD.0 + u32::try_from(number).unwrap());
    Options { child, right_ts: ts(&[&host(number)]), ..Options::default() }
}

/// Two hosts, two SAs: each packet asks for its own, waits for it and goes through it.
#[test]
fn each_class_of_packets_has_its_own_sa() {
    let now = start();
    let mut engine = engine(BY_REMOTE, now);
    for _ in 0..2 {
        for number in [1, 2] {
            let verdict = seal(&mut engine, &mut buffer(&to(&host(number))), now);
            assert_eq!(verdict, Verdict::Held);
        }
    }
    let asked: Vec<String> = asked(&mut engine).iter().map(|flow| flow.dst.to_string()).collect();
    assert_eq!(asked, [host(1), host(2)], "once each");

    for number in [2, 1] {
        let options = for_host(number);
        let mut tunnel = options.tunnel();
        engine.handle_command(options.left_half(now, true), now);
        for _ in 0..2 {
            let mut packet = engine.poll_packet().unwrap();
            assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
            assert_eq!(packet.data(), to(&host(number)));
        }
        assert!(engine.poll_packet().is_none());
    }
    let flow = |number| IpPacket::read(&to(&host(number))).unwrap().flow_key();
    assert_eq!(engine.carriers(TableId::DEFAULT, &flow(1), Dscp::default()), [for_host(1).child]);
    assert_eq!(engine.carriers(TableId::DEFAULT, &flow(2), Dscp::default()), [for_host(2).child]);
    assert_eq!(engine.report().held, 0);
}

/// Who scans a network from inside fills the room of its own policy and no more, and opens no SAs
/// without end.
#[test]
fn a_scanner_is_bounded() {
    let mut now = start();
    let mut engine = engine(BY_REMOTE, now);
    let mut opened = 0;
    while opened < SAS_PER_POLICY_MAX {
        for number in 0..1_000 {
            seal(&mut engine, &mut buffer(&to(&host(number))), now);
        }
        let asked = asked(&mut engine);
        assert!((1..=WAITED_FOR_MAX).contains(&asked.len()), "{}", asked.len());
        assert!(engine.report().held <= WAITED_FOR_MAX);
        for flow in asked.into_iter().take(SAS_PER_POLICY_MAX - opened) {
            let child = ChildSaId(CHILD.0 + u32::try_from(opened).unwrap());
            let right_ts = ts(&[&flow.dst.to_string()]);
            let options = Options { child, right_ts, ..Options::default() };
            engine.handle_command(options.left_half(now, true), now);
            opened += 1;
        }
        now += HELD_FOR;
    }
    let mut packet = buffer(&to("10.2.200.200"));
    assert_eq!(seal(&mut engine, &mut packet, now), Verdict::Drop(DropReason::TooManySas));
    assert!(asked(&mut engine).is_empty());
    assert!(engine.report().drops.get(DropReason::TooManySas) > 0);

    // Others have their room, and an SA that ends makes some.
    assert_eq!(seal(&mut engine, &mut buffer(&to("10.3.0.1")), now), Verdict::Held);
    engine.handle_command(OutboundCommand::Remove { child: CHILD }, now);
    assert_eq!(seal(&mut engine, &mut packet, now), Verdict::Held);
    assert_eq!(asked(&mut engine).len(), 1);
}

/// RFC 4301 §7: a fragment does not show the ports by which its packet's SA is chosen.
#[test]
fn fragments_are_joined_where_classes_look_above_ip() {
    let now = start();
    let by_port = Pfp { protocol: true, remote_port: true, ..Pfp::NONE };
    let mut fragment = udp_packet(false, 0, 100);
    // The first of two, and its checksum is nobody's concern here.
    fragment[6..8].copy_from_slice(&[0x20, 0]);
    for (pfp, asks) in [(BY_REMOTE, 1), (by_port, 0)] {
        let mut engine = engine(pfp, now);
        assert_eq!(seal(&mut engine, &mut buffer(&fragment), now), Verdict::Held);
        assert_eq!(asked(&mut engine).len(), asks, "{pfp:?}");
    }
}
