//! COOKIE and INVALID_KE_PAYLOAD, alone and together (RFC 7296 §2.6, §1.2).

#![cfg(test)]

use adit_db::ProposalSpec;
use adit_ike::{Event, Step};
use adit_sim::{Pair, Seed, Setup};

fn asked(pair: &Pair) -> (usize, usize) {
    let count = |wanted: fn(&Step) -> bool| {
        pair.left
            .events()
            .iter()
            .filter(|event| matches!(event, Event::Progress { step, .. } if wanted(step)))
            .count()
    };
    (
        count(|step| matches!(step, Step::CookieAsked)),
        count(|step| matches!(step, Step::KeyExchangeAsked { .. })),
    )
}

fn with_cookies(mut setup: Setup) -> Setup {
    setup.right_config.cookie_threshold = 0;
    setup
}

fn with_another_group(mut setup: Setup) -> Setup {
    let ike = |text| ProposalSpec::ike_list(text).unwrap();
    setup.left.proposals = ike("aes256gcm16-prfsha384-x25519-ecp384");
    setup.right.proposals = ike("aes256gcm16-prfsha384-ecp384-x25519");
    setup
}

/// CHECKLIST C01, C02.
#[test]
fn a_loaded_responder_asks_for_a_cookie_once() {
    let pair = with_cookies(Setup::new(Seed(7))).pair().up();
    assert_eq!(asked(&pair), (1, 0));
}

/// CHECKLIST C01: until the cookie comes back there is no state.
#[test]
fn before_the_cookie_comes_back_there_is_no_state() {
    let mut pair = with_cookies(Setup::new(Seed(7))).pair();
    pair.left.initiate(pair.child);
    // The request arrives, the response has not.
    assert!(pair.run_until(std::time::Duration::from_secs(1), |pair| pair.messages_sent() == 2));
    assert_eq!(pair.right.ike_sas().len(), 0);
}

/// CHECKLIST E04.
#[test]
fn another_group_is_tried_when_asked_for() {
    let pair = with_another_group(Setup::new(Seed(7))).pair().up();
    assert_eq!(asked(&pair), (0, 1));
}

/// CHECKLIST C05: cookie first, then the other group; the cookie stays in the request, so it is
/// asked for once.
#[test]
fn cookie_and_another_group_take_one_round_trip_each() {
    let pair = with_cookies(with_another_group(Setup::new(Seed(7)))).pair().up();
    let (cookies, groups) = asked(&pair);
    assert_eq!(groups, 1);
    assert!(cookies <= 2);
}

/// CHECKLIST E05: a responder that wants a group we do not offer refuses us.
#[test]
fn a_group_that_was_not_offered_is_no_common_suite() {
    let ike = |text| ProposalSpec::ike_list(text).unwrap();
    let mut setup = Setup::new(Seed(7));
    setup.left.proposals = ike("aes256gcm16-prfsha384-x25519");
    setup.right.proposals = ike("aes256gcm16-prfsha384-ecp384");
    let mut pair = setup.pair();
    let request = pair.left.initiate(pair.child);
    pair.run_until_idle();
    let failure = pair.left.result(request).unwrap().as_ref().unwrap_err();
    assert_eq!(failure.reason.code(), Some(101));
}
