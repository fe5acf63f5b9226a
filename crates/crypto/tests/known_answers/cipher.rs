use adit_crypto::{
    Cipher, Encryption, IcvSize, Integrity, KeySize, OpenError, OpenKey, Prf, SealKey, Secret,
};
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

/// Checks every group whose nonce is ESP's: salt and an IV of eight octets. The ICV is the
/// beginning of the tag, where the cipher has a shorter one.
fn check_aead(cipher_of: impl Fn(KeySize) -> Cipher, vectors: &Vectors<AeadGroup>) -> usize {
    let mut checked = 0;
    for group in &vectors.groups {
        let Some(size) = KeySize::ALL.into_iter().find(|s| usize::from(s.bits()) == group.key_bits)
        else {
            continue;
        };
        let cipher = cipher_of(size);
        let salt_len = cipher.encryption_key_len() - size.octets();
        if group.iv_bits != (salt_len + cipher.iv_len()) * 8 {
            continue;
        }
        for test in &group.tests {
            check_aead_test(cipher, salt_len, test);
            checked += 1;
        }
    }
    checked
}

fn check_aead_test(cipher: Cipher, salt_len: usize, test: &AeadTest) {
    let (salt, iv) = test.iv.0.split_at(salt_len);
    let material = Secret::concat(&[&test.key.0, salt]);
    let none = Secret::default();
    let tag = &test.tag.0[..cipher.icv_len()];

    let mut text = test.ct.0.clone();
    let open = OpenKey::new(cipher, &material, &none).unwrap();
    let opened = open.open(&test.aad.0, iv, &mut text, tag, &[]);
    if test.result == Verdict::Invalid {
        // The difference may lie behind a shortened tag.
        if cipher.icv_len() == 16 {
            assert_eq!(opened, Err(OpenError::Integrity), "{cipher} {}", test.id);
        }
        return;
    }
    assert_eq!(opened, Ok(()), "{cipher} {}", test.id);
    assert_eq!(text, test.msg.0, "{cipher} {}", test.id);

    let counter = u64::from_be_bytes(iv.try_into().unwrap());
    let (mut iv_out, mut icv) = ([0; 8], vec![0; cipher.icv_len()]);
    SealKey::new(cipher, &material, &none)
        .unwrap()
        .seal(counter, &test.aad.0, &mut iv_out, &mut text, &mut icv, &[])
        .unwrap();
    assert_eq!(iv_out, iv, "{cipher} {}", test.id);
    assert_eq!(text, test.ct.0, "{cipher} {}", test.id);
    assert_eq!(icv, tag, "{cipher} {}", test.id);
}

#[test]
fn aes_gcm_gives_the_answers_of_nist() {
    for icv in IcvSize::ALL {
        let checked = check_aead(|size| Cipher::AesGcm(size, icv), &load("nist_gcm_decrypt_128"));
        assert_eq!(checked, 150);
    }
}

#[test]
fn aes_gcm_gives_the_answers_of_wycheproof() {
    for icv in IcvSize::ALL {
        let checked = check_aead(|size| Cipher::AesGcm(size, icv), &load_wycheproof("aes_gcm"));
        assert!(checked >= 47);
    }
}

/// Shorter ICVs of AES-CCM are no prefixes of longer ones: the length enters the first block
/// (RFC 3610 §2.2). They are in the packets of `adit-dataplane`.
#[test]
fn aes_ccm_gives_the_answers_of_wycheproof() {
    let vectors = load_wycheproof("aes_ccm");
    assert!(check_aead(|size| Cipher::AesCcm(size, IcvSize::Octets16), &vectors) >= 18);
}

#[test]
fn chacha20_poly1305_gives_the_answers_of_wycheproof() {
    let vectors = load_wycheproof("chacha20_poly1305");
    assert!(check_aead(|_| Cipher::ChaCha20Poly1305, &vectors) >= 37);
}

/// AES-GMAC is AES-GCM without text (RFC 4543 §2): the tests of AES-GCM that have none, in which
/// our IV happens to end the associated data.
#[test]
fn aes_gmac_authenticates_iv_and_text_as_associated_data() {
    let vectors: Vectors<AeadGroup> = load("nist_gcm_decrypt_128");
    let tests = vectors.groups.iter().flat_map(|group| &group.tests);
    for test in tests.take(20) {
        let (salt, iv) = test.iv.0.split_at(4);
        let material = Secret::concat(&[&test.key.0, salt]);
        let none = Secret::default();
        let counter = u64::from_be_bytes(iv.try_into().unwrap());
        for aad_len in [8, 12] {
            let (aad, mut text) = (vec![0xa5; aad_len], test.ct.0.clone());
            let whole = [&aad, iv, &text].concat();
            let (mut iv_out, mut tag, mut icv) = ([0; 8], [0; 16], [0; 16]);
            let gcm = Cipher::AesGcm(KeySize::Bits128, IcvSize::Octets16);
            SealKey::new(gcm, &material, &none)
                .unwrap()
                .seal(counter, &whole, &mut iv_out, &mut [], &mut tag, &[])
                .unwrap();
            SealKey::new(Cipher::AesGmac(KeySize::Bits128), &material, &none)
                .unwrap()
                .seal(counter, &aad, &mut iv_out, &mut text, &mut icv, &[])
                .unwrap();
            assert_eq!(icv, tag, "{}", test.id);
            assert_eq!(text, test.ct.0, "{}: nothing is encrypted", test.id);
        }
    }
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
    /// Of a counter mode.
    #[serde(default)]
    nonce: Hex,
    iv: Hex,
    msg: Hex,
    ct: Hex,
    result: Verdict,
}

