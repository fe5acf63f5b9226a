//! Additional key exchanges (RFC 9370): by IKE_INTERMEDIATE (RFC 9242) for an IKE SA, and by
//! IKE_FOLLOWUP_KE for one that is rekeyed and for child SAs, made and rekeyed.

#![cfg(test)]

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use adit_crypto::{Cipher, KeyExchange, Prf, Rng as _, SeededRng};
use adit_db::ProposalSpec;
use adit_ike::{Event, FailureReason};
use adit_sim::{Child, Fate, Pair, Peer, Seed, Setup, Side};
use adit_wire::iana::{ExchangeType, KeyExchangeId, NotifyType, TransformType};
use adit_wire::ikev2::Transform;

use common::{assert_one_tunnel, assert_traffic, count, downs};

const PLAIN_IKE: &str = "aes256gcm16-prfsha384-x25519";

fn ike(text: &str) -> Vec<ProposalSpec> {
    ProposalSpec::ike_list(text).unwrap()
}

fn esp(text: &str) -> Vec<ProposalSpec> {
    ProposalSpec::esp_list(text).unwrap()
}

/// Both sides with these proposals, the right one's children with others.
fn setup_with(seed: u64, ike_words: &str, [left, right]: [&str; 2]) -> Setup {
    let mut setup = Setup::new(Seed(seed)).with_child(9);
    for (connection, words) in [(&mut setup.left, left), (&mut setup.right, right)] {
        connection.proposals = ike(ike_words);
        for child in &mut connection.children {
            child.proposals = esp(words);
        }
    }
    setup
}

fn setup(seed: u64, ike_words: &str, esp_words: &str) -> Setup {
    setup_with(seed, ike_words, [esp_words; 2])
}

/// A child that is rekeyed has two key exchanges.
const HYBRID: &str = "aes256gcm16-x25519-ke1_mlkem512";

/// The same, where a responder chooses the second one or not.
const WILLING: &str = "aes256gcm16-x25519-ke1_mlkem512-ke1_none";
const UNWILLING: &str = "aes256gcm16-x25519-ke1_none-ke1_mlkem512";

fn hybrid(seed: u64) -> Pair {
    setup(seed, PLAIN_IKE, HYBRID).pair().up()
}

fn child_rekeys(peer: &Peer) -> usize {
    count(peer, |event| matches!(event, Event::ChildRekeyed { .. }))
}

/// The additional key exchanges of a suite, by slot.
fn additional(suite: &[Transform]) -> Vec<(u8, u16)> {
    let additional = suite.iter().filter(|transform| transform.kind.is_additional_ke());
    let slot = |kind: TransformType| kind.0 - TransformType::ADDKE1.0 + 1;
    additional.map(|transform| (slot(transform.kind), transform.id)).collect()
}

/// Counts the requests of an exchange, whatever becomes of them.
fn count_requests(pair: &mut Pair, exchange: ExchangeType) -> Rc<RefCell<usize>> {
    let count = Rc::new(RefCell::new(0));
    let counter = count.clone();
    pair.network.intercept(move |message| {
        let first = message.fragment.is_none_or(|(number, _)| number == 1);
        if message.exchange == exchange && !message.response && first {
            *counter.borrow_mut() += 1;
        }
        Fate::Deliver
    });
    count
}

fn methods() -> Vec<String> {
    KeyExchange::ALL.into_iter().map(|method| method.to_string()).collect()
}

/// CHECKLIST Q01: each method that we have as an additional one, of the IKE SA and of children.
#[test]
fn every_method_can_be_additional() {
    for (number, method) in methods().iter().enumerate() {
        let slot = number % 7 + 1;
        let ike_words = format!("aes256gcm16-prfsha384-ecp256-ke{slot}_{method}");
        let esp_words = format!("aes256gcm16-ecp256-ke{slot}_{method}");
        let mut pair = setup(7, &ike_words, &esp_words).pair().up();
        assert_eq!(additional(&pair.left.established()[0].suite).len(), 1, "{method}");
        for side in [Side::Left, Side::Right] {
            pair.peer(side).rekey_child(Child(0));
            pair.run_until_idle();
        }
        assert_one_tunnel(&pair);
        assert_eq!(child_rekeys(&pair.left), 2, "{method}\n{}", pair.ladder());
        let suite = &pair.left.established()[0].children[0].suite;
        assert_eq!(additional(suite).len(), 1, "{method}");
        assert_traffic(&mut pair);
    }
}

