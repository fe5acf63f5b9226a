//! Key derivation against NIST's answers, and the order of keys.

use std::collections::BTreeMap;

use adit_crypto::{Encryption, IcvSize, Integrity, KeySize};

use super::*;

/// Cases of the NIST CAVS set for IKEv2 (see the file's head for its origin).
const CAVS: &str = include_str!("../../tests/vectors/cavs-ikev2.fax");

#[test]
fn keys_equal_the_answers_of_nist_cavs() {
    assert_eq!(check_cavs(CAVS), 6 * 3);
}

/// The whole set, where somebody has it: `ADIT_CAVS_IKEV2=/path/to/ikev2.fax`.
#[test]
fn keys_equal_all_answers_of_nist_cavs_if_present() {
    match std::env::var("ADIT_CAVS_IKEV2") {
        Ok(path) => assert!(check_cavs(&std::fs::read_to_string(path).unwrap()) > 0),
        Err(_) => eprintln!("SKIPPED: ADIT_CAVS_IKEV2 names no file"),
    }
}

/// Checks every case of a file for a prf we have; gives their number.
fn check_cavs(text: &str) -> usize {
    let mut checked = 0;
    let mut case = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '['])) {
        let Some((name, value)) = line.split_once(" = ") else {
            continue;
        };
        if name == "COUNT" {
            case.clear();
            continue;
        }
        case.insert(name.to_owned(), unhex(value));
        if name == "SKEYSEED(Rekey)" {
            let prf = Prf::ALL.into_iter().find(|prf| prf.output_len() == case["SKEYSEED"].len());
            checked += usize::from(prf.inspect(|&prf| check_case(prf, &case)).is_some());
        }
    }
    checked
}

fn check_case(prf: Prf, case: &BTreeMap<String, Vec<u8>>) {
    let nonces = Nonces { initiator: &case["Ni"], responder: &case["Nr"] };
    let shared = Secret::from_slice(&case["g^ir"]);
    let shared_new = Secret::from_slice(&case["g^ir (new)"]);
    let spi = |name: &str| IkeSpi(case[name].as_slice().try_into().unwrap());

    let seed = skeyseed(prf, &shared, nonces);
    assert_eq!(seed.as_bytes(), case["SKEYSEED"]);

    for cipher in Cipher::ALL {
        let keys = SkKeys::derive(prf, cipher, &seed, nonces, spi("SPIi"), spi("SPIr")).unwrap();
        let all = [&keys.d, &keys.ai, &keys.ar, &keys.ei, &keys.er, &keys.pi, &keys.pr];
        assert_same_start(&joined(&all), &case["DKM"]);

        for (name, first) in [("DKM(Child SA)", None), ("DKM(Child SA D-H)", Some(&shared_new))] {
            let secrets = SharedSecrets { first, additional: &[] };
            let child = ChildKeymat::derive(prf, &keys.d, cipher.into(), secrets, nonces).unwrap();
            let (i, r) = (&child.from_initiator, &child.from_responder);
            let all = [&i.encryption, &i.integrity, &r.encryption, &r.integrity];
            assert_same_start(&joined(&all), &case[name]);
        }
        let secrets = SharedSecrets { first: Some(&shared_new), additional: &[] };
        let rekeyed = skeyseed_rekey(prf, &keys.d, secrets, nonces);
        assert_eq!(rekeyed.as_bytes(), case["SKEYSEED(Rekey)"]);
    }
}

fn joined(keys: &[&Secret]) -> Vec<u8> {
    keys.iter().flat_map(|key| key.as_bytes()).copied().collect()
}

fn assert_same_start(ours: &[u8], theirs: &[u8]) {
    let length = ours.len().min(theirs.len());
    assert!(length >= 32);
    assert_eq!(ours[..length], theirs[..length]);
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap_or_default())
        .collect()
}

const NONCES: Nonces<'static> = Nonces { initiator: &[1; 32], responder: &[2; 32] };

fn keys(cipher: Cipher) -> SkKeys {
    let seed = Secret::from_slice(&[3; 32]);
    SkKeys::derive(Prf::HmacSha2_256, cipher, &seed, NONCES, IkeSpi([4; 8]), IkeSpi([5; 8]))
        .unwrap()
}

