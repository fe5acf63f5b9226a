//! Routers between the gateways as hops of the tunnel, for who traces a path through it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_dataplane::{
    Complaint, DropReason, Event, OpenVerdict, Outbound, OutboundCommand, OutboundSa, Verdict,
};
use adit_db::{Aggfrag, Encapsulation, IcmpRules, Mode, Transit};
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{IcmpError, IcmpReport, IpPacket, set_ttl};

use crate::fixtures::{
    Options, POLICY, Tunnel, buffer, copy, protecting_spd, seal, start, udp_packet,
};
use crate::nesting::two_levels_with;

const ROUTER: &str = "203.0.113.9";
const ROUTER_V6: &str = "2001:db8:9::9";

fn revealing() -> IcmpRules {
    let mut rules = IcmpRules::DEFAULT;
    rules.transit = Transit::Reveal;
    rules
}

fn every_way() -> [Options; 4] {
    let v6: (SocketAddr, SocketAddr) =
        ("[2001:db8::1]:4500".parse().unwrap(), "[2001:db8::2]:4500".parse().unwrap());
    let v4 = Options::default().ends;
    [(v4, true), (v4, false), (v6, true), (v6, false)].map(|(ends, udp)| Options {
        ends,
        udp,
        icmp: revealing(),
        ..Options::default()
    })
}

/// An inner packet with so many hops left.
pub(crate) fn dying(ipv6: bool, hops: u8) -> Vec<u8> {
    let mut octets = udp_packet(ipv6, 0, 100);
    assert!(set_ttl(&mut octets, hops));
    octets
}

/// What a router says about an outer packet.
pub(crate) fn expired(outer: &[u8]) -> Vec<u8> {
    let about = IpPacket::read(outer).unwrap();
    let router: IpAddr = if about.is_ipv4() { ROUTER } else { ROUTER_V6 }.parse().unwrap();
    let mut out = vec![0; 1_280];
    let report = IcmpReport::time_exceeded(about.is_ipv4());
    let len = report.write(&about, router, &mut out).unwrap();
    out.truncate(len);
    out
}

fn sealed(engine: &mut Outbound, inner: &[u8], now: std::time::Instant) -> PacketBuf {
    let mut packet = buffer(inner);
    assert_eq!(seal(engine, &mut packet, now), Verdict::Send);
    packet
}

/// What the far gateway gets, whatever header it came with.
fn arrived(sealed: &PacketBuf) -> PacketBuf {
    let mut packet = buffer(sealed.data());
    packet.meta = sealed.meta;
    std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
    if sealed.meta.whole {
        let whole = IpPacket::read(sealed.data()).unwrap();
        assert!(whole.has_good_checksum());
        let udp = if whole.protocol() == IpProtocol::UDP { 8 } else { 0 };
        assert!(packet.pull_front(whole.header_len() + udp));
        packet.meta.whole = false;
    }
    packet
}

/// The hops that outer and inner packet have left.
fn hops(tunnel: &mut Tunnel, inner: &[u8]) -> (u8, u8) {
    let packet = sealed(&mut tunnel.left, inner, tunnel.now);
    assert!(packet.meta.whole);
    let outer = IpPacket::read(packet.data()).unwrap().ttl();
    let mut packet = arrived(&packet);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    let inner = IpPacket::read(packet.data()).unwrap();
    assert!(inner.has_good_checksum());
    (outer, inner.ttl())
}

/// Who is told, by whom, and about which octets.
pub(crate) fn answer(engine: &mut Outbound) -> Option<(IpAddr, IpAddr, Vec<u8>)> {
    let answer = engine.poll_answer()?;
    let packet = IpPacket::read(answer.data()).unwrap();
    let error = IcmpError::read(&packet).unwrap();
    let kind = if packet.is_ipv4() { 11 } else { 3 };
    assert_eq!((error.icmp.kind, error.icmp.code), (kind, 0));
    assert_eq!(answer.meta.remote.ip(), packet.dst());
    Some((packet.src(), packet.dst(), error.quoted.to_vec()))
}

/// CHECKLIST PM-29, by setting: the outer packet ends where the inner one would, and its sender hears
/// from the router itself, whatever is inside and outside.
#[test]
fn a_router_outside_is_shown_to_the_sender() {
    for options in every_way() {
        for ipv6 in [false, true] {
            let mut tunnel = options.tunnel();
            let inner = dying(ipv6, 1);
            let packet = sealed(&mut tunnel.left, &inner, tunnel.now);
            let outer = IpPacket::read(packet.data()).unwrap();
            assert!(packet.meta.whole && outer.ttl() == 1);
            assert_eq!((outer.src(), outer.dst()), (options.ends.0.ip(), options.ends.1.ip()));

            let message = expired(packet.data());
            assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Revealed);
            let (router, to, quoted) = answer(&mut tunnel.left).unwrap();
            let shown = match (outer.is_ipv4(), ipv6) {
                (true, false) => ROUTER,
                (false, true) => ROUTER_V6,
                (true, true) => "64:ff9b::cb00:7109",
                (false, false) => "192.0.0.8",
            };
            assert_eq!(router.to_string(), shown);
            assert_eq!(to, IpPacket::read(&inner).unwrap().src());
            assert_eq!(quoted[..], inner[..80]);
            assert!(tunnel.left.poll_answer().is_none());
        }
    }
}

