//! Several authentications (RFC 4739) between two endpoints.

#![cfg(test)]

use std::time::Duration;

use adit_db::{AuthSpec, Childless, IdentityPattern, LocalRound, RemoteRound};
use adit_ike::FailureReason;
use adit_sim::{Fate, Pair, Seed, Setup, Side};
use adit_wire::iana::ExchangeType;

const ALICE: &str = "alice@left.example";
const BOB: &str = "bob@right.example";

fn local(id: &str, auth: AuthSpec) -> LocalRound {
    LocalRound { id: Some(id.parse().unwrap()), auth }
}

fn remote(id: &str, auth: AuthSpec) -> RemoteRound {
    RemoteRound { id: id.parse().unwrap(), auth }
}

/// So many further rounds of each side, with a secret of their own.
fn further(left: usize, right: usize) -> Setup {
    let mut setup = Setup::new(Seed(9));
    for _ in 0..left {
        setup.left.pad.more_local.push(local(ALICE, AuthSpec::Psk));
        setup.right.pad.more_remote.push(remote("*@left.example", AuthSpec::Psk));
    }
    for _ in 0..right {
        setup.right.pad.more_local.push(local(BOB, AuthSpec::Psk));
        setup.left.pad.more_remote.push(remote(BOB, AuthSpec::Psk));
    }
    setup.later_secret = Some("of later rounds".to_owned());
    setup
}

/// IKE_AUTH requests of the left side on the way to a tunnel.
fn requests(setup: Setup) -> usize {
    let seen = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = seen.clone();
    let mut pair = setup.pair();
    pair.network.intercept(move |message| {
        let is_one = message.from == Side::Left && message.exchange == ExchangeType::IKE_AUTH;
        count.set(count.get() + usize::from(is_one));
        Fate::Deliver
    });
    let mut pair: Pair = pair.up();
    // The IKE SA goes by the first names.
    let id = |info: &adit_ike::IkeSaInfo| info.remote_id.clone().unwrap().to_string();
    assert_eq!(id(&pair.left.established()[0]), "right.example");
    assert_eq!(id(&pair.right.established()[0]), "left.example");
    pair.left.rekey_ike();
    pair.run_until_idle();
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    seen.get()
}

fn refused(setup: Setup) -> (Vec<FailureReason>, Vec<FailureReason>) {
    let mut pair = setup.pair();
    pair.left.initiate(pair.child);
    pair.run_for(Duration::from_secs(120));
    assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
    assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
    (pair.left.failures().cloned().collect(), pair.right.failures().cloned().collect())
}

/// CHECKLIST F09: RFC 4739 §2.4 (the initiator has two), §2.5 (the responder has), both, and three
/// beside one.
#[test]
fn each_side_has_its_rounds() {
    assert_eq!(requests(further(0, 0)), 1);
    assert_eq!(requests(further(1, 0)), 2);
    assert_eq!(requests(further(0, 1)), 2);
    assert_eq!(requests(further(1, 1)), 2);
    assert_eq!(requests(further(3, 1)), 4);
    assert_eq!(requests(further(0, 3)), 4);
}

/// RFC 6023: no child is asked for, so nothing but the rounds says when IKE_AUTH is over.
#[test]
fn rounds_without_a_child_end_by_themselves() {
    for (left, right, expected) in
        [(0, 0, 1), (1, 0, 2), (0, 1, 2), (1, 1, 2), (3, 1, 4), (0, 3, 4)]
    {
        for ppk in [None, Some("a ppk".to_owned())] {
            let mut setup = further(left, right);
            setup.left.childless = Childless::Force;
            let id = "berlin".parse().unwrap();
            let spec = ppk.as_ref().map(|_| adit_db::PpkSpec { id, required: true });
            (setup.left.pad.ppk, setup.right.pad.ppk) = (spec.clone(), spec);
            (setup.left_ppk, setup.right_ppk) = (ppk.clone(), ppk);
            assert_eq!(requests(setup), expected);
        }
    }
}

/// CHECKLIST F05, F09: rounds of different kinds, with a post-quantum key beside them.
#[test]
fn rounds_of_different_kinds_follow_each_other() {
    let mut setup = further(1, 1);
    setup.left.pad.more_local[0] = LocalRound { id: None, auth: AuthSpec::Null };
    setup.right.pad.more_remote[0] = remote("%any", AuthSpec::Null);
    assert_eq!(requests(setup.clone()), 2);
    let ppk = adit_db::PpkSpec { id: "berlin".parse().unwrap(), required: false };
    for pad in [&mut setup.left.pad, &mut setup.right.pad] {
        pad.ppk = Some(ppk.clone());
    }
    setup.left_ppk = Some("a ppk".to_owned());
    setup.right_ppk = setup.left_ppk.clone();
    assert_eq!(requests(setup.clone()), 2);
    setup.right_ppk = None;
    assert_eq!(requests(setup), 2);
}

