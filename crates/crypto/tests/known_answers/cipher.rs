use adit_crypto::{AesKeySize, Cipher, Integrity, OpenError, OpenKey, Prf, SealKey, Secret};
use serde::Deserialize;

use crate::vectors::{Hex, Vectors, Verdict, load, load_wycheproof};

#[derive(Deserialize)]
struct AeadGroup {
    /// Bits.
    #[serde(rename = "ivSize")]
    iv_bits: usize,
    /// Bits.
    #[serde(rename = "keySize")]
    key_bits: usize,
    tests: Vec<AeadTest>,
}

#[derive(Deserialize)]
struct AeadTest {
    #[serde(rename = "tcId")]
    id: u32,
    key: Hex,
    iv: Hex,
    aad: Hex,
    msg: Hex,
    ct: Hex,
    tag: Hex,
    result: Verdict,
}

/// Checks every group that ESP could have: a 96-bit nonce, which we cut into salt and IV.
fn check_aead(cipher_of: impl Fn(usize) -> Option<Cipher>, vectors: &Vectors<AeadGroup>) -> usize {
    let mut checked = 0;
    for group in vectors.groups.iter().filter(|group| group.iv_bits == 96) {
        let Some(cipher) = cipher_of(group.key_bits) else {
            continue;
        };
        for test in &group.tests {
            check_aead_test(cipher, test);
            checked += 1;
        }
    }
    checked
}

fn check_aead_test(cipher: Cipher, test: &AeadTest) {
    let (salt, iv) = test.iv.0.split_at(4);
    let material = Secret::concat(&[&test.key.0, salt]);
    let none = Secret::default();

    let mut text = test.ct.0.clone();
    let open = OpenKey::new(cipher, &material, &none).unwrap();
    let opened = open.open(&test.aad.0, iv, &mut text, &test.tag.0, &[]);
    if test.result == Verdict::Invalid {
        assert_eq!(opened, Err(OpenError::Integrity), "{cipher} {}", test.id);
        return;
    }
    assert_eq!(opened, Ok(()), "{cipher} {}", test.id);
    assert_eq!(text, test.msg.0, "{cipher} {}", test.id);

    let counter = u64::from_be_bytes(iv.try_into().unwrap());
    let (mut iv_out, mut icv) = ([0; 8], [0; 16]);
    SealKey::new(cipher, &material, &none)
        .unwrap()
        .seal(counter, &test.aad.0, &mut iv_out, &mut text, &mut icv, &[])
        .unwrap();
    assert_eq!(iv_out, iv, "{cipher} {}", test.id);
    assert_eq!(text, test.ct.0, "{cipher} {}", test.id);
    assert_eq!(icv.as_slice(), test.tag.0, "{cipher} {}", test.id);
}

fn aes_gcm(key_bits: usize) -> Option<Cipher> {
    match key_bits {
        128 => Some(Cipher::AesGcm16(AesKeySize::Bits128)),
        256 => Some(Cipher::AesGcm16(AesKeySize::Bits256)),
        _ => None,
    }
}

#[test]
fn aes_gcm_gives_the_answers_of_nist() {
    assert_eq!(check_aead(aes_gcm, &load("nist_gcm_decrypt_128")), 150);
}

#[test]
fn aes_gcm_gives_the_answers_of_wycheproof() {
    assert!(check_aead(aes_gcm, &load_wycheproof("aes_gcm")) >= 33);
}

#[test]
fn chacha20_poly1305_gives_the_answers_of_wycheproof() {
    let vectors = load_wycheproof("chacha20_poly1305");
    assert!(check_aead(|_| Some(Cipher::ChaCha20Poly1305), &vectors) >= 37);
}

#[derive(Deserialize)]
struct CbcGroup {
    /// Bits.
    #[serde(rename = "keySize")]
    key_bits: usize,
    tests: Vec<CbcTest>,
}

