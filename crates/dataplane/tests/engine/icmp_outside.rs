//! ICMP from outside, which anybody can send (RFC 4301 §6.1.1, §8.2).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_dataplane::{Complaint, Event, MtuSource, Outbound, OutboundCommand, OutboundSa, Verdict};
use adit_db::{
    ChildSa, ChildSaId, DfPolicy, Encapsulation, IcmpInterfaces, IcmpRed, IcmpRow, IcmpRules,
    IcmpTreatment,
};
use adit_wire::iana::{IpProtocol, SecurityFailure};
use adit_wire::ip::{Icmp, Ipv4Header, Ipv6Header, checksum};

use crate::fixtures::{
    CHILD, Options, POLICY, SPI, Tunnel, buffer, protecting_spd, seal, start, udp_packet,
};

/// What a forger may get wrong.
#[derive(Clone)]
struct Forged {
    ends: (SocketAddr, SocketAddr),
    udp: bool,
    spi: u32,
    sequence: u32,
    kind: u8,
    code: u8,
    mtu: u32,
    /// Octets of the quote behind its IP header.
    quoted: usize,
}

impl Forged {
    fn of(options: &Options) -> Self {
        let is_ipv4 = options.ends.0.is_ipv4();
        let (kind, code) = match is_ipv4 {
            true => (Icmp::UNREACHABLE, Icmp::FRAGMENTATION_NEEDED),
            false => (Icmp::TOO_BIG_V6, 0),
        };
        let (ends, udp) = (options.ends, options.udp);
        Self { ends, udp, spi: SPI.0, sequence: 1, kind, code, mtu: 1_400, quoted: 16 }
    }

    fn quote(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        if self.udp {
            payload.extend(self.ends.0.port().to_be_bytes());
            payload.extend(self.ends.1.port().to_be_bytes());
            payload.extend([5, 200, 0, 0]);
        }
        payload.extend(self.spi.to_be_bytes());
        payload.extend(self.sequence.to_be_bytes());
        payload.resize(1_400, 0);
        let protocol = if self.udp { IpProtocol::UDP } else { IpProtocol::ESP };
        let mut packet = headed(self.ends.0.ip(), self.ends.1.ip(), protocol, &payload);
        let header = packet.len() - payload.len();
        packet.truncate(header + self.quoted);
        packet
    }

    fn octets(&self) -> Vec<u8> {
        let mut message = vec![self.kind, self.code, 0, 0];
        message.extend(self.mtu.to_be_bytes());
        message.extend(self.quote());
        let us = self.ends.0.ip();
        let (router, protocol): (IpAddr, _) = match us {
            IpAddr::V4(_) => ("203.0.113.9".parse().unwrap(), IpProtocol::ICMP),
            IpAddr::V6(_) => ("2001:db8:9::9".parse().unwrap(), IpProtocol::ICMPV6),
        };
        let mut summed = Vec::new();
        if let (IpAddr::V6(src), IpAddr::V6(dst)) = (router, us) {
            summed.extend(src.octets());
            summed.extend(dst.octets());
            summed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
            summed.extend([0, 0, 0, IpProtocol::ICMPV6.0]);
        }
        summed.extend(&message);
        let sum = checksum(&summed).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        headed(router, us, protocol, &message)
    }
}

fn headed(src: IpAddr, dst: IpAddr, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    let mut octets = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Ipv4Header {
            traffic_class: 0,
            total_len: 20 + len,
            identification: 1,
            dont_fragment: true,
            ttl: 60,
            protocol,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Ipv6Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len: len,
            next: protocol,
            hop_limit: 60,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        _ => panic!("two families"),
    };
    octets.extend(payload);
    octets
}

/// A tunnel that has sent a packet.
fn used(options: &Options) -> Tunnel {
    let mut tunnel = options.tunnel();
    let mut packet = buffer(&udp_packet(false, 0, 200));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
    tunnel
}

