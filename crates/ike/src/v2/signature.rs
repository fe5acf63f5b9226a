//! Signature Authentication, RFC 7427, with EdDSA by RFC 8420, raw public keys (RFC 7670) that both
//! sides have been given, and the certificates and older methods of RFC 7296 §3.6 to §3.8.
//!
//! Both sides say in IKE_SA_INIT which hashes they take, the initiator if its connection has to do
//! with signatures, the responder if the initiator has said it. Then a signature is the method
//! Digital Signature (14), which names its algorithm; with a peer that has not said it, it is one of
//! the methods 1 and 9 to 11. What is signed, and whom we believe, is decided where the private keys
//! are: [`sign`] and [`verify`] are called from [`AuthJob::answer_with`](crate::AuthJob::answer_with).
//!
//! Declined: signing with SHA-1 (a peer without RFC 7427 gets method 1 with SHA2-256, which RFC 7296
//! §3.8 allows); DSS (method 3), which IKEv1 alone has here; Ed448, of which no library is fit for long-term keys (a key of that
//! kind is refused by name when it is read); certificates by PKCS #7, hash and URL (§3.6), from DNS;
//! sending raw public keys in CERT payloads, as both sides know them.

use std::fmt;
use std::sync::Arc;

use adit_crypto::{KeyKind, Secret, SignatureHash, SignatureScheme};
use adit_db::{AuthSpec, Identity, SignatureSpec};
use adit_pki::{
    CHAIN_MAX, Certificate, Credentials, Distrust, KeyId, Moment, PrivateKey, Purpose,
    algorithm_identifier, first_to_end, name, read_algorithm,
};
use adit_wire::iana::{AuthMethod, CertEncoding, HashAlgorithm, NotifyType};
use adit_wire::ikev2::{Auth, Cert, CertReq, ChainBuilder, MessageBuilder, Notify, Payload};

use crate::auth::Keys;
use crate::command::ProofEnd;
use crate::failure::FailureReason;
use crate::output::{AuthJob, AuthJobKind};
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;

/// Certificates that are taken from one message; more are left unread.
const CERTIFICATES_MAX: usize = CHAIN_MAX + 1;

/// Authorities that are taken from all requests for certificates, and that we name.
const AUTHORITIES_MAX: usize = 32;

/// How one side proves its identity: what its AUTH payload and its CERT payloads hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The method of the AUTH payload.
    pub method: AuthMethod,
    /// The data of the AUTH payload.
    pub data: Vec<u8>,
    /// The certificates, that of the signer first.
    pub certificates: Vec<CertificateData>,
}

/// What a CERT payload holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateData {
    /// How to read `data`.
    pub encoding: CertEncoding,
    /// The certificate, unread.
    pub data: Vec<u8>,
}

impl Proof {
    /// A proof by a pre-shared key.
    pub fn shared_key(data: Vec<u8>) -> Self {
        Self { method: AuthMethod::SHARED_KEY, data, certificates: Vec::new() }
    }

    /// A proof by the keys of the session that is resumed, which counts as one by a shared key (RFC
    /// 5723 §5.1).
    pub(crate) fn resumed(auth: &Secret) -> Self {
        Self::shared_key(auth.as_bytes().to_vec())
    }

    /// A proof of nothing (RFC 7619).
    pub(crate) fn null(data: Vec<u8>) -> Self {
        Self { method: AuthMethod::NULL, data, certificates: Vec::new() }
    }

    /// The peer's, if it is of the kind that `expected` asks for.
    ///
    /// # Errors
    ///
    /// [`FailureReason::WrongMethod`], or that there is no AUTH payload.
    pub(crate) fn received(
        received: &Received<'_>,
        expected: &AuthSpec,
    ) -> Result<Self, FailureReason> {
        let Some(Auth { method, data }) = received.auth else {
            return Err(FailureReason::PeerMisbehaved("no AUTH payload"));
        };
        if !is_of(method, expected) {
            return Err(FailureReason::WrongMethod { expected: words(expected), received: method });
        }
        let certs = if expected.signature().is_some() { received.certs.as_slice() } else { &[] };
        let certificates = certs
            .iter()
            .take(CERTIFICATES_MAX)
            .map(|Cert { encoding, data }| CertificateData {
                encoding: *encoding,
                data: data.to_vec(),
            })
            .collect();
        Ok(Self { method, data: data.to_vec(), certificates })
    }