/// A tunnel is one hop unless the operator says otherwise: what ends outside is taken in silence.
#[test]
fn routers_are_hidden_by_default() {
    for options in every_way() {
        let options = Options { icmp: IcmpRules::DEFAULT, ..options };
        let mut tunnel = options.tunnel();
        let packet = sealed(&mut tunnel.left, &dying(false, 1), tunnel.now);
        assert!(!packet.meta.whole, "it lives as long as it needs");
        let mut seen = Options { icmp: revealing(), ..options }.tunnel().left;
        let outer = seen.poll_packet().unwrap();
        let message = expired(outer.data());
        // No more than a reason to ask the peer whether it is there.
        assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Prompted);
        assert!(tunnel.left.poll_answer().is_none());
    }
}

/// The far gateway is on the path behind the routers that have shown themselves, and what lies behind
/// it has as many hops left as without the tunnel.
#[test]
fn known_routers_are_hops_that_the_inner_packet_pays_for() {
    for options in every_way() {
        let mut tunnel = options.tunnel();
        for router in 1..=2 {
            let packet = sealed(&mut tunnel.left, &dying(false, router), tunnel.now);
            let message = expired(packet.data());
            assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Revealed);
        }
        assert_eq!(hops(&mut tunnel, &dying(false, 3)), (3, 1));
        assert_eq!(hops(&mut tunnel, &dying(true, 5)), (5, 3));
        // Those that end outside are told of as they are.
        assert_eq!(hops(&mut tunnel, &dying(false, 2)), (2, 2));
        // The path may be another when nobody has been heard of for long, and nobody answers who traces now.
        tunnel.now += Duration::from_secs(601);
        assert_eq!(hops(&mut tunnel, &dying(false, 3)), (3, 1));
        tunnel.now += Duration::from_secs(2);
        assert_eq!(hops(&mut tunnel, &dying(false, 3)), (3, 3));
    }
}

/// The hops of the dummy packets that look for routers; of those with at most so many a router says that they
/// have none left.
fn explored(engine: &mut Outbound, routers: u8, now: std::time::Instant) -> Vec<u8> {
    let mut seen = Vec::new();
    while let Some(packet) = engine.poll_packet() {
        assert!(packet.meta.whole);
        let outer = IpPacket::read(packet.data()).unwrap();
        assert!(outer.has_good_checksum());
        seen.push(outer.ttl());
        if outer.ttl() <= routers {
            let message = expired(packet.data());
            assert_eq!(engine.handle_icmp(&message, now), Complaint::Explored);
        }
    }
    assert!(engine.poll_answer().is_none(), "nobody has asked");
    seen
}

/// How many routers there are is known before anybody asks: the far gateway is on the path for who sends
/// packets of all hops at once, whatever is inside and outside.
#[test]
fn an_sa_looks_for_routers_before_anybody_traces() {
    for options in every_way() {
        let mut tunnel = options.tunnel();
        assert_eq!(explored(&mut tunnel.left, 2, tunnel.now), Vec::from_iter(1..=8));
        let seen: Vec<_> = (1..=5).map(|ttl| hops(&mut tunnel, &dying(false, ttl))).collect();
        assert_eq!(seen, [(1, 1), (2, 2), (3, 1), (4, 2), (5, 3)]);
        // The next trace may be hours away.
        tunnel.now += Duration::from_secs(7_200);
        let seen: Vec<_> = (1..=5).map(|ttl| hops(&mut tunnel, &dying(true, ttl))).collect();
        assert_eq!(seen, [(1, 1), (2, 2), (3, 1), (4, 2), (5, 3)]);
        assert!(tunnel.left.poll_packet().is_none());
    }
}

