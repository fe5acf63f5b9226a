//! Packets longer than the path of their SA takes: refused with an answer, cut, or cut outside
//! (RFC 4301 §8), and TCP that is told beforehand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::{
    ANSWERS_PER_SA, ANSWERS_PER_SECOND, DropReason, Event, HEADROOM_MAX, MTU_AGEING, MtuSource,
    OpenVerdict, Outbound, OutboundCommand, OutboundSa, TAILROOM_MAX, Verdict,
};
use adit_db::{
    Action, ChildSaId, DfPolicy, Encapsulation, FragmentPolicy, Mode, MssClamp, MtuPolicy,
    PathMtuRule, PolicyId, Spd, SpdEntry, Tfc,
};
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Icmp, IcmpError, IpPacket, checksum};

use crate::fixtures::{
    CHILD, Options, POLICY, Tunnel, buffer, packet_between, protecting_engine, seal, start, ts,
    udp_packet,
};

/// AES-GCM in UDP over IPv4: 20 and 8 octets, ESP header and IV, trailer, ICV.
const INNER_OF_1280: usize = 1_280 - 20 - 8 - 16 - 2 - 16;

fn learn(engine: &mut Outbound, mtu: u16, source: MtuSource, now: Instant) {
    engine.handle_command(OutboundCommand::PathMtu { child: CHILD, mtu, source }, now);
}

/// A tunnel whose path takes 1,280 octets, as somebody has told.
fn narrow(options: &Options) -> Tunnel {
    let mut tunnel = options.tunnel();
    learn(&mut tunnel.left, 1_280, MtuSource::Icmp, tunnel.now);
    tunnel
}