fn told(tunnel: &mut Tunnel) -> Vec<(u16, MtuSource)> {
    std::iter::from_fn(|| tunnel.left.poll_event())
        .filter_map(|event| {
            let Event::PathMtu { mtu, source, .. } = event else { return None };
            Some((mtu, source))
        })
        .collect()
}

fn every_way() -> [Options; 4] {
    let v6 = ("[2001:db8::1]:4500".parse().unwrap(), "[2001:db8::2]:4500".parse().unwrap());
    let v4 = Options::default().ends;
    [(v4, true), (v4, false), (v6, true), (v6, false)].map(|(ends, udp)| Options {
        ends,
        udp,
        ..Options::default()
    })
}

/// RFC 2521 §3: a security failure that nobody has authenticated changes nothing, whatever its code. One
/// about a packet that was sent is there for people, once a second; others are nobody's.
#[test]
fn a_security_failure_changes_nothing() {
    for options in every_way().into_iter().filter(|options| options.ends.0.is_ipv4()) {
        let mut tunnel = used(&options);
        let failure = Forged { kind: 40, mtu: 20, ..Forged::of(&options) };
        let stale = Forged { sequence: 77, ..failure.clone() }.octets();
        let stray = Forged { spi: 0x101, ..failure.clone() }.octets();
        for message in [stale, stray] {
            assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Unknown);
        }
        for (code, is_told) in (0..6).zip([true].into_iter().chain(std::iter::repeat(false))) {
            let message = Forged { code, ..failure.clone() }.octets();
            let heard = Complaint::Failure { code: SecurityFailure(code), is_told };
            assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), heard);
        }
        assert_eq!(told(&mut tunnel), []);
        let mut packet = buffer(&udp_packet(false, 0, 200));
        assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
        tunnel.now += Duration::from_secs(1);
        let heard = tunnel.left.handle_icmp(&failure.octets(), tunnel.now);
        assert!(matches!(heard, Complaint::Failure { is_told: true, .. }));
    }
}

/// CHECKLIST PM-18: the SA is found by the SPI in the quote, whatever its packets travel in.
#[test]
fn a_quote_of_what_was_sent_is_believed() {
    for options in every_way() {
        let mut tunnel = used(&options);
        let message = Forged::of(&options).octets();
        assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Believed);
        assert_eq!(told(&mut tunnel), [(1_400, MtuSource::Icmp)], "{options:?}");
        // CHECKLIST PM-21: no message raises it.
        let more = Forged { mtu: 1_450, ..Forged::of(&options) }.octets();
        assert_eq!(tunnel.left.handle_icmp(&more, tunnel.now), Complaint::NoNews);
    }
}

/// CHECKLIST PM-20: unknown SPI, wrong destination, wrong ports, wrong sequence number.
#[test]
fn a_quote_of_what_was_not_sent_is_nothing() {
    for options in every_way() {
        let mut tunnel = used(&options);
        let right = Forged::of(&options);
        let mut elsewhere = right.clone();
        elsewhere.ends.1.set_ip(if right.ends.1.is_ipv4() {
            "198.51.100.2".parse().unwrap()
        } else {
            "2001:db8::3".parse().unwrap()
        });
        let mut not_ours = right.clone();
        not_ours.ends.0.set_ip(if right.ends.0.is_ipv4() {
            "192.0.2.77".parse().unwrap()
        } else {
            "2001:db8::77".parse().unwrap()
        });
        let wrong = [
            Forged { spi: SPI.0 + 1, ..right.clone() },
            Forged { sequence: 2, ..right.clone() },
            Forged { sequence: 0, ..right.clone() },
            Forged { sequence: u32::MAX - 5, ..right.clone() },
            Forged { udp: !right.udp, ..right.clone() },
            elsewhere,
            not_ours,
        ];
        for (number, forged) in wrong.iter().enumerate() {
            let complaint = tunnel.left.handle_icmp(&forged.octets(), tunnel.now);
            assert_eq!(complaint, Complaint::Unknown, "{number} {options:?}");
        }
        assert_eq!(told(&mut tunnel), []);
    }
}

