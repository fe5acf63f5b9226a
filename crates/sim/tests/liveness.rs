//! Liveness checks, lost state, initial contact (RFC 7296 §2.4).

#![cfg(test)]

use std::time::Duration;

use adit_ike::{EndpointConfig, Event};
use adit_sim::{Pair, Seed, Setup};

fn with_dpd(seconds: u64) -> Pair {
    let mut setup = Setup::new(Seed(7));
    setup.left.dpd_delay = Duration::from_secs(seconds);
    setup.pair().up()
}

/// CHECKLIST M01, M02: silence is asked about, traffic is answer enough.
#[test]
fn only_a_silent_peer_is_asked() {
    let mut pair = with_dpd(10);
    let before = pair.messages_sent();
    pair.run_for(Duration::from_secs(35));
    let asked = pair.messages_sent() - before;
    assert!((4..=8).contains(&asked), "{asked} messages");

    let mut pair = with_dpd(10);
    let before = pair.messages_sent();
    for _ in 0..30 {
        pair.right.send_packet(pair.child);
        pair.run_for(Duration::from_secs(1));
    }
    assert_eq!(pair.messages_sent(), before, "{}", pair.ladder());
}

/// CHECKLIST M04: a dead peer is noticed, its SAs go.
#[test]
fn a_dead_peer_is_noticed() {
    let mut pair = with_dpd(10);
    pair.network.cut = true;
    pair.run_for(Duration::from_secs(200));
    assert!(pair.left.ike_sas().is_empty() && pair.left.child_sas().is_empty());
    let told = |event: &Event| matches!(event, Event::IkeDown { reason, .. } if reason.code() == Some(110));
    assert!(pair.left.events().iter().any(told));
}

/// CHECKLIST M07, F24: a peer that lost everything comes back; the old SAs go.
#[test]
fn a_peer_that_comes_back_replaces_its_old_sas() {
    let mut pair = Pair::established(Seed(7));
    let before = pair.right.child_sas();
    pair.left.crash(EndpointConfig::default());
    pair.left.initiate(pair.child);
    pair.run_until_idle();
    assert_eq!(
        (pair.left.ike_sas().len(), pair.right.ike_sas().len()),
        (1, 1),
        "{}",
        pair.ladder()
    );
    assert_ne!(pair.right.child_sas(), before);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
}

/// CHECKLIST M06: the peer lost its state, the check gets no answer, the other side takes it up.
#[test]
fn lost_state_is_noticed_by_the_liveness_check() {
    let mut pair = with_dpd(10);
    pair.right.crash(EndpointConfig::default());
    pair.run_for(Duration::from_secs(200));
    assert!(pair.left.ike_sas().is_empty());
    pair.left.initiate(pair.child);
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.left.child_sas().len(), 1);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
}

/// CHECKLIST N06: who is behind a NAT keeps its mapping alive, nobody else does, and a keepalive
/// is no sign of life.
#[test]
fn only_who_is_behind_a_nat_sends_keepalives() {
    let mut setup = Setup::new(Seed(7)).behind_nat();
    setup.right.dpd_delay = Duration::from_secs(25);
    let mut pair = setup.pair().up();
    let before = pair.messages_sent();
    pair.run_for(Duration::from_secs(65));
    assert_eq!((pair.left.keepalives_received, pair.right.keepalives_received), (0, 3));
    assert!(pair.messages_sent() > before, "the right side asks all the same");

    let mut pair = Pair::established(Seed(7));
    pair.run_for(Duration::from_secs(65));
    assert_eq!((pair.left.keepalives_received, pair.right.keepalives_received), (0, 0));
}
