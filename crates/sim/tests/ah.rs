//! Child SAs that protect their traffic with AH (RFC 7296 §3.3.2, RFC 4302).

#![cfg(test)]

use std::time::Duration;

use adit_crypto::{Authentication, Integrity, KeySize, Protection};
use adit_db::{Encap, ProposalSpec};
use adit_ike::{Event, FailureReason};
use adit_sim::{Pair, Seed, Setup, Side};
use adit_wire::iana::ProtocolId;

/// Both sides want these proposals.
fn setup(left: Vec<ProposalSpec>, right: Vec<ProposalSpec>) -> Setup {
    let mut setup = Setup::new(Seed(7));
    setup.left.children[0].proposals = left;
    setup.right.children[0].proposals = right;
    setup
}

fn ah(text: &str) -> Vec<ProposalSpec> {
    ProposalSpec::ah_list(text).unwrap()
}

fn protection(pair: &Pair) -> Protection {
    let sas = pair.left.child_sas();
    assert_eq!(sas, pair.right.child_sas().mirrored(), "{}", pair.ladder());
    assert_eq!(sas.len(), 1, "{}", pair.ladder());
    sas.iter().next().unwrap().protection
}

/// Every algorithm, with and without ESN, both ends with the same keys of the right length.
#[test]
fn each_algorithm_is_negotiated() {
    for algorithm in Authentication::ALL {
        for esn in ["esn", "noesn"] {
            let proposals = ah(&format!("{algorithm}-{esn}"));
            let pair = setup(proposals.clone(), proposals).pair().up();
            assert_eq!(protection(&pair), Protection::Ah(algorithm));
            assert_eq!(pair.left.child_sas().iter().next().unwrap().esn, esn == "esn");
            let info = pair.right.established()[0].children[0].clone();
            assert_eq!(info.protocol, ProtocolId::AH);
        }
    }
}

/// The responder's order decides, AES-GMAC among the others.
#[test]
fn one_of_several_algorithms_is_chosen() {
    let pair = setup(ah("sha256-aes128gmac-esn"), ah("aes128gmac-sha256-noesn-esn")).pair().up();
    assert_eq!(protection(&pair), Protection::Ah(Authentication::AesGmac(KeySize::Bits128)));
    let pair = setup(ah("default"), ah("default")).pair().up();
    let sha256 = Authentication::Mac(Integrity::HmacSha2_256_128);
    assert_eq!(protection(&pair), Protection::Ah(sha256));
}

/// RFC 7296 §1.3.3, §1.4.1: the protocol stands in REKEY_SA and in Delete. A key exchange of its own
/// and a collision change nothing.
#[test]
fn ah_is_rekeyed_and_deleted_from_either_side() {
    let proposals = ah("sha384-x25519-none-esn");
    for side in [Side::Left, Side::Right] {
        let mut pair = setup(proposals.clone(), proposals.clone()).pair().up();
        for _ in 0..2 {
            let before = pair.left.child_sas();
            let child = pair.child;
            pair.peer(side).rekey_child(child);
            pair.run_until_idle();
            assert_ne!(pair.left.child_sas(), before);
            assert_eq!(protection(&pair).protocol(), ProtocolId::AH);
            assert_eq!(pair.left.established()[0].children.len(), 1, "{}", pair.ladder());
            assert_eq!(pair.right.established()[0].children.len(), 1, "{}", pair.ladder());
        }
        pair.peer(side).rekey_ike();
        pair.run_until_idle();
        let _ = protection(&pair);

        let child = pair.child;
        pair.peer(side).terminate_child(child);
        pair.run_until_idle();
        assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
        assert_eq!(pair.left.established().len(), 1, "the IKE SA stays\n{}", pair.ladder());
        for peer in [&pair.left, &pair.right] {
            let down = |event: &&Event| matches!(event, Event::ChildDown { .. });
            assert_eq!(peer.events().iter().filter(down).count(), 1, "{}", pair.ladder());
        }
    }
    for seed in 0..8 {
        let mut setup = setup(proposals.clone(), proposals.clone());
        setup.seed = Seed(seed);
        let mut pair = setup.pair().up();
        pair.left.rekey_child(pair.child);
        pair.right.rekey_child(pair.child);
        pair.run_until_idle();
        let _ = protection(&pair);
    }
}

/// ESP first, AH as an alternative, whoever offers it.
#[test]
fn esp_and_ah_may_be_alternatives() {
    let esp = || ProposalSpec::esp_list("aes128gcm16").unwrap();
    let both = || [esp(), ah("sha256")].concat();
    for (left, right, protocol) in [
        (both(), ah("sha256"), ProtocolId::AH),
        (ah("sha256"), both(), ProtocolId::AH),
        (both(), both(), ProtocolId::ESP),
        (esp(), both(), ProtocolId::ESP),
    ] {
        let mut pair = setup(left, right).pair().up();
        assert_eq!(protection(&pair).protocol(), protocol);
        pair.right.rekey_child(pair.child);
        pair.run_until_idle();
        assert_eq!(protection(&pair).protocol(), protocol);
    }
}

/// Initiates from the left; what the request came to.
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

#[test]
fn esp_is_no_answer_to_ah() {
    let esp = ProposalSpec::esp_list("aes128-sha256").unwrap();
    let (pair, reason) = failed(setup(ah("sha256"), esp));
    assert_eq!(reason.code(), Some(102), "{reason}");
    let FailureReason::NoCommonEspSuite { theirs, .. } = reason else { panic!("{reason}") };
    assert_eq!(theirs[0].protocol, ProtocolId::ESP, "an Adit tells what it would accept");
    assert!(pair.right.failures().any(|reason| reason.code() == Some(102)));
}

/// E103: AH behind a NAT is not even tried, from whichever side, and with UDP by configuration
/// neither.
#[test]
fn ah_cannot_pass_a_nat() {
    let (_, reason) = failed(setup(ah("sha256"), ah("sha256")).behind_nat());
    assert_eq!(reason.code(), Some(103), "{reason}");
    assert_eq!(reason, FailureReason::AhThroughNat { nat_local: true, nat_remote: false });

    let mut forced = setup(ah("sha256"), ah("sha256"));
    forced.right.encap = Encap::Udp;
    let (_, reason) = failed(forced);
    assert_eq!(reason, FailureReason::AhThroughNat { nat_local: false, nat_remote: true });

    // Who has an alternative takes it.
    let both = [ah("sha256"), ProposalSpec::esp_list("aes128gcm16").unwrap()].concat();
    let pair = setup(both.clone(), both).behind_nat().pair().up();
    assert_eq!(protection(&pair).protocol(), ProtocolId::ESP);
}
