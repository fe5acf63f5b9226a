//! Peers that cannot agree: each reason has its code, and nothing stays behind.

#![cfg(test)]

use std::time::Duration;

use adit_db::{ProposalSpec, TsSpec};
use adit_ike::FailureReason;
use adit_sim::{Pair, Seed, Setup};

/// Initiates from the left; the pair and what the request came to.
fn failed(setup: Setup) -> (Pair, FailureReason) {
    let mut pair = setup.pair();
    let request = pair.left.initiate(pair.child);
    pair.run_for(Duration::from_secs(40));
    let result = pair.left.result(request).unwrap_or_else(|| panic!("no end\n{}", pair.ladder()));
    let reason = match result {
        Ok(()) => panic!("it came up\n{}", pair.ladder()),
        Err(failure) => failure.reason.clone(),
    };
    (pair, reason)
}

fn assert_nothing_left(pair: &Pair) {
    assert!(pair.left.ike_sas().is_empty(), "{}", pair.ladder());
    assert!(pair.right.ike_sas().is_empty(), "{}", pair.ladder());
    assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
}

/// CHECKLIST F02: E203 on both sides; between two Adits it is certain.
/// CHECKLIST X06.
#[test]
fn a_wrong_secret_is_e203() {
    let mut setup = Setup::new(Seed(7));
    setup.right_secret = Some("incorrect horse".to_owned());
    let (pair, reason) = failed(setup);
    assert_eq!(reason.code(), Some(203), "{reason}");
    assert!(matches!(reason, FailureReason::WrongSecret { certain: true, .. }), "{reason:?}");
    assert!(pair.right.failures().any(|reason| reason.code() == Some(203)));
    assert_nothing_left(&pair);
}

/// CHECKLIST F03.
/// CHECKLIST V19.
#[test]
fn a_missing_secret_is_e201_on_its_side() {
    let mut setup = Setup::new(Seed(7));
    setup.left_secret = None;
    let (pair, reason) = failed(setup);
    assert_eq!(reason.code(), Some(201), "{reason}");
    assert_eq!(pair.left.ike_sas().len(), 0);

    let mut setup = Setup::new(Seed(7));
    setup.right_secret = None;
    let (pair, _) = failed(setup);
    assert!(pair.right.failures().any(|reason| reason.code() == Some(201)));
    assert_nothing_left(&pair);
}

/// The peer knows nobody by our name.
#[test]
fn an_unknown_identity_is_e204() {
    let mut setup = Setup::new(Seed(7));
    setup.left.pad.local_id = Some("stranger.example".parse().unwrap());
    let (pair, reason) = failed(setup);
    assert_eq!(reason.code(), Some(204), "{reason}");
    assert!(pair.right.failures().any(|reason| reason.code() == Some(204)));
    assert_nothing_left(&pair);
}

/// CHECKLIST A06.
/// CHECKLIST X06.
#[test]
fn no_common_ike_suite_is_e101() {
    let mut setup = Setup::new(Seed(7));
    setup.left.proposals = ProposalSpec::ike_list("aes256gcm16-prfsha384-x25519").unwrap();
    setup.right.proposals = ProposalSpec::ike_list("aes128gcm16-prfsha256-x25519").unwrap();
    let (pair, reason) = failed(setup);
    assert_eq!(reason.code(), Some(101), "{reason}");
    assert!(pair.right.failures().any(|reason| reason.code() == Some(101)));
    assert_nothing_left(&pair);
}

/// CHECKLIST A07: the IKE SA stays; between two Adits both proposals are told.
#[test]
fn no_common_esp_suite_is_e102_and_keeps_the_ike_sa() {
    let mut setup = Setup::new(Seed(7));
    setup.left.children[0].proposals = ProposalSpec::esp_list("aes256gcm16").unwrap();
    setup.right.children[0].proposals = ProposalSpec::esp_list("aes128gcm16").unwrap();
    let (pair, reason) = failed(setup);
    assert_eq!(reason.code(), Some(102), "{reason}");
    assert!(
        matches!(&reason, FailureReason::NoCommonEspSuite { theirs, .. } if !theirs.is_empty()),
        "{reason:?}"
    );
    assert!(pair.left.child_sas().is_empty());
    assert_eq!((pair.left.established().len(), pair.right.established().len()), (1, 1));
}

/// CHECKLIST H03, A07: between two Adits both sides' selectors are told.
#[test]
fn selectors_that_do_not_overlap_are_e301() {
    let mut setup = Setup::new(Seed(7));
    let elsewhere: TsSpec = "172.16.0.0/16".parse().unwrap();
    setup.right.children[0].local_ts = vec![elsewhere];
    let (pair, reason) = failed(setup);
    assert_eq!(reason.code(), Some(301), "{reason}");
    let FailureReason::SelectorMismatch { their_view_of_remote, .. } = &reason else {
        panic!("{reason:?}");
    };
    assert_eq!(their_view_of_remote.first().copied(), elsewhere.selector());
    assert!(pair.left.child_sas().is_empty());
    assert_eq!(pair.left.established().len(), 1);
}

/// Port 4500 does not get through: E121.
#[test]
fn a_blocked_port_4500_is_e121() {
    let mut pair = Setup::new(Seed(7)).behind_nat().pair();
    pair.network.intercept(|message| {
        match message.exchange == adit_wire::iana::ExchangeType::IKE_SA_INIT {
            true => adit_sim::Fate::Deliver,
            false => adit_sim::Fate::Lose,
        }
    });
    let request = pair.left.initiate(pair.child);
    pair.run_for(Duration::from_secs(60));
    let failure = pair.left.result(request).unwrap().as_ref().unwrap_err();
    assert_eq!(failure.reason.code(), Some(121), "{}", failure.reason);
}
