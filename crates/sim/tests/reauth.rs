//! Repeated authentication (RFC 4478, RFC 7296 §2.8.3) between two endpoints.

#![cfg(test)]

use std::time::Duration;

use adit_db::{HostSpec, Unique};
use adit_ike::Event;
use adit_sim::{Child, Fate, Pair, Peer, Seed, Setup, Side};
use adit_wire::iana::ExchangeType;

fn spis(peer: &Peer) -> Vec<[u8; 8]> {
    peer.established().iter().map(|info| info.spi_i.0).collect()
}

/// One IKE SA with so many children at both ends, the same ones, and nothing else.
fn assert_one_tunnel(pair: &Pair, children: usize) {
    assert_eq!(
        (pair.left.ike_sas().len(), pair.right.ike_sas().len()),
        (1, 1),
        "{}",
        pair.ladder()
    );
    assert_eq!(spis(&pair.left), spis(&pair.right), "{}", pair.ladder());
    assert_eq!(pair.left.child_sas().len(), children, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
}

/// Sends a packet of each child from either side every few milliseconds for a while; none may be lost.
fn run_with_traffic(pair: &mut Pair, children: usize, time: Duration) {
    let step = Duration::from_millis(7);
    let lost = pair.left.packets_lost + pair.right.packets_lost;
    let end = pair.elapsed() + time;
    while pair.elapsed() < end {
        for child in 0..children {
            pair.left.send_packet(Child(child));
            pair.right.send_packet(Child(child));
        }
        pair.run_for(step);
    }
    assert_eq!(pair.left.packets_lost + pair.right.packets_lost, lost, "{}", pair.ladder());
}

fn ike_ups(peer: &Peer) -> usize {
    peer.events().iter().filter(|event| matches!(event, Event::IkeUp(_))).count()
}

/// CHECKLIST K15: make before break, by order of either side: all children move, no packet is lost, no
/// duplicate is left, whatever the policy about unique IKE SAs is.
#[test]
fn authentication_is_repeated_without_a_gap() {
    for unique in [Unique::Replace, Unique::Keep, Unique::Never] {
        for side in [Side::Left, Side::Right] {
            let mut setup = Setup::new(Seed(11)).with_child(7).with_child(8);
            (setup.left.unique, setup.right.unique) = (unique, unique);
            let mut pair = setup.pair().up();
            for child in 1..3 {
                pair.left.initiate(Child(child));
                pair.run_until_idle();
            }
            // IKE SAs of opposite initiators that come up within seconds have crossed, and one goes.
            pair.run_for(Duration::from_secs(15));
            let (before, children) = (spis(&pair.left), pair.left.child_sas());
            pair.peer(side).reauthenticate();
            run_with_traffic(&mut pair, 3, Duration::from_secs(20));
            pair.run_until_idle();
            assert_one_tunnel(&pair, 3);
            assert_ne!(spis(&pair.left), before);
            assert_ne!(pair.left.child_sas(), children);
            assert_eq!((ike_ups(&pair.left), ike_ups(&pair.right)), (2, 2));
        }
    }
}

/// CHECKLIST K15: the one who answers goes on sending on the old children until the peer has the new ones,
/// each of them, and however often its answers are lost.
#[test]
fn no_packet_goes_to_a_child_that_the_peer_does_not_have_yet() {
    for exchange in [ExchangeType::IKE_AUTH, ExchangeType::CREATE_CHILD_SA] {
        let mut pair = Setup::new(Seed(21)).with_child(7).pair().up();
        pair.left.initiate(Child(1));
        pair.run_for(Duration::from_secs(15));
        let mut lost = 0;
        pair.network.intercept(move |message| {
            let is_answer = message.exchange == exchange && message.from == Side::Right;
            lost += usize::from(is_answer);
            if is_answer && lost <= 3 { Fate::Lose } else { Fate::Deliver }
        });
        pair.left.reauthenticate();
        run_with_traffic(&mut pair, 2, Duration::from_secs(30));
        pair.run_until_idle();
        assert_one_tunnel(&pair, 2);
        assert_eq!(ike_ups(&pair.left), 2);
    }
}

/// CHECKLIST K15: a peer that has moved since (RFC 4555) and authenticates anew where it is now is known by that
/// place: traffic stays on the old children until it has the new ones. Worlds `hybrid 21086` and `hybrid 22239`.
#[test]
fn a_peer_that_has_moved_repeats_without_a_gap() {
    let mut setup = Setup::new(Seed(23));
    setup.left.local_addresses.clear();
    setup.right.remote_addresses = vec![HostSpec::Any];
    let mut pair = setup.pair().up();
    pair.run_for(Duration::from_secs(15));
    pair.move_to(Side::Left, &["192.0.2.77"]);
    pair.run_for(Duration::from_secs(1));
    let mut lost = 0;
    pair.network.intercept(move |message| {
        let is_answer = message.exchange == ExchangeType::IKE_AUTH && message.from == Side::Right;
        lost += usize::from(is_answer);
        if is_answer && lost <= 3 { Fate::Lose } else { Fate::Deliver }
    });
    pair.left.reauthenticate();
    run_with_traffic(&mut pair, 1, Duration::from_secs(30));
    pair.run_until_idle();
    assert_one_tunnel(&pair, 1);
    assert_eq!(pair.right.established()[0].remote.ip().to_string(), "192.0.2.77");
}

/// CHECKLIST K15: traffic of one direction alone passes all the time, whichever side asked first: with the
/// old IKE SA its children go, and nothing but that tells the one who sends.
#[test]
fn traffic_of_one_direction_has_no_gap() {
    for side in [Side::Left, Side::Right] {
        let mut pair = Pair::established(Seed(22));
        pair.run_for(Duration::from_secs(15));
        pair.peer(side).reauthenticate();
        let sender = side.other();
        let before = pair.peer(side).packets_opened;
        let (step, packets) = (Duration::from_millis(7), 2_000);
        for _ in 0..packets {
            let child = pair.child;
            pair.peer(sender).send_packet(child);
            pair.run_for(step);
        }
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.peer(side).packets_opened - before, packets, "{}", pair.ladder());
        assert_one_tunnel(&pair, 1);
    }
}

