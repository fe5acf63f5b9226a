//! Choice of the method, the older methods, and what a stranger's AUTH payload may hold.

use adit_crypto::Prf;
use adit_pki::Moment;
use proptest::prelude::*;
use rcgen::KeyPair;

use super::*;
use crate::command::{AuthResult, JobId};
use crate::output::AuthJobKind;

const OCTETS: &[u8] = b"signed octets";

fn key(algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<PrivateKey> {
    let pair = KeyPair::generate_for(algorithm).unwrap();
    Arc::new(PrivateKey::from_file(&pair.serialize_der()).unwrap())
}

/// Both sides have this raw key, and may use these schemes.
fn spec(key: &PrivateKey, schemes: &[SignatureScheme]) -> AuthSpec {
    AuthSpec::Signature(Arc::new(SignatureSpec {
        schemes: schemes.to_vec(),
        public_keys: vec![Arc::clone(key.public())],
        ..SignatureSpec::default()
    }))
}

fn job(kind: AuthJobKind, auth: AuthSpec, announced: Announced) -> AuthJob {
    AuthJob {
        job: JobId(1),
        kind,
        connection: "tunnel".parse().unwrap(),
        round: 0,
        local_id: "@a.example".parse().unwrap(),
        remote_id: "@b.example".parse().unwrap(),
        prf: Prf::HmacSha2_256,
        octets: Secret::from_slice(OCTETS),
        local_auth: auth.clone(),
        remote_auth: auth,
        announced,
    }
}

fn answer(job: &AuthJob, key: &Arc<PrivateKey>) -> AuthResult {
    let mut credentials = Credentials::default();
    credentials.add_key(Arc::clone(key));
    job.answer_with(Keys { secret: None, credentials: &credentials, now: Moment(0) })
}

fn takes(hashes: &[HashAlgorithm]) -> Announced {
    let hashes = Some(hashes.iter().fold(0, |all, hash| all | bit(*hash)));
    Announced { hashes, ..Announced::default() }
}

fn signed(key: &Arc<PrivateKey>, schemes: &[SignatureScheme], announced: Announced) -> AuthResult {
    answer(&job(AuthJobKind::Sign, spec(key, schemes), announced), key)
}

fn proof(result: AuthResult) -> Proof {
    let AuthResult::Signed(proof) = result else { panic!("{result:?}") };
    proof
}

fn verdict(key: &Arc<PrivateKey>, schemes: &[SignatureScheme], auth: Proof) -> AuthResult {
    let job = job(AuthJobKind::Verify { auth }, spec(key, schemes), Announced::default());
    answer(&job, key)
}

/// CHECKLIST F06: defaults, SHA-2 only, mismatch; the hash is one that the peer takes.
#[test]
fn the_hash_is_one_that_the_peer_takes() {
    let rsa = key(&rcgen::PKCS_RSA_SHA256);
    for (hashes, scheme) in [
        (&HASHES[..], SignatureScheme::RsaPss(SignatureHash::Sha2_256)),
        (&[HashAlgorithm::SHA2_384], SignatureScheme::RsaPss(SignatureHash::Sha2_384)),
        (&[HashAlgorithm::SHA2_512], SignatureScheme::RsaPss(SignatureHash::Sha2_512)),
    ] {
        let proof = proof(signed(&rsa, &[], takes(hashes)));
        assert_eq!(proof.method, AuthMethod::DIGITAL_SIGNATURE);
        assert_eq!(read_digital_signature(&proof.data).unwrap().0, scheme);
        assert_eq!(verdict(&rsa, &[], proof), AuthResult::Verified);
    }
    // RFC 7427 §4: a signature needs a hash that was announced; SHA-1 is never used.
    for hashes in [&[HashAlgorithm::SHA1][..], &[HashAlgorithm::IDENTITY], &[]] {
        let result = signed(&rsa, &[], takes(hashes));
        let AuthResult::CannotSign(problem) = result else { panic!("{result:?}") };
        assert!(matches!(*problem, SignFailure::NoScheme { .. }), "{problem}");
    }
    // RFC 8420 §2: Ed25519 goes with Identity.
    let ed25519 = key(&rcgen::PKCS_ED25519);
    let proof = proof(signed(&ed25519, &[], takes(&[HashAlgorithm::IDENTITY])));
    assert_eq!(verdict(&ed25519, &[], proof), AuthResult::Verified);
    let result = signed(&ed25519, &[], takes(&[HashAlgorithm::SHA2_512]));
    assert!(matches!(result, AuthResult::CannotSign(_)), "{result:?}");
}

/// RFC 7296 §3.8 and RFC 4754: a peer without RFC 7427 gets methods 1 and 9 to 11.
#[test]
fn older_peers_get_the_older_methods() {
    let silent = Announced::default;
    for (algorithm, method, octets) in [
        (&rcgen::PKCS_RSA_SHA256, AuthMethod::RSA_SIGNATURE, 256),
        (&rcgen::PKCS_ECDSA_P256_SHA256, AuthMethod::ECDSA_SHA256_P256, 64),
        (&rcgen::PKCS_ECDSA_P384_SHA384, AuthMethod::ECDSA_SHA384_P384, 96),
        (&rcgen::PKCS_ECDSA_P521_SHA512, AuthMethod::ECDSA_SHA512_P521, 132),
    ] {
        let key = key(algorithm);
        let proof = proof(signed(&key, &[], silent()));
        assert_eq!((proof.method, proof.data.len()), (method, octets));
        assert_eq!(verdict(&key, &[], proof.clone()), AuthResult::Verified);
        // The curve belongs to the method.
        for other in [AuthMethod::ECDSA_SHA256_P256, AuthMethod::ECDSA_SHA384_P384] {
            if other != method {
                let wrong = Proof { method: other, ..proof.clone() };
                assert_ne!(verdict(&key, &[], wrong), AuthResult::Verified);
            }
        }
        let mut longer = proof.clone();
        longer.data.push(0);
        assert_ne!(verdict(&key, &[], longer), AuthResult::Verified);
    }
    let ed25519 = key(&rcgen::PKCS_ED25519);
    let result = signed(&ed25519, &[], silent());
    let AuthResult::CannotSign(problem) = result else { panic!("{result:?}") };
    assert!(problem.to_string().ends_with("it takes the older methods alone"), "{problem}");
}

/// CHECKLIST F06: legacy RSA-SHA1 is verified only where it was asked for, and never by Digital
/// Signature.
#[test]
fn sha1_has_to_be_asked_for() {
    let rsa = key(&rcgen::PKCS_RSA_SHA256);
    let sha1 = SignatureScheme::RsaPkcs1(SignatureHash::Sha1);
    let schemes = |named: &[SignatureScheme]| {
        let spec = SignatureSpec { schemes: named.to_vec(), ..SignatureSpec::default() };
        let proof = of(AuthMethod::RSA_SIGNATURE, b"x");
        match Signature::read(&spec, &proof, false) {
            Ok(Signature { form: Form::Rsa(schemes), .. }) => schemes,
            _ => panic!("no method 1"),
        }
    };
    assert!(!schemes(&[]).contains(&sha1) && schemes(&[]).len() == 3);
    assert_eq!(schemes(&[sha1]), [sha1]);
    let named = digital_signature(sha1, b"signature").unwrap();
    let result = verdict(&rsa, &[sha1], of(AuthMethod::DIGITAL_SIGNATURE, &named));
    let AuthResult::Distrusted(problem) = result else { panic!("{result:?}") };
    assert!(matches!(*problem, Distrust::Method(_)), "{problem}");
}

fn of(method: AuthMethod, data: &[u8]) -> Proof {
    Proof { method, data: data.to_vec(), certificates: Vec::new() }
}

/// CHECKLIST F19: a signature of something else, or with octets missing or added, is refused.
#[test]
fn only_the_whole_signature_of_these_octets_is_right() {
    let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let right = proof(signed(&key, &[], takes(&HASHES)));
    assert_eq!(verdict(&key, &[], right.clone()), AuthResult::Verified);
    for cut in 0..right.data.len() {
        let cut = Proof { data: right.data[..cut].to_vec(), ..right.clone() };
        assert!(matches!(verdict(&key, &[], cut), AuthResult::Distrusted(_)));
    }
    let mut job = job(AuthJobKind::Verify { auth: right }, spec(&key, &[]), Announced::default());
    job.octets = Secret::from_slice(b"other octets");
    assert_eq!(answer(&job, &key), AuthResult::Distrusted(Box::new(Distrust::OtherKey)));
}

/// Whoever does not prove its identity gets no signature of ours.
#[test]
fn our_signature_comes_with_the_verdict_alone() {
    let key = key(&rcgen::PKCS_ED25519);
    let right = proof(signed(&key, &[], takes(&HASHES)));
    let both = |auth| {
        let ours = Secret::from_slice(b"our octets");
        answer(
            &job(AuthJobKind::VerifyAndSign { auth, ours }, spec(&key, &[]), takes(&HASHES)),
            &key,
        )
    };
    assert!(matches!(both(right.clone()), AuthResult::VerifiedAndSigned(_)));
    let wrong = Proof { data: right.data[1..].to_vec(), ..right };
    assert!(matches!(both(wrong), AuthResult::Distrusted(_)));
}

/// A stranger buys no work with a name that is not in its certificate, a wrong signature or a long key: the
/// path to an authority is not looked at then.
#[test]
fn what_is_cheap_to_see_is_seen_first() {
    let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let ed25519 = Arc::new(PrivateKey::from_file(&pair.serialize_der()).unwrap());
    let right = proof(signed(&ed25519, &[], takes(&HASHES)));
    let verdict = |certificate: &Certificate, data: &[u8], spec: SignatureSpec| {
        let certificates = vec![CertificateData {
            encoding: CertEncoding::X509_SIGNATURE,
            data: certificate.der().to_vec(),
        }];
        let auth = Proof { certificates, data: data.to_vec(), ..right.clone() };
        let spec = AuthSpec::Signature(Arc::new(spec));
        let job = job(AuthJobKind::Verify { auth }, spec, Announced::default());
        let result = answer(&job, &ed25519);
        let AuthResult::Distrusted(problem) = result else { panic!("{result:?}") };
        *problem
    };
    let of = |name: &str| {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1970, 1, 1);
        Certificate::from_der(params.self_signed(&pair).unwrap().der()).unwrap()
    };
    let open = SignatureSpec::default;
    let mut wrong = right.data.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let is_unknown = |problem| matches!(problem, Distrust::UnknownIssuer { .. });
    assert!(is_unknown(verdict(&of("b.example"), &right.data, open())));
    assert_eq!(verdict(&of("b.example"), &wrong, open()), Distrust::BadSignature);
    let problem = verdict(&of("c.example"), &right.data, open());
    assert!(matches!(problem, Distrust::OtherIdentity { .. }), "{problem}");

    // Of b.example; nobody asks for its private key.
    let long = adit_pki::read_certificates(include_bytes!("../../../tests/vectors/rsa-5120.pem"));
    let long = long.unwrap();
    let problem = verdict(&long[0], &right.data, open());
    assert!(matches!(problem, Distrust::Unfit { reason: COSTLY, .. }), "{problem}");
    let pinned = SignatureSpec { certificates: long.clone(), ..open() };
    assert_eq!(verdict(&long[0], &right.data, pinned), Distrust::BadSignature);
}

