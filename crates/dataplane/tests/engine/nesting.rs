//! SAs under SAs: nothing leaves without the outer ones, and nothing comes in that skipped them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Authentication, Cipher};
use adit_dataplane::{
    DropReason, Event, Inbound, InboundCommand, NESTING_MAX, OpenVerdict, Outbound,
    OutboundCommand, OutboundSa, Verdict, packet_buffer, split,
};
use adit_db::{
    Action, Aggfrag, ChildSaId, Encapsulation, IcmpRules, Mode, PolicyId, Spd, SpdEntry, Tfc,
};
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{IcmpError, IpPacket, checksum, write_fragment};
use proptest::prelude::*;

use crate::fixtures::{Options, Tunnel, buffer, copy, left, packet_between, start, ts, udp_packet};
use crate::transport::host_packet;

/// The SA of a level, the innermost is level 0: its policy, and the level over it.
fn half_out(options: &Options, level: u32, top: u32, now: Instant) -> OutboundSa {
    let (_, sa) = split(&options.child_sa(true), PolicyId(level), now).unwrap();
    if level < top { sa.over(PolicyId(level + 1)) } else { sa }
}

fn outbound(options: &Options, level: u32, top: u32, now: Instant) -> OutboundCommand {
    OutboundCommand::Install { sa: Box::new(half_out(options, level, top, now)), active: true }
}

fn inbound(options: &Options, level: u32, top: u32, now: Instant) -> InboundCommand {
    let sa = options.child_sa(false);
    let (half, _) = split(&sa, PolicyId(level), now).unwrap();
    let half = if level < top { half.over(PolicyId(level + 1), sa.encap.local) } else { half };
    InboundCommand::Install(Box::new(half))
}

/// Everything goes into the innermost SA.
fn sender(now: Instant) -> Outbound {
    let all = || ts(&["0.0.0.0/0", "::/0"]);
    let entry = SpdEntry { local: all(), remote: all(), action: Action::Protect(PolicyId(0)) };
    let mut engine = Outbound::new();
    let spd = Arc::new(Spd::new(vec![entry]).unwrap());
    engine.handle_command(OutboundCommand::SetPolicies(spd), now);
    engine
}

fn top(levels: &[Options]) -> u32 {
    u32::try_from(levels.len()).unwrap() - 1
}

/// Both engines with an SA per level, the innermost first.
fn nest(levels: &[Options]) -> Tunnel {
    let now = start();
    let mut tunnel = Tunnel { left: sender(now), right: Inbound::new(), now };
    for (level, options) in (0..).zip(levels) {
        tunnel.left.handle_command(outbound(options, level, top(levels), now), now);
        tunnel.right.handle_command(inbound(options, level, top(levels), now));
    }
    tunnel
}

/// As deep as it goes.
pub(crate) fn four_levels() -> Tunnel {
    let ends = Options::default().ends;
    let outer = (2..=4).map(|number| between(number, ends, Mode::Tunnel));
    nest(&std::iter::once(networks()).chain(outer).collect::<Vec<_>>())
}

/// Two SAs, the packets of the one inside those of the other, which may be shared.
pub(crate) fn two_levels_over(aggfrag: Option<Aggfrag>) -> Tunnel {
    let outer = between(2, Options::default().ends, Mode::Tunnel);
    nest(&[networks(), Options { aggfrag, ..outer }])
}

/// Two SAs, with these rules for ICMP.
pub(crate) fn two_levels_with(icmp: IcmpRules) -> Tunnel {
    let outer = between(2, Options::default().ends, Mode::Tunnel);
    nest(&[networks(), outer].map(|options| Options { icmp: icmp.clone(), ..options }))
}

fn sa(number: u32) -> Options {
    let child = ChildSaId(number);
    Options { child, udp: false, ..Options::default() }
}

/// ESP between the two gateways, for one network behind each.
fn networks() -> Options {
    sa(1)
}

fn far_v6() -> (SocketAddr, SocketAddr) {
    ("[2001:db8::1]:4500".parse().unwrap(), "[2001:db8:1::1]:4500".parse().unwrap())
}

/// An SA for what the two gateways say to each other.
fn between(number: u32, ends: (SocketAddr, SocketAddr), mode: Mode) -> Options {
    let (left_ts, right_ts) = (ts(&[&ends.0.ip().to_string()]), ts(&[&ends.1.ip().to_string()]));
    Options { mode, ends, left_ts, right_ts, ..sa(number) }
}

