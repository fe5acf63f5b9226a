//! Retransmission, duplicates and reordering.

#![cfg(test)]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use adit_sim::{Fate, Faults, Pair, Seed, Setup, Side};
use adit_wire::iana::ExchangeType;

/// CHECKLIST B01 to B04: any one message of the handshake may be lost.
#[test]
fn each_message_may_be_lost_once() {
    for lost in 0..6 {
        let mut pair = Setup::new(Seed(7)).pair();
        let mut count = 0;
        pair.network.intercept(move |_| {
            count += 1;
            if count == lost + 1 { Fate::Lose } else { Fate::Deliver }
        });
        let pair = pair.up();
        assert_eq!(pair.right.established().len(), 1, "{}", pair.ladder());
    }
}

/// CHECKLIST B07: duplicates of everything make no new state.
#[test]
fn duplicates_of_everything_change_nothing() {
    let mut pair = Setup::new(Seed(7)).pair();
    pair.network.intercept(|_| Fate::Duplicate);
    let mut pair = pair.up();
    pair.left.rekey_child(pair.child);
    pair.run_until_idle();
    pair.right.rekey_ike();
    pair.run_until_idle();
    assert_eq!(pair.left.ike_sas().len(), 1);
    assert_eq!(pair.right.ike_sas().len(), 1);
    assert_eq!(pair.left.child_sas().len(), 1);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
}

/// CHECKLIST B06: a lost response to CREATE_CHILD_SA is repeated; no second SA is made.
#[test]
fn a_repeated_create_child_sa_makes_one_sa() {
    let mut pair = Pair::established(Seed(7));
    let lost = Rc::new(Cell::new(0));
    let counter = lost.clone();
    pair.network.intercept(move |message| {
        let is_response = message.exchange == ExchangeType::CREATE_CHILD_SA && message.response;
        if is_response && counter.get() < 3 {
            counter.set(counter.get() + 1);
            return Fate::Lose;
        }
        Fate::Deliver
    });
    pair.left.rekey_child(pair.child);
    pair.run_until_idle();
    assert_eq!(lost.get(), 3);
    assert_eq!(pair.left.child_sas().len(), 1);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
}

/// CHECKLIST B11: after the last transmission the peer is silent, and the request is told so.
#[test]
fn a_silent_peer_is_given_up() {
    let mut pair = Setup::new(Seed(7)).pair();
    pair.network.cut = true;
    let request = pair.left.initiate(pair.child);
    pair.run_for(Duration::from_secs(60));
    let failure = pair.left.result(request).unwrap().as_ref().unwrap_err();
    assert_eq!(failure.reason.code(), Some(110));
    assert_eq!(pair.left.ike_sas().len(), 0);
}

/// A handshake through a third of loss, with everything out of order.
#[test]
fn a_bad_network_only_takes_longer() {
    for seed in 0..10 {
        let mut setup = Setup::new(Seed(seed));
        setup.faults = Faults {
            loss_percent: 20,
            duplicate_percent: 20,
            delay_min: Duration::from_millis(5),
            delay_max: Duration::from_millis(300),
        };
        let mut pair = setup.pair();
        pair.left.initiate(pair.child);
        let up = pair.run_until(Duration::from_secs(120), |pair| {
            pair.left.child_sas().len() == 1
                && pair.left.child_sas() == pair.right.child_sas().mirrored()
        });
        assert!(up, "seed {seed}\n{}", pair.ladder());
    }
}

/// CHECKLIST B08: old messages replayed later change nothing.
#[test]
fn late_copies_of_every_request_change_nothing() {
    let mut pair = Setup::new(Seed(7)).pair();
    let mut flip = false;
    pair.network.intercept(move |message| {
        flip = !flip;
        match message.from {
            Side::Left if flip => Fate::Duplicate,
            Side::Left | Side::Right => Fate::Deliver,
        }
    });
    pair.network.faults.delay_max = Duration::from_secs(3);
    let mut pair = pair.up();
    for _ in 0..3 {
        pair.left.rekey_child(pair.child);
        pair.run_until_idle();
    }
    assert_eq!((pair.left.ike_sas().len(), pair.left.child_sas().len()), (1, 1));
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
}