pub(crate) fn without_df(mut packet: Vec<u8>) -> Vec<u8> {
    packet[6] = 0;
    packet[10..12].fill(0);
    let sum = checksum(&packet[..20]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet
}

fn path_events(engine: &mut Outbound) -> Vec<(u16, u16, MtuSource)> {
    let mut told = Vec::new();
    while let Some(event) = engine.poll_event() {
        if let Event::PathMtu { child: CHILD, mtu, inner, source } = event {
            told.push((mtu, inner, source));
        }
    }
    told
}

/// Checks an answer about `inner` and returns the size that it says.
pub(crate) fn size_told(answer: &PacketBuf, inner: &[u8]) -> u32 {
    let packet = IpPacket::read(answer.data()).unwrap();
    let about = IpPacket::read(inner).unwrap();
    assert_eq!(packet.dst(), about.src());
    // The engine knows no address of ours inside: whoever sends it fills that in.
    assert!(packet.src().is_unspecified());
    assert_eq!(answer.meta.remote.ip(), about.src());
    let error = IcmpError::read(&packet).unwrap();
    assert!(inner.starts_with(error.quoted), "the quote is of the packet");
    let expected = if about.is_ipv4() {
        (IpProtocol::ICMP, Icmp { kind: Icmp::UNREACHABLE, code: Icmp::FRAGMENTATION_NEEDED })
    } else {
        (IpProtocol::ICMPV6, Icmp { kind: Icmp::TOO_BIG_V6, code: 0 })
    };
    assert_eq!((error.protocol, error.icmp), expected);
    error.too_big().unwrap()
}

//= https://www.rfc-editor.org/rfc/rfc4301#section-8.2.1
//= type=test
//# If the DF bit is set (or the packet is IPv6) [...] the IPsec implementation
//# should send an ICMP PMTU message
/// CHECKLIST PM-14: type, code, size, quote and checksum, of both versions; the largest packet passes.
#[test]
fn what_is_too_big_is_dropped_and_answered_with_the_size() {
    for ipv6 in [false, true] {
        let mut tunnel = narrow(&Options::default());
        let limit = if ipv6 { 1_280 } else { INNER_OF_1280 };
        let fits = udp_packet(ipv6, 0, limit.min(INNER_OF_1280));
        assert_eq!(tunnel.send(&fits), fits);
        assert!(tunnel.left.poll_answer().is_none());

        let inner = udp_packet(ipv6, 0, limit + 1);
        let mut packet = buffer(&inner);
        assert_eq!(tunnel.seal(&mut packet), Verdict::Drop(DropReason::TooBig));
        let answer = tunnel.left.poll_answer().unwrap();
        assert_eq!(size_told(&answer, &inner), u32::try_from(limit).unwrap());
        assert!(tunnel.left.poll_answer().is_none());

        let report = tunnel.left.report();
        assert_eq!(report.drops.get(DropReason::TooBig), 1);
        assert_eq!(report.sas[0].drops.get(DropReason::TooBig), 1);
    }
}

/// IPv6 guarantees 1,280 octets: what is no longer is sent, and cut outside if the path takes less
/// (RFC 8200 §5).
#[test]
fn ipv6_packets_of_the_least_mtu_are_never_refused() {
    let mut tunnel = narrow(&Options { df: DfPolicy::Set, ..Options::default() });
    let inner = udp_packet(true, 0, 1_280);
    let mut sealed = tunnel.sealed(&inner);
    assert!(!sealed.meta.dont_fragment, "routers may cut it");
    assert_eq!(tunnel.open(&mut sealed), OpenVerdict::Deliver);
    assert_eq!(sealed.data(), inner);
}

/// CHECKLIST PM-03, PM-25: outside of IPv6 nobody else cuts it: no router, and no kernel that does not know
/// what the path takes (RFC 8200 §5).
#[test]
fn outer_packets_of_ipv6_are_cut_here() {
    let ends = ("[2001:db8::1]:4500".parse().unwrap(), "[2001:db8::2]:4500".parse().unwrap());
    for udp in [true, false] {
        let mut tunnel = narrow(&Options { ends, udp, ..Options::default() });
        let inner = udp_packet(true, 0, 1_280);
        let mut packet = buffer(&inner);
        assert_eq!(tunnel.seal(&mut packet), Verdict::Held);
        let (mut joined, mut count) = (Vec::new(), 0);
        while let Some(piece) = tunnel.left.poll_packet() {
            assert!(piece.meta.whole && piece.len() <= 1_280, "{}", piece.len());
            let read = IpPacket::read(piece.data()).unwrap();
            assert_eq!((read.src(), read.dst()), (ends.0.ip(), ends.1.ip()));
            assert_eq!(usize::from(read.fragment().unwrap().offset), joined.len());
            // IPv6 and fragment header.
            joined.extend_from_slice(&piece.data()[48..read.total_len()]);
            count += 1;
        }
        assert_eq!(count, 2);
        if udp {
            assert_eq!(joined[..4], [0x11, 0x94, 0x11, 0x94]);
            assert_eq!(usize::from(u16::from_be_bytes([joined[4], joined[5]])), joined.len());
            joined.drain(..8);
        }
        let mut arrived = buffer(&joined);
        (arrived.meta.local, arrived.meta.remote, arrived.meta.udp) = (ends.1, ends.0, udp);
        assert_eq!(tunnel.open(&mut arrived), OpenVerdict::Deliver);
        assert_eq!(arrived.data(), inner);
        // What fits goes as it is.
        let mut short = buffer(&udp_packet(true, 0, 1_180));
        assert_eq!(tunnel.seal(&mut short), Verdict::Send);
        assert!(!short.meta.whole);
    }
}

/// CHECKLIST PM-15: an IPv4 packet that may be cut is cut before it is protected; each piece fits.
#[test]
fn without_df_pieces_are_protected() {
    let mut tunnel = narrow(&Options::default());
    let inner = without_df(udp_packet(false, 0, 1_390));
    let mut packet = buffer(&inner);
    assert_eq!(tunnel.seal(&mut packet), Verdict::Held);
    let mut data = Vec::new();
    for expected in [0, 1_192] {
        let mut piece = tunnel.left.poll_packet().unwrap();
        assert!(piece.len() + 28 <= 1_280);
        std::mem::swap(&mut piece.meta.local, &mut piece.meta.remote);
        assert_eq!(tunnel.open(&mut piece), OpenVerdict::Deliver);
        let fragment = IpPacket::read(piece.data()).unwrap();
        assert_eq!(fragment.payload().len().min(1_192), if expected == 0 { 1_192 } else { 178 });
        data.extend_from_slice(fragment.payload());
    }
    assert!(tunnel.left.poll_packet().is_none() && tunnel.left.poll_answer().is_none());
    assert_eq!(data, &inner[20..]);
}

/// CHECKLIST PM-15, PM-17: after, by policy, and in transport mode always: the network may cut it.
#[test]
fn by_policy_what_was_protected_is_cut() {
    let after = MtuPolicy { fragment: FragmentPolicy::After, ..MtuPolicy::default() };
    let mut tunnel = narrow(&Options { mtu: after, df: DfPolicy::Set, ..Options::default() });
    let sealed = tunnel.sealed(&without_df(udp_packet(false, 0, 1_390)));
    assert!(sealed.len() + 28 > 1_280 && !sealed.meta.dont_fragment);

    let ends = ("10.1.0.5:4500".parse().unwrap(), "10.2.0.7:4500".parse().unwrap());
    let host = Options { mode: Mode::Transport, ends, ..Options::default() };
    let mut pair = narrow(&host);
    let mut packet = buffer(&without_df(udp_packet(false, 0, 1_300)));
    assert_eq!(pair.seal(&mut packet), Verdict::Send);
    assert!(!packet.meta.dont_fragment);
}

/// CHECKLIST PM-16, PM-26: who ignores the path MTU has no packet refused and DF off, whatever else.
#[test]
fn an_ignored_path_mtu_refuses_nothing() {
    let mtu = MtuPolicy { path: PathMtuRule::Ignore, ..MtuPolicy::default() };
    let mut tunnel = narrow(&Options { mtu, df: DfPolicy::Set, ..Options::default() });
    for ipv6 in [false, true] {
        let sealed = tunnel.sealed(&udp_packet(ipv6, 0, 1_390));
        assert!(!sealed.meta.dont_fragment);
    }
}

#[test]
fn an_operators_path_mtu_is_not_overruled() {
    let mtu = MtuPolicy { path: PathMtuRule::Fixed(1_280), ..MtuPolicy::default() };
    let mut tunnel = Options { mtu, ..Options::default() }.tunnel();
    let told = [(1_280, u16::try_from(INNER_OF_1280).unwrap(), MtuSource::Operator)];
    assert_eq!(path_events(&mut tunnel.left), told);
    learn(&mut tunnel.left, 600, MtuSource::Icmp, tunnel.now);
    tunnel.sealed(&udp_packet(false, 0, INNER_OF_1280));
    assert_eq!(path_events(&mut tunnel.left), []);
}

/// CHECKLIST PM-21, PM-24: what is in force is told when it changes; ICMP does not raise it; it ages.
#[test]
fn what_was_learnt_is_told_and_ages() {
    let mut tunnel = Options::default().tunnel();
    let now = tunnel.now;
    assert_eq!(path_events(&mut tunnel.left), []);
    learn(&mut tunnel.left, 1_280, MtuSource::Icmp, now);
    learn(&mut tunnel.left, 1_400, MtuSource::Icmp, now);
    let inner = u16::try_from(INNER_OF_1280).unwrap();
    assert_eq!(path_events(&mut tunnel.left), [(1_280, inner, MtuSource::Icmp)]);

    assert_eq!(tunnel.left.poll_timeout(), Some(now + MTU_AGEING));
    tunnel.left.handle_timeout(now + MTU_AGEING);
    assert_eq!(path_events(&mut tunnel.left), [(1_500, 1_438, MtuSource::Link)]);
}

/// CHECKLIST PM-37: the SA that replaces another begins with what that one has learnt, and forgets it
/// at the same time.
#[test]
fn a_rekeyed_sa_inherits() {
    let mut tunnel = narrow(&Options::default());
    let now = tunnel.now;
    let next = Options { child: ChildSaId(2), ..Options::default() };
    tunnel.left.handle_command(next.left_half(now, false), now);
    tunnel.left.handle_command(OutboundCommand::Activate { child: ChildSaId(2) }, now);
    tunnel.left.handle_command(OutboundCommand::Remove { child: CHILD }, now);
    let mut packet = buffer(&udp_packet(false, 0, INNER_OF_1280 + 1));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Drop(DropReason::TooBig));
    let later = now + MTU_AGEING;
    tunnel.left.handle_timeout(later);
    assert_eq!(seal(&mut tunnel.left, &mut packet, later), Verdict::Send);
}