fn ah(options: Options) -> Options {
    Options { ah: Some(Authentication::ALL[0]), ..options }
}

/// What the network makes of a packet on its way to the last gateway.
fn arrived(sealed: &PacketBuf) -> PacketBuf {
    let mut packet = packet_buffer();
    assert!(packet.fill(sealed.data()));
    packet.meta = sealed.meta;
    std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
    if sealed.meta.whole {
        let whole = IpPacket::read(sealed.data()).unwrap();
        assert!(whole.has_good_checksum());
        if whole.protocol() == IpProtocol::ESP {
            packet.meta.whole = false;
            let front = whole.header_len();
            packet.meta.header_len = if whole.is_ipv4() { u8::try_from(front).unwrap() } else { 0 };
            assert!(packet.pull_front(front));
        }
    }
    packet
}

fn sealed(tunnel: &mut Tunnel, inner: &[u8]) -> PacketBuf {
    let mut packet = buffer(inner);
    assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
    packet
}

fn sent(tunnel: &mut Tunnel, inner: &[u8]) -> PacketBuf {
    let sealed = sealed(tunnel, inner);
    let mut packet = arrived(&sealed);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert_eq!(packet.data(), inner);
    sealed
}

/// CHECKLIST S10: transport adjacency as RFC 2401 §4.3 has it, AH over ESP, between gateways.
#[test]
fn ah_covers_a_tunnel_of_esp() {
    let ends = Options::default().ends;
    let mut tunnel = nest(&[networks(), ah(between(2, ends, Mode::Transport))]);
    let outer = sent(&mut tunnel, &udp_packet(false, 0, 200));
    let outer = IpPacket::read(outer.data()).unwrap();
    assert_eq!(outer.protocol(), IpProtocol::AH);
    assert_eq!(IpProtocol(outer.payload()[0]), IpProtocol::ESP, "next header of AH");
    assert_eq!((outer.src(), outer.dst()), (ends.0.ip(), ends.1.ip()));
    sent(&mut tunnel, &udp_packet(true, 0, 1390));
}

/// CHECKLIST S10: the same between two hosts, both in transport mode (RFC 2401 §4.5, case 1).
#[test]
fn ah_covers_transport_mode() {
    for ends in [Options::default().ends, far_v6()] {
        let host = between(1, ends, Mode::Transport);
        let mut tunnel = nest(&[host.clone(), ah(between(2, ends, Mode::Transport))]);
        for len in [8, 100, 1300] {
            let inner = host_packet(&host, IpProtocol::TCP, &[], &vec![7; len]);
            let mut packet = arrived(&sealed(&mut tunnel, &inner));
            assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
            // Sockets for IPv6 keep the header, so what ESP covered gets a new one.
            let same_from = if ends.0.is_ipv6() { 8 } else { 0 };
            assert_eq!(packet.data().len(), inner.len());
            assert_eq!(packet.data()[same_from..], inner[same_from..]);
        }
    }
}

/// CHECKLIST S10: iterated tunnels, both ends in common; the packets in between are the gateways' own.
#[test]
fn esp_goes_in_esp() {
    for (ends, udp) in [(Options::default().ends, false), (far_v6(), false), (far_v6(), true)] {
        let inner = Options { ends, udp, ..networks() };
        let mut tunnel = nest(&[inner, between(2, ends, Mode::Tunnel)]);
        let packet = sent(&mut tunnel, &udp_packet(false, 0xb8, 200));
        // The class goes from header to header.
        assert_eq!((packet.meta.tos, packet.meta.whole), (0xb8, false));
    }
}

/// CHECKLIST S10: iterated tunnels with one end in common (RFC 2401 §4.3, case 2): the nearer gateway
/// takes its tunnel off, and the further one finds a packet like any other. With no end in common
/// (case 3) no host has both SAs.
#[test]
fn a_further_gateway_lies_behind_a_nearer_one() {
    let further: SocketAddr = "203.0.113.9:4500".parse().unwrap();
    for (ends, udp) in [((left(), further), false), ((left(), further), true), (far_v6(), true)] {
        let far = Options { ends, udp, ..networks() };
        let near = Options {
            left_ts: far_ts(ends.0),
            right_ts: far_ts(ends.1),
            ..between(2, Options::default().ends, Mode::Tunnel)
        };
        let now = start();
        let mut tunnel = nest(&[far.clone(), near.clone()]);
        let inner = udp_packet(true, 0, 333);
        let mut packet = arrived(&sealed(&mut tunnel, &inner));

        let mut nearer = Inbound::new();
        nearer.handle_command(inbound(&near, 1, 1, now));
        let mut verdicts = Vec::new();
        nearer.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, now);
        assert_eq!(verdicts, [OpenVerdict::Deliver]);
        let between = IpPacket::read(packet.data()).unwrap();
        assert_eq!((between.src(), between.dst()), (ends.0.ip(), ends.1.ip()));
        assert!(between.has_good_checksum());
        if udp {
            check_udp(&between);
        }
        let front = between.header_len() + if udp { 8 } else { 0 };
        assert!(packet.pull_front(front));
        packet.meta.header_len = 0;
        let mut at_end = Inbound::new();
        at_end.handle_command(inbound(&far, 0, 0, now));
        at_end.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, now);
        assert_eq!(verdicts, [OpenVerdict::Deliver]);
        assert_eq!(packet.data(), inner);
    }
}