const SEVEN: &str =
    "ke1_mlkem1024-ke2_mlkem768-ke3_mlkem512-ke4_ecp384-ke5_x448-ke6_modp2048-ke7_x25519";

/// CHECKLIST Q01, K02, J02: seven in a row, in all places; the large ones are cut into fragments.
#[test]
fn seven_additional_key_exchanges_take_place_in_their_order() {
    let words = |cipher: &str| format!("{cipher}-ecp256-{SEVEN}");
    let mut pair = setup(7, &words("aes256gcm16-prfsha384"), &words("aes256gcm16")).pair();
    let requests = count_requests(&mut pair, ExchangeType::IKE_INTERMEDIATE);
    let mut pair = pair.up();
    assert_eq!(*requests.borrow(), 7);
    let slots = |suite: &[Transform]| -> Vec<u8> {
        additional(suite).into_iter().map(|(slot, _)| slot).collect()
    };
    assert_eq!(slots(&pair.left.established()[0].suite), [1, 2, 3, 4, 5, 6, 7]);

    let requests = count_requests(&mut pair, ExchangeType::IKE_FOLLOWUP_KE);
    for side in [Side::Left, Side::Right] {
        pair.peer(side).rekey_ike();
        pair.run_until_idle();
        pair.peer(side).rekey_child(Child(0));
        pair.run_until_idle();
        assert_one_tunnel(&pair);
    }
    assert_eq!(*requests.borrow(), 4 * 7);
    assert_eq!(slots(&pair.left.established()[0].children[0].suite), [1, 2, 3, 4, 5, 6, 7]);
    assert_traffic(&mut pair);
}

/// CHECKLIST Q03: slots that are left out, and slots that are NONE, count nothing.
#[test]
fn slots_may_have_gaps_and_nones() {
    let words = |cipher: &str| {
        format!("{cipher}-x25519-ke2_mlkem768-ke3_none-ke5_ecp384-ke5_none-ke7_none-ke7_mlkem512")
    };
    let mut pair = setup(7, &words("aes256gcm16-prfsha384"), &words("aes256gcm16")).pair().up();
    pair.left.rekey_child(Child(0));
    pair.run_until_idle();
    assert_one_tunnel(&pair);
    let info = &pair.left.established()[0];
    assert_eq!(additional(&info.suite), [(2, 36), (5, 20)]);
    assert_eq!(additional(&info.children[0].suite), [(2, 36), (5, 20)]);
}

/// CHECKLIST Q02: what stands in several slots is chosen once, or nothing is.
#[test]
fn a_method_in_several_slots_is_used_once() {
    let words =
        "aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke1_mlkem512-ke2_mlkem768-ke3_mlkem768-ke3_none";
    let pair = setup(7, words, "aes256gcm16").pair().up();
    assert_eq!(additional(&pair.left.established()[0].suite), [(1, 35), (2, 36)]);

    let impossible = "aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke2_mlkem768";
    let mut pair = setup(7, impossible, "aes256gcm16").pair();
    let request = pair.left.initiate(pair.child);
    pair.run_until_idle();
    let Some(Err(failure)) = pair.left.result(request) else { panic!("{}", pair.ladder()) };
    assert_eq!(failure.reason.code(), Some(101));
}

/// CHECKLIST E10, Q04: additional key exchanges of a child are agreed on, declined, or insisted on by
/// one side alone.
#[test]
fn a_child_has_additional_key_exchanges_if_both_sides_want_them() {
    let plain = "aes256gcm16-x25519";
    for (left, right, agreed) in [
        (HYBRID, WILLING, Some(1)),
        (WILLING, HYBRID, Some(1)),
        (WILLING, UNWILLING, Some(0)),
        (WILLING, plain, Some(0)),
        (plain, WILLING, Some(0)),
        (HYBRID, plain, None),
        (plain, HYBRID, None),
    ] {
        let mut pair = setup_with(7, PLAIN_IKE, [left, right]).pair().up();
        let before = pair.left.child_sas();
        pair.left.rekey_child(Child(0));
        pair.run_until_idle();
        assert_one_tunnel(&pair);
        let suite = &pair.left.established()[0].children[0].suite;
        match agreed {
            Some(number) => assert_eq!(additional(suite).len(), number, "{left} {right}"),
            None => assert_eq!(pair.left.child_sas(), before, "{left} {right}"),
        }
    }
}

