//! AH: the packet stays readable, and every octet that does not change on the way is authentic.

use std::net::SocketAddr;

use adit_crypto::Authentication;
use adit_dataplane::{DropReason, OpenVerdict, OutboundCommand, Verdict, packet_buffer};
use adit_db::{DfPolicy, WindowSize};
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Ecn, IpPacket, checksum};
use proptest::prelude::*;

use crate::fixtures::{CHILD, Options, SPI, Tunnel, buffer, copy, udp_packet};
use crate::transport::{engines, host_packet, seal, transport};

/// AH between two gateways of a family.
fn tunnel(algorithm: Authentication, outer_ipv6: bool) -> Options {
    let v6: (SocketAddr, SocketAddr) =
        ("[2001:db8::1]:0".parse().unwrap(), "[2001:db8:1::1]:0".parse().unwrap());
    let ends = if outer_ipv6 { v6 } else { Options::default().ends };
    Options { ah: Some(algorithm), udp: false, ends, ..Options::default() }
}

/// AH between two hosts of a family.
fn host(algorithm: Authentication, ipv6: bool) -> Options {
    Options { ah: Some(algorithm), ..transport(ipv6, false) }
}

fn any_algorithm() -> impl Strategy<Value = Authentication> {
    prop::sample::select(Authentication::ALL.to_vec())
}

fn sha256() -> Authentication {
    Authentication::ALL[0]
}

/// The same packet after some routers: each octet that they change is changed.
fn routed(sealed: &PacketBuf) -> PacketBuf {
    let mut packet = copy(sealed);
    let data = packet.data_mut();
    if data[0] >> 4 == 4 {
        data[1] = 0x2d;
        data[6] ^= 0x40;
        data[8] -= 3;
        data[10..12].copy_from_slice(&[0xde, 0xad]);
    } else {
        data[0] = 0x6e;
        data[1..4].copy_from_slice(&[0xd1, 0x22, 0x33]);
        data[7] -= 3;
    }
    packet
}

fn open(tunnel: &mut Tunnel, octets: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut packet = buffer(octets);
    packet.meta.whole = true;
    match tunnel.open(&mut packet) {
        OpenVerdict::Deliver => Ok(packet.data().to_vec()),
        OpenVerdict::Drop(reason) => Err(reason),
        // It is a fragment, and nobody sends the others.
        OpenVerdict::Held => Err(DropReason::FragmentsMissing),
    }
}

