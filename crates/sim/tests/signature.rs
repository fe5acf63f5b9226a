//! Authentication by signatures between two endpoints (RFC 7427, RFC 8420, RFC 7296 §2.15).

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use adit_crypto::{SignatureHash, SignatureScheme};
use adit_db::{
    AuthSpec, Identity, IdentityPattern, LocalRound, ProposalSpec, RemoteRound, SignatureSpec,
};
use adit_ike::lifetime::Origin;
use adit_ike::{Event, FailureReason};
use adit_pki::{Certificate, Credentials, Distrust, Moment, PrivateKey};
use adit_sim::{Fate, Pair, Seed, Setup, Side};
use adit_wire::iana::{AuthMethod, ExchangeType};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SignatureAlgorithm, date_time_ymd,
};

/// An authority that signs certificates of peers.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Arc<Certificate>,
}

/// A key and its certificate.
struct Owner {
    key: Arc<PrivateKey>,
    certificate: Arc<Certificate>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn read(der: &[u8]) -> Arc<Certificate> {
    Arc::new(Certificate::from_der(der).unwrap())
}

impl Authority {
    fn params(name: &str) -> CertificateParams {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    fn root(name: &str) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let params = Self::params(name);
        let certificate = read(params.self_signed(&key).unwrap().der());
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let params = Self::params(name);
        let certificate = read(params.signed_by(&key, &self.issuer).unwrap().der());
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn owner_with(
        &self,
        params: &CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Owner {
        let key = KeyPair::generate_for(algorithm).unwrap();
        Owner {
            certificate: read(params.signed_by(&key, &self.issuer).unwrap().der()),
            key: Arc::new(PrivateKey::from_file(&key.serialize_der()).unwrap()),
        }
    }

    fn owner(&self, name: &str) -> Owner {
        self.owner_with(&params(name), &rcgen::PKCS_ED25519)
    }

    /// Trust in this authority.
    fn trusted(&self) -> SignatureSpec {
        let authorities = vec![Arc::clone(&self.certificate)];
        SignatureSpec { authorities, ..SignatureSpec::default() }
    }
}

impl Owner {
    /// What signs with the certificate.
    fn signs(&self) -> SignatureSpec {
        let certificates = vec![Arc::clone(&self.certificate)];
        SignatureSpec { certificates, ..SignatureSpec::default() }
    }

    /// What signs with the raw key, and what expects it.
    fn raw(&self) -> SignatureSpec {
        let public_keys = vec![Arc::clone(self.key.public())];
        SignatureSpec { public_keys, ..SignatureSpec::default() }
    }

    fn credentials(&self) -> Arc<Credentials> {
        let mut credentials = Credentials::default();
        credentials.add_key(Arc::clone(&self.key));
        Arc::new(credentials)
    }
}

fn auth(spec: SignatureSpec) -> AuthSpec {
    AuthSpec::Signature(Arc::new(spec))
}

/// Both sides have a certificate of one authority, and no secret.
struct Lab {
    setup: Setup,
    root: Authority,
    left: Owner,
    right: Owner,
}

impl Lab {
    fn new(left: &'static SignatureAlgorithm, right: &'static SignatureAlgorithm) -> Self {
        let root = Authority::root("root");
        let left = root.owner_with(&params("left"), left);
        let right = root.owner_with(&params("right"), right);
        let mut setup = Setup::new(Seed(7));
        (setup.left_secret, setup.right_secret) = (None, None);
        setup.left_credentials = left.credentials();
        setup.right_credentials = right.credentials();
        setup.left.pad.local_auth = auth(left.signs());
        setup.right.pad.local_auth = auth(right.signs());
        setup.left.pad.remote_auth = auth(root.trusted());
        setup.right.pad.remote_auth = auth(root.trusted());
        Self { setup, root, left, right }
    }

    fn ed25519() -> Self {
        Self::new(&rcgen::PKCS_ED25519, &rcgen::PKCS_ED25519)
    }

    /// Whom the left side accepts has to sign like this.
    fn left_takes(&mut self, schemes: &[SignatureScheme]) {
        let spec = SignatureSpec { schemes: schemes.to_vec(), ..self.root.trusted() };
        self.setup.left.pad.remote_auth = auth(spec);
    }

    fn right_signs(&mut self, schemes: &[SignatureScheme]) {
        let spec = SignatureSpec { schemes: schemes.to_vec(), ..self.right.signs() };
        self.setup.right.pad.local_auth = auth(spec);
    }
}

/// Why each side says that it fails.
fn failures(setup: Setup) -> (FailureReason, Option<FailureReason>) {
    let mut pair = setup.pair();
    let request = pair.left.initiate(pair.child);
    pair.run_until_idle();
    let Some(Err(failure)) = pair.left.result(request) else {
        panic!("no failure:\n{}", pair.ladder());
    };
    let left = failure.reason.clone();
    assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
    assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
    let right = pair.right.failures().last().cloned();
    (left, right)
}

fn distrust(reason: Option<FailureReason>) -> Distrust {
    match reason {
        Some(FailureReason::NotTrusted { problem, .. }) => *problem,
        other => panic!("{other:?}"),
    }
}

/// CHECKLIST F07 (without Ed448) and F06: each kind of key, in both directions, by Digital Signature.
#[test]
fn every_kind_of_key_signs_for_either_side() {
    let algorithms: [&'static SignatureAlgorithm; 5] = [
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_RSA_SHA256,
    ];
    for (number, left) in algorithms.into_iter().enumerate() {
        let right = algorithms[(number + 1) % algorithms.len()];
        let mut pair = Lab::new(left, right).setup.pair().up();
        pair.left.send_packet(pair.child);
        pair.run_until_idle();
        assert_eq!(pair.right.packets_opened, 1);
    }
}

/// CHECKLIST F06: each scheme that can be asked for is used when it is asked for.
#[test]
fn every_scheme_is_used_where_it_alone_is_allowed() {
    use SignatureHash::{Sha2_256, Sha2_384, Sha2_512};
    for hash in [Sha2_256, Sha2_384, Sha2_512] {
        for scheme in [SignatureScheme::RsaPss(hash), SignatureScheme::RsaPkcs1(hash)] {
            let mut lab = Lab::new(&rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256);
            lab.left_takes(&[scheme]);
            lab.right_signs(&[scheme]);
            drop(lab.setup.pair().up());
        }
    }
}

/// CHECKLIST F06, mismatch: a scheme that is not allowed is refused, and the peer is told.
#[test]
fn another_scheme_is_refused() {
    let mut lab = Lab::new(&rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256);
    lab.left_takes(&[SignatureScheme::RsaPkcs1(SignatureHash::Sha2_512)]);
    let (left, _) = failures(lab.setup);
    assert!(matches!(distrust(Some(left.clone())), Distrust::Method(_)), "{left:?}");
    assert_eq!(left.code(), Some(209));
}

/// Raw public keys (RFC 7670) that both sides have been given. CHECKLIST G19, by configuration.
#[test]
fn raw_keys_need_no_certificate() {
    let mut lab = Lab::new(&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519);
    lab.setup.left.pad.local_auth = auth(lab.left.raw());
    lab.setup.left.pad.remote_auth = auth(lab.right.raw());
    lab.setup.right.pad.local_auth = auth(lab.right.raw());
    lab.setup.right.pad.remote_auth = auth(lab.left.raw());
    drop(lab.setup.clone().pair().up());

    lab.setup.right.pad.remote_auth = auth(lab.right.raw());
    let (left, right) = failures(lab.setup);
    assert!(matches!(left, FailureReason::CredentialRefused { .. }), "{left:?}");
    assert_eq!(distrust(right), Distrust::OtherKey);
}

/// A certificate of the peer that is pinned needs no authority, and no other is taken.
#[test]
fn pinned_certificates_need_no_authority() {
    let mut lab = Lab::ed25519();
    lab.setup.left.pad.remote_auth = auth(lab.right.signs());
    lab.setup.right.pad.remote_auth = auth(lab.left.signs());
    drop(lab.setup.clone().pair().up());

    let other = lab.root.owner("left");
    lab.setup.left.pad.local_auth = auth(other.signs());
    lab.setup.left_credentials = other.credentials();
    let (_, right) = failures(lab.setup);
    assert_eq!(distrust(right), Distrust::OtherKey);
}

/// A certificate or key that is pinned beside an authority stays the only one: what else the authority
/// has signed is not taken, nor what a pinned authority has, and the authority has to have signed it.
#[test]
fn an_authority_does_not_widen_what_is_pinned() {
    let pinned = |lab: &Lab| SignatureSpec {
        certificates: lab.left.signs().certificates,
        ..lab.root.trusted()
    };
    let mut lab = Lab::ed25519();
    lab.setup.right.pad.remote_auth = auth(pinned(&lab));
    drop(lab.setup.clone().pair().up());

    let other = lab.root.owner("left");
    lab.setup.left.pad.local_auth = auth(other.signs());
    lab.setup.left_credentials = other.credentials();
    let with_key = SignatureSpec { public_keys: lab.left.raw().public_keys, ..lab.root.trusted() };
    for spec in [pinned(&lab), with_key] {
        lab.setup.right.pad.remote_auth = auth(spec);
        let (_, right) = failures(lab.setup.clone());
        assert_eq!(distrust(right), Distrust::OtherKey);
    }
    for authorities in [vec![], lab.root.trusted().authorities] {
        let certificates = vec![Arc::clone(&lab.root.certificate)];
        let spec = SignatureSpec { certificates, authorities, ..SignatureSpec::default() };
        lab.setup.right.pad.remote_auth = auth(spec);
        let (_, right) = failures(lab.setup.clone());
        assert_eq!(distrust(right), Distrust::OtherKey);
    }

    let mut lab = Lab::ed25519();
    let authorities = Authority::root("other").trusted().authorities;
    lab.setup.right.pad.remote_auth = auth(SignatureSpec { authorities, ..lab.left.signs() });
    let (_, right) = failures(lab.setup);
    assert!(matches!(distrust(right), Distrust::UnknownIssuer { .. }));
}

/// CHECKLIST F05: different methods in each direction; mismatches refused both ways.
#[test]
fn each_direction_has_its_own_method() {
    let secret = || Some("c0mmon-to-both".to_owned());
    let mut lab = Lab::ed25519();
    (lab.setup.left_secret, lab.setup.right_secret) = (secret(), secret());
    lab.setup.left.pad.local_auth = AuthSpec::Psk;
    lab.setup.right.pad.remote_auth = AuthSpec::Psk;
    drop(lab.setup.clone().pair().up());

    // The right side expects a signature, and the left one has a secret.
    lab.setup.right.pad.remote_auth = auth(lab.root.trusted());
    let (_, right) = failures(lab.setup);
    let Some(FailureReason::WrongMethod { received, .. }) = right else { panic!("{right:?}") };
    assert_eq!(received, AuthMethod::SHARED_KEY);

    // The other way round: the responder signs where a secret is expected.
    let mut lab = Lab::ed25519();
    (lab.setup.left_secret, lab.setup.right_secret) = (secret(), secret());
    lab.setup.left.pad.remote_auth = AuthSpec::Psk;
    let (left, _) = failures(lab.setup);
    assert!(matches!(left, FailureReason::WrongMethod { .. }), "{left:?}");
    assert_eq!(left.code(), Some(209));
}

/// CHECKLIST G05: no CA, wrong CA, missing intermediate. A chain goes as
/// several CERT payloads.
#[test]
fn only_trusted_authorities_let_in() {
    let lab = Lab::ed25519();
    let middle = lab.root.below("middle");
    let owner = middle.owner("left");
    let mut setup = lab.setup;
    setup.left_credentials = owner.credentials();
    let chain = |with: bool| {
        let middle = with.then(|| Arc::clone(&middle.certificate));
        let certificates = std::iter::once(Arc::clone(&owner.certificate)).chain(middle).collect();
        auth(SignatureSpec { certificates, ..SignatureSpec::default() })
    };
    setup.left.pad.local_auth = chain(true);
    drop(setup.clone().pair().up());

    setup.left.pad.local_auth = chain(false);
    let (left, right) = failures(setup.clone());
    assert!(matches!(left, FailureReason::CredentialRefused { .. }), "{left:?}");
    assert_eq!(left.code(), Some(208));
    assert!(matches!(distrust(right.clone()), Distrust::UnknownIssuer { .. }));
    assert_eq!(right.and_then(|reason| reason.code()), Some(207));

    setup.left.pad.local_auth = chain(true);
    setup.right.pad.remote_auth = auth(Authority::root("other").trusted());
    let (_, right) = failures(setup.clone());
    assert!(matches!(distrust(right), Distrust::UnknownIssuer { .. }));

    // Nobody is named, and the host trusts nobody.
    setup.right.pad.remote_auth = auth(SignatureSpec::default());
    let (_, right) = failures(setup);
    assert!(matches!(distrust(right), Distrust::UnknownIssuer { .. }));
}

/// The authorities and certificates of the host are for connections that name none.
#[test]
fn the_hosts_own_credentials_count_where_none_are_named() {
    let mut lab = Lab::ed25519();
    let mut credentials = Credentials::default();
    credentials.add_key(Arc::clone(&lab.right.key));
    credentials.add_certificate(Arc::clone(&lab.right.certificate));
    credentials.add_authority(Arc::clone(&lab.root.certificate));
    lab.setup.right_credentials = Arc::new(credentials);
    lab.setup.right.pad.local_auth = auth(SignatureSpec::default());
    lab.setup.right.pad.remote_auth = auth(SignatureSpec::default());
    drop(lab.setup.pair().up());
}

/// CHECKLIST G04: several certificates on one host; choose by CERTREQ.
#[test]
fn the_certificate_that_the_peer_asks_for_is_sent() {
    let mut lab = Lab::ed25519();
    let other = Authority::root("other");
    let second = other.owner("right");
    let mut credentials = Credentials::default();
    for (owner, authority) in [(&lab.right, &lab.root), (&second, &other)] {
        credentials.add_key(Arc::clone(&owner.key));
        credentials.add_authority(Arc::clone(&authority.certificate));
    }
    lab.setup.right_credentials = Arc::new(credentials);
    let certificates = vec![Arc::clone(&lab.right.certificate), Arc::clone(&second.certificate)];
    lab.setup.right.pad.local_auth =
        auth(SignatureSpec { certificates, ..SignatureSpec::default() });
    for trusted in [other.trusted(), lab.root.trusted()] {
        lab.setup.left.pad.remote_auth = auth(trusted);
        drop(lab.setup.clone().pair().up());
    }
}

/// CHECKLIST G07: expired and not-yet-valid, and both clocks are named.
#[test]
fn certificates_out_of_their_time_are_refused() {
    let mut lab = Lab::ed25519();
    lab.setup.calendar = Moment(2_400_000_000);
    let (left, right) = failures(lab.setup.clone());
    assert_eq!(left.code(), Some(208));
    let problem = distrust(right.clone());
    assert!(matches!(problem, Distrust::Expired { .. }), "{problem}");
    assert!(problem.to_string().contains("2046-01-19"), "{problem}");
    assert_eq!(right.and_then(|reason| reason.code()), Some(211));

    lab.setup.calendar = Moment(1_500_000_000);
    let (_, right) = failures(lab.setup);
    assert!(matches!(distrust(right.clone()), Distrust::NotYetValid { .. }));
    assert_eq!(right.and_then(|reason| reason.code()), Some(212));
}

/// The lab at a time when the left side's certificate is good for so many seconds more.
fn lab_before_the_end(left_s: u64) -> Lab {
    let mut lab = Lab::ed25519();
    let (_, until) = lab.left.certificate.validity();
    lab.setup.calendar = Moment(until.0 - left_s);
    // Those of the right side and the authority are good for longer.
    for side in [&mut lab.setup.left, &mut lab.setup.right] {
        (side.rekey_time, side.over_time) = (Duration::ZERO, Duration::ZERO);
    }
    let mut params = params("right");
    params.not_after = date_time_ymd(2050, 1, 1);
    lab.right = lab.root.owner_with(&params, &rcgen::PKCS_ED25519);
    lab.setup.right_credentials = lab.right.credentials();
    lab.setup.right.pad.local_auth = auth(lab.right.signs());
    lab
}

/// RFC 4301 §4.4.3.4, CHECKLIST G07, K20: an IKE SA does not outlive the certificates that it rests on. A
/// new one is authenticated before, not ever more often while nobody renews the certificate, and at the
/// end all is deleted, on both sides, though there is no limit in the configuration.
#[test]
fn no_sa_outlives_its_certificates() {
    let mut pair = lab_before_the_end(10_000).setup.pair().up();
    let ups = |pair: &Pair| {
        pair.left.events().iter().filter(|event| matches!(event, Event::IkeUp(_))).count()
    };
    let limits = |pair: &Pair, side: Side| {
        let peer = if side == Side::Left { &pair.left } else { &pair.right };
        peer.established()[0].auth_limits.clone()
    };
    for (side, ours) in [(Side::Left, true), (Side::Right, false)] {
        let known = limits(&pair, side).into_iter().find_map(|limit| {
            let Origin::Certificate { ours, subject, .. } = limit.origin else { return None };
            Some((ours, subject))
        });
        // Root and left end at once; the left side does not send the root.
        let (is_ours, subject) = known.unwrap();
        assert_eq!((is_ours, subject.as_str()), (ours, "CN=left"));
    }
    pair.run_for(Duration::from_secs(8_990));
    assert_eq!(ups(&pair), 1, "{}", pair.ladder());
    pair.run_for(Duration::from_secs(100));
    assert_eq!(ups(&pair), 2, "{}", pair.ladder());
    // A tenth of what is left before the end, and again, but not in the last minute.
    pair.run_for(Duration::from_secs(905));
    assert_eq!(ups(&pair), 4, "{}", pair.ladder());
    assert_eq!((pair.left.child_sas().len(), pair.right.child_sas().len()), (1, 1));
    pair.run_for(Duration::from_secs(30));
    assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
    assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
    assert_eq!(ups(&pair), 4, "{}", pair.ladder());
}

/// Who proves itself by a raw key or a secret has no certificate that ends.
#[test]
fn raw_keys_do_not_end() {
    let mut lab = Lab::ed25519();
    lab.setup.left.pad.local_auth = auth(lab.left.raw());
    lab.setup.left.pad.remote_auth = auth(lab.right.raw());
    lab.setup.right.pad.local_auth = auth(lab.right.raw());
    lab.setup.right.pad.remote_auth = auth(lab.left.raw());
    let pair = lab.setup.pair().up();
    for peer in [&pair.left, &pair.right] {
        let info = &peer.established()[0];
        assert_eq!((info.auth_limits.len(), info.reauth_at), (0, None));
    }
}

/// CHECKLIST G02: the identity must be in the certificate.
#[test]
fn a_certificate_of_somebody_else_is_refused() {
    let mut lab = Lab::ed25519();
    let other = lab.root.owner("mallory");
    lab.setup.left.pad.local_auth = auth(other.signs());
    lab.setup.left_credentials = other.credentials();
    let (_, right) = failures(lab.setup);
    assert!(matches!(distrust(right.clone()), Distrust::OtherIdentity { .. }));
    assert_eq!(right.and_then(|reason| reason.code()), Some(210));
}

/// A distinguished name is the subject, however it is written.
#[test]
fn subjects_are_identities() {
    let mut lab = Lab::ed25519();
    lab.setup.left.pad.local_id = Some("CN=left".parse().unwrap());
    lab.setup.right.pad.remote_id = "CN=LEFT".parse().unwrap();
    let pair = lab.setup.pair().up();
    let known = pair.right.established()[0].remote_id.clone();
    assert!(known.is_some_and(|id| matches!(id, Identity::Dn(_))));
}

#[test]
fn without_a_key_nothing_is_sent() {
    let mut lab = Lab::ed25519();
    lab.setup.left_credentials = Arc::default();
    let (left, _) = failures(lab.setup.clone());
    assert!(matches!(left, FailureReason::CannotSign { .. }), "{left:?}");
    assert_eq!(left.code(), Some(206));

    let mut lab = Lab::ed25519();
    lab.setup.right_credentials = Arc::default();
    let (_, right) = failures(lab.setup);
    assert!(matches!(right, Some(FailureReason::CannotSign { .. })), "{right:?}");
}

/// Long chains go over IKE fragmentation (RFC 7383).
#[test]
fn chains_travel_in_fragments() {
    let lab = Lab::new(&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_RSA_SHA256);
    let mut above = lab.root.below("middle0");
    let mut chain = vec![Arc::clone(&above.certificate)];
    for number in 1..4 {
        above = above.below(&format!("middle{number}"));
        chain.push(Arc::clone(&above.certificate));
    }
    let owner = above.owner_with(&params("left"), &rcgen::PKCS_RSA_SHA256);
    chain.insert(0, Arc::clone(&owner.certificate));
    let mut setup = lab.setup;
    setup.left_credentials = owner.credentials();
    setup.left.pad.local_auth =
        auth(SignatureSpec { certificates: chain, ..SignatureSpec::default() });
    let seen = std::rc::Rc::new(std::cell::Cell::new(0));
    let most = seen.clone();
    let mut pair = setup.pair();
    pair.network.intercept(move |message| {
        if message.from == Side::Left && message.exchange == ExchangeType::IKE_AUTH {
            most.set(most.get().max(message.fragment.map_or(1, |(_, total)| total)));
        }
        Fate::Deliver
    });
    drop(pair.up());
    assert!(seen.get() > 1, "{} fragments", seen.get());
}

/// CHECKLIST F22: of two connections that fit otherwise, the one that expects the method of the peer's
/// proof.
#[test]
fn the_method_of_the_proof_chooses_the_connection() {
    let secret = || Some("c0mmon-to-both".to_owned());
    for by_secret in [true, false] {
        let mut lab = Lab::ed25519();
        (lab.setup.left_secret, lab.setup.right_secret) = (secret(), secret());
        if by_secret {
            lab.setup.left.pad.local_auth = AuthSpec::Psk;
        }
        let mut second = lab.setup.right.clone();
        second.name = "a-second".parse().unwrap();
        second.pad.remote_auth = AuthSpec::Psk;
        let mut pair = lab.setup.pair();
        pair.right.load(second);
        let pair = pair.up();
        let chosen = pair.right.established()[0].connection.clone();
        let chosen = chosen.map(|name| name.to_string());
        assert_eq!(chosen.as_deref(), Some(if by_secret { "a-second" } else { "tunnel" }));
    }
}

/// CHECKLIST F09: what is taken is said, too, where a signature proves a later round alone. Ed25519 has no
/// method without it.
#[test]
fn a_signature_may_prove_a_later_round() {
    for left_signs in [true, false] {
        let Lab { mut setup, root, left, right } = Lab::ed25519();
        let secret = || Some("c0mmon-to-both".to_owned());
        (setup.left_secret, setup.right_secret) = (secret(), secret());
        for pad in [&mut setup.left.pad, &mut setup.right.pad] {
            (pad.local_auth, pad.remote_auth) = (AuthSpec::Psk, AuthSpec::Psk);
        }
        let (ours, theirs, owner) = match left_signs {
            true => (&mut setup.left.pad, &mut setup.right.pad, &left),
            false => (&mut setup.right.pad, &mut setup.left.pad, &right),
        };
        let id = ours.local_id.clone();
        theirs.more_remote.push(RemoteRound {
            id: IdentityPattern::Exact(id.clone().unwrap()),
            auth: auth(root.trusted()),
        });
        ours.more_local.push(LocalRound { id, auth: auth(owner.signs()) });
        drop(setup.pair().up());
    }
}

/// Octets of the IKE_SA_INIT messages on the way to a tunnel.
fn sizes(setup: Setup) -> Vec<usize> {
    let mut pair: Pair = setup.pair();
    let sizes = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let log = sizes.clone();
    pair.network.intercept(move |message| {
        if message.exchange == ExchangeType::IKE_SA_INIT {
            log.borrow_mut().push(message.octets);
        }
        Fate::Deliver
    });
    drop(pair.up());
    sizes.take()
}

/// Nobody has proven the address of a request: what names authorities does not make the response longer
/// than that, and a peer that is asked for a certificate of nobody in particular sends it nevertheless.
#[test]
fn authorities_are_named_where_there_is_room() {
    let mut lab = Lab::ed25519();
    let mut spec = lab.root.trusted();
    spec.authorities.extend(["a", "b"].map(|name| Authority::root(name).certificate));
    lab.setup.right.pad.remote_auth = auth(spec);
    let long = sizes(lab.setup.clone());
    assert!(long[1] < long[0]);
    for side in [&mut lab.setup.left, &mut lab.setup.right] {
        side.proposals = ProposalSpec::ike_list("aes128gcm16-prfsha256-x25519").unwrap();
    }
    let short = sizes(lab.setup);
    // CERTREQ without names; CHILDLESS_IKEV2_SUPPORTED took the room of the list of hashes before.
    assert!(short[1] <= short[0] + 5 + 8, "{short:?}");
}

/// Who has nothing to do with signatures sends what it always has.
#[test]
fn a_pair_with_secrets_says_nothing_about_signatures() {
    let (plain, signed) = (sizes(Setup::new(Seed(7))), sizes(Lab::ed25519().setup));
    // SIGNATURE_HASH_ALGORITHMS with four hashes; in the response CERTREQ with one authority, too.
    assert_eq!(signed, [plain[0] + 16, plain[1] + 16 + 25]);
}