/// RFC 7296 §2.14: of AES-XCBC and AES-CMAC the first 64 bits of each nonce make the key, and the
/// whole nonces the seed of prf+.
/// CHECKLIST E13, V17: nonces that are longer and shorter than the PRF's key.
#[test]
fn prfs_of_aes_blocks_take_the_beginnings_of_the_nonces() {
    let nonces = Nonces { initiator: &[1, 1, 1, 1, 1, 1, 1, 1, 9], responder: &[2; 32] };
    let shared = Secret::from_slice(b"g^ir");
    let short = [[1; 8], [2; 8]].concat();
    let long = [nonces.initiator, nonces.responder].concat();
    for prf in Prf::ALL {
        let is_short = matches!(prf, Prf::Aes128Xcbc | Prf::Aes128Cmac);
        let key = if is_short { &short } else { &long };
        assert_eq!(skeyseed(prf, &shared, nonces), prf.compute(key, &[b"g^ir"]), "{prf}");
    }
}

/// RFC 5282 §7: with an AEAD there is no SK_a, and SK_e ends with the salt.
#[test]
fn an_aead_has_no_integrity_keys_and_a_salt() {
    let keys = keys(Cipher::AesGcm(KeySize::Bits256, IcvSize::Octets16));
    assert!(keys.ai.is_empty() && keys.ar.is_empty());
    assert_eq!((keys.ei.len(), keys.er.len(), keys.d.len()), (36, 36, 32));
}

#[test]
fn each_end_sends_with_what_the_other_receives_with() {
    let encryption = Encryption::AesCbc(KeySize::Bits128);
    let keys = keys(Cipher::Paired(encryption, Integrity::HmacSha2_256_128));
    assert_eq!(keys.sending(Role::Initiator), (&keys.ei, &keys.ai));
    assert_eq!(keys.sending(Role::Initiator.other()), (&keys.er, &keys.ar));
    assert_ne!(keys.ei, keys.er);
}

/// The two ends of an exchange install the same keys, crosswise.
#[test]
fn inbound_of_one_end_is_outbound_of_the_other() {
    let derive = || {
        let cipher = Cipher::AesGcm(KeySize::Bits128, IcvSize::Octets16).into();
        let sk_d = Secret::from_slice(&[7; 32]);
        ChildKeymat::derive(Prf::HmacSha2_256, &sk_d, cipher, SharedSecrets::default(), NONCES)
            .unwrap()
    };
    let (in_i, out_i) = derive().into_directions(Role::Initiator);
    let (in_r, out_r) = derive().into_directions(Role::Responder);
    assert_eq!((&in_i.encryption, &out_i.encryption), (&out_r.encryption, &in_r.encryption));
    assert_ne!(in_i.encryption, out_i.encryption);
}

/// CHECKLIST E11: without a key exchange of its own, a later child differs by its nonces.
#[test]
fn children_without_key_exchange_have_different_keys() {
    let child = |nonces| {
        let sk_d = Secret::from_slice(&[7; 32]);
        let cipher = Cipher::ChaCha20Poly1305.into();
        ChildKeymat::derive(Prf::HmacSha2_256, &sk_d, cipher, SharedSecrets::default(), nonces)
            .unwrap()
    };
    let first = child(NONCES);
    let second = child(Nonces { initiator: &[8; 32], responder: &[9; 32] });
    assert_ne!(first.from_initiator.encryption, second.from_initiator.encryption);
}

/// RFC 9370 §2.2.4: SK(0) stands before the nonces, SK(1) … SK(n) behind them; §2.2.2: in
/// IKE_INTERMEDIATE, SK(n) stands before the nonces.
#[test]
fn additional_secrets_enter_where_rfc_9370_says() {
    let prf = Prf::HmacSha2_256;
    let sk_d = Secret::from_slice(&[7; 32]);
    let (zero, one) = (Secret::from_slice(b"zero"), Secret::from_slice(b"one"));
    let additional = [one.duplicate()];
    let secrets = SharedSecrets { first: Some(&zero), additional: &additional };

    let expected = prf.compute(sk_d.as_bytes(), &[b"zero", &[1; 32], &[2; 32], b"one"]);
    assert_eq!(skeyseed_rekey(prf, &sk_d, secrets, NONCES), expected);

    let expected = prf.compute(sk_d.as_bytes(), &[b"one", &[1; 32], &[2; 32]]);
    assert_eq!(skeyseed_update(prf, &sk_d, &one, NONCES), expected);
}
