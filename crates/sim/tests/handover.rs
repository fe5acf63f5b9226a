//! Which child SA carries the traffic while several are there: none that the peer may not have
//! (RFC 7296 §2.8). Worlds found what these tests keep.

#![cfg(test)]

use std::time::Duration;

use adit_ike::EndpointConfig;
use adit_sim::{Child, Fate, MessageView, Pair, Seed, Setup, Side};
use adit_wire::Reader;
use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::Header;

const MS: Duration = Duration::from_millis(1);

/// World `dos 8`: the left side has replaced a child, and the right side has replaced the new one
/// before it confirmed that the old one goes. The last one is not used before the right side has it.
#[test]
fn the_end_of_an_old_child_does_not_start_one_that_the_peer_may_not_have() {
    let mut pair = Pair::established(Seed(8));
    let child = pair.child;
    pair.network.intercept(|view: &MessageView| match (view.exchange, view.response, view.from) {
        (ExchangeType::INFORMATIONAL, false, Side::Left) => Fate::Delay(500 * MS),
        (ExchangeType::CREATE_CHILD_SA, true, Side::Left) => Fate::Delay(3_000 * MS),
        _ => Fate::Deliver,
    });

    pair.left.rekey_child(child);
    pair.run_for(25 * MS);
    // The right side knows now that the left one has the new child, and may replace it.
    pair.left.send_packet(child);
    pair.run_for(15 * MS);
    assert_eq!(pair.right.packets_opened, 1);
    pair.right.rekey_child(child);
    pair.run_for(700 * MS);
    for _ in 0..5 {
        pair.left.send_packet(child);
    }
    pair.run_for(100 * MS);

    assert_eq!(pair.right.packets_lost, 0, "{}", pair.ladder());
    assert_eq!(pair.right.packets_opened, 6);
    pair.network.stop_intercepting();
    assert_one_child(&mut pair);
}

/// World `rekey 19`: the right side replaces the child that replaced another, and only then hears
/// that the first one goes. What it has moved its traffic to by then stays in use.
#[test]
fn the_end_of_an_old_child_does_not_bring_back_one_that_we_replaced() {
    let mut pair = Pair::established(Seed(19));
    let child = pair.child;
    pair.network.intercept(|view: &MessageView| match (view.exchange, view.response, view.from) {
        (ExchangeType::INFORMATIONAL, false, Side::Left) => Fate::Delay(400 * MS),
        (ExchangeType::INFORMATIONAL, true, Side::Left) => Fate::Lose,
        _ => Fate::Deliver,
    });

    pair.left.rekey_child(child);
    pair.run_for(25 * MS);
    pair.left.send_packet(child);
    pair.run_for(15 * MS);
    pair.right.rekey_child(child);
    // Longer than the left side takes packets for what it has confirmed to be gone.
    pair.run_for(7_000 * MS);
    pair.right.send_packet(child);
    pair.run_for(100 * MS);

    assert_eq!((pair.left.packets_lost, pair.left.packets_opened), (0, 1), "{}", pair.ladder());
    pair.network.stop_intercepting();
    assert_one_child(&mut pair);
}

/// World `rekey 4`: two requests for the same child cross, that of the right side prevails, and its
/// answer to the other one is long in coming. Its packets say that it has the child.
#[test]
fn traffic_on_a_child_that_crossed_our_request_starts_it() {
    let mut seen = 0;
    for seed in 0..12 {
        let mut pair = Setup::new(Seed(seed)).with_child(9).pair().up();
        let child = Child(1);
        pair.network.intercept(|view: &MessageView| {
            match (view.exchange, view.response, view.from) {
                (ExchangeType::CREATE_CHILD_SA, true, Side::Right) => Fate::Delay(5_000 * MS),
                _ => Fate::Deliver,
            }
        });
        pair.left.initiate(child);
        pair.right.initiate(child);
        pair.run_for(100 * MS);
        pair.right.send_packet(child);
        pair.run_for(50 * MS);
        // Where the left side's request prevails the right side does not take its own.
        if pair.left.packets_opened == 0 {
            continue;
        }
        seen += 1;
        pair.left.send_packet(child);
        pair.run_for(50 * MS);

        assert_eq!(pair.right.packets_opened, 1, "seed {seed}\n{}", pair.ladder());
        pair.network.stop_intercepting();
        pair.run_until_idle();
        assert_eq!(pair.left.child_sas().len(), 2, "seed {seed}\n{}", pair.ladder());
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    }
    assert!(seen >= 2, "one of the two prevails, now this one, now that one");
}

/// World `rekey 322`: the left side has made a child when the request of the right one for the same
/// comes, which the right one will not keep if it is the one with the lowest nonce.
#[test]
fn a_second_child_for_the_same_does_not_take_the_traffic_of_the_first() {
    for seed in 0..8 {
        let mut pair = Setup::new(Seed(seed)).with_child(9).pair().up();
        let child = Child(1);
        pair.network.intercept(|view: &MessageView| {
            match (view.exchange, view.response, view.from) {
                (ExchangeType::CREATE_CHILD_SA, false, Side::Right) => Fate::Lose,
                _ => Fate::Deliver,
            }
        });
        pair.right.initiate(child);
        pair.left.initiate(child);
        pair.run_for(300 * MS);
        pair.network.intercept(|view: &MessageView| {
            match (view.exchange, view.response, view.from) {
                (ExchangeType::CREATE_CHILD_SA, true, Side::Left) => Fate::Delay(1_000 * MS),
                _ => Fate::Deliver,
            }
        });
        pair.run_for(500 * MS);
        for _ in 0..5 {
            pair.left.send_packet(child);
            pair.run_for(300 * MS);
        }

        assert_eq!(pair.right.packets_lost, 0, "seed {seed}\n{}", pair.ladder());
        assert_eq!(pair.right.packets_opened, 5, "seed {seed}\n{}", pair.ladder());
        pair.network.stop_intercepting();
        // Who has the winning request waits for the other one to delete what lost.
        pair.run_for(Duration::from_secs(110));
        assert_eq!(pair.left.child_sas().len(), 2, "seed {seed}\n{}", pair.ladder());
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    }
}