fn far_ts(end: SocketAddr) -> Vec<adit_wire::ikev2::TrafficSelector> {
    ts(&[&end.ip().to_string()])
}

/// RFC 3948 §2.1: no checksum over IPv4; RFC 8200 §8.1: a right one over IPv6.
fn check_udp(packet: &IpPacket<'_>) {
    let udp = packet.payload();
    assert_eq!(packet.ports(), Some((4500, 4500)));
    assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), udp.len());
    if packet.is_ipv4() {
        assert_eq!(udp[6..8], [0, 0]);
        return;
    }
    let octets = packet.octets();
    let len = u32::try_from(udp.len()).unwrap().to_be_bytes();
    let pseudo = [&octets[8..40], &len, &[0, 0, 0, 17], udp].concat();
    assert_ne!(udp[6..8], [0, 0]);
    assert_eq!(checksum(&pseudo), 0);
}

/// One level beyond the innermost: ESP or AH, tunnel or transport, in UDP or not.
fn any_outer() -> impl Strategy<Value = (bool, bool, bool, usize)> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 0..Cipher::ALL.len())
}

fn level(number: u32, ends: (SocketAddr, SocketAddr), drawn: (bool, bool, bool, usize)) -> Options {
    let (is_ah, is_tunnel, udp, cipher) = drawn;
    let mode = if is_tunnel { Mode::Tunnel } else { Mode::Transport };
    let cipher = Cipher::ALL[cipher];
    let options = Options { cipher, udp: udp && !is_ah, ..between(number, ends, mode) };
    if is_ah { ah(options) } else { options }
}

proptest! {
    /// CHECKLIST S10: two to four SAs of any kind, in both families, give back what went in, and the
    /// buffer has the room.
    #[test]
    fn any_nest_gives_back_what_went_in(
        ipv6 in any::<bool>(),
        inner_udp in any::<bool>(),
        outer in prop::collection::vec(any_outer(), 1..NESTING_MAX),
        len in 48_usize..1390,
    ) {
        let ends = if ipv6 { far_v6() } else { Options::default().ends };
        let mut levels = vec![Options { ends, udp: inner_udp, ..networks() }];
        for (number, drawn) in (2..).zip(outer) {
            let mut next = level(number, ends, drawn);
            // The header that AH covers does not survive transport mode of ESP: AH goes over it.
            if levels.last().unwrap().ah.is_some() && next.ah.is_none() {
                next.mode = Mode::Tunnel;
            }
            levels.push(next);
        }
        let mut tunnel = nest(&levels);
        let inner = udp_packet(!ipv6, 0, len);
        let mut packet = buffer(&inner);
        match tunnel.seal(&mut packet) {
            Verdict::Send => {
                let mut packet = arrived(&packet);
                prop_assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
                prop_assert_eq!(packet.data(), inner);
            }
            // Too long for a link, and with its own header: AH must be cut, and joined again.
            Verdict::Held => {
                let mut got = None;
                while let Some(piece) = tunnel.left.poll_packet() {
                    let mut piece = arrived_piece(&piece);
                    if tunnel.open(&mut piece) == OpenVerdict::Deliver {
                        got = Some(piece.data().to_vec());
                    }
                }
                prop_assert_eq!(got, joins(&levels).then_some(inner));
            }
            // What the chain has no room for says what would have fitted, and that fits.
            Verdict::Drop(DropReason::TooBig) => {
                let told = size_told(&mut tunnel);
                prop_assert!(told < len);
                let inner = udp_packet(!ipv6, 0, told);
                let verdict = tunnel.seal(&mut buffer(&inner));
                prop_assert!(matches!(verdict, Verdict::Send | Verdict::Held), "{:?}", verdict);
                return Ok(());
            }
            other @ (Verdict::Bypass | Verdict::Drop(_)) => prop_assert!(false, "{:?}", other),
        }
        let counters = tunnel.left.report();
        prop_assert_eq!(counters.drops.total(), 0);
        prop_assert!(counters.sas.iter().all(|sa| sa.packets == 1));
    }
}