/// CHECKLIST I03: a second child is made with its key exchanges, from either side; its keys are its own.
#[test]
fn a_further_child_has_additional_key_exchanges() {
    for side in [Side::Left, Side::Right] {
        let mut pair = hybrid(7);
        let requests = count_requests(&mut pair, ExchangeType::IKE_FOLLOWUP_KE);
        let request = pair.peer(side).initiate(Child(1));
        pair.run_until_idle();
        assert!(matches!(pair.peer(side).result(request), Some(Ok(()))), "{}", pair.ladder());
        assert_eq!(*requests.borrow(), 1);
        assert_eq!(pair.left.child_sas().len(), 2);
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    }
}

/// CHECKLIST J10, J11: both rekey the same child, with the four nonce outcomes, and key exchanges follow
/// on both sides or on one.
//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
//= type=test
//# because there is nothing to delete yet, the initiator of this exchange just stops the
//# rekeying process, and it MUST NOT initiate the IKE_FOLLOWUP_KE exchange.
#[test]
fn simultaneous_child_rekeys_with_follow_ups_leave_one_child() {
    for (left, right) in [(HYBRID, HYBRID), (WILLING, UNWILLING), (UNWILLING, WILLING)] {
        for seed in 0..16 {
            let mut pair = setup_with(seed, PLAIN_IKE, [left, right]).pair().up();
            let requests = count_requests(&mut pair, ExchangeType::IKE_FOLLOWUP_KE);
            pair.left.rekey_child(Child(0));
            pair.right.rekey_child(Child(0));
            pair.run_until_idle();
            pair.run_for(Duration::from_secs(60));
            assert_one_tunnel(&pair);
            let rekeys = (child_rekeys(&pair.left), child_rekeys(&pair.right));
            assert_eq!(rekeys, (1, 1), "{left} {right}\n{}", pair.ladder());
            assert_eq!((downs(&pair.left), downs(&pair.right)), (0, 0), "{}", pair.ladder());
            assert!(*requests.borrow() <= 1, "{}", pair.ladder());
            assert_traffic(&mut pair);
        }
    }
}

/// CHECKLIST J12, J15, K10: the same, an answer or a request of one side being late or lost at first.
//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
//= type=test
//# In this case, a TEMPORARY_FAILURE notification MUST be sent in response to such a
//# request.
#[test]
fn collisions_that_one_side_sees_late_leave_one_child() {
    for seed in 0..8 {
        for late in [Side::Left, Side::Right] {
            for response in [false, true] {
                for fate in [Fate::Lose, Fate::Delay(Duration::from_millis(55))] {
                    let mut pair = hybrid(seed);
                    let mut met = false;
                    pair.network.intercept(move |message| {
                        let create = message.exchange == ExchangeType::CREATE_CHILD_SA;
                        let it = create && message.response == response && message.from == late;
                        if it && !met {
                            met = true;
                            return fate;
                        }
                        Fate::Deliver
                    });
                    pair.left.rekey_child(Child(0));
                    pair.right.rekey_child(Child(0));
                    pair.run_until_idle();
                    pair.run_for(Duration::from_secs(90));
                    assert_one_tunnel(&pair);
                    assert_eq!((downs(&pair.left), downs(&pair.right)), (0, 0));
                    assert_traffic(&mut pair);
                }
            }
        }
    }
}

/// CHECKLIST L08: both ask for the same new child at once.
#[test]
fn crossing_requests_for_a_child_with_follow_ups_leave_one_child() {
    for (left, right) in [(HYBRID, HYBRID), (WILLING, UNWILLING)] {
        for seed in 0..16 {
            let mut pair = setup_with(seed, PLAIN_IKE, [left, right]).pair().up();
            let requests = [pair.left.initiate(Child(1)), pair.right.initiate(Child(1))];
            pair.run_until_idle();
            pair.run_for(Duration::from_secs(60));
            assert!(matches!(pair.left.result(requests[0]), Some(Ok(()))), "{}", pair.ladder());
            assert!(matches!(pair.right.result(requests[1]), Some(Ok(()))), "{}", pair.ladder());
            assert_eq!(pair.left.child_sas().len(), 2, "{}", pair.ladder());
            assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
        }
    }
}

