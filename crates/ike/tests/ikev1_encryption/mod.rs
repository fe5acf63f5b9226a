//! Phase 1 whose nonces are encrypted to RSA keys (RFC 2409 §5.2, §5.3), with a key exchange and without
//! (draft-ietf-ipsec-dhless-enc-mode-00).

use std::sync::Arc;
use std::time::Duration;

use adit_db::{Aggressive, AuthSpec, Connection, NonceEncryption, ProposalSpec, SignatureSpec};
use adit_ike::{By, Command, FailureReason};
use adit_pki::{Certificate, PrivateKey, PublicKey};
use adit_wire::iana::TransformType;
use adit_wire::iana::isakmp::PayloadType;
use adit_wire::isakmp::{Header, Payloads};
use rcgen::{CertificateParams, KeyPair, KeyUsagePurpose, date_time_ymd};

use super::common::{Pair, reversed};
use super::ikev1_nat::Behind;
use super::ikev1_signatures::{Authority, authority, certified as signed_by, certified_for};
use super::{
    INFORMATIONAL, MAIN_MODE, QUICK_MODE, assert_any_is_lost_or_repeated, exchange, v1_connections,
};

const AGGRESSIVE: u8 = 4;

/// Keys of different lengths, so that nobody mistakes one for the other.
const KEYS: [&[u8]; 2] =
    [include_bytes!("../vectors/rsa-2048.pem"), include_bytes!("../vectors/rsa-3072.pem")];

const ALL: [NonceEncryption; 3] = NonceEncryption::ALL;
const MODES: [Aggressive; 2] = [Aggressive::Refuse, Aggressive::Initiate];

fn key(side: usize) -> Arc<PrivateKey> {
    Arc::new(PrivateKey::from_file(KEYS[side]).unwrap())
}

fn public(side: usize) -> Arc<PublicKey> {
    Arc::clone(key(side).public())
}

fn certificate(side: usize) -> Arc<Certificate> {
    certificate_with(side, |_| ())
}

/// One of that side's key, which has signed itself.
fn certificate_with(side: usize, shape: impl Fn(&mut CertificateParams)) -> Arc<Certificate> {
    let key = KeyPair::from_pem(std::str::from_utf8(KEYS[side]).unwrap()).unwrap();
    let mut params = CertificateParams::new(vec![format!("side-{side}.example")]).unwrap();
    shape(&mut params);
    Arc::new(Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap())
}

fn raw(key: Arc<PublicKey>) -> AuthSpec {
    AuthSpec::Signature(Arc::new(SignatureSpec { public_keys: vec![key], ..Default::default() }))
}

fn certified(certificate: Arc<Certificate>) -> AuthSpec {
    let certificates = vec![certificate];
    AuthSpec::Signature(Arc::new(SignatureSpec { certificates, ..Default::default() }))
}

fn encrypting(kind: NonceEncryption, aggressive: Aggressive) -> [Connection; 2] {
    let mut connections = v1_connections();
    for (side, connection) in connections.iter_mut().enumerate() {
        connection.nonce_encryption = Some(kind);
        connection.aggressive = aggressive;
        connection.pad.local_auth = raw(public(side));
        connection.pad.remote_auth = raw(public(1 - side));
    }
    connections
}

fn pair_of(connections: [Connection; 2]) -> Pair {
    let mut pair = Pair::new(Default::default(), connections);
    pair.left.credentials.add_key(key(0));
    pair.right.credentials.add_key(key(1));
    pair
}

fn up(connections: [Connection; 2]) -> Pair {
    let mut pair = pair_of(connections);
    let request = pair.left.initiate(pair.now);
    pair.run();
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{:?}", pair.left.failures());
    pair
}

