//! Key derivation against the answers of NIST, of hashcat, of a capture, and of an independent
//! computation.

mod capture;

use std::collections::BTreeMap;

use adit_crypto::{Cipher, Integrity, KeySize};
use adit_db::NonceEncryption;

use capture::shared;

use super::*;
use crate::v1::encryption::{PayloadCipher, Suite};

/// Cases of the NIST CAVS sets for IKEv1 (see the head of each file for its origin).
const CAVS_PSK: &str = include_str!("../../../tests/vectors/cavs-ikev1-psk.fax");
const CAVS_DSA: &str = include_str!("../../../tests/vectors/cavs-ikev1-dsa.fax");

/// What `ikev1_reference.py` beside it has computed.
const REFERENCE: &str = include_str!("../../../tests/vectors/ikev1-reference.txt");

/// An Aggressive Mode with HMAC-SHA-1.
const AGGRESSIVE: &str = include_str!("../../../tests/vectors/hashcat-aggressive-psk.txt");

type Case = BTreeMap<String, Vec<u8>>;

#[test]
fn keys_equal_the_answers_of_nist_cavs() {
    assert_eq!(check_cavs(CAVS_PSK), 10);
    assert_eq!(check_cavs(CAVS_DSA), 10);
}

/// The whole sets, where somebody has them.
#[test]
fn keys_equal_all_answers_of_nist_cavs_if_present() {
    let Some(folder) = shared("ike/cavs-kdf") else { return };
    for name in ["ikev1_psk", "ikev1_dsa"] {
        let path = folder.join(format!("{name}.even.fax"));
        let checked = check_cavs(&std::fs::read_to_string(path).unwrap());
        assert!(checked > 100, "{name} has {checked} cases");
    }
}

/// Checks every case of a file; gives their number.
fn check_cavs(text: &str) -> usize {
    let mut checked = 0;
    let mut case = Case::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '['])) {
        let Some((name, value)) = line.split_once(" = ") else { continue };
        if name == "COUNT" {
            case.clear();
            continue;
        }
        case.insert(name.to_owned(), unhex(value));
        if name == "SKEYID_e" {
            check_case(&case);
            checked += 1;
        }
    }
    checked
}

fn check_case(case: &Case) {
    let hash = Hash::ALL.into_iter().find(|hash| hash.output_len() == case["SKEYID"].len());
    let prf = hash.unwrap().prf();
    let nonces = Nonces { initiator: &case["Ni"], responder: &case["Nr"] };
    let cookies = Cookies { initiator: cookie(&case["CKY_I"]), responder: cookie(&case["CKY_R"]) };
    let shared = &case["g^xy"];
    let skeyid = match case.get("pre-shared-key") {
        Some(key) => skeyid_pre_shared_key(prf, &Secret::from_slice(key), nonces),
        None => skeyid_signatures(prf, &Secret::from_slice(shared), nonces),
    };
    let keys = Skeyids::derive(prf, skeyid, shared, cookies);
    assert_eq!(keys.skeyid.as_bytes(), case["SKEYID"]);
    assert_eq!(keys.d.as_bytes(), case["SKEYID_d"]);
    assert_eq!(keys.a.as_bytes(), case["SKEYID_a"]);
    assert_eq!(keys.e.as_bytes(), case["SKEYID_e"]);
}

/// CHECKLIST T06: HASH_R of an Aggressive Mode that somebody else's gateway sent.
#[test]
fn hash_r_equals_the_answer_of_hashcat() {
    let case = &sections(AGGRESSIVE)[""];
    let prf = Prf::HmacSha1;
    let nonces = Nonces { initiator: &case["Ni"], responder: &case["Nr"] };
    let cookies = Cookies { initiator: cookie(&case["CKY-I"]), responder: cookie(&case["CKY-R"]) };
    let public = PublicValues { initiator: &case["g^xi"], responder: &case["g^xr"] };
    let skeyid = skeyid_pre_shared_key(prf, &Secret::from_slice(&case["psk"]), nonces);

    let keys = Skeyids::derive(prf, skeyid, &[], cookies);

    let of = Role::Responder;
    let hash = keys.identity_hash(prf, of, public, cookies, &case["SAi"], &case["IDir"]);
    assert_eq!(hash.as_bytes(), case["HASH_R"]);
}