/// CHECKLIST PM-37: but not what the operator wants of that one alone, nor what its link took.
#[test]
fn a_rekeyed_sa_has_its_own_policy_and_link() {
    let now = start();
    let mut engine = protecting_engine(now);
    let mtu = MtuPolicy { path: PathMtuRule::Fixed(1_280), ..MtuPolicy::default() };
    engine.handle_command(Options { mtu, ..Options::default() }.left_half(now, true), now);
    learn(&mut engine, 1_300, MtuSource::Link, now);
    let next = Options { child: ChildSaId(2), ..Options::default() };
    let sa = OutboundSa::new(&next.child_sa(true), POLICY, now).unwrap().with_link_mtu(1_500);
    let sa = Box::new(sa);
    engine.handle_command(OutboundCommand::Install { sa, active: true }, now);
    let mut packet = buffer(&udp_packet(false, 0, 1_390));
    assert_eq!(seal(&mut engine, &mut packet, now), Verdict::Send);
}

/// CHECKLIST PM-38: two SAs to one peer whose overheads differ have a limit each.
#[test]
fn each_sa_has_its_own_limit() {
    let size = |udp| {
        let mut tunnel = narrow(&Options { udp, ..Options::default() });
        let inner = udp_packet(false, 0, 1_300);
        tunnel.seal(&mut buffer(&inner));
        size_told(&tunnel.left.poll_answer().unwrap(), &inner)
    };
    assert_eq!(size(true), u32::try_from(INNER_OF_1280).unwrap());
    assert_eq!(size(false), u32::try_from(INNER_OF_1280).unwrap() + 8);
}