/// CHECKLIST T19: six messages or three, then a quick mode; who the ends are is not to be read.
#[test]
fn every_method_makes_a_tunnel_in_both_exchanges() {
    for kind in ALL {
        for (aggressive, number, messages) in
            [(Aggressive::Refuse, MAIN_MODE, 6), (Aggressive::Initiate, AGGRESSIVE, 3)]
        {
            let mut pair = pair_of(encrypting(kind, aggressive));
            pair.left.initiate(pair.now);
            let seen = std::cell::RefCell::new(Vec::new());
            while pair.deliver(|octets| {
                seen.borrow_mut().push(octets.to_vec());
                true
            }) {}
            pair.assert_one_tunnel();
            let seen = seen.into_inner();
            let of = |one: u8| seen.iter().filter(|octets| exchange(octets) == one).count();
            assert_eq!((of(number), of(QUICK_MODE)), (messages, 3), "{kind:?}");
            for name in [&b"left.example"[..], b"right.example"] {
                let shows = |octets: &Vec<u8>| octets.windows(name.len()).any(|some| some == name);
                assert!(!seen.iter().any(shows), "{kind:?}");
            }
            let left = &pair.left.established()[0];
            assert_eq!(left.remote_id.as_ref().unwrap().to_string(), "right.example");
            let right = &pair.right.established()[0];
            assert_eq!(right.remote_id.as_ref().unwrap().to_string(), "left.example");
            let is_group =
                |one: &&adit_wire::ikev2::Transform| one.kind == TransformType::KE && one.id != 0;
            let groups = left.suite.iter().filter(is_group).count();
            assert_eq!(groups, usize::from(kind.has_key_exchange()));
        }
    }
}

/// draft-ietf-ipsec-dhless-enc-mode-00 leaves quick mode alone: it may have a key exchange or none; and
/// what renews keys later goes on as ever.
#[test]
fn quick_mode_follows_with_and_without_a_key_exchange() {
    for esp in ["aes256gcm16", "aes256gcm16-modp2048"] {
        let mut connections = encrypting(NonceEncryption::DhLess, Aggressive::Refuse);
        for connection in &mut connections {
            connection.children[0].proposals = ProposalSpec::esp_list(esp).unwrap();
        }
        let mut pair = up(connections);
        pair.assert_one_tunnel();
        pair.run_for(Duration::from_hours(8));
        pair.assert_one_tunnel();
    }
}

/// CHECKLIST T19: HASH(1) tells a responder with several keys which one was used.
#[test]
fn the_initiator_says_which_certificate_it_has_used() {
    for kind in ALL {
        for aggressive in MODES {
            let mut connections = encrypting(kind, aggressive);
            connections[0].pad.remote_auth = certified(certificate(1));
            // The other key comes first, where nobody says which.
            let both = vec![certificate(0), certificate(1)];
            let spec = SignatureSpec { certificates: both, ..Default::default() };
            connections[1].pad.local_auth = AuthSpec::Signature(Arc::new(spec));
            let mut pair = pair_of(connections);
            pair.right.credentials.add_key(key(0));
            pair.left.initiate(pair.now);
            pair.run();
            pair.assert_one_tunnel();
        }
    }
}

/// RFC 4301 §4.4.3.4: a certificate that the tunnel names itself is held against the clock like any other, on the
/// side that knows it, whoever calls; and the IKE SA ends with it.
#[test]
fn a_pinned_certificate_has_its_time() {
    // The tests' clock says 14 November 2023.
    let until = |year, month, day| {
        certificate_with(1, |params| {
            params.not_before = date_time_ymd(2023, 1, 1);
            params.not_after = date_time_ymd(year, month, day);
        })
    };
    let future = certificate_with(1, |params| params.not_before = date_time_ymd(2023, 12, 1));
    let pinned = |kind, aggressive, certificate: &Arc<Certificate>| {
        let mut connections = encrypting(kind, aggressive);
        connections[0].pad.remote_auth = certified(Arc::clone(certificate));
        connections[1].pad.local_auth = certified(Arc::clone(certificate));
        pair_of(connections)
    };
    for kind in ALL {
        for aggressive in MODES {
            for (certificate, code) in [(until(2023, 11, 1), 211), (future.clone(), 212)] {
                for left_calls in [true, false] {
                    let mut pair = pinned(kind, aggressive, &certificate);
                    let caller = if left_calls { &mut pair.left } else { &mut pair.right };
                    caller.initiate(pair.now);
                    pair.run_for(Duration::from_secs(3));
                    let reason = &pair.left.failures()[0].reason;
                    assert_eq!(reason.code(), Some(code), "{kind:?} {left_calls}: {reason}");
                    assert!(pair.left.established().is_empty(), "{kind:?} {left_calls}");
                }
            }
            let mut pair = pinned(kind, aggressive, &until(2023, 11, 15));
            pair.left.initiate(pair.now);
            pair.run();
            pair.assert_one_tunnel();
            // An hour and a half until then, by either side's clock; a renewed one would be looked at again.
            let first = pair.left.established()[0].id;
            pair.run_for(Duration::from_mins(107));
            assert!(pair.left.established().iter().all(|sa| sa.id != first), "{kind:?}");
        }
    }
}

