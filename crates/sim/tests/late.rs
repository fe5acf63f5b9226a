//! Rekeyings of a child that collide, while a message of one side is late (RFC 7296 §2.8.1,
//! RFC 9370 §2.2.4): what is left, and what listeners are told.

#![cfg(test)]

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use adit_db::{ChildSaId, ProposalSpec};
use adit_ike::Event;
use adit_sim::{Child, ChildSas, Fate, Pair, Peer, Seed, Setup, Side};
use adit_wire::iana::ExchangeType;

use common::{assert_one_tunnel, assert_traffic, count, downs};

/// A child that is rekeyed has one key exchange, or two.
const PLAIN: &str = "aes256gcm16-x25519";
const HYBRID: &str = "aes256gcm16-x25519-ke1_mlkem512";

fn up(seed: u64, esp: &str) -> Pair {
    let mut setup = Setup::new(Seed(seed));
    for connection in [&mut setup.left, &mut setup.right] {
        connection.proposals = ProposalSpec::ike_list("aes256gcm16-prfsha384-x25519").unwrap();
        connection.children[0].proposals = ProposalSpec::esp_list(esp).unwrap();
    }
    setup.pair().up()
}

/// CHECKLIST J14, J18: in such a collision an answer or a request of either exchange is late by so much
/// that it comes before or after what else is sent, the delete of the old child included.
#[test]
fn whatever_is_late_in_a_collision_with_follow_ups_leaves_one_child() {
    // Whether it came before a delete was sent, and after.
    let mut orders = [false; 2];
    let exchanges = [ExchangeType::CREATE_CHILD_SA, ExchangeType::IKE_FOLLOWUP_KE];
    for late_ms in (15..180).step_by(15) {
        for late in [Side::Left, Side::Right] {
            for response in [false, true] {
                for exchange in exchanges {
                    let mut pair = up(late_ms, HYBRID);
                    let late_by = Duration::from_millis(late_ms);
                    let [held, deletes] = hold_first(&mut pair, exchange, response, late, late_by);
                    pair.left.rekey_child(Child(0));
                    pair.right.rekey_child(Child(0));
                    if pair.run_until(Duration::from_secs(1), |_| held.get() > 0) {
                        pair.run_for(late_by);
                        orders[usize::from(deletes.get() > 0)] = true;
                    }
                    pair.run_until_idle();
                    pair.run_for(Duration::from_secs(90));
                    assert_one_tunnel(&pair);
                    assert_eq!((downs(&pair.left), downs(&pair.right)), (0, 0));
                    assert_told_of_rekeys(&pair);
                    assert!(deletes.get() > 0, "{}", pair.ladder());
                    assert_traffic(&mut pair);
                }
            }
        }
    }
    assert_eq!(orders, [true; 2]);
}

/// Whoever takes a child down while its rekeying collides with a late one of the peer does not get it
/// back, with additional key exchanges or without.
#[test]
fn a_child_that_is_to_end_in_a_late_collision_ends() {
    for seed in 0..4 {
        for words in [HYBRID, PLAIN] {
            for late in [Side::Left, Side::Right] {
                for response in [false, true] {
                    for after_ms in (0..100).step_by(10) {
                        let mut pair = up(seed, words);
                        let late_by = Duration::from_millis(60);
                        let create = ExchangeType::CREATE_CHILD_SA;
                        hold_first(&mut pair, create, response, late, late_by);
                        pair.left.rekey_child(Child(0));
                        pair.right.rekey_child(Child(0));
                        pair.run_for(Duration::from_millis(after_ms));
                        let peer = pair.peer(late);
                        let known = told_of(peer).last();
                        peer.terminate_child_sa(known.expect("a child").1);
                        pair.run_until_idle();
                        pair.run_for(Duration::from_secs(90));
                        let sas = [pair.left.child_sas(), pair.right.child_sas()];
                        assert!(sas.iter().all(ChildSas::is_empty), "{}", pair.ladder());
                        let peer = if late == Side::Left { &pair.left } else { &pair.right };
                        let ups = count(peer, |event| matches!(event, Event::ChildUp { .. }));
                        assert_eq!(
                            (ups, downs(peer)),
                            (1, 1),
                            "{after_ms} ms {:?}\n{}",
                            peer.events(),
                            pair.ladder()
                        );
                        assert_eq!(pair.left.ike_sas().len(), 1, "{}", pair.ladder());
                    }
                }
            }
        }
    }
}

/// The children that listeners were told of, each with the one that it replaces.
fn told_of(peer: &Peer) -> impl Iterator<Item = (Option<ChildSaId>, ChildSaId)> {
    peer.events().iter().filter_map(|event| {
        if let Event::ChildUp { child, .. } = event {
            return Some((None, child.id));
        }
        let Event::ChildRekeyed { old, new, .. } = event else { return None };
        Some((Some(old.id), new.id))
    })
}

/// Each side has told its listeners of a chain of children that ends with the one that it has.
fn assert_told_of_rekeys(pair: &Pair) {
    for peer in [&pair.left, &pair.right] {
        let known = told_of(peer).fold(None, |known, (old, new)| {
            assert_eq!(known, old, "{:?}\n{}", peer.side, pair.ladder());
            Some(new)
        });
        let last = peer.established()[0].children[0].id;
        assert_eq!(known, Some(last), "{:?}\n{}", peer.side, pair.ladder());
    }
}

/// Delays the first request or response of an exchange from one side; counts what was delayed, and the
/// deletes that were sent.
fn hold_first(
    pair: &mut Pair,
    exchange: ExchangeType,
    response: bool,
    late: Side,
    late_by: Duration,
) -> [Rc<Cell<usize>>; 2] {
    let counters = [Rc::new(Cell::new(0)), Rc::new(Cell::new(0))];
    let [held, deletes] = counters.clone();
    pair.network.intercept(move |message| {
        if message.exchange == ExchangeType::INFORMATIONAL && !message.response {
            deletes.set(deletes.get() + 1);
        }
        let it = message.exchange == exchange && message.response == response;
        if it && message.from == late && held.get() == 0 {
            held.set(1);
            return Fate::Delay(late_by);
        }
        Fate::Deliver
    });
    counters
}
