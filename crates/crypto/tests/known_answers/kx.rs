use adit_crypto::{KeyExchange, KeyExchangeError, Rng, SystemRng};
use serde::Deserialize;

use crate::vectors::{Hex, VectorRng, Vectors, Verdict, load, load_wycheproof};

#[derive(Deserialize)]
struct DhGroup {
    #[serde(alias = "curve", alias = "group")]
    name: String,
    tests: Vec<DhTest>,
}

/// Private keys, public values and shared secret of a whole exchange.
#[derive(Deserialize)]
struct DhTest {
    i: Hex,
    gi: Hex,
    r: Hex,
    gr: Hex,
    gir: Hex,
}

fn check_dh(vectors: Vectors<DhGroup>) {
    for group in vectors.groups {
        let name = match group.name.as_str() {
            "secp256r1" => "ecp256",
            "secp384r1" => "ecp384",
            word => word,
        };
        let named = |method: &KeyExchange| method.to_string() == name;
        let method = KeyExchange::ALL.into_iter().find(named).unwrap();
        for test in group.tests {
            let share = method.generate(&mut VectorRng(test.i.0));
            assert_eq!(share.public(), test.gi.0, "{method}");
            let (public, secret) = method.respond(&test.gi.0, &mut VectorRng(test.r.0)).unwrap();
            assert_eq!(public, test.gr.0, "{method}");
            assert_eq!(secret.as_bytes(), test.gir.0, "{method}");
            assert_eq!(share.agree(&public).unwrap(), secret, "{method}");
        }
    }
}

#[test]
fn ecp_groups_give_the_answers_of_rfc_5903() {
    check_dh(load("rfc5903_ecp"));
}

#[test]
fn other_curves_give_the_answers_of_another_implementation() {
    check_dh(load("ecp_others"));
}

/// RFC 7748 §6.2.
#[test]
fn x448_gives_the_answers_of_rfc_7748() {
    check_dh(load("rfc7748_x448"));
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.14
//= type=test
//# g^ir is represented as a string of octets in big endian order padded with zeros if necessary
//# to make it the length of the modulus.
#[test]
fn modp_groups_give_the_answers_of_another_big_integer_and_keep_leading_zeros() {
    check_dh(load("modp"));
    check_dh(load("modp_others"));
}

#[derive(Deserialize)]
struct WycheproofGroup {
    tests: Vec<WycheproofTest>,
}

#[derive(Deserialize)]
struct WycheproofTest {
    #[serde(rename = "tcId")]
    id: u32,
    public: Hex,
    private: Hex,
    shared: Hex,
    result: Verdict,
}

/// CHECKLIST E17.
#[test]
fn x25519_gives_the_answers_of_wycheproof_and_refuses_zeros() {
    let mut zeros = 0;
    for group in load_wycheproof::<WycheproofGroup>("x25519").groups {
        for test in group.tests {
            let share = KeyExchange::X25519.generate(&mut VectorRng(test.private.0));
            let agreed = share.agree(&test.public.0);
            if test.shared.0 == [0; 32] {
                let method = KeyExchange::X25519;
                assert_eq!(agreed, Err(KeyExchangeError::InvalidPublic { method }), "{}", test.id);
                zeros += 1;
            } else {
                assert_eq!(agreed.unwrap().as_bytes(), test.shared.0, "{}", test.id);
            }
        }
    }
    assert!(zeros > 0);
}

/// Start of a SubjectPublicKeyInfo for an uncompressed point of P-256. Other encodings of the same
/// point have no counterpart in IKE, where the coordinates stand alone (RFC 5903 §7).
const SPKI_P256: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// CHECKLIST E17.
#[test]
fn p256_gives_the_answers_of_wycheproof_and_refuses_points_off_the_curve() {
    let (mut valid, mut invalid) = (0, 0);
    for group in load_wycheproof::<WycheproofGroup>("ecdh_secp256r1").groups {
        for test in group.tests {
            let Some(point) = test.public.0.strip_prefix(&SPKI_P256) else {
                continue;
            };
            let share = KeyExchange::EcpP256.generate(&mut VectorRng(scalar(&test.private.0)));
            let agreed = share.agree(point);
            match (agreed, test.result) {
                (Ok(secret), Verdict::Valid | Verdict::Acceptable) => {
                    assert_eq!(secret.as_bytes(), test.shared.0, "{}", test.id);
                    valid += 1;
                }
                (Err(_), Verdict::Invalid | Verdict::Acceptable) => invalid += 1,
                (agreed, verdict) => panic!("{}: {agreed:?} where {verdict:?}", test.id),
            }
        }
    }
    assert!(valid > 0 && invalid > 0);
}

/// A big integer of any written length as 32 octets.
fn scalar(integer: &[u8]) -> Vec<u8> {
    let mut octets = vec![0; 32];
    for (to, from) in octets.iter_mut().rev().zip(integer.iter().rev()) {
        *to = *from;
    }
    octets
}

#[derive(Deserialize)]
struct MlKemGroup {
    tests: Vec<MlKemTest>,
}

#[derive(Deserialize)]
struct MlKemTest {
    #[serde(rename = "tcId")]
    id: u32,
    /// Randomness of the key, 64 octets.
    #[serde(default)]
    seed: Hex,
    /// Randomness of the encapsulation, 32 octets.
    #[serde(default)]
    m: Hex,
    #[serde(default)]
    ek: Hex,
    #[serde(default)]
    c: Hex,
    #[serde(default, rename = "K")]
    shared: Hex,
    result: Verdict,
}

fn mlkem_tests(name: &str) -> impl Iterator<Item = MlKemTest> {
    load_wycheproof::<MlKemGroup>(name).groups.into_iter().flat_map(|group| group.tests)
}

const METHOD: KeyExchange = KeyExchange::MlKem768;

#[test]
fn mlkem_keys_and_secrets_are_those_of_wycheproof() {
    for test in mlkem_tests("mlkem_768_keygen_seed") {
        let share = METHOD.generate(&mut VectorRng(test.seed.0));
        assert_eq!(share.public(), test.ek.0, "{}", test.id);
    }
    for test in mlkem_tests("mlkem_768").filter(|test| test.seed.0.len() == 64) {
        let share = METHOD.generate(&mut VectorRng(test.seed.0));
        if test.result == Verdict::Valid {
            assert_eq!(share.public(), test.ek.0, "{}", test.id);
            assert_eq!(share.agree(&test.c.0).unwrap().as_bytes(), test.shared.0, "{}", test.id);
        } else {
            assert!(share.agree(&test.c.0).is_err(), "{}", test.id);
        }
    }
}

/// Both implementations check the key; the seeded one also reproduces the ciphertext.
/// CHECKLIST Q07.
#[test]
fn mlkem_ciphertexts_are_those_of_wycheproof_and_unreduced_keys_are_refused() {
    for test in mlkem_tests("mlkem_768_encaps") {
        let rng: &mut dyn Rng = &mut VectorRng(test.m.0);
        let seeded = METHOD.respond(&test.ek.0, rng);
        let system = METHOD.respond(&test.ek.0, &mut SystemRng);
        if test.result == Verdict::Valid {
            let (ciphertext, secret) = seeded.unwrap();
            assert_eq!(ciphertext, test.c.0, "{}", test.id);
            assert_eq!(secret.as_bytes(), test.shared.0, "{}", test.id);
            assert!(system.is_ok(), "{}", test.id);
        } else {
            assert!(seeded.is_err(), "{}", test.id);
            assert!(system.is_err(), "{}", test.id);
        }
    }
}
