//! ICMP through SAs: which errors pass, by whose SA, and about which packets (RFC 4301 §6).

use std::sync::Arc;

use adit_dataplane::{DropReason, Event, OpenVerdict, Outbound, OutboundCommand, Verdict};
use adit_db::{Action, IcmpPassage, IcmpRow, IcmpRules, IcmpTreatment, Mode, Spd, SpdEntry};
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Icmp, IcmpError, IcmpReport, IpPacket, checksum};

use crate::fixtures::{
    Options, POLICY, Tunnel, buffer, packet_between, seal, start, ts, udp_packet,
};

/// A router behind the left gateway that is in nobody's selectors, for each IP version.
pub(crate) const ROUTER: &str = "172.16.0.1";
const ROUTER_V6: &str = "fd99::1";

/// An error of `router` about a packet of 60 or 80 octets between two hosts.
pub(crate) fn error(report: IcmpReport, src: &str, dst: &str, router: &str) -> Vec<u8> {
    let about = packet_between(src, dst, 0, 80);
    let mut out = vec![0; 1_280];
    let about = IpPacket::read(&about).unwrap();
    let len = report.write(&about, router.parse().unwrap(), &mut out).unwrap();
    out.truncate(len);
    out
}

/// Host unreachable, about what the right side sent to the left one.
pub(crate) fn unreachable(router: &str) -> Vec<u8> {
    error(IcmpReport::unreachable(true, 1), "10.2.0.7", "10.1.0.5", router)
}

fn opened(tunnel: &mut Tunnel, inner: &[u8]) -> OpenVerdict {
    let mut packet = tunnel.sealed(inner);
    tunnel.open(&mut packet)
}

fn with(errors: IcmpPassage) -> Options {
    let mut icmp = IcmpRules::default();
    icmp.errors = errors;
    Options { icmp, ..Options::default() }
}

/// Rules with one row changed.
pub(crate) fn rules(key: &str, change: impl FnOnce(&mut IcmpTreatment)) -> IcmpRules {
    let mut rules = IcmpRules::default();
    let row = IcmpRow::named(key).unwrap();
    let mut treatment = rules.treatment(row);
    change(&mut treatment);
    rules.set(row, treatment);
    rules
}

/// CHECKLIST PM-27: an error of a router outside the selectors comes in if the packet that it quotes
/// fits the SA backwards. The size that it tells is the inner one, and stays.
#[test]
fn an_error_about_a_packet_of_its_sa_comes_in() {
    let mut tunnel = Options::default().tunnel();
    let v4 = error(IcmpReport::too_big(true, 1_380), "10.2.0.7", "10.1.0.5", ROUTER);
    let v6 = error(IcmpReport::too_big(false, 1_380), "fd02::7", "fd01::5", ROUTER_V6);
    for inner in [v4, v6] {
        let out = tunnel.send(&inner);
        assert_eq!(out, inner);
        let packet = IpPacket::read(&out).unwrap();
        assert_eq!(IcmpError::read(&packet).unwrap().too_big(), Some(1_380));
    }
}

/// CHECKLIST PM-27: by setting; without it the selectors judge the error alone.
#[test]
fn what_comes_in_is_by_setting() {
    let mut tunnel = with(IcmpPassage::Explicit).tunnel();
    let mismatch = OpenVerdict::Drop(DropReason::SelectorMismatch);
    assert_eq!(opened(&mut tunnel, &unreachable(ROUTER)), mismatch);
    assert_eq!(opened(&mut tunnel, &unreachable("10.1.0.1")), OpenVerdict::Deliver);
    tunnel.send(&udp_packet(false, 0, 60));
}

/// A tunnel that discards errors seals none and lets none in, whoever sends them.
#[test]
fn a_tunnel_may_discard_all_errors() {
    let refused = DropReason::IcmpRefused;
    let mut tunnel = with(IcmpPassage::Discard).tunnel();
    let error = unreachable("10.1.0.1");
    assert_eq!(tunnel.seal(&mut buffer(&error)), Verdict::Drop(refused));

    let other = Options::default().tunnel();
    tunnel.left = other.left;
    assert_eq!(opened(&mut tunnel, &error), OpenVerdict::Drop(refused));
    assert_eq!(tunnel.right.report().sas[0].drops.get(refused), 1);
    let echo = echo_request();
    assert_eq!(opened(&mut tunnel, &echo), OpenVerdict::Deliver, "it is no error");
}

