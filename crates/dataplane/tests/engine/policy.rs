//! Policies, packets that wait for an SA, and which of several SAs carries a packet.

use std::sync::Arc;
use std::time::Duration;

use adit_dataplane::{
    ACQUIRE_INTERVAL, DropReason, Event, HELD_FOR, HELD_PER_POLICY, InboundCommand, OpenVerdict,
    Outbound, OutboundCommand, Verdict,
};
use adit_db::{Action, ChildSaId, Dscp, PolicyId, Spd, SpdEntry, TableId};
use adit_wire::ip::IpPacket;

use crate::fixtures::{
    CHILD, Options, POLICY, SPI, Tunnel, buffer, packet_between, protecting_engine, seal, start,
    ts, udp_packet,
};

/// The SPI a packet to this host leaves with.
fn spi_to(engine: &mut Outbound, dst: &str) -> u32 {
    let mut packet = buffer(&packet_between("10.1.0.5", dst, 0, 60));
    assert_eq!(seal(engine, &mut packet, start()), Verdict::Send);
    u32::from_be_bytes(packet.data()[..4].try_into().unwrap())
}

fn replacement() -> Options {
    Options { child: ChildSaId(CHILD.0 + 1), ..Options::default() }
}

#[test]
fn policies_decide() {
    let now = start();
    let entry = |remote: &str, action| SpdEntry {
        local: ts(&["0.0.0.0/0"]),
        remote: ts(&[remote]),
        action,
    };
    let mut engine = Outbound::new();
    let verdict = |engine: &mut Outbound, dst: &str| {
        seal(engine, &mut buffer(&packet_between("10.1.0.5", dst, 0, 60)), now)
    };
    assert_eq!(verdict(&mut engine, "10.2.0.7"), Verdict::Drop(DropReason::NoPolicy));

    let spd = Spd::new(vec![
        entry("10.2.9.0/24", Action::Discard),
        entry("10.2.0.0/16", Action::Protect(POLICY)),
        entry("10.3.0.0/16", Action::Bypass),
    ]);
    engine.handle_command(OutboundCommand::SetPolicies(Arc::new(spd.unwrap())), now);
    assert_eq!(verdict(&mut engine, "10.2.9.7"), Verdict::Drop(DropReason::PolicyDiscard));
    assert_eq!(verdict(&mut engine, "10.2.0.7"), Verdict::Held);
    assert_eq!(verdict(&mut engine, "10.3.0.7"), Verdict::Bypass);
    assert_eq!(verdict(&mut engine, "10.4.0.7"), Verdict::Drop(DropReason::NoPolicy));
    assert_eq!(engine.report().drops.total(), 3);
}

/// RFC 2409 §5.5: a responder has the SA and may not send on it before the third message. The answer to the
/// first packet waits for that, goes out once, and asks for no SA beside the one that is on its way.
#[test]
fn what_waits_for_the_peers_last_word_asks_for_no_other_sa() {
    let now = start();
    let later = |ms| now + Duration::from_millis(ms);
    let mut engine = protecting_engine(now);
    let asked = |engine: &mut Outbound| {
        let events = std::iter::from_fn(|| engine.poll_event());
        events.filter(|event| matches!(event, Event::Acquire { .. })).count()
    };
    let packet = || buffer(&udp_packet(false, 0, 100));
    let options = Options::default();
    engine.handle_command(options.left_half(now, false), now);
    assert_eq!(seal(&mut engine, &mut packet(), later(1)), Verdict::Held);
    assert_eq!(asked(&mut engine), 0);
    engine.handle_command(OutboundCommand::Activate { child: CHILD }, later(2));
    let sealed: Vec<_> = std::iter::from_fn(|| engine.poll_packet()).collect();
    assert_eq!(sealed.len(), 1);
    assert_eq!(seal(&mut engine, &mut packet(), later(3)), Verdict::Send);

    // The word was lost with the peer that should have said it: somebody has to ask.
    let mut engine = protecting_engine(now);
    engine.handle_command(options.left_half(now, false), now);
    assert_eq!(seal(&mut engine, &mut packet(), later(1_999)), Verdict::Held);
    assert_eq!(asked(&mut engine), 0);
    assert_eq!(seal(&mut engine, &mut packet(), later(2_000)), Verdict::Held);
    assert_eq!(asked(&mut engine), 1);

    // Nor is it waited for once it is gone, or by a packet that it would not carry.
    for gone in [true, false] {
        let mut engine = protecting_engine(now);
        let ts = if gone { ts(&["10.2.0.0/16"]) } else { ts(&["10.2.9.0/24"]) };
        let narrow = Options { right_ts: ts, ..Options::default() };
        engine.handle_command(narrow.left_half(now, false), now);
        if gone {
            engine.handle_command(OutboundCommand::Remove { child: CHILD }, now);
        }
        assert_eq!(seal(&mut engine, &mut packet(), later(1)), Verdict::Held);
        assert_eq!(asked(&mut engine), 1);
    }
}

