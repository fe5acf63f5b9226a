//! IKE_SA_INIT, IKE_INTERMEDIATE and IKE_AUTH between two endpoints.

#![cfg(test)]

use adit_db::ProposalSpec;
use adit_ike::{Event, Step};
use adit_sim::{Pair, Seed, Setup, Side};
use adit_wire::iana::{ExchangeType, KeyExchangeId, TransformType};

/// CHECKLIST A01, A02, A03: one child, the same keys on both sides, traffic both ways.
#[test]
fn a_tunnel_comes_up_and_carries_packets() {
    let mut pair = Pair::established(Seed(7));

    assert_eq!(pair.left.child_sas().len(), 1);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    let (left, right) = (pair.left.established(), pair.right.established());
    assert_eq!((left.len(), right.len()), (1, 1));
    assert_eq!((left[0].spi_i, left[0].spi_r), (right[0].spi_i, right[0].spi_r));
    assert!(left[0].initiator && !right[0].initiator);

    pair.left.send_packet(pair.child);
    pair.right.send_packet(pair.child);
    pair.run_until_idle();
    assert_eq!((pair.left.packets_opened, pair.right.packets_opened), (1, 1));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let ladder = |seed| Pair::established(seed).ladder().to_string();
    let keys = |seed| Pair::established(seed).left.child_sas();
    assert_eq!(ladder(Seed(7)), ladder(Seed(7)));
    assert_eq!(keys(Seed(7)), keys(Seed(7)));
    assert_ne!(keys(Seed(7)), keys(Seed(8)));
}

fn exchanges(setup: Setup) -> Vec<ExchangeType> {
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let log = seen.clone();
    let mut pair = setup.pair();
    pair.network.intercept(move |message| {
        if message.from == Side::Left && message.fragment.is_none_or(|(number, _)| number == 1) {
            log.borrow_mut().push(message.exchange);
        }
        adit_sim::Fate::Deliver
    });
    drop(pair.up());
    seen.take()
}

/// RFC 9370: the default offer adds ML-KEM-768 by IKE_INTERMEDIATE.
#[test]
fn ml_kem_is_added_by_ike_intermediate() {
    let expected =
        [ExchangeType::IKE_SA_INIT, ExchangeType::IKE_INTERMEDIATE, ExchangeType::IKE_AUTH];
    assert_eq!(exchanges(Setup::new(Seed(1))), expected);

    let pair = Pair::established(Seed(1));
    let suite = &pair.left.established()[0].suite;
    let additional = suite.iter().find(|transform| transform.kind == TransformType::ADDKE1);
    assert_eq!(additional.map(|transform| transform.id), Some(KeyExchangeId::ML_KEM_768.0));
}

/// A peer that does not offer additional key exchanges gets none, whoever initiates.
#[test]
fn a_peer_may_decline_ml_kem() {
    let plain = ProposalSpec::ike_list("aes256gcm16-prfsha384-x25519").unwrap();
    let expected = [ExchangeType::IKE_SA_INIT, ExchangeType::IKE_AUTH];
    let mut setup = Setup::new(Seed(1));
    setup.right.proposals = plain.clone();
    assert_eq!(exchanges(setup), expected);
    let mut setup = Setup::new(Seed(1));
    setup.left.proposals = plain;
    assert_eq!(exchanges(setup), expected);
}

/// Every suite of the issue: AEADs and AES-CBC with HMAC, each key exchange method.
#[test]
fn every_suite_works_for_ike_and_esp() {
    let ike = [
        "aes128gcm16-prfsha256-x25519",
        "aes256gcm16-prfsha384-ecp256",
        "chacha20poly1305-prfsha512-ecp384",
        "aes128-sha256-modp2048",
        "aes256-sha384-modp3072",
        "aes256-sha512-x25519-ke1_mlkem768",
    ];
    let esp = [
        "aes128gcm16-noesn",
        "aes256gcm16-esn",
        "chacha20poly1305-esn-noesn",
        "aes128-sha256",
        "aes256-sha384-esn",
        "aes256-sha512",
    ];
    for (ike, esp) in ike.into_iter().zip(esp) {
        let mut setup = Setup::new(Seed(3));
        for connection in [&mut setup.left, &mut setup.right] {
            connection.proposals = ProposalSpec::ike_list(ike).unwrap();
            connection.children[0].proposals = ProposalSpec::esp_list(esp).unwrap();
        }
        let mut pair = setup.pair().up();
        let sa = pair.left.child_sas();
        let sa = sa.iter().next().unwrap();
        assert_eq!(sa.esn, esp.contains("-esn"), "{esp}");
        pair.right.send_packet(pair.child);
        pair.run_until_idle();
        assert_eq!(pair.left.packets_opened, 1, "{ike}, {esp}");
    }
}