/// CHECKLIST PM-01: two peers behind different links: what is learnt of one path is no matter to the other.
#[test]
fn each_path_has_its_own_number() {
    let now = start();
    let mut engine = Outbound::new();
    let peers = [(1, "10.2.0.0/16", 1_400), (2, "10.3.0.0/16", 1_500)];
    let entry = |(number, remote, _): (u32, &str, u16)| SpdEntry {
        local: ts(&["10.1.0.0/16"]),
        remote: ts(&[remote]),
        action: Action::Protect(PolicyId(number)),
    };
    let spd = Spd::new(peers.into_iter().map(entry).collect()).unwrap();
    engine.handle_command(OutboundCommand::SetPolicies(Arc::new(spd)), now);
    for (number, remote, mtu) in peers {
        let child = ChildSaId(number);
        let options = Options { child, right_ts: ts(&[remote]), ..Options::default() };
        let sa = OutboundSa::new(&options.child_sa(true), PolicyId(number), now).unwrap();
        let sa = Box::new(sa);
        engine.handle_command(OutboundCommand::Install { sa, active: true }, now);
        let source = MtuSource::Icmp;
        engine.handle_command(OutboundCommand::PathMtu { child, mtu, source }, now);
    }
    for (to, limit) in [("10.2.0.7", 1_338), ("10.3.0.7", 1_438)] {
        let inner = |len| packet_between("10.1.0.5", to, 0, len);
        assert_eq!(seal(&mut engine, &mut buffer(&inner(limit)), now), Verdict::Send, "{to}");
        let long = inner(limit + 1);
        let verdict = seal(&mut engine, &mut buffer(&long), now);
        assert_eq!(verdict, Verdict::Drop(DropReason::TooBig), "{to}");
        let told = size_told(&engine.poll_answer().unwrap(), &long);
        assert_eq!(told, u32::try_from(limit).unwrap(), "{to}");
    }
}

