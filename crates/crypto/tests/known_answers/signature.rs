//! Signatures that other daemons have taken, or broken on.

use adit_crypto::{KeyError, KeyKind, SignatureHash, SignatureScheme, SigningKey, VerifyingKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde::Deserialize;

use crate::vectors::{Hex, Verdict, load};

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "pub")]
    public: Hex,
    msg: Hex,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(rename = "tcId")]
    id: u32,
    comment: String,
    scheme: String,
    result: Verdict,
    sig: Hex,
}

const PKCS1: SignatureScheme = SignatureScheme::RsaPkcs1(SignatureHash::Sha2_256);
const PSS: SignatureScheme = SignatureScheme::RsaPss(SignatureHash::Sha2_256);

/// CHECKLIST V22: PSS with another salt than the hash's length (CVE-2021-41990). CHECKLIST V23: octets
/// that do not belong there, in the padding, in the parameters, behind the hash (CVE-2018-16151,
/// CVE-2018-16152, CVE-2012-2388). CHECKLIST V25: zero, the modulus and more (CVE-2017-11185).
/// CHECKLIST V27: a hash that is shorter or longer than its algorithm's (CVE-2026-50721,
/// CVE-2026-50722).
#[test]
fn forged_rsa_signatures_are_refused() {
    let mut right = 0;
    for group in load::<Group>("rsa_forged").groups {
        let key = VerifyingKey::rsa(&group.public.0).unwrap();
        for case in group.tests {
            let scheme = if case.scheme.starts_with("pss") { PSS } else { PKCS1 };
            let verifies = key.verifies(scheme, &group.msg.0, &case.sig.0);
            let is_right = case.result == Verdict::Valid;
            assert_eq!(verifies, is_right, "{} {}", case.id, case.comment);
            right += u32::from(is_right);
        }
    }
    assert_eq!(right, 3, "blocks that are as they should be show that the others are only almost");
}

/// CHECKLIST V25: keys that break the arithmetic: an exponent or a modulus of zero (CVE-2017-9022),
/// even ones, an exponent as long as the modulus.
#[test]
fn rsa_keys_that_are_none_verify_nothing() {
    let modulus = {
        let group = load::<Group>("rsa_forged").groups.remove(0);
        // SEQUENCE (4 octets), INTEGER (4), a zero, then the modulus.
        group.public.0[9..9 + 256].to_vec()
    };
    let mut even = modulus.clone();
    even[255] &= 0xfe;
    let exponents: [&[u8]; 6] = [&[], &[0], &[1], &[2], &[1, 0, 0], &modulus];
    let keys = exponents
        .map(|exponent| rsa_public_key(&modulus, exponent))
        .into_iter()
        .chain([&[][..], &[0], &[0; 256], &even].map(|odd| rsa_public_key(odd, &[1, 0, 1])));
    for der in keys {
        match VerifyingKey::rsa(&der) {
            Err(error) => assert!(matches!(error, KeyError::Malformed | KeyError::RsaSize(_))),
            Ok(key) => {
                for signature in [vec![0; 256], [vec![0; 255], vec![1]].concat(), modulus.clone()] {
                    assert!(!key.verifies(PKCS1, b"octets", &signature), "{der:02x?}");
                    assert!(!key.verifies(PSS, b"octets", &signature), "{der:02x?}");
                }
            }
        }
    }
}

/// CHECKLIST V24: an empty signature (CVE-2013-2944), and others whose numbers are zero, or are not
/// there.
#[test]
fn ecdsa_signatures_of_nothing_are_refused() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let pkcs8 = pair.to_pkcs8v1().unwrap();
    let key = SigningKey::curve(KeyKind::P256, pkcs8.as_ref()).unwrap();
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&order[2 * at..2 * at + 2], 16).unwrap()).collect();
    let number = |octets: &[u8]| tlv(2, octets);
    let long = number(&[&[0], &order[..]].concat());
    let scheme = SignatureScheme::Ecdsa(SignatureHash::Sha2_256);
    for signature in [
        vec![],
        vec![0x30],
        tlv(0x30, &[]),
        tlv(0x30, &number(&[])),
        tlv(0x30, &[number(&[]), number(&[])].concat()),
        tlv(0x30, &[number(&[0]), number(&[0])].concat()),
        tlv(0x30, &[number(&[1]), number(&[0])].concat()),
        tlv(0x30, &[number(&[0]), number(&[1])].concat()),
        tlv(0x30, &[long.clone(), number(&[1])].concat()),
        tlv(0x30, &[long.clone(), long].concat()),
        tlv(0x30, &[number(&[0xff]), number(&[0xff])].concat()),
    ] {
        assert!(!key.public().verifies(scheme, b"octets", &signature), "{signature:02x?}");
    }
    for signature in [vec![], vec![0; 64], [order.clone(), order].concat(), vec![0xff; 64]] {
        assert!(!key.public().verifies_concatenated(b"octets", &signature), "{signature:02x?}");
    }
}

/// RSAPublicKey (RFC 8017 A.1.1) of these numbers, without a sign.
fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let number = |octets: &[u8]| match octets.first() {
        Some(first) if first & 0x80 != 0 => tlv(2, &[&[0], octets].concat()),
        _ => tlv(2, octets),
    };
    tlv(0x30, &[number(modulus), number(exponent)].concat())
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(value.len()).unwrap().to_be_bytes();
    let length = match (high, low) {
        (0, low @ 0..0x80) => vec![low],
        (0, low) => vec![0x81, low],
        (high, low) => vec![0x82, high, low],
    };
    [&[tag][..], &length, value].concat()
}
