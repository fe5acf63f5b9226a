//! DSA keys, which IKEv1 alone takes: files of every form, certificates, and what is none.

#![cfg(test)]

use std::sync::Arc;

use adit_crypto::{KeyError, KeyKind};
use adit_pki::{
    Certificate, Distrust, Moment, PkiError, PrivateKey, PublicKey, Purpose, check_path,
    read_certificates,
};

const PKCS8: &[u8] = include_bytes!("vectors/dsa-1024.pem");
const OPENSSL: &[u8] = include_bytes!("vectors/dsa-1024-openssl.pem");
const PUBLIC: &[u8] = include_bytes!("vectors/dsa-1024.pub");
const SMALL: &[u8] = include_bytes!("vectors/dsa-1024.crt");
const LARGE: &[u8] = include_bytes!("vectors/dsa-2048.crt");
const LARGE_KEY: &[u8] = include_bytes!("vectors/dsa-2048.pem");
const SELF_SIGNED: &[u8] = include_bytes!("vectors/dsa-2048-self-signed.crt");
const AUTHORITY: &[u8] = include_bytes!("vectors/dsa-ca.crt");
const DSA_AUTHORITY: &[u8] = include_bytes!("vectors/dsa-authority.crt");
const SMALL_AUTHORITY: &[u8] = include_bytes!("vectors/dsa-small-authority.crt");
const BY_DSA: &[u8] = include_bytes!("vectors/by-dsa.crt");
const BY_DSA_SHA1: &[u8] = include_bytes!("vectors/by-dsa-sha1.crt");
const BY_SMALL: &[u8] = include_bytes!("vectors/by-dsa-small.crt");
const INTERMEDIATE: &[u8] = include_bytes!("vectors/dsa-intermediate.crt");
const ABOVE: &[u8] = include_bytes!("vectors/dsa-intermediate-root.crt");

const NOW: Moment = Moment(1_700_000_000);

/// What most paths are for here.
const SIGNS: Purpose = Purpose::Ikev1Signature;

fn certificate(file: &[u8]) -> Arc<Certificate> {
    read_certificates(file).unwrap().remove(0)
}

/// The octets of a PEM file with one block.
fn der(file: &[u8]) -> Vec<u8> {
    use base64ct::{Base64, Encoding};
    let text = std::str::from_utf8(file).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    Base64::decode_vec(&digits).unwrap()
}

/// PKCS #8 and OpenSSL's own form, as PEM and as DER, are one key, whose public half is the file's.
#[test]
fn a_key_is_the_same_in_every_file() {
    let public = PublicKey::from_file(PUBLIC).unwrap();
    assert_eq!(public.kind(), KeyKind::Dsa(1024));
    assert_eq!(public.der(), der(PUBLIC), "as OpenSSL writes it");
    for file in [PKCS8.to_vec(), OPENSSL.to_vec(), der(PKCS8), der(OPENSSL)] {
        let key = PrivateKey::from_file(&file).unwrap();
        assert_eq!(**key.public(), public);
        let signature = key.key().sign_bare(&[7; 20]).unwrap();
        assert_eq!(signature.len(), 40);
        assert!(public.key().verifies_bare(&[7; 20], &signature));
    }
    assert_eq!(PublicKey::from_file(SMALL).unwrap(), public);
}

/// The certificate's parameters are inside it, and its authority signs in a way of its own.
#[test]
fn a_certificate_of_a_dsa_key_has_a_path_to_its_authority() {
    let authority = [certificate(AUTHORITY)];
    for (file, bits) in [(SMALL, 1024), (LARGE, 2048)] {
        let leaf = certificate(file);
        assert_eq!(leaf.public_key().kind(), KeyKind::Dsa(bits));
        assert_eq!(check_path(SIGNS, &leaf, &[], &authority, NOW), Ok(()));
    }
    let key = PrivateKey::from_file(LARGE_KEY).unwrap();
    assert_eq!(certificate(LARGE).public_key(), &**key.public());
    assert_eq!(key.key().sign_bare(&[7; 20]).unwrap().len(), 64);
}

/// A certificate that its own DSA key has signed is one to pin; such a signature is no path to anything else.
#[test]
fn a_dsa_signature_under_a_certificate_is_not_believed() {
    let own = certificate(SELF_SIGNED);
    assert_eq!(check_path(SIGNS, &own, &[], std::slice::from_ref(&own), NOW), Ok(()));
    let authority = [certificate(AUTHORITY)];
    let refused = check_path(SIGNS, &own, &[], &authority, NOW).unwrap_err();
    assert!(matches!(refused, Distrust::UnknownIssuer { .. }), "{refused}");
}