/// The first packet is too big already: it waits for the SA, and is answered when that is there.
#[test]
fn a_packet_that_waited_is_answered() {
    let now = start();
    let mut engine = protecting_engine(now);
    let inner = udp_packet(false, 0, 1_390);
    assert_eq!(seal(&mut engine, &mut buffer(&inner), now), Verdict::Held);
    let mtu = MtuPolicy { path: PathMtuRule::Fixed(1_280), ..MtuPolicy::default() };
    engine.handle_command(Options { mtu, ..Options::default() }.left_half(now, true), now);
    let size = size_told(&engine.poll_answer().unwrap(), &inner);
    assert_eq!(size, u32::try_from(INNER_OF_1280).unwrap());
    assert!(engine.poll_packet().is_none());
    assert_eq!(engine.report().drops.get(DropReason::TooBig), 1);
}

/// RFC 1122 §3.2.2, RFC 4443 §2.4 (e): no error about an error, about what went to many, or to nobody.
#[test]
fn some_packets_are_never_answered() {
    let mut tunnel = narrow(&Options::default());
    let mut error = udp_packet(false, 0, 1_300);
    error[9] = IpProtocol::ICMP.0;
    error[20..22].copy_from_slice(&[Icmp::UNREACHABLE, 1]);
    let mut nobody = udp_packet(false, 0, 1_300);
    nobody[12..16].fill(0);
    for inner in [error, nobody] {
        assert_eq!(tunnel.seal(&mut buffer(&inner)), Verdict::Drop(DropReason::TooBig));
        assert!(tunnel.left.poll_answer().is_none());
    }
}

/// CHECKLIST PM-31: a flood is answered ten times a second for one SA, and so often in all.
#[test]
fn answers_are_few() {
    let mut tunnel = narrow(&Options::default());
    let flood = |tunnel: &mut Tunnel, now| {
        let mut answers = 0;
        for _ in 0..1_000 {
            let mut packet = buffer(&udp_packet(false, 0, 1_300));
            assert_eq!(seal(&mut tunnel.left, &mut packet, now), Verdict::Drop(DropReason::TooBig));
            answers += std::iter::from_fn(|| tunnel.left.poll_answer()).count();
        }
        answers
    };
    let per_sa = usize::try_from(ANSWERS_PER_SA).unwrap();
    let now = tunnel.now;
    assert_eq!(flood(&mut tunnel, now), per_sa);
    assert_eq!(flood(&mut tunnel, now + Duration::from_millis(500)), per_sa / 2);
    const { assert!(ANSWERS_PER_SECOND > ANSWERS_PER_SA) };
}

/// Padding that hides lengths is no reason to be over the limit.
#[test]
fn padding_to_the_mtu_follows_the_path() {
    let tfc = Tfc { padding: Tfc::TO_MTU, dummies: 0 };
    let mut tunnel = narrow(&Options { tfc, ..Options::default() });
    let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, 1_500 + TAILROOM_MAX);
    assert!(packet.fill(&udp_packet(false, 0, 100)));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
    assert_eq!(packet.len() + 28, 1_280);
}