/// An echo request from left to right.
fn echo_request() -> Vec<u8> {
    let mut octets = packet_between("10.1.0.5", "10.2.0.7", 0, 40);
    octets[9] = IpProtocol::ICMP.0;
    octets[20..24].copy_from_slice(&[8, 0, 0, 0]);
    octets
}

/// Who is behind the peer may not speak about flows that are none of this SA: neither from an address
/// outside the selectors nor from one inside. RFC 4301 §6.2 wants an auditor told.
#[test]
fn errors_about_flows_of_others_are_refused() {
    let report = IcmpReport::unreachable(true, 1);
    for router in [ROUTER, "10.1.0.9"] {
        let mut tunnel = Options::default().tunnel();
        let foreign = [
            ("10.2.0.7", "10.3.0.9", "another tunnel's peer"),
            ("10.9.0.7", "10.1.0.5", "somebody else's packet"),
            ("10.1.0.5", "10.2.0.7", "the peer's own packet"),
        ];
        for (src, dst, what) in foreign {
            // It goes to a host that it may go to, whatever it quotes.
            let mut inner = error(report, src, dst, router);
            readdress(&mut inner, [10, 2, 0, 7]);
            let verdict = opened(&mut tunnel, &inner);
            assert_eq!(verdict, OpenVerdict::Drop(DropReason::IcmpQuote), "{router}: {what}");
        }
        let events = std::iter::from_fn(|| tunnel.right.poll_event());
        let audits = events.filter(|event| matches!(event, Event::Audit(_)));
        assert_eq!(audits.count(), foreign.len());
    }
}