/// An authority that is for every tunnel, or that a tunnel of `swanctl.conf` names, may have a DSA key: what it has
/// signed is believed in IKEv1 and not in IKEv2, whose files cannot name it either.
#[test]
fn authorities_with_dsa_keys_count_in_ikev1_alone() {
    const KEY: &[u8] = include_bytes!("../../../../pki/tests/vectors/signer-by-dsa.pem");
    const OWN: &[u8] = include_bytes!("../../../../pki/tests/vectors/signer-by-dsa.crt");
    const CA: &[u8] = include_bytes!("../../../../pki/tests/vectors/dsa-authority.crt");
    let one = |file: &[u8]| adit_pki::read_certificates(file).unwrap().remove(0);
    let key = Arc::new(PrivateKey::from_file(KEY).unwrap());
    let (own, authority) = (one(OWN), one(CA));
    let mut credentials = Credentials::default();
    credentials.add_key(Arc::clone(&key));
    credentials.add_authority(Arc::clone(&authority));
    let keys = Keys { secret: None, credentials: &credentials, now: Moment(1_700_000_000) };
    let certificates =
        vec![CertificateData { encoding: CertEncoding::X509_SIGNATURE, data: own.der().to_vec() }];
    let named =
        SignatureSpec { authorities: vec![Arc::clone(&authority)], ..SignatureSpec::default() };
    for theirs in [SignatureSpec::default(), named] {
        let theirs = AuthSpec::Signature(Arc::new(theirs));
        let proven = |sign: AuthJobKind, verify: fn(Proof) -> AuthJobKind| {
            let job = |kind, auth| AuthJob {
                octets: Secret::from_slice(&[7; 32]),
                ..job(kind, auth, takes(&HASHES))
            };
            let proof = proof(job(sign, spec(&key, &[])).answer_with(keys));
            let auth = Proof { certificates: certificates.clone(), ..proof };
            job(verify(auth), theirs.clone()).answer_with(keys).split().0
        };
        let by_hash = AuthJobKind::SignHash { method: AuthMethod::ECDSA_SHA256_P256 };
        let result = proven(by_hash, |auth| AuthJobKind::VerifyHash { auth });
        assert_eq!(result, AuthResult::Verified);
        let result = proven(AuthJobKind::Sign, |auth| AuthJobKind::Verify { auth });
        let AuthResult::Distrusted(problem) = result else { panic!("{result:?}") };
        assert!(problem.to_string().contains("in IKEv1 alone"), "{problem}");
    }
}