/// CHECKLIST PM-39: what a SYN says follows the path, into the tunnel and out of it.
#[test]
fn syns_say_what_fits() {
    for (clamp, expected) in
        [(MssClamp::ToPath, INNER_OF_1280 - 40), (MssClamp::Off, 1_460), (MssClamp::To(900), 900)]
    {
        let mtu = MtuPolicy { mss: clamp, ..MtuPolicy::default() };
        let mut tunnel = narrow(&Options { mtu, ..Options::default() });
        let out = tunnel.send(&syn("10.1.0.5", "10.2.0.7"));
        // Once it leaves, and again where it comes in: that side knows only its link.
        assert_eq!(usize::from(mss_of(&out)), expected.min(1_460));
    }
}

/// A SYN of 44 octets with an MSS of 1,460.
pub(crate) fn syn(src: &str, dst: &str) -> Vec<u8> {
    let mut packet = packet_between(src, dst, 0, 44);
    packet[9] = IpProtocol::TCP.0;
    packet[10..12].fill(0);
    let sum = checksum(&packet[..20]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet[20..].fill(0);
    packet[20..24].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    packet[32] = 6 << 4;
    packet[33] = 0x02;
    packet[40..].copy_from_slice(&[2, 4, 5, 180]);
    let sum = tcp_sum(&packet).to_be_bytes();
    packet[36..38].copy_from_slice(&sum);
    packet
}

pub(crate) fn mss_of(packet: &[u8]) -> u16 {
    assert_eq!(tcp_sum(packet), 0, "the checksum is right");
    u16::from_be_bytes([packet[42], packet[43]])
}

fn tcp_sum(packet: &[u8]) -> u16 {
    let mut summed = packet[12..20].to_vec();
    summed.extend([0, 6, 0, 24]);
    summed.extend(&packet[20..44]);
    checksum(&summed)
}

/// CHECKLIST PM-11: what is learnt about a path is listed by every thread, and goes with the SA and with the
/// peer's address, on all of them: nothing of it is left for who comes next, and no timer. A thousand
/// SAs go at once as one does.
#[test]
fn what_is_learnt_goes_with_its_sa_on_every_thread() {
    let options = Options::default();
    let now = start();
    let mut threads: Vec<_> = (0..4).map(Outbound::of_thread).collect();
    let install = |threads: &mut Vec<Outbound>, child| {
        let sa = Options { child, ..options.clone() }.child_sa(true);
        let parts = OutboundSa::for_threads(&sa, POLICY, now, 4, None).unwrap();
        for (thread, sa) in threads.iter_mut().zip(parts) {
            let sa = Box::new(sa);
            thread.handle_command(OutboundCommand::Install { sa, active: true }, now);
        }
    };
    let listed = |threads: &mut Vec<Outbound>, child| -> Vec<_> {
        let path = |thread: &mut Outbound| thread.counters_of(child).and_then(|sa| sa.path);
        threads.iter_mut().map(|thread| path(thread).map(|path| (path.mtu, path.source))).collect()
    };
    let tell = |threads: &mut Vec<Outbound>, command: &dyn Fn() -> OutboundCommand| {
        threads.iter_mut().for_each(|thread| thread.handle_command(command(), now));
    };
    let children: Vec<_> = (1..=1_000).map(ChildSaId).collect();
    for child in &children {
        install(&mut threads, *child);
        let (child, mtu, source) = (*child, 1_300, MtuSource::Icmp);
        tell(&mut threads, &|| OutboundCommand::PathMtu { child, mtu, source });
        assert_eq!(listed(&mut threads, child), [Some((1_300, MtuSource::Icmp)); 4]);
    }
    assert!(threads.iter().all(|thread| thread.poll_timeout().is_some()), "it ages");

    // The peer is elsewhere: what was known of the way to where it was is no use.
    let (child, encap) = (children[0], options.child_sa(true).encap);
    let remote = "203.0.113.77:4500".parse().unwrap();
    tell(&mut threads, &|| OutboundCommand::UpdatePeer {
        child,
        encap: Encapsulation { remote, ..encap },
    });
    assert_eq!(listed(&mut threads, child), [Some((1_500, MtuSource::Link)); 4]);

    for child in &children {
        let child = *child;
        tell(&mut threads, &|| OutboundCommand::Remove { child });
        assert_eq!(listed(&mut threads, child), [None; 4]);
    }
    for thread in &mut threads {
        thread.handle_timeout(now + MTU_AGEING);
        assert_eq!(thread.poll_timeout(), None, "nothing is left that ages");
        assert_eq!(thread.report().sas.len(), 0);
    }
    install(&mut threads, ChildSaId(1));
    assert_eq!(listed(&mut threads, ChildSaId(1)), [Some((1_500, MtuSource::Link)); 4]);
}

/// AES-GCM in UDP over IPv4, for inner packets that are a multiple of four octets and two longer.
const AROUND: usize = 20 + 8 + 16 + 2 + 16;

/// A tunnel over a link that takes 9,000 octets, with an interface for that.
fn jumbo(options: &Options) -> Tunnel {
    let mut tunnel = options.tunnel();
    learn(&mut tunnel.left, 9_000, MtuSource::Link, tunnel.now);
    tunnel.left.handle_command(OutboundCommand::TunMtu(8_890), tunnel.now);
    tunnel
}

/// CHECKLIST PM-10, PM-13: over larger links packets are as long as these take, to the octet and with the DF
/// bit that the policy wants; and when the path takes less their senders hear of it.
#[test]
fn packets_are_as_long_as_larger_links_take() {
    for df in [DfPolicy::Clear, DfPolicy::Copy] {
        let mut tunnel = jumbo(&Options { df, ..Options::default() });
        let inner = udp_packet(false, 0, 8_890);
        let sealed = tunnel.sealed(&inner);
        assert!(sealed.len() + 28 <= 9_000 && sealed.len() + 28 > 8_890 + AROUND - 4);
        assert_eq!(sealed.meta.dont_fragment, df == DfPolicy::Copy);
        assert_eq!(tunnel.send(&inner), inner);

        learn(&mut tunnel.left, 1_500, MtuSource::Icmp, tunnel.now);
        assert_eq!(tunnel.seal(&mut buffer(&inner)), Verdict::Drop(DropReason::TooBig));
        let answer = tunnel.left.poll_answer().unwrap();
        assert_eq!(size_told(&answer, &inner), 1_438);
        assert_eq!(tunnel.seal(&mut buffer(&without_df(inner))), Verdict::Held);
        let pieces = std::iter::from_fn(|| tunnel.left.poll_packet());
        assert!(pieces.map(|piece| piece.len() + 28).eq([1_500; 6].into_iter().chain([456])));
    }
}

/// CHECKLIST PM-10: where the interface takes more than an SA, whoever has the routes hears of that.
#[test]
fn what_takes_less_than_the_interface_is_told() {
    let mut tunnel = Options::default().tunnel();
    assert_eq!(path_events(&mut tunnel.left), []);
    tunnel.left.handle_command(OutboundCommand::TunMtu(8_890), tunnel.now);
    assert_eq!(path_events(&mut tunnel.left), [(1_500, 1_438, MtuSource::Link)]);
    let next = Options { child: ChildSaId(2), ..Options::default() };
    tunnel.left.handle_command(next.left_half(tunnel.now, true), tunnel.now);
    let told = std::iter::from_fn(|| tunnel.left.poll_event());
    let told: Vec<_> = told.filter(|it| matches!(it, Event::PathMtu { .. })).collect();
    assert!(matches!(told[..], [Event::PathMtu { child: ChildSaId(2), inner: 1_438, .. }]));
}

/// All are filled up to what the interface takes, those that waited for their SA and pieces included.
#[test]
fn packets_are_filled_up_to_what_the_interface_takes() {
    let options = Options { tfc: Tfc { padding: Tfc::TO_MTU, ..Tfc::OFF }, ..Options::default() };
    let mut left = protecting_engine(start());
    left.handle_command(OutboundCommand::TunMtu(8_890), start());
    let inner = udp_packet(false, 0, 100);
    assert_eq!(seal(&mut left, &mut buffer(&inner), start()), Verdict::Held);
    left.handle_command(options.left_half(start(), false), start());
    learn(&mut left, 9_000, MtuSource::Link, start());
    left.handle_command(OutboundCommand::Activate { child: CHILD }, start());
    let held = left.poll_packet().unwrap();
    let mut tunnel = Tunnel { left, ..jumbo(&options) };
    let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, 8_890 + TAILROOM_MAX);
    assert!(packet.fill(&udp_packet(true, 0, 2_000)));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
    assert!(held.len() == packet.len() && held.len() > 8_890);
}

