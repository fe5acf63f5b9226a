//! Interfaces with policies of their own, RFC 4301 §4.4.1.

use std::sync::Arc;

use adit_dataplane::{
    DropReason, Event, Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand, Verdict,
    packet_buffer, split,
};
use adit_db::{Action, ChildSaId, Dscp, DscpSet, PolicyId, Spd, SpdEntry, TableId};
use adit_wire::PacketBuf;
use adit_wire::ip::{IpPacket, write_fragment};

use crate::fixtures::{
    Options, POLICY, Tunnel, buffer, packet_between, seal, start, ts, udp_packet,
};

/// The tunnels of two interfaces: table, policy, SA.
const VPN: [(TableId, PolicyId, ChildSaId); 2] =
    [(TableId(1), PolicyId(1), ChildSaId(2)), (TableId(2), PolicyId(2), ChildSaId(3))];

fn everything(action: Action) -> Arc<Spd> {
    let any = ts(&["0.0.0.0/0", "::/0"]);
    Arc::new(Spd::new(vec![SpdEntry { local: any.clone(), remote: any, action }]).unwrap())
}

fn options(child: ChildSaId) -> Options {
    let any = ts(&["0.0.0.0/0", "::/0"]);
    Options { child, left_ts: any.clone(), right_ts: any, ..Options::default() }
}

/// Policies alone: what comes by the default interface passes in clear, what comes by the others is
/// protected, each by its own SA.
fn left() -> Outbound {
    let mut left = Outbound::new();
    left.handle_command(OutboundCommand::SetPolicies(everything(Action::Bypass)), start());
    for (table, policy, _) in VPN {
        let spd = Some(everything(Action::Protect(policy)));
        left.handle_command(OutboundCommand::SetTable { table, spd }, start());
    }
    left
}

fn right() -> Inbound {
    let mut right = Inbound::new();
    for (table, policy, child) in VPN {
        let (inbound, _) = split(&options(child).child_sa(false), policy, start()).unwrap();
        right.handle_command(InboundCommand::Install(Box::new(inbound.into_table(table))));
    }
    right
}

/// Both engines with an SA for each interface.
pub(crate) fn two_interfaces() -> Tunnel {
    let mut tunnel = Tunnel { left: left(), right: right(), now: start() };
    for (_, policy, child) in VPN {
        let half = options(child).left_half_of(policy, tunnel.now);
        tunnel.left.handle_command(half, tunnel.now);
    }
    tunnel
}

/// A packet as it comes by an interface.
pub(crate) fn by(table: TableId, octets: &[u8]) -> PacketBuf {
    let mut packet = packet_buffer();
    assert!(packet.fill(octets));
    packet.meta.table = table.0;
    packet
}

//= https://www.rfc-editor.org/rfc/rfc4301#section-4.4.1
//= type=test
//# if an implementation supports multiple SPDs, then it MUST include an
//# explicit SPD selection function that is invoked to select the
//# appropriate SPD for outbound traffic processing.
/// The same flow by three interfaces in one batch, which is one train: each packet meets the policies
/// of its own, and comes out by the interface of the same number.
#[test]
fn each_interface_has_its_own_policies_and_sas() {
    for ipv6 in [false, true] {
        let mut tunnel = two_interfaces();
        let inner = udp_packet(ipv6, 0, 80);
        let tables = [1, 0, 2, 2, 1, 0, 1].map(TableId);
        let mut batch = tables.map(|table| by(table, &inner));
        let mut verdicts = Vec::new();
        tunnel.left.seal_batch(&mut batch, &mut verdicts, tunnel.now);
        let is_clear = |(table, verdict): (&TableId, &Verdict)| match table.0 {
            0 => *verdict == Verdict::Bypass,
            _ => *verdict == Verdict::Send,
        };
        assert!(tables.iter().zip(&verdicts).all(is_clear), "{verdicts:?}");
        let sent: Vec<_> = tunnel.left.report().sas.iter().map(|sa| sa.packets).collect();
        assert_eq!(sent, [3, 2]);

        for (mut packet, table) in batch.into_iter().zip(tables).filter(|(_, table)| table.0 > 0) {
            assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
            assert_eq!((packet.data(), packet.meta.table), (&*inner, table.0));
        }
    }
}

#[test]
fn an_interface_without_policies_lets_nothing_out() {
    let mut left = left();
    let inner = udp_packet(false, 0, 80);
    let refused = Verdict::Drop(DropReason::NoPolicy);
    assert_eq!(seal(&mut left, &mut by(TableId(3), &inner), start()), refused);
    assert_eq!(seal(&mut left, &mut by(TableId(u16::MAX), &inner), start()), refused);
    assert_eq!(seal(&mut left, &mut by(TableId(2), &inner), start()), Verdict::Held);

    let [_, (table, ..)] = VPN;
    left.handle_command(OutboundCommand::SetTable { table, spd: None }, start());
    assert_eq!(seal(&mut left, &mut by(table, &inner), start()), refused);
    assert_eq!(seal(&mut left, &mut by(TableId(1), &inner), start()), Verdict::Held);
    assert_eq!(seal(&mut left, &mut buffer(&inner), start()), Verdict::Bypass);
}