/// CHECKLIST Q10: the responder forgets a series whose next request does not come; the initiator is
/// told, and begins anew.
//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
//= type=test
//# The responder MUST handle this situation gracefully and delete the associated state if it
//# does not receive the next expected IKE_FOLLOWUP_KE request after some reasonable period of
//# time.
#[test]
fn a_series_that_stops_is_forgotten_and_begun_anew() {
    for what in [Peer::rekey_ike as fn(&mut Peer), |peer| peer.rekey_child(Child(0))] {
        let words = "aes256gcm16-prfsha384-x25519-ke1_mlkem512";
        let mut pair = setup(7, words, HYBRID).pair().up();
        let before = (pair.left.established()[0].spi_i, pair.left.child_sas());
        let is_lost = Rc::new(RefCell::new(true));
        let lost = is_lost.clone();
        pair.network.intercept(move |message| {
            match message.exchange == ExchangeType::IKE_FOLLOWUP_KE && *lost.borrow() {
                true => Fate::Lose,
                false => Fate::Deliver,
            }
        });
        what(&mut pair.left);
        pair.run_for(Duration::from_secs(21));
        // What waits for key exchanges is not there yet.
        assert_eq!((pair.left.ike_sas()[0].spi_i, pair.left.child_sas()), before);
        *is_lost.borrow_mut() = false;
        pair.run_for(Duration::from_secs(60));
        assert_one_tunnel(&pair);
        let after = (pair.left.established()[0].spi_i, pair.left.child_sas());
        assert!(after.0 != before.0 || after.1 != before.1, "{}", pair.ladder());
        assert_eq!(downs(&pair.left), 0, "{}", pair.ladder());
        assert_traffic(&mut pair);
    }
}

/// Whoever waits for key exchanges of the peer can still be asked by it for something else, and asks
/// for the same when they do not come.
#[test]
fn a_peer_that_never_follows_up_does_not_keep_a_child_from_being_rekeyed() {
    let mut pair = hybrid(7);
    let before = pair.left.child_sas();
    pair.network.intercept(|message| {
        let followup = message.exchange == ExchangeType::IKE_FOLLOWUP_KE;
        match followup && message.from == Side::Left && !message.response {
            true => Fate::Lose,
            false => Fate::Deliver,
        }
    });
    pair.left.rekey_child(Child(0));
    pair.run_for(Duration::from_secs(1));
    pair.right.rekey_child(Child(0));
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.left.child_sas(), before, "it waits");
    pair.run_for(Duration::from_secs(40));
    // The left side still asks: its request comes too late, the other's is refused until then.
    pair.network.stop_intercepting();
    pair.run_for(Duration::from_secs(60));
    assert_one_tunnel(&pair);
    assert_ne!(pair.left.child_sas(), before);
}

/// CHECKLIST K05: IKE SAs that both rekey at once, several key exchanges on one side or on both.
#[test]
fn simultaneous_ike_rekeys_with_follow_ups_leave_one_ike_sa() {
    let willing = "aes256gcm16-prfsha384-x25519-ke1_mlkem512-ke1_none";
    let unwilling = "aes256gcm16-prfsha384-x25519-ke1_none-ke1_mlkem512";
    for [left, right] in [[willing; 2], [willing, unwilling], [unwilling, willing]] {
        for seed in 0..16 {
            let mut setup = setup(seed, PLAIN_IKE, HYBRID);
            setup.left.proposals = ike(left);
            setup.right.proposals = ike(right);
            let mut pair = setup.pair().up();
            pair.left.rekey_ike();
            pair.right.rekey_ike();
            pair.run_until_idle();
            pair.run_for(Duration::from_secs(60));
            assert_one_tunnel(&pair);
            assert_traffic(&mut pair);
        }
    }
}

/// CHECKLIST K08, K10: the same with an answer or a request that is late.
#[test]
fn ike_rekeys_that_one_side_sees_late_leave_one_ike_sa() {
    let words = "aes256gcm16-prfsha384-x25519-ke1_mlkem512";
    for seed in 0..8 {
        for late in [Side::Left, Side::Right] {
            for response in [false, true] {
                for exchange in [ExchangeType::CREATE_CHILD_SA, ExchangeType::IKE_FOLLOWUP_KE] {
                    let mut pair = setup(seed, words, HYBRID).pair().up();
                    let mut met = false;
                    pair.network.intercept(move |message| {
                        let it = message.exchange == exchange
                            && message.response == response
                            && message.from == late;
                        if it && !met {
                            met = true;
                            return Fate::Delay(Duration::from_millis(55));
                        }
                        Fate::Deliver
                    });
                    pair.left.rekey_ike();
                    pair.right.rekey_ike();
                    pair.run_until_idle();
                    pair.run_for(Duration::from_secs(90));
                    assert_one_tunnel(&pair);
                    assert_traffic(&mut pair);
                }
            }
        }
    }
}

