//! Signed octets and pre-shared keys.

use super::*;
use crate::v2::signature::{Announced, Proof};

/// Signed octets of a real initiator (see the file's head for its origin).
const RUB_NDS: &str = include_str!("../../tests/vectors/rub-nds-auth.txt");

fn field(name: &str) -> Vec<u8> {
    let line = RUB_NDS.lines().find(|line| line.starts_with(name)).unwrap();
    let (_, hex) = line.split_once(" = ").unwrap();
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// The maced identity at the end is left out: it was made with HMAC-SHA-1, which we do not have.
#[test]
fn signed_octets_begin_like_those_of_another_implementation() {
    let (message, nonce, theirs) = (field("message"), field("peer_nonce"), field("octets"));
    let ours = SignedOctets {
        message: &message,
        peer_nonce: &nonce,
        identity_key: &Secret::from_slice(&[7; 32]),
        id_body: &[1, 0, 0, 0, 10, 0, 3, 1],
        int_auth: &[],
    }
    .octets(Prf::HmacSha2_256);
    let start = theirs.len() - 20;
    assert_eq!(ours.as_bytes()[..start], theirs[..start]);
    assert_eq!(ours.len(), start + 32);
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.15
//= type=test
//# AUTH = prf( prf(Shared Secret, "Key Pad for IKEv2"), <InitiatorSignedOctets>)
#[test]
fn psk_auth_is_the_padded_key_over_the_octets() {
    let prf = Prf::HmacSha2_384;
    let secret = Secret::from_slice(b"correct horse battery staple");
    let inner = prf.compute(secret.as_bytes(), &[b"Key Pad for IKEv2"]);
    let expected = prf.compute(inner.as_bytes(), &[b"octets"]);
    assert_eq!(psk_auth(prf, &secret, b"octets"), expected.as_bytes());
}

/// CHECKLIST F02, F04: only the right secret verifies, also around the hash's block size.
#[test]
fn only_the_right_secret_verifies() {
    let prf = Prf::HmacSha2_256;
    for length in [1, 20, 63, 64, 65, 200] {
        let secret = Secret::from_slice(&vec![b'x'; length]);
        let other = Secret::from_slice(&vec![b'x'; length + 1]);
        let auth = psk_auth(prf, &secret, b"octets");
        let verdict = |secret: &Secret, octets: &[u8], auth: &[u8]| {
            job(prf, AuthJobKind::Verify { auth: Proof::shared_key(auth.to_vec()) }, octets)
                .answer(secret)
        };
        assert_eq!(verdict(&secret, b"octets", &auth), AuthResult::Verified);
        assert_eq!(verdict(&other, b"octets", &auth), AuthResult::Refused);
        assert_eq!(verdict(&secret, b"octetS", &auth), AuthResult::Refused);
        assert_eq!(verdict(&secret, b"octets", &auth[1..]), AuthResult::Refused);
        assert_eq!(verdict(&secret, b"octets", &[]), AuthResult::Refused);
    }
}

/// Whoever does not prove its identity gets no proof of ours.
#[test]
fn our_proof_comes_with_the_verdict_alone() {
    let prf = Prf::HmacSha2_256;
    let secret = Secret::from_slice(b"secret");
    let answer = |auth: Vec<u8>| {
        let ours = Secret::from_slice(b"our octets");
        let auth = Proof::shared_key(auth);
        job(prf, AuthJobKind::VerifyAndSign { auth, ours }, b"their octets").answer(&secret)
    };
    let theirs = psk_auth(prf, &secret, b"their octets");
    let ours = psk_auth(prf, &secret, b"our octets");
    assert_eq!(answer(theirs), AuthResult::VerifiedAndSigned(Proof::shared_key(ours.clone())));
    assert_eq!(answer(ours), AuthResult::Refused);
}

fn job(prf: Prf, kind: AuthJobKind, octets: &[u8]) -> AuthJob {
    AuthJob {
        job: crate::command::JobId(1),
        kind,
        connection: "tunnel".parse().unwrap(),
        round: 0,
        local_id: "@a.example".parse().unwrap(),
        remote_id: "@b.example".parse().unwrap(),
        prf,
        octets: Secret::from_slice(octets),
        local_auth: AuthSpec::Psk,
        remote_auth: AuthSpec::Psk,
        announced: Announced::default(),
    }
}

/// CHECKLIST F18: reserved octets of the ID payload are signed as received.
#[test]
fn reserved_octets_of_the_identity_are_signed() {
    let octets = |id_body: &[u8]| {
        SignedOctets {
            message: b"message",
            peer_nonce: b"nonce",
            identity_key: &Secret::from_slice(&[7; 32]),
            id_body,
            int_auth: &[],
        }
        .octets(Prf::HmacSha2_256)
    };
    assert_ne!(octets(&[2, 0, 0, 0, b'a']), octets(&[2, 0, 1, 0, b'a']));
}

#[test]
fn int_auth_is_empty_without_intermediate_exchanges() {
    assert!(IntAuth::new().finish(1).is_empty());
}

/// CHECKLIST Q06, RFC 9242 §3.3.2: `IntAuth_i2 = prf(SK_pi2, IntAuth_i1 | A | P)`, initiator first, then the
/// message id of IKE_AUTH.
/// CHECKLIST Q06.
#[test]
fn int_auth_chains_the_messages_of_each_side() {
    let prf = Prf::HmacSha2_256;
    let (first, second) = (Secret::from_slice(b"first"), Secret::from_slice(b"second"));
    let mut int_auth = IntAuth::new();
    int_auth.add(Role::Initiator, prf, &first, b"A1", b"P1");
    int_auth.add(Role::Responder, prf, &first, b"a1", b"p1");
    int_auth.add(Role::Initiator, prf, &second, b"A2", b"P2");
    int_auth.add(Role::Responder, prf, &second, b"a2", b"");

    let i1 = prf.compute(b"first", &[b"A1P1"]);
    let i2 = prf.compute(b"second", &[i1.as_bytes(), b"A2P2"]);
    let r1 = prf.compute(b"first", &[b"a1p1"]);
    let r2 = prf.compute(b"second", &[r1.as_bytes(), b"a2"]);
    let expected = [i2.as_bytes(), r2.as_bytes(), &[0, 0, 0, 3]].concat();
    assert_eq!(int_auth.finish(3), expected);
}