/// What kernels say to the link of any interface (MLD reports, router solicitations, IGMP) is told apart from
/// packets that a tunnel lacks a network for; where a policy takes all it goes as any packet.
#[test]
fn what_is_for_one_link_is_a_reason_of_its_own() {
    let now = start();
    let verdict = |engine: &mut Outbound, dst: &str| {
        let src = if dst.contains(':') { "fe80::1" } else { "10.1.0.5" };
        seal(engine, &mut buffer(&packet_between(src, dst, 0, 60)), now)
    };
    let harmless = Verdict::Drop(DropReason::LinkLocalMulticast);
    let unknown = Verdict::Drop(DropReason::NoPolicy);
    for (dst, expected) in [
        ("ff02::16", harmless),
        ("ff02::2", harmless),
        ("ff01::1", harmless),
        ("ff32::1", harmless),
        ("ff05::2", unknown),
        ("fe80::2", unknown),
        ("224.0.0.22", harmless),
        ("224.0.0.251", harmless),
        ("224.0.1.1", unknown),
        ("239.255.255.250", unknown),
    ] {
        let mut engine = protecting_engine(now);
        assert_eq!(verdict(&mut engine, dst), expected, "{dst}");
        assert_eq!(engine.report().drops.total(), 1);
    }
    let all = SpdEntry {
        local: ts(&["0.0.0.0/0", "::/0"]),
        remote: ts(&["0.0.0.0/0", "::/0"]),
        action: Action::Discard,
    };
    let mut engine = Outbound::new();
    let spd = Arc::new(Spd::new(vec![all]).unwrap());
    engine.handle_command(OutboundCommand::SetPolicies(spd), now);
    let discarded = Verdict::Drop(DropReason::PolicyDiscard);
    assert_eq!(verdict(&mut engine, "ff02::16"), discarded);
}

/// A hub forwards from tunnel to tunnel through one TUN, and its kernel tells the sender of a
/// shorter way, which is none.
#[test]
fn redirects_stay_out_of_tunnels() {
    for (ipv6, protocol, kind) in [(false, 1, 5), (true, 58, 137)] {
        let mut inner = udp_packet(ipv6, 0, 100);
        let (protocol_at, kind_at) = if ipv6 { (6, 40) } else { (9, 20) };
        inner[protocol_at] = protocol;
        let mut verdict = |kind: u8| {
            inner[kind_at] = kind;
            Options::default().tunnel().seal(&mut buffer(&inner))
        };
        assert_eq!(verdict(kind), Verdict::Drop(DropReason::Redirect));
        assert_eq!(verdict(if ipv6 { 128 } else { 8 }), Verdict::Send);
    }
}

/// A policy that discards does so in both directions, also what the SA's selectors let in.
#[test]
fn what_a_policy_discards_comes_through_no_sa() {
    let entry = |remote: &[&str], action| SpdEntry {
        local: ts(&["10.2.0.0/16"]),
        remote: ts(remote),
        action,
    };
    let mut tunnel = Options::default().tunnel();
    let set = |tunnel: &mut Tunnel, entries| {
        let spd = Arc::new(Spd::new(entries).unwrap());
        tunnel.right.handle_command(InboundCommand::SetPolicies(spd));
    };
    let protect = || entry(&["10.1.0.0/16"], Action::Protect(POLICY));
    set(&mut tunnel, vec![entry(&["10.1.0.0/16[udp/40000]"], Action::Discard), protect()]);

    let mut packet = tunnel.sealed(&udp_packet(false, 0, 60));
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Drop(DropReason::PolicyDiscard));
    assert_eq!(tunnel.right.report().sas[0].drops.get(DropReason::PolicyDiscard), 1);
    tunnel.send(&udp_packet(true, 0, 80));

    set(&mut tunnel, vec![protect()]);
    tunnel.send(&udp_packet(false, 0, 60));
}