/// CHECKLIST K03, K06: another group is asked for, in a collision or not, and key exchanges follow.
#[test]
fn ike_rekeys_with_another_group_and_follow_ups_leave_one_ike_sa() {
    for both in [false, true] {
        for seed in 0..8 {
            let mut setup = setup(seed, PLAIN_IKE, HYBRID);
            setup.left.proposals = ike("aes256gcm16-prfsha384-x25519-ecp384-ke1_mlkem512");
            setup.right.proposals = ike("aes256gcm16-prfsha384-ecp384-x25519-ke1_mlkem512");
            let mut pair = setup.pair().up();
            let before = pair.left.established()[0].spi_i;
            pair.left.rekey_ike();
            if both {
                pair.right.rekey_ike();
            }
            pair.run_until_idle();
            pair.run_for(Duration::from_secs(60));
            assert_one_tunnel(&pair);
            assert_ne!(pair.left.established()[0].spi_i, before);
        }
    }
}

/// CHECKLIST K12: a delete of the IKE SA meets a rekey in the phase of key exchanges; the delete wins.
#[test]
fn a_delete_that_meets_follow_ups_wins() {
    let words = "aes256gcm16-prfsha384-x25519-ke1_mlkem512";
    for what in [Peer::rekey_ike as fn(&mut Peer), |peer| peer.rekey_child(Child(0))] {
        for late_ms in (0..60).step_by(5) {
            for side in [Side::Left, Side::Right] {
                let mut pair = setup(7, words, HYBRID).pair().up();
                what(&mut pair.left);
                pair.run_for(Duration::from_millis(late_ms));
                pair.peer(side).down();
                pair.run_until_idle();
                pair.run_for(Duration::from_secs(90));
                let left = (pair.left.ike_sas().len(), pair.right.ike_sas().len());
                assert_eq!(left, (0, 0), "{late_ms} ms\n{}", pair.ladder());
                assert_eq!(pair.left.child_sas().len() + pair.right.child_sas().len(), 0);
            }
        }
    }
}

/// CHECKLIST J22: a delete of a child meets its rekeying between the key exchanges.
/// Whatever meets a child's key exchanges at whatever time: rekeys of the IKE SA and of the child,
/// deletes of the child, by either side.
#[test]
fn whatever_meets_the_follow_ups_of_a_child_ends_in_agreement() {
    let others: [fn(&mut Peer); 3] =
        [Peer::rekey_ike, |peer| peer.rekey_child(Child(0)), |peer| peer.terminate_child(Child(0))];
    let words = "aes256gcm16-prfsha384-x25519-ke1_mlkem512";
    for (number, other) in others.into_iter().enumerate() {
        for late_ms in (0..80).step_by(5) {
            for side in [Side::Left, Side::Right] {
                let mut pair = setup(late_ms, words, HYBRID).pair().up();
                pair.left.rekey_child(Child(0));
                pair.run_for(Duration::from_millis(late_ms));
                other(pair.peer(side));
                pair.run_until_idle();
                pair.run_for(Duration::from_secs(90));
                let children = pair.left.child_sas();
                assert_eq!(children, pair.right.child_sas().mirrored(), "{}", pair.ladder());
                let ends = (pair.left.ike_sas().len(), pair.right.ike_sas().len());
                assert_eq!(ends, (1, 1), "{}", pair.ladder());
                assert!(children.len() <= 1, "{}", pair.ladder());
                if number < 2 {
                    assert_eq!(children.len(), 1, "{late_ms} {side:?}\n{}", pair.ladder());
                    assert_traffic(&mut pair);
                }
            }
        }
    }
}

