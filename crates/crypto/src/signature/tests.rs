//! Signatures against known ones, and that nothing else verifies.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

fn keys() -> Vec<SigningKey> {
    let curve = |kind, algorithm| {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap().to_pkcs8v1().unwrap();
        SigningKey::curve(kind, pair.as_ref()).unwrap()
    };
    let ed25519 = Ed25519KeyPair::generate().unwrap().to_pkcs8().unwrap();
    vec![
        SigningKey::rsa(&rsa(aws_lc_rs::rsa::KeySize::Rsa2048)).unwrap(),
        curve(KeyKind::P256, &signature::ECDSA_P256_SHA256_ASN1_SIGNING),
        curve(KeyKind::P384, &signature::ECDSA_P384_SHA384_ASN1_SIGNING),
        curve(KeyKind::P521, &signature::ECDSA_P521_SHA512_ASN1_SIGNING),
        SigningKey::ed25519(ed25519.as_ref()).unwrap(),
    ]
}

fn rsa(size: aws_lc_rs::rsa::KeySize) -> Vec<u8> {
    use aws_lc_rs::encoding::AsDer as _;
    RsaKeyPair::generate(size).unwrap().as_der().unwrap().as_ref().to_vec()
}

/// RFC 8032 §7.1, test 2.
#[test]
fn ed25519_signs_as_the_rfc_does() {
    let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    let pkcs8 = [hex("302e020100300506032b657004220420"), hex(seed)].concat();
    let key = SigningKey::ed25519(&pkcs8).unwrap();
    let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    assert_eq!(key.public().octets(), hex(public));
    let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
        085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
    assert_eq!(key.sign(SignatureScheme::Ed25519, &[0x72]).unwrap(), hex(expected));
}

/// CHECKLIST F19: a signature that is too short or too long is refused.
#[test]
fn every_scheme_verifies_its_own_and_nothing_else() {
    for key in keys() {
        let public = key.public();
        let mut made = 0;
        for scheme in SignatureScheme::ALL {
            let Some(signature) = key.sign(scheme, b"octets") else {
                assert!(!public.kind().signs(scheme), "{scheme}");
                continue;
            };
            made += 1;
            assert!(public.verifies(scheme, b"octets", &signature), "{scheme}");
            assert!(!public.verifies(scheme, b"octetS", &signature), "{scheme}");
            let longer = [&signature[..], &[0]].concat();
            let shorter = &signature[..signature.len() - 1];
            for wrong in [&longer[..], shorter, &[], &[0; 64]] {
                assert!(!public.verifies(scheme, b"octets", wrong), "{scheme}");
            }
            for other in SignatureScheme::ALL.into_iter().filter(|other| *other != scheme) {
                assert!(!public.verifies(other, b"octets", &signature), "{scheme} as {other}");
            }
        }
        assert!(made > 0);
        if let Some(signature) = key.sign_concatenated(b"octets") {
            assert!(public.verifies_concatenated(b"octets", &signature));
            assert!(!public.verifies_concatenated(b"octets", &signature[1..]));
            assert!(!public.verifies_concatenated(b"octets", &[0; 64]));
        }
    }
}

/// CHECKLIST F20: tiny moduli and a signature that is the modulus. CHECKLIST G15: weak keys.
#[test]
fn weak_and_broken_keys_are_refused() {
    // RSAPublicKey with a modulus of 1,024 bits.
    let mut tiny = vec![0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00, 0xc1];
    tiny.extend([0x55; 127]);
    tiny.extend([0x02, 0x03, 1, 0, 1]);
    let error = VerifyingKey::rsa(&tiny);
    assert!(matches!(error, Err(KeyError::RsaSize(1_024) | KeyError::Malformed)), "{error:?}");
    assert_eq!(VerifyingKey::rsa(&[0x30, 0]), Err(KeyError::Malformed));
    assert_eq!(VerifyingKey::curve(KeyKind::P256, &[4; 65]), Err(KeyError::Malformed));
    assert_eq!(VerifyingKey::curve(KeyKind::P256, &[0]), Err(KeyError::Malformed));
    assert_eq!(VerifyingKey::ed25519(&[1; 31]), Err(KeyError::Malformed));

    let key = SigningKey::rsa(&rsa(aws_lc_rs::rsa::KeySize::Rsa2048)).unwrap();
    let der = key.public().octets();
    // SEQUENCE (4 octets), INTEGER (4), a zero, then the modulus.
    let modulus = &der[9..9 + 256];
    let scheme = SignatureScheme::RsaPkcs1(SignatureHash::Sha2_256);
    assert!(!key.public().verifies(scheme, b"octets", modulus));
    let pss = SignatureScheme::RsaPss(SignatureHash::Sha2_256);
    assert!(!key.public().verifies(pss, b"octets", modulus));
}