/// CHECKLIST K15: an IKE SA that both replace at once leaves one, and traffic goes on.
#[test]
fn both_may_repeat_at_once() {
    for seed in 0..12 {
        let mut pair = Pair::established(Seed(seed));
        pair.left.reauthenticate();
        if seed % 3 > 0 {
            pair.run_for(Duration::from_millis(20 * seed));
        }
        pair.right.reauthenticate();
        run_with_traffic(&mut pair, 1, Duration::from_secs(30));
        pair.run_until_idle();
        assert_one_tunnel(&pair, 1);
    }
}

/// CHECKLIST K15: break before make, as other peers do it: the old IKE SA is deleted first.
#[test]
fn a_peer_may_break_before_it_makes() {
    let mut pair = Pair::established(Seed(4));
    let before = spis(&pair.left);
    pair.left.terminate_ike();
    pair.run_until_idle();
    let request = pair.left.initiate(pair.child);
    pair.run_until_idle();
    assert!(matches!(pair.left.result(request), Some(Ok(()))));
    assert_one_tunnel(&pair, 1);
    assert_ne!(spis(&pair.left), before);
}

/// CHECKLIST K15: it happens by itself, in time and again and again.
#[test]
fn the_configured_time_is_kept() {
    let mut setup = Setup::new(Seed(12));
    setup.left.reauth_time = Duration::from_secs(600);
    setup.left.over_time = Duration::from_secs(60);
    // The time at random is for rekeying: no more of it counts than a tenth.
    setup.left.rand_time = Duration::from_hours(1);
    setup.left.rekey_time = Duration::ZERO;
    let mut pair = setup.pair().up();
    pair.run_for(Duration::from_secs(530));
    assert_eq!(ike_ups(&pair.left), 1);
    pair.run_for(Duration::from_secs(80));
    assert_eq!(ike_ups(&pair.left), 2);
    pair.run_for(Duration::from_secs(6_000));
    let times = ike_ups(&pair.left);
    assert!((11..14).contains(&times), "{times}");
    assert_one_tunnel(&pair, 1);
}

/// However short the time is: an IKE SA stays for a while, and the peer is not kept busy.
#[test]
fn no_time_is_too_short() {
    let mut setup = Setup::new(Seed(18));
    setup.left.reauth_time = Duration::from_secs(1);
    setup.left.over_time = Duration::from_secs(60);
    let mut pair = setup.pair().up();
    pair.run_for(Duration::from_secs(100));
    let times = ike_ups(&pair.left);
    assert!((9..12).contains(&times), "{times}");
}