/// A certificate and its key.
type Own = (Arc<Certificate>, Arc<PrivateKey>);

fn own(name: &str, by: &Authority) -> Own {
    signed_by(name, by, &rcgen::PKCS_RSA_SHA256)
}

/// The initiator has a certificate; the responder knows the authority of its peers, and not their keys.
fn vouched(
    kind: NonceEncryption,
    aggressive: Aggressive,
    (certificate, own_key): &Own,
    trusted: &Authority,
) -> Pair {
    let mut connections = encrypting(kind, aggressive);
    let [left, right] = &mut connections;
    bring(left, right, certificate, trusted);
    let mut pair = pair_of(connections);
    pair.left.credentials.add_key(Arc::clone(own_key));
    pair
}

fn bring(
    caller: &mut Connection,
    called: &mut Connection,
    own: &Arc<Certificate>,
    trusted: &Authority,
) {
    caller.pad.local_auth = certified(Arc::clone(own));
    let authorities = vec![Arc::clone(&trusted.certificate)];
    let spec = SignatureSpec { authorities, ..Default::default() };
    called.pad.remote_auth = AuthSpec::Signature(Arc::new(spec));
}

/// Whoever of the two has the lower address, which renews first: the caller goes on calling, and traffic finds
/// keys all the time.
#[test]
fn callers_with_certificates_renew_their_keys() {
    let ca = authority("ca");
    for is_left in [true, false] {
        let mut connections = encrypting(NonceEncryption::Revised, Aggressive::Refuse);
        let [left, right] = &mut connections;
        let (certificate, key) = own(if is_left { "left" } else { "right" }, &ca);
        match is_left {
            true => bring(left, right, &certificate, &ca),
            false => bring(right, left, &certificate, &ca),
        }
        let mut pair = pair_of(connections);
        let caller = if is_left { &mut pair.left } else { &mut pair.right };
        caller.credentials.add_key(key);
        caller.initiate(pair.now);
        pair.run();
        for hour in 0..20 {
            pair.run_for(Duration::from_hours(1));
            assert_eq!(pair.left.established().len(), 1, "{is_left} {hour}");
            assert_eq!(pair.right.established().len(), 1, "{is_left} {hour}");
            assert!(!pair.left.children.is_empty() && !pair.right.children.is_empty());
        }
        let failures = (pair.left.failures(), pair.right.failures());
        assert!(failures.0.is_empty() && failures.1.is_empty(), "{is_left}: {failures:?}");
    }
}

/// The methods in which the initiator may send its certificate.
const REVISED: [NonceEncryption; 2] = [NonceEncryption::Revised, NonceEncryption::DhLess];

/// RFC 2409 §5.3: `<Cert-I_b>Ke_i` gives a responder the key of an initiator that it has never seen. Nobody
/// reads on the way whose it is, and no message grows on its way back.
#[test]
fn an_initiator_brings_its_certificate() {
    let authority = authority("ca");
    let left = own("left", &authority);
    for kind in REVISED {
        for aggressive in MODES {
            let mut pair = vouched(kind, aggressive, &left, &authority);
            let request = pair.left.initiate(pair.now);
            let seen = std::cell::RefCell::new(Vec::new());
            while pair.deliver(|octets| {
                seen.borrow_mut().push(octets.to_vec());
                true
            }) {}
            let failures = pair.right.failures();
            assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{kind:?} {failures:?}");
            pair.assert_one_tunnel();
            let right = &pair.right.established()[0];
            assert_eq!(right.remote_id.as_ref().unwrap().to_string(), "left.example");
            let name = b"left.example";
            let shows = |octets: &Vec<u8>| octets.windows(name.len()).any(|some| some == name);
            assert!(!seen.into_inner().iter().any(shows), "{kind:?}");
        }
        assert_any_is_lost_or_repeated(6, || {
            vouched(kind, Aggressive::Initiate, &left, &authority)
        });
    }
}

