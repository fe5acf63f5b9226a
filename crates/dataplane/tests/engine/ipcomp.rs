//! IPComp in ESP (RFC 3173): packets travel smaller, and come out as they went in.

use adit_dataplane::{
    DropReason, HEADROOM_MAX, Inbound, IpCompCounters, OpenVerdict, Outbound, OutboundCommand,
    Verdict, packet_buffer,
};
use adit_db::{Action, IpComp, Mode, Spd, SpdEntry};
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::IpPacket;
use adit_wire::ipcomp::Cpi;
use proptest::prelude::*;
use std::sync::Arc;

use crate::fixtures::{CHILD, Options, POLICY, Tunnel, packet_between, start, ts, udp_packet};
use crate::transport::{engines, host_packet, received, seal, transport};

const IPCOMP: IpComp = IpComp { cpi_in: Cpi(0x1111), cpi_out: Cpi(0x2222) };

/// Twenty times "adit ", as zlib compresses it, without its frame.
const DEFLATED: [u8; 10] = [0x4b, 0x4c, 0xc9, 0x2c, 0x51, 0x48, 0xa4, 0x2d, 0x01, 0x00];

pub(crate) fn compressing() -> Options {
    Options { ipcomp: Some(IPCOMP), ..Options::default() }
}

/// Sends an inner packet through a tunnel: its octets between ESP and ICV, and what comes out.
fn sent(tunnel: &mut Tunnel, inner: &[u8]) -> (usize, Vec<u8>) {
    let mut packet = packet_buffer();
    assert!(packet.fill(inner));
    packet.meta.joined = true;
    assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
    let len = packet.len();
    std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    (len, packet.data().to_vec())
}

/// More comes out of a packet than its buffer takes: it gets a longer one, and gives it back.
#[test]
fn what_inflates_beyond_its_buffer_gets_a_longer_one() {
    let mut tunnel = compressing().tunnel();
    let inner = udp_packet(false, 0, 2_000);
    let sealed = tunnel.sealed_joined(&inner);
    let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, sealed.len());
    assert!(packet.fill(sealed.data()) && sealed.len() < 1_000);
    packet.meta = sealed.meta;
    let capacity = packet.capacity();
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert_eq!(packet.data(), inner);
    assert!(tunnel.right.has_lent());
    tunnel.right.take_back(&mut packet);
    assert_eq!((packet.capacity(), tunnel.right.has_lent()), (capacity, false));
}

/// An IPComp packet of any content in ESP: a host's own, sent in transport mode by a left side that
/// does not compress. The right side is as given.
fn forged(right: &Options, after_ip: &[u8]) -> (Tunnel, PacketBuf) {
    let left = Options { ipcomp: None, ..transport(false, right.udp) };
    let mut tunnel = engines(&left);
    tunnel.right = Inbound::new();
    tunnel.right.handle_command(right.right_half(tunnel.now));
    let inner = host_packet(&left, IpProtocol::IPCOMP, &[], after_ip);
    let sealed = seal(&mut tunnel, &inner).unwrap();
    (tunnel, received(&left, &sealed))
}

fn outcome(right: &Options, after_ip: &[u8]) -> (OpenVerdict, Vec<u8>) {
    let (mut tunnel, mut packet) = forged(right, after_ip);
    let verdict = tunnel.open(&mut packet);
    (verdict, packet.data().to_vec())
}

/// IPComp header for the right side, and what follows it.
fn to_right(next: IpProtocol, octets: &[u8]) -> Vec<u8> {
    [&[next.0, 0, 0x22, 0x22], octets].concat()
}

fn dropped(reason: DropReason) -> OpenVerdict {
    OpenVerdict::Drop(reason)
}

/// CHECKLIST S10: smaller on the way, by what DEFLATE saves, and counted at both ends.
#[test]
fn compressible_packets_travel_smaller() {
    let inner = udp_packet(false, 0, 1_300);
    let plain = sent(&mut Options::default().tunnel(), &inner).0;
    let mut tunnel = compressing().tunnel();
    let (len, out) = sent(&mut tunnel, &inner);
    assert_eq!(out, inner);
    assert!(len < plain / 3, "{len} of {plain}");

    let left = tunnel.left.counters_of(CHILD).unwrap();
    let right = tunnel.right.counters_of(CHILD).unwrap();
    assert_eq!(left.ipcomp, right.ipcomp);
    let IpCompCounters { packets, plain_octets, compressed_octets } = left.ipcomp;
    assert_eq!((packets, plain_octets), (1, 1_300));
    assert!(compressed_octets < 400, "{compressed_octets}");
    assert_eq!((left.octets, right.octets), (1_300, 1_300));
}