/// Opens each ciphertext below every integrity algorithm that has a PRF of the same key length;
/// the ICV is computed here by that PRF.
fn check_cbc(vectors: &Vectors<CbcGroup>) -> usize {
    let mut checked = 0;
    for group in &vectors.groups {
        let size = KeySize::ALL.into_iter().find(|s| usize::from(s.bits()) == group.key_bits);
        let Some(size) = size else {
            continue;
        };
        for test in group.tests.iter().filter(|test| test.result == Verdict::Valid) {
            check_pair(Encryption::AesCbc(size), test);
            checked += 1;
        }
    }
    checked
}

const MACS: [(Integrity, Prf); 7] = [
    (Integrity::HmacSha2_256_128, Prf::HmacSha2_256),
    (Integrity::HmacSha2_384_192, Prf::HmacSha2_384),
    (Integrity::HmacSha2_512_256, Prf::HmacSha2_512),
    (Integrity::AesXcbc96, Prf::Aes128Xcbc),
    (Integrity::AesCmac96, Prf::Aes128Cmac),
    (Integrity::HmacSha1_96, Prf::HmacSha1),
    (Integrity::HmacMd5_96, Prf::HmacMd5),
];

fn check_pair(encryption: Encryption, test: &CbcTest) {
    for (integrity, prf) in MACS {
        let cipher = Cipher::Paired(encryption, integrity);
        let key = Secret::new(vec![0x5a; integrity.key_len()]);
        let mac = prf.compute(key.as_bytes(), &[b"header", &test.iv.0, &test.ct.0, b"high"]);
        let icv = &mac.as_bytes()[..integrity.icv_len()];

        let mut text = test.ct.0.clone();
        let material = Secret::concat(&[&test.key.0, &test.nonce.0]);
        OpenKey::new(cipher, &material, &key)
            .unwrap()
            .open(b"header", &test.iv.0, &mut text, icv, b"high")
            .unwrap();
        // Wycheproof's texts are padded (PKCS #5), NIST's are not; we neither pad nor unpad.
        assert!(text.starts_with(&test.msg.0), "{cipher} {}", test.id);
        let padding = &text[test.msg.0.len()..];
        assert!(padding.iter().all(|&octet| usize::from(octet) == padding.len()));
    }
}

#[derive(Deserialize)]
struct PairGroup {
    /// In swanctl's words.
    cipher: String,
    tests: Vec<CbcTest>,
}

fn check_pairs(vectors: &Vectors<PairGroup>) -> usize {
    let mut checked = 0;
    for group in &vectors.groups {
        let named = |one: &Encryption| one.to_string() == group.cipher;
        let encryption = Encryption::ALL.into_iter().find(named).unwrap();
        for test in &group.tests {
            check_pair(encryption, test);
            checked += 1;
        }
    }
    checked
}

/// Camellia, 3DES, DES, Blowfish, CAST-128, and AES with 192 bits of key.
#[test]
fn cbc_gives_the_answers_of_others() {
    assert_eq!(check_pairs(&load("block_cbc")), 63);
}

/// A counter mode is its own inverse, so the same answers serve sealing.
#[test]
fn counter_mode_gives_the_answers_of_rfc_3686_and_rfc_5528() {
    let vectors: Vectors<PairGroup> = load("block_ctr");
    assert_eq!(check_pairs(&vectors), 28);
    for group in &vectors.groups {
        let named = |one: &Encryption| one.to_string() == group.cipher;
        let encryption = Encryption::ALL.into_iter().find(named).unwrap();
        for test in &group.tests {
            let cipher = Cipher::Paired(encryption, Integrity::HmacSha2_256_128);
            let material = Secret::concat(&[&test.key.0, &test.nonce.0]);
            let key = SealKey::new(cipher, &material, &Secret::new(vec![1; 32])).unwrap();
            let counter = u64::from_be_bytes(test.iv.0.as_slice().try_into().unwrap());
            let (mut iv, mut icv, mut text) = ([0; 8], [0; 16], test.msg.0.clone());
            key.seal(counter, &[], &mut iv, &mut text, &mut icv, &[]).unwrap();
            assert_eq!((iv.as_slice(), &text), (test.iv.0.as_slice(), &test.ct.0), "{}", test.id);
        }
    }
}

#[test]
fn aes_cbc_gives_the_answers_of_nist() {
    assert_eq!(check_cbc(&load("nist_aes_cbc_128")), 18);
}

#[test]
fn aes_cbc_gives_the_answers_of_wycheproof() {
    assert!(check_cbc(&load_wycheproof("aes_cbc_pkcs5")) >= 18);
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
