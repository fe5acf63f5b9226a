//! Phase 1 with signatures (RFC 2409 §5.1, RFC 4754), in main and aggressive mode.

use std::sync::Arc;
use std::time::Duration;

use adit_db::{AuthSpec, Connection, SignatureSpec};
use adit_ike::{Command, FailureReason, PeerSoftware};
use adit_pki::{Certificate, PrivateKey};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::common::{Pair, reversed};
use super::ikev1_aggressive::{aggressively, in_base_mode};
use super::ikev1_nat::{payloads, rebuilt};
use super::v1_connections;

const ALGORITHMS: [&rcgen::SignatureAlgorithm; 4] = [
    &rcgen::PKCS_RSA_SHA256,
    &rcgen::PKCS_ECDSA_P256_SHA256,
    &rcgen::PKCS_ECDSA_P384_SHA384,
    &rcgen::PKCS_ECDSA_P521_SHA512,
];

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// What a test changes of both sides' tunnels.
type Shape = fn([Connection; 2]) -> [Connection; 2];

pub(super) struct Authority {
    pub(super) certificate: Arc<Certificate>,
    issuer: Issuer<'static, KeyPair>,
}

pub(super) fn authority(name: &str) -> Authority {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let certificate = Arc::new(Certificate::from_der(certificate.der()).unwrap());
    Authority { certificate, issuer: Issuer::new(params, key) }
}

/// A certificate of this name by an authority, and its key.
pub(super) fn certified(
    name: &str,
    by: &Authority,
    algorithm: &'static rcgen::SignatureAlgorithm,
) -> (Arc<Certificate>, Arc<PrivateKey>) {
    certified_for(name, by, algorithm, &[])
}

/// The same, for these uses of its key.
pub(super) fn certified_for(
    name: &str,
    by: &Authority,
    algorithm: &'static rcgen::SignatureAlgorithm,
    usages: &[KeyUsagePurpose],
) -> (Arc<Certificate>, Arc<PrivateKey>) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = params(name);
    params.key_usages = usages.to_vec();
    let certificate = params.signed_by(&key, &by.issuer).unwrap();
    let certificate = Arc::new(Certificate::from_der(certificate.der()).unwrap());
    (certificate, Arc::new(PrivateKey::from_file(&key.serialize_der()).unwrap()))
}

fn signature(spec: SignatureSpec) -> AuthSpec {
    AuthSpec::Signature(Arc::new(spec))
}

/// Both sides with certificates by one authority, which both trust.
pub(super) fn certificates(
    algorithm: &'static rcgen::SignatureAlgorithm,
    shape: impl Fn([Connection; 2]) -> [Connection; 2],
) -> Pair {
    let authority = authority("ca");
    let mut connections = v1_connections();
    let mut keys = Vec::new();
    for (connection, name) in connections.iter_mut().zip(["left", "right"]) {
        let (certificate, key) = certified(name, &authority, algorithm);
        let certificates = vec![certificate];
        connection.pad.local_auth = signature(SignatureSpec { certificates, ..Default::default() });
        let authorities = vec![Arc::clone(&authority.certificate)];
        connection.pad.remote_auth = signature(SignatureSpec { authorities, ..Default::default() });
        keys.push(key);
    }
    let connections = shape(connections);
    let mut pair = Pair::new(Default::default(), connections);
    for (peer, key) in [&mut pair.left, &mut pair.right].into_iter().zip(keys) {
        peer.credentials.add_key(key);
    }
    pair
}

fn comes_up(pair: &mut Pair, why: &str) {
    let request = pair.left.initiate(pair.now);
    pair.run();
    let failures = (pair.left.failures(), pair.right.failures());
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{why}: {failures:?}");
    pair.assert_one_tunnel();
    assert_eq!(pair.left.established()[0].peer, PeerSoftware::Adit);
}

/// CHECKLIST T01, T06, T15: each kind of key, with certificates of an authority, in main and in aggressive
/// mode.
#[test]
fn certificates_of_an_authority_make_a_tunnel() {
    for algorithm in ALGORITHMS {
        comes_up(&mut certificates(algorithm, |connections| connections), "main mode");
        comes_up(&mut certificates(algorithm, aggressively), "aggressive mode");
        comes_up(&mut certificates(algorithm, in_base_mode), "base mode");
    }
}

