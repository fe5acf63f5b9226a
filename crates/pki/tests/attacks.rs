//! Certificates and algorithms that have broken other daemons. CHECKLIST V28 (CVE-2017-9023,
//! CVE-2018-6459).

#![cfg(test)]

use std::sync::Arc;

use adit_pki::{
    Certificate, Moment, PublicKey, Purpose, check_path, name, read_algorithm, read_certificates,
};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

fn certificate_of(name: &str) -> Vec<u8> {
    let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

/// All that reads what a peer has sent as DER.
fn read_all(octets: &[u8]) {
    let _ = Certificate::from_der(octets);
    let _ = read_certificates(octets);
    let _ = PublicKey::from_der(octets);
    let _ = PublicKey::from_file(octets);
    let _ = read_algorithm(octets);
    let _ = name::canonical(octets);
    let _ = name::text(octets);
}

/// CHECKLIST V28: values in values, as many as fit, with an end and without one.
#[test]
fn asn1_as_deep_as_octets_go_is_refused() {
    for tag in [0x30, 0x31, 0xa0, 0xa3, 0x24] {
        let mut deep = Vec::new();
        for _ in 0..4_000 {
            let [high, low] = u16::try_from(deep.len()).unwrap().to_be_bytes();
            deep.splice(0..0, [tag, 0x82, high, low]);
        }
        let endless = [tag, 0x80].repeat(8_000);
        let closed = [endless.clone(), vec![0; 16_000]].concat();
        for octets in [deep, endless, closed] {
            assert!(Certificate::from_der(&octets).is_err());
            assert!(PublicKey::from_der(&octets).is_err());
            assert!(read_algorithm(&octets).is_err());
            read_all(&octets);
        }
    }
}

/// CHECKLIST V28: lengths that no memory has, without octets behind them, anywhere in a certificate.
#[test]
fn lengths_beyond_the_octets_are_refused() {
    let der = certificate_of("gw");
    for at in 0..der.len() - 1 {
        for length in [&[0x80][..], &[0x84, 0xff, 0xff, 0xff, 0xff], &[0x89, 1], &[0xff]] {
            let mut broken = der.clone();
            broken.splice(at..=at, length.iter().copied());
            read_all(&broken);
            read_all(&der[..at]);
        }
    }
    assert!(Certificate::from_der(&der).is_ok());
}

/// CHECKLIST V28: the parameters of RSASSA-PSS are not there, are empty, or are something else, in a
/// signature's AlgorithmIdentifier and in a certificate's.
#[test]
fn pss_without_parameters_is_refused() {
    let pss: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
    for parameters in [&[][..], &[5, 0], &[0x30, 0], &[0x30, 2, 0xa0, 0], &[0xa0, 0], &[4, 1, 0]] {
        let identifier = sequence(&[pss, parameters].concat());
        assert!(read_algorithm(&identifier).is_err(), "{parameters:02x?}");
        // The certificate can be shown to people, but proves nothing.
        let certificate = Arc::new(Certificate::from_der(&signed_by(&identifier)).unwrap());
        let anchor = Arc::new(Certificate::from_der(&certificate_of("root")).unwrap());
        assert!(
            check_path(
                Purpose::Ikev2Signature,
                &certificate,
                &[],
                &[anchor],
                Moment(1_800_000_000)
            )
            .is_err()
        );
    }
}

/// A certificate with another algorithm than the one that it is signed by.
fn signed_by(identifier: &[u8]) -> Vec<u8> {
    let ecdsa_with_sha256: &[u8] = &[0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let der = certificate_of("gw");
    let (tbs, rest) = value_of(value_of(&der).0);
    let rest = rest.strip_prefix(ecdsa_with_sha256).unwrap();
    let at = (0..tbs.len()).find(|at| tbs[*at..].starts_with(ecdsa_with_sha256)).unwrap();
    let after = &tbs[at + ecdsa_with_sha256.len()..];
    let tbs = sequence(&[&tbs[..at], identifier, after].concat());
    sequence(&[&tbs, identifier, rest].concat())
}

/// What is in the value that octets begin with, and what comes after it.
fn value_of(octets: &[u8]) -> (&[u8], &[u8]) {
    let (at, len) = match octets[1] {
        0x82 => (4, usize::from(u16::from_be_bytes([octets[2], octets[3]]))),
        0x81 => (3, usize::from(octets[2])),
        len => (2, usize::from(len)),
    };
    octets[at..].split_at(len)
}

/// As DER wants it: in as few octets as its length takes.
fn sequence(value: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(value.len()).unwrap().to_be_bytes();
    let length = match (high, low) {
        (0, low @ 0..0x80) => vec![low],
        (0, low) => vec![0x81, low],
        (high, low) => vec![0x82, high, low],
    };
    [&[0x30][..], &length, value].concat()
}