/// RFC 2409 §5.1: the bare block, with the DigestInfo of RFC 8017 §9.2 in front of the hash, is what
/// aws-lc-rs signs, whose signatures are the same every time; and nothing but the whole block verifies.
#[test]
fn bare_signatures_are_those_without_the_name_of_the_hash() {
    use crate::Hash;

    let key = SigningKey::rsa(&rsa(aws_lc_rs::rsa::KeySize::Rsa2048)).unwrap();
    let digest = Hash::Sha2_256.digest(&[b"message"]);
    let named =
        [hex("3031300d060960864801650304020105000420").as_slice(), digest.as_bytes()].concat();
    let scheme = SignatureScheme::RsaPkcs1(SignatureHash::Sha2_256);
    assert_eq!(key.sign_bare(&named), key.sign(scheme, b"message"));

    for hash in [&[7; 16][..], &[7; 20], &[7; 64], &[0; 32]] {
        let signature = key.sign_bare(hash).unwrap();
        assert!(key.public().verifies_bare(hash, &signature));
        assert!(!key.public().verifies_bare(&named, &signature));
        assert!(!key.public().verifies_bare(&hash[1..], &signature));
        let mut other = signature.clone();
        other[17] ^= 1;
        assert!(!key.public().verifies_bare(hash, &other));
        assert!(!key.public().verifies_bare(hash, &signature[1..]));
        assert!(!key.public().verifies_bare(hash, &[&[0], signature.as_slice()].concat()));
        assert!(!key.public().verifies_bare(hash, &[]));
    }
    assert!(!key.public().verifies_bare(&[7; 32], &[0xff; 256]));
    assert_eq!(key.sign_bare(&[7; 256 - 10]), None);
    let ed25519 = keys().pop().unwrap();
    assert_eq!(ed25519.sign_bare(&[7; 32]), None);
}

/// The base is blinded with numbers that are squared from one use to the next and drawn anew after some: what
/// comes out is the same, whatever the size of the key.
#[test]
fn blinding_leaves_signatures_as_they_are() {
    use aws_lc_rs::rsa::KeySize;

    for size in [KeySize::Rsa2048, KeySize::Rsa3072] {
        let key = SigningKey::rsa(&rsa(size)).unwrap();
        let first = key.sign_bare(&[7; 32]).unwrap();
        assert!(key.public().verifies_bare(&[7; 32], &first));
        for _ in 0..70 {
            assert_eq!(key.sign_bare(&[7; 32]).unwrap(), first);
        }
    }
}

/// RFC 4754 §7: what IKEv1 signs is the hash, and not a hash of it.
#[test]
fn bare_signatures_by_curves_are_of_the_hash_itself() {
    let message = b"HASH_I";
    for key in keys() {
        let hash = match key.public().kind() {
            KeyKind::P256 => digest::digest(&digest::SHA256, message),
            KeyKind::P384 => digest::digest(&digest::SHA384, message),
            KeyKind::P521 => digest::digest(&digest::SHA512, message),
            KeyKind::Rsa(_) | KeyKind::Ed25519 | KeyKind::Dsa(_) => continue,
        };
        let signature = key.sign_bare(hash.as_ref()).unwrap();
        assert!(key.public().verifies_concatenated(message, &signature));
        assert!(key.public().verifies_bare(hash.as_ref(), &signature));
        assert!(!key.public().verifies_bare(&[7; 32], &signature));
        let shorter = &hash.as_ref()[1..];
        assert!(!key.public().verifies_bare(shorter, &signature));
        let of_shorter = key.sign_bare(shorter).unwrap();
        assert!(key.public().verifies_bare(&[&[0], shorter].concat(), &of_shorter));
    }
}