/// CHECKLIST G10: a certificate for encryption alone proves nothing by a signature, at either end, even one that
/// is right; one for both does.
#[test]
fn a_certificate_for_encryption_signs_nothing() {
    use KeyUsagePurpose::{DigitalSignature, KeyEncipherment};
    for (usages, signs) in
        [(&[KeyEncipherment][..], false), (&[DigitalSignature, KeyEncipherment], true)]
    {
        for side in 0..2 {
            let ca = authority("ca");
            let mut connections = v1_connections();
            let mut keys = Vec::new();
            for (at, name) in ["left", "right"].into_iter().enumerate() {
                let usages = if at == side { usages } else { &[] };
                let (certificate, key) = certified_for(name, &ca, &rcgen::PKCS_RSA_SHA256, usages);
                let certificates = vec![certificate];
                let authorities = vec![Arc::clone(&ca.certificate)];
                connections[at].pad.local_auth =
                    signature(SignatureSpec { certificates, ..Default::default() });
                connections[at].pad.remote_auth =
                    signature(SignatureSpec { authorities, ..Default::default() });
                keys.push(key);
            }
            let mut pair = Pair::new(Default::default(), connections);
            for (peer, key) in [&mut pair.left, &mut pair.right].into_iter().zip(keys) {
                peer.credentials.add_key(key);
            }
            if signs {
                comes_up(&mut pair, "for both");
                continue;
            }
            pair.left.initiate(pair.now);
            pair.run_for(Duration::from_secs(3));
            let judge = if side == 0 { &pair.right } else { &pair.left };
            let reason = &judge.failures()[0].reason;
            assert_eq!(reason.code(), Some(213), "{side}: {reason}");
            assert!(judge.established().is_empty(), "{side}");
        }
    }
}

/// Keys that both sides have been given, without certificates.
#[test]
fn raw_keys_make_a_tunnel() {
    for algorithm in ALGORITHMS {
        let mut connections = v1_connections();
        let keys = [(); 2].map(|()| {
            let pair = KeyPair::generate_for(algorithm).unwrap();
            Arc::new(PrivateKey::from_file(&pair.serialize_der()).unwrap())
        });
        for (number, connection) in connections.iter_mut().enumerate() {
            let of = |key: &Arc<PrivateKey>| {
                let public_keys = vec![Arc::clone(key.public())];
                signature(SignatureSpec { public_keys, ..Default::default() })
            };
            connection.pad.local_auth = of(&keys[number]);
            connection.pad.remote_auth = of(&keys[1 - number]);
        }
        let mut pair = Pair::new(Default::default(), connections);
        let [left, right] = keys;
        pair.left.credentials.add_key(left);
        pair.right.credentials.add_key(right);
        comes_up(&mut pair, "raw keys");
    }
}

/// CHECKLIST T15: another authority, another name, another key: the operator hears which, and there is no
/// tunnel.
#[test]
fn who_is_not_trusted_gets_nothing() {
    let elsewhere = |mut connections: [Connection; 2]| {
        let authorities = vec![authority("elsewhere").certificate];
        let spec = SignatureSpec { authorities, ..Default::default() };
        connections[1].pad.remote_auth = signature(spec);
        connections
    };
    let named = |mut connections: [Connection; 2]| {
        connections[0].pad.local_id = Some("other.example".parse().unwrap());
        connections[1].pad.remote_id = "other.example".parse().unwrap();
        connections
    };
    let shapes: [(Shape, u16); 2] = [(elsewhere, 207), (named, 210)];
    for is_aggressive in [false, true] {
        for (shape, code) in shapes {
            let both = |connections| match is_aggressive {
                true => aggressively(shape(connections)),
                false => shape(connections),
            };
            let mut pair = certificates(&rcgen::PKCS_ECDSA_P256_SHA256, both);
            pair.left.initiate(pair.now);
            pair.run_for(Duration::from_secs(60));
            let right = pair.right.failures();
            let codes: Vec<_> = right.iter().map(|failure| failure.reason.code()).collect();
            assert!(codes.contains(&Some(code)), "{is_aggressive} {code}: {right:?}");
            assert!(pair.right.established().is_empty() && pair.right.children.is_empty());
        }
    }
}