/// The inputs of the reference, by their names in RFC 2409.
struct Inputs(Case);

impl Inputs {
    fn nonces(&self) -> Nonces<'_> {
        Nonces { initiator: &self.0["Ni"], responder: &self.0["Nr"] }
    }

    fn quick_nonces(&self) -> Nonces<'_> {
        Nonces { initiator: &self.0["qNi"], responder: &self.0["qNr"] }
    }

    fn cookies(&self) -> Cookies {
        let [initiator, responder] = ["CKY-I", "CKY-R"].map(|name| cookie(&self.0[name]));
        Cookies { initiator, responder }
    }

    fn secret(&self, name: &str) -> Secret {
        Secret::from_slice(&self.0[name])
    }

    fn message_id(&self) -> u32 {
        u32::from_be_bytes(self.0["M-ID"].as_slice().try_into().unwrap())
    }
}

fn each_hash(check: impl Fn(Hash, &Inputs, &Case)) {
    let sections = sections(REFERENCE);
    let inputs = Inputs(sections["inputs"].clone());
    let hashes = [
        ("md5", Hash::Md5),
        ("sha1", Hash::Sha1),
        ("sha256", Hash::Sha2_256),
        ("sha384", Hash::Sha2_384),
        ("sha512", Hash::Sha2_512),
    ];
    for (name, hash) in hashes {
        check(hash, &inputs, &sections[name]);
    }
}

/// Of every method, the one without a key exchange included.
#[test]
fn phase_1_equals_an_independent_computation() {
    each_hash(|hash, inputs, answers| {
        let prf = hash.prf();
        let (nonces, cookies) = (inputs.nonces(), inputs.cookies());
        let (psk, shared) = (inputs.secret("psk"), inputs.secret("g^xy"));
        let encryption = || skeyid_encryption(hash, prf, nonces, cookies);
        let public = PublicValues { initiator: &inputs.0["g^xi"], responder: &inputs.0["g^xr"] };
        let none = PublicValues { initiator: NO_KEY_EXCHANGE, responder: NO_KEY_EXCHANGE };
        let methods = [
            ("psk", skeyid_pre_shared_key(prf, &psk, nonces), public, shared.as_bytes()),
            ("signatures", skeyid_signatures(prf, &shared, nonces), public, shared.as_bytes()),
            ("encryption", encryption(), public, shared.as_bytes()),
            ("dhless", encryption(), none, NO_KEY_EXCHANGE),
        ];
        for (name, skeyid, public, shared) in methods {
            let answer = |what| &answers[&format!("{name} {what}")];
            let keys = Skeyids::derive(prf, skeyid, shared, cookies);
            let all = [&keys.skeyid, &keys.d, &keys.a, &keys.e];
            let names = ["SKEYID", "SKEYID_d", "SKEYID_a", "SKEYID_e"];
            for (key, what) in all.into_iter().zip(names) {
                assert_eq!(key.as_bytes(), answer(what), "{hash:?} {name} {what}");
            }
            let of_ends =
                [(Role::Initiator, "IDii", "HASH_I"), (Role::Responder, "IDir", "HASH_R")];
            for (of, id, what) in of_ends {
                let (sa, id) = (&inputs.0["SAi"], &inputs.0[id]);
                let hash_x = keys.identity_hash(prf, of, public, cookies, sa, id);
                assert_eq!(hash_x.as_bytes(), answer(what), "{hash:?} {name} {what}");
            }
            assert_eq!(Iv::phase1(hash, public, 16).0, *answer("IV"), "{hash:?} {name}");
            assert_eq!(expanded(prf, &keys.e, 32).as_bytes(), answer("key 32"), "{hash:?} {name}");
        }
    });
}

fn psk_keys(hash: Hash, inputs: &Inputs) -> Skeyids {
    let skeyid = skeyid_pre_shared_key(hash.prf(), &inputs.secret("psk"), inputs.nonces());
    Skeyids::derive(hash.prf(), skeyid, &inputs.0["g^xy"], inputs.cookies())
}

