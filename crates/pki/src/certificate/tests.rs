//! Certificates of rcgen, whole and broken.

use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair};

use super::*;

fn der() -> Vec<u8> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = CertificateParams::new(vec!["gw.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "gateway");
    params.self_signed(&key).unwrap().der().to_vec()
}

#[test]
fn what_stands_in_it_is_read() {
    let der = der();
    let certificate = Certificate::from_der(&der).unwrap();
    assert_eq!(certificate.der(), der);
    assert!(certificate.subject_text().contains("CN=gateway"), "{}", certificate.subject_text());
    assert_eq!(certificate.alt_names(), [AltName::Dns("gw.example".into())]);
    assert_eq!(certificate.scheme(), Some(SignatureScheme::Ed25519));
    assert_eq!(certificate.subject(), certificate.issuer());
    let public = certificate.public_key().key();
    let scheme = certificate.scheme().unwrap();
    assert!(public.verifies(scheme, certificate.signed(), certificate.signature()));
}

/// CHECKLIST G17: cut and changed encodings; nothing that is read differs from what was signed.
#[test]
fn a_changed_octet_is_an_error_or_another_certificate() {
    let der = der();
    let whole = Certificate::from_der(&der).unwrap();
    for cut in 0..der.len() {
        assert!(Certificate::from_der(&der[..cut]).is_err());
    }
    for at in 0..der.len() {
        for flip in [0x01, 0x80] {
            let mut changed = der.clone();
            changed[at] ^= flip;
            let Ok(read) = Certificate::from_der(&changed) else { continue };
            let scheme = whole.scheme().unwrap();
            let key = whole.public_key().key();
            assert!(!key.verifies(scheme, read.signed(), read.signature()), "octet {at}");
        }
    }
    let long = vec![0x30; CERTIFICATE_OCTETS_MAX + 1];
    assert_eq!(
        Certificate::from_der(&long).err(),
        Some(PkiError::TooMuch("octets of a certificate"))
    );
}

#[test]
fn files_may_hold_several() {
    let pem = || {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let params = CertificateParams::new(vec!["gw.example".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().pem() + &key.serialize_pem()
    };
    let file = format!("{}text between\n{}", pem(), pem());
    assert_eq!(read_certificates(file.as_bytes()).unwrap().len(), 2);
    assert_eq!(read_certificates(&der()).unwrap().len(), 1);
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let missing = Err(PkiError::Missing("certificate"));
    assert_eq!(read_certificates(key.as_bytes()), missing);
}

proptest! {
    #[test]
    fn octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Certificate::from_der(&octets);
        let _ = read_certificates(&octets);
        let _ = PublicKey::from_file(&octets);
        let _ = crate::PrivateKey::from_file(&octets);
    }
}
