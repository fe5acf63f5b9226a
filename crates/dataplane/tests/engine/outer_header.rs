//! DSCP and DF of the outer header by policy, RFC 4301 §5.1.2 and §8.1.

use adit_dataplane::{DropReason, Verdict};
use adit_db::{DfPolicy, Dscp, DscpPolicy, Mode, Tfc};
use adit_wire::ip::checksum;

use crate::fixtures::{Options, buffer, udp_packet};

/// CHECKLIST S17: a code point of the operator's takes the place of the inner one; ECN stays.
#[test]
fn an_outer_code_point_may_be_the_operators() {
    for ipv6 in [false, true] {
        let dscp = DscpPolicy::Set(Dscp::named("cs5").unwrap());
        let mut tunnel = Options { dscp, ..Options::default() }.tunnel();
        let sealed = tunnel.sealed(&udp_packet(ipv6, 46 << 2 | 1, 60));
        assert_eq!(sealed.meta.tos, 40 << 2 | 1);
    }
}

//= https://www.rfc-editor.org/rfc/rfc4301#section-8.1
//= type=test
//# All IPsec implementations MUST support the option of copying the DF
//# bit from an outbound packet to the tunnel mode header that it emits,
//# when traffic is carried via a tunnel mode SA.
/// CHECKLIST S17, PM-16: for IPv4 outside; IPv6 has no such bit. What has none inside counts as set.
#[test]
fn the_outer_df_bit_follows_the_policy() {
    // Of an inner packet without the bit, with it, and of IPv6.
    for (policy, expected) in [
        (DfPolicy::Clear, [false, false, false]),
        (DfPolicy::Copy, [false, true, true]),
        (DfPolicy::Set, [true, true, true]),
    ] {
        for udp in [false, true] {
            let options = Options { udp, df: policy, ..Options::default() };
            let outer =
                |options: &Options, inner: &[u8]| options.tunnel().sealed(inner).meta.dont_fragment;
            let inners = [
                without_df(udp_packet(false, 0, 60)),
                udp_packet(false, 0, 60),
                udp_packet(true, 0, 60),
            ];
            let over_ipv6 = Options { ends: ipv6_ends(), ..options.clone() };
            for (number, (inner, bit)) in inners.iter().zip(expected).enumerate() {
                assert_eq!(outer(&options, inner), bit, "{policy:?} {number}");
                assert!(!outer(&over_ipv6, inner), "{policy:?} {number}");
            }
        }
    }
}

/// A dummy has no bit to copy, and takes that of most packets.
#[test]
fn dummies_look_like_packets() {
    for (df, expected) in [(DfPolicy::Clear, false), (DfPolicy::Copy, true), (DfPolicy::Set, true)]
    {
        let tfc = Tfc { padding: 600, dummies: 10 };
        let mut tunnel = Options { df, tfc, ..Options::default() }.tunnel();
        let due = tunnel.left.poll_timeout().unwrap();
        tunnel.left.handle_timeout(due);
        assert_eq!(tunnel.left.poll_packet().unwrap().meta.dont_fragment, expected);
    }
}

/// What came in fragments is cut again outside, whatever the policy; transport mode has no outer
/// header.
#[test]
fn what_must_be_cut_and_transport_mode_go_without() {
    let mut tunnel = Options { df: DfPolicy::Set, ..Options::default() }.tunnel();
    let sealed = tunnel.sealed_joined(&udp_packet(true, 0, 2_000));
    assert!(!sealed.meta.dont_fragment);

    let host = Options { mode: Mode::Transport, df: DfPolicy::Set, ..Options::default() };
    let ends = ("10.1.0.5:4500".parse().unwrap(), "10.2.0.7:4500".parse().unwrap());
    let mut pair = Options { ends, ..host }.tunnel();
    let mut packet = buffer(&udp_packet(false, 0, 60));
    assert_eq!(pair.seal(&mut packet), Verdict::Send);
    assert!(!packet.meta.dont_fragment);
}

#[test]
fn what_the_network_did_not_take_is_counted() {
    let mut tunnel = Options::default().tunnel();
    tunnel.left.note_unsent(DropReason::TooBig, 3);
    assert_eq!(tunnel.left.report().drops.get(DropReason::TooBig), 3);
}

fn ipv6_ends() -> (std::net::SocketAddr, std::net::SocketAddr) {
    ("[2001:db8::1]:4500".parse().unwrap(), "[2001:db8::2]:4500".parse().unwrap())
}

fn without_df(mut packet: Vec<u8>) -> Vec<u8> {
    packet[6] = 0;
    packet[10..12].fill(0);
    let sum = checksum(&packet[..20]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet
}