/// A second child gets its own SA in the same IKE SA, with keys of its own (CHECKLIST E11).
#[test]
fn a_second_child_shares_the_ike_sa() {
    let mut pair = Setup::new(Seed(5)).with_child(9).pair().up();
    let request = pair.left.initiate(adit_sim::Child(1));
    pair.run_until_idle();
    assert!(matches!(pair.left.result(request), Some(Ok(()))));
    assert_eq!(pair.left.established().len(), 1);
    assert_eq!(pair.left.child_sas().len(), 2);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    let keys: std::collections::BTreeSet<_> =
        pair.left.child_sas().iter().flat_map(|sa| [sa.keys_in, sa.keys_out]).collect();
    assert_eq!(keys.len(), 4);
}

/// CHECKLIST F01, F21: every kind of identity proves itself, and no other kind stands in for it.
#[test]
fn every_kind_of_identity_authenticates() {
    let kinds = [
        ("192.0.2.1", "left.example"),
        ("2001:db8::1", "192.0.2.1"),
        ("left.example", "keyid:left.example"),
        ("left@example", "fqdn:left@example"),
        ("keyid:left", "left"),
        ("keyid:0x00ff0a", "keyid:0x00ff0b"),
    ];
    for (identity, another) in kinds {
        for (expected, fits) in [(identity, true), (another, false)] {
            let mut setup = Setup::new(Seed(7));
            setup.left.pad.local_id = Some(identity.parse().unwrap());
            setup.right.pad.remote_id = expected.parse().unwrap();
            let mut pair = setup.pair();
            let request = pair.left.initiate(pair.child);
            pair.run_until_idle();
            let is_up = matches!(pair.left.result(request), Some(Ok(())));
            assert_eq!(is_up, fits, "{identity} where {expected} is expected\n{}", pair.ladder());
            let known =
                pair.right.established().iter().any(|info| {
                    info.remote_id.as_ref().is_some_and(|id| id.to_string() == identity)
                });
            assert_eq!(known, fits);
        }
    }
}

/// CHECKLIST I01: a child that is up is not made twice.
#[test]
fn initiating_again_makes_nothing_new() {
    let mut pair = Pair::established(Seed(5));
    let before = pair.left.child_sas();
    let request = pair.left.initiate(pair.child);
    pair.run_until_idle();
    assert!(matches!(pair.left.result(request), Some(Ok(()))));
    assert_eq!(pair.left.child_sas(), before);
}

/// CHECKLIST L01, L02: both initiate at once; one IKE SA and one child are left.
/// CHECKLIST L03.
#[test]
fn crossing_handshakes_leave_one_tunnel() {
    for seed in 0..20 {
        let mut pair = Setup::new(Seed(seed)).pair();
        pair.left.initiate(pair.child);
        pair.right.initiate(pair.child);
        pair.run_until_idle();
        assert_eq!(pair.left.established().len(), 1, "seed {seed}\n{}", pair.ladder());
        assert_eq!(pair.right.established().len(), 1);
        assert_eq!(pair.left.child_sas().len(), 1, "seed {seed}\n{}", pair.ladder());
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    }
}

/// The steps that `adit up` prints come in order.
#[test]
fn progress_is_told_in_order() {
    let pair = Pair::established(Seed(7));
    let number = |step: &Step| match step {
        Step::Reaching { .. } => Some(0),
        Step::Reached { .. } => Some(1),
        Step::Keys { .. } => Some(2),
        Step::Authenticated { .. } => Some(3),
        Step::Child { .. } => Some(4),
        Step::Resolving { .. }
        | Step::CookieAsked
        | Step::KeyExchangeAsked { .. }
        | Step::Redirected { .. }
        | Step::Resuming { .. }
        | Step::ErrorReceived { .. }
        | Step::FallingBack { .. }
        | Step::Reconnecting { .. } => None,
    };
    let mut steps = Vec::new();
    for event in pair.left.events() {
        if let Event::Progress { step, .. } = event {
            steps.extend(number(step));
        }
    }
    assert_eq!(steps, [0, 1, 2, 3, 4]);
}
