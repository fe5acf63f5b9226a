//! Rekeying of child SAs (RFC 7296 §1.3.3, §2.8).

#![cfg(test)]

use std::time::Duration;

use adit_db::ProposalSpec;
use adit_ike::Event;
use adit_sim::{Fate, Pair, Peer, Seed, Setup, Side};
use adit_wire::iana::ExchangeType;

fn assert_one_tunnel(pair: &Pair) {
    assert_eq!(pair.left.established().len(), 1, "{}", pair.ladder());
    assert_eq!(pair.right.established().len(), 1, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas().len(), 1, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
    let children = |peer: &Peer| peer.established()[0].children.len();
    assert_eq!((children(&pair.left), children(&pair.right)), (1, 1), "{}", pair.ladder());
}

fn count(peer: &Peer, wanted: fn(&Event) -> bool) -> usize {
    peer.events().iter().filter(|event| wanted(event)).count()
}

fn rekeys(peer: &Peer) -> usize {
    count(peer, |event| matches!(event, Event::ChildRekeyed { .. }))
}

fn downs(peer: &Peer) -> usize {
    count(peer, |event| matches!(event, Event::ChildDown { .. }))
}

/// CHECKLIST J01, J32.
#[test]
fn a_child_is_rekeyed_from_either_side() {
    for side in [Side::Left, Side::Right] {
        let mut pair = Pair::established(Seed(7));
        let before = pair.left.child_sas();
        let child = pair.child;
        pair.peer(side).rekey_child(child);
        pair.run_until_idle();
        assert_ne!(pair.left.child_sas(), before);
        assert_one_tunnel(&pair);
        assert_eq!((rekeys(&pair.left), rekeys(&pair.right)), (1, 1));
        assert_eq!((downs(&pair.left), downs(&pair.right)), (0, 0));
    }
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.8.1
//= type=test
//# the SA created with the lowest of the four nonces used in the two exchanges
//# SHOULD be closed by the endpoint that created it.
/// CHECKLIST J10: the four nonce outcomes come up by the seed.
#[test]
fn simultaneous_child_rekey_leaves_one_child() {
    for seed in 0..16 {
        let mut pair = Pair::established(Seed(seed));
        pair.left.rekey_child(pair.child);
        pair.right.rekey_child(pair.child);
        pair.run_until_idle();
        assert_one_tunnel(&pair);
        assert_eq!((rekeys(&pair.left), rekeys(&pair.right)), (1, 1), "{}", pair.ladder());
        assert_eq!((downs(&pair.left), downs(&pair.right)), (0, 0), "{}", pair.ladder());
    }
}

/// CHECKLIST J12, J13: in a collision one answer is late.
#[test]
fn a_collision_with_a_late_answer_leaves_one_child() {
    for seed in 0..8 {
        for late in [Side::Left, Side::Right] {
            let mut pair = Pair::established(Seed(seed));
            pair.network.intercept(move |message| {
                let create = message.exchange == ExchangeType::CREATE_CHILD_SA;
                match create && message.response && message.from == late {
                    true => Fate::Delay(Duration::from_millis(200)),
                    false => Fate::Deliver,
                }
            });
            pair.left.rekey_child(pair.child);
            pair.right.rekey_child(pair.child);
            pair.run_until_idle();
            assert_one_tunnel(&pair);
        }
    }
}

/// CHECKLIST J15, J16: one request is late, so the other side never sees a collision.
#[test]
fn a_collision_that_one_side_never_sees_leaves_one_child() {
    for seed in 0..8 {
        for late in [Side::Left, Side::Right] {
            let mut pair = Pair::established(Seed(seed));
            let mut delayed = false;
            pair.network.intercept(move |message| {
                let create = message.exchange == ExchangeType::CREATE_CHILD_SA;
                if create && !message.response && message.from == late && !delayed {
                    delayed = true;
                    return Fate::Delay(Duration::from_millis(300));
                }
                Fate::Deliver
            });
            pair.left.rekey_child(pair.child);
            pair.right.rekey_child(pair.child);
            pair.run_until_idle();
            assert_one_tunnel(&pair);
        }
    }
}

/// CHECKLIST J17: the answer to a rekeying is lost for long, and the other side already wants to
/// rekey the child that it made.
#[test]
fn a_child_that_only_one_side_knows_yet_is_not_taken_for_lost() {
    for seed in 0..8 {
        let mut pair = Pair::established(Seed(seed));
        let mut lost = 0;
        pair.network.intercept(move |message| {
            let is_answer = message.exchange == ExchangeType::CREATE_CHILD_SA
                && message.response
                && message.from == Side::Right;
            if is_answer && lost < 5 {
                lost += 1;
                return Fate::Lose;
            }
            Fate::Deliver
        });
        pair.left.rekey_child(pair.child);
        pair.run_for(Duration::from_millis(100));
        pair.right.rekey_child(pair.child);
        pair.run_for(Duration::from_secs(90));
        assert_one_tunnel(&pair);
    }
}

/// CHECKLIST J04: a responder that waits for the delete ignores the soft expiry of the old SA.
#[test]
fn a_soft_expiry_after_the_rekeying_is_ignored() {
    let mut pair = Pair::established(Seed(7));
    pair.left.expire_softly(pair.child);
    pair.right.expire_softly(pair.child);
    pair.run_until_idle();
    assert_one_tunnel(&pair);
}

/// CHECKLIST J05: the hard limit ends a child; what should be up comes back.
#[test]
fn a_hard_expiry_ends_the_child() {
    let mut pair = Pair::established(Seed(7));
    pair.left.expire(pair.child);
    pair.run_until_idle();
    assert_eq!((pair.left.child_sas().len(), pair.right.child_sas().len()), (0, 0));
    assert_eq!(pair.left.established().len(), 1);
}

/// CHECKLIST E08: the peer wants another group for the child.
/// CHECKLIST J03.
#[test]
fn a_rekeying_with_another_group_is_repeated() {
    let esp = |text| ProposalSpec::esp_list(text).unwrap();
    let mut setup = Setup::new(Seed(7));
    setup.left.children[0].proposals = esp("aes256gcm16-x25519-ecp384");
    setup.right.children[0].proposals = esp("aes256gcm16-ecp384-x25519");
    let mut pair = setup.pair().up();
    pair.left.rekey_child(pair.child);
    pair.run_until_idle();
    assert_one_tunnel(&pair);
    assert_eq!(rekeys(&pair.left), 1, "{}", pair.ladder());
    pair.right.rekey_child(pair.child);
    pair.run_until_idle();
    assert_one_tunnel(&pair);
    assert_eq!(rekeys(&pair.left), 2, "{}", pair.ladder());
}

/// CHECKLIST J19: both sides' requests are refused with another group at once.
#[test]
fn a_collision_of_two_refused_groups_leaves_one_child() {
    let esp = |text| ProposalSpec::esp_list(text).unwrap();
    for seed in 0..8 {
        let mut setup = Setup::new(Seed(seed));
        setup.left.children[0].proposals = esp("aes256gcm16-x25519-ecp384");
        setup.right.children[0].proposals = esp("aes256gcm16-ecp384-x25519");
        let mut pair = setup.pair().up();
        pair.left.rekey_child(pair.child);
        pair.right.rekey_child(pair.child);
        pair.run_until_idle();
        assert_one_tunnel(&pair);
    }
}

/// CHECKLIST J21, J23, J24: a rekeying crosses the delete of the same child.
#[test]
fn a_rekeying_that_crosses_a_delete_ends_in_agreement() {
    for seed in 0..8 {
        let mut pair = Pair::established(Seed(seed));
        pair.left.rekey_child(pair.child);
        pair.right.terminate_child(pair.child);
        pair.run_until_idle();
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
        assert_eq!(pair.left.established().len(), 1);
        assert!(pair.left.child_sas().len() <= 1);
    }
}

/// CHECKLIST J31: rekeyed again and again, from alternating sides.
#[test]
fn many_rekeyings_leave_nothing_behind() {
    let mut pair = Pair::established(Seed(7));
    for round in 0..20 {
        let side = if round % 2 == 0 { Side::Left } else { Side::Right };
        let child = pair.child;
        pair.peer(side).rekey_child(child);
        pair.run_until_idle();
        assert_one_tunnel(&pair);
    }
    assert_eq!(rekeys(&pair.left), 20);
}

/// CHECKLIST J38, K19: packets flow both ways every few milliseconds; none is lost over rekeyings from
/// both sides, also when both rekey at once.
#[test]
fn no_packet_is_lost_while_rekeying() {
    let mut pair = Pair::established(Seed(7));
    for round in 0..12 {
        match round % 4 {
            0 => pair.left.rekey_child(pair.child),
            1 => pair.right.rekey_child(pair.child),
            2 => {
                pair.left.rekey_child(pair.child);
                pair.right.rekey_child(pair.child);
            }
            _ => pair.left.rekey_ike(),
        }
        for _ in 0..300 {
            pair.left.send_packet(pair.child);
            pair.right.send_packet(pair.child);
            pair.run_for(Duration::from_millis(3));
        }
    }
    pair.run_until_idle();
    assert_one_tunnel(&pair);
    assert_eq!((pair.left.packets_lost, pair.right.packets_lost), (0, 0), "{}", pair.ladder());
    assert_eq!((pair.left.packets_opened, pair.right.packets_opened), (3_600, 3_600));
}

/// Lifetimes in time rekey by themselves (CHECKLIST J35).
#[test]
fn lifetimes_rekey_by_themselves() {
    let mut setup = Setup::new(Seed(7));
    for connection in [&mut setup.left, &mut setup.right] {
        connection.children[0].lifetime.seconds =
            adit_db::LimitSpec { soft: 60, hard: 90, rand: 10 };
    }
    let mut pair = setup.pair().up();
    pair.run_for(Duration::from_secs(600));
    assert!(rekeys(&pair.left) >= 9, "{}", rekeys(&pair.left));
    assert_eq!(downs(&pair.left), 0, "{}", pair.ladder());
    let settled = pair.run_until(Duration::from_secs(10), |pair| {
        pair.left.child_sas().len() == 1
            && pair.left.child_sas() == pair.right.child_sas().mirrored()
    });
    assert!(settled);
}