/// CHECKLIST U01: the hashes of Quick Mode, and its keys with and without PFS.
#[test]
fn what_follows_phase_1_equals_an_independent_computation() {
    each_hash(|hash, inputs, answers| {
        let prf = hash.prf();
        let keys = psk_keys(hash, inputs);
        let (id, payloads) = (inputs.message_id(), &inputs.0["payloads"]);
        let nonces = inputs.quick_nonces();
        let of_messages = [
            keys.hash_1(prf, id, payloads),
            keys.hash_2(prf, id, nonces.initiator, payloads),
            keys.hash_3(prf, id, nonces),
        ];
        for (hash_n, what) in of_messages.iter().zip(["HASH(1)", "HASH(2)", "HASH(3)"]) {
            assert_eq!(hash_n.as_bytes(), answers[what], "{hash:?} {what}");
        }
        for len in [16, 24] {
            let answer = &answers[&format!("key {len}")];
            assert_eq!(expanded(prf, &keys.e, len).as_bytes(), answer, "{hash:?}");
        }
        let public = PublicValues { initiator: &inputs.0["g^xi"], responder: &inputs.0["g^xr"] };
        let iv = Iv::phase1(hash, public, 16).exchange(hash, id);
        assert_eq!(iv.0, answers["exchange IV"], "{hash:?}");
        for (shared, what) in [(None, "KEYMAT"), (Some(inputs.secret("g(qm)^xy")), "KEYMAT PFS")] {
            check_child_keys(prf, &keys, inputs, shared.as_ref(), &answers[what]);
        }
    });
}

fn check_child_keys(
    prf: Prf,
    keys: &Skeyids,
    inputs: &Inputs,
    shared: Option<&Secret>,
    answer: &[u8],
) {
    let suites = [
        Cipher::Paired(Encryption::TripleDes, Integrity::HmacMd5_96),
        Cipher::Paired(Encryption::AesCbc(KeySize::Bits256), Integrity::HmacSha2_512_256),
        Cipher::AesGcm(KeySize::Bits256, adit_crypto::IcvSize::Octets16),
    ];
    for suite in suites {
        let protection = Protection::from(suite);
        let sa = ChildSpi { protocol: ProtocolId::ESP, spi: &inputs.0["SPI"] };
        let child = keys.child_keys(prf, protection, sa, shared, inputs.quick_nonces());
        assert_eq!(child.encryption.len(), suite.encryption_key_len());
        let both = Secret::concat(&[child.encryption.as_bytes(), child.integrity.as_bytes()]);
        assert_eq!(both.as_bytes(), &answer[..both.len()], "{suite}");
    }
}

#[test]
fn keys_of_payloads_equal_an_independent_computation() {
    each_hash(|hash, inputs, answers| {
        let prf = hash.prf();
        let digest = certificate_hash(hash, &inputs.0["certificate"]);
        assert_eq!(digest.as_bytes(), answers["certificate HASH(1)"]);
        for (nonce, cookie_of, what) in [("Ni", "CKY-I", "Ke_i"), ("Nr", "CKY-R", "Ke_r")] {
            let nonce = inputs.secret(nonce);
            let aes = Encryption::AesCbc(KeySize::Bits256);
            let key = payload_key(prf, aes, &nonce, cookie(&inputs.0[cookie_of])).unwrap();
            let expected = CbcKey::new(aes, &Secret::from_slice(&answers[what])).unwrap();
            let (mut ours, mut theirs) = ([7; 32], [7; 32]);
            Iv::zero(16).encrypt(&key, &mut ours).unwrap();
            expected.encrypt(&[0; 16], &mut theirs).unwrap();
            assert_eq!(ours, theirs, "{hash:?} {what}");
        }
    });
}

