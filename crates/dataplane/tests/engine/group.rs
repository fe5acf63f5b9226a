//! Multicast SAs (RFC 4301 §4.1, RFC 4303 §2.1, §2.2): which SA a packet is for, and whose number it has.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use adit_crypto::{Cipher, Encryption, Integrity, KeySize};
use adit_dataplane::{
    DropReason, Event, Inbound, InboundCommand, InboundSa, OpenVerdict, Outbound, OutboundCommand,
    OutboundSa, Verdict,
};
use adit_db::{ChildSaId, Mode, WindowSize};
use adit_wire::PacketBuf;
use adit_wire::esp::Spi;

use crate::fixtures::{
    Options, POLICY, buffer, copy, packet_between, protecting_engine, seal, start, ts, udp_packet,
};

const GROUP: &str = "239.1.1.1";
const SPI: Spi = Spi(0x2000);
const ANN: &str = "192.0.2.1";
const BOB: &str = "192.0.2.2";
const EVE: &str = "192.0.2.66";

fn options(child: u32) -> Options {
    let end = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 0);
    Options {
        child: ChildSaId(child),
        cipher: Cipher::Paired(Encryption::AesCbc(KeySize::Bits256), Integrity::HmacSha2_256_128),
        esn: false,
        udp: false,
        ends: (end(ANN), end(GROUP)),
        ..Options::default()
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A sender's engine; everyone has the same key.
fn sender(options: &Options, now: Instant) -> Outbound {
    let mut sa = options.child_sa(true);
    sa.spi_out = SPI;
    let sa = Box::new(OutboundSa::new(&sa, POLICY, now).unwrap());
    let mut engine = protecting_engine(now);
    engine.handle_command(OutboundCommand::Install { sa, active: true }, now);
    engine
}

fn receive(options: &Options, group: Option<&[&str]>, now: Instant) -> InboundCommand {
    let mut sa = options.child_sa(false);
    sa.spi_in = SPI;
    let sa = InboundSa::new(&sa, POLICY, now).unwrap();
    InboundCommand::Install(Box::new(match group {
        Some(senders) => sa.from_group(GROUP.parse().unwrap(), &ips(senders)),
        None => sa,
    }))
}

fn arriving(engine: &mut Outbound, from: &str, now: Instant) -> PacketBuf {
    let mut packet = buffer(&udp_packet(false, 0, 100));
    assert_eq!(seal(engine, &mut packet, now), Verdict::Send);
    assert_eq!(packet.meta.remote.ip(), GROUP.parse::<IpAddr>().unwrap());
    packet.meta.local = packet.meta.remote;
    packet.meta.remote = SocketAddr::new(from.parse().unwrap(), 0);
    packet
}

fn open(engine: &mut Inbound, packet: &PacketBuf, now: Instant) -> OpenVerdict {
    let mut verdicts = Vec::new();
    engine.open_batch(std::slice::from_mut(&mut copy(packet)), &mut verdicts, now);
    verdicts[0]
}

fn carried(engine: &Inbound, child: u32) -> u64 {
    engine.counters_of(ChildSaId(child)).unwrap().packets
}

/// RFC 4301 §4.1: SPI, destination and source go before SPI and destination, these before the SPI.
/// All four SAs have the same SPI.
#[test]
fn the_longest_match_decides() {
    let now = start();
    let mut ann = sender(&options(1), now);
    let mut receiver = Inbound::new();
    receiver.handle_command(receive(&options(1), None, now));
    receiver.handle_command(receive(&options(2), Some(&[]), now));
    receiver.handle_command(receive(&options(3), Some(&[ANN]), now));
    receiver.handle_command(receive(&options(4), Some(&[ANN]), now));

    assert_eq!(open(&mut receiver, &arriving(&mut ann, ANN, now), now), OpenVerdict::Deliver);
    assert_eq!([1, 2, 3].map(|child| carried(&receiver, child)), [0, 0, 1]);
    assert_eq!(open(&mut receiver, &arriving(&mut ann, BOB, now), now), OpenVerdict::Deliver);
    assert_eq!([1, 2, 3].map(|child| carried(&receiver, child)), [0, 1, 1]);
    let mut to_us = arriving(&mut ann, ANN, now);
    to_us.meta.local = "192.0.2.9:0".parse().unwrap();
    assert_eq!(open(&mut receiver, &to_us, now), OpenVerdict::Deliver);
    assert_eq!([1, 2, 3].map(|child| carried(&receiver, child)), [1, 1, 1]);
    let mut elsewhere = arriving(&mut ann, ANN, now);
    elsewhere.meta.local = "239.1.1.2:0".parse().unwrap();
    assert_eq!(open(&mut receiver, &elsewhere, now), OpenVerdict::Deliver);
    assert_eq!([1, 2, 3].map(|child| carried(&receiver, child)), [2, 1, 1]);
    // A place that is taken stays with its SA, and each is given back alone.
    assert_eq!(receiver.counters_of(ChildSaId(4)), None);
    receiver.handle_command(InboundCommand::Remove { child: ChildSaId(3) });
    assert_eq!(open(&mut receiver, &arriving(&mut ann, ANN, now), now), OpenVerdict::Deliver);
    assert_eq!([1, 2].map(|child| carried(&receiver, child)), [2, 2]);
}

/// Where no SA has the SPI alone, other groups and other sources have none at all.
#[test]
fn what_is_for_a_group_is_for_no_other() {
    let now = start();
    let mut ann = sender(&options(1), now);
    let mut receiver = Inbound::new();
    receiver.handle_command(receive(&options(1), Some(&[ANN]), now));
    let unknown = OpenVerdict::Drop(DropReason::UnknownSpi);
    for (local, remote) in [(GROUP, EVE), ("239.1.1.2", ANN), ("192.0.2.9", ANN)] {
        let mut packet = arriving(&mut ann, remote, now);
        packet.meta.local = SocketAddr::new(local.parse().unwrap(), 0);
        assert_eq!(open(&mut receiver, &packet, now), unknown, "{local} {remote}");
    }
    assert_eq!(open(&mut receiver, &arriving(&mut ann, ANN, now), now), OpenVerdict::Deliver);
}

/// RFC 4303 §2.2: counters of several senders say nothing about each other.
#[test]
fn each_sender_has_a_window_of_its_own() {
    let now = start();
    let (mut ann, mut bob) = (sender(&options(1), now), sender(&options(1), now));
    let mut receiver = Inbound::new();
    receiver.handle_command(receive(&options(1), Some(&[BOB, ANN]), now));
    let first = arriving(&mut ann, ANN, now);
    for _ in 0..1_000 {
        let _ = arriving(&mut ann, ANN, now);
    }
    let late = arriving(&mut ann, ANN, now);
    assert_eq!(open(&mut receiver, &late, now), OpenVerdict::Deliver);
    assert_eq!(open(&mut receiver, &late, now), OpenVerdict::Drop(DropReason::Replayed));
    assert_eq!(open(&mut receiver, &first, now), OpenVerdict::Drop(DropReason::TooOld));
    let bobs = arriving(&mut bob, BOB, now);
    assert_eq!(open(&mut receiver, &bobs, now), OpenVerdict::Deliver);
    assert_eq!(open(&mut receiver, &bobs, now), OpenVerdict::Drop(DropReason::Replayed));
    assert_eq!(receiver.report().sas[0].sequence, 1_002);
}

/// Strangers, forgers and members that borrow another's address take nobody's numbers away.
#[test]
fn hostile_sources_move_no_window() {
    let now = start();
    let mut ann = sender(&options(1), now);
    let mut receiver = Inbound::new();
    receiver.handle_command(receive(&options(1), Some(&[ANN, BOB]), now));
    for octet in 0..=255 {
        let stranger = format!("203.0.113.{octet}");
        let packet = arriving(&mut ann, &stranger, now);
        let verdict = open(&mut receiver, &packet, now);
        assert_eq!(verdict, OpenVerdict::Drop(DropReason::UnknownSender));
    }
    let mut forged = arriving(&mut ann, BOB, now);
    forged.data_mut()[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(open(&mut receiver, &forged, now), OpenVerdict::Drop(DropReason::BadIcv));
    let report = receiver.report();
    assert_eq!(report.sas[0].sequence, 0);
    assert_eq!(report.sas[0].drops.get(DropReason::UnknownSender), 256);
    assert!(matches!(receiver.poll_event(), Some(Event::Audit(_))));
    assert_eq!(open(&mut receiver, &arriving(&mut ann, ANN, now), now), OpenVerdict::Deliver);
}

/// Transport mode keeps the group in the packet's own header, and takes it from any member.
#[test]
fn transport_mode_keeps_the_group() {
    let now = start();
    let options = Options {
        mode: Mode::Transport,
        window: WindowSize::OFF,
        left_ts: ts(&["192.0.2.0/24"]),
        right_ts: ts(&["239.1.1.1"]),
        ..options(1)
    };
    let mut ann = sender(&options, now);
    let spd = adit_db::SpdEntry {
        local: ts(&["0.0.0.0/0"]),
        remote: ts(&["239.1.1.1"]),
        action: adit_db::Action::Protect(POLICY),
    };
    let spd = std::sync::Arc::new(adit_db::Spd::new(vec![spd]).unwrap());
    ann.handle_command(OutboundCommand::SetPolicies(spd), now);
    let mut receiver = Inbound::new();
    receiver.handle_command(receive(&options, Some(&[]), now));
    let sent = packet_between(ANN, GROUP, 0, 100);
    let mut packet = buffer(&sent);
    assert_eq!(seal(&mut ann, &mut packet, now), Verdict::Send);
    assert!(packet.meta.whole);
    assert_eq!(&packet.data()[16..20], [239, 1, 1, 1]);
    // As a raw socket has it: the header lies before the packet.
    assert!(packet.pull_front(20));
    packet.meta = adit_wire::PacketMeta {
        whole: false,
        header_len: 20,
        local: SocketAddr::new(GROUP.parse().unwrap(), 0),
        remote: SocketAddr::new(ANN.parse().unwrap(), 0),
        ..packet.meta
    };
    let mut verdicts = Vec::new();
    receiver.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, now);
    assert_eq!(verdicts, [OpenVerdict::Deliver]);
    assert_eq!(packet.data()[12..], sent[12..]);
}

/// RFC 3602 §3: the IVs of a key that is used again after a restart are not those of before.
#[test]
fn a_restart_repeats_no_iv() {
    let now = start();
    let iv = |base: u64| {
        let sa = OutboundSa::new(&options(1).child_sa(true), POLICY, now).unwrap();
        let sa = sa.with_iv_base(base);
        let mut engine = protecting_engine(now);
        engine.handle_command(OutboundCommand::Install { sa: Box::new(sa), active: true }, now);
        let mut packet = buffer(&udp_packet(false, 0, 100));
        assert_eq!(seal(&mut engine, &mut packet, now), Verdict::Send);
        (packet.data()[4..8].to_vec(), packet.data()[8..24].to_vec())
    };
    let (number, first) = iv(0);
    assert_eq!(iv(0), (number.clone(), first.clone()));
    let (again, second) = iv(u64::MAX);
    assert_eq!(again, number);
    assert_ne!(first, second);
}