/// RFC 5758 §3.1: an authority with a DSA key vouches for others, if it is one of the configuration, has 2048 bits
/// and signs with SHA-256; no other octet and no other key will do.
#[test]
fn an_authority_may_sign_by_dsa() {
    let authority = [certificate(DSA_AUTHORITY)];
    let leaf = certificate(BY_DSA);
    assert_eq!(check_path(SIGNS, &leaf, &[], &authority, NOW), Ok(()));
    let text =
        |leaf: &Arc<Certificate>, others: &[Arc<Certificate>], anchors: &[Arc<Certificate>]| {
            check_path(SIGNS, leaf, others, anchors, NOW).unwrap_err().to_string()
        };
    let said = text(&certificate(BY_DSA_SHA1), &[], &authority);
    assert!(said.contains("signed in a way that is not supported"), "{said}");
    let said = text(&certificate(BY_SMALL), &[], &[certificate(SMALL_AUTHORITY)]);
    assert!(said.contains("less than 2048 bits"), "{said}");
    // An intermediate, as a stranger could make any number of.
    let between = [certificate(INTERMEDIATE)];
    let said = text(&leaf, &between, &[certificate(ABOVE)]);
    assert!(said.contains("is no authority of the configuration"), "{said}");
    assert_eq!(check_path(SIGNS, &leaf, &[], &between, NOW), Ok(()), "which it may be");

    let octets = leaf.der();
    for place in [octets.len() - 1, octets.len() - 40, octets.len() - 70, 60] {
        let mut changed = octets.to_vec();
        changed[place] ^= 1;
        let Ok(changed) = Certificate::from_der(&changed) else { continue };
        assert!(check_path(SIGNS, &Arc::new(changed), &[], &authority, NOW).is_err(), "{place}");
    }
}

/// IKEv2 has no DSA: an authority with such a key does not count there, beside whichever others; the reason is told
/// of the authority that has signed, and of no other.
#[test]
fn authorities_with_dsa_keys_are_for_ikev1() {
    let (dsa, other) = (certificate(DSA_AUTHORITY), certificate(AUTHORITY));
    let (by_dsa, by_other) = (certificate(BY_DSA), certificate(LARGE));
    let both = [Arc::clone(&dsa), Arc::clone(&other)];
    for anchors in [std::slice::from_ref(&dsa), &both] {
        let refused = check_path(Purpose::Ikev2Signature, &by_dsa, &[], anchors, NOW).unwrap_err();
        assert!(refused.to_string().contains("count in IKEv1 alone"), "{refused}");
        for purpose in [Purpose::Ikev1Signature, Purpose::Ikev1Encryption] {
            assert_eq!(check_path(purpose, &by_dsa, &[], anchors, NOW), Ok(()));
        }
    }
    assert_eq!(check_path(Purpose::Ikev2Signature, &by_other, &[], &both, NOW), Ok(()));
    let unknown = check_path(Purpose::Ikev2Signature, &by_other, &[], &both[..1], NOW).unwrap_err();
    assert!(matches!(unknown, Distrust::UnknownIssuer { .. }), "{unknown}");
    // Sent along by the peer it is no way to another authority either.
    let above = [certificate(ABOVE)];
    let between = [certificate(INTERMEDIATE)];
    assert!(check_path(Purpose::Ikev2Signature, &by_dsa, &between, &above, NOW).is_err());
}

/// Each octet of a public key changed in turn, and the file cut at each: a key or an error, and what is a key
/// all the same says whether it is one of its group.
#[test]
fn malformed_files_are_refused() {
    let (public, private) = (der(PUBLIC), der(PKCS8));
    let right = PublicKey::from_der(&public).unwrap();
    for len in 0..public.len() {
        assert!(PublicKey::from_der(&public[..len]).is_err());
    }
    for place in (0..public.len()).step_by(7) {
        let mut changed = public.clone();
        changed[place] ^= 0x80;
        if let Ok(key) = PublicKey::from_der(&changed) {
            assert!(key != right && !key.key().is_sound(), "{place}");
        }
    }
    for len in 0..private.len() {
        assert!(PrivateKey::from_file(&private[..len]).is_err());
    }
}

/// An element with fewer than 256 octets.
fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = u8::try_from(value.len()).unwrap();
    let long: &[u8] = if len < 128 { &[] } else { &[0x81] };
    [&[tag], long, &[len], value].concat()
}

/// Keys of 512 bits, which FIPS 186 began with: the file says what is wrong with them.
#[test]
fn a_short_key_is_refused_by_its_size() {
    let number = |octets: usize| element(2, &[&[0][..], &vec![0xff; octets]].concat());
    let group = element(0x30, &[number(64), number(20), number(64)].concat());
    let dsa = element(6, &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1]);
    let algorithm = element(0x30, &[dsa, group].concat());
    let key = element(4, &number(20));
    let file = element(0x30, &[vec![2, 1, 0], algorithm, key].concat());
    let refused = PrivateKey::from_file(&file).unwrap_err();
    assert!(matches!(refused, PkiError::Key(KeyError::DsaSize(512, 160))), "{refused}");
    assert!(refused.to_string().contains("p must have 1024 to 3072"), "{refused}");
}
