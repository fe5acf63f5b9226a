//! ICMP security failures: who is told of a packet that was refused, and what (RFC 2521).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_crypto::Authentication;
use adit_dataplane::{
    DropReason, Event, FAILURES_PER_SECOND, InboundCommand, OpenVerdict, Outbound, OutboundCommand,
    Verdict, need_authentication, split,
};
use adit_db::{Action, ChildSaId, IcmpRules, IpComp, SecurityFailures, Spd, SpdEntry};
use adit_wire::PacketBuf;
use adit_wire::iana::{IpProtocol, SecurityFailure};
use adit_wire::ip::{IcmpError, IcmpReport, IpPacket};
use adit_wire::ipcomp::Cpi;

use crate::fixtures::{
    CHILD, Options, POLICY, SPI, Tunnel, buffer, copy, left, packet_between, right, seal, ts,
    udp_packet,
};

/// Options with this wish.
fn wishing(security_failures: SecurityFailures) -> Options {
    let mut icmp = IcmpRules::default();
    icmp.security_failures = security_failures;
    Options { icmp, ..Options::default() }
}

/// A sealed packet with a wrong ICV.
fn forged(tunnel: &mut Tunnel) -> PacketBuf {
    let mut packet = tunnel.sealed(&udp_packet(false, 0, 100));
    *packet.data_mut().last_mut().unwrap() ^= 1;
    packet
}

/// A packet with an SPI that nobody has.
fn stray(tunnel: &mut Tunnel) -> PacketBuf {
    let mut packet = tunnel.sealed(&udp_packet(false, 0, 100));
    packet.data_mut()[..4].copy_from_slice(&0x0bad_5b1d_u32.to_be_bytes());
    packet
}

fn drop_for(tunnel: &mut Tunnel, packet: &mut PacketBuf, reason: DropReason) {
    assert_eq!(tunnel.open(packet), OpenVerdict::Drop(reason));
}

/// The time passes in which an SA might still come.
fn wait(tunnel: &mut Tunnel) {
    tunnel.now += Duration::from_secs(1);
    if tunnel.right.poll_timeout().is_some_and(|at| at <= tunnel.now) {
        tunnel.right.handle_timeout(tunnel.now);
    }
}

fn answers(tunnel: &mut Tunnel) -> Vec<PacketBuf> {
    std::iter::from_fn(|| tunnel.right.poll_answer()).collect()
}

/// The one message, read: code, pointer and SPI.
fn told(tunnel: &mut Tunnel, to: IpAddr) -> (SecurityFailure, u32, Option<u32>) {
    let answers = answers(tunnel);
    assert_eq!(answers.len(), 1);
    let packet = IpPacket::read(answers[0].data()).unwrap();
    assert_eq!((packet.dst(), answers[0].meta.remote.ip()), (to, to));
    assert!(packet.has_good_checksum());
    let error = IcmpError::read(&packet).unwrap();
    assert_eq!(error.about().unwrap().src(), to);
    let spi = error.spi().map(|spi| spi.spi);
    (error.security_failure().unwrap(), error.pointer().unwrap(), spi)
}

/// Off is the default, and what is inside is nothing to tell outside.
#[test]
fn nobody_is_told_unasked() {
    for wish in [SecurityFailures::Off, SecurityFailures::Inside] {
        let mut tunnel = wishing(wish).tunnel();
        let (mut forged, mut stray) = (forged(&mut tunnel), stray(&mut tunnel));
        drop_for(&mut tunnel, &mut forged, DropReason::BadIcv);
        drop_for(&mut tunnel, &mut stray, DropReason::UnknownSpi);
        assert!(answers(&mut tunnel).is_empty());
    }
    assert_eq!(IcmpRules::default().security_failures, SecurityFailures::Off);
}

/// Codes 0 and 1, of ESP in UDP and above IP: the pointer shows the SPI, which is quoted with the sequence
/// number behind it.
#[test]
fn an_outer_source_is_told_if_a_tunnel_says_so() {
    for (udp, spi_at) in [(true, 28), (false, 20)] {
        let mut tunnel = Options { udp, ..wishing(SecurityFailures::All) }.tunnel();
        let mut packet = forged(&mut tunnel);
        let mut again = copy(&packet);
        drop_for(&mut tunnel, &mut packet, DropReason::BadIcv);
        let failed = SecurityFailure::AUTHENTICATION_FAILED;
        assert_eq!(told(&mut tunnel, left().ip()), (failed, spi_at, Some(SPI.0)));

        drop_for(&mut tunnel, &mut again, DropReason::BadIcv);
        let answer = answers(&mut tunnel).remove(0);
        let error = IcmpError::read(&IpPacket::read(answer.data()).unwrap()).unwrap();
        let about = error.about().unwrap();
        assert_eq!((about.src(), about.dst()), (left().ip(), right().ip()));
        let spi = error.spi().unwrap();
        assert_eq!((spi.protocol, spi.sequence), (IpProtocol::ESP, Some(1)));
        assert_eq!(spi.udp_ports, udp.then_some((4_500, 4_500)));

        let mut stray = stray(&mut tunnel);
        drop_for(&mut tunnel, &mut stray, DropReason::UnknownSpi);
        assert!(answers(&mut tunnel).is_empty(), "its SA may be on the way");
        wait(&mut tunnel);
        let expected = (SecurityFailure::BAD_SPI, spi_at, Some(0x0bad_5b1d));
        assert_eq!(told(&mut tunnel, left().ip()), expected);
    }
}

