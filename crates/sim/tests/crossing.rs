//! Exchanges that cross each other, or the end of what they are about.

#![cfg(test)]

use std::time::Duration;

use adit_db::{IpComp, LimitSpec, ProposalSpec};
use adit_ike::{EndpointConfig, Event};
use adit_sim::{Child, Fate, Pair, Peer, Seed, Setup, Side};
use adit_wire::iana::ExchangeType;

const SIDES: [Side; 2] = [Side::Left, Side::Right];

/// Both have the same IKE SAs and children, and nothing is under way.
fn assert_settled(pair: &Pair) {
    let spis = |peer: &Peer| -> Vec<_> {
        let mut all: Vec<_> =
            peer.established().iter().map(|info| (info.spi_i, info.spi_r)).collect();
        all.sort();
        all
    };
    assert_eq!(spis(&pair.left), spis(&pair.right), "{}", pair.ladder());
    assert!(pair.left.established().len() <= 1, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
}

fn count(peer: &Peer, wanted: fn(&Event) -> bool) -> usize {
    peer.events().iter().filter(|event| wanted(event)).count()
}

/// CHECKLIST J06: the new one is deleted, from either side, while the delete of the old one is lost.
#[test]
fn a_child_that_has_just_come_is_deleted() {
    for side in SIDES {
        let mut pair = Pair::established(Seed(7));
        let mut lost = false;
        pair.network.intercept(move |message| {
            if message.exchange == ExchangeType::INFORMATIONAL && !lost {
                lost = true;
                return Fate::Lose;
            }
            Fate::Deliver
        });
        let child = pair.child;
        pair.left.rekey_child(child);
        pair.run_for(Duration::from_millis(100));
        pair.peer(side).terminate_child(child);
        pair.run_until_idle();
        assert_settled(&pair);
        assert!(pair.left.child_sas().is_empty(), "{}", pair.ladder());
        assert_eq!(pair.left.established().len(), 1);
    }
}

/// CHECKLIST J25: the responder deletes the new one before its answer has come.
#[test]
fn a_child_is_deleted_before_its_initiator_has_seen_it() {
    for seed in 0..8 {
        let mut pair = Pair::established(Seed(seed));
        pair.network.intercept(|message| {
            let is_answer = message.exchange == ExchangeType::CREATE_CHILD_SA && message.response;
            match is_answer {
                true => Fate::Delay(Duration::from_millis(300)),
                false => Fate::Deliver,
            }
        });
        pair.left.rekey_child(pair.child);
        pair.run_for(Duration::from_millis(100));
        pair.right.terminate_child(pair.child);
        pair.run_until_idle();
        pair.run_for(Duration::from_secs(120));
        assert_settled(&pair);
        assert_eq!(pair.left.established().len(), 1, "{}", pair.ladder());
    }
}

/// CHECKLIST J27: the delete of the IKE SA takes the children with it.
#[test]
fn a_rekeying_that_crosses_the_end_of_the_ike_sa_ends_with_it() {
    for side in SIDES {
        let mut pair = Pair::established(Seed(7));
        let child = pair.child;
        pair.peer(side).rekey_child(child);
        pair.peer(side.other()).terminate_ike();
        pair.run_until_idle();
        assert_settled(&pair);
        assert!(pair.left.ike_sas().is_empty() && pair.left.child_sas().is_empty());
    }
}

/// CHECKLIST L05: deletes of children and IKE SAs cross in all pairs, and what is asked for again
/// comes back.
#[test]
fn deletes_cross_in_all_pairs_and_all_comes_back() {
    for left_ike in [false, true] {
        for right_ike in [false, true] {
            let mut pair = Pair::established(Seed(7));
            for (side, ike) in [(Side::Left, left_ike), (Side::Right, right_ike)] {
                let child = pair.child;
                match ike {
                    true => pair.peer(side).terminate_ike(),
                    false => pair.peer(side).terminate_child(child),
                }
            }
            pair.run_until_idle();
            assert_settled(&pair);
            assert!(pair.left.child_sas().is_empty());
            assert_eq!(pair.left.established().is_empty(), left_ike || right_ike);

            let pair = pair.up();
            assert_settled(&pair);
            assert_eq!(pair.left.child_sas().len(), 1, "{}", pair.ladder());
        }
    }
}

/// CHECKLIST L06: a child comes while the IKE SA goes, or is rekeyed.
#[test]
fn a_child_comes_while_the_ike_sa_goes_or_is_rekeyed() {
    for seed in 0..8 {
        let mut pair = Setup::new(Seed(seed)).with_child(2).pair().up();
        pair.left.initiate(Child(1));
        pair.right.terminate_ike();
        pair.run_until_idle();
        assert_settled(&pair);

        let mut pair = Setup::new(Seed(seed)).with_child(2).pair().up();
        let request = pair.left.initiate(Child(1));
        pair.right.rekey_ike();
        pair.run_until_idle();
        pair.run_for(Duration::from_secs(60));
        assert_settled(&pair);
        assert!(matches!(pair.left.result(request), Some(Ok(()))), "{}", pair.ladder());
        assert_eq!(pair.left.child_sas().len(), 2, "{}", pair.ladder());
    }
}

/// CHECKLIST L08: both ask for a child at once, for the same one or for two.
#[test]
fn requests_for_children_cross() {
    for seed in 0..16 {
        for (right, children) in [(Child(1), 2), (Child(2), 3)] {
            let mut pair = Setup::new(Seed(seed)).with_child(2).with_child(3).pair().up();
            let requests = [pair.left.initiate(Child(1)), pair.right.initiate(right)];
            pair.run_until_idle();
            assert_settled(&pair);
            assert_eq!(pair.left.child_sas().len(), children, "{}", pair.ladder());
            assert!(matches!(pair.left.result(requests[0]), Some(Ok(()))), "{}", pair.ladder());
            assert!(matches!(pair.right.result(requests[1]), Some(Ok(()))), "{}", pair.ladder());
        }
    }
}

/// CHECKLIST J09: nobody answers the delete; what went is told once.
#[test]
fn a_delete_that_nobody_answers_tells_of_one_end() {
    let mut pair = Pair::established(Seed(7));
    pair.network.intercept(|message| match message.exchange {
        ExchangeType::INFORMATIONAL => Fate::Lose,
        _ => Fate::Deliver,
    });
    pair.left.rekey_child(pair.child);
    pair.run_for(Duration::from_secs(600));
    let downs = |peer: &Peer| count(peer, |event| matches!(event, Event::ChildDown { .. }));
    assert_eq!(downs(&pair.left), 1, "{}", pair.ladder());
    assert_eq!(count(&pair.left, |event| matches!(event, Event::ChildRekeyed { .. })), 1);
    assert!(pair.left.child_sas().is_empty());
}

/// CHECKLIST J36: one side never rekeys; the other does it for both.
#[test]
fn one_side_that_never_rekeys_is_no_hindrance() {
    for side in SIDES {
        let mut setup = Setup::new(Seed(7));
        let never = if side == Side::Left { &mut setup.right } else { &mut setup.left };
        never.children[0].lifetime.seconds = LimitSpec::NONE;
        let other = if side == Side::Left { &mut setup.left } else { &mut setup.right };
        other.children[0].lifetime.seconds = LimitSpec { soft: 60, hard: 90, rand: 10 };
        let mut pair = setup.pair().up();
        pair.run_for(Duration::from_secs(300));
        pair.run_for(Duration::from_secs(5));
        let rekeys = count(&pair.left, |event| matches!(event, Event::ChildRekeyed { .. }));
        assert!(rekeys >= 4, "{rekeys}\n{}", pair.ladder());
        assert_eq!(count(&pair.left, |event| matches!(event, Event::ChildDown { .. })), 0);
    }
}

/// CHECKLIST J34: a soft limit in octets or packets rekeys a child that compresses.
#[test]
fn a_soft_limit_rekeys_a_child_that_compresses() {
    let mut setup = Setup::new(Seed(7));
    for connection in [&mut setup.left, &mut setup.right] {
        connection.children[0].compress = true;
    }
    let mut pair = setup.pair().up();
    let compresses = |pair: &Pair| -> Vec<Option<IpComp>> {
        pair.left.established()[0].children.iter().map(|child| child.ipcomp).collect()
    };
    let before = compresses(&pair);
    pair.right.expire_softly(pair.child);
    pair.run_until_idle();
    assert_settled(&pair);
    assert_eq!(count(&pair.left, |event| matches!(event, Event::ChildRekeyed { .. })), 1);
    assert!(matches!((before[0], compresses(&pair)[0]), (Some(old), Some(new)) if old != new));
}

/// CHECKLIST I04: the child that IKE_AUTH asked for is refused; another one comes.
#[test]
fn a_refused_first_child_does_not_hang_the_second() {
    let mut setup = Setup::new(Seed(7)).with_child(2);
    setup.left.children[0].proposals = ProposalSpec::esp_list("aes128-sha256").unwrap();
    setup.right.children[0].proposals = ProposalSpec::esp_list("aes256gcm16").unwrap();
    let mut pair = setup.pair();
    let first = pair.left.initiate(Child(0));
    let second = pair.left.initiate(Child(1));
    pair.run_until_idle();
    assert_settled(&pair);
    assert!(matches!(pair.left.result(first), Some(Err(_))), "{}", pair.ladder());
    assert!(matches!(pair.left.result(second), Some(Ok(()))), "{}", pair.ladder());
    assert_eq!(pair.left.child_sas().len(), 1);
}

/// CHECKLIST K12: the IKE SA is deleted between the key exchanges of its rekeying; and the delete is
/// lost at first.
#[test]
fn a_delete_between_the_key_exchanges_of_a_rekeying_wins() {
    for lost in [0, 2] {
        for side in SIDES {
            let mut pair = Pair::established(Seed(7));
            let mut left_to_lose = lost;
            pair.network.intercept(move |message| match message.exchange {
                ExchangeType::IKE_FOLLOWUP_KE => Fate::Delay(Duration::from_millis(200)),
                ExchangeType::INFORMATIONAL if left_to_lose > 0 => {
                    left_to_lose -= 1;
                    Fate::Lose
                }
                _ => Fate::Deliver,
            });
            pair.left.rekey_ike();
            pair.run_for(Duration::from_millis(100));
            pair.peer(side).down();
            pair.run_until_idle();
            pair.run_for(Duration::from_secs(120));
            assert_settled(&pair);
            assert!(pair.left.ike_sas().is_empty(), "{}", pair.ladder());
        }
    }
}

/// CHECKLIST L04: of two handshakes that crossed one is left, and goes on: rekeyed and deleted from
/// either side it leaves nothing behind.
#[test]
fn the_survivor_of_crossing_handshakes_goes_on() {
    for seed in 0..8 {
        let mut pair = Setup::new(Seed(seed)).pair();
        pair.left.initiate(pair.child);
        pair.right.initiate(pair.child);
        pair.run_until_idle();
        pair.run_for(Duration::from_secs(120));
        let opened = (pair.left.packets_opened, pair.right.packets_opened);
        pair.left.send_packet(pair.child);
        pair.right.send_packet(pair.child);
        pair.run_until_idle();
        let now = (pair.left.packets_opened, pair.right.packets_opened);
        assert_eq!(now, (opened.0 + 1, opened.1 + 1), "{}", pair.ladder());
        pair.right.rekey_child(pair.child);
        pair.left.terminate_ike();
        pair.run_until_idle();
        assert_settled(&pair);
        assert!(pair.left.ike_sas().is_empty(), "{}", pair.ladder());
    }
}

/// CHECKLIST L07: the peer restarts in our handshake, at any moment of it, and begins itself.
#[test]
fn a_peer_that_restarts_in_our_handshake_begins_itself() {
    for milliseconds in [5, 15, 25, 35, 45, 60] {
        let mut pair = Setup::new(Seed(7)).pair();
        pair.left.initiate(pair.child);
        pair.run_for(Duration::from_millis(milliseconds));
        pair.right.crash(EndpointConfig::default());
        pair.right.initiate(pair.child);
        pair.run_until_idle();
        pair.run_for(Duration::from_secs(200));
        assert_settled(&pair);
        assert_eq!(pair.left.child_sas().len(), 1, "{milliseconds} ms\n{}", pair.ladder());
    }
}

/// CHECKLIST N05: the NAT forgets its mapping; who is behind it finds out, and the other follows.
#[test]
fn a_forgotten_mapping_is_found_out_from_behind_the_nat() {
    let mut setup = Setup::new(Seed(7)).behind_nat();
    setup.left.dpd_delay = Duration::from_secs(10);
    setup.left.keepalive = Duration::ZERO;
    let mut pair = setup.pair().up();
    let remote = |pair: &Pair| pair.right.established()[0].remote;
    let before = remote(&pair);
    pair.network.nat.as_mut().unwrap().forget();
    pair.right.send_packet(pair.child);
    pair.run_for(Duration::from_secs(30));
    assert_ne!(remote(&pair), before, "{}", pair.ladder());
    let opened = pair.left.packets_opened;
    pair.right.send_packet(pair.child);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.left.packets_opened, opened + 1, "{}", pair.ladder());
}