/// World `rekey 199`: the left side replaces a child and asks for the answer for more than a minute.
/// Until it may have that the right side does not give the old child up.
#[test]
fn a_replaced_child_stays_while_the_peer_may_lack_our_answer() {
    let mut pair = Pair::established(Seed(199));
    let child = pair.child;
    pair.network.intercept(|view: &MessageView| match (view.exchange, view.response, view.from) {
        (ExchangeType::CREATE_CHILD_SA, true, Side::Right) => Fate::Lose,
        _ => Fate::Deliver,
    });
    pair.left.rekey_child(child);
    pair.run_for(Duration::from_secs(63));
    pair.right.send_packet(child);
    pair.run_for(100 * MS);

    assert_eq!((pair.left.packets_lost, pair.left.packets_opened), (0, 1), "{}", pair.ladder());
}

/// World `hybrid 593`: the right side has lost its state, and sets an IKE SA up while it answers one by which the
/// left side authenticates anew. So it does not say that it has lost anything, and the left side's first IKE SA
/// keeps the traffic for a while. When of the new ones one goes that does not end: the other one takes over
/// as if nothing had been between.
#[test]
fn the_end_of_one_of_three_ike_sas_does_not_give_traffic_back() {
    let mut seen = 0;
    for seed in 0..8 {
        let mut pair = Setup::new(Seed(seed)).with_child(9).pair().up();
        pair.left.initiate(Child(1));
        pair.run_for(Duration::from_secs(15));
        pair.right.crash(EndpointConfig::default());
        pair.network.intercept(|view: &MessageView| {
            match (view.exchange, view.response, view.from) {
                (ExchangeType::IKE_INTERMEDIATE, false, Side::Right) => Fate::Delay(100 * MS),
                (ExchangeType::CREATE_CHILD_SA, true, Side::Right) => Fate::Delay(2_000 * MS),
                (ExchangeType::INFORMATIONAL, false, Side::Right) => Fate::Delay(300 * MS),
                _ => Fate::Deliver,
            }
        });
        pair.right.initiate(Child(0));
        pair.left.reauthenticate();
        pair.run_for(180 * MS);
        // Where its own IKE SA has the place of the other one, the child of that went with it.
        pair.right.initiate(Child(1));
        pair.run_for(70 * MS);
        let had_three = pair.left.ike_sas().len() == 3;
        // Longer than traffic waits for the new children.
        pair.run_for(7_000 * MS);
        seen += usize::from(had_three && pair.left.ike_sas().len() == 2);
        let before = (pair.right.packets_opened, pair.right.packets_lost);
        for child in 0..2 {
            pair.left.send_packet(Child(child));
        }
        pair.run_for(100 * MS);
        let after = (pair.right.packets_opened, pair.right.packets_lost);
        assert_eq!(after, (before.0 + 2, before.1), "seed {seed}\n{}", pair.ladder());
        pair.network.stop_intercepting();
        pair.run_for(Duration::from_secs(60));
        assert_eq!(pair.left.ike_sas().len(), 1, "seed {seed}\n{}", pair.ladder());
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    }
    assert!(seen >= 2, "the right side's IKE SA prevails now and then: {seen}");
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.3
//= type=test
//# An IKE endpoint MUST NOT exceed the peer's stated window size for
//# transmitted IKE requests.
//
/// World `dos 47`: the right side replaces the IKE SA while a request of the left one is on its way,
/// and nothing more arrives. When the left side gives the old one up it has one request open.
#[test]
fn a_replaced_ike_sa_with_an_open_request_goes_without_another() {
    let mut setup = Setup::new(Seed(47));
    setup.left.dpd_delay = Duration::from_secs(5);
    let mut pair = setup.pair().up();
    pair.network.intercept(|view: &MessageView| match (view.exchange, view.response) {
        (ExchangeType::INFORMATIONAL, _) => Fate::Lose,
        _ => Fate::Deliver,
    });
    pair.run_for(6_000 * MS);
    let old = pair.left.established().first().unwrap().spi_i;
    pair.right.rekey_ike();
    pair.network.record();
    pair.run_for(Duration::from_secs(110));

    let asked: Vec<u32> = pair
        .network
        .recorded()
        .iter()
        .filter(|recorded| recorded.to == Side::Right)
        .filter_map(|recorded| Header::read(&mut Reader(&recorded.octets)).ok())
        .filter(|header| header.spi_i == old && !header.flags.is_response())
        .map(|header| header.message_id)
        .collect();
    assert!(asked.iter().all(|id| *id == 2), "{asked:?}\n{}", pair.ladder());
    assert!(pair.left.ike_sas().iter().all(|info| info.spi_i != old), "{}", pair.ladder());
}

fn assert_one_child(pair: &mut Pair) {
    pair.run_until_idle();
    assert_eq!(pair.left.child_sas().len(), 1, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
}