/// What leaves in clear beside the tunnels goes by other links, and stays within what all take.
#[test]
fn long_packets_in_clear_are_cut_or_refused() {
    let entry = SpdEntry {
        local: ts(&["0.0.0.0/0", "::/0"]),
        remote: ts(&["0.0.0.0/0", "::/0"]),
        action: Action::Bypass,
    };
    let spd = Arc::new(Spd::new(vec![entry]).unwrap());
    let mut engine = Outbound::new();
    engine.handle_command(OutboundCommand::SetPolicies(spd), start());
    for ipv6 in [false, true] {
        let fits = seal(&mut engine, &mut buffer(&udp_packet(ipv6, 0, 1_390)), start());
        assert_eq!(fits, Verdict::Bypass);
        let long = udp_packet(ipv6, 0, 5_000);
        let refused = seal(&mut engine, &mut buffer(&long), start());
        assert_eq!(refused, Verdict::Drop(DropReason::TooBig));
        assert_eq!(size_told(&engine.poll_answer().unwrap(), &long), 1_390);
    }
    let long = without_df(udp_packet(false, 0, 5_000));
    assert_eq!(seal(&mut engine, &mut buffer(&long), start()), Verdict::Held);
    let pieces: Vec<_> = std::iter::from_fn(|| engine.poll_packet()).collect();
    assert!(pieces.iter().all(|piece| piece.meta.whole && piece.len() <= 1_390));
    assert_eq!(pieces.iter().map(|piece| piece.len() - 20).sum::<usize>(), 4_980);
}