/// What the sender of a packet that was too long is told.
fn size_told(tunnel: &mut Tunnel) -> usize {
    let answer = tunnel.left.poll_answer().unwrap();
    let error = IcmpError::read(&IpPacket::read(answer.data()).unwrap()).unwrap();
    usize::try_from(error.too_big().unwrap()).unwrap()
}

/// The kernel joins what is not AH before we see it.
fn joins(levels: &[Options]) -> bool {
    levels.last().unwrap().ah.is_some()
}

fn arrived_piece(piece: &PacketBuf) -> PacketBuf {
    let mut packet = packet_buffer();
    assert!(packet.fill(piece.data()));
    packet.meta = piece.meta;
    std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
    packet
}

/// CHECKLIST S10: a fifth SA is refused on the way out and on the way in.
#[test]
fn there_are_four_levels_and_no_more() {
    let ends = Options::default().ends;
    let levels = |count| -> Vec<Options> {
        let outer = (2..=count).map(|number| between(number, ends, Mode::Tunnel));
        std::iter::once(networks()).chain(outer).collect()
    };
    let inner = udp_packet(false, 0, 100);
    sent(&mut nest(&levels(4)), &inner);

    let five = levels(5);
    let mut tunnel = nest(&five);
    let mut packet = buffer(&inner);
    assert_eq!(tunnel.seal(&mut packet), Verdict::Drop(DropReason::NestedTooDeep));
    assert_eq!(packet.data(), inner);

    // Somebody seals by four of them, and by the fifth.
    let now = tunnel.now;
    let mut four = nest(&five[..4]);
    let fourth = sealed(&mut four, &inner);
    let mut last = Options { right_ts: ts(&["0.0.0.0/0"]), ..five[4].clone() };
    last.ends = ends;
    let mut outermost = sender(now);
    outermost.handle_command(outbound(&last, 0, 0, now), now);
    let mut packet = with_header(&fourth);
    assert_eq!(crate::fixtures::seal(&mut outermost, &mut packet, now), Verdict::Send);
    let mut packet = arrived(&packet);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Drop(DropReason::NestedTooDeep));
}

/// An ESP packet behind the IP header that its addressing says.
fn with_header(sealed: &PacketBuf) -> PacketBuf {
    let (src, dst) = (sealed.meta.local.ip().to_string(), sealed.meta.remote.ip().to_string());
    let mut octets = packet_between(&src, &dst, 0, 28)[..20].to_vec();
    octets.extend(sealed.data());
    let len = u16::try_from(octets.len()).unwrap().to_be_bytes();
    octets[2..4].copy_from_slice(&len);
    octets[9] = IpProtocol::ESP.0;
    octets[10..12].copy_from_slice(&[0, 0]);
    let sum = checksum(&octets[..20]).to_be_bytes();
    octets[10..12].copy_from_slice(&sum);
    buffer(&octets)
}

/// CHECKLIST S10: what comes without its outer SA, or out of one of another policy, does not come in.
#[test]
fn a_packet_that_skipped_its_outer_sa_is_dropped() {
    let ends = Options::default().ends;
    let levels = [networks(), between(2, ends, Mode::Tunnel)];
    let mut tunnel = nest(&levels);
    let mut alone = nest(&levels[..1]);
    let inner = udp_packet(false, 0, 100);
    let naked = sealed(&mut alone, &inner);
    let mut packet = arrived(&naked);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Drop(DropReason::NotNested));
    let count = tunnel.right.counters_of(ChildSaId(1)).unwrap();
    assert_eq!((count.packets, count.drops.get(DropReason::NotNested)), (0, 1));
    assert!(matches!(tunnel.right.poll_event(), Some(Event::Audit(audit))
        if audit.reason == DropReason::NotNested));

    // Out of an SA of another policy it is a packet like any other: it goes to the host.
    let stranger = between(7, ends, Mode::Tunnel);
    let now = tunnel.now;
    tunnel.right.handle_command(inbound(&stranger, 7, 7, now));
    let mut other = sender(now);
    other.handle_command(outbound(&stranger, 0, 0, now), now);
    let mut packet = with_header(&naked);
    let whole = packet.data().to_vec();
    assert_eq!(crate::fixtures::seal(&mut other, &mut packet, now), Verdict::Send);
    let mut packet = arrived(&packet);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert_eq!(packet.data(), whole, "not opened by the nested SA");

    // The right way works after all that.
    sent(&mut tunnel, &inner);
}