proptest! {
    /// CHECKLIST S01: every algorithm, both families inside and outside, ESN or not.
    #[test]
    fn what_goes_into_a_tunnel_comes_out(
        algorithm in any_algorithm(),
        (outer_ipv6, inner_ipv6, esn) in any::<(bool, bool, bool)>(),
        len in 48_usize..1390,
    ) {
        let options = Options { esn, ..tunnel(algorithm, outer_ipv6) };
        let mut tunnel = options.tunnel();
        let inner = udp_packet(inner_ipv6, 0xb8, len);
        let sealed = tunnel.sealed(&inner);
        let outer = IpPacket::read(sealed.data()).unwrap();
        prop_assert!(outer.has_good_checksum());
        prop_assert_eq!((outer.protocol(), outer.total_len()), (IpProtocol::AH, sealed.len()));
        prop_assert_eq!((outer.src(), outer.dst()), (options.ends.0.ip(), options.ends.1.ip()));
        prop_assert_eq!((outer.traffic_class(), outer.ttl()), (0xb8, 64));
        // IPv6 has no such bit, and counts as if it were set.
        prop_assert_eq!(outer.dont_fragment(), outer_ipv6);
        let ah_len = sealed.len() - outer.header_len() - len;
        let alignment = if outer_ipv6 { 8 } else { 4 };
        prop_assert!(ah_len.is_multiple_of(alignment));
        prop_assert_eq!(usize::from(outer.payload()[1]), ah_len / 4 - 2);
        // RFC 4302 §3.1: what is inside can be read.
        prop_assert!(sealed.data().ends_with(&inner));

        let mut packet = routed(&sealed);
        prop_assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
        let opened = IpPacket::read(packet.data()).unwrap();
        prop_assert_eq!(&packet.data()[4..8], &inner[4..8]);
        // The path has marked the outer header (RFC 6040), and the inner one cannot say so.
        prop_assert_eq!(opened.ecn(), Ecn::NotEct);
        prop_assert_eq!(packet.data(), inner);
    }

    /// CHECKLIST S01: what a host sends is what the other gets.
    #[test]
    fn what_a_host_sends_arrives(
        algorithm in any_algorithm(),
        (ipv6, esn) in any::<(bool, bool)>(),
        body in prop::collection::vec(any::<u8>(), 8..1400),
    ) {
        let options = Options { esn, ..host(algorithm, ipv6) };
        let mut tunnel = engines(&options);
        let inner = host_packet(&options, IpProtocol::TCP, &[], &body);
        let sealed = seal(&mut tunnel, &inner).unwrap();
        prop_assert!(sealed.meta.whole && !sealed.meta.udp);
        let opened = open(&mut tunnel, sealed.data()).unwrap();
        prop_assert_eq!(opened, inner);
    }

    /// CHECKLIST S07, S18: a change of any bit is found, that of an outer address too, but of the
    /// fields that routers change.
    #[test]
    fn any_change_is_found(
        algorithm in any_algorithm(),
        (ipv6, in_tunnel) in any::<(bool, bool)>(),
        at: prop::sample::Index, bit in 0_u8..8,
    ) {
        let options = if in_tunnel { tunnel(algorithm, ipv6) } else { host(algorithm, ipv6) };
        let mut pair = if in_tunnel { options.tunnel() } else { engines(&options) };
        let inner = match in_tunnel {
            true => udp_packet(ipv6, 0, 60),
            false => host_packet(&options, IpProtocol::TCP, &[], &[7; 30]),
        };
        let sealed = seal(&mut pair, &inner).unwrap();
        let mut octets = sealed.data().to_vec();
        let at = at.index(octets.len());
        octets[at] ^= 1 << bit;
        let mutable = match (ipv6, at) {
            (false, 1 | 8 | 10 | 11) => true,
            // Flags and offset are; a fragment is refused all the same.
            (false, 6) => bit == 6 || bit == 7,
            (true, 0) => bit < 4,
            (true, 1..4 | 7) => true,
            _ => false,
        };
        prop_assert_eq!(open(&mut pair, &octets).is_ok(), mutable, "octet {}", at);
    }

    /// CHECKLIST S14: whatever comes in the clear, nothing but a packet of the peer comes out.
    #[test]
    fn any_octets_are_survived(
        octets in prop::collection::vec(any::<u8>(), 0..200),
        (ipv6, known) in any::<(bool, bool)>(), protocol in prop::sample::select(vec![0_u8, 43, 51, 60, 44]),
    ) {
        let mut octets = octets;
        let len = octets.len();
        if let [first, _, l0, l1, p0, p1, next, _, _, proto, ..] = octets.as_mut_slice() {
            *first = if ipv6 { 0x60 } else { 0x40 | *first & 0x0f };
            if ipv6 {
                (*p0, *p1, *next) = (0, u8::try_from(len.saturating_sub(40)).unwrap(), protocol);
            } else {
                (*l0, *l1, *proto) = (0, u8::try_from(len).unwrap(), 51);
            }
        }
        if known && len > 80 {
            octets[24..28].copy_from_slice(&SPI.to_octets());
            octets[44..48].copy_from_slice(&SPI.to_octets());
        }
        let mut pair = engines(&host(sha256(), ipv6));
        prop_assert!(open(&mut pair, &octets).is_err());
    }
}