/// CHECKLIST PM-11, PM-24: what was learnt can be forgotten before it ages, and is told with the time until
/// then; what the first link and the operator say stays.
#[test]
fn what_was_learnt_is_forgotten_by_command() {
    let mut tunnel = narrow(&Options::default());
    let forget = || OutboundCommand::ForgetPath { child: CHILD };
    let known = |tunnel: &mut Tunnel| tunnel.left.report().sas[0].path.unwrap();
    assert_eq!(known(&mut tunnel).told, Some(tunnel.now));
    learn(&mut tunnel.left, 1_400, MtuSource::Link, tunnel.now);
    path_events(&mut tunnel.left);
    tunnel.left.handle_command(forget(), tunnel.now);
    let (path, told) = (known(&mut tunnel), path_events(&mut tunnel.left));
    assert_eq!((path.mtu, path.source, path.told), (1_400, MtuSource::Link, None));
    assert_eq!(told, [(1_400, path.inner, MtuSource::Link)]);

    learn(&mut tunnel.left, 1_300, MtuSource::Operator, tunnel.now);
    tunnel.left.handle_command(forget(), tunnel.now);
    let path = known(&mut tunnel);
    assert_eq!((path.mtu, path.source, path.told), (1_300, MtuSource::Operator, None));
    let nobody = OutboundCommand::ForgetPath { child: ChildSaId(99) };
    tunnel.left.handle_command(nobody, tunnel.now);
}