/// AH: its packet is there as it came.
#[test]
fn the_sender_of_ah_is_told() {
    let ah = Some(Authentication::ALL[0]);
    let mut tunnel = Options { ah, udp: false, ..wishing(SecurityFailures::All) }.tunnel();
    let mut packet = forged(&mut tunnel);
    drop_for(&mut tunnel, &mut packet, DropReason::BadIcv);
    let expected = (SecurityFailure::AUTHENTICATION_FAILED, 24, Some(SPI.0));
    assert_eq!(told(&mut tunnel, left().ip()), expected);
}

/// Code 2.
#[test]
fn a_peer_that_compresses_otherwise_is_told() {
    let with = |cpi_out| {
        let ipcomp = IpComp { cpi_in: Cpi(0x3333), cpi_out: Cpi(cpi_out) };
        Options { ipcomp: Some(ipcomp), ..wishing(SecurityFailures::All) }
    };
    let mut tunnel = with(0x1111).tunnel();
    tunnel.right.handle_command(InboundCommand::Remove { child: CHILD });
    tunnel.right.handle_command(with(0x2222).right_half(tunnel.now));
    let mut packet = tunnel.sealed(&udp_packet(false, 0, 1_000));
    drop_for(&mut tunnel, &mut packet, DropReason::UnknownCpi);
    let expected = (SecurityFailure::DECOMPRESSION_FAILED, 28, Some(SPI.0));
    assert_eq!(told(&mut tunnel, left().ip()), expected);
}

/// A stranger whose SPI is nobody's is told nothing, nor a peer whose SAs are gone, and one that has moved
/// is told where it is.
#[test]
fn only_peers_are_told_of_bad_spis() {
    let mut tunnel = wishing(SecurityFailures::All).tunnel();
    let elsewhere = "203.0.113.9:4500".parse().unwrap();
    let from = |tunnel: &mut Tunnel, remote| {
        let mut packet = stray(tunnel);
        packet.meta.remote = remote;
        drop_for(tunnel, &mut packet, DropReason::UnknownSpi);
        wait(tunnel);
        answers(tunnel).len()
    };
    assert_eq!((from(&mut tunnel, elsewhere), from(&mut tunnel, left())), (0, 1));
    let mut encap = wishing(SecurityFailures::All).child_sa(false).encap;
    encap.remote = elsewhere;
    tunnel.right.handle_command(InboundCommand::UpdatePeer { child: CHILD, encap });
    assert_eq!((from(&mut tunnel, elsewhere), from(&mut tunnel, left())), (1, 0));
    tunnel.right.handle_command(InboundCommand::Remove { child: CHILD });
    assert_eq!((from(&mut tunnel, elsewhere), from(&mut tunnel, left())), (0, 0));
}

/// RFC 7296 §2.8: whose SA comes while its packets wait is told nothing, but its stray ones of that time.
#[test]
fn a_peer_whose_packets_are_early_is_told_nothing() {
    let mut tunnel = wishing(SecurityFailures::All).tunnel();
    let next = Options { child: ChildSaId(2), ..wishing(SecurityFailures::All) };
    tunnel.left.handle_command(next.left_half(tunnel.now, true), tunnel.now);
    let mut early = tunnel.sealed(&udp_packet(false, 0, 100));
    let mut stray = stray(&mut tunnel);
    drop_for(&mut tunnel, &mut early, DropReason::UnknownSpi);
    drop_for(&mut tunnel, &mut stray, DropReason::UnknownSpi);
    tunnel.right.handle_command(next.right_half(tunnel.now));
    tunnel.right.handle_timeout(tunnel.now);
    assert_eq!(tunnel.right.unpacked().len(), 1);
    assert_eq!(tunnel.right.poll_timeout(), tunnel.now.checked_add(Duration::from_secs(1)));
    wait(&mut tunnel);
    let (code, _, spi) = told(&mut tunnel, left().ip());
    assert_eq!((code, spi), (SecurityFailure::BAD_SPI, Some(0x0bad_5b1d)));
    assert_eq!(tunnel.right.poll_timeout(), None);
}