//= https://www.rfc-editor.org/rfc/rfc3173#section-2.2
//= type=test
//# If the total size of a compressed payload and the IPComp header, as
//# defined in section 3, is not smaller than the size of the original
//# payload, the IP datagram MUST be sent in the original non-compressed
//# form.
//
/// CHECKLIST S16.
#[test]
fn what_would_not_shrink_travels_as_it_is() {
    let mut tunnel = compressing().tunnel();
    // Every value once, in no order.
    let noise: Vec<u8> = (0..=255_u8).map(|octet| octet.wrapping_mul(167).rotate_left(3)).collect();
    let inner = [udp_packet(false, 0, 28), noise].concat();
    let mut whole = packet_between("10.1.0.5", "10.2.0.7", 0, inner.len());
    whole[28..].copy_from_slice(&inner[28..]);
    for inner in [whole, udp_packet(false, 0, 80)] {
        let plain = sent(&mut Options::default().tunnel(), &inner).0;
        assert_eq!(sent(&mut tunnel, &inner), (plain, inner));
    }
    assert_eq!(tunnel.right.counters_of(CHILD).unwrap().ipcomp, IpCompCounters::default());
}

/// CHECKLIST S16: of one host's packet and of a whole inner packet.
#[test]
fn another_cpi_is_unknown() {
    let mut other = to_right(IpProtocol::UDP, &DEFLATED);
    other[3] ^= 1;
    let both = [
        Options { ipcomp: Some(IPCOMP), ..transport(false, true) },
        Options { ipcomp: Some(IPCOMP), mode: Mode::Tunnel, ..transport(false, true) },
        Options { mode: Mode::Tunnel, ..transport(false, true) },
    ];
    for right in both {
        let (mut tunnel, mut packet) = forged(&right, &other);
        assert_eq!(tunnel.open(&mut packet), dropped(DropReason::UnknownCpi));
        let counters = tunnel.right.counters_of(CHILD).unwrap();
        assert_eq!(counters.drops.get(DropReason::UnknownCpi), 1);
        assert_eq!(counters.packets, 0);
    }
    // Where nothing is compressed, it is the host's own.
    assert_eq!(outcome(&transport(false, true), &other).0, OpenVerdict::Deliver);
}

/// CHECKLIST S16: whatever comes out, the checks that others pass are passed.
#[test]
fn inflated_packets_are_checked_like_others() {
    let deflate = |inner: &[u8]| {
        let stored_len = u16::try_from(inner.len()).unwrap().to_le_bytes();
        let inverse = stored_len.map(|octet| !octet);
        [&[1][..], &stored_len, &inverse, inner].concat()
    };
    let tunnel = Options { ipcomp: Some(IPCOMP), ..Options::default() };
    let mut stranger = packet_between("10.9.0.5", "10.2.0.7", 0, 100);
    let stranger_in = to_right(IpProtocol::IPV4, &deflate(&stranger));
    assert_eq!(outcome(&tunnel, &stranger_in).0, dropped(DropReason::SelectorMismatch));

    let good = udp_packet(false, 0, 100);
    let inside = |next| outcome(&tunnel, &to_right(next, &deflate(&good)));
    assert_eq!(inside(IpProtocol::IPV4), (OpenVerdict::Deliver, good.clone()));
    assert_eq!(inside(IpProtocol::IPV6).0, dropped(DropReason::BadInner));
    assert_eq!(inside(IpProtocol::IPCOMP).0, dropped(DropReason::BadInner));

    stranger.truncate(10);
    let short = to_right(IpProtocol::IPV4, &deflate(&stranger));
    assert_eq!(outcome(&tunnel, &short).0, dropped(DropReason::BadInner));
    let header_alone = &to_right(IpProtocol::IPV4, &[])[..3];
    assert_eq!(outcome(&tunnel, header_alone).0, dropped(DropReason::BadCompression));
}

/// CHECKLIST S16: a megabyte in a kilobyte. The window has moved, and the next packet is fine.
#[test]
fn an_inflate_bomb_is_dropped() {
    // Dynamic block: after one zero, copies of 258 octets that cost two bits each.
    let mut bomb = vec![0xed, 0xc1, 0x01, 0x01, 0, 0, 0, 0x80, 0x90, 0xfe, 0xaf, 0xee, 0x08, 0x0a];
    bomb.extend([0; 1_200]);
    let right = Options { ipcomp: Some(IPCOMP), ..Options::default() };
    let (mut tunnel, mut packet) = forged(&right, &to_right(IpProtocol::IPV4, &bomb));
    assert_eq!(tunnel.open(&mut packet), dropped(DropReason::InflatesTooFar));
    let counters = tunnel.right.counters_of(CHILD).unwrap();
    assert_eq!(counters.drops.get(DropReason::InflatesTooFar), 1);
    assert_eq!(counters.sequence, 1);
}