    /// Adds the CERT payloads, which stand behind the identity.
    pub(crate) fn put_certificates(&self, chain: &mut ChainBuilder) {
        for CertificateData { encoding, data } in &self.certificates {
            chain.put(&Payload::Cert(Cert { encoding: *encoding, data }));
        }
    }

    /// Adds the AUTH payload.
    pub(crate) fn put_auth(&self, chain: &mut ChainBuilder) {
        chain.put(&Payload::Auth(Auth { method: self.method, data: &self.data }));
    }
}

/// Whether a connection that expects this kind of proof may be meant by a peer that proves itself so.
pub(crate) fn is_of(method: AuthMethod, expected: &AuthSpec) -> bool {
    match expected {
        AuthSpec::Psk => method == AuthMethod::SHARED_KEY,
        //= https://www.rfc-editor.org/rfc/rfc7619#section-2
        //# If a host's local policy requires that the identity of its peer be (non-null)
        //# authenticated, and if that host receives an AUTH payload containing the NULL
        //# Authentication method type, it MUST return an AUTHENTICATION_FAILED notification.
        AuthSpec::Null => method == AuthMethod::NULL,
        AuthSpec::Signature(_) => matches!(
            method,
            AuthMethod::DIGITAL_SIGNATURE
                | AuthMethod::RSA_SIGNATURE
                | AuthMethod::ECDSA_SHA256_P256
                | AuthMethod::ECDSA_SHA384_P384
                | AuthMethod::ECDSA_SHA512_P521
        ),
    }
}

fn words(expected: &AuthSpec) -> &'static str {
    match expected {
        AuthSpec::Psk => "a pre-shared key",
        AuthSpec::Null => "nothing",
        AuthSpec::Signature(_) => "a signature",
    }
}

/// Which signatures and certificates the peer takes, as far as it has said so.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Announced {
    /// By number of the hash; `None` if the peer has not sent SIGNATURE_HASH_ALGORITHMS.
    hashes: Option<u8>,
    authorities: Vec<KeyId>,
    /// IKEv1 names authorities in full (RFC 2408 §3.10).
    issuers: Vec<Vec<u8>>,
}

impl Announced {
    /// Adds what an IKE_SA_INIT or IKE_AUTH message says.
    pub(crate) fn take(&mut self, received: &Received<'_>) {
        if let Some(notify) = received.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS) {
            let (numbers, _) = notify.data.as_chunks::<2>();
            let bits = numbers.iter().map(|number| bit(HashAlgorithm(u16::from_be_bytes(*number))));
            self.hashes = Some(bits.fold(0, |all, one| all | one));
        }
        for request in &received.cert_requests {
            if request.encoding != CertEncoding::X509_SIGNATURE {
                continue;
            }
            let (ids, _) = request.authorities.as_chunks::<20>();
            let room = AUTHORITIES_MAX.saturating_sub(self.authorities.len());
            self.authorities.extend(ids.iter().take(room).map(|id| KeyId(*id)));
        }
    }

    /// Adds the authorities that a message of IKEv1 asks for, DER of their names; an empty one is any.
    pub(crate) fn take_issuers<'a>(&mut self, issuers: impl Iterator<Item = &'a [u8]>) {
        let room = AUTHORITIES_MAX.saturating_sub(self.issuers.len());
        let named = issuers.filter(|issuer| !issuer.is_empty());
        self.issuers.extend(named.take(room).map(<[u8]>::to_vec));
    }

    /// Whether the peer trusts this authority by name.
    fn names(&self, authority: &Certificate) -> bool {
        self.issuers.iter().any(|issuer| name::same(issuer, authority.subject()))
    }

    /// Whether the peer verifies signatures with this hash by the method Digital Signature.
    fn takes(&self, hash: SignatureHash) -> bool {
        self.hashes.is_some_and(|bits| bits & bit(number(hash)) != 0)
    }
}

/// Numbers of [`HashAlgorithm`] that have a meaning here are small.
fn bit(hash: HashAlgorithm) -> u8 {
    match hash.0 {
        number @ 0..8 => 1 << number,
        _ => 0,
    }
}

