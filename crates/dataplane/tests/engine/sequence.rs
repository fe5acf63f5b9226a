//! Sequence numbers and replay, RFC 4303 §3.3.3 and §3.4.3.

use adit_crypto::Cipher;
use adit_dataplane::{
    Audit, DropReason, Event, OpenVerdict, Outbound, OutboundCommand, Verdict, split,
};
use adit_db::WindowSize;

use crate::fixtures::{
    CHILD, Options, POLICY, SPI, Tunnel, buffer, copy, protecting_engine, right, seal, start,
    udp_packet,
};

fn events(engine: &mut Outbound) -> Vec<Event> {
    std::iter::from_fn(|| engine.poll_event()).collect()
}

/// Lets the left engine continue after this number.
fn jump(tunnel: &mut Tunnel, options: &Options, last: u64) {
    let now = tunnel.now;
    tunnel.left.handle_command(OutboundCommand::Remove { child: options.child }, now);
    tunnel.left.handle_command(options.left_half_after(last, now), now);
}

/// CHECKLIST S03: numbers start at 1 and grow by 1; the IV of an AEAD is the number.
#[test]
fn numbers_start_at_one_and_make_the_iv() {
    let mut tunnel = Options::default().tunnel();
    for number in 1_u64..4 {
        let packet = tunnel.sealed(&udp_packet(false, 0, 60));
        assert_eq!(packet.data()[4..8], number.to_be_bytes()[4..]);
        assert_eq!(packet.data()[8..16], number.to_be_bytes());
    }
}

#[test]
fn a_counter_is_never_set_back() {
    let now = start();
    let (_, sa) = split(&Options::default().child_sa(true), POLICY, now).unwrap();
    let sa = Box::new(sa.with_sequence_after(9).with_sequence_after(3));
    let mut engine = protecting_engine(now);
    engine.handle_command(OutboundCommand::Install { sa, active: true }, now);

    let mut packet = buffer(&udp_packet(false, 0, 60));
    assert_eq!(seal(&mut engine, &mut packet, now), Verdict::Send);
    assert_eq!(packet.data()[8..16], 10_u64.to_be_bytes());
}

//= https://www.rfc-editor.org/rfc/rfc6311#section-5.2
//= type=test
//# it MUST increment the replay counters for all Child SAs associated with
//# the current IKE SA by the amount requested by the cluster member.
#[test]
fn numbers_are_left_out_on_request() {
    let mut tunnel = Options::default().tunnel();
    let first = tunnel.sealed(&udp_packet(false, 0, 60));
    assert_eq!(first.data()[8..16], 1_u64.to_be_bytes());
    let (child, now) = (CHILD, tunnel.now);
    tunnel.left.handle_command(OutboundCommand::Skip { child, by: 1_000 }, now);
    let mut next = tunnel.sealed(&udp_packet(false, 0, 60));
    assert_eq!(next.data()[8..16], 1_002_u64.to_be_bytes());
    // Whose SA it is takes that for what it is: a gap.
    assert_eq!(tunnel.open(&mut next), OpenVerdict::Deliver);
}

//= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
//= type=test
//# the sender MUST NOT send a packet on an SA if doing so would cause the
//# sequence number to cycle.
/// CHECKLIST S03: without ESN the SA ends before 2^32, with ESN before 2^64.
#[test]
fn an_sa_ends_with_its_numbers() {
    for (esn, last) in [(false, u64::from(u32::MAX)), (true, u64::MAX)] {
        let now = start();
        let mut engine = protecting_engine(now);
        let options = Options { esn, ..Options::default() };
        engine.handle_command(options.left_half_after(last - 1, now), now);
        let inner = udp_packet(false, 0, 60);

        assert_eq!(seal(&mut engine, &mut buffer(&inner), now), Verdict::Send);
        for _ in 0..2 {
            let mut packet = buffer(&inner);
            let verdict = seal(&mut engine, &mut packet, now);
            assert_eq!(verdict, Verdict::Drop(DropReason::SequenceExhausted));
            assert_eq!(packet.data(), inner);
        }
        let audit = Event::Audit(Audit {
            reason: DropReason::SequenceExhausted,
            spi: SPI,
            sequence: last,
            remote: right(),
        });
        assert_eq!(
            events(&mut engine),
            [Event::SoftExpire { child: CHILD }, Event::HardExpire { child: CHILD }, audit, audit,]
        );
    }
}