/// Another authority, another name, no certificate at all: there is no answer, and the operator hears why.
#[test]
fn a_certificate_that_is_not_trusted_is_answered_by_nothing() {
    let (ca, other) = (authority("ca"), authority("elsewhere"));
    let (left, somebody) = (own("left", &ca), own("somebody", &ca));
    for kind in REVISED {
        for aggressive in MODES {
            for (own, trusted, code) in [(&left, &other, 207), (&somebody, &ca, 210)] {
                let mut pair = vouched(kind, aggressive, own, trusted);
                pair.left.initiate(pair.now);
                pair.run_for(Duration::from_secs(3));
                let failures = pair.right.failures();
                assert_eq!(failures[0].reason.code(), Some(code), "{}", failures[0].reason);
                assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
            }
        }
    }
    for kind in ALL {
        let mut pair = vouched(kind, Aggressive::Refuse, &left, &ca);
        let mut connection = encrypting(kind, Aggressive::Refuse)[0].clone();
        if kind == NonceEncryption::Plain {
            connection.pad.local_auth = certified(certificate(0));
        }
        pair.left.command(Command::Load(Arc::new(connection)), pair.now);
        pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(3));
        let reason = &pair.right.failures()[0].reason;
        assert!(matches!(reason, FailureReason::NotTrusted { .. }), "{kind:?}: {reason}");
    }
}

/// CHECKLIST G10, T19: to a certificate whose key is for encryption alone nonces are encrypted, for what else has it
/// that key; to one that is for signatures alone, or for something near, they are not. Whoever knows the
/// certificate looks: the responder at what an initiator brings, either side at what it has pinned.
#[test]
fn nonces_go_to_keys_that_are_for_encryption() {
    use KeyUsagePurpose::{DataEncipherment, DigitalSignature, KeyAgreement, KeyEncipherment};
    let ca = authority("ca");
    for (usages, encrypts) in [
        (&[KeyEncipherment][..], true),
        (&[DigitalSignature, KeyEncipherment], true),
        (&[DigitalSignature], false),
        (&[DataEncipherment, KeyAgreement], false),
    ] {
        let left = certified_for("left", &ca, &rcgen::PKCS_RSA_SHA256, usages);
        let pinned = certificate_with(1, |params| params.key_usages = usages.to_vec());
        for kind in ALL {
            let mut connections = encrypting(kind, Aggressive::Refuse);
            connections[0].pad.remote_auth = certified(Arc::clone(&pinned));
            connections[1].pad.local_auth = certified(Arc::clone(&pinned));
            let mut cases = vec![(pair_of(connections), false)];
            if REVISED.contains(&kind) {
                cases.push((vouched(kind, Aggressive::Refuse, &left, &ca), true));
            }
            for (mut pair, is_brought) in cases {
                pair.left.initiate(pair.now);
                pair.run_for(Duration::from_secs(3));
                if encrypts {
                    pair.assert_one_tunnel();
                    continue;
                }
                let judge = if is_brought { &pair.right } else { &pair.left };
                let reason = &judge.failures()[0].reason;
                assert_eq!(reason.code(), Some(213), "{kind:?} {usages:?}: {reason}");
                assert!(reason.to_string().contains("key encipherment"), "{reason}");
                assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
            }
        }
    }
}

