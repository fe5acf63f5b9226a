//! Deletes of child SAs and of the IKE SA (RFC 7296 §1.4.1).

#![cfg(test)]

use std::time::Duration;

use adit_sim::{Fate, Pair, Seed, Side};
use adit_wire::iana::ExchangeType;

fn is_empty(pair: &Pair) -> bool {
    pair.left.ike_sas().is_empty()
        && pair.right.ike_sas().is_empty()
        && pair.left.child_sas().is_empty()
        && pair.right.child_sas().is_empty()
}

/// CHECKLIST I05, I13: the IKE SA stays.
#[test]
fn a_child_is_deleted_from_either_side() {
    for side in [Side::Left, Side::Right] {
        let mut pair = Pair::established(Seed(7));
        let child = pair.child;
        pair.peer(side).terminate_child(child);
        pair.run_until_idle();
        assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
        assert_eq!((pair.left.established().len(), pair.right.established().len()), (1, 1));
        // And it can be made again.
        pair.peer(side.other()).initiate(child);
        pair.run_until_idle();
        assert_eq!(pair.left.child_sas().len(), 1);
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    }
}

/// CHECKLIST I06.
#[test]
fn both_sides_may_delete_the_same_child_at_once() {
    let mut pair = Pair::established(Seed(7));
    pair.left.terminate_child(pair.child);
    pair.right.terminate_child(pair.child);
    pair.run_until_idle();
    assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
    assert_eq!((pair.left.established().len(), pair.right.established().len()), (1, 1));
}

/// CHECKLIST I07: one of the two deletes is lost at first.
#[test]
fn a_lost_delete_is_repeated() {
    let mut pair = Pair::established(Seed(7));
    let mut lost = false;
    pair.network.intercept(move |message| {
        if message.exchange == ExchangeType::INFORMATIONAL && !lost {
            lost = true;
            return Fate::Lose;
        }
        Fate::Deliver
    });
    pair.left.terminate_child(pair.child);
    pair.right.terminate_child(pair.child);
    pair.run_until_idle();
    assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
}

/// CHECKLIST M08: the children go with the IKE SA.
#[test]
fn an_ike_sa_is_deleted_from_either_side() {
    for side in [Side::Left, Side::Right] {
        let mut pair = Pair::established(Seed(7));
        pair.peer(side).terminate_ike();
        pair.run_until_idle();
        assert!(is_empty(&pair), "{}", pair.ladder());
    }
}

/// CHECKLIST K13, I09.
#[test]
fn crossing_deletes_leave_nothing() {
    let mut pair = Pair::established(Seed(7));
    pair.left.terminate_ike();
    pair.right.terminate_ike();
    pair.run_until_idle();
    assert!(is_empty(&pair), "{}", pair.ladder());

    let mut pair = Pair::established(Seed(7));
    pair.left.terminate_child(pair.child);
    pair.right.terminate_ike();
    pair.run_until_idle();
    assert!(is_empty(&pair), "{}", pair.ladder());
}

/// CHECKLIST I08: a child delete crosses an IKE rekeying.
#[test]
fn a_child_delete_that_crosses_an_ike_rekeying_is_done() {
    for seed in 0..8 {
        let mut pair = Pair::established(Seed(seed));
        pair.left.rekey_ike();
        pair.right.terminate_child(pair.child);
        pair.run_until_idle();
        pair.run_for(Duration::from_secs(60));
        assert!(
            pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty(),
            "{}",
            pair.ladder()
        );
        assert_eq!(
            (pair.left.ike_sas().len(), pair.right.ike_sas().len()),
            (1, 1),
            "{}",
            pair.ladder()
        );
    }
}

/// CHECKLIST B13, B14: many orders at once wait for each other and come to an end.
#[test]
fn a_queue_of_orders_does_not_deadlock() {
    let mut pair = Pair::established(Seed(7));
    pair.left.rekey_child(pair.child);
    pair.left.rekey_ike();
    pair.left.terminate_ike();
    pair.right.rekey_child(pair.child);
    pair.run_until_idle();
    assert!(is_empty(&pair), "{}", pair.ladder());
}

/// A peer that is gone does not hold up a delete for ever.
#[test]
fn a_delete_to_a_silent_peer_ends() {
    let mut pair = Pair::established(Seed(7));
    pair.network.cut = true;
    pair.left.terminate_ike();
    pair.run_for(Duration::from_secs(120));
    assert!(pair.left.ike_sas().is_empty() && pair.left.child_sas().is_empty());
}

#[test]
fn a_shutdown_says_goodbye() {
    let mut pair = Pair::established(Seed(7));
    pair.left.shut_down();
    pair.run_until_idle();
    assert!(is_empty(&pair), "{}", pair.ladder());
    assert!(pair.left.endpoint().is_idle());
}

/// What leaves is not on its way up.
#[test]
fn leaving_ike_sas_are_counted_as_such() {
    let mut pair = Pair::established(Seed(7));
    let counts = |pair: &Pair| {
        let counts = pair.left.endpoint().ike_sa_counts();
        (counts.established, counts.half_open, counts.leaving)
    };
    assert_eq!(counts(&pair), (1, 0, 0));
    pair.network.intercept(|message| match message.exchange {
        ExchangeType::INFORMATIONAL => Fate::Lose,
        _ => Fate::Deliver,
    });
    pair.left.rekey_ike();
    let is_replaced = |pair: &Pair| counts(pair) == (1, 0, 1);
    assert!(pair.run_until(Duration::from_secs(60), is_replaced), "{}", pair.ladder());
    pair.left.terminate_ike();
    assert_eq!(counts(&pair), (0, 0, 2));
    pair.run_for(Duration::from_secs(600));
    assert_eq!(counts(&pair), (0, 0, 0));
    pair.left.initiate(pair.child);
    assert_eq!(counts(&pair), (0, 1, 0));
}