//= https://www.rfc-editor.org/rfc/rfc4478#section-2
//= type=test
//# The Responder MUST send this information to the Initiator in an AUTH_LIFETIME notification either
//# in the last message of an IKE_AUTH exchange, or in an INFORMATIONAL request
/// CHECKLIST K16: the responder's limit is obeyed by an initiator that has none of its own.
#[test]
fn the_lifetime_of_the_responder_is_obeyed() {
    let mut setup = Setup::new(Seed(13));
    setup.right.reauth_time = Duration::from_secs(400);
    setup.right.over_time = Duration::from_secs(40);
    let mut pair = setup.pair().up();
    let at = pair.left.established()[0].reauth_at;
    assert!(at.is_some());
    pair.run_for(Duration::from_secs(350));
    assert_eq!(ike_ups(&pair.left), 1);
    // "If the IKE SA is rekeyed, then the time limit applies to the new SA."
    pair.right.rekey_ike();
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.left.established()[0].reauth_at, at);
    run_with_traffic(&mut pair, 1, Duration::from_secs(20));
    assert_eq!(ike_ups(&pair.left), 2, "{}", pair.ladder());
    pair.run_until_idle();
    assert_one_tunnel(&pair, 1);
    assert!(pair.left.established()[0].initiator);
}

//= https://www.rfc-editor.org/rfc/rfc4478#section-2
//= type=test
//# The original Responder that sends the AUTH_LIFETIME notification SHOULD send a DELETE notification
//# soon after the end of the lifetime period, unless the IKE SA is deleted before the lifetime period
//# elapses.
/// CHECKLIST K16, K20: an IKE SA that nobody has authenticated anew goes with its children.
#[test]
fn who_does_not_repeat_is_shut_out() {
    let mut setup = Setup::new(Seed(14));
    setup.right.reauth_time = Duration::from_secs(400);
    setup.right.over_time = Duration::from_secs(40);
    let mut pair = setup.pair().up();
    // Attempts are lost on the way; what is there stays for as long as it may.
    pair.network.intercept(|message| match message.exchange {
        ExchangeType::IKE_SA_INIT => Fate::Lose,
        _ => Fate::Deliver,
    });
    pair.run_for(Duration::from_secs(430));
    assert_eq!(pair.right.established().len(), 1);
    pair.run_for(Duration::from_secs(20));
    assert!(pair.right.established().is_empty() && pair.left.established().is_empty());
    assert!(pair.right.child_sas().is_empty() && pair.left.child_sas().is_empty());
}

/// An attempt that fails does not end what is there: another follows.
#[test]
fn a_failed_attempt_is_repeated() {
    let mut setup = Setup::new(Seed(15));
    setup.left.reauth_time = Duration::from_secs(600);
    setup.left.over_time = Duration::from_secs(500);
    setup.left.rand_time = Duration::ZERO;
    let mut pair = setup.pair().up();
    let mut seen = 0;
    pair.network.intercept(move |message| {
        let begins = message.exchange == ExchangeType::IKE_SA_INIT && message.from == Side::Left;
        seen += usize::from(begins);
        // As many as one attempt sends, and some of the next.
        if begins && seen <= 8 { Fate::Lose } else { Fate::Deliver }
    });
    pair.run_for(Duration::from_secs(1_000));
    assert_eq!(ike_ups(&pair.left), 2, "{}", pair.ladder());
    assert_one_tunnel(&pair, 1);
}

/// CHECKLIST F24: without INITIAL_CONTACT and from the same place the old IKE SA is the peer's to delete;
/// if it does not, it goes soon all the same.
#[test]
fn no_duplicate_stays() {
    let mut pair = Pair::established(Seed(16));
    pair.network.intercept(|message| match message.exchange {
        // The left side's delete of the old IKE SA never arrives.
        ExchangeType::INFORMATIONAL if message.from == Side::Left => Fate::Lose,
        _ => Fate::Deliver,
    });
    pair.left.reauthenticate();
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.right.established().len(), 2, "{}", pair.ladder());
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.right.established().len(), 1, "{}", pair.ladder());
    assert_eq!(spis(&pair.left), spis(&pair.right));
}