fn number(hash: SignatureHash) -> HashAlgorithm {
    match hash {
        SignatureHash::Sha1 => HashAlgorithm::SHA1,
        SignatureHash::Sha2_256 => HashAlgorithm::SHA2_256,
        SignatureHash::Sha2_384 => HashAlgorithm::SHA2_384,
        SignatureHash::Sha2_512 => HashAlgorithm::SHA2_512,
        SignatureHash::Identity => HashAlgorithm::IDENTITY,
    }
}

/// Whether the initiator's connection has to do with signatures, in whichever round.
pub(crate) fn concerns(core: &Core) -> bool {
    core.connection.as_ref().is_some_and(|connection| {
        let pad = &connection.pad;
        pad.local_auths().chain(pad.remote_auths()).any(|auth| auth.signature().is_some())
    })
}

/// Adds SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4) with all that is verified.
pub(crate) fn put_hashes(message: &mut MessageBuilder) {
    message
        .put(&Payload::Notify(Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, &list(&HASHES))));
}

/// Responder: the same for an initiator whose list is `theirs`. Where there is no room for more, only what
/// stands in both: no more octets than came.
pub(crate) fn answer_hashes(theirs: &[u8], room: usize, message: &mut MessageBuilder) {
    let all = list(&HASHES);
    if all.len() <= theirs.len() || NOTIFY_OCTETS + all.len() <= room {
        return put_hashes(message);
    }
    let (numbers, _) = theirs.as_chunks::<2>();
    let is_theirs = |hash: &HashAlgorithm| numbers.contains(&hash.0.to_be_bytes());
    let common: Vec<_> = HASHES.into_iter().filter(is_theirs).collect();
    if !common.is_empty() {
        let data = list(&common);
        message.put(&Payload::Notify(Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, &data)));
    }
}

fn list(hashes: &[HashAlgorithm]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0.to_be_bytes()).collect()
}

/// A Notify payload without SPI and data (RFC 7296 §3.10).
const NOTIFY_OCTETS: usize = 8;

/// What is announced. Not SHA-1 (RFC 8247 §4.2).
const HASHES: [HashAlgorithm; 4] = [
    HashAlgorithm::SHA2_256,
    HashAlgorithm::SHA2_384,
    HashAlgorithm::SHA2_512,
    HashAlgorithm::IDENTITY,
];

/// The body of a certificate request (RFC 7296 §3.7) for what `specs` trust; `None` if none of them
/// has to do with certificates. Nobody is named where the authorities of the host count, which are not
/// known here: a peer takes that as a request for whatever it has.
pub(crate) fn certificate_request<'a>(
    specs: impl IntoIterator<Item = &'a AuthSpec>,
) -> Option<Vec<u8>> {
    let mut names: Option<Vec<u8>> = None;
    for spec in specs.into_iter().filter_map(AuthSpec::signature) {
        if spec.authorities.is_empty() && spec.certificates.is_empty() && !spec.is_open() {
            continue;
        }
        let names = names.get_or_insert_default();
        for authority in &spec.authorities {
            let KeyId(id) = authority.public_key().id();
            let (known, _) = names.as_chunks::<20>();
            if known.len() < AUTHORITIES_MAX && !known.contains(&id) {
                names.extend(id);
            }
        }
    }
    names
}

/// Whether a CERTREQ payload with this body has so many octets at most (RFC 7296 §3.7).
pub(crate) fn has_room(authorities: &[u8], room: usize) -> bool {
    authorities.len().saturating_add(REQUEST_OCTETS) <= room
}

const REQUEST_OCTETS: usize = 5;

/// A CERTREQ payload with this body.
pub(crate) fn request_payload(authorities: &[u8]) -> Payload<'_> {
    Payload::CertReq(CertReq { encoding: CertEncoding::X509_SIGNATURE, authorities })
}

/// Why we cannot prove our identity by a signature.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignFailure {
    /// Nothing is loaded that could.
    #[error("no certificate with a private key is loaded for {0}")]
    NoKey(Identity),
    /// The peer takes nothing that the key could sign.
    #[error("the peer takes no signature that our {key} key can make; it takes {takes}")]
    NoScheme {
        /// Our key.
        key: KeyKind,
        /// What the peer takes.
        takes: String,
    },
}

/// What the peer takes, in words.
impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bits) = self.hashes else { return f.write_str("the older methods alone") };
        let known = HashAlgorithm::ALL.iter().filter(|hash| bits & bit(**hash) != 0);
        let names: Vec<String> = known.map(ToString::to_string).collect();
        if names.is_empty() {
            f.write_str("no hash that is known")
        } else {
            f.write_str(&names.join(", "))
        }
    }
}