/// Octets that are no ciphertext, and a certificate that is not what was encrypted, come to the same: to nothing,
/// and one reason.
#[test]
fn what_is_no_certificate_tells_nothing_about_paddings() {
    let ca = authority("ca");
    let left = own("left", &ca);
    for aggressive in MODES {
        let mut reasons = Vec::new();
        for wrong in 0..3 {
            let mut pair = vouched(NonceEncryption::DhLess, aggressive, &left, &ca);
            let (path, mut message) = with_nonce(&mut pair, aggressive);
            let nonce = body(&message, PayloadType::NONCE);
            let sent = body(&message, PayloadType::CERT);
            match wrong {
                0 => message[nonce].fill(0),
                1 => message[nonce.start + 9] ^= 1,
                _ => message[sent].fill(0x55),
            }
            pair.right.datagram(reversed(path), &message, pair.now);
            reasons.push(pair.right.failures()[0].reason.to_string());
            let shows = |(_, octets): &(_, Vec<u8>)| exchange(octets) != INFORMATIONAL;
            assert!(!pair.right.sent.iter().any(shows));
        }
        assert_eq!(reasons[0], reasons[1]);
        assert!(reasons[2].contains("no certificate that can be read"), "{}", reasons[2]);
    }
}

/// Who knows the peer's authority alone cannot be the first to encrypt, and says so.
#[test]
fn a_responder_by_authority_cannot_call() {
    let ca = authority("ca");
    let mut pair = vouched(NonceEncryption::Revised, Aggressive::Refuse, &own("left", &ca), &ca);
    let request = pair.right.initiate(pair.now);
    pair.run_for(Duration::from_secs(3));
    let failure = pair.right.done[&request].as_ref().unwrap_err();
    assert!(failure.reason.to_string().contains("has to call"), "{}", failure.reason);
}

/// CHECKLIST T09: each message lost once, each message twice.
#[test]
fn lost_and_repeated_messages_change_nothing() {
    for aggressive in MODES {
        let messages = if aggressive == Aggressive::Refuse { 9 } else { 6 };
        for encryption in [NonceEncryption::DhLess, NonceEncryption::Revised] {
            let pair = || pair_of(encrypting(encryption, aggressive));
            assert_any_is_lost_or_repeated(messages, pair);
        }
    }
}

/// What a payload of a message holds, and where.
fn body(octets: &[u8], kind: PayloadType) -> std::ops::Range<usize> {
    let header = Header::read(&mut adit_wire::Reader(octets)).unwrap();
    let found = Payloads::new(header.next_payload, &octets[Header::LEN..])
        .map(Result::unwrap)
        .find(|raw| raw.kind == kind)
        .unwrap();
    let start = found.body.as_ptr() as usize - octets.as_ptr() as usize;
    start..start + found.body.len()
}

/// The message with the encrypted nonce, on its way to the responder.
fn with_nonce(pair: &mut Pair, aggressive: Aggressive) -> (adit_ike::Path, Vec<u8>) {
    pair.left.initiate(pair.now);
    if aggressive == Aggressive::Refuse {
        pair.deliver(|_| true);
        pair.deliver(|_| true);
    }
    pair.left.sent.pop_front().unwrap()
}

/// CHECKLIST T19: whatever stands where a ciphertext should (octets that are none, a ciphertext of
/// something else, zeros, a number above the modulus), the responder's answer is as long as ever, nothing
/// is reported, and what is answered to a proof of such a one is the same for all (Bleichenbacher).
#[test]
fn a_responder_says_nothing_about_paddings() {
    for kind in ALL {
        for aggressive in MODES {
            let mut lengths = Vec::new();
            for wrong in 0..6_u8 {
                let mut pair = pair_of(encrypting(kind, aggressive));
                let (path, mut message) = with_nonce(&mut pair, aggressive);
                let nonce = body(&message, PayloadType::NONCE);
                let padded = adit_crypto::EncryptingKey::new(public(1).key()).unwrap();
                let encrypt = |octets: &[u8]| {
                    let mut rng = adit_crypto::SeededRng::new(7);
                    padded.encrypt(adit_crypto::RsaPadding::Pkcs1, octets, &mut rng).unwrap()
                };
                match wrong {
                    1 => message[nonce.start + 9] ^= 1,
                    2 => message[nonce].fill(0),
                    3 => message[nonce].fill(0xff),
                    4 => message[nonce].copy_from_slice(&encrypt(b"another nonce of somebody")),
                    // Too short for a nonce (RFC 2409 §5).
                    5 => message[nonce].copy_from_slice(&encrypt(b"short")),
                    _ => {}
                }
                let events = pair.right.events.len();
                pair.right.datagram(reversed(path), &message, pair.now);
                let answers: Vec<_> = pair.right.sent.drain(..).collect();
                let [(_, answer)] = answers.as_slice() else { panic!("{kind:?} {wrong}") };
                lengths.push(answer.len());
                assert_eq!(pair.right.events.len(), events, "{kind:?} {wrong}");
                assert_eq!(pair.right.established().len(), 0);
            }
            assert!(lengths.iter().all(|len| *len == lengths[0]), "{kind:?}: {lengths:?}");
        }
    }
}

