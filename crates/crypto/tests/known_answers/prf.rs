use adit_crypto::{Prf, Secret};
use serde::Deserialize;

use crate::vectors::{Hex, Vectors, Verdict, load, load_wycheproof};

#[derive(Deserialize)]
struct NamedMacGroup {
    /// In swanctl's words.
    mac: String,
    tests: Vec<MacTest>,
}

#[derive(Deserialize)]
struct MacGroup {
    /// Bits.
    #[serde(rename = "tagSize")]
    tag_bits: usize,
    tests: Vec<MacTest>,
}

#[derive(Deserialize)]
struct MacTest {
    #[serde(rename = "tcId")]
    id: u32,
    key: Hex,
    msg: Hex,
    tag: Hex,
    result: Verdict,
}

fn check_macs(prf_of: impl Fn(&MacGroup) -> Prf, vectors: &Vectors<MacGroup>) {
    for group in &vectors.groups {
        let prf = prf_of(group);
        for test in &group.tests {
            let output = prf.compute(&test.key.0, &[&test.msg.0]);
            // RFC 4231 §4.6 has a truncated output; Wycheproof truncates half of its tags.
            let tag_octets = test.tag.0.len().min(group.tag_bits / 8);
            let equal = output.as_bytes()[..tag_octets] == test.tag.0;
            assert_eq!(equal, test.result == Verdict::Valid, "{prf} {}", test.id);
        }
    }
}

#[test]
fn prf_gives_the_answers_of_rfc_4231() {
    let vectors = load::<MacGroup>("rfc4231_hmac");
    check_macs(
        |group| match group.tag_bits {
            256 => Prf::HmacSha2_256,
            384 => Prf::HmacSha2_384,
            _ => Prf::HmacSha2_512,
        },
        &vectors,
    );
}

#[test]
fn prf_gives_the_answers_of_wycheproof() {
    check_macs(|_| Prf::HmacSha2_256, &load_wycheproof("hmac_sha256"));
    check_macs(|_| Prf::HmacSha2_512, &load_wycheproof("hmac_sha512"));
    check_macs(|_| Prf::HmacSha1, &load_wycheproof("hmac_sha1"));
}

#[test]
fn prf_gives_the_answers_of_rfc_2202() {
    let vectors = load::<MacGroup>("rfc2202_hmac");
    check_macs(|group| if group.tag_bits == 128 { Prf::HmacMd5 } else { Prf::HmacSha1 }, &vectors);
}

/// CHECKLIST E13: keys of 16 octets and of others, for the PRF of XCBC and of CMAC.
/// RFC 3566 §4.6 and RFC 4434 §3; RFC 4493 §4 and RFC 4615 §4.
/// CHECKLIST E13.
#[test]
fn prf_of_aes_blocks_gives_the_answers_of_the_rfcs() {
    for group in load::<NamedMacGroup>("block_mac").groups {
        let prf = Prf::ALL.into_iter().find(|prf| prf.to_string() == group.mac).unwrap();
        for test in group.tests {
            // Any cut of the message gives the same.
            for cut in [0, test.msg.0.len() / 3, test.msg.0.len() / 2, test.msg.0.len()] {
                let (head, tail) = test.msg.0.split_at(cut);
                let output = prf.compute(&test.key.0, &[head, tail]);
                assert_eq!(output.as_bytes(), test.tag.0, "{prf} {}", test.id);
            }
        }
    }
}

/// Wycheproof's keys have the length that the cipher takes, or one that it refuses and that a PRF
/// takes in a way of its own (RFC 4615 §3).
#[test]
fn aes_cmac_gives_the_answers_of_wycheproof() {
    let mut vectors: Vectors<MacGroup> = load_wycheproof("aes_cmac");
    for group in &mut vectors.groups {
        group.tests.retain(|test| test.key.0.len() == 16);
    }
    check_macs(|_| Prf::Aes128Cmac, &vectors);
}

#[derive(Deserialize)]
struct KdfGroup {
    prf: String,
    tests: Vec<KdfTest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KdfTest {
    ni: Hex,
    nr: Hex,
    gir: Hex,
    gir_new: Hex,
    spi_i: Hex,
    spi_r: Hex,
    skeyseed: Hex,
    dkm: Hex,
    dkm_child: Hex,
    dkm_child_dh: Hex,
    skeyseed_rekey: Hex,
}

/// RFC 7296 §2.14 (SKEYSEED and the keys of an IKE SA), §2.17 (child SA), §2.18 (rekeyed IKE SA).
#[test]
fn prf_and_prf_plus_derive_the_keys_of_the_nist_cases() {
    let vectors = load::<KdfGroup>("nist_ikev2_kdf");
    assert_eq!(vectors.groups.len(), 6);
    for group in &vectors.groups {
        let prf = match group.prf.as_str() {
            "SHA-256" => Prf::HmacSha2_256,
            "SHA-384" => Prf::HmacSha2_384,
            "SHA-512" => Prf::HmacSha2_512,
            other => panic!("unknown hash {other}"),
        };
        for test in &group.tests {
            check_kdf(prf, test);
        }
    }
}

fn check_kdf(prf: Prf, test: &KdfTest) {
    let nonces = [test.ni.0.as_slice(), &test.nr.0];
    let skeyseed = prf.compute(Secret::concat(&nonces).as_bytes(), &[&test.gir.0]);
    assert_eq!(skeyseed.as_bytes(), test.skeyseed.0);

    let seed = [nonces[0], nonces[1], &test.spi_i.0, &test.spi_r.0];
    let dkm = prf.plus(skeyseed.as_bytes(), &seed, test.dkm.0.len()).unwrap();
    assert_eq!(dkm.as_bytes(), test.dkm.0);

    let sk_d = &dkm.as_bytes()[..prf.key_len()];
    let child = prf.plus(sk_d, &nonces, test.dkm_child.0.len()).unwrap();
    assert_eq!(child.as_bytes(), test.dkm_child.0);

    let seed = [test.gir_new.0.as_slice(), nonces[0], nonces[1]];
    let child = prf.plus(sk_d, &seed, test.dkm_child_dh.0.len()).unwrap();
    assert_eq!(child.as_bytes(), test.dkm_child_dh.0);
    let rekeyed = prf.compute(sk_d, &seed);
    assert_eq!(rekeyed.as_bytes(), test.skeyseed_rekey.0);
}