/// Gives an IPv4 packet another destination and the right checksum.
fn readdress(packet: &mut [u8], dst: [u8; 4]) {
    packet[16..20].copy_from_slice(&dst);
    packet[10..12].fill(0);
    let sum = checksum(&packet[..20]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
}

/// An implicit error is for the sender of what it quotes, not for its neighbour.
#[test]
fn an_implicit_error_is_for_the_sender_of_its_quote() {
    let mut tunnel = Options::default().tunnel();
    let mut inner = unreachable(ROUTER);
    readdress(&mut inner, [10, 2, 0, 8]);
    assert_eq!(opened(&mut tunnel, &inner), OpenVerdict::Drop(DropReason::IcmpQuote));
}

/// CHECKLIST PM-19: an SA that selects ports needs to see them in the quote, and a quote without
/// addresses is about nothing. Neither do fragments hide what is quoted.
#[test]
fn a_quote_that_shows_too_little_is_refused() {
    let refused = OpenVerdict::Drop(DropReason::IcmpQuote);
    let options = Options { left_ts: ts(&["10.1.0.0/16[udp/53]"]), ..Options::default() };
    let mut tunnel = options.tunnel();
    assert_eq!(opened(&mut tunnel, &unreachable(ROUTER)), OpenVerdict::Deliver);
    let short = |len: usize| {
        let mut inner = unreachable(ROUTER);
        inner.truncate(28 + len);
        let total = u16::try_from(inner.len()).unwrap().to_be_bytes();
        inner[2..4].copy_from_slice(&total);
        inner[22..24].fill(0);
        let sum = checksum(&inner[20..]).to_be_bytes();
        inner[22..24].copy_from_slice(&sum);
        readdress(&mut inner, [10, 2, 0, 7]);
        inner
    };
    assert_eq!(opened(&mut tunnel, &short(28)), OpenVerdict::Deliver);
    for len in [0, 8, 19, 20, 22] {
        assert_eq!(opened(&mut tunnel, &short(len)), refused, "{len}");
    }

    let mut tunnel = Options::default().tunnel();
    let mut cut = unreachable("10.1.0.9");
    cut[6..8].copy_from_slice(&[0x20, 0]);
    readdress(&mut cut, [10, 2, 0, 7]);
    assert_eq!(opened(&mut tunnel, &cut), refused);
}

/// An SA for ICMP alone carries errors about what other SAs of the same peer carry (RFC 4301 §6.2,
/// explicit ICMP SAs).
#[test]
fn an_sa_for_icmp_carries_errors_about_other_protocols() {
    let options = Options {
        left_ts: ts(&["10.1.0.0/16[icmp]"]),
        right_ts: ts(&["10.2.0.0/16[icmp]"]),
        ..with(IcmpPassage::Explicit)
    };
    let mut tunnel = options.tunnel();
    assert_eq!(opened(&mut tunnel, &unreachable("10.1.0.1")), OpenVerdict::Deliver);
    assert_eq!(opened(&mut tunnel, &echo_request()), OpenVerdict::Deliver);
}

/// In transport mode the peer alone speaks; its errors need no selectors of their own.
#[test]
fn a_host_tells_errors_by_its_only_sa() {
    let options = Options {
        mode: Mode::Transport,
        left_ts: ts(&["192.0.2.1[udp]"]),
        right_ts: ts(&["198.51.100.1[udp]"]),
        ..Options::default()
    };
    let mut tunnel = options.tunnel();
    // What leaves is judged by the policies, which are those of networks here: the SA suffices.
    let spd = entry("192.0.2.1[udp]", "198.51.100.1[udp]");
    tunnel.left.handle_command(OutboundCommand::SetPolicies(spd), tunnel.now);
    let port = IcmpReport::unreachable(true, 3);
    let own = error(port, "198.51.100.1", "192.0.2.1", "192.0.2.1");
    assert_eq!(opened(&mut tunnel, &own), OpenVerdict::Deliver);
    let strange = error(port, "198.51.100.1", "192.0.2.1", ROUTER);
    let dropped = tunnel.seal(&mut buffer(&strange));
    assert_eq!(dropped, Verdict::Drop(DropReason::NoPolicy));
}

/// A database that protects one pair.
fn entry(local: &str, remote: &str) -> Arc<Spd> {
    let entry =
        SpdEntry { local: ts(&[local]), remote: ts(&[remote]), action: Action::Protect(POLICY) };
    Arc::new(Spd::new(vec![entry]).unwrap())
}

/// An engine that protects 10.1.0.0/16 alone.
pub(crate) fn narrow(options: &Options) -> Outbound {
    let now = start();
    let mut engine = Outbound::new();
    engine.handle_command(OutboundCommand::SetPolicies(entry("10.1.0.0/16", "10.2.0.0/16")), now);
    engine.handle_command(options.left_half(now, true), now);
    engine
}

/// CHECKLIST PM-28: the SA is that of the quoted packet, read backwards.
#[test]
fn an_error_leaves_by_the_sa_of_its_quote() {
    let now = start();
    let mut engine = narrow(&Options::default());
    let verdict = |engine: &mut Outbound, inner: &[u8]| seal(engine, &mut buffer(inner), now);
    let refused = Verdict::Drop(DropReason::NoPolicy);

    assert_eq!(verdict(&mut engine, &unreachable(ROUTER)), Verdict::Send);
    let plain = packet_between(ROUTER, "10.2.0.7", 0, 60);
    assert_eq!(verdict(&mut engine, &plain), refused, "it is no error");
    let mut elsewhere = unreachable(ROUTER);
    readdress(&mut elsewhere, [10, 2, 0, 8]);
    assert_eq!(verdict(&mut engine, &elsewhere), refused, "it is not for the sender");
    let foreign = error(IcmpReport::unreachable(true, 1), "10.2.0.7", "10.8.0.5", ROUTER);
    assert_eq!(verdict(&mut engine, &foreign), refused, "no SA carries what it quotes");

    let mut engine = narrow(&with(IcmpPassage::Explicit));
    assert_eq!(verdict(&mut engine, &unreachable(ROUTER)), refused);
}

/// What has no SA yet does not get one for an error that an SA carries implicitly.
#[test]
fn an_implicit_error_asks_for_no_sa() {
    let now = start();
    let mut engine = Outbound::new();
    let spd = entry("0.0.0.0/0", "10.2.0.0/16");
    engine.handle_command(OutboundCommand::SetPolicies(spd), now);
    // The SA is for port 53 alone, which no ICMP error has.
    let options = Options { right_ts: ts(&["10.2.0.0/16[udp/40000]"]), ..Options::default() };
    engine.handle_command(options.left_half(now, true), now);

    assert_eq!(seal(&mut engine, &mut buffer(&unreachable(ROUTER)), now), Verdict::Send);
    assert_eq!(engine.poll_event(), None);
    let other = error(IcmpReport::unreachable(true, 1), "10.2.0.7", "10.1.0.5", ROUTER);
    let mut other = buffer(&other);
    // Another port of the quoted packet: that one's SA is not there.
    other.data_mut()[28 + 20..28 + 22].copy_from_slice(&[0, 99]);
    mend(&mut other);
    assert_eq!(seal(&mut engine, &mut other, now), Verdict::Held);
    assert!(matches!(engine.poll_event(), Some(Event::Acquire { .. })));
}

/// Sets the checksum of the ICMP message in an IPv4 packet without options right.
fn mend(packet: &mut PacketBuf) {
    let octets = packet.data_mut();
    octets[22..24].fill(0);
    let sum = checksum(&octets[20..]).to_be_bytes();
    octets[22..24].copy_from_slice(&sum);
}

/// Each row of the table of draft-ietf-ipsec-icmp-handle-v4 is a setting, for each side.
#[test]
fn rows_are_settings() {
    let black = rules("host-unreachable", |row| row.black = IcmpPassage::Discard);
    let mut tunnel = Options { icmp: black, ..Options::default() }.tunnel();
    let refused = DropReason::IcmpRefused;
    let mut packet = buffer(&unreachable("10.1.0.1"));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Drop(refused));
    let net = error(IcmpReport::unreachable(true, 0), "10.2.0.7", "10.1.0.5", ROUTER);
    assert_eq!(opened(&mut tunnel, &net), OpenVerdict::Deliver, "another row");

    let echo = rules("echo-request", |row| row.tunnel = IcmpPassage::Discard);
    let mut tunnel = Options { icmp: echo, ..Options::default() }.tunnel();
    assert_eq!(opened(&mut tunnel, &echo_request()), OpenVerdict::Drop(refused));

    // What the draft is undecided about passes where the selectors contain it, and can do more.
    let admin = |router| error(IcmpReport::unreachable(true, 13), "10.2.0.7", "10.1.0.5", router);
    let mut tunnel = Options::default().tunnel();
    assert_eq!(opened(&mut tunnel, &admin("10.1.0.1")), OpenVerdict::Deliver);
    let mismatch = OpenVerdict::Drop(DropReason::SelectorMismatch);
    assert_eq!(opened(&mut tunnel, &admin(ROUTER)), mismatch);
    let implicit = rules("admin-prohibited", |row| row.tunnel = IcmpPassage::Implicit);
    let mut tunnel = Options { icmp: implicit, ..Options::default() }.tunnel();
    assert_eq!(opened(&mut tunnel, &admin(ROUTER)), OpenVerdict::Deliver);
}

/// What neighbours on a link say to each other is no matter of tunnels (RFC 4861 §3).
#[test]
fn neighbour_discovery_stays_on_its_link() {
    for kind in [133, 134, 135, 136] {
        let mut inner = udp_packet(true, 0, 80);
        inner[6] = IpProtocol::ICMPV6.0;
        inner[40] = kind;
        let verdict = Options::default().tunnel().seal(&mut buffer(&inner));
        assert_eq!(verdict, Verdict::Drop(DropReason::IcmpRefused), "{kind}");
    }
    let protocol = IpProtocol::ICMPV6;
    let rules = IcmpRules::default();
    let multicast_listener = Icmp { kind: 143, code: 0 };
    let passage = rules.passage(adit_db::IcmpSide::Black, protocol, multicast_listener);
    assert_eq!(passage, IcmpPassage::Explicit, "what a policy selects");
}