/// CHECKLIST T19: the same once the proof has come: of all that was wrong before, the responder says
/// that authentication has failed, in the same octets.
#[test]
fn a_proof_of_what_was_not_decrypted_fails_like_any_other() {
    let mut refusals = Vec::new();
    for wrong in 0..3 {
        let mut pair = pair_of(encrypting(NonceEncryption::DhLess, Aggressive::Refuse));
        let (path, mut message) = with_nonce(&mut pair, Aggressive::Refuse);
        let (nonce, id) = (body(&message, PayloadType::NONCE), body(&message, PayloadType::ID));
        match wrong {
            0 => message[nonce].fill(1),
            1 => message[id].fill(1),
            _ => {}
        }
        pair.right.datagram(reversed(path), &message, pair.now);
        pair.deliver(|_| true);
        let (path, mut proof) = pair.left.sent.pop_front().unwrap();
        if wrong == 2 {
            let last = proof.len() - 1;
            proof[last] ^= 1;
            proof[Header::LEN + 3] ^= 1;
        }
        pair.right.datagram(reversed(path), &proof, pair.now);
        let (_, refusal) = pair.right.sent.pop_front().unwrap();
        assert_eq!(exchange(&refusal), INFORMATIONAL);
        refusals.push(refusal.len());
        pair.left.sent.clear();
        pair.run_for(Duration::from_secs(3));
        if wrong == 2 {
            // It was somebody else's: the genuine one comes again.
            pair.assert_one_tunnel();
            continue;
        }
        let reason = &pair.right.failures()[0].reason;
        assert!(matches!(reason, FailureReason::WrongEncryptionKey { by: By::Us, .. }), "{reason}");
    }
    assert!(refusals.iter().all(|len| *len == refusals[0]));
}

/// E224: one side has another key of the other than that one has.
#[test]
fn keys_that_do_not_fit_fail_on_both_sides() {
    for aggressive in MODES {
        let mut connections = encrypting(NonceEncryption::Revised, aggressive);
        // The initiator's own.
        connections[0].pad.remote_auth = raw(public(0));
        let mut pair = pair_of(connections);
        pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(200));
        assert_eq!(pair.left.established().len() + pair.right.established().len(), 0);
        let failures = pair.left.failures();
        assert_eq!(failures[0].reason.code(), Some(224), "{}", failures[0].reason);
    }
}

/// Who has another name than the configuration says is nobody, whatever key it has.
#[test]
fn another_identity_is_refused_once_it_is_proven() {
    for aggressive in MODES {
        let mut connections = encrypting(NonceEncryption::DhLess, aggressive);
        connections[1].pad.remote_id = "somebody.example".parse().unwrap();
        let mut pair = pair_of(connections);
        pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(3));
        assert_eq!(pair.right.established().len(), 0);
        let reason = &pair.right.failures()[0].reason;
        assert!(matches!(reason, FailureReason::WrongIdentity { .. }), "{reason}");
    }
}

/// A peer that has other methods declines: E109 here, and there what it always says of an offer.
#[test]
fn a_peer_with_other_methods_declines_cleanly() {
    let mut connections = encrypting(NonceEncryption::DhLess, Aggressive::Refuse);
    connections[1] = v1_connections()[1].clone();
    let mut pair = pair_of(connections);
    let request = pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(3));
    let failure = pair.left.done[&request].as_ref().unwrap_err();
    assert_eq!(failure.reason.code(), Some(109), "{}", failure.reason);
    assert!(failure.reason.to_string().contains("dhless"), "{}", failure.reason);
    assert_eq!(pair.right.failures()[0].reason.code(), Some(101));
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
}

