//! NULL authentication (RFC 7619) between two endpoints.

#![cfg(test)]

use std::time::Duration;

use adit_db::{AuthSpec, Identity, IdentityPattern, Unique};
use adit_ike::FailureReason;
use adit_sim::{Pair, Seed, Setup};

/// The left side proves nothing to the right one, which lets everybody in.
fn anonymous_left() -> Setup {
    let mut setup = Setup::new(Seed(5));
    setup.left.pad.local_auth = AuthSpec::Null;
    setup.left.pad.local_id = None;
    setup.right.pad.remote_auth = AuthSpec::Null;
    setup.right.pad.remote_id = IdentityPattern::Any;
    setup
}

/// The right side proves nothing to the left one.
fn anonymous_right() -> Setup {
    let mut setup = Setup::new(Seed(6));
    setup.right.pad.local_auth = AuthSpec::Null;
    setup.right.pad.local_id = None;
    setup.left.pad.remote_auth = AuthSpec::Null;
    setup.left.pad.remote_id = IdentityPattern::Any;
    setup
}

fn refused(setup: Setup) -> (Vec<FailureReason>, Vec<FailureReason>) {
    let mut pair = setup.pair();
    pair.left.initiate(pair.child);
    pair.run_for(Duration::from_secs(60));
    assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
    (pair.left.failures().cloned().collect(), pair.right.failures().cloned().collect())
}

/// CHECKLIST F05, F08: each side alone, and both. Who proves nothing has no name.
#[test]
fn either_side_may_prove_nothing() {
    let pair = anonymous_left().pair().up();
    assert_eq!(pair.right.established()[0].remote_id, Some(Identity::Null));
    let right: Identity = "right.example".parse().unwrap();
    assert_eq!(pair.left.established()[0].remote_id, Some(right));

    let pair = anonymous_right().pair().up();
    assert_eq!(pair.left.established()[0].remote_id, Some(Identity::Null));

    let mut setup = anonymous_left();
    setup.right.pad.local_auth = AuthSpec::Null;
    setup.left.pad.remote_auth = AuthSpec::Null;
    setup.left.pad.remote_id = IdentityPattern::Any;
    (setup.left_secret, setup.right_secret) = (None, None);
    let mut pair = setup.pair().up();
    pair.left.send_packet(pair.child);
    pair.right.send_packet(pair.child);
    pair.run_until_idle();
    assert_eq!((pair.left.packets_opened, pair.right.packets_opened), (1, 1));
}

/// CHECKLIST F05, F08: where a proof is asked for, none is none; and where none is asked for, a shared
/// key says nothing.
//= https://www.rfc-editor.org/rfc/rfc7619#section-2
//= type=test
//# If a host's local policy requires that the identity of its peer be (non-null) authenticated, and
//# if that host receives an AUTH payload containing the NULL Authentication method type, it MUST
//# return an AUTHENTICATION_FAILED notification.
#[test]
fn mismatches_are_refused_both_ways() {
    let wrong_method = |reasons: &[FailureReason]| {
        reasons.iter().any(|reason| matches!(reason, FailureReason::WrongMethod { .. }))
    };
    // The right side wants a name, and a proof.
    let mut setup = anonymous_left();
    setup.right.pad.remote_auth = AuthSpec::Psk;
    setup.left.pad.local_id = Some("left.example".parse().unwrap());
    let (left, right) = refused(setup.clone());
    assert!(wrong_method(&right), "{right:?}");
    assert!(left.iter().any(|reason| reason.code() == Some(204)), "{left:?}");
    setup.right.pad.remote_id = "left.example".parse().unwrap();
    assert!(wrong_method(&refused(setup).1));

    let mut setup = anonymous_left();
    setup.left.pad.local_auth = AuthSpec::Psk;
    assert!(wrong_method(&refused(setup).1));

    let mut setup = anonymous_right();
    setup.left.pad.remote_auth = AuthSpec::Psk;
    assert!(wrong_method(&refused(setup).0));
    let mut setup = anonymous_right();
    setup.right.pad.local_auth = AuthSpec::Psk;
    assert!(wrong_method(&refused(setup).0));
}

/// A name that nothing proves opens no door: the connection for that name is not chosen, and the IKE SA
/// does not go by it.
#[test]
fn an_unproven_name_is_dropped() {
    let mut setup = anonymous_left();
    setup.left.pad.local_id = Some("boss.example".parse().unwrap());
    let pair = setup.pair().up();
    assert_eq!(pair.right.established()[0].remote_id, Some(Identity::Null));
}

//= https://www.rfc-editor.org/rfc/rfc7619#section-2.3
//= type=test
//# the INITIAL_CONTACT notifications MUST NOT be used to delete any other IKE SAs based on the same
//# peer identity without additional verification that the existing IKE SAs with matching identity
//# are actually stale.
#[test]
fn anonymous_peers_do_not_replace_each_other() {
    for unique in [Unique::Replace, Unique::Keep, Unique::Never] {
        let mut setup = anonymous_left();
        setup.right.unique = unique;
        let config = setup.left_config.clone();
        let mut pair: Pair = setup.pair().up();
        pair.left.crash(config);
        let request = pair.left.initiate(pair.child);
        pair.run_for(Duration::from_secs(5));
        assert!(matches!(pair.left.result(request), Some(Ok(()))));
        assert_eq!(pair.right.established().len(), 2, "{unique:?} {}", pair.ladder());
    }
}
