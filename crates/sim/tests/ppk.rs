//! Post-quantum pre-shared keys (RFC 8784) between two endpoints.

#![cfg(test)]

use adit_db::{AuthSpec, Identity, PPK_ID_OCTETS_MAX, PpkSpec};
use adit_ike::{FailureReason, PpkGap};
use adit_sim::{Fate, Pair, Seed, Setup};
use adit_wire::iana::ExchangeType;

const PPK: &str = "a secret for after the quantum computer";

fn ppk(id: &str, required: bool) -> Option<PpkSpec> {
    Some(PpkSpec { id: id.parse().unwrap(), required })
}

/// Both have the same key, and insist on it or not.
fn both(required: [bool; 2]) -> Setup {
    let mut setup = Setup::new(Seed(3));
    setup.left.pad.ppk = ppk("berlin", required[0]);
    setup.right.pad.ppk = ppk("berlin", required[1]);
    setup.left_ppk = Some(PPK.to_owned());
    setup.right_ppk = Some(PPK.to_owned());
    setup
}

fn child_keys(pair: &Pair) -> adit_sim::ChildSas {
    pair.left.child_sas()
}

/// Runs an attempt of the left side; why each side says that it failed.
fn failures(setup: Setup) -> (Vec<FailureReason>, Vec<FailureReason>) {
    let mut pair = setup.pair();
    pair.left.initiate(pair.child);
    pair.run_for(std::time::Duration::from_secs(30));
    assert!(pair.left.established().is_empty(), "{}", pair.ladder());
    assert!(pair.right.established().is_empty(), "{}", pair.ladder());
    (pair.left.failures().cloned().collect(), pair.right.failures().cloned().collect())
}

fn lacks(reasons: &[FailureReason], expected: PpkGap) -> bool {
    let is_it = |reason: &FailureReason| matches!(reason, FailureReason::NoPpk { gap, .. } if *gap == expected);
    reasons.iter().any(is_it)
}

/// CHECKLIST Q08: with a key on both sides it is used, insisted on or not.
/// RFC 8784 §3: SK_d depends on the PPK, so the keys of the child do, and all later ones; whoever
/// insists.
#[test]
fn a_ppk_enters_the_keys_of_the_child() {
    let plain = child_keys(&Setup::new(Seed(3)).pair().up());
    for required in [[false, false], [true, false], [false, true], [true, true]] {
        let mut pair = both(required).pair().up();
        assert_ne!(child_keys(&pair), plain);
        // "It MUST NOT be used when these subkeys are calculated as result of IKE SA rekey".
        pair.left.rekey_ike();
        pair.run_until_idle();
        pair.right.rekey_child(pair.child);
        pair.run_until_idle();
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
        assert_eq!(pair.left.established().len(), 1);
    }
}

/// CHECKLIST Q08: the longest name comes across as it is, and one that differs in its last octet is
/// another.
#[test]
fn a_long_name_is_a_name() {
    let long = "n".repeat(PPK_ID_OCTETS_MAX - 1);
    let [name, other] = ["m", "o"].map(|last| ppk(&format!("{long}{last}"), true));
    let mut setup = both([true, true]);
    setup.left.pad.ppk = name.clone();
    setup.right.pad.ppk = name;
    drop(setup.clone().pair().up());
    setup.right.pad.ppk = other;
    assert!(lacks(&failures(setup).1, PpkGap::Unknown));
}

/// CHECKLIST Q08: a gateway with a key for each peer takes from each its own, and no other's.
#[test]
fn each_peer_has_a_key_of_its_own() {
    let mut setup = both([true, true]);
    setup.ppks_of = ["berlin", "oslo"]
        .map(|name| (name.parse().unwrap(), format!("the secret of {name}")))
        .to_vec();
    let mut oslo = setup.right.clone();
    oslo.name = "oslo".parse().unwrap();
    oslo.pad.remote_id = "oslo.example".parse().unwrap();
    oslo.pad.ppk = ppk("oslo", true);
    for (id, name, connection) in [
        ("left.example", "berlin", Some("tunnel")),
        ("oslo.example", "oslo", Some("oslo")),
        ("oslo.example", "berlin", None),
        ("left.example", "oslo", None),
    ] {
        let mut setup = setup.clone();
        setup.left.pad.local_id = Some(id.parse().unwrap());
        setup.left.pad.ppk = ppk(name, true);
        let mut pair = setup.pair();
        pair.right.load(oslo.clone());
        let request = pair.left.initiate(pair.child);
        pair.run_for(std::time::Duration::from_secs(30));
        assert_eq!(matches!(pair.left.result(request), Some(Ok(()))), connection.is_some());
        let known = pair.right.established();
        let known =
            known.first().and_then(|info| info.connection.as_ref()).map(ToString::to_string);
        assert_eq!(known.as_deref(), connection, "{id} with {name}\n{}", pair.ladder());
        if connection.is_none() {
            let reasons: Vec<_> = pair.right.failures().cloned().collect();
            assert!(lacks(&reasons, PpkGap::Unknown), "{reasons:?}");
        }
    }
}

/// RFC 8784 §5.1: a name of the opaque type is a name, too.
#[test]
fn an_opaque_name_is_a_name() {
    let mut setup = both([true, true]);
    setup.left.pad.ppk = ppk("opaque:berlin", true);
    setup.right.pad.ppk = ppk("opaque:berlin", true);
    drop(setup.pair().up());
}

