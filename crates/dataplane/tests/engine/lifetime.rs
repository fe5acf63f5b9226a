//! Limits of time, octets and packets, RFC 4301 §4.4.2.1.

use std::time::Duration;

use adit_dataplane::{
    DropReason, EXPIRY_INTERVAL, Event, InboundCommand, InboundSa, OpenVerdict, OutboundCommand,
    Verdict,
};
use adit_db::{Amounts, Lifetime, Tfc, USE_INTERVAL};
use adit_wire::esp::Spi;

use crate::fixtures::{CHILD, Options, POLICY, buffer, copy, udp_packet};

fn options(soft: Amounts, hard: Amounts) -> Options {
    Options { lifetime: Lifetime { soft, hard, idle: None }, ..Options::default() }
}

fn packets(count: u64) -> Amounts {
    Amounts { packets: Some(count), ..Amounts::NONE }
}

fn octets(count: u64) -> Amounts {
    Amounts { octets: Some(count), ..Amounts::NONE }
}

fn seconds(count: u64) -> Amounts {
    Amounts { time: Some(Duration::from_secs(count)), ..Amounts::NONE }
}

const SOFT: Event = Event::SoftExpire { child: CHILD };
const HARD: Event = Event::HardExpire { child: CHILD };

/// CHECKLIST S06: by packets and by octets, soft then hard, each told by each direction.
#[test]
fn use_ages_both_directions() {
    for options in [options(packets(2), packets(3)), options(octets(120), octets(180))] {
        let mut tunnel = options.tunnel();
        let inner = udp_packet(false, 0, 60);
        for _ in 0..3 {
            tunnel.send(&inner);
        }
        let mut packet = buffer(&inner);
        for _ in 0..2 {
            assert_eq!(tunnel.seal(&mut packet), Verdict::Drop(DropReason::LifetimeOver));
        }
        assert_eq!(packet.data(), inner);
        let told: Vec<_> = std::iter::from_fn(|| tunnel.left.poll_event()).collect();
        assert_eq!(told, [SOFT, HARD]);
        assert_eq!(tunnel.left.report().sas[0].sequence, 3);

        // The peer's counter may be behind ours: it sends a fourth packet.
        let now = tunnel.now;
        tunnel.left.handle_command(OutboundCommand::Remove { child: CHILD }, now);
        tunnel.left.handle_command(Options::default().left_half_after(3, now), now);
        let mut packet = tunnel.sealed(&inner);
        assert_eq!(tunnel.open(&mut packet), OpenVerdict::Drop(DropReason::LifetimeOver));
        let told: Vec<_> = std::iter::from_fn(|| tunnel.right.poll_event()).collect();
        assert_eq!(told, [Event::Traffic { child: CHILD }, SOFT, HARD]);
    }
}

/// A report may be lost, or the exchange it begins may fail: while packets come it is repeated.
#[test]
fn an_age_is_told_again() {
    let mut tunnel = options(packets(1), packets(1_000)).tunnel();
    let start = tunnel.now;
    let mut told_at = |after: Duration| {
        tunnel.now = start + after;
        tunnel.send(&udp_packet(false, 0, 60));
        let left = std::iter::from_fn(|| tunnel.left.poll_event()).collect::<Vec<_>>();
        let right = std::iter::from_fn(|| tunnel.right.poll_event());
        (left, right.filter(|event| *event == SOFT).count())
    };
    let almost = EXPIRY_INTERVAL - Duration::from_millis(1);
    assert_eq!(told_at(Duration::ZERO), (vec![], 0));
    assert_eq!(told_at(Duration::ZERO), (vec![SOFT], 1));
    assert_eq!(told_at(almost), (vec![], 0));
    assert_eq!(told_at(EXPIRY_INTERVAL), (vec![SOFT], 1));
    assert_eq!(told_at(EXPIRY_INTERVAL + almost), (vec![], 0));
}