/// What travels through an outer SA to some other host is not ours, whatever its SPI.
#[test]
fn packets_for_others_pass() {
    let ends = Options::default().ends;
    let outer = Options { right_ts: ts(&["0.0.0.0/0"]), ..between(2, ends, Mode::Tunnel) };
    let mut tunnel = nest(&[networks(), outer.clone()]);
    let now = tunnel.now;
    let mut alone = nest(&[networks()]);
    let mut elsewhere = sealed(&mut alone, &udp_packet(false, 0, 100));
    elsewhere.meta.remote = "203.0.113.77:0".parse().unwrap();
    let mut other = sender(now);
    other.handle_command(outbound(&outer, 0, 0, now), now);
    let mut packet = with_header(&elsewhere);
    let whole = packet.data().to_vec();
    assert_eq!(crate::fixtures::seal(&mut other, &mut packet, now), Verdict::Send);
    let mut packet = arrived(&packet);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert_eq!(packet.data(), whole);
}

/// What happens to the SAs of a nest of three levels.
#[derive(Clone, Copy, Debug)]
enum Step {
    Install(u32, bool),
    Activate(u32),
    Remove(u32),
    Send,
    Pass(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_u32, any::<bool>()).prop_map(|(level, active)| Step::Install(level, active)),
        1 => (0..40_u32).prop_map(Step::Activate),
        2 => (0..40_u32).prop_map(Step::Remove),
        5 => Just(Step::Send),
        1 => (0..20_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// CHECKLIST S10, S12: whatever is done to the SAs, in whatever order, what leaves is sealed by an
    /// SA of the outermost level and gives back what was sent: no octet of an inner SA is seen.
    #[test]
    fn nothing_of_an_inner_sa_is_ever_seen(
        steps in prop::collection::vec(any_step(), 1..60),
        kinds in any::<[(bool, bool); 2]>(),
    ) {
        let ends = Options::default().ends;
        let tfc = Tfc { padding: 300, dummies: 2 };
        let mut levels = vec![Options { tfc, ..networks() }];
        for (number, (is_ah, is_tunnel)) in (2..).zip(kinds) {
            let is_tunnel = is_tunnel || levels.last().unwrap().ah.is_some();
            levels.push(level(number, ends, (is_ah, is_tunnel, false, 0)));
        }
        let now = start();
        let mut tunnel = Tunnel { left: sender(now), right: Inbound::new(), now };
        let mut outermost = Vec::new();
        let mut number = 0;
        for step in steps {
            let mut left = Vec::new();
            match step {
                Step::Install(at, active) => {
                    number += 1;
                    let child = ChildSaId(number);
                    let options = Options { child, ..levels[at as usize].clone() };
                    tunnel.right.handle_command(inbound(&options, at, 2, now));
                    let sa = Box::new(half_out(&options, at, 2, now));
                    let command = OutboundCommand::Install { sa, active };
                    tunnel.left.handle_command(command, tunnel.now);
                    outermost.extend((at == 2).then_some(crate::fixtures::SPI.0 - 1 + number));
                }
                Step::Activate(number) => {
                    let child = ChildSaId(number);
                    tunnel.left.handle_command(OutboundCommand::Activate { child }, tunnel.now);
                }
                Step::Remove(number) => {
                    let child = ChildSaId(number);
                    tunnel.left.handle_command(OutboundCommand::Remove { child }, tunnel.now);
                }
                Step::Send => {
                    let mut packet = buffer(&udp_packet(false, 0, 200));
                    let verdict = tunnel.seal(&mut packet);
                    if verdict == Verdict::Send {
                        left.push(packet);
                    } else {
                        let kept = [Verdict::Held, Verdict::Drop(DropReason::NoSa)];
                        prop_assert!(kept.contains(&verdict), "{:?}", verdict);
                    }
                }
                Step::Pass(seconds) => {
                    tunnel.now += Duration::from_secs(seconds);
                    tunnel.left.handle_timeout(tunnel.now);
                }
            }
            left.extend(std::iter::from_fn(|| tunnel.left.poll_packet()));
            for packet in left {
                let mut packet = arrived(&packet);
                let spi_at = if packet.meta.whole { 24 } else { 0 };
                let spi: [u8; 4] = packet.data()[spi_at..spi_at + 4].try_into().unwrap();
                prop_assert!(outermost.contains(&u32::from_be_bytes(spi)));
                let verdict = tunnel.open(&mut packet);
                if verdict == OpenVerdict::Deliver {
                    prop_assert_eq!(packet.data(), udp_packet(false, 0, 200));
                } else {
                    prop_assert_eq!(verdict, OpenVerdict::Drop(DropReason::Dummy));
                }
            }
        }
    }
}

/// CHECKLIST S10, S12: while an outer SA is missing nothing leaves, not even sealed; what waited
/// leaves when all are there, and each missing one is asked for.
#[test]
fn nothing_leaves_without_its_outer_sa() {
    let ends = Options::default().ends;
    let levels =
        [networks(), between(2, ends, Mode::Tunnel), ah(between(3, ends, Mode::Transport))];
    let mut tunnel = nest(&levels);
    let now = tunnel.now;
    let inner = udp_packet(false, 0, 100);
    sent(&mut tunnel, &inner);
    for child in [2, 3] {
        tunnel.left.handle_command(OutboundCommand::Remove { child: ChildSaId(child) }, now);
    }
    let mut packet = buffer(&inner);
    assert_eq!(tunnel.seal(&mut packet), Verdict::Held);
    assert_eq!(packet.data(), inner);
    let news = |tunnel: &mut Tunnel| {
        let is_path = |event: &Event| matches!(event, Event::PathMtu { .. });
        std::iter::from_fn(|| tunnel.left.poll_event()).find(|event| !is_path(event))
    };
    let asked = |tunnel: &mut Tunnel| match news(tunnel) {
        Some(Event::Acquire { policy, flow }) => Some((policy.0, flow.protocol)),
        None => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(&mut tunnel), Some((1, IpProtocol::ESP.0)));
    assert!(tunnel.left.poll_packet().is_none());
    assert_eq!(tunnel.left.counters_of(ChildSaId(1)).unwrap().sequence, 1, "no number is spent");

    let renewed = Options { child: ChildSaId(12), ..levels[1].clone() };
    tunnel.left.handle_command(outbound(&renewed, 1, 2, now), now);
    tunnel.right.handle_command(inbound(&renewed, 1, 2, now));
    assert_eq!(asked(&mut tunnel), Some((2, IpProtocol::ESP.0)));
    assert!(tunnel.left.poll_packet().is_none());
    let renewed = Options { child: ChildSaId(13), ..levels[2].clone() };
    tunnel.left.handle_command(outbound(&renewed, 2, 2, now), now);
    tunnel.right.handle_command(inbound(&renewed, 2, 2, now));
    let mut packet = arrived(&tunnel.left.poll_packet().unwrap());
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert_eq!(packet.data(), inner);
    assert!(tunnel.left.poll_packet().is_none() && asked(&mut tunnel).is_none());
}

/// An outer SA that is there but does not carry the inner one's packets is like none.
#[test]
fn an_outer_sa_must_carry_the_packets() {
    let ends = Options::default().ends;
    let narrow = Options { right_ts: ts(&["198.51.100.1[tcp]"]), ..between(2, ends, Mode::Tunnel) };
    let mut tunnel = nest(&[networks(), narrow]);
    let mut packet = buffer(&udp_packet(false, 0, 100));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Held);
    assert!(tunnel.left.poll_packet().is_none());
    let exact = Options {
        left_ts: ts(&["192.0.2.1[esp]"]),
        right_ts: ts(&["198.51.100.1[esp]"]),
        ..between(2, ends, Mode::Tunnel)
    };
    sent(&mut nest(&[networks(), exact]), &udp_packet(false, 0, 100));
}