/// A key of ours with its certificate, if it is not raw.
pub(crate) type Candidate<'a> = (&'a Arc<PrivateKey>, Option<&'a Arc<Certificate>>);

/// Signs `octets` as the connection and the peer want it.
pub(crate) fn sign(
    spec: &SignatureSpec,
    octets: &Secret,
    job: &AuthJob,
    keys: Keys<'_>,
) -> Result<Proof, SignFailure> {
    let mut candidates = candidates(spec, job, keys.credentials);
    // CHECKLIST G04: those that the peer asks for first, else in the order of the configuration.
    let trusted = |candidate: &Candidate<'_>| {
        candidate.1.is_some_and(|own| is_requested(own, spec, job, keys.credentials))
    };
    candidates.sort_by_key(|candidate| !trusted(candidate));
    let first = candidates.first().ok_or_else(|| SignFailure::NoKey(job.local_id.clone()))?;
    let none =
        SignFailure::NoScheme { key: first.0.public().kind(), takes: job.announced.to_string() };
    candidates
        .into_iter()
        .find_map(|candidate| sign_by(candidate, spec, octets.as_bytes(), job))
        .ok_or(none)
}

pub(crate) fn candidates<'a>(
    spec: &'a SignatureSpec,
    job: &AuthJob,
    credentials: &'a Credentials,
) -> Vec<Candidate<'a>> {
    let with_key = |own: &'a Arc<Certificate>| {
        credentials.key_of(own.public_key()).map(|key| (key, Some(own)))
    };
    let raw = spec.public_keys.iter().filter_map(|public| credentials.key_of(public));
    let raw = raw.map(|key| (key, None));
    let named: Vec<_> = spec.certificates.iter().filter_map(with_key).chain(raw).collect();
    if !spec.certificates.is_empty() || !spec.public_keys.is_empty() {
        return named;
    }
    let (kind, data) = (job.local_id.kind(), job.local_id.octets());
    let ours = credentials.certificates().iter().filter(|own| own.is_of(kind, &data));
    ours.filter_map(with_key).collect()
}

/// Whether an authority that the peer names stands above the certificate, as far as we know what
/// stands there.
fn is_requested(
    own: &Certificate,
    spec: &SignatureSpec,
    job: &AuthJob,
    credentials: &Credentials,
) -> bool {
    let known = || spec.certificates.iter().chain(credentials.authorities());
    let mut issuer = own.issuer();
    for _ in 0..CHAIN_MAX {
        let Some(above) = known().find(|one| name::same(one.subject(), issuer)) else {
            return false;
        };
        let announced = &job.announced;
        if announced.authorities.contains(&above.public_key().id()) || announced.names(above) {
            return true;
        }
        issuer = above.issuer();
    }
    false
}

fn sign_by(
    (key, own): Candidate<'_>,
    spec: &SignatureSpec,
    octets: &[u8],
    job: &AuthJob,
) -> Option<Proof> {
    let announced = &job.announced;
    let (method, data) = if let AuthJobKind::SignHash { method } = job.kind {
        (method, sign_hash(method, key, spec, octets)?)
    } else if announced.hashes.is_some() {
        let schemes =
            if spec.schemes.is_empty() { &SignatureScheme::ALL[..] } else { &spec.schemes };
        let scheme = *schemes
            .iter()
            .find(|scheme| key.public().kind().signs(**scheme) && announced.takes(scheme.hash()))?;
        let signature = key.key().sign(scheme, octets)?;
        (AuthMethod::DIGITAL_SIGNATURE, digital_signature(scheme, &signature)?)
    } else {
        sign_as_before(key, spec, octets)?
    };
    let chain = own.map(|own| std::iter::once(own).chain(intermediates(own, spec)));
    let certificates = chain.into_iter().flatten().take(CERTIFICATES_MAX).map(|one| {
        CertificateData { encoding: CertEncoding::X509_SIGNATURE, data: one.der().to_vec() }
    });
    Some(Proof { method, data, certificates: certificates.collect() })
}

/// What stands between our certificate and its authority, as far as the connection names it.
fn intermediates<'a>(
    own: &'a Certificate,
    spec: &'a SignatureSpec,
) -> impl Iterator<Item = &'a Arc<Certificate>> {
    let is_root = |one: &Certificate| name::same(one.subject(), one.issuer());
    spec.certificates
        .iter()
        .filter(move |one| one.is_authority() && ***one != *own && !is_root(one))
}