/// As many dummy packets go out as the path is long, and never more than who traces it has hops; where the
/// peer is elsewhere they do again.
#[test]
fn a_long_path_is_looked_at_step_by_step() {
    let mut tunnel = Options { icmp: revealing(), ..Options::default() }.tunnel();
    assert_eq!(explored(&mut tunnel.left, 9, tunnel.now), Vec::from_iter(1..=16));
    assert_eq!(hops(&mut tunnel, &dying(false, 10)), (10, 1));

    let (local, _) = Options::default().ends;
    let moved = |remote: &str| OutboundCommand::UpdatePeer {
        child: crate::fixtures::CHILD,
        encap: Encapsulation { udp: true, tcp: false, local, remote: remote.parse().unwrap() },
    };
    tunnel.left.handle_command(moved("203.0.113.77:4500"), tunnel.now);
    assert_eq!(explored(&mut tunnel.left, 200, tunnel.now), Vec::from_iter(1..=31));
    // Another port is no other path.
    tunnel.left.handle_command(moved("203.0.113.77:4501"), tunnel.now);
    assert!(explored(&mut tunnel.left, 200, tunnel.now).is_empty());
    tunnel.left.handle_command(moved("203.0.113.78:4500"), tunnel.now);
    assert_eq!(explored(&mut tunnel.left, 0, tunnel.now), Vec::from_iter(1..=8));
    assert_eq!(hops(&mut tunnel, &dying(false, 10)), (10, 10), "nobody was found there");
}

/// The peer opens such a packet as any dummy, and an SA that hides routers sends none.
#[test]
fn looking_for_routers_costs_the_peer_a_dummy() {
    let mut tunnel = Options { icmp: revealing(), ..Options::default() }.tunnel();
    let packet = tunnel.left.poll_packet().unwrap();
    let mut packet = arrived(&packet);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Drop(DropReason::Dummy));
    assert!(Options::default().tunnel().left.poll_packet().is_none());
}

/// Only who traces a path has few hops left: everything else goes as ever.
#[test]
fn packets_with_many_hops_left_live_as_long_as_they_need() {
    let mut tunnel = Options { icmp: revealing(), ..Options::default() }.tunnel();
    for hops in [32, 63, 255] {
        let packet = sealed(&mut tunnel.left, &dying(false, hops), tunnel.now);
        assert!(!packet.meta.whole, "{hops}");
        let mut packet = arrived(&packet);
        assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
        assert_eq!(IpPacket::read(packet.data()).unwrap().ttl(), hops);
    }
}

/// CHECKLIST PM-19, PM-20, PM-29: about what we have not sent, or not of late, nobody hears anything,
/// and of short quotes nothing is known.
#[test]
fn what_nobody_has_sent_is_shown_to_nobody() {
    for options in every_way() {
        let mut tunnel = options.tunnel();
        let packet = sealed(&mut tunnel.left, &dying(false, 1), tunnel.now);
        let outer = IpPacket::read(packet.data()).unwrap();
        let spi_at = outer.header_len() + if options.udp { 8 } else { 0 };
        let forged = |at: usize, octet: u8| {
            let mut forged = packet.data().to_vec();
            forged[at] ^= octet;
            expired(&forged)
        };
        for (message, expected) in [
            (forged(spi_at, 1), Complaint::Unknown),
            (forged(spi_at + 4, 0x80), Complaint::Unknown),
            (forged(spi_at + 7, 2), Complaint::Unknown),
        ] {
            assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), expected);
        }
        let message = expired(packet.data());
        for len in 0..message.len() {
            // Cut short it has no good checksum.
            let complaint = tunnel.left.handle_icmp(&message[..len], tunnel.now);
            assert_eq!(complaint, Complaint::NotForUs);
        }
        assert!(tunnel.left.poll_answer().is_none());
    }
}

/// Of a packet that has long been followed by others nothing is remembered, and no memory grows.
#[test]
fn old_packets_are_forgotten() {
    let mut tunnel = Options { icmp: revealing(), ..Options::default() }.tunnel();
    let first = sealed(&mut tunnel.left, &dying(false, 1), tunnel.now);
    for _ in 0..64 {
        sealed(&mut tunnel.left, &dying(false, 1), tunnel.now);
    }
    let message = expired(first.data());
    assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Elsewhere);
    assert!(tunnel.left.poll_answer().is_none());
}

/// Ten in a second, and no more than are asked for.
#[test]
fn few_senders_are_told() {
    let mut tunnel = Options { icmp: revealing(), ..Options::default() }.tunnel();
    let packet = sealed(&mut tunnel.left, &dying(false, 1), tunnel.now);
    let message = expired(packet.data());
    let told = |tunnel: &mut Tunnel| {
        (0..50)
            .filter(|_| tunnel.left.handle_icmp(&message, tunnel.now) == Complaint::Revealed)
            .count()
    };
    assert_eq!(told(&mut tunnel), 10);
    tunnel.now += Duration::from_millis(300);
    assert_eq!(told(&mut tunnel), 3);
    assert_eq!(std::iter::from_fn(|| answer(&mut tunnel.left)).count(), 13);
}