/// CHECKLIST E18: a suite is a policy at run time, too: what a peer offers beside it is not taken.
#[test]
fn a_peer_that_offers_less_than_the_suite_is_refused() {
    for (left, right) in [("default", "cnsa2"), ("cnsa2", "compat"), ("compat", "cnsa2")] {
        let mut setup = setup(7, left, left);
        setup.right.proposals = ike(right);
        let mut pair = setup.pair();
        let request = pair.left.initiate(pair.child);
        pair.run_until_idle();
        let Some(Err(failure)) = pair.left.result(request) else { panic!("{left} {right}") };
        assert_eq!(failure.reason.code(), Some(101), "{left} {right}");
    }
    for suite in ["default", "compat", "cnsa2", "fips"] {
        let mut pair = setup(7, suite, suite).pair().up();
        pair.left.rekey_child(Child(0));
        pair.run_until_idle();
        pair.right.rekey_ike();
        pair.run_until_idle();
        assert_one_tunnel(&pair);
        assert_traffic(&mut pair);
    }
}

/// CHECKLIST E09: among several ECP groups it is the responder's order that counts, and the
/// initiator is told.
#[test]
fn of_several_ecp_groups_the_responder_has_the_choice() {
    let mut setup = Setup::new(Seed(7));
    setup.left.proposals = ike("aes256gcm16-prfsha384-ecp256-ecp384-ecp521");
    setup.right.proposals = ike("aes256gcm16-prfsha384-ecp521-ecp384");
    let pair = setup.pair().up();
    let suite = &pair.left.established()[0].suite;
    let group = suite.iter().find(|transform| transform.kind == TransformType::KE).unwrap();
    assert_eq!(group.id, KeyExchangeId::ECP_521.0);
}

/// CHECKLIST E12, E13: every cipher with every integrity algorithm for packets and, where it is for
/// IKE, for messages.
#[test]
fn every_cipher_protects_messages_and_packets() {
    for cipher in Cipher::ALL {
        let for_ike = format!("{cipher}-prfsha256-x25519");
        let is_for_ike = ProposalSpec::ike(&for_ike).is_ok();
        let ike_words = if is_for_ike { &for_ike } else { PLAIN_IKE };
        let mut pair = setup(7, ike_words, &format!("{cipher}-x25519-esn")).pair().up();
        pair.right.rekey_child(Child(0));
        pair.run_until_idle();
        assert_one_tunnel(&pair);
        assert_traffic(&mut pair);
    }
}

/// CHECKLIST E13: every PRF, in the handshake, in a rekey and with several key exchanges.
#[test]
fn every_prf_derives_the_same_keys_on_both_sides() {
    for prf in Prf::ALL {
        let words = format!("aes128gcm16-{prf}-x25519-ke1_mlkem512");
        let mut pair = setup(7, &words, HYBRID).pair().up();
        pair.right.rekey_ike();
        pair.run_until_idle();
        pair.left.rekey_child(Child(0));
        pair.run_until_idle();
        assert_one_tunnel(&pair);
        assert_traffic(&mut pair);
    }
}

/// CHECKLIST Q05: who is meant shows in IKE_AUTH alone, behind IKE_INTERMEDIATE.
#[test]
fn the_connection_is_found_behind_additional_key_exchanges() {
    let mut setup = setup(7, "aes256gcm16-prfsha384-x25519-ke1_mlkem768", HYBRID);
    let right = setup.right.clone();
    setup.right.name = "another".parse().unwrap();
    setup.right.pad.remote_id = "another.example".parse().unwrap();
    let mut pair = setup.pair();
    pair.right.load(right);
    let pair = pair.up();
    let known = &pair.right.established()[0].connection;
    assert_eq!(known.as_ref().map(ToString::to_string), Some("tunnel".to_owned()));
}

/// CHECKLIST E07: a second child whose group the peer wants otherwise, with key exchanges behind it.
#[test]
fn a_further_child_with_another_group_is_asked_for_again() {
    let [left, right] = ["x25519-ecp384", "ecp384-x25519"]
        .map(|groups| format!("aes256gcm16-{groups}-ke1_mlkem512"));
    let mut pair = setup_with(7, PLAIN_IKE, [&left, &right]).pair().up();
    let request = pair.left.initiate(Child(1));
    pair.run_until_idle();
    assert!(matches!(pair.left.result(request), Some(Ok(()))), "{}", pair.ladder());
    assert_eq!(pair.left.child_sas().len(), 2);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
}