/// CHECKLIST S10: both levels are rekeyed while packets are under way, and none is lost.
#[test]
fn either_sa_is_renewed_under_way() {
    let ends = Options::default().ends;
    let mut levels = [networks(), between(2, ends, Mode::Tunnel)];
    let mut tunnel = nest(&levels);
    let now = tunnel.now;
    let inner = udp_packet(true, 0, 300);
    for round in 0..6_u32 {
        let level = round % 2;
        let under_way = sealed(&mut tunnel, &inner);
        let old = levels[level as usize].child;
        let renewed = Options { child: ChildSaId(20 + round), ..levels[level as usize].clone() };
        tunnel.right.handle_command(inbound(&renewed, level, 1, now));
        tunnel.left.handle_command(outbound(&renewed, level, 1, now), now);
        tunnel.left.handle_command(OutboundCommand::Remove { child: old }, now);
        levels[level as usize] = renewed;
        sent(&mut tunnel, &inner);
        let mut late = arrived(&under_way);
        assert_eq!(tunnel.open(&mut late), OpenVerdict::Deliver);
        tunnel.right.handle_command(InboundCommand::Remove { child: old });
        let mut later = arrived(&under_way);
        assert!(matches!(tunnel.open(&mut later), OpenVerdict::Drop(_)));
    }
    assert_eq!(tunnel.left.report().drops.total(), 0);
}