/// A packet of ESP in UDP from right to left, as far as a message quotes it.
fn quoted(to: &str, spi: u32, sequence: u32) -> Vec<u8> {
    let mut outer = packet_between("198.51.100.1", to, 0, 60);
    outer[20..24].copy_from_slice(&[0x11, 0x94, 0x11, 0x94]);
    outer[28..32].copy_from_slice(&spi.to_be_bytes());
    outer[32..36].copy_from_slice(&sequence.to_be_bytes());
    outer
}

/// RFC 2521 §2.1, §3: what a peer says through an SA is authentic. If it has none for the SPI of ours that
/// sends, that is replaced; other SPIs, other codes and packets to others are nothing to it.
#[test]
fn an_authentic_bad_spi_has_the_sa_replaced() {
    let options = Options {
        left_ts: ts(&["192.0.2.1/32"]),
        right_ts: ts(&["198.51.100.1/32"]),
        ..Options::default()
    };
    let mut tunnel = options.tunnel();
    let all = || ts(&["0.0.0.0/0"]);
    let entry = SpdEntry { local: all(), remote: all(), action: Action::Protect(POLICY) };
    let spd = Arc::new(Spd::new(vec![entry]).unwrap());
    let set = || OutboundCommand::SetPolicies(Arc::clone(&spd));
    tunnel.left.handle_command(set(), tunnel.now);
    let (_, back) = split(&options.child_sa(false), POLICY, tunnel.now).unwrap();
    let mut ours = Outbound::new();
    ours.handle_command(set(), tunnel.now);
    let install = OutboundCommand::Install { sa: Box::new(back), active: true };
    ours.handle_command(install, tunnel.now);
    let mut packet = buffer(&packet_between("198.51.100.1", "192.0.2.1", 0, 60));
    assert_eq!(seal(&mut ours, &mut packet, tunnel.now), Verdict::Send);
    while ours.poll_event().is_some() {}

    let spi = SPI.0 + 0x1000;
    let bad = SecurityFailure::BAD_SPI;
    for (code, to, spi, expected) in [
        (bad, "192.0.2.1", spi + 1, None),
        (bad, "203.0.113.9", spi, None),
        (SecurityFailure::AUTHENTICATION_FAILED, "192.0.2.1", spi, None),
        (bad, "192.0.2.1", spi, Some(Event::SoftExpire { child: CHILD })),
        // Nothing is asked for twice at once.
        (bad, "192.0.2.1", spi, None),
    ] {
        let about = quoted(to, spi, 1);
        let mut message = vec![0; 576];
        let report = IcmpReport::security_failure(code, 28);
        let about = IpPacket::read(&about).unwrap();
        let len = report.write(&about, left().ip(), &mut message).unwrap();
        message.truncate(len);
        let mut packet = tunnel.sealed(&message);
        tunnel.open(&mut packet);
        while let Some(event) = tunnel.right.poll_event() {
            if let Event::BadSpi { us, peer, quoted } = event {
                ours.handle_command(OutboundCommand::BadSpi { us, peer, quoted }, tunnel.now);
            }
        }
        assert_eq!(ours.poll_event(), expected, "{code:?} {to} {spi:x}");
    }
}

/// Code 5: a host behind the peer hears that a policy discards what came out of the SA. There is no SPI
/// in its packet to point at.
#[test]
fn an_inner_source_is_told_of_a_policy() {
    let discards = |tunnel: &mut Tunnel| {
        let entry = SpdEntry {
            local: ts(&["10.2.0.7", "fd02::7"]),
            remote: ts(&["0.0.0.0/0", "::/0"]),
            action: Action::Discard,
        };
        let spd = Arc::new(Spd::new(vec![entry]).unwrap());
        tunnel.right.handle_command(InboundCommand::SetPolicies(spd));
    };
    for wish in [SecurityFailures::Inside, SecurityFailures::All] {
        let mut tunnel = wishing(wish).tunnel();
        discards(&mut tunnel);
        let inner = udp_packet(false, 0, 100);
        let mut packet = tunnel.sealed(&inner);
        drop_for(&mut tunnel, &mut packet, DropReason::PolicyDiscard);
        let expected = (SecurityFailure::NEED_AUTHORIZATION, 0, None);
        assert_eq!(told(&mut tunnel, "10.1.0.5".parse().unwrap()), expected);

        // Not about an ICMP error, of IPv6 never, and never with more octets than it had.
        let about = packet_between("10.2.0.7", "10.1.0.5", 0, 80);
        let mut error = vec![0; 576];
        let report = IcmpReport::unreachable(true, 1);
        let source = "10.1.0.5".parse().unwrap();
        let len = report.write(&IpPacket::read(&about).unwrap(), source, &mut error).unwrap();
        let short = udp_packet(false, 0, 55);
        for inner in [&error[..len], &udp_packet(true, 0, 100), &short] {
            let mut packet = tunnel.sealed(inner);
            drop_for(&mut tunnel, &mut packet, DropReason::PolicyDiscard);
            assert!(answers(&mut tunnel).is_empty());
        }
    }
    let mut tunnel = wishing(SecurityFailures::Off).tunnel();
    discards(&mut tunnel);
    let mut packet = tunnel.sealed(&udp_packet(false, 0, 100));
    drop_for(&mut tunnel, &mut packet, DropReason::PolicyDiscard);
    assert!(answers(&mut tunnel).is_empty());
}