#[derive(Deserialize)]
struct CbcTest {
    #[serde(rename = "tcId")]
    id: u32,
    key: Hex,
    iv: Hex,
    msg: Hex,
    ct: Hex,
    result: Verdict,
}

/// Opens each ciphertext below every HMAC; the ICV is computed here from the PRF of the same hash.
fn check_cbc(vectors: &Vectors<CbcGroup>) -> usize {
    let mut checked = 0;
    for group in &vectors.groups {
        let size = match group.key_bits {
            128 => AesKeySize::Bits128,
            256 => AesKeySize::Bits256,
            _ => continue,
        };
        for test in group.tests.iter().filter(|test| test.result == Verdict::Valid) {
            check_cbc_test(size, test);
            checked += 1;
        }
    }
    checked
}

fn check_cbc_test(size: AesKeySize, test: &CbcTest) {
    for (integrity, prf) in [
        (Integrity::HmacSha2_256_128, Prf::HmacSha2_256),
        (Integrity::HmacSha2_384_192, Prf::HmacSha2_384),
        (Integrity::HmacSha2_512_256, Prf::HmacSha2_512),
    ] {
        let cipher = Cipher::AesCbc(size, integrity);
        let key = Secret::new(vec![0x5a; integrity.key_len()]);
        let mac = prf.compute(key.as_bytes(), &[b"header", &test.iv.0, &test.ct.0, b"high"]);
        let icv = &mac.as_bytes()[..integrity.icv_len()];

        let mut text = test.ct.0.clone();
        OpenKey::new(cipher, &Secret::from_slice(&test.key.0), &key)
            .unwrap()
            .open(b"header", &test.iv.0, &mut text, icv, b"high")
            .unwrap();
        // Wycheproof's texts are padded (PKCS #5), NIST's are not; we neither pad nor unpad.
        assert!(text.starts_with(&test.msg.0), "{cipher} {}", test.id);
        let padding = &text[test.msg.0.len()..];
        assert!(padding.iter().all(|&octet| usize::from(octet) == padding.len()));
    }
}

#[test]
fn aes_cbc_gives_the_answers_of_nist() {
    assert_eq!(check_cbc(&load("nist_aes_cbc_128")), 18);
}

#[test]
fn aes_cbc_gives_the_answers_of_wycheproof() {
    assert!(check_cbc(&load_wycheproof("aes_cbc_pkcs5")) >= 16);
}

#[derive(Deserialize)]
struct EspGroup {
    tests: Vec<EspTest>,
}

#[derive(Deserialize)]
struct EspTest {
    comment: String,
    cipher: String,
    encryption: Hex,
    integrity: Hex,
    aad: Hex,
    iv: Hex,
    ct: Hex,
    tag: Hex,
    inner: Hex,
}

/// RFC 4303 §2: the inner packet, padding 1, 2, 3 …, pad length, next header.
#[test]
fn esp_packets_of_dpdk_open() {
    for test in load::<EspGroup>("dpdk_esp").groups.into_iter().flat_map(|group| group.tests) {
        let cipher =
            Cipher::ALL.into_iter().find(|cipher| cipher.to_string() == test.cipher).unwrap();
        let encryption = Secret::new(test.encryption.0);
        let integrity = Secret::new(test.integrity.0);
        let mut text = test.ct.0.clone();
        OpenKey::new(cipher, &encryption, &integrity)
            .unwrap()
            .open(&test.aad.0, &test.iv.0, &mut text, &test.tag.0, &[])
            .unwrap_or_else(|error| panic!("{}: {error}", test.comment));

        let (inner, trailer) = text.split_at(test.inner.0.len());
        assert_eq!(inner, test.inner.0, "{}", test.comment);
        let (pad_length, next_header) = (trailer[trailer.len() - 2], trailer[trailer.len() - 1]);
        assert_eq!(usize::from(pad_length), trailer.len() - 2, "{}", test.comment);
        assert_eq!(next_header, 4, "{}", test.comment);
    }
}
