//! Several SAs for the same selectors, told apart by DSCP: RFC 4301 §4.1.

use std::sync::Arc;

use adit_dataplane::{Event, Inbound, OpenVerdict, Outbound, OutboundCommand, Verdict};
use adit_db::{Action, ChildSaId, Dscp, DscpSet, PolicyId, Spd, SpdEntry, TableId, WindowSize};
use adit_wire::PacketBuf;
use adit_wire::ip::IpPacket;

use crate::fixtures::{CHILD, Options, POLICY, Tunnel, buffer, seal, start, ts, udp_packet};

/// The policy of voice.
const VOICE: PolicyId = PolicyId(1);
const VOICE_CHILD: ChildSaId = ChildSaId(2);
const EF: u8 = 46 << 2;
const AF41: u8 = 34 << 2;

fn voice() -> Options {
    Options { child: VOICE_CHILD, ..Options::default() }
}

/// An engine whose policy gives EF and CS5 to another's SAs.
fn divided(engine: &mut Outbound) {
    let mut code_points = DscpSet::default();
    for name in ["ef", "cs5"] {
        assert!(code_points.insert(Dscp::named(name).unwrap()));
    }
    let entry = SpdEntry {
        local: ts(&["0.0.0.0/0", "::/0"]),
        remote: ts(&["10.2.0.0/16", "fd02::/48"]),
        action: Action::Protect(POLICY),
    };
    let mut spd = Spd::new(vec![entry]).unwrap();
    spd.classify(POLICY, code_points, VOICE);
    engine.handle_command(OutboundCommand::SetPolicies(Arc::new(spd)), start());
}

/// Both engines with both SAs.
fn tunnel(window: WindowSize) -> Tunnel {
    let now = start();
    let mut tunnel = Tunnel { left: Outbound::new(), right: Inbound::new(), now };
    divided(&mut tunnel.left);
    for (options, policy) in [(Options::default(), POLICY), (voice(), VOICE)] {
        let options = Options { window, ..options };
        tunnel.left.handle_command(options.left_half_of(policy, now), now);
        tunnel.right.handle_command(options.right_half(now));
    }
    tunnel
}

fn sent(engine: &mut Outbound) -> Vec<(ChildSaId, u64)> {
    engine.report().sas.iter().map(|sa| (sa.child, sa.packets)).collect()
}

//= https://www.rfc-editor.org/rfc/rfc4301#section-4.1
//= type=test
//# To permit this, the IPsec implementation MUST permit establishment
//# and maintenance of multiple SAs between a given sender and receiver,
//# with the same selectors.
/// CHECKLIST S17: each packet goes through the SA of its class, packets of one flow and train in turn;
/// congestion marks make no class.
#[test]
fn packets_go_through_the_sa_of_their_class() {
    for ipv6 in [false, true] {
        let mut tunnel = tunnel(WindowSize::MIN);
        for class in [EF, 0, 40 << 2 | 1, AF41, EF | 3, 0] {
            let inner = udp_packet(ipv6, class, 80);
            assert_eq!(tunnel.send(&inner), inner);
        }
        assert_eq!(sent(&mut tunnel.left), [(CHILD, 3), (VOICE_CHILD, 3)]);
        let received: Vec<u64> = tunnel.right.report().sas.iter().map(|sa| sa.packets).collect();
        assert_eq!(received, [3, 3]);
    }
}

/// The same within one batch, where the route of a packet is that of the one before.
#[test]
fn a_train_of_one_flow_is_divided() {
    let mut tunnel = tunnel(WindowSize::MIN);
    let classes = [EF, EF, 0, EF, 0, 0, 0];
    let mut packets: Vec<PacketBuf> =
        classes.iter().map(|class| buffer(&udp_packet(false, *class, 80))).collect();
    let mut verdicts = Vec::new();
    tunnel.left.seal_batch(&mut packets, &mut verdicts, tunnel.now);
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Send), "{verdicts:?}");
    assert_eq!(sent(&mut tunnel.left), [(CHILD, 4), (VOICE_CHILD, 3)]);
}

/// RFC 4301 §4.1, the reason for it all: a packet that waits while many of another class pass it is
/// no replay, as it would be on one SA.
#[test]
fn replay_windows_are_independent() {
    let late = |mut tunnel: Tunnel| {
        let mut slow = tunnel.sealed(&udp_packet(false, 0, 80));
        for _ in 0..WindowSize::MIN.packets() + 1 {
            tunnel.send(&udp_packet(false, EF, 80));
        }
        tunnel.open(&mut slow)
    };
    assert_eq!(late(tunnel(WindowSize::MIN)), OpenVerdict::Deliver);
    assert!(matches!(late(Options::default().tunnel()), OpenVerdict::Drop(_)));
}

/// A receiver takes any DSCP on any of the SAs.
#[test]
fn the_receiver_does_not_judge_the_class() {
    let mut tunnel = Options::default().tunnel();
    tunnel.send(&udp_packet(false, EF, 80));
    tunnel.send(&udp_packet(false, 0, 80));
}

/// A class without an SA asks for its own, and its packet waits for that; the others flow on.
#[test]
fn a_class_without_an_sa_asks_for_its_own() {
    let now = start();
    let mut engine = Outbound::new();
    divided(&mut engine);
    engine.handle_command(Options::default().left_half_of(POLICY, now), now);
    let mut packet = buffer(&udp_packet(false, EF, 80));
    assert_eq!(seal(&mut engine, &mut packet, now), Verdict::Held);
    let Some(Event::Acquire { policy, flow }) = engine.poll_event() else { panic!("an acquire") };
    assert_eq!(policy, VOICE);
    let mut other = buffer(&udp_packet(false, 0, 80));
    assert_eq!(seal(&mut engine, &mut other, now), Verdict::Send);
    assert!(engine.poll_event().is_none() && engine.poll_packet().is_none());
    let dscp = |class| Dscp::from_traffic_class(class);
    assert_eq!(engine.carriers(TableId::DEFAULT, &flow, dscp(EF)), []);
    assert_eq!(engine.carriers(TableId::DEFAULT, &flow, dscp(AF41)), [CHILD]);

    engine.handle_command(voice().left_half_of(VOICE, now), now);
    let waited = engine.poll_packet().expect("the packet that waited");
    assert_eq!(&waited.data()[..4], &[0xc0, 0, 0, 2]);
    assert_eq!(engine.carriers(TableId::DEFAULT, &flow, dscp(EF)), [VOICE_CHILD]);
    assert!(IpPacket::read(packet.data()).is_ok(), "the buffer was free, and is as it was");

    // The SA of a class that goes takes nobody's traffic to another.
    engine.handle_command(OutboundCommand::Remove { child: VOICE_CHILD }, now);
    assert_eq!(engine.carriers(TableId::DEFAULT, &flow, dscp(EF)), []);
}