/// An inner SA that moves (RFC 4555) takes its place along.
#[test]
fn a_nested_sa_moves() {
    let ends = Options::default().ends;
    let wide = Options {
        left_ts: ts(&["0.0.0.0/0"]),
        right_ts: ts(&["0.0.0.0/0"]),
        ..between(2, ends, Mode::Tunnel)
    };
    let mut tunnel = nest(&[networks(), wide]);
    let (here, there) = ("192.0.2.50:4500".parse().unwrap(), "203.0.113.50:4500".parse().unwrap());
    let child = ChildSaId(1);
    let encap = Encapsulation { udp: true, tcp: false, local: here, remote: there };
    tunnel.left.handle_command(OutboundCommand::UpdatePeer { child, encap }, tunnel.now);
    let mut packet = arrived(&sealed(&mut tunnel, &udp_packet(false, 0, 80)));
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert_eq!(IpPacket::read(packet.data()).unwrap().protocol(), IpProtocol::UDP, "not ours yet");
    let encap = Encapsulation { udp: true, tcp: false, local: there, remote: here };
    tunnel.right.handle_command(InboundCommand::UpdatePeer { child, encap });
    sent(&mut tunnel, &udp_packet(false, 0, 80));
}

/// RFC 4301 §7: an inner packet that was cut on its way to the outer SA is joined before it is opened.
#[test]
fn a_cut_inner_packet_is_joined() {
    let ends = Options::default().ends;
    let mut tunnel = nest(&[networks(), between(2, ends, Mode::Tunnel)]);
    let now = tunnel.now;
    let mut alone = nest(&[networks()]);
    let inner = udp_packet(false, 0, 1_300);
    let mut whole = with_header(&sealed(&mut alone, &inner));
    // Without DF.
    whole.data_mut()[6] = 0;
    let whole = whole.data().to_vec();
    let packet = IpPacket::read(&whole).unwrap();
    let mut outer = sender(now);
    outer.handle_command(outbound(&between(2, ends, Mode::Tunnel), 0, 0, now), now);
    let (mut offset, mut last) = (0, OpenVerdict::Held);
    loop {
        let mut out = vec![0; 700];
        let (len, more) = write_fragment(&packet, 9, offset, 640, &mut out).unwrap();
        let mut piece = buffer(&out[..len]);
        assert_eq!(crate::fixtures::seal(&mut outer, &mut piece, now), Verdict::Send);
        assert_eq!(last, OpenVerdict::Held);
        let mut piece = arrived(&piece);
        last = tunnel.open(&mut piece);
        if !more {
            assert_eq!((last, piece.data()), (OpenVerdict::Deliver, inner.as_slice()));
            return;
        }
        offset += 640;
    }
}

/// CHECKLIST S13: dummies of an inner SA travel like its packets.
#[test]
fn dummies_are_protected_as_well() {
    let ends = Options::default().ends;
    let tfc = Tfc { padding: 600, dummies: 10 };
    let inner = Options { tfc, ..networks() };
    let mut tunnel = nest(&[inner, between(2, ends, Mode::Tunnel)]);
    tunnel.now += Duration::from_secs(1);
    tunnel.left.handle_timeout(tunnel.now);
    let mut dummy = arrived(&tunnel.left.poll_packet().unwrap());
    assert_eq!(tunnel.open(&mut dummy), OpenVerdict::Drop(DropReason::Dummy));
    let counters = tunnel.right.counters_of(ChildSaId(2)).unwrap();
    assert_eq!(counters.packets, 1, "it came through the outer SA");

    let child = ChildSaId(2);
    tunnel.left.handle_command(OutboundCommand::Remove { child }, tunnel.now);
    tunnel.now += Duration::from_secs(1);
    tunnel.left.handle_timeout(tunnel.now);
    assert!(tunnel.left.poll_packet().is_none());
}