/// CHECKLIST T19: payloads that are encrypted one after the other, with and without a key exchange in
/// front, and back again.
#[test]
fn encrypted_payloads_equal_an_independent_computation() {
    each_hash(|hash, inputs, answers| {
        let suite = Suite {
            kind: NonceEncryption::Revised,
            encryption: Encryption::AesCbc(KeySize::Bits256),
            prf: hash.prf(),
            group: None,
        };
        let chain = |nonce, cookie_of, payloads: &[(&str, &str)]| {
            let new = || {
                let cookie = cookie(&inputs.0[cookie_of]);
                PayloadCipher::new(&suite, &inputs.secret(nonce), cookie).unwrap()
            };
            let (mut seals, mut opens) = (new(), new());
            for (clear, sealed) in payloads {
                let (clear, sealed) = (&inputs.0[*clear], &answers[*sealed]);
                assert_eq!(&seals.seal(clear).unwrap(), sealed, "{hash:?}");
                assert_eq!(&opens.open(sealed).unwrap(), clear, "{hash:?}");
            }
        };
        let all = [
            ("g^xi", "g^xi encrypted"),
            ("IDii", "IDii encrypted"),
            ("certificate", "certificate encrypted"),
        ];
        chain("Ni", "CKY-I", &all);
        chain("Ni", "CKY-I", &[("IDii", "dhless IDii encrypted")]);
        chain("Nr", "CKY-R", &[("IDir", "dhless IDir encrypted")]);
    });
}

/// CHECKLIST T04, U06: IVs are chained in each exchange by itself, and a message that is not genuine
/// moves none.
#[test]
fn ivs_are_chained_in_each_exchange_by_itself() {
    let key = CbcKey::new(Encryption::TripleDes, &Secret::from_slice(&octets(24))).unwrap();
    let public = PublicValues { initiator: b"one", responder: b"other" };
    let phase1 = Iv::phase1(Hash::Md5, public, key.block_len());
    let [one, other] = [1, 2].map(|id| phase1.exchange(Hash::Md5, id));
    assert_ne!(one, other);

    let mut first = *b"sixteen octets!!";
    let after_first = one.encrypt(&key, &mut first).unwrap();
    let mut second = *b"the next message";
    after_first.encrypt(&key, &mut second).unwrap();

    let mut forged = [0; 16];
    one.decrypt(&key, &mut forged).unwrap();
    let mut short = [0; 15];
    assert_eq!(one.decrypt(&key, &mut short), Err(CbcKeyError::Length("text")));
    let next = one.decrypt(&key, &mut first).unwrap();
    assert_eq!(next, after_first);
    next.decrypt(&key, &mut second).unwrap();
    assert_eq!((&first, &second), (b"sixteen octets!!", b"the next message"));
}

//= https://www.rfc-editor.org/rfc/rfc2409#appendix-B
//= type=test
//# The key for DES-CBC is derived from the first eight (8) non-weak and
//# non-semi-weak (see Appendix A) bytes of SKEYID_e.
#[test]
fn a_weak_key_of_des_is_passed_over() {
    let keys = |e: &[u8]| Skeyids {
        skeyid: Secret::default(),
        d: Secret::default(),
        a: Secret::default(),
        e: Secret::from_slice(e),
    };
    let cipher = |e: &[u8]| keys(e).cipher(Prf::HmacMd5, Encryption::Des);
    let weak = [1; 8];
    let mut e = weak.to_vec();
    e.extend_from_slice(b"Adit IKE");
    let found = cipher(&e).unwrap();
    let expected = CbcKey::new(Encryption::Des, &Secret::from_slice(b"Adit IKE")).unwrap();
    let (mut ours, mut theirs) = ([3; 8], [3; 8]);
    found.encrypt(&[0; 8], &mut ours).unwrap();
    expected.encrypt(&[0; 8], &mut theirs).unwrap();
    assert_eq!(ours, theirs);
    assert_eq!(cipher(&[1; 16]).err(), Some(CbcKeyError::Weak));
    assert_eq!(cipher(&[]).err(), Some(CbcKeyError::Weak));
}

fn cookie(octets: &[u8]) -> Cookie {
    Cookie::from_field(octets).unwrap()
}

fn octets(len: u8) -> Vec<u8> {
    (1..=len).collect()
}

/// `name = hexadecimal digits` under `[section]`; what comes before any is in the section "".
fn sections(text: &str) -> BTreeMap<String, Case> {
    let mut sections = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name = section.to_owned();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let case: &mut Case = sections.entry(name.clone()).or_default();
            case.insert(key.to_owned(), unhex(value));
        }
    }
    sections
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