/// CHECKLIST PM-19: quotes of the IP header alone, or of 8 octets, or of anything else; PM-29: other
/// messages, which at most prompt a question.
#[test]
fn short_quotes_and_other_messages_change_nothing() {
    for options in every_way() {
        let mut tunnel = used(&options);
        let right = Forged::of(&options);
        let needed = if options.udp { 16 } else { 8 };
        for quoted in 0..needed {
            let message = Forged { quoted, ..right.clone() }.octets();
            let complaint = tunnel.left.handle_icmp(&message, tunnel.now);
            assert_ne!(complaint, Complaint::Believed, "{quoted} {options:?}");
        }
        for kind in 0..=u8::MAX {
            for code in 0..16 {
                let message = Forged { kind, code, ..right.clone() }.octets();
                let is_right = kind == right.kind
                    && (code == right.code || kind == Icmp::TOO_BIG_V6 && !right.ends.0.is_ipv4());
                if is_right {
                    continue;
                }
                let is_ipv4 = options.ends.0.is_ipv4();
                let protocol = if is_ipv4 { IpProtocol::ICMP } else { IpProtocol::ICMPV6 };
                let red = IcmpRules::DEFAULT.red(protocol, Icmp { kind, code });
                let complaint = tunnel.left.handle_icmp(&message, tunnel.now);
                let expected = if kind == Icmp::SECURITY_FAILURE && is_ipv4 {
                    matches!(complaint, Complaint::Failure { .. })
                } else if red == IcmpRed::Prompt {
                    matches!(complaint, Complaint::Prompted | Complaint::TooMany)
                } else {
                    matches!(complaint, Complaint::NotForUs | Complaint::Unheard)
                };
                assert!(expected, "{kind}/{code}: {complaint:?}");
            }
        }
        let message = right.octets();
        for len in 0..message.len() {
            let complaint = tunnel.left.handle_icmp(&message[..len], tunnel.now);
            assert_ne!(complaint, Complaint::Believed, "{len} {options:?}");
        }
        assert_eq!(told(&mut tunnel), []);
    }
}

/// CHECKLIST PM-03, PM-21: absurd sizes lead to the floor of the family, and IPv4 may be cut then.
/// CHECKLIST PM-22: any code of ICMPv6 will do.
#[test]
fn absurd_sizes_are_bounded() {
    for options in every_way() {
        for mtu in [68, 296] {
            let mut tunnel = used(&options);
            let code = if options.ends.0.is_ipv4() { Icmp::FRAGMENTATION_NEEDED } else { 7 };
            let message = Forged { mtu, code, ..Forged::of(&options) }.octets();
            assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Believed);
            let floor = if options.ends.0.is_ipv4() { 576 } else { 1_280 };
            assert_eq!(told(&mut tunnel), [(floor, MtuSource::Icmp)]);
            assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::NoNews);
        }
    }
}

/// RFC 1191 §5: an old router says nothing about the size; the next usual one below the packet's is
/// tried, and nothing may be cut for that.
#[test]
fn a_message_without_a_size_leads_to_the_next_plateau() {
    let options = Options { df: DfPolicy::Set, ..Options::default() };
    let mut tunnel = used(&options);
    let message = Forged { mtu: 0, ..Forged::of(&options) }.octets();
    assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Believed);
    // The packet that is quoted has 1,428 octets.
    assert_eq!(told(&mut tunnel), [(1_006, MtuSource::Icmp)]);
    assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::NoNews);
    assert!(tunnel.sealed(&udp_packet(false, 0, 200)).meta.dont_fragment);
}