/// What waits for an SA is looked up again among the policies of the interface that it came by.
#[test]
fn a_packet_that_waits_knows_its_interface() {
    let mut left = left();
    let inner = udp_packet(false, 0, 80);
    let flow = IpPacket::read(&inner).unwrap().flow_key();
    let [(table, policy, child), _] = VPN;
    assert_eq!(seal(&mut left, &mut by(table, &inner), start()), Verdict::Held);
    assert_eq!(left.poll_event(), Some(Event::Acquire { policy, flow }));
    assert_eq!(left.carriers(table, &flow, Dscp::default()), []);

    left.handle_command(options(child).left_half_of(policy, start()), start());
    let mut sealed = left.poll_packet().unwrap();
    assert_eq!(left.carriers(table, &flow, Dscp::default()), [child]);
    assert_eq!(left.carriers(TableId::DEFAULT, &flow, Dscp::default()), []);
    let mut tunnel = Tunnel { left, right: right(), now: start() };
    assert_eq!(tunnel.open(&mut sealed), OpenVerdict::Deliver);
    assert_eq!(sealed.data(), inner);
}

/// RFC 4301 §4.1: classes are those of the interface's own policy; the same flow by another has none.
#[test]
fn classes_are_those_of_the_interface() {
    let mut tunnel = two_interfaces();
    let voice = PolicyId(7);
    let [(table, policy, child), (_, _, other)] = VPN;
    let mut code_points = DscpSet::default();
    assert!(code_points.insert(Dscp::named("ef").unwrap()));
    let mut spd = Spd::clone(&everything(Action::Protect(policy)));
    spd.classify(policy, code_points, voice);
    let spd = Some(Arc::new(spd));
    tunnel.left.handle_command(OutboundCommand::SetTable { table, spd }, tunnel.now);
    let inner = udp_packet(false, 46 << 2, 80);
    let mut send = |number: u16| tunnel.seal(&mut by(TableId(number), &inner));
    assert_eq!([send(1), send(2)], [Verdict::Held, Verdict::Send]);
    let sa = ChildSaId(9);
    tunnel.left.handle_command(options(sa).left_half_of(voice, tunnel.now), tunnel.now);
    assert!(tunnel.left.poll_packet().is_some());
    let sent = tunnel.left.report().sas.iter().map(|sa| (sa.child, sa.packets)).collect::<Vec<_>>();
    assert_eq!(sent, [(child, 0), (other, 1), (sa, 1)]);
}

/// A fragment that came by one interface is no part of a packet that came by another.
#[test]
fn fragments_of_different_interfaces_never_meet() {
    let mut whole = packet_between("10.1.0.5", "10.2.0.7", 0, 2_000);
    whole[6] = 0;
    whole[10..12].copy_from_slice(&[0, 0]);
    let sum = adit_wire::ip::checksum(&whole[..20]).to_be_bytes();
    whole[10..12].copy_from_slice(&sum);
    let packet = IpPacket::read(&whole).unwrap();
    let fragments = [0, 1_000].map(|offset| {
        let mut out = vec![0; 1_400];
        let (len, _) = write_fragment(&packet, 7, offset, 1_000, &mut out).unwrap();
        out.truncate(len);
        out
    });
    let mut tunnel = two_interfaces();
    // Ports decide, so that a fragment waits for the others.
    for (table, policy, _) in VPN {
        let entry = SpdEntry {
            local: ts(&["0.0.0.0/0"]),
            remote: ts(&["0.0.0.0/0[udp/53]"]),
            action: Action::Protect(policy),
        };
        let spd = Some(Arc::new(Spd::new(vec![entry]).unwrap()));
        tunnel.left.handle_command(OutboundCommand::SetTable { table, spd }, tunnel.now);
    }
    let mut send = |table, at: usize| tunnel.seal(&mut by(TableId(table), &fragments[at]));
    assert_eq!([send(1, 0), send(2, 1)], [Verdict::Held; 2]);
    assert_eq!([send(2, 0), send(1, 1)], [Verdict::Send; 2]);
}

/// An operator's policies are those of the default interface, inbound as outbound.
#[test]
fn what_is_discarded_elsewhere_comes_in() {
    let mut tunnel = two_interfaces();
    tunnel.right.handle_command(Options::default().right_half(tunnel.now));
    tunnel.right.handle_command(InboundCommand::SetPolicies(everything(Action::Discard)));
    tunnel.left.handle_command(
        OutboundCommand::SetPolicies(everything(Action::Protect(POLICY))),
        tunnel.now,
    );
    tunnel.left.handle_command(Options::default().left_half(tunnel.now, true), tunnel.now);
    let inner = udp_packet(false, 0, 80);
    let mut verdict = |table: u16| {
        let mut packet = by(TableId(table), &inner);
        assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
        tunnel.open(&mut packet)
    };
    assert_eq!(verdict(0), OpenVerdict::Drop(DropReason::PolicyDiscard));
    assert_eq!([verdict(1), verdict(2)], [OpenVerdict::Deliver; 2]);
}