/// Nobody has proven the address: the list in a response is no longer than the one in the request, unless
/// the rest of the request leaves room.
#[test]
fn hashes_in_a_response_need_room() {
    let answer = |theirs: &[HashAlgorithm], room: usize| {
        let header = adit_wire::ikev2::Header::new(
            adit_wire::ikev2::IkeSpi::ZERO,
            adit_wire::ikev2::IkeSpi::ZERO,
            adit_wire::iana::ExchangeType::IKE_SA_INIT,
            adit_wire::ikev2::Flags::new(false, true),
            0,
        );
        let mut message = MessageBuilder::new(header);
        let before = message.octets_len();
        answer_hashes(&list(theirs), room, &mut message);
        message.octets_len() - before
    };
    let one = [HashAlgorithm::SHA2_256];
    assert_eq!(answer(&one, 16), 16);
    assert_eq!(answer(&one, 15), 10);
    assert_eq!(answer(&[HashAlgorithm::SHA2_256; 3], 0), 10);
    assert_eq!(answer(&HASHES, 0), 16);
    assert_eq!(answer(&[HashAlgorithm::SHA1], 0), 0);
    assert_eq!(answer(&[], 0), 0);
}

/// Numbers that a peer chose fill nothing without bound.
#[test]
fn requests_for_certificates_are_bounded() {
    let many = vec![7; 20 * (AUTHORITIES_MAX + 5) + 3];
    let mut chain = ChainBuilder::new();
    for _ in 0..3 {
        chain.put(&request_payload(&many));
    }
    let chain = chain.finish().unwrap();
    let mut announced = Announced::default();
    let header = adit_wire::ikev2::Header::new(
        adit_wire::ikev2::IkeSpi::ZERO,
        adit_wire::ikev2::IkeSpi::ZERO,
        adit_wire::iana::ExchangeType::INFORMATIONAL,
        adit_wire::ikev2::Flags::new(true, false),
        0,
    );
    let received = Received::read(&header, chain.first, &chain.octets).unwrap();
    announced.take(&received);
    assert_eq!(announced.authorities.len(), AUTHORITIES_MAX);
}

proptest! {
    /// Whatever stands in an AUTH payload is refused and nothing else.
    #[test]
    fn octets_of_a_stranger_are_refused(
        method in prop::sample::select(vec![1u8, 9, 10, 11, 14]),
        data in prop::collection::vec(any::<u8>(), 0..300),
        certificate in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let certificates =
            vec![CertificateData { encoding: CertEncoding::X509_SIGNATURE, data: certificate }];
        let auth = Proof { method: AuthMethod(method), data, certificates };
        let open = AuthSpec::Signature(Arc::default());
        let job = job(AuthJobKind::Verify { auth }, open, Announced::default());
        let credentials = Credentials::default();
        let result =
            job.answer_with(Keys { secret: None, credentials: &credentials, now: Moment(0) });
        prop_assert!(matches!(result, AuthResult::Distrusted(_)));
    }

    #[test]
    fn digital_signatures_round_trip(
        scheme in prop::sample::select(SignatureScheme::ALL.to_vec()),
        signature in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let data = digital_signature(scheme, &signature).unwrap();
        prop_assert_eq!(read_digital_signature(&data), Some((scheme, &signature[..])));
    }
}