/// The outer SA may pad far more than the inner one.
#[test]
fn short_dummies_find_room_for_the_padding_of_the_outer_sa() {
    let ends = Options::default().ends;
    let inner = Options { tfc: Tfc { padding: 0, dummies: 10 }, ..networks() };
    let tfc = Tfc { padding: Tfc::TO_MTU, dummies: 0 };
    let mut tunnel = nest(&[inner, Options { tfc, ..between(2, ends, Mode::Tunnel) }]);
    tunnel.now += Duration::from_secs(1);
    tunnel.left.handle_timeout(tunnel.now);
    let mut dummy = arrived(&tunnel.left.poll_packet().unwrap());
    assert!(dummy.len() > 1_300, "{}", dummy.len());
    assert_eq!(tunnel.open(&mut dummy), OpenVerdict::Drop(DropReason::Dummy));
}

proptest! {
    /// Whatever an outer SA brings for a nested one, with the right SPI in the right place or not, it
    /// is a packet of its sender or none.
    #[test]
    fn a_broken_nested_packet_harms_nobody(
        (udp, is_ah) in any::<(bool, bool)>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        len in any::<prop::sample::Index>(),
    ) {
        let ends = Options::default().ends;
        let inner = Options { udp: udp && !is_ah, ..networks() };
        let inner = if is_ah { ah(inner) } else { inner };
        let outer = Options { right_ts: ts(&["0.0.0.0/0"]), ..between(2, ends, Mode::Tunnel) };
        let mut tunnel = nest(&[inner, outer.clone()]);
        let now = tunnel.now;
        // Open the outer one with a twin of it that has no place above.
        let mut twin = Inbound::new();
        twin.handle_command(inbound(&outer, 1, 1, now));
        let sent = udp_packet(false, 0, 120);
        let mut packet = arrived(&sealed(&mut tunnel, &sent));
        let mut verdicts = Vec::new();
        twin.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, now);
        prop_assert_eq!(&verdicts[..], [OpenVerdict::Deliver]);
        let mut octets = packet.data().to_vec();
        octets.truncate(len.index(octets.len()) + 1);
        for (at, value) in changes {
            let at = at.index(octets.len());
            octets[at] = value;
        }
        let mut other = sender(now);
        other.handle_command(outbound(&outer, 0, 0, now), now);
        let mut again = buffer(&octets);
        if crate::fixtures::seal(&mut other, &mut again, now) == Verdict::Send {
            let mut packet = arrived(&again);
            if tunnel.open(&mut packet) == OpenVerdict::Deliver {
                let total_len = IpPacket::read(&octets).unwrap().total_len();
                let is_same = *packet.data() == octets[..total_len];
                prop_assert!(is_same || packet.data() == sent);
            }
        }
    }
}

/// Octets that only look like a nested packet end nothing.
#[test]
fn what_comes_out_of_an_outer_sa_may_be_anything() {
    let ends = Options::default().ends;
    let udp = Options { udp: true, ..networks() };
    let levels = [udp, between(2, ends, Mode::Tunnel)];
    let mut outer = sender(start());
    let mut tunnel = nest(&levels);
    let now = tunnel.now;
    outer.handle_command(outbound(&levels[1], 0, 0, now), now);
    let (src, dst) = (ends.0.ip().to_string(), ends.1.ip().to_string());
    for protocol in [IpProtocol::ESP, IpProtocol::AH, IpProtocol::UDP] {
        for len in 28..80 {
            let mut octets = packet_between(&src, &dst, 0, len);
            octets[9] = protocol.0;
            let spi = crate::fixtures::SPI.0.to_be_bytes();
            let body = octets.split_at_mut(20).1;
            for (octet, value) in body.iter_mut().zip([0x11, 0x94, 0x11, 0x94, 0, 8, 0, 0]) {
                *octet = value;
            }
            for (octet, value) in body.iter_mut().skip(8).zip(spi) {
                *octet = value;
            }
            octets[10..12].copy_from_slice(&[0, 0]);
            let sum = checksum(&octets[..20]).to_be_bytes();
            octets[10..12].copy_from_slice(&sum);
            let mut packet = buffer(&octets);
            assert_eq!(crate::fixtures::seal(&mut outer, &mut packet, now), Verdict::Send);
            let mut packet = arrived(&copy(&packet));
            assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver, "{protocol:?} {len}");
            assert_eq!(packet.data(), octets);
        }
    }
}
