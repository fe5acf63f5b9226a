//! Phase 1 with DSS signatures (RFC 2409 §5.1): DSA over HASH_I and HASH_R by HMAC-SHA1.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use adit_crypto::{Hash, Prf, Secret};
use adit_db::{AuthSpec, Connection, ProposalSpec, SignatureSpec, UserAuth};
use adit_ike::FailureReason;
use adit_pki::{Certificate, PrivateKey, read_certificates};

use super::common::{Pair, reversed};
use super::ikev1_aggressive::{aggressively, in_base_mode};
use super::ikev1_nat::{payloads, rebuilt};
use super::{assert_any_is_lost_or_repeated, v1_connections};

/// Of 1024 bits in a group of 160, and of 2048 in one of 256.
const KEYS: [&[u8]; 2] = [
    include_bytes!("../../../pki/tests/vectors/dsa-1024.pem"),
    include_bytes!("../../../pki/tests/vectors/dsa-2048.pem"),
];
const CERTIFICATES: [&[u8]; 2] = [
    include_bytes!("../../../pki/tests/vectors/dsa-1024.crt"),
    include_bytes!("../../../pki/tests/vectors/dsa-2048.crt"),
];
const SELF_SIGNED: &[u8] = include_bytes!("../../../pki/tests/vectors/dsa-2048-self-signed.crt");
const AUTHORITY: &[u8] = include_bytes!("../../../pki/tests/vectors/dsa-ca.crt");

const SA: u8 = 1;
const KE: u8 = 4;
const ID: u8 = 5;
const SIGNATURE: u8 = 9;
const NONCE: u8 = 10;

type Shape = fn([Connection; 2]) -> [Connection; 2];

const MODES: [(&str, Shape); 3] = [
    ("main mode", |connections| connections),
    ("aggressive mode", aggressively),
    ("base mode", in_base_mode),
];

fn certificate(file: &[u8]) -> Arc<Certificate> {
    read_certificates(file).unwrap().remove(0)
}

fn key_of(side: usize) -> Arc<PrivateKey> {
    Arc::new(PrivateKey::from_file(KEYS[side]).unwrap())
}

fn signature(spec: SignatureSpec) -> AuthSpec {
    AuthSpec::Signature(Arc::new(spec))
}

fn pinned(certificates: Vec<Arc<Certificate>>) -> AuthSpec {
    signature(SignatureSpec { certificates, ..Default::default() })
}

/// Both sides with certificates by one authority, which both trust.
fn certified() -> [Connection; 2] {
    let mut connections = v1_connections();
    for (connection, file) in connections.iter_mut().zip(CERTIFICATES) {
        connection.pad.local_auth = pinned(vec![certificate(file)]);
        let authorities = vec![certificate(AUTHORITY)];
        connection.pad.remote_auth = signature(SignatureSpec { authorities, ..Default::default() });
    }
    connections
}

fn raw() -> [Connection; 2] {
    let mut connections = v1_connections();
    for (side, connection) in connections.iter_mut().enumerate() {
        let of = |side: usize| {
            let public_keys = vec![Arc::clone(key_of(side).public())];
            signature(SignatureSpec { public_keys, ..Default::default() })
        };
        connection.pad.local_auth = of(side);
        connection.pad.remote_auth = of(1 - side);
    }
    connections
}

fn pair_of(connections: [Connection; 2]) -> Pair {
    let mut pair = Pair::new(Default::default(), connections);
    pair.left.credentials.add_key(key_of(0));
    pair.right.credentials.add_key(key_of(1));
    pair
}

fn with_suite(mut connections: [Connection; 2], suite: &str) -> [Connection; 2] {
    for connection in &mut connections {
        connection.proposals = ProposalSpec::ike_list(suite).unwrap();
    }
    connections
}

fn comes_up(pair: &mut Pair, initiator_is_left: bool, why: &str) {
    let peer = if initiator_is_left { &mut pair.left } else { &mut pair.right };
    let request = peer.initiate(pair.now);
    pair.run();
    let failures = (pair.left.failures(), pair.right.failures());
    let peer = if initiator_is_left { &pair.left } else { &pair.right };
    assert_eq!(peer.done.get(&request), Some(&Ok(())), "{why}: {failures:?}");
    pair.assert_one_tunnel();
}

/// CHECKLIST T01, T03, T06, T15: DSS signatures by certificates of an authority and by raw keys, in each
/// mode, with groups of 160 and of 256 bits, whatever hash the suite has.
#[test]
fn dss_signatures_make_a_tunnel() {
    for (why, shape) in MODES {
        for suite in ["aes256-sha256-modp2048", "aes128-md5-modp2048", "aes128-sha512-modp2048"] {
            comes_up(&mut pair_of(with_suite(shape(certified()), suite)), true, why);
        }
        comes_up(&mut pair_of(shape(raw())), true, why);
    }
    // The other one calls, so that each size is on both sides of it.
    comes_up(&mut pair_of(certified()), false, "the other one calls");
}

/// A certificate that a DSA key has signed itself is believed where it is pinned.
#[test]
fn a_pinned_certificate_vouches_for_itself() {
    let mut connections = certified();
    connections[1].pad.local_auth = pinned(vec![certificate(SELF_SIGNED)]);
    connections[0].pad.remote_auth = pinned(vec![certificate(SELF_SIGNED)]);
    comes_up(&mut pair_of(connections), true, "pinned");
}