/// Whoever asks which SA carries a packet is told what the engine would do with it.
#[test]
fn the_engine_names_the_sa_that_carries_a_packet() {
    let now = start();
    let flow = |octets: &[u8]| IpPacket::read(octets).unwrap().flow_key();
    let mut engine = protecting_engine(now);
    let packet = flow(&udp_packet(false, 0, 60));
    let any = Dscp::default();
    assert_eq!(engine.carriers(TableId::DEFAULT, &packet, any), []);
    engine.handle_command(Options::default().left_half(now, true), now);
    assert_eq!(engine.carriers(TableId::DEFAULT, &packet, any), [CHILD]);
    assert_eq!(
        engine.carriers(
            TableId::DEFAULT,
            &flow(&packet_between("10.1.0.5", "10.9.0.7", 0, 60)),
            any
        ),
        []
    );
    engine.handle_command(replacement().left_half(now, true), now);
    assert_eq!(engine.carriers(TableId::DEFAULT, &packet, any), [replacement().child]);
    engine.handle_command(OutboundCommand::Remove { child: replacement().child }, now);
    assert_eq!(engine.carriers(TableId::DEFAULT, &packet, any), [CHILD]);
}

/// CHECKLIST S12; RFC 4301 §4.4.1: the first packet asks for an SA and leaves through it.
#[test]
fn packets_wait_for_their_sa() {
    let now = start();
    let mut engine = protecting_engine(now);
    let inner: Vec<_> =
        (0..HELD_PER_POLICY + 2).map(|more| udp_packet(false, 0, 60 + more)).collect();
    let verdicts: Vec<_> =
        inner.iter().map(|inner| seal(&mut engine, &mut buffer(inner), now)).collect();
    assert_eq!(verdicts[..HELD_PER_POLICY], [Verdict::Held; HELD_PER_POLICY]);
    assert_eq!(verdicts[HELD_PER_POLICY..], [Verdict::Drop(DropReason::NoSa); 2]);
    assert_eq!(engine.report().held, HELD_PER_POLICY);
    let flow = IpPacket::read(&inner[0]).unwrap().flow_key();
    assert_eq!(engine.poll_event(), Some(Event::Acquire { policy: POLICY, flow }));
    assert_eq!(engine.poll_event(), None);

    let options = Options::default();
    let mut tunnel = options.tunnel();
    engine.handle_command(options.left_half(now, false), now);
    assert!(engine.poll_packet().is_none());
    engine.handle_command(OutboundCommand::Activate { child: CHILD }, now);
    for expected in &inner[..HELD_PER_POLICY] {
        let mut packet = engine.poll_packet().unwrap();
        assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
        assert_eq!(packet.data(), expected);
    }
    assert!(engine.poll_packet().is_none());
    assert_eq!(engine.report().held, 0);
}

#[test]
fn acquires_are_rate_limited() {
    let now = start();
    let mut engine = protecting_engine(now);
    let mut count_at = |after| {
        for _ in 0..5 {
            seal(&mut engine, &mut buffer(&udp_packet(false, 0, 60)), now + after);
        }
        std::iter::from_fn(|| engine.poll_event()).count()
    };
    assert_eq!(count_at(Duration::ZERO), 1);
    assert_eq!(count_at(ACQUIRE_INTERVAL - Duration::from_millis(1)), 0);
    assert_eq!(count_at(ACQUIRE_INTERVAL), 1);
}

#[test]
fn packets_do_not_wait_for_ever() {
    let now = start();
    let mut engine = protecting_engine(now);
    seal(&mut engine, &mut buffer(&udp_packet(false, 0, 60)), now);
    let late = now + HELD_FOR;
    engine.handle_command(Options::default().left_half(late, true), late);
    assert!(engine.poll_packet().is_none());
    assert_eq!(engine.report().held, 0);
}

/// CHECKLIST H01, S11 seen from here: a narrowed SA carries what it was narrowed to; the rest waits.
#[test]
fn a_narrowed_sa_leaves_the_rest_waiting() {
    let now = start();
    let mut engine = protecting_engine(now);
    for dst in ["10.2.0.7", "10.2.9.9"] {
        seal(&mut engine, &mut buffer(&packet_between("10.1.0.5", dst, 0, 60)), now);
    }
    let narrowed = Options { right_ts: ts(&["10.2.9.0/24"]), ..Options::default() };
    engine.handle_command(narrowed.left_half(now, true), now);
    assert!(engine.poll_packet().is_some());
    assert!(engine.poll_packet().is_none());
    assert_eq!(engine.report().held, 1);

    engine.handle_command(replacement().left_half(now, true), now);
    assert!(engine.poll_packet().is_some());
    assert_eq!(engine.report().held, 0);
}