/// What may not be answered (RFC 1122 §3.2.2) is not: an ICMP error that has no hops left.
#[test]
fn nobody_is_told_about_an_error() {
    let mut tunnel = Options { icmp: revealing(), ..Options::default() }.tunnel();
    let mut inner = expired(&dying(false, 9));
    // From a host of the left side to one of the right.
    inner[12..20].copy_from_slice(&[10, 1, 0, 5, 10, 2, 0, 7]);
    inner[10..12].fill(0);
    let sum = adit_wire::ip::checksum(&inner[..20]).to_be_bytes();
    inner[10..12].copy_from_slice(&sum);
    assert!(set_ttl(&mut inner, 1));
    let mut packet = buffer(&inner);
    if tunnel.seal(&mut packet) == Verdict::Send {
        tunnel.left.handle_icmp(&expired(packet.data()), tunnel.now);
    }
    assert!(tunnel.left.poll_answer().is_none());
}

/// Where packets share one outside, and in other modes, no single one has hops: all live as ever.
#[test]
fn what_shares_a_packet_has_no_hops() {
    let shared = Options { aggfrag: Some(Aggfrag::default()), ..Options::default() };
    let mut tunnel = Options { icmp: revealing(), ..shared }.tunnel();
    assert!(tunnel.left.poll_packet().is_none(), "nor does it look for routers");
    let mut packet = buffer(&dying(false, 1));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Held);
    assert!(tunnel.left.flush().iter().all(|packet| !packet.meta.whole));

    let beet = Options {
        mode: Mode::Beet,
        icmp: revealing(),
        left_ts: crate::fixtures::ts(&["10.1.0.5"]),
        right_ts: crate::fixtures::ts(&["10.2.0.7"]),
        ..Options::default()
    };
    let packet = sealed(&mut beet.tunnel().left, &dying(false, 1), start());
    assert!(!packet.meta.whole);
}

/// The thread that hears of a router asks the one that has sent the packet.
#[test]
fn the_thread_that_has_sent_a_packet_tells_its_sender() {
    let now = start();
    let options = Options { icmp: revealing(), ..Options::default() };
    let parts = OutboundSa::for_threads(&options.child_sa(true), POLICY, now, 2, None).unwrap();
    let mut threads: Vec<Outbound> = (0..)
        .zip(parts)
        .map(|(number, part)| {
            let mut thread = Outbound::of_thread(number);
            thread.handle_command(OutboundCommand::SetPolicies(protecting_spd()), now);
            let sa = Box::new(part);
            thread.handle_command(OutboundCommand::Install { sa, active: true }, now);
            thread
        })
        .collect();
    let packet = sealed(&mut threads[1], &dying(false, 1), now);
    let message = expired(packet.data());
    assert_eq!(threads[0].handle_icmp(&message, now), Complaint::Elsewhere);
    assert_eq!(threads[1].handle_icmp(&message, now), Complaint::Revealed);
    assert!(answer(&mut threads[0]).is_none() && answer(&mut threads[1]).is_some());

    // One thread looks for routers, and all know how many there are.
    assert!(explored(&mut threads[1], 0, now).is_empty());
    assert_eq!(explored(&mut threads[0], 2, now), Vec::from_iter(1..=8));
    let told: Vec<_> = std::iter::from_fn(|| threads[0].poll_event())
        .filter_map(|event| {
            let Event::Hops { child, hops } = event else { return None };
            Some((child, hops))
        })
        .collect();
    let child = crate::fixtures::CHILD;
    assert_eq!(told, [(child, 1), (child, 2)]);
    for (child, hops) in told {
        threads[1].handle_command(OutboundCommand::Hops { child, hops }, now);
    }
    let packet = arrived(&sealed(&mut threads[1], &dying(false, 3), now));
    let mut packet = copy(&packet);
    let mut far = options.tunnel();
    assert_eq!(far.open(&mut packet), OpenVerdict::Deliver);
    assert_eq!(IpPacket::read(packet.data()).unwrap().ttl(), 1);
}

/// A router on the way of the outer of two tunnels is shown to who has sent the packet in the inner one.
#[test]
fn routers_are_seen_through_two_tunnels() {
    let mut tunnel = two_levels_with(revealing());
    let inner = dying(false, 1);
    let packet = sealed(&mut tunnel.left, &inner, tunnel.now);
    assert_eq!(IpPacket::read(packet.data()).unwrap().ttl(), 1);
    let message = expired(packet.data());
    assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Revealed);
    let (router, to, quoted) = answer(&mut tunnel.left).unwrap();
    assert_eq!((router.to_string(), to.to_string()), (ROUTER.into(), "10.1.0.5".into()));
    assert_eq!(quoted[..], inner[..80]);
}