/// CHECKLIST W01: XAUTH and hybrid have numbers for DSS, too: 65003 and 64223 where the client calls.
#[test]
fn users_come_after_dss_signatures() {
    for is_hybrid in [false, true] {
        let [mut left, mut right] = certified();
        left.remote_access.user = UserAuth::Ours { name: "alice".to_owned() };
        right.remote_access.user = UserAuth::Peers { message: None };
        left.pad.remote_auth = pinned(vec![certificate(CERTIFICATES[1])]);
        if is_hybrid {
            left.pad.local_auth = AuthSpec::Null;
            right.pad.remote_auth = AuthSpec::Null;
        }
        comes_up(&mut pair_of([left, right]), true, "with a user");
    }
}

/// CHECKLIST T09: each message lost once, each message twice.
#[test]
fn lost_and_repeated_messages_change_nothing() {
    assert_any_is_lost_or_repeated(9, || pair_of(raw()));
    assert_any_is_lost_or_repeated(6, || pair_of(aggressively(raw())));
}

/// A peer that signs in another way has no method in common with us, though it has a key.
#[test]
fn dss_is_for_those_who_name_such_a_key() {
    // Nothing is named on the left, so that it may be any key but one of these.
    let mut connections = certified();
    connections[0].pad.local_auth = signature(SignatureSpec::default());
    let mut pair = pair_of(connections);
    let request = pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));
    let failure = pair.left.done[&request].clone().unwrap_err();
    assert_eq!(failure.reason.code(), Some(101), "{}", failure.reason);
}

/// Whatever stands in place of r and s, it proves nothing.
#[test]
fn malformed_signatures_prove_nothing() {
    let wrong: [fn(&mut Vec<u8>); 8] = [
        |_| {},
        |signature| signature.clear(),
        |signature| signature.fill(0),
        |signature| signature.fill(0xff),
        |signature| signature[..32].fill(0),
        |signature| signature.truncate(40),
        |signature| signature.push(0),
        |signature| signature[63] ^= 1,
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        let mut pair = pair_of(aggressively(certified()));
        let request = pair.left.initiate(pair.now);
        let (path, first) = pair.left.sent.pop_front().unwrap();
        pair.right.datagram(reversed(path), &first, pair.now);
        let (path, second) = pair.right.sent.pop_front().unwrap();
        let mut parts = payloads(&second);
        let place = parts.iter().position(|(kind, _)| *kind == SIGNATURE).unwrap();
        assert_eq!(parts[place].1.len(), 64, "r and s");
        change(&mut parts[place].1);
        pair.left.datagram(reversed(path), &rebuilt(&second, &parts), pair.now);
        pair.run();
        if number == 0 {
            pair.assert_one_tunnel();
            continue;
        }
        match pair.left.done.get(&request) {
            Some(Ok(())) => panic!("{number} is believed"),
            Some(Err(failure)) => {
                let is_distrust = matches!(failure.reason, FailureReason::NotTrusted { .. });
                assert!(is_distrust, "{number}: {}", failure.reason);
            }
            // An empty payload is none: the message is passed over.
            None => assert_eq!(number, 1),
        }
        assert!(pair.left.established().is_empty() && pair.left.children.is_empty());
    }
}

/// RFC 2409 §5.1: DSS signs HASH_I and HASH_R by the HMAC of SHA-1, whatever the suite has. In base mode all that
/// they cover is shown in clear, and their key is a hash of the nonces by the suite's hash.
#[test]
fn what_is_signed_is_by_hmac_sha1() {
    for (suite, hash) in
        [("aes128-md5-modp2048", Hash::Md5), ("aes256-sha512-modp2048", Hash::Sha2_512)]
    {
        // Without certificates, for which messages are cut.
        let mut pair = pair_of(with_suite(in_base_mode(raw()), suite));
        pair.left.initiate(pair.now);
        let seen = RefCell::new(Vec::new());
        while pair.deliver(|octets| {
            seen.borrow_mut().push(octets.to_vec());
            true
        }) {}
        pair.assert_one_tunnel();
        let seen = seen.into_inner();
        let body = |message: usize, kind: u8| {
            let parts = payloads(&seen[message]);
            parts.into_iter().find(|(one, _)| *one == kind).unwrap().1
        };
        let (cky_i, cky_r) = (&seen[1][..8], &seen[1][8..16]);
        let (sa, id_i, id_r) = (body(0, SA), body(0, ID), body(1, ID));
        let (public_i, public_r) = (body(2, KE), body(3, KE));
        let key = hash.digest(&[&body(0, NONCE), &body(1, NONCE)]);
        let hmac = |parts: &[&[u8]]| Prf::HmacSha1.compute(key.as_bytes(), parts);
        let hash_i = hmac(&[&public_i, cky_i, cky_r, &sa, &id_i, &id_r]);
        let hash_r = hmac(&[&public_r, &public_i, cky_r, cky_i, &sa, &id_r, &id_i]);
        let verifies = |side: usize, hash: &Secret, signature: &[u8]| {
            key_of(side).public().key().verifies_bare(hash.as_bytes(), signature)
        };
        assert!(verifies(0, &hash_i, &body(2, SIGNATURE)));
        assert!(verifies(1, &hash_r, &body(3, SIGNATURE)));
    }
}