/// Nobody draws more octets than were sent, whatever the length.
#[test]
fn a_message_is_never_longer_than_its_cause() {
    for udp in [true, false] {
        let mut tunnel = Options { udp, ..wishing(SecurityFailures::All) }.tunnel();
        let mut shortest = None;
        for len in 8..80 {
            let mut packet = buffer(&[&[9, 9, 9, 9][..], &vec![0; len - 4]].concat());
            packet.meta = stray(&mut tunnel).meta;
            drop_for(&mut tunnel, &mut packet, DropReason::UnknownSpi);
            wait(&mut tunnel);
            let outer_len = len + if udp { 28 } else { 20 };
            for answer in answers(&mut tunnel) {
                assert!(answer.len() <= outer_len, "{} for {outer_len}", answer.len());
                shortest.get_or_insert(answer.len());
            }
        }
        assert_eq!(shortest, Some(if udp { 64 } else { 56 }));
    }
}

/// Of IPv6 there is no such message, to what many receive there is no answer, and where our address is
/// not known it may be that of many.
#[test]
fn what_has_no_answer_gets_none() {
    let mut tunnel = wishing(SecurityFailures::All).tunnel();
    let locals = ["[2001:db8::1]:4500", "224.0.0.5:4500", "255.255.255.255:4500", "0.0.0.0:4500"];
    for local in locals {
        let mut packet = forged(&mut tunnel);
        packet.meta.local = local.parse().unwrap();
        drop_for(&mut tunnel, &mut packet, DropReason::BadIcv);
        assert!(answers(&mut tunnel).is_empty(), "{local}");
    }
    let mut by_tcp = forged(&mut tunnel);
    by_tcp.meta.tcp = true;
    drop_for(&mut tunnel, &mut by_tcp, DropReason::BadIcv);
    assert!(answers(&mut tunnel).is_empty());
}

/// A flood of forgeries is not a flood of answers, and what waits is bounded.
#[test]
fn answers_have_a_rate() {
    let mut tunnel = wishing(SecurityFailures::All).tunnel();
    let forged = forged(&mut tunnel);
    let flood = |tunnel: &mut Tunnel| {
        for _ in 0..1_000 {
            drop_for(tunnel, &mut copy(&forged), DropReason::BadIcv);
        }
        answers(tunnel).len()
    };
    let at_once = usize::try_from(FAILURES_PER_SECOND).unwrap();
    assert_eq!(flood(&mut tunnel), at_once);
    assert_eq!(flood(&mut tunnel), 0);
    tunnel.now += Duration::from_millis(500);
    assert_eq!(flood(&mut tunnel), at_once / 2);
}

/// Code 4: who sends in clear what is to be protected; not about errors, to groups, or of IPv6, and never with
/// more octets than it had.
#[test]
fn who_sends_in_clear_is_told_to_authenticate() {
    let clear = udp_packet(false, 0, 200);
    let answer = need_authentication(&clear[..128]).unwrap();
    let packet = IpPacket::read(answer.data()).unwrap();
    assert_eq!(packet.dst(), "10.1.0.5".parse::<IpAddr>().unwrap());
    assert!(packet.src().is_unspecified() && packet.has_good_checksum());
    let error = IcmpError::read(&packet).unwrap();
    assert_eq!(error.security_failure(), Some(SecurityFailure::NEED_AUTHENTICATION));
    assert_eq!((error.pointer(), answer.len()), (Some(0), 56));

    let to_group = packet_between("10.1.0.5", "224.0.0.5", 0, 100);
    let from_nobody = packet_between("0.0.0.0", "10.2.0.7", 0, 100);
    let v6 = udp_packet(true, 0, 100);
    for clear in [answer.data(), &to_group, &from_nobody, &v6, &clear[..55], &[]] {
        assert!(need_authentication(clear).is_none(), "{clear:?}");
    }
}
