//! Idle time as a limit of child SAs, RFC 4301 §4.4.2.1 in two endpoints.

#![cfg(test)]

use std::time::Duration;

use adit_db::{Keep, LimitSpec};
use adit_ike::{Event, FailureReason};
use adit_sim::{Pair, Seed, Setup, Side};

const IDLE: Duration = Duration::from_secs(600);
/// A report that packets pass stands for a second of them.
const STEP: Duration = Duration::from_secs(1);

/// The left side brings the tunnel up on demand and lets it idle for ten minutes.
fn idle() -> Setup {
    let mut setup = Setup::new(Seed(7));
    setup.left.dpd_delay = Duration::from_secs(30);
    setup.left.children[0] = setup.left.children[0].clone().kept(Keep::OnDemand);
    setup.left.children[0].lifetime.idle_s = IDLE.as_secs();
    setup
}

fn up(setup: Setup) -> Pair {
    let mut pair = setup.pair();
    pair.left.send_packet(pair.child);
    assert!(pair.run_until(STEP, |pair| !pair.right.child_sas().is_empty()), "{}", pair.ladder());
    pair
}

fn is_up(pair: &Pair) -> bool {
    pair.left.child_sas().len() == 1 && pair.left.child_sas() == pair.right.child_sas().mirrored()
}

fn ends(pair: &Pair) -> Vec<FailureReason> {
    let mut ends = Vec::new();
    for event in pair.left.events() {
        if let Event::ChildDown { reason, .. } = event {
            ends.push(reason.clone());
        }
    }
    ends
}

/// CHECKLIST S06. Signs of life of IKE do not count, and the IKE SA stays.
/// CHECKLIST I17.
#[test]
fn an_idle_child_ends_and_the_next_packet_brings_it_back() {
    let mut pair = up(idle());
    pair.run_for(IDLE - STEP);
    assert!(is_up(&pair), "{}", pair.ladder());
    pair.run_for(STEP * 3);
    assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
    assert_eq!(ends(&pair), [FailureReason::Idle]);
    assert_eq!(pair.left.failures().count(), 0);
    assert_eq!(pair.left.established().len(), 1);

    let before = pair.messages_sent();
    pair.left.send_packet(pair.child);
    assert!(pair.run_until(STEP, is_up), "{}", pair.ladder());
    assert_eq!(pair.messages_sent(), before + 2, "one exchange");
}

/// Packets of either direction begin the time anew, and it never ends too early.
#[test]
fn packets_of_either_direction_keep_it() {
    for side in [Side::Left, Side::Right] {
        let mut pair = up(idle());
        for _ in 0..5 {
            pair.run_for(IDLE - STEP);
            assert!(is_up(&pair), "{}", pair.ladder());
            // The second packet comes too soon after the first to be reported.
            for _ in 0..2 {
                let child = pair.child;
                pair.peer(side).send_packet(child);
                pair.run_for(STEP / 2);
            }
        }
        pair.run_for(IDLE - STEP / 2 - Duration::from_millis(1));
        assert!(is_up(&pair), "{}", pair.ladder());
        pair.run_for(STEP * 2);
        assert!(pair.left.child_sas().is_empty());
    }
}

/// New keys do not begin the time anew, whoever makes them.
#[test]
fn rekeying_is_no_use() {
    for side in [Side::Left, Side::Right] {
        let mut pair = up(idle());
        for _ in 0..5 {
            let child = pair.child;
            pair.run_for(IDLE / 6);
            pair.peer(side).rekey_child(child);
        }
        pair.run_for(IDLE / 6 - STEP);
        assert!(is_up(&pair), "{}", pair.ladder());
        pair.run_for(STEP * 3);
        assert!(pair.left.child_sas().is_empty(), "{}", pair.ladder());
    }
}

/// What nothing has used gets no new keys, and ends; one packet, and it does.
#[test]
fn what_nothing_uses_is_not_rekeyed() {
    for is_used in [false, true] {
        let mut setup = idle();
        setup.left.children[0].lifetime.seconds = LimitSpec { soft: 200, hard: 300, rand: 0 };
        let mut pair = up(setup);
        pair.run_for(Duration::from_secs(250));
        if is_used {
            // The keys are overdue: now they are replaced.
            pair.left.send_packet(pair.child);
        }
        pair.run_for(Duration::from_secs(100));
        assert_eq!(is_up(&pair), is_used, "{}", pair.ladder());
        let expected = if is_used { vec![] } else { vec![FailureReason::Idle] };
        assert_eq!(ends(&pair), expected);
        let is_rekeyed = |event: &Event| matches!(event, Event::ChildRekeyed { .. });
        assert_eq!(pair.left.events().iter().any(is_rekeyed), is_used);
    }
}

/// Both sides find it idle in the same moment.
#[test]
fn both_sides_may_end_it_at_once() {
    let mut setup = idle();
    setup.right.children[0] = setup.right.children[0].clone().kept(Keep::OnDemand);
    setup.right.children[0].lifetime.idle_s = IDLE.as_secs();
    let mut pair = up(setup);
    pair.run_for(IDLE + STEP * 5);
    assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
    pair.right.send_packet(pair.child);
    pair.left.send_packet(pair.child);
    pair.run_for(STEP * 5);
    assert!(is_up(&pair), "{}", pair.ladder());
}