/// CHECKLIST PM-03, PM-24: whoever says that he takes less than the floor may cut, but not for longer
/// than anything else of his is believed, and the other threads are told so.
#[test]
fn what_may_be_cut_ages() {
    let options = Options { df: DfPolicy::Set, ..Options::default() };
    let mut tunnel = used(&options);
    let (mut other, now) = (options.tunnel(), tunnel.now);
    let message = Forged { mtu: 296, ..Forged::of(&options) }.octets();
    let inner = udp_packet(false, 0, 200);
    assert_eq!(tunnel.left.handle_icmp(&message, now), Complaint::Believed);
    assert!(!tunnel.sealed(&inner).meta.dont_fragment);
    while let Some(event) = tunnel.left.poll_event() {
        if let Event::PathLearnt { child, mtu, source } = event {
            let command = OutboundCommand::PathMtu { child, mtu, source };
            other.left.handle_command(command, now);
        }
    }
    assert!(!other.sealed(&inner).meta.dont_fragment);
    for engine in [&mut tunnel, &mut other] {
        engine.left.handle_timeout(now + adit_dataplane::MTU_AGEING);
        assert!(engine.sealed(&inner).meta.dont_fragment);
    }
}

/// CHECKLIST PM-20: the thread that reads the messages may send nothing on the SA: what counts is what
/// all have given out, and no number that is old or has not been given out is believed.
#[test]
fn what_another_thread_sent_is_known() {
    let options = Options::default();
    let now = start();
    let parts = OutboundSa::for_threads(&options.child_sa(true), POLICY, now, 2, Some(1)).unwrap();
    let mut threads: Vec<_> = (0..2)
        .zip(parts)
        .map(|(number, part)| {
            let mut engine = Outbound::of_thread(number);
            engine.handle_command(OutboundCommand::SetPolicies(protecting_spd()), now);
            let sa = Box::new(part.with_sequence_after(300_000));
            engine.handle_command(OutboundCommand::Install { sa, active: true }, now);
            engine
        })
        .collect();
    let mut packet = buffer(&udp_packet(false, 0, 200));
    assert_eq!(seal(&mut threads[1], &mut packet, now), Verdict::Send);
    let at = |sequence| Forged { sequence, ..Forged::of(&options) }.octets();
    for wrong in [1, 1_000, 300_100, u32::MAX] {
        assert_eq!(threads[0].handle_icmp(&at(wrong), now), Complaint::Unknown, "{wrong}");
    }
    assert_eq!(threads[0].handle_icmp(&at(300_001), now), Complaint::Believed);
}

/// Two peers behind one NAT may have chosen the same SPI: their ports tell them apart.
#[test]
fn two_peers_behind_one_nat_are_told_apart() {
    let options = Options::default();
    let mut tunnel = used(&options);
    let mut ends = options.ends;
    ends.1.set_port(61_000);
    let second = Options { child: ChildSaId(2), ends, ..options.clone() };
    let second = ChildSa { spi_out: SPI, ..second.child_sa(true) };
    let sa = Box::new(OutboundSa::new(&second, POLICY, tunnel.now).unwrap());
    tunnel.left.handle_command(OutboundCommand::Install { sa, active: false }, tunnel.now);
    let message = Forged::of(&options).octets();
    assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Believed);
    let events: Vec<_> = std::iter::from_fn(|| tunnel.left.poll_event()).collect();
    assert!(events.contains(&Event::PathLearnt {
        child: CHILD,
        mtu: 1_400,
        source: MtuSource::Icmp
    }));
}

