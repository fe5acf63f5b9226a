//! RSA encryption.

use adit_crypto::{RsaPadding, SeededRng, SigningKey};
use serde::Deserialize;

use crate::vectors::{Hex, load};

#[derive(Deserialize)]
struct Group {
    key: Hex,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    name: String,
    padding: String,
    ciphertext: Hex,
    message: Hex,
}

impl Test {
    fn padding(&self) -> RsaPadding {
        if self.padding == "oaep" { RsaPadding::Oaep } else { RsaPadding::Pkcs1 }
    }
}

/// CHECKLIST T19: what is no ciphertext gives the same message as in OpenSSL, of which its sender knows
/// nothing; what is one is decrypted.
#[test]
fn rsa_ciphertexts_and_what_is_none_decrypt_as_openssl_does() {
    let vectors = load::<Group>("rsa_decryption");
    let mut checked = 0;
    for group in vectors.groups {
        let key = SigningKey::rsa(&group.key.0).unwrap();
        let key = key.decrypting().unwrap();
        for test in group.tests {
            let message = key.decrypt(test.padding(), &test.ciphertext.0);
            assert_eq!(message.as_bytes(), test.message.0, "{}", test.name);
            checked += 1;
        }
    }
    assert_eq!(checked, 60);
}

/// CHECKLIST T19: every length that there is room for comes back, and none is hinted at by its ciphertext.
#[test]
fn rsa_messages_of_every_length_come_back() {
    let group = load::<Group>("rsa_decryption").groups.remove(0);
    let key = SigningKey::rsa(&group.key.0).unwrap();
    let key = key.decrypting().unwrap();
    let mut rng = SeededRng::new(1);
    for padding in [RsaPadding::Pkcs1, RsaPadding::Oaep] {
        let max = key.public().message_len_max(padding);
        for len in [0, 1, 8, max - 1, max] {
            let message = vec![7; len];
            let one = key.public().encrypt(padding, &message, &mut rng).unwrap();
            let other = key.public().encrypt(padding, &message, &mut rng).unwrap();
            assert_ne!(one, other);
            assert_eq!(one.len(), key.public().ciphertext_len());
            assert_eq!(key.decrypt(padding, &one).as_bytes(), message);
        }
        assert_eq!(key.public().encrypt(padding, &vec![7; max + 1], &mut rng), None);
    }
}

/// CHECKLIST T19: octets of another length, or that are no number below the modulus, are like any others:
/// the same each time, and different for each.
#[test]
fn rsa_octets_that_are_no_number_give_a_message() {
    let group = load::<Group>("rsa_decryption").groups.remove(0);
    let key = SigningKey::rsa(&group.key.0).unwrap();
    let key = key.decrypting().unwrap();
    for padding in [RsaPadding::Pkcs1, RsaPadding::Oaep] {
        for octets in [vec![], vec![0; 255], vec![0; 256], vec![255; 256], vec![1; 257]] {
            let message = key.decrypt(padding, &octets);
            assert_eq!(message, key.decrypt(padding, &octets));
            assert!(message.len() < 256);
        }
        // Their lengths are those of messages, and all over.
        let lengths = (0..40_u8).map(|octet| key.decrypt(padding, &[octet; 256]).len());
        let lengths: std::collections::BTreeSet<_> = lengths.collect();
        assert!(lengths.len() > 25, "{lengths:?}");
        assert!(lengths.iter().all(|len| *len <= key.public().message_len_max(padding)));
    }
}