/// For peers that do not know RFC 7427: the methods of RFC 7296 §3.8 and RFC 4754.
fn sign_as_before(
    key: &PrivateKey,
    spec: &SignatureSpec,
    octets: &[u8],
) -> Option<(AuthMethod, Vec<u8>)> {
    let kind = key.public().kind();
    let scheme = match kind {
        KeyKind::Rsa(_) => SignatureScheme::RsaPkcs1(SignatureHash::Sha2_256),
        KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => SignatureScheme::Ecdsa(kind.own_hash()),
        KeyKind::Ed25519 | KeyKind::Dsa(_) => return None,
    };
    if !is_allowed(spec, scheme) {
        return None;
    }
    let method = match kind {
        KeyKind::P256 => AuthMethod::ECDSA_SHA256_P256,
        KeyKind::P384 => AuthMethod::ECDSA_SHA384_P384,
        KeyKind::P521 => AuthMethod::ECDSA_SHA512_P521,
        KeyKind::Rsa(_) | KeyKind::Ed25519 | KeyKind::Dsa(_) => {
            return Some((AuthMethod::RSA_SIGNATURE, key.key().sign(scheme, octets)?));
        }
    };
    Some((method, key.key().sign_concatenated(octets)?))
}

/// What IKEv1 has for a signature: of RSA and DSA one of the bare hash (RFC 2409 §5.1), of ECDSA two numbers in
/// a row (RFC 4754 §5).
fn sign_hash(
    method: AuthMethod,
    key: &PrivateKey,
    spec: &SignatureSpec,
    hash: &[u8],
) -> Option<Vec<u8>> {
    let kind = key.public().kind();
    let is_rsa = matches!(kind, KeyKind::Rsa(_));
    if method == AuthMethod::RSA_SIGNATURE {
        return key.key().sign_bare(hash).filter(|_| is_rsa && takes_bare(spec));
    }
    if method == AuthMethod::DSS_SIGNATURE {
        return key.key().sign_bare(hash).filter(|_| is_dsa(kind) && takes_dss(spec));
    }
    let allowed =
        curve_of(method) == Some(kind) && is_allowed(spec, SignatureScheme::Ecdsa(kind.own_hash()));
    if allowed { key.key().sign_bare(hash) } else { None }
}

/// Whether RSA signatures of IKEv1 are allowed: their hash is that of the suite.
fn takes_bare(spec: &SignatureSpec) -> bool {
    let is_rsa = |scheme: &SignatureScheme| matches!(scheme, SignatureScheme::RsaPkcs1(_));
    spec.schemes.is_empty() || spec.schemes.iter().any(is_rsa)
}

/// Whether DSA is allowed: no scheme has a name for it.
fn takes_dss(spec: &SignatureSpec) -> bool {
    spec.schemes.is_empty()
}

fn is_dsa(kind: KeyKind) -> bool {
    matches!(kind, KeyKind::Dsa(_))
}

fn curve_of(method: AuthMethod) -> Option<KeyKind> {
    match method {
        AuthMethod::ECDSA_SHA256_P256 => Some(KeyKind::P256),
        AuthMethod::ECDSA_SHA384_P384 => Some(KeyKind::P384),
        AuthMethod::ECDSA_SHA512_P521 => Some(KeyKind::P521),
        _ => None,
    }
}

/// The data of an AUTH payload with the method Digital Signature (RFC 7427 §3): a length, the
/// AlgorithmIdentifier, the signature.
fn digital_signature(scheme: SignatureScheme, signature: &[u8]) -> Option<Vec<u8>> {
    let algorithm = algorithm_identifier(scheme);
    let length = u8::try_from(algorithm.len()).ok()?;
    Some([&[length], algorithm.as_slice(), signature].concat())
}

/// The inverse of [`digital_signature`].
fn read_digital_signature(data: &[u8]) -> Option<(SignatureScheme, &[u8])> {
    let (length, rest) = data.split_first()?;
    let (algorithm, signature) = rest.split_at_checked((*length).into())?;
    Some((read_algorithm(algorithm).ok()?, signature))
}

fn is_allowed(spec: &SignatureSpec, scheme: SignatureScheme) -> bool {
    match spec.schemes.as_slice() {
        [] => scheme.hash() != SignatureHash::Sha1,
        named => named.contains(&scheme),
    }
}