/// A packet whose policy is another one by now waits for that one's SA.
#[test]
fn packets_wait_on_when_their_policy_changes() {
    let now = start();
    let mut engine = protecting_engine(now);
    seal(&mut engine, &mut buffer(&udp_packet(false, 0, 60)), now);
    let entry = SpdEntry {
        local: ts(&["0.0.0.0/0"]),
        remote: ts(&["0.0.0.0/0"]),
        action: Action::Protect(PolicyId(POLICY.0 + 1)),
    };
    let spd = Arc::new(Spd::new(vec![entry]).unwrap());
    engine.handle_command(OutboundCommand::SetPolicies(spd), now);

    engine.handle_command(Options::default().left_half(now, true), now);

    assert!(engine.poll_packet().is_none());
    let report = engine.report();
    assert_eq!((report.held, report.drops.total()), (1, 0));
}

/// RFC 7296 §2.8: a replacement carries packets when told so, not when installed; if it goes, the
/// older one still works.
#[test]
fn rekeying_switches_when_told() {
    let now = start();
    let mut engine = protecting_engine(now);
    let (old, new) = (SPI.0, SPI.0 + 1);
    engine.handle_command(Options::default().left_half(now, true), now);
    assert_eq!(spi_to(&mut engine, "10.2.0.7"), old);

    engine.handle_command(replacement().left_half(now, false), now);
    assert_eq!(spi_to(&mut engine, "10.2.0.7"), old);
    engine.handle_command(OutboundCommand::Activate { child: replacement().child }, now);
    assert_eq!(spi_to(&mut engine, "10.2.0.7"), new);
    engine.handle_command(OutboundCommand::Remove { child: replacement().child }, now);
    assert_eq!(spi_to(&mut engine, "10.2.0.7"), old);

    engine.handle_command(replacement().left_half(now, true), now);
    engine.handle_command(OutboundCommand::Remove { child: CHILD }, now);
    assert_eq!(spi_to(&mut engine, "10.2.0.7"), new);
    engine.handle_command(OutboundCommand::Remove { child: replacement().child }, now);
    let mut packet = buffer(&udp_packet(false, 0, 60));
    assert_eq!(seal(&mut engine, &mut packet, now), Verdict::Held);
}

/// Two peers may share a policy: each SA carries what it was negotiated for.
#[test]
fn sas_of_one_policy_stand_beside_each_other() {
    let now = start();
    let mut engine = protecting_engine(now);
    let one = Options { right_ts: ts(&["10.2.1.0/24"]), ..Options::default() };
    let two = Options { right_ts: ts(&["10.2.2.0/24"]), ..replacement() };
    engine.handle_command(one.left_half(now, true), now);
    engine.handle_command(two.left_half(now, true), now);
    assert_eq!(spi_to(&mut engine, "10.2.1.7"), SPI.0);
    assert_eq!(spi_to(&mut engine, "10.2.2.7"), SPI.0 + 1);
}

/// RFC 4301 §4.4.1.1: two entries for two identities with the same addresses. What the first one takes
/// never goes through the SA of the other's peer, though that would carry it.
#[test]
fn an_sa_carries_nothing_of_another_policy() {
    let now = start();
    let other = PolicyId(POLICY.0 + 1);
    let entry = |policy| SpdEntry {
        local: ts(&["0.0.0.0/0"]),
        remote: ts(&["10.2.0.0/16"]),
        action: Action::Protect(policy),
    };
    let mut engine = Outbound::new();
    let spd = Arc::new(Spd::new(vec![entry(other), entry(POLICY)]).unwrap());
    engine.handle_command(OutboundCommand::SetPolicies(spd), now);
    engine.handle_command(Options::default().left_half(now, true), now);

    let mut packet = buffer(&udp_packet(false, 0, 60));
    assert_eq!(seal(&mut engine, &mut packet, now), Verdict::Held);
    let flow = IpPacket::read(packet.data()).unwrap().flow_key();
    assert_eq!(engine.carriers(TableId::DEFAULT, &flow, Dscp::default()), []);
    assert_eq!(engine.poll_event(), Some(Event::Acquire { policy: other, flow }));
    assert!(engine.poll_packet().is_none());
}

#[test]
fn commands_about_unknown_sas_do_nothing() {
    let now = start();
    let mut engine = protecting_engine(now);
    engine.handle_command(OutboundCommand::Activate { child: CHILD }, now);
    engine.handle_command(OutboundCommand::Remove { child: CHILD }, now);
    engine.handle_command(Options::default().left_half(now, true), now);
    engine.handle_command(Options::default().left_half(now, true), now);
    assert_eq!(engine.report().sas.len(), 1);
}
