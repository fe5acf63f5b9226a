//! Constraints of the PAD (RFC 4301 §4.4.3.4): who may speak for which networks.

#![cfg(test)]

use std::time::Duration;

use adit_db::{Claim, PadEntry};
use adit_ike::FailureReason;
use adit_sim::{Pair, Seed, Setup};

fn claim(id: &str, networks: &[&str]) -> Claim {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    Claim { id: id.parse().unwrap(), networks }
}

/// Any host of `example` may call, each with networks of its own.
fn limit(pad: &mut PadEntry, claims: &[Claim]) {
    pad.remote_id = "*.example".parse().unwrap();
    pad.claims = claims.to_vec();
}

/// Initiates from the left, and gives it time.
fn run(setup: Setup) -> Pair {
    let mut pair = setup.pair();
    pair.left.initiate(pair.child);
    pair.run_for(Duration::from_secs(40));
    pair
}

fn refusals(failures: &mut dyn Iterator<Item = FailureReason>) -> Vec<(String, String, String)> {
    let told = failures.filter_map(|reason| {
        let FailureReason::NotClaimed { peer, allowed, claimed } = reason else { return None };
        let list = |all: Vec<adit_wire::ikev2::TrafficSelector>| {
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        Some((peer.to_string(), list(allowed), list(claimed)))
    });
    told.collect()
}

#[test]
fn a_peer_gets_what_it_may_claim() {
    let mut setup = Setup::new(Seed(7));
    let ours = claim("left.example", &["10.1.0.128/25", "10.9.0.0/24"]);
    limit(&mut setup.right.pad, &[claim("*.example", &["10.1.0.0/16"]), ours]);
    let mut pair = run(setup);
    let remote = |pair: &Pair| {
        let ike = pair.right.established().pop().unwrap();
        let children = ike.children.iter();
        children.map(|child| (child.id, child.remote_ts.clone())).next_back().unwrap()
    };
    let (first, agreed) = remote(&pair);
    assert_eq!(agreed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.1.0.128/25"]);
    // A rekeyed child has no more than the first.
    pair.right.rekey_child(pair.child);
    pair.run_for(Duration::from_secs(20));
    let (second, still) = remote(&pair);
    assert_ne!(first, second, "{}", pair.ladder());
    assert_eq!(still, agreed);
}

#[test]
fn a_peer_that_may_claim_nothing_of_it_is_e302() {
    for claims in [vec![claim("left.example", &["10.9.0.0/24"])], vec![claim("%any", &["dynamic"])]]
    {
        let mut setup = Setup::new(Seed(7));
        limit(&mut setup.right.pad, &claims);
        let pair = run(setup);
        let told = refusals(&mut pair.right.failures().cloned());
        let (peer, _, claimed) = told.first().unwrap_or_else(|| panic!("{}", pair.ladder()));
        assert_eq!((peer.as_str(), claimed.as_str()), ("left.example", "10.1.0.0/24"));
        // CHECKLIST A07: the IKE SA stays.
        assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
        assert_eq!(pair.right.established().len(), 1);
    }
}

/// The initiator learns who answers from the answer.
#[test]
fn an_answer_beyond_the_claims_is_e302() {
    let mut setup = Setup::new(Seed(7));
    limit(&mut setup.left.pad, &[claim("right.example", &["10.2.0.0/25"])]);
    let pair = run(setup);
    let told = refusals(&mut pair.left.failures().cloned());
    let wanted = ("right.example".to_owned(), "10.2.0.0/25".to_owned(), "10.2.0.0/24".to_owned());
    assert_eq!(told.first(), Some(&wanted), "{}", pair.ladder());
    // The next child is asked for knowing who the peer is.
    let agreed = |side: &adit_sim::Peer| -> Vec<_> {
        let children = side.established().into_iter().flat_map(|ike| ike.children);
        children.map(|child| (child.local_ts, child.remote_ts)).collect()
    };
    let mirrored = agreed(&pair.right).into_iter().map(|(local, remote)| (remote, local));
    assert_eq!(agreed(&pair.left), mirrored.collect::<Vec<_>>(), "{}", pair.ladder());
    assert_eq!(agreed(&pair.left)[0].1[0].to_string(), "10.2.0.0/25");
}

/// Where only one peer may answer, no more is asked for than it may have.
#[test]
fn a_known_peer_is_asked_for_what_it_may_claim() {
    let mut setup = Setup::new(Seed(7));
    setup.left.pad.claims = vec![claim("right.example", &["10.2.0.0/25"])];
    let pair = run(setup);
    let ike = pair.right.established().pop().unwrap();
    assert_eq!(ike.children[0].local_ts[0].to_string(), "10.2.0.0/25");
}
