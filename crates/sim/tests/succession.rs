//! Which child SA carries the traffic, and which ones go together, while one takes the place of another
//! (RFC 7296 §2.8).

#![cfg(test)]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use adit_db::LimitSpec;
use adit_sim::{Child, Fate, Pair, Seed, Setup, Side};
use adit_wire::iana::ExchangeType;

const SIDES: [Side; 2] = [Side::Left, Side::Right];

/// Both ask for one child. The left side's request is under way for so long that the right side has its
/// answer before, and does not see that they crossed: where the left side's SA stays, both have two
/// until the left side has waited long enough.
fn twins(seed: u64) -> Pair {
    let mut pair = Setup::new(Seed(seed)).with_child(2).pair().up();
    pair.network.intercept(|message| {
        let is_late = message.exchange == ExchangeType::CREATE_CHILD_SA
            && message.from == Side::Left
            && !message.response;
        if is_late { Fate::Delay(Duration::from_millis(100)) } else { Fate::Deliver }
    });
    pair.left.initiate(Child(1));
    pair.right.initiate(Child(1));
    pair.run_for(Duration::from_secs(1));
    pair.network.stop_intercepting();
    pair
}

/// CHECKLIST J06: what a child has replaced goes with it, though another one came in between.
#[test]
fn a_child_that_goes_takes_all_that_it_has_replaced_along() {
    let mut seen = 0;
    for seed in 0..8 {
        for side in SIDES {
            let mut pair = twins(seed);
            seen += usize::from(pair.left.child_sas().len() == 3);
            pair.left.rekey_child(Child(1));
            pair.run_for(Duration::from_secs(1));
            pair.peer(side).terminate_child(Child(1));
            pair.run_for(Duration::from_secs(10));
            assert_eq!(pair.left.child_sas().len(), 1, "{}", pair.ladder());
            assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
            let children = pair.left.established()[0].children.len();
            assert_eq!(children, 1, "{}", pair.ladder());
        }
    }
    assert!(seen > 0, "no requests crossed unseen");
}

/// The end of one child moves no traffic to another one that the peer may not have yet.
#[test]
fn traffic_stays_where_the_peer_takes_it() {
    for seed in 0..8 {
        let mut pair = Setup::new(Seed(seed)).with_child(2).pair().up();
        let is_lost = Rc::new(Cell::new(true));
        let is_held_up = Rc::clone(&is_lost);
        // The left side's request for the child arrives when the right side has one and has rekeyed
        // it; the answer is lost, and so is the delete of the first one for a while.
        pair.network.intercept(move |message| {
            let is_create = message.exchange == ExchangeType::CREATE_CHILD_SA;
            match (message.from, is_create, message.response) {
                (Side::Left, true, false) => Fate::Delay(Duration::from_millis(400)),
                (Side::Right, true, true) => Fate::Lose,
                (Side::Right, false, false) if is_held_up.get() => Fate::Lose,
                _ => Fate::Deliver,
            }
        });
        pair.left.initiate(Child(1));
        pair.right.initiate(Child(1));
        pair.run_for(Duration::from_millis(200));
        pair.right.rekey_child(Child(1));
        pair.run_for(Duration::from_secs(1));
        is_lost.set(false);
        pair.run_for(Duration::from_secs(5));
        let before = (pair.left.packets_opened, pair.left.packets_lost);
        pair.right.send_packet(Child(1));
        pair.run_for(Duration::from_secs(1));
        let after = (pair.left.packets_opened, pair.left.packets_lost);
        assert_eq!(after, (before.0 + 1, before.1), "{}", pair.ladder());

        pair.network.stop_intercepting();
        pair.run_for(Duration::from_secs(200));
        assert_eq!(pair.left.child_sas().len(), 2, "{}", pair.ladder());
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    }
}

/// An IKE SA goes when another one has its children, of which the peer has begun to replace one: its end
/// moves no traffic to what the peer has not yet.
#[test]
fn the_end_of_an_ike_sa_moves_no_traffic_to_what_the_peer_has_not() {
    let mut pair = Pair::established(Seed(9));
    // The left side takes its time to delete the IKE SA that it has replaced, and gets no answer about
    // the child that it rekeys on the new one meanwhile.
    pair.network.intercept(|message| match (message.from, message.exchange, message.response) {
        (Side::Left, ExchangeType::INFORMATIONAL, false) => Fate::Delay(Duration::from_secs(2)),
        (Side::Right, ExchangeType::CREATE_CHILD_SA, true) => Fate::Lose,
        _ => Fate::Deliver,
    });
    pair.left.reauthenticate();
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.right.established().len(), 2, "{}", pair.ladder());
    pair.left.rekey_child(pair.child);
    pair.run_until(Duration::from_secs(20), |pair| pair.right.established().len() == 1);
    assert_eq!(pair.right.established()[0].children.len(), 2, "{}", pair.ladder());
    let before = (pair.left.packets_opened, pair.left.packets_lost);
    pair.right.send_packet(pair.child);
    pair.run_for(Duration::from_millis(200));
    let after = (pair.left.packets_opened, pair.left.packets_lost);
    assert_eq!(after, (before.0 + 1, before.1), "{}", pair.ladder());
}

/// The hard lifetime of what the peer replaces is over before our answer reaches it.
#[test]
fn an_end_of_life_moves_no_traffic_to_what_the_peer_has_not() {
    let mut setup = Setup::new(Seed(7));
    setup.right.children[0].lifetime.seconds = LimitSpec { soft: 0, hard: 30, rand: 0 };
    let mut pair = setup.pair().up();
    pair.run_for(Duration::from_secs(28));
    pair.network.intercept(|message| match message.from {
        Side::Right => Fate::Lose,
        Side::Left => Fate::Deliver,
    });
    pair.left.rekey_child(pair.child);
    pair.run_for(Duration::from_secs(4));
    let lost = pair.left.packets_lost;
    pair.right.send_packet(pair.child);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.left.packets_lost, lost, "{}", pair.ladder());

    pair.network.stop_intercepting();
    pair.run_for(Duration::from_secs(20));
    let opened = pair.left.packets_opened;
    pair.right.send_packet(pair.child);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.left.packets_opened, opened + 1, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
}