/// CHECKLIST Q08: NO_PPK_AUTH: whoever does not insist comes up without.
//= https://www.rfc-editor.org/rfc/rfc8784#section-3
//= type=test
//# if using PPKs for communication with this responder is optional for the initiator (based on the
//# mandatory_or_not flag), then the initiator MUST include a NO_PPK_AUTH notification in the above
//# message.
#[test]
fn who_does_not_insist_goes_without() {
    let plain = child_keys(&Setup::new(Seed(3)).pair().up());
    let without = |change: fn(&mut Setup)| {
        let mut setup = both([false, false]);
        change(&mut setup);
        let pair = setup.pair().up();
        assert_eq!(child_keys(&pair).len(), plain.len());
        drop(pair);
    };
    // The peer knows another name, has no secret of that name, or knows nothing of PPKs.
    without(|setup| setup.right.pad.ppk = ppk("oslo", false));
    without(|setup| setup.right_ppk = None);
    without(|setup| setup.right.pad.ppk = None);
    without(|setup| setup.left.pad.ppk = None);
}

/// CHECKLIST Q08: needed by the initiator, unknown to the responder.
//= https://www.rfc-editor.org/rfc/rfc8784#section-3
//= type=test
//# If the responder did not include the USE_PPK notification and the flag mandatory_or_not indicates
//# that using PPKs is mandatory for communication with this responder, then the initiator MUST abort
//# the exchange.
#[test]
fn an_initiator_that_insists_gets_nothing_without() {
    let mut setup = both([true, false]);
    setup.right.pad.ppk = None;
    let (left, _) = failures(setup);
    assert!(lacks(&left, PpkGap::Unsupported), "{left:?}");
}

/// CHECKLIST Q08: needed by the responder alone.
/// RFC 8784 §3, table 1: the responder insists, and the initiator knows nothing of PPKs.
#[test]
fn a_responder_that_insists_refuses_who_does_not_ask() {
    let mut setup = both([false, true]);
    setup.left.pad.ppk = None;
    let (_, right) = failures(setup);
    assert!(lacks(&right, PpkGap::Unsupported), "{right:?}");
}

/// CHECKLIST Q08: the key is missing on either side, or is known by another name.
//= https://www.rfc-editor.org/rfc/rfc8784#section-3
//= type=test
//# If using PPKs is mandatory or no NO_PPK_AUTH notification is found, then the responder MUST send
//# back an AUTHENTICATION_FAILED notification and then fail the negotiation.
#[test]
fn an_unknown_name_is_refused_if_either_insists() {
    for required in [[true, false], [false, true], [true, true]] {
        let mut setup = both(required);
        setup.right.pad.ppk = ppk("oslo", required[1]);
        let (left, right) = failures(setup);
        assert!(lacks(&right, PpkGap::Unknown), "{right:?}");
        assert!(left.iter().any(|reason| reason.code() == Some(203)), "{left:?}");
    }
    let mut setup = both([true, false]);
    setup.right_ppk = None;
    assert!(lacks(&failures(setup).1, PpkGap::Missing));
    let mut setup = both([false, false]);
    setup.left_ppk = None;
    assert!(lacks(&failures(setup).0, PpkGap::Missing));
}

/// CHECKLIST F02: a PPK that differs is found out by AUTH, as SK_pi differs.
#[test]
fn another_ppk_of_the_same_name_fails_to_authenticate() {
    let mut setup = both([true, true]);
    setup.right_ppk = Some("another secret".to_owned());
    let (_, right) = failures(setup);
    assert!(matches!(right.as_slice(), [FailureReason::WrongSecret { .. }]), "{right:?}");
}

/// RFC 8784 §5.2.3: with NULL authentication the PPK is the proof, and never optional; both have names.
#[test]
fn a_ppk_alone_authenticates() {
    let mut setup = both([false, false]);
    for connection in [&mut setup.left, &mut setup.right] {
        connection.pad.local_auth = AuthSpec::Null;
        connection.pad.remote_auth = AuthSpec::Null;
    }
    (setup.left_secret, setup.right_secret) = (None, None);
    let pair = setup.clone().pair().up();
    let right = &pair.right.established()[0];
    assert_eq!(right.remote_id, Some("left.example".parse::<Identity>().unwrap()));

    let mut wrong = setup.clone();
    wrong.right_ppk = Some("another secret".to_owned());
    let (_, right) = failures(wrong);
    assert!(matches!(right.as_slice(), [FailureReason::WrongSecret { .. }]), "{right:?}");
    setup.right.pad.ppk = None;
    assert!(lacks(&failures(setup).0, PpkGap::Unsupported));
}

/// A handshake with a PPK survives the loss of each of its messages.
#[test]
fn a_lost_message_is_sent_again() {
    for lost in 0..6 {
        let mut pair = both([false, false]).pair();
        let mut seen = 0;
        pair.network.intercept(move |message| {
            let is_handshake = message.exchange != ExchangeType::INFORMATIONAL;
            seen += usize::from(is_handshake);
            if is_handshake && seen == lost + 1 { Fate::Lose } else { Fate::Deliver }
        });
        let pair = pair.up();
        assert_eq!(pair.right.established().len(), 1);
    }
}