/// A peer that forgets every series is given up: the IKE SA ends.
//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
//= type=test
//# If the initiator continues to receive STATE_NOT_FOUND notifications after several retries,
//# it MUST treat this situation as a fatal error and delete the IKE SA by sending a DELETE
//# payload.
#[test]
fn a_peer_that_forgets_every_series_loses_the_ike_sa() {
    for what in [Peer::rekey_ike as fn(&mut Peer), |peer| peer.rekey_child(Child(0))] {
        let words = "aes256gcm16-prfsha384-x25519-ke1_mlkem512";
        let mut pair = setup(7, words, HYBRID).pair().up();
        // Each request comes when it has been forgotten.
        pair.network.intercept(|message| {
            let followup = message.exchange == ExchangeType::IKE_FOLLOWUP_KE;
            match followup && !message.response {
                true => Fate::Delay(Duration::from_secs(22)),
                false => Fate::Deliver,
            }
        });
        what(&mut pair.left);
        pair.run_for(Duration::from_secs(300));
        let lost = FailureReason::PeerError {
            exchange: ExchangeType::IKE_FOLLOWUP_KE,
            notify: NotifyType::STATE_NOT_FOUND,
        };
        let ended = pair
            .left
            .events()
            .iter()
            .any(|event| matches!(event, Event::IkeDown { reason, .. } if *reason == lost));
        assert!(ended, "{}", pair.ladder());
    }
}

/// Whatever both sides want at whatever time over a network that loses and repeats: in the end there is
/// one IKE SA, and its children are the same on both sides.
#[test]
fn orders_at_random_times_end_in_agreement() {
    for seed in 0..SEEDS {
        let words = "aes256gcm16-prfsha384-x25519-ke1_mlkem512";
        let (left, right) =
            if seed.is_multiple_of(2) { (HYBRID, HYBRID) } else { (WILLING, UNWILLING) };
        let mut setup = setup_with(seed, words, [left, right]);
        setup.faults.loss_percent = 10;
        setup.faults.duplicate_percent = 10;
        setup.faults.delay_max = Duration::from_millis(80);
        let mut pair = setup.pair().up();
        let mut rng = SeededRng::new(seed);
        let mut below = |bound: u64| rng.next_u64() % bound;
        for _ in 0..25 {
            let side = if below(2) == 0 { Side::Left } else { Side::Right };
            let peer = pair.peer(side);
            match below(8) {
                0..3 => peer.rekey_child(Child(0)),
                3 => peer.rekey_child(Child(1)),
                4 => peer.rekey_ike(),
                5..7 => drop(peer.initiate(Child(1))),
                _ => peer.terminate_child(Child(1)),
            }
            pair.run_for(Duration::from_millis(below(250)));
        }
        pair.run_for(Duration::from_secs(240));
        let ends = (pair.left.ike_sas().len(), pair.right.ike_sas().len());
        assert_eq!(ends, (1, 1), "seed {seed}\n{}", pair.ladder());
        let children = pair.left.child_sas();
        assert_eq!(children, pair.right.child_sas().mirrored(), "seed {seed}\n{}", pair.ladder());
        let counts = [&pair.left, &pair.right].map(|peer| peer.established()[0].children.len());
        assert_eq!(counts, [children.len(); 2], "seed {seed}\n{}", pair.ladder());
        assert!((1..=2).contains(&children.len()), "seed {seed}\n{}", pair.ladder());
    }
}

/// Runs with orders at random times.
const SEEDS: u64 = 40;

/// CHECKLIST J38: with losses and everything rekeyed by its age, no packet is lost.
#[test]
fn tunnels_with_follow_ups_live_on_a_bad_network() {
    for seed in 0..6 {
        let words = "aes256gcm16-prfsha384-x25519-ke1_mlkem512";
        let mut setup = setup(seed, words, HYBRID);
        setup.faults.loss_percent = 15;
        setup.faults.duplicate_percent = 10;
        setup.faults.delay_max = Duration::from_millis(60);
        for connection in [&mut setup.left, &mut setup.right] {
            connection.rekey_time = Duration::from_secs(120);
            connection.rand_time = Duration::from_secs(30);
            for child in &mut connection.children {
                child.lifetime.seconds = adit_db::LimitSpec { soft: 60, hard: 400, rand: 20 };
            }
        }
        let mut pair = setup.pair().up();
        pair.run_for(Duration::from_secs(900));
        assert!(child_rekeys(&pair.left) >= 8, "seed {seed}\n{}", pair.ladder());
        assert_eq!((downs(&pair.left), downs(&pair.right)), (0, 0), "seed {seed}");
    }
}