/// CHECKLIST S17; RFC 4301 §5.1.2: a new header has the inner DSCP and DF and a TTL of its own. The
/// inner TTL is decremented where the packet was forwarded to the tunnel, and so left alone.
#[test]
fn the_outer_header_takes_dscp_and_df_from_the_inner() {
    for (inner_ipv6, outer_ipv6) in [(false, false), (false, true), (true, false), (true, true)] {
        for df in [true, false] {
            let mut inner = udp_packet(inner_ipv6, 46 << 2, 80);
            if !inner_ipv6 && !df {
                inner[6] = 0;
                inner[10..12].fill(0);
                let sum = checksum(&inner[..20]).to_be_bytes();
                inner[10..12].copy_from_slice(&sum);
            }
            let copied = Options { df: DfPolicy::Copy, ..tunnel(sha256(), outer_ipv6) };
            let mut pair = copied.tunnel();
            let sealed = seal(&mut pair, &inner).unwrap();
            let outer = IpPacket::read(sealed.data()).unwrap();
            assert_eq!((outer.traffic_class(), outer.ttl()), (46 << 2, 64));
            if outer_ipv6 {
                assert_eq!(sealed.data()[1..4], [0x80, 0, 0], "no flow label tells flows apart");
            } else {
                assert_eq!(outer.dont_fragment(), df || inner_ipv6);
            }
            let opened = open(&mut pair, sealed.data()).unwrap();
            assert_eq!(opened, inner);
            assert_eq!(IpPacket::read(&opened).unwrap().ttl(), 63);
        }
    }
}

/// IPv6 extension headers of a host: a hop-by-hop option that changes, a route of one hop at its
/// end, a destination option that does not change.
const HOP_BY_HOP: [u8; 8] = [43, 0, 0x3e, 4, 1, 2, 3, 4];
const ROUTING: [u8; 24] = {
    let mut header = [0x22; 24];
    (header[0], header[1], header[2], header[3]) = (60, 2, 0, 0);
    header
};
const DESTINATION: [u8; 8] = [6, 0, 0x1e, 4, 5, 6, 7, 8];

/// CHECKLIST S08, S09: AH stands behind hop-by-hop, routing and the destination options before a
/// route, and in front of the other destination options; fragments have none.
#[test]
fn extension_headers_keep_their_order() {
    let options = host(sha256(), true);
    let mut pair = engines(&options);
    let extensions = [&HOP_BY_HOP[..], &ROUTING, &DESTINATION].concat();
    let inner = host_packet(&options, IpProtocol::HOP_BY_HOP, &extensions, &[9; 40]);
    let sealed = seal(&mut pair, &inner).unwrap();
    let octets = sealed.data();
    assert_eq!(octets[40..48], HOP_BY_HOP);
    assert_eq!((octets[48], octets[72]), (51, 60), "routing names AH, and AH the options");
    let ah_len = 32;
    assert_eq!(octets[72 + ah_len..80 + ah_len], DESTINATION);
    assert_eq!(open(&mut pair, octets).as_deref(), Ok(&inner[..]));

    let sealed = seal(&mut pair, &inner).unwrap();
    for (at, found) in [(40, true), (44, false), (47, false), (52, true), (56, true), (110, true)] {
        let mut changed = sealed.data().to_vec();
        changed[at] ^= 0x80;
        let mut pair = engines(&options);
        assert_eq!(open(&mut pair, &changed).is_err(), found, "octet {at}");
    }

    // Destination options for the hops of a route come first, in the clear of AH.
    let before = [&[43, 0, 0x1e, 4, 5, 6, 7, 8][..], &[6, 2, 0, 0], &ROUTING[4..]].concat();
    let inner = host_packet(&options, IpProtocol::DESTINATION, &before, &[9; 40]);
    let sealed = seal(&mut pair, &inner).unwrap();
    assert_eq!((sealed.data()[40], sealed.data()[48]), (43, 51));
    assert_eq!(open(&mut pair, sealed.data()).as_deref(), Ok(&inner[..]));

    let fragment = host_packet(&options, IpProtocol::FRAGMENT, &[6, 0, 0, 1, 0, 0, 0, 9], &[9; 40]);
    assert_eq!(seal(&mut pair, &fragment).err(), Some(Verdict::Held));
    let atomic = host_packet(&options, IpProtocol::FRAGMENT, &[6, 0, 0, 0, 0, 0, 0, 9], &[9; 40]);
    assert_eq!(seal(&mut pair, &atomic).err(), Some(Verdict::Drop(DropReason::BadHeaders)));
}