/// CHECKLIST S04: duplicates and old packets are dropped, gaps are filled. With ESN an old packet
/// is taken for one from 2^32 later (RFC 4303 Appendix A2.2), which its ICV refutes.
#[test]
fn replays_are_dropped() {
    for (esn, too_old) in [(false, DropReason::TooOld), (true, DropReason::BadIcv)] {
        let mut tunnel = Options { esn, ..Options::default() }.tunnel();
        let sealed: Vec<_> = (0..70).map(|_| tunnel.sealed(&udp_packet(false, 0, 60))).collect();
        let mut open = |index: usize| tunnel.open(&mut copy(&sealed[index]));

        assert_eq!(open(3), OpenVerdict::Deliver);
        assert_eq!(open(3), OpenVerdict::Drop(DropReason::Replayed));
        assert_eq!(open(1), OpenVerdict::Deliver);
        assert_eq!(open(69), OpenVerdict::Deliver);
        assert_eq!(open(6), OpenVerdict::Deliver);
        assert_eq!(open(5), OpenVerdict::Drop(too_old));
        assert_eq!(open(6), OpenVerdict::Drop(DropReason::Replayed));
        let report = tunnel.right.report();
        assert_eq!(report.sas[0].drops.get(DropReason::Replayed), 2);
        assert_eq!(report.sas[0].packets, 4);
    }
}

/// CHECKLIST S04: window 0 takes a packet twice.
#[test]
fn without_window_nothing_is_a_replay() {
    let options = Options { window: WindowSize::OFF, esn: false, ..Options::default() };
    let mut tunnel = options.tunnel();
    let sealed = tunnel.sealed(&udp_packet(false, 0, 60));
    assert_eq!(tunnel.open(&mut copy(&sealed)), OpenVerdict::Deliver);
    assert_eq!(tunnel.open(&mut copy(&sealed)), OpenVerdict::Deliver);
}

/// CHECKLIST S05: the high half is followed across 2^32, whatever carries it.
#[test]
fn esn_crosses_its_boundary() {
    for cipher in Cipher::ALL {
        let options = Options { cipher, ..Options::default() };
        let mut tunnel = options.tunnel();
        for last in [0x7000_0000, 0xe000_0000, 0xffff_fff8] {
            jump(&mut tunnel, &options, last);
            for _ in 0..16 {
                tunnel.send(&udp_packet(true, 0, 60));
            }
        }
        assert_eq!(tunnel.right.report().sas[0].sequence, 0x1_0000_0008);
    }
}

/// CHECKLIST S05: a wrong guess of the high half is not accepted, and moves nothing.
#[test]
fn a_wrong_high_half_fails_the_integrity_check() {
    for cipher in Cipher::ALL {
        let options = Options { cipher, ..Options::default() };
        let mut tunnel = options.tunnel();
        tunnel.send(&udp_packet(false, 0, 60));
        // The receiver cannot know that four thousand million packets were lost.
        jump(&mut tunnel, &options, (1 << 32) + 7);
        let mut packet = tunnel.sealed(&udp_packet(false, 0, 60));
        assert_eq!(tunnel.open(&mut packet), OpenVerdict::Drop(DropReason::BadIcv));
        assert_eq!(tunnel.right.report().sas[0].sequence, 1);
    }
}

#[test]
fn replays_and_forgeries_are_audited_but_not_without_end() {
    let mut tunnel = Options::default().tunnel();
    let sealed = tunnel.sealed(&udp_packet(false, 0, 60));
    for _ in 0..100 {
        tunnel.open(&mut copy(&sealed));
    }
    let audits = std::iter::from_fn(|| tunnel.right.poll_event())
        .filter(|event| matches!(event, Event::Audit(Audit { reason: DropReason::Replayed, .. })));
    assert_eq!(audits.count(), 10);
}