/// CHECKLIST S06: time passes without packets, too.
#[test]
fn time_ages_an_idle_sa() {
    let mut tunnel = options(seconds(60), seconds(66)).tunnel();
    let start = tunnel.now;
    let at = |seconds| start + Duration::from_secs(seconds);

    assert_eq!(tunnel.left.poll_timeout(), Some(at(60)));
    tunnel.left.handle_timeout(at(59));
    assert_eq!(tunnel.left.poll_event(), None);
    tunnel.left.handle_timeout(at(60));
    assert_eq!(tunnel.left.poll_event(), Some(SOFT));
    assert_eq!(tunnel.left.poll_timeout(), Some(at(66)));

    tunnel.now = at(65);
    let mut packet = tunnel.sealed(&udp_packet(false, 0, 60));
    tunnel.left.handle_timeout(at(66));
    assert_eq!(tunnel.left.poll_event(), Some(HARD));
    assert_eq!(tunnel.left.poll_event(), None);
    assert_eq!(tunnel.left.poll_timeout(), None);

    tunnel.now = at(66);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Drop(DropReason::LifetimeOver));
    assert_eq!(
        tunnel.seal(&mut buffer(&udp_packet(false, 0, 60))),
        Verdict::Drop(DropReason::LifetimeOver)
    );
}

/// CHECKLIST I16: what holds a number or an SPI keeps it, and leaves nothing behind when it goes.
#[test]
fn an_sa_is_installed_once() {
    let options = Options::default();
    let mut tunnel = options.tunnel();
    let mut other = options.child_sa(false);
    other.spi_in = Spi(other.spi_in.0 + 77);
    let other = Box::new(InboundSa::new(&other, POLICY, tunnel.now).unwrap());
    tunnel.right.handle_command(InboundCommand::Install(other));
    tunnel.right.handle_command(options.right_half(tunnel.now));
    assert_eq!(tunnel.right.report().sas.len(), 1);
    tunnel.send(&udp_packet(false, 0, 60));

    let mut packet = tunnel.sealed(&udp_packet(false, 0, 60));
    let mut stranger = copy(&packet);
    let spi = Spi(tunnel.right.report().sas[0].spi.0 + 77);
    stranger.data_mut()[..4].copy_from_slice(&spi.to_octets());
    let remove = InboundCommand::Remove { child: CHILD };
    tunnel.right.handle_command(remove);
    for packet in [&mut packet, &mut stranger] {
        assert_eq!(tunnel.open(packet), OpenVerdict::Drop(DropReason::UnknownSpi));
    }
}

/// CHECKLIST M10: an SPI that nobody has gets silence.
#[test]
fn removed_sas_open_nothing() {
    let mut tunnel = Options::default().tunnel();
    let mut packet = tunnel.sealed(&udp_packet(false, 0, 60));
    tunnel.right.handle_command(InboundCommand::Remove { child: CHILD });
    tunnel.right.handle_command(InboundCommand::Remove { child: CHILD });
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Drop(DropReason::UnknownSpi));
    assert!(tunnel.right.report().sas.is_empty());
}

/// CHECKLIST S06: idle time. Each direction tells of real packets, now and then; dummies are none.
#[test]
fn packets_that_pass_are_told_to_who_waits_for_idleness() {
    let used = |event: &Event| *event == Event::Used { child: CHILD };
    let mut tunnel = Options::default().tunnel();
    tunnel.send(&udp_packet(false, 0, 60));
    assert!(!std::iter::from_fn(|| tunnel.left.poll_event()).any(|event| used(&event)));
    assert!(!std::iter::from_fn(|| tunnel.right.poll_event()).any(|event| used(&event)));

    let lifetime = Lifetime { idle: Some(Duration::from_secs(600)), ..Lifetime::NONE };
    let tfc = Tfc { padding: 64, dummies: 1 };
    let mut tunnel = Options { lifetime, tfc, ..Options::default() }.tunnel();
    let start = tunnel.now;
    let mut told_at = |after: Duration, is_dummy: bool| {
        tunnel.now = start + after;
        if is_dummy {
            tunnel.left.handle_timeout(tunnel.now);
            let mut dummy = tunnel.left.poll_packet().unwrap();
            std::mem::swap(&mut dummy.meta.local, &mut dummy.meta.remote);
            assert_eq!(tunnel.open(&mut dummy), OpenVerdict::Drop(DropReason::Dummy));
        } else {
            tunnel.send(&udp_packet(false, 0, 60));
        }
        let left = std::iter::from_fn(|| tunnel.left.poll_event()).filter(used).count();
        (left, std::iter::from_fn(|| tunnel.right.poll_event()).filter(used).count())
    };
    let almost = USE_INTERVAL - Duration::from_millis(1);
    assert_eq!(told_at(Duration::ZERO, false), (1, 1));
    assert_eq!(told_at(almost, false), (0, 0));
    assert_eq!(told_at(USE_INTERVAL, false), (1, 1));
    assert_eq!(told_at(USE_INTERVAL * 5, true), (0, 0));
    assert_eq!(told_at(USE_INTERVAL * 5, false), (1, 1));
}
