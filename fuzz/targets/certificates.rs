//! What a stranger's AUTH and CERT payloads and an operator's files hold: certificates,
//! AlgorithmIdentifiers, names, keys.

#![no_main]

use adit_pki::{
    Certificate, Moment, PrivateKey, PublicKey, Purpose, algorithm_identifier, check_path, name,
    read_algorithm, read_certificates,
};
use adit_wire::iana::IdType;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(scheme) = read_algorithm(octets) {
        assert_eq!(read_algorithm(&algorithm_identifier(scheme)), Ok(scheme));
    }
    check_name(octets);
    if let Ok(certificate) = Certificate::from_der(octets) {
        check_certificate(certificate);
    }
    if let Ok(certificates) = read_certificates(octets) {
        assert!(!certificates.is_empty());
    }
    if let Ok(key) = PublicKey::from_file(octets) {
        assert_eq!(PublicKey::from_der(key.der()).as_ref(), Ok(&key));
    }
    if let Ok(key) = PrivateKey::from_file(octets) {
        assert_eq!(PublicKey::from_der(key.public().der()).as_ref(), Ok(key.public().as_ref()));
    }
});

/// A name in words is read as the same name, and is the same as itself whatever it is.
fn check_name(octets: &[u8]) {
    assert!(name::same(octets, octets));
    let Some(text) = name::text(octets) else { return };
    assert!(!text.contains(char::is_control));
    if let Ok(again) = name::from_text(&text) {
        assert!(name::text(&again).is_some());
    }
}

fn check_certificate(certificate: Certificate) {
    let (from, until) = certificate.validity();
    let certificate = std::sync::Arc::new(certificate);
    assert!(certificate.is_of(IdType::DER_ASN1_DN, certificate.subject()));
    assert!(!certificate.is_of(IdType::NULL, &[]));
    assert!(!certificate.subject_text().is_empty());
    for now in [from, until, Moment(0), Moment(u64::MAX)] {
        let others = [std::sync::Arc::clone(&certificate)];
        let purposes = [Purpose::Ikev2Signature, Purpose::Ikev1Signature, Purpose::Ikev1Encryption];
        for purpose in purposes {
            // Nobody is trusted.
            assert!(check_path(purpose, &certificate, &others, &[], now).is_err());
            let _ = check_path(purpose, &certificate, &others, &others, now);
        }
    }
}