/// The number of the method has meant another one: without our vendor id it is neither chosen nor gone on
/// with.
#[test]
fn without_our_vendor_id_there_is_no_phase_1_without_a_key_exchange() {
    let mut pair = pair_of(encrypting(NonceEncryption::DhLess, Aggressive::Refuse));
    pair.left.initiate(pair.now);
    let (path, first) = pair.left.sent.pop_front().unwrap();
    let foreign = replaced(&first, b"Adit DH-less", b"Else DH-less");
    pair.right.datagram(reversed(path), &foreign, pair.now);
    let (_, answer) = pair.right.sent.pop_front().unwrap();
    assert_eq!(exchange(&answer), INFORMATIONAL);

    pair.right.datagram(reversed(path), &first, pair.now);
    let (back, second) = pair.right.sent.pop_front().unwrap();
    let foreign = replaced(&second, b"Adit DH-less", b"Else DH-less");
    pair.left.datagram(reversed(back), &foreign, pair.now);
    assert!(pair.left.sent.is_empty());
}

fn replaced(message: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let place = message.windows(what.len()).position(|some| some == what).unwrap();
    message[place..place + what.len()].copy_from_slice(by);
    message
}

/// Invariant 5: before the peer has proven its address it gets no more octets than it has sent, in
/// aggressive mode neither; and none of its own accord.
#[test]
fn a_responder_amplifies_nothing() {
    for kind in ALL {
        for aggressive in MODES {
            let mut pair = pair_of(encrypting(kind, aggressive));
            pair.left.initiate(pair.now);
            let (path, first) = pair.left.sent.pop_front().unwrap();
            for _ in 0..3 {
                pair.right.datagram(reversed(path), &first, pair.now);
                let (_, answer) = pair.right.sent.pop_front().unwrap();
                assert!(answer.len() <= first.len(), "{} for {}", answer.len(), first.len());
            }
            let end = pair.now + Duration::from_secs(60);
            while let Some(next) = pair.right.endpoint.poll_timeout().filter(|next| *next < end) {
                pair.now = next;
                pair.right.timeout(next);
                assert!(pair.right.sent.is_empty());
            }
            assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
        }
    }
}

/// A responder with our own cookie could send our own proof back to us.
#[test]
fn a_mirror_is_no_responder() {
    for aggressive in MODES {
        let mut pair = pair_of(encrypting(NonceEncryption::DhLess, aggressive));
        pair.left.initiate(pair.now);
        pair.deliver(|_| true);
        let (path, mut answer) = pair.right.sent.pop_front().unwrap();
        answer.copy_within(0..8, 8);
        pair.left.datagram(reversed(path), &answer, pair.now);
        assert!(pair.left.sent.is_empty());
    }
}

/// CHECKLIST W08: a NAT is found by both, and everything goes in UDP between the NAT ports.
#[test]
fn a_nat_is_found_and_passed() {
    for aggressive in MODES {
        let mut behind = Behind::new(encrypting(NonceEncryption::DhLess, aggressive), 10_000);
        behind.pair.left.credentials.add_key(key(0));
        behind.pair.right.credentials.add_key(key(1));
        let now = behind.pair.now;
        behind.pair.left.initiate(now);
        behind.run();
        behind.pair.assert_one_tunnel();
        let child = behind.pair.right.children.values().next().unwrap();
        assert!(child.encap.udp);
        assert_eq!(child.encap.remote.port(), 14_500);
    }
}

/// Aggressive mode is for connections that allow it.
#[test]
fn aggressive_mode_must_be_allowed() {
    let mut connections = encrypting(NonceEncryption::DhLess, Aggressive::Initiate);
    connections[1].aggressive = Aggressive::Refuse;
    let mut pair = pair_of(connections);
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(3));
    assert_eq!(pair.right.established().len(), 0);
    assert_eq!(pair.right.failures()[0].reason.code(), Some(105));
    assert_eq!(pair.left.failures().len(), 1);
}
