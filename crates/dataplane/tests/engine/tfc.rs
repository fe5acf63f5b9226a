//! Traffic flow confidentiality, RFC 4303 §2.6 and §2.7: lengths and pauses tell nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use adit_crypto::Cipher;
use adit_dataplane::{DropReason, OpenVerdict, OutboundCommand, Verdict, packet_buffer};
use adit_db::{Mode, Tfc};
use adit_wire::PacketBuf;

use crate::fixtures::{CHILD, Options, Tunnel, buffer, ts, udp_packet};

fn padded(padding: u16, dummies: u16) -> Options {
    Options { tfc: Tfc { padding, dummies }, ..Options::default() }
}

/// Sends an inner packet through; how long it was between, and what came out.
fn sent(tunnel: &mut Tunnel, inner: &[u8]) -> (usize, Vec<u8>) {
    let mut packet = packet_buffer();
    assert!(packet.fill(inner));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
    let len = packet.len();
    assert_eq!(opened(tunnel, &mut packet), OpenVerdict::Deliver);
    (len, packet.data().to_vec())
}

fn opened(tunnel: &mut Tunnel, packet: &mut PacketBuf) -> OpenVerdict {
    std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
    tunnel.open(packet)
}

/// Whatever the suite: packets are of one length on the way, and what they were at its end.
#[test]
fn padded_packets_are_of_one_length() {
    for cipher in Cipher::ALL {
        for (padding, longest) in [(600, 600), (Tfc::TO_MTU, 1_390)] {
            let mut tunnel = Options { cipher, ..padded(padding, 0) }.tunnel();
            let mut lengths = BTreeSet::new();
            for len in [48, 100, 599, 600, 1_390].into_iter().filter(|len| *len <= longest) {
                for ipv6 in [false, true] {
                    let inner = udp_packet(ipv6, 0, len);
                    let (sealed_len, delivered) = sent(&mut tunnel, &inner);
                    lengths.insert(sealed_len);
                    assert_eq!(delivered, inner);
                }
            }
            assert_eq!(lengths.len(), 1, "{cipher} {padding}");
        }
    }
}

/// What is longer stays as it is.
#[test]
fn longer_packets_are_not_padded() {
    let inner = udp_packet(false, 0, 1_000);
    let plain = sent(&mut Options::default().tunnel(), &inner).0;
    assert_eq!(sent(&mut padded(600, 0).tunnel(), &inner), (plain, inner));
}

/// RFC 4303 §2.7: in transport mode not every receiver could take the padding off.
#[test]
fn transport_mode_pads_nothing() {
    let all = || ts(&["0.0.0.0/0"]);
    let of = |tfc| {
        let ends = ("10.1.0.5:0".parse().unwrap(), "10.2.0.7:0".parse().unwrap());
        let mode = Mode::Transport;
        Options { tfc, mode, ends, left_ts: all(), right_ts: all(), ..Options::default() }
    };
    let inner = udp_packet(false, 0, 100);
    let len = |tfc| {
        let mut packet = buffer(&inner);
        assert_eq!(of(tfc).tunnel().seal(&mut packet), Verdict::Send);
        packet.len()
    };
    assert_eq!(len(Tfc { padding: 600, dummies: 0 }), len(Tfc::OFF));
}

/// A buffer without room for the padding loses the packet, and no number.
#[test]
fn a_packet_that_cannot_be_padded_does_not_leave() {
    let mut tunnel = padded(600, 0).tunnel();
    let inner = udp_packet(false, 0, 100);
    let mut packet = buffer(&inner);
    assert_eq!(tunnel.seal(&mut packet), Verdict::Drop(DropReason::NoRoom));
    assert_eq!(packet.data(), inner);
    assert_eq!(tunnel.left.counters_of(CHILD).unwrap().sequence, 0);
}

/// CHECKLIST S13: dummies come in pauses only, look like packets, and vanish at the other end.
#[test]
fn dummies_fill_the_pauses() {
    let mut tunnel = padded(600, 10).tunnel();
    let start = tunnel.now;
    let length = sent(&mut tunnel, &udp_packet(false, 0, 100)).0;
    let mut dummies = 0;
    for tenth in 1..=30 {
        tunnel.now = start + Duration::from_millis(100) * tenth;
        // In the second of the three seconds there is traffic.
        if (11..=20).contains(&tenth) {
            sent(&mut tunnel, &udp_packet(false, 0, 300));
        }
        if tunnel.left.poll_timeout().is_some_and(|due| due <= tunnel.now) {
            tunnel.left.handle_timeout(tunnel.now);
        }
        while let Some(mut packet) = tunnel.left.poll_packet() {
            assert_eq!(packet.len(), length);
            assert_eq!(opened(&mut tunnel, &mut packet), OpenVerdict::Drop(DropReason::Dummy));
            dummies += 1;
        }
    }
    assert_eq!(dummies, 20);
    // They are no traffic.
    assert_eq!(tunnel.left.counters_of(CHILD).unwrap().packets, 11);
    assert_eq!(tunnel.left.counters_of(CHILD).unwrap().sequence, 31);
}

/// An SA that is not used yet, or not any more, is silent.
#[test]
fn dummies_go_where_packets_go() {
    let options = padded(600, 10);
    let mut tunnel = options.tunnel();
    let now = tunnel.now;
    tunnel.left.handle_command(OutboundCommand::Remove { child: CHILD }, now);
    tunnel.left.handle_command(options.left_half(now, false), now);
    let later = now + Duration::from_secs(1);
    tunnel.left.handle_timeout(later);
    assert!(tunnel.left.poll_packet().is_none());
    tunnel.left.handle_command(OutboundCommand::Activate { child: CHILD }, later);
    let due = tunnel.left.poll_timeout().unwrap();
    assert_eq!(due, later + Duration::from_millis(100));
    tunnel.left.handle_timeout(due);
    assert!(tunnel.left.poll_packet().is_some());
}