/// Whether the peer's proof is right: a signature of the job's octets by a key that is the peer's.
pub(crate) fn verify(
    spec: &SignatureSpec,
    proof: &Proof,
    job: &AuthJob,
    keys: Keys<'_>,
) -> Result<Option<ProofEnd>, Distrust> {
    let is_hash = matches!(job.kind, AuthJobKind::VerifyHash { .. });
    let signature = Signature::read(spec, proof, is_hash)?;
    let octets = job.octets.as_bytes();
    if spec.public_keys.iter().any(|public| signature.is_by(public.key(), octets)) {
        return Ok(None);
    }
    let pinned = spec.certificates.as_slice();
    if !spec.public_keys.is_empty() && pinned.is_empty() {
        return Err(Distrust::OtherKey);
    }
    let (leaf, mut others) = certificates_of_peer(spec, proof, job, keys.credentials)?;
    if !pinned.is_empty() && !pinned.contains(&leaf) {
        return Err(Distrust::OtherKey);
    }
    // What is pinned vouches for itself alone, and for nothing where authorities are named, too.
    let anchors = match () {
        () if spec.is_open() => keys.credentials.authorities(),
        () if spec.authorities.is_empty() => pinned,
        () => &spec.authorities,
    };
    others.extend(pinned.iter().cloned());
    // The cheap first: a path takes many signatures.
    if !leaf.is_of(job.remote_id.kind(), &job.remote_id.octets()) {
        let (subject, claimed) = (leaf.subject_text(), job.remote_id.to_string());
        return Err(Distrust::OtherIdentity { subject, claimed });
    }
    if !signature.is_by(leaf.public_key().key(), octets) {
        return Err(Distrust::BadSignature);
    }
    let purpose = if is_hash { Purpose::Ikev1Signature } else { Purpose::Ikev2Signature };
    let first = first_to_end(purpose, &leaf, &others, anchors, keys.now)?;
    Ok(Some(ProofEnd::of(first, false, keys.now)))
}

/// What ends a proof of ours: the first of the certificates that go with it. One whose time is over
/// already is for the peer to judge.
pub(crate) fn end_of(proof: &Proof, now: Moment) -> Option<ProofEnd> {
    let sent = proof.certificates.iter().filter_map(|one| Certificate::from_der(&one.data).ok());
    let ends = sent.map(|certificate| ProofEnd::of(&certificate, true, now));
    ends.filter(|end| end.left_s > 0).min_by_key(|end| end.until)
}

/// Keys of certificates that a stranger has sent may have so many bits at most: the time that a signature
/// takes grows with their square.
const RSA_BITS_MAX: u32 = 4096;

const COSTLY: &str = "has an RSA key of more than 4096 bits, which is taken of certificates alone that are configured here";

fn is_costly(certificate: &Certificate) -> bool {
    matches!(certificate.public_key().kind(), KeyKind::Rsa(bits) if bits > RSA_BITS_MAX)
}

/// The peer's certificate, and what came with it. It need not send one that we know.
fn certificates_of_peer(
    spec: &SignatureSpec,
    proof: &Proof,
    job: &AuthJob,
    credentials: &Credentials,
) -> Result<(Arc<Certificate>, Vec<Arc<Certificate>>), Distrust> {
    let x509 = proof.certificates.iter().filter(|one| one.encoding == CertEncoding::X509_SIGNATURE);
    let mut known = spec.certificates.iter().chain(credentials.certificates());
    let mut received = Vec::new();
    for one in x509 {
        // Those that cannot be read may be of others than the path needs.
        match Certificate::from_der(&one.data) {
            Ok(certificate)
                if is_costly(&certificate) && !known.clone().any(|one| **one == certificate) =>
            {
                if received.is_empty() {
                    return Err(Distrust::Unfit {
                        subject: certificate.subject_text(),
                        reason: COSTLY,
                    });
                }
            }
            Ok(certificate) => received.push(Arc::new(certificate)),
            Err(_) if received.is_empty() => {
                return Err(Distrust::NoCertificate("the peer's certificate cannot be read"));
            }
            Err(_) => {}
        }
    }
    //= https://www.rfc-editor.org/rfc/rfc7296#section-3.6
    //# If multiple certificates are sent, the first certificate MUST contain the public key
    //# associated with the private key used to sign the AUTH payload.
    if !received.is_empty() {
        let others = received.split_off(1);
        let leaf = received.pop().ok_or(Distrust::NoCertificate("no certificate"))?;
        return Ok((leaf, others));
    }
    let (kind, data) = (job.remote_id.kind(), job.remote_id.octets());
    match known.find(|one| one.is_of(kind, &data)) {
        Some(one) => Ok((Arc::clone(one), Vec::new())),
        None => Err(Distrust::NoCertificate("the peer has sent no certificate, and we know none")),
    }
}