/// CHECKLIST PM-03: an SA that has moved to a peer of IPv6 has that one's floor, and nothing of what was
/// learnt about the way to the old one.
#[test]
fn a_move_to_the_other_family_changes_the_floor() {
    let options = Options { df: DfPolicy::Set, ..Options::default() };
    let mut tunnel = used(&options);
    let message = Forged { mtu: 296, ..Forged::of(&options) }.octets();
    assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Believed);
    let ends = ("[2001:db8::1]:4500".parse().unwrap(), "[2001:db8::2]:4500".parse().unwrap());
    let encap = Encapsulation { udp: true, tcp: false, local: ends.0, remote: ends.1 };
    let command = OutboundCommand::UpdatePeer { child: CHILD, encap };
    tunnel.left.handle_command(command, tunnel.now);
    let last = told(&mut tunnel).pop();
    assert_eq!(last, Some((1_500, MtuSource::Link)));
    let v6 = Options { ends, ..options };
    let message = Forged { mtu: 600, ..Forged::of(&v6) }.octets();
    assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Believed);
    assert_eq!(told(&mut tunnel), [(1_280, MtuSource::Icmp)]);
}

/// CHECKLIST PM-21: a peer that lies about one SA, ever a little less, is believed a few times.
#[test]
fn what_is_believed_is_limited() {
    let options = Options::default();
    let mut tunnel = used(&options);
    let mut believed = 0;
    for step in 0..200 {
        tunnel.now += Duration::from_millis(10);
        let message = Forged { mtu: 1_400 - step, ..Forged::of(&options) }.octets();
        believed +=
            usize::from(tunnel.left.handle_icmp(&message, tunnel.now) == Complaint::Believed);
    }
    assert!((4..=5).contains(&believed), "{believed}");
}

/// CHECKLIST PM-20: a hundred thousand forged messages cost less than a microsecond each, or so; the
/// time is generous, since others work beside.
#[test]
fn a_flood_of_forged_messages_is_cheap() {
    let options = Options::default();
    let mut tunnel = used(&options);
    let message = Forged { spi: 0x1234_5678, ..Forged::of(&options) }.octets();
    let before = start();
    for _ in 0..100_000 {
        assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Unknown);
    }
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    assert!(tunnel.left.poll_event().is_none());
}

/// The `red` column of the table is a setting where a message measures the path: then what routers say is
/// taken in silence, whatever it travels in, and the rows beside it are as they were.
#[test]
fn what_routers_say_is_not_heard_by_setting() {
    let mut icmp = IcmpRules::DEFAULT;
    let row = IcmpRow::named("too-big").unwrap();
    icmp.set(row, IcmpTreatment { red: IcmpRed::Discard, ..icmp.treatment(row) });
    for options in every_way() {
        let options = Options { icmp: icmp.clone(), ..options };
        let mut tunnel = used(&options);
        let message = Forged::of(&options).octets();
        assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Unheard);
        assert_eq!(told(&mut tunnel), []);
    }
}

/// The same table with another `red` cell.
fn seen_as(key: &str, red: IcmpRed) -> IcmpRules {
    let mut icmp = IcmpRules::DEFAULT;
    let row = IcmpRow::named(key).unwrap();
    icmp.set(row, IcmpTreatment { red, ..icmp.treatment(row) });
    icmp
}

fn events(tunnel: &mut Tunnel) -> Vec<Event> {
    std::iter::from_fn(|| tunnel.left.poll_event()).collect()
}