/// An IPv4 packet of a host with options.
fn with_options(options: &Options, list: &[u8]) -> Vec<u8> {
    let plain = host_packet(options, IpProtocol::TCP, list, &[9; 40]);
    let mut packet = plain;
    packet[0] = 0x45 + u8::try_from(list.len() / 4).unwrap();
    packet[10..12].fill(0);
    let sum = checksum(&packet[..20 + list.len()]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet
}

/// CHECKLIST S07: IPv4 options by their class; a route leads to where it says.
#[test]
fn ipv4_options_are_covered_by_their_class() {
    let options = host(sha256(), false);
    // Router alert, record route, end.
    let list = [148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0];
    let inner = with_options(&options, &list);
    let mut pair = engines(&options);
    let sealed = seal(&mut pair, &inner).unwrap();
    assert!(IpPacket::read(sealed.data()).unwrap().has_good_checksum());
    for (at, found) in [(20, true), (22, true), (26, false), (27, false), (30, false), (31, true)] {
        let mut changed = sealed.data().to_vec();
        changed[at] ^= 4;
        let mut pair = engines(&options);
        assert_eq!(open(&mut pair, &changed).is_err(), found, "octet {at}");
    }
    assert_eq!(open(&mut pair, sealed.data()).as_deref(), Ok(&inner[..]));

    let broken = with_options(&options, &[148, 9, 0, 0]);
    assert_eq!(seal(&mut pair, &broken).err(), Some(Verdict::Drop(DropReason::BadHeaders)));
}

/// The kernel numbers a packet that has no number, which would break the ICV.
#[test]
fn no_packet_leaves_without_identification() {
    for (mut pair, inner) in [(tunnel(sha256(), false).tunnel(), udp_packet(false, 0, 60)), {
        let options = host(sha256(), false);
        let mut inner = host_packet(&options, IpProtocol::TCP, &[], &[7; 30]);
        inner[4..6].fill(0);
        inner[10..12].fill(0);
        let sum = checksum(&inner[..20]).to_be_bytes();
        inner[10..12].copy_from_slice(&sum);
        (engines(&options), inner)
    }] {
        let mut seen = Vec::new();
        for _ in 0..3 {
            let sealed = seal(&mut pair, &inner).unwrap();
            let id = [sealed.data()[4], sealed.data()[5]];
            assert_ne!(id, [0, 0]);
            assert!(!seen.contains(&id));
            seen.push(id);
            assert!(open(&mut pair, sealed.data()).is_ok());
        }
    }
}

/// CHECKLIST S04 and RFC 4302 §3.4.3: duplicates and the past are refused before any computation,
/// and a forged packet moves no window.
#[test]
fn a_packet_is_taken_once() {
    let mut pair = Options { esn: false, ..tunnel(sha256(), false) }.tunnel();
    let inner = udp_packet(false, 0, 60);
    let first = pair.sealed(&inner);
    assert!(open(&mut pair, first.data()).is_ok());
    assert_eq!(open(&mut pair, first.data()), Err(DropReason::Replayed));
    for _ in 0..WindowSize::MIN.packets() {
        let next = pair.sealed(&inner);
        assert!(open(&mut pair, next.data()).is_ok());
    }
    assert_eq!(open(&mut pair, first.data()), Err(DropReason::TooOld));

    let mut forged = pair.sealed(&inner).data().to_vec();
    let genuine = forged.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(open(&mut pair, &forged), Err(DropReason::BadIcv));
    assert!(open(&mut pair, &genuine).is_ok());
    let counters = pair.right.counters_of(CHILD).unwrap();
    assert_eq!(counters.drops.total(), 3);
    assert_eq!(counters.octets, counters.packets * 60);
}

/// CHECKLIST S05: the high half of the number is not sent, and yet covered.
#[test]
fn the_high_half_is_inferred_and_covered() {
    let options = Options { esn: true, ..tunnel(sha256(), true) };
    let mut pair = options.tunnel();
    let now = pair.now;
    let inner = udp_packet(true, 0, 60);
    for last in [1 << 31, u64::from(u32::MAX) - 2] {
        pair.left.handle_command(OutboundCommand::Remove { child: CHILD }, now);
        pair.left.handle_command(options.left_half_after(last, now), now);
        let sealed = pair.sealed(&inner);
        assert!(open(&mut pair, sealed.data()).is_ok());
    }
    for low in [u32::MAX, 0, 1] {
        let sealed = pair.sealed(&inner);
        assert_eq!(sealed.data()[48..52], low.to_be_bytes());
        assert!(open(&mut pair, sealed.data()).is_ok(), "{low}");
    }
    assert_eq!(pair.right.counters_of(CHILD).unwrap().sequence, (1 << 32) + 1);
    // A receiver that is behind by one turn takes the number for a lower one.
    let mut behind = options.tunnel();
    let sealed = pair.sealed(&inner);
    assert_eq!(open(&mut behind, sealed.data()), Err(DropReason::BadIcv));
}

/// RFC 4302 §3.3.4, §3.4.1: AH covers the whole packet, which is cut behind it and joined before it.
#[test]
fn what_is_too_long_for_the_link_is_cut_and_joined() {
    for outer_ipv6 in [false, true] {
        let mut pair = tunnel(sha256(), outer_ipv6).tunnel();
        let inner = udp_packet(false, 0, 4_000);
        let mut packet = buffer(&inner);
        packet.meta.joined = true;
        assert_eq!(pair.seal(&mut packet), Verdict::Held);
        let pieces: Vec<PacketBuf> = std::iter::from_fn(|| pair.left.poll_packet()).collect();
        assert!(pieces.len() == 4 && pieces.iter().all(|piece| piece.len() <= 1_500));
        for (number, piece) in (1..).zip(&pieces) {
            let mut received = packet_buffer();
            assert!(received.fill(piece.data()));
            received.meta = piece.meta;
            if number < pieces.len() {
                assert_eq!(pair.open(&mut received), OpenVerdict::Held);
            } else {
                assert_eq!(pair.open(&mut received), OpenVerdict::Deliver);
                assert_eq!(received.data(), inner);
            }
        }
    }
}

/// An ICV field padded to another alignment is taken; one of another length is not.
#[test]
fn lengths_that_no_peer_makes_are_refused() {
    let mut pair = tunnel(sha256(), false).tunnel();
    let sealed = pair.sealed(&udp_packet(false, 0, 60));
    for words in [0, 2, 4, 7, 60, 255] {
        let mut changed = sealed.data().to_vec();
        changed[21] = words;
        assert_eq!(open(&mut pair, &changed), Err(DropReason::Truncated), "{words}");
    }
    // Eight octets of alignment: the payload begins later, so only the ICV can be wrong.
    let mut longer = sealed.data().to_vec();
    longer[21] = 6;
    assert_eq!(open(&mut pair, &longer), Err(DropReason::BadIcv));
    for len in 0..52 {
        let mut short = sealed.data()[..len].to_vec();
        if len >= 4 {
            short[3] = u8::try_from(len).unwrap();
        }
        assert!(open(&mut pair, &short).is_err());
    }
}

/// ESP never passes for AH under the same SPI, nor the reverse.
#[test]
fn the_protocol_belongs_to_the_sa() {
    let mut ah = tunnel(sha256(), false).tunnel();
    let mut esp = Options { udp: false, ..Options::default() }.tunnel();
    let inner = udp_packet(false, 0, 60);
    let mut of_ah = ah.sealed(&inner);
    let mut of_esp = esp.sealed(&inner);
    assert_eq!(esp.open(&mut of_ah), OpenVerdict::Drop(DropReason::UnknownSpi));
    assert_eq!(ah.open(&mut of_esp), OpenVerdict::Drop(DropReason::UnknownSpi));
}

/// Room is asked for before a number is spent.
#[test]
fn a_packet_without_room_is_unchanged() {
    let mut pair = tunnel(sha256(), true).tunnel();
    let inner = udp_packet(true, 0, 60);
    let mut tight = PacketBuf::with_capacity(71, inner.len());
    assert!(tight.fill(&inner));
    assert_eq!(pair.seal(&mut tight), Verdict::Drop(DropReason::NoRoom));
    assert_eq!(tight.data(), inner);
    let mut room = PacketBuf::with_capacity(72, inner.len());
    assert!(room.fill(&inner));
    assert_eq!(pair.seal(&mut room), Verdict::Send);
    assert_eq!(room.data()[48..52], [0, 0, 0, 1]);
}