/// A peer's signature, read.
struct Signature<'a> {
    form: Form,
    octets: &'a [u8],
}

enum Form {
    /// One scheme, which the peer names.
    Named(SignatureScheme),
    /// RSASSA-PKCS1-v1_5 with whichever of these hashes: method 1 does not say which.
    Rsa(Vec<SignatureScheme>),
    /// RSASSA-PKCS1-v1_5 of a hash that it does not name (RFC 2409 §5.1).
    BareRsa,
    /// DSA of such a hash, the two numbers in a row.
    BareDsa,
    /// ECDSA of the hash itself (IKEv1).
    BareCurve(KeyKind),
    /// ECDSA with two numbers in a row, on this curve.
    Curve(KeyKind),
}

impl<'a> Signature<'a> {
    fn read(spec: &SignatureSpec, proof: &'a Proof, is_hash: bool) -> Result<Self, Distrust> {
        let curve = |kind: KeyKind| {
            let scheme = SignatureScheme::Ecdsa(kind.own_hash());
            let form = if is_hash { Form::BareCurve(kind) } else { Form::Curve(kind) };
            if is_allowed(spec, scheme) { Ok(form) } else { Err(not_allowed(scheme)) }
        };
        let form = match proof.method {
            AuthMethod::DIGITAL_SIGNATURE if !is_hash => {
                return Self::read_named(spec, &proof.data);
            }
            AuthMethod::RSA_SIGNATURE if is_hash && takes_bare(spec) => Form::BareRsa,
            AuthMethod::RSA_SIGNATURE if is_hash => {
                return Err(Distrust::Method("RSA signatures are not allowed here".to_owned()));
            }
            AuthMethod::DSS_SIGNATURE if is_hash && takes_dss(spec) => Form::BareDsa,
            AuthMethod::RSA_SIGNATURE => {
                let schemes = SignatureScheme::ALL.into_iter().filter(|scheme| {
                    matches!(scheme, SignatureScheme::RsaPkcs1(_)) && is_allowed(spec, *scheme)
                });
                Form::Rsa(schemes.collect())
            }
            other => match curve_of(other) {
                Some(kind) => curve(kind)?,
                None => return Err(Distrust::Method(format!("{other} is no signature"))),
            },
        };
        Ok(Self { form, octets: &proof.data })
    }

    fn read_named(spec: &SignatureSpec, data: &'a [u8]) -> Result<Self, Distrust> {
        let unknown = || Distrust::Method("the peer's signature algorithm is not supported".into());
        let (scheme, octets) = read_digital_signature(data).ok_or_else(unknown)?;
        // CHECKLIST F06: nothing but what we have announced.
        if is_allowed(spec, scheme) && scheme.hash() != SignatureHash::Sha1 {
            Ok(Self { form: Form::Named(scheme), octets })
        } else {
            Err(not_allowed(scheme))
        }
    }

    fn is_by(&self, key: &adit_crypto::VerifyingKey, message: &[u8]) -> bool {
        match &self.form {
            Form::Named(scheme) => key.verifies(*scheme, message, self.octets),
            Form::Rsa(schemes) => {
                schemes.iter().any(|scheme| key.verifies(*scheme, message, self.octets))
            }
            Form::BareRsa => key.verifies_bare(message, self.octets),
            Form::BareDsa => is_dsa(key.kind()) && key.verifies_bare(message, self.octets),
            Form::BareCurve(kind) => key.kind() == *kind && key.verifies_bare(message, self.octets),
            Form::Curve(kind) => {
                key.kind() == *kind && key.verifies_concatenated(message, self.octets)
            }
        }
    }
}

fn not_allowed(scheme: SignatureScheme) -> Distrust {
    Distrust::Method(format!("the peer signs with {scheme}, which is not allowed here"))
}

#[cfg(test)]
mod tests;