/// CHECKLIST S16: a tunnel compresses an inner fragment like any inner packet; transport mode joins
/// fragments first, and takes none that comes out of a compressed packet.
#[test]
fn fragments_are_compressed_in_tunnels_alone() {
    let mut fragment = udp_packet(false, 0, 1_000);
    // More fragments, at offset 1,600; the checksum follows.
    fragment[6..8].copy_from_slice(&[0x20, 200]);
    fragment[10..12].fill(0);
    let sum = adit_wire::ip::checksum(&fragment[..20]);
    fragment[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut tunnel = compressing().tunnel();
    let (len, out) = sent(&mut tunnel, &fragment);
    assert_eq!(out, fragment);
    assert!(len < 500, "{len}");

    let options = Options { ipcomp: Some(IPCOMP), ..transport(false, false) };
    let mut tunnel = engines(&options);
    let mut of_host = host_packet(&options, IpProtocol::UDP, &[], &[7; 800]);
    of_host[6..8].copy_from_slice(&[0x20, 0]);
    let mut packet = packet_buffer();
    assert!(packet.fill(&of_host));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Held);
}

/// Everything above IP.
fn payload(octets: &[u8]) -> (IpProtocol, Vec<u8>) {
    let packet = IpPacket::read(octets).unwrap();
    (packet.protocol(), packet.payload().to_vec())
}

/// From all alike to all different, and both in turn.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let repeat = (any::<u8>(), 0_usize..300).prop_map(|(octet, len)| vec![octet; len]);
    prop::collection::vec(prop_oneof![noise, repeat], 0..9).prop_map(|parts| parts.concat())
}

proptest! {
    /// CHECKLIST S10: any packet comes out as it went in, and is not longer on the way.
    #[test]
    fn what_goes_into_a_tunnel_comes_out(
        ipv6: bool,
        udp: bool,
        bodies in prop::collection::vec(bodies(), 1..12),
    ) {
        let mut tunnel = Options { udp, ..compressing() }.tunnel();
        let mut plain = Options { udp, ..Options::default() }.tunnel();
        for body in bodies {
            let header_len = if ipv6 { 48 } else { 28 };
            let mut inner = udp_packet(ipv6, 0xb8, header_len + body.len());
            inner[header_len..].copy_from_slice(&body);
            let (len, out) = sent(&mut tunnel, &inner);
            prop_assert_eq!(&out, &inner);
            prop_assert!(len <= sent(&mut plain, &inner).0);
        }
    }

    /// The same for what hosts send; above IPv4 to the last octet.
    #[test]
    fn what_a_host_sends_arrives(
        (ipv6, udp) in any::<(bool, bool)>(),
        bodies in prop::collection::vec(bodies(), 1..6),
    ) {
        let options = Options { ipcomp: Some(IPCOMP), ..transport(ipv6, udp) };
        let mut tunnel = engines(&options);
        for body in bodies.iter().filter(|body| body.len() < 1_300) {
            let inner = host_packet(&options, IpProtocol::TCP, &[], body);
            let sealed = seal(&mut tunnel, &inner).unwrap();
            let mut packet = received(&options, &sealed);
            prop_assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
            prop_assert_eq!(payload(packet.data()), payload(&inner));
            if !udp && !ipv6 {
                prop_assert_eq!(packet.data(), &inner[..]);
            }
        }
    }

    /// CHECKLIST S16: whatever a peer puts behind its IPComp header, nothing panics, and no more
    /// comes out than an IP packet has.
    #[test]
    fn any_octets_are_met_with_a_verdict(
        in_tunnel: bool,
        next: u8,
        octets in prop::collection::vec(any::<u8>(), 0..1_200),
    ) {
        let mode = if in_tunnel { Mode::Tunnel } else { Mode::Transport };
        let right = Options { ipcomp: Some(IPCOMP), mode, ..transport(false, true) };
        let (verdict, out) = outcome(&right, &to_right(IpProtocol(next), &octets));
        prop_assert!(verdict != OpenVerdict::Deliver || out.len() <= 65_535);
    }
}

/// With padding on top, all packets are of one length, and longer ones are shortened first.
#[test]
fn padding_comes_after_compression() {
    let tfc = adit_db::Tfc { padding: 600, dummies: 0 };
    let mut tunnel = Options { tfc, ..compressing() }.tunnel();
    let inner = |len| udp_packet(false, 0, len);
    let (long, out) = sent(&mut tunnel, &inner(1_300));
    assert_eq!(out, inner(1_300));
    assert_eq!(sent(&mut tunnel, &inner(60)), (long, inner(60)));
}

/// A packet that is refused is unchanged, however well it would have shrunk.
#[test]
fn refused_packets_are_unchanged() {
    let now = start();
    let all = || ts(&["0.0.0.0/0", "::/0"]);
    let entry = SpdEntry { local: all(), remote: all(), action: Action::Protect(POLICY) };
    let mut left = Outbound::new();
    let spd = Arc::new(Spd::new(vec![entry]).unwrap());
    left.handle_command(OutboundCommand::SetPolicies(spd), now);
    left.handle_command(
        Options { esn: false, ..compressing() }.left_half_after(u32::MAX.into(), now),
        now,
    );
    let mut tunnel = Tunnel { left, right: Inbound::new(), now };
    let inner = udp_packet(false, 0, 1_300);
    let refused = seal(&mut tunnel, &inner).map(|packet| packet.len());
    assert_eq!(refused, Err(Verdict::Drop(DropReason::SequenceExhausted)));
}