/// A key that signs in another way than the tunnel's peer takes is no suite in common; one that is not
/// loaded is said to be missing.
#[test]
fn both_sign_with_keys_of_one_kind() {
    let mut pair = certificates(&rcgen::PKCS_RSA_SHA256, |connections| connections);
    pair.left.credentials.clear();
    let request = pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));
    let failure = pair.left.done[&request].clone().unwrap_err();
    assert!(matches!(failure.reason, FailureReason::CannotSign { .. }), "{:?}", failure.reason);

    let of_secrets = |mut connections: [Connection; 2]| {
        connections[1].pad.local_auth = AuthSpec::Psk;
        connections[1].pad.remote_auth = AuthSpec::Psk;
        connections
    };
    let mut pair = certificates(&rcgen::PKCS_RSA_SHA256, of_secrets);
    let request = pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.left.done[&request].clone().unwrap_err().reason.code(), Some(101));
}

/// CHECKLIST T15: among tunnels that begin alike the name that a signature proves says which is meant.
#[test]
fn the_name_that_is_proven_says_which_tunnel_is_meant() {
    let seen = std::cell::RefCell::new(None);
    let noted = |connections: [Connection; 2]| {
        *seen.borrow_mut() = Some(connections[1].clone());
        connections
    };
    let mut pair = certificates(&rcgen::PKCS_ECDSA_P256_SHA256, noted);
    let own = seen.take().unwrap();
    pair.right.command(Command::Unload(own.name.clone()), pair.now);
    for number in 0..30 {
        let mut other = own.clone();
        other.name = format!("tunnel{number:02}").parse().unwrap();
        other.remote_addresses = Vec::new();
        if number != 29 {
            other.pad.local_id = Some("elsewhere.example".parse().unwrap());
            other.pad.remote_id = format!("peer{number}.example").parse().unwrap();
        }
        pair.right.command(Command::Load(Arc::new(other)), pair.now);
    }
    let request = pair.left.initiate(pair.now);
    pair.run();
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{:?}", pair.right.failures());
    let right = &pair.right.established()[0];
    assert_eq!(right.connection.as_ref().unwrap().as_str(), "tunnel29");
}

fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(value.len()).unwrap().to_be_bytes();
    let length = match value.len() {
        0..128 => vec![low],
        128..256 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], length.as_slice(), value].concat()
}

/// A SignedData with nothing but certificates (RFC 2315 §9), as `openssl crl2pkcs7 -nocrl` makes it.
fn wrapped(certificate: &[u8]) -> Vec<u8> {
    let data = element(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1]);
    let signed = [
        element(0x02, &[1]),
        element(0x31, &[]),
        element(0x30, &data),
        element(0xa0, certificate),
        element(0x31, &[]),
    ];
    let kind = element(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]);
    let signed = element(0xa0, &element(0x30, &signed.concat()));
    element(0x30, &[kind, signed].concat())
}

/// CHECKLIST T15: a certificate in a wrapping of PKCS #7, behind a list of revoked ones that nobody reads.
/// Aggressive mode shows it in clear, and nothing covers it.
#[test]
fn a_wrapped_certificate_is_one() {
    const CERT: u8 = 6;
    let mut pair = certificates(&rcgen::PKCS_ECDSA_P256_SHA256, aggressively);
    let request = pair.left.initiate(pair.now);
    let (path, first) = pair.left.sent.pop_front().unwrap();
    pair.right.datagram(reversed(path), &first, pair.now);
    let (path, second) = pair.right.sent.pop_front().unwrap();
    let mut parts = payloads(&second);
    let place = parts.iter().position(|(kind, _)| *kind == CERT).unwrap();
    assert_eq!(parts[place].1[0], 4);
    parts[place].1 = [vec![1], wrapped(&parts[place].1[1..])].concat();
    parts.insert(place, (CERT, vec![7, 0x30, 0]));
    pair.left.datagram(reversed(path), &rebuilt(&second, &parts), pair.now);
    pair.run();
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{:?}", pair.left.failures());
    pair.assert_one_tunnel();
}