/// CHECKLIST PM-29: an error about a packet that was sent lately is a reason to ask the peer, some times; by
/// setting not. About one that was not sent, and a redirect, it never is.
#[test]
fn errors_about_our_packets_prompt_a_question() {
    for options in every_way() {
        let is_ipv4 = options.ends.0.is_ipv4();
        let host = if is_ipv4 { (3, 1) } else { (1, 3) };
        let expired = if is_ipv4 { (11, 0) } else { (3, 0) };
        let problem = if is_ipv4 { (12, 0) } else { (4, 1) };
        for (kind, code) in [host, expired, problem] {
            let mut tunnel = used(&options);
            let message = Forged { kind, code, mtu: 0, ..Forged::of(&options) };
            let stray = Forged { spi: SPI.0 + 1, ..message.clone() }.octets();
            assert_eq!(tunnel.left.handle_icmp(&stray, tunnel.now), Complaint::Unknown);
            let mut heard = Vec::new();
            for _ in 0..100 {
                heard.push(tunnel.left.handle_icmp(&message.octets(), tunnel.now));
            }
            assert_eq!(heard[..4], [Complaint::Prompted; 4], "{kind}/{code}");
            let silent = [Complaint::TooMany, Complaint::Hidden];
            assert!(heard[4..].iter().all(|heard| silent.contains(heard)), "{heard:?}");
            assert_eq!(events(&mut tunnel), [Event::Doubted { child: CHILD }; 4]);
        }

        let icmp = seen_as("host-unreachable", IcmpRed::Discard);
        let mut deaf = used(&Options { icmp, ..options.clone() });
        let (kind, code) = host;
        let message = Forged { kind, code, mtu: 0, ..Forged::of(&options) }.octets();
        assert_eq!(deaf.left.handle_icmp(&message, deaf.now), Complaint::Unheard);
        assert_eq!(events(&mut deaf), []);
    }
}

/// By setting a message that packets are too big is not believed: the path is probed at once where the peer
/// answers that, else the peer is asked whether it is there.
#[test]
fn too_big_may_do_no_more_than_prompt() {
    let icmp = seen_as("too-big", IcmpRed::Prompt);
    for (path_probe, asks) in [(true, false), (false, true)] {
        for options in every_way() {
            let options = Options { icmp: icmp.clone(), path_probe, ..options };
            let mut tunnel = used(&options);
            let message = Forged::of(&options).octets();
            assert_eq!(tunnel.left.handle_icmp(&message, tunnel.now), Complaint::Prompted);
            let doubted = Event::Doubted { child: CHILD };
            let events = events(&mut tunnel);
            assert_eq!(events.contains(&doubted), asks, "{events:?}");
            assert!(!events.iter().any(|event| matches!(event, Event::PathMtu { .. })));
        }
    }
}

/// By setting only some interfaces are outside. What comes by others is said by somebody inside, and has no
/// effect, whatever it is; about an SA that names no interface everybody is heard.
#[test]
fn what_is_said_inside_is_not_heard() {
    let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    let red = IcmpInterfaces::new(names(&["wan0"]), Vec::new());
    let black = IcmpInterfaces::new(Vec::new(), names(&["lan0"]));
    let cases = [
        (IcmpInterfaces::NONE, Some("lan0"), true),
        (red.clone(), Some("wan0"), true),
        (red.clone(), Some("lan0"), false),
        (red, None, false),
        (black.clone(), Some("lan0"), false),
        (black, Some("wan0"), true),
    ];
    for (interfaces, by, hears) in cases {
        let mut icmp = IcmpRules::DEFAULT;
        icmp.interfaces = interfaces;
        for options in every_way() {
            let options = Options { icmp: icmp.clone(), ..options };
            let by = || by.map(str::to_owned);
            let mut tunnel = used(&options);
            let message = Forged::of(&options).octets();
            let complaint = tunnel.left.handle_icmp_by(&message, by, tunnel.now);
            let expected = if hears { Complaint::Believed } else { Complaint::Unheard };
            assert_eq!(complaint, expected);
            assert_eq!(told(&mut tunnel).is_empty(), !hears);

            let is_ipv4 = options.ends.0.is_ipv4();
            let (kind, code) = if is_ipv4 { (11, 0) } else { (3, 0) };
            let expired = Forged { kind, code, mtu: 0, ..Forged::of(&options) }.octets();
            let complaint = tunnel.left.handle_icmp_by(&expired, by, tunnel.now);
            assert_eq!(complaint == Complaint::Unheard, !hears, "{complaint:?}");
            let stray = Forged { spi: SPI.0 + 1, ..Forged::of(&options) }.octets();
            let complaint = tunnel.left.handle_icmp_by(&stray, by, tunnel.now);
            assert_eq!(complaint, Complaint::Unknown);
        }
    }
}