/// CHECKLIST F09: each round has to succeed, by the name and the secret that are asked for.
#[test]
fn a_round_that_fails_fails_all() {
    let mut setup = further(1, 0);
    setup.right.pad.more_remote[0] = remote("carol@left.example", AuthSpec::Psk);
    let (_, right) = refused(setup);
    assert!(matches!(right.as_slice(), [FailureReason::WrongIdentity { .. }]), "{right:?}");

    let mut setup = further(0, 1);
    setup.left.pad.more_remote[0] = remote("carol@right.example", AuthSpec::Psk);
    let (left, _) = refused(setup);
    assert!(matches!(left.as_slice(), [FailureReason::WrongIdentity { .. }]), "{left:?}");

    let mut setup = further(1, 0);
    setup.right.pad.more_remote[0].auth = AuthSpec::Null;
    let (_, right) = refused(setup);
    assert!(matches!(right.as_slice(), [FailureReason::WrongMethod { .. }]), "{right:?}");
}

/// CHECKLIST F09: whoever knows the secret of the second round alone does not come through the first by
/// claiming there the name of the second.
#[test]
fn a_name_of_the_second_round_does_not_open_the_first() {
    for name in [ALICE, "left.example"] {
        let mut setup = further(1, 1);
        setup.left.pad.local_id = Some(name.parse().unwrap());
        setup.right.pad.remote_id = IdentityPattern::Any;
        assert_ne!(setup.right_secret, setup.later_secret);
        setup.left_secret = setup.later_secret.clone();
        let (_, right) = refused(setup);
        let is_wrong =
            matches!(right.as_slice(), [FailureReason::WrongSecret { certain: true, .. }]);
        assert!(is_wrong, "{name}: {right:?}");
    }
}

/// CHECKLIST F09: who is asked for more rounds than it does, or does more than it is asked for, is not
/// let in, whichever side that is and whether it knows of RFC 4739 or not.
#[test]
fn one_round_more_or_less_is_refused() {
    let wrong_rounds = |reasons: &[FailureReason]| {
        reasons.iter().any(|reason| matches!(reason, FailureReason::WrongRounds { .. }))
    };
    let (none, one, two) = (further(0, 0), further(1, 0), further(2, 0));
    for (left, right) in [(&none, &one), (&one, &two), (&two, &one)] {
        let mut setup = left.clone();
        setup.right.pad = right.right.pad.clone();
        let (_, right) = refused(setup);
        assert!(wrong_rounds(&right), "{right:?}");
    }
    let (none, one, two) = (further(0, 0), further(0, 1), further(0, 2));
    for (left, right) in [(&one, &none), (&one, &two), (&two, &one), (&none, &one)] {
        let mut setup = left.clone();
        setup.right.pad = right.right.pad.clone();
        let (left, right) = refused(setup);
        assert!(wrong_rounds(&left) || wrong_rounds(&right), "{left:?} {right:?}");
    }
}

/// CHECKLIST A07, F09: the child is refused in the last of several responses, which has no AUTH then; the
/// IKE SA stays.
#[test]
fn a_refused_child_leaves_the_ike_sa() {
    for (left, right) in [(1, 0), (0, 1)] {
        let mut setup = further(left, right);
        setup.right.children[0].remote_ts = vec!["10.99.0.0/24".parse().unwrap()];
        let mut pair = setup.pair();
        pair.left.initiate(pair.child);
        pair.run_for(Duration::from_secs(10));
        assert_eq!(pair.left.established().len(), 1, "{}", pair.ladder());
        assert_eq!(pair.right.established().len(), 1, "{}", pair.ladder());
        assert!(pair.left.child_sas().is_empty());
    }
}

/// CHECKLIST B01: every message may be lost once.
#[test]
fn a_lost_message_is_sent_again() {
    for lost in 1..=8 {
        let mut pair = further(1, 1).pair();
        let mut seen = 0;
        pair.network.intercept(move |_| {
            seen += 1;
            if seen == lost { Fate::Lose } else { Fate::Deliver }
        });
        let pair = pair.up();
        assert_eq!((pair.left.ike_sas().len(), pair.right.ike_sas().len()), (1, 1));
    }
}
