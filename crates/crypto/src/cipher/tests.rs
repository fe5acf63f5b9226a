use proptest::prelude::*;

use super::*;
use crate::{Rng, Secret, SeededRng};

/// Both ends of one direction.
struct Pair {
    seal: SealKey,
    open: OpenKey,
}

/// What a packet consists of.
#[derive(Clone, Debug, PartialEq)]
struct Parts {
    aad: Vec<u8>,
    iv: Vec<u8>,
    text: Vec<u8>,
    icv: Vec<u8>,
    trailer: Vec<u8>,
}

fn pair(cipher: Cipher, seed: u64) -> Pair {
    let mut rng = SeededRng::new(seed);
    let encryption = Secret::random(cipher.encryption_key_len(), &mut rng);
    let integrity = Secret::random(cipher.integrity_key_len(), &mut rng);
    Pair {
        seal: SealKey::new(cipher, &encryption, &integrity).unwrap(),
        open: OpenKey::new(cipher, &encryption, &integrity).unwrap(),
    }
}

/// Clear parts of the nearest lengths that `cipher` takes.
fn clear(cipher: Cipher, text_len: usize, seed: u64) -> Parts {
    let rng: &mut dyn Rng = &mut SeededRng::new(!seed);
    let text_len =
        if cipher.is_aead() { text_len } else { text_len.next_multiple_of(cipher.block_len()) };
    let mut text = vec![0; text_len];
    rng.fill(&mut text);
    Parts {
        aad: rng.array::<8>().to_vec(),
        iv: vec![0; cipher.iv_len()],
        text,
        icv: vec![0; cipher.icv_len()],
        trailer: if cipher.is_aead() { Vec::new() } else { rng.array::<4>().to_vec() },
    }
}

fn seal(key: &SealKey, counter: u64, parts: &mut Parts) -> Result<(), SealError> {
    key.seal(counter, &parts.aad, &mut parts.iv, &mut parts.text, &mut parts.icv, &parts.trailer)
}

fn open(key: &OpenKey, parts: &mut Parts) -> Result<(), OpenError> {
    key.open(&parts.aad, &parts.iv, &mut parts.text, &parts.icv, &parts.trailer)
}

fn any_cipher() -> impl Strategy<Value = Cipher> {
    prop::sample::select(Cipher::ALL.to_vec())
}

proptest! {
    /// What one end seals, the other opens, and nothing but IV, text and ICV was touched.
    #[test]
    fn open_is_the_inverse_of_seal(
        cipher in any_cipher(),
        seed: u64,
        counter: u64,
        text_len in 0_usize..2_000,
    ) {
        let pair = pair(cipher, seed);
        let sent = clear(cipher, text_len, seed);

        let mut packet = sent.clone();
        seal(&pair.seal, counter, &mut packet).unwrap();
        if text_len >= 16 {
            prop_assert_ne!(&packet.text, &sent.text);
        }
        open(&pair.open, &mut packet).unwrap();

        prop_assert_eq!(packet.text, sent.text);
        prop_assert_eq!(packet.aad, sent.aad);
        prop_assert_eq!(packet.trailer, sent.trailer);
    }

    /// Every bit of every part is authenticated.
    #[test]
    fn a_flipped_bit_anywhere_is_refused(
        cipher in any_cipher(),
        seed: u64,
        text_len in 1_usize..200,
        place: prop::sample::Index,
    ) {
        let pair = pair(cipher, seed);
        let mut packet = clear(cipher, text_len, seed);
        seal(&pair.seal, 1, &mut packet).unwrap();

        let mut octets: Vec<&mut u8> = packet
            .aad
            .iter_mut()
            .chain(&mut packet.iv)
            .chain(&mut packet.text)
            .chain(&mut packet.icv)
            .chain(&mut packet.trailer)
            .collect();
        let bit = place.index(octets.len() * 8);
        *octets[bit / 8] ^= 1 << (bit % 8);

        prop_assert_eq!(open(&pair.open, &mut packet), Err(OpenError::Integrity));
    }

    /// Octets of any lengths are refused, never a panic.
    #[test]
    fn garbage_of_any_length_is_refused(
        cipher in any_cipher(),
        aad: Vec<u8>,
        iv in prop::collection::vec(any::<u8>(), 0..20),
        mut text: Vec<u8>,
        icv in prop::collection::vec(any::<u8>(), 0..40),
        trailer in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let pair = pair(cipher, 1);
        prop_assert!(pair.open.open(&aad, &iv, &mut text, &icv, &trailer).is_err());
    }
}

#[test]
fn another_key_opens_nothing() {
    for cipher in Cipher::ALL {
        let mut packet = clear(cipher, 64, 1);
        seal(&pair(cipher, 1).seal, 1, &mut packet).unwrap();
        let result = open(&pair(cipher, 2).open, &mut packet);
        assert_eq!(result, Err(OpenError::Integrity), "{cipher}");
    }
}

#[test]
fn keys_of_wrong_length_are_refused() {
    for cipher in Cipher::ALL {
        let encryption = Secret::new(vec![0; cipher.encryption_key_len()]);
        let integrity = Secret::new(vec![0; cipher.integrity_key_len()]);
        let longer = |secret: &Secret| Secret::new(vec![0; secret.len() + 1]);
        let error = SealKey::new(cipher, &longer(&encryption), &integrity).unwrap_err();
        assert_eq!(
            (error.encryption_octets, error.integrity_octets),
            (encryption.len() + 1, integrity.len())
        );
        assert!(SealKey::new(cipher, &encryption, &longer(&integrity)).is_err());
        assert!(OpenKey::new(cipher, &longer(&encryption), &integrity).is_err());
        assert!(OpenKey::new(cipher, &encryption, &longer(&integrity)).is_err());
        assert!(OpenKey::new(cipher, &encryption, &integrity).is_ok());
    }
}

#[test]
fn seal_names_the_slice_of_wrong_length_and_writes_nothing() {
    for cipher in Cipher::ALL {
        let key = pair(cipher, 1).seal;
        let good = clear(cipher, 32, 1);
        let mut wrong = vec![("iv", good.clone()), ("icv", good.clone())];
        wrong[0].1.iv.push(0);
        wrong[1].1.icv.pop();
        if cipher.is_aead() {
            let mut parts = good;
            parts.trailer = vec![0; 4];
            wrong.push(("trailer", parts));
        } else {
            let mut parts = good;
            parts.text.push(0);
            wrong.push(("text", parts));
        }
        for (name, parts) in wrong {
            let mut packet = parts.clone();
            let result = seal(&key, 1, &mut packet);
            assert_eq!(result, Err(SealError::Length(name)), "{cipher}");
            assert_eq!(packet, parts, "{cipher}");
        }
    }
}

/// RFC 4106 §3.1, RFC 7634 §2: the IV is the counter itself.
#[test]
fn aead_iv_is_the_counter() {
    for cipher in Cipher::ALL.into_iter().filter(|cipher| cipher.is_aead()) {
        let mut packet = clear(cipher, 16, 1);
        seal(&pair(cipher, 1).seal, 0x0102_0304_0506_0708, &mut packet).unwrap();
        assert_eq!(packet.iv, [1, 2, 3, 4, 5, 6, 7, 8], "{cipher}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc3602#section-3
//= type=test
//# The IV MUST be chosen at random, and MUST be unpredictable.
#[test]
fn cbc_ivs_differ_by_counter_and_by_key_and_tell_nothing_of_the_counter() {
    let cipher = Cipher::AesCbc(AesKeySize::Bits128, Integrity::HmacSha2_256_128);
    let ivs = |seed: u64| {
        let key = pair(cipher, seed).seal;
        (0..500)
            .map(|counter| {
                let mut packet = clear(cipher, 16, 1);
                seal(&key, counter, &mut packet).unwrap();
                packet.iv
            })
            .collect::<std::collections::BTreeSet<_>>()
    };
    let (first, second) = (ivs(1), ivs(2));
    assert_eq!(first.len(), 500);
    assert!(first.is_disjoint(&second));
    // About half of the bits of neighbours differ in an unpredictable sequence.
    let ones: u32 = first.iter().flatten().map(|octet| octet.count_ones()).sum();
    assert!((31_000..33_000).contains(&ones), "{ones} of 64000 bits are set");
}

/// A seeded run reproduces octet for octet, CBC included.
#[test]
fn sealing_is_a_function_of_key_counter_and_text() {
    for cipher in Cipher::ALL {
        let sealed = |_: ()| {
            let mut packet = clear(cipher, 48, 5);
            seal(&pair(cipher, 5).seal, 9, &mut packet).unwrap();
            packet
        };
        assert_eq!(sealed(()), sealed(()), "{cipher}");
    }
}

#[test]
fn transforms_name_the_suites_back() {
    for cipher in Cipher::ALL {
        let found = Cipher::from_transforms(
            cipher.encryption_id(),
            cipher.key_bits(),
            cipher.integrity_id(),
        );
        assert_eq!(found, Some(cipher));
    }
}

#[test]
fn combinations_that_the_rfcs_exclude_are_no_suites() {
    let sha = Some(IntegrityId::HMAC_SHA2_256_128);
    for (encryption, key_bits, integrity) in [
        (EncryptionId::AES_GCM_16, Some(256), sha),
        (EncryptionId::AES_GCM_16, None, None),
        (EncryptionId::AES_GCM_16, Some(192), None),
        (EncryptionId::AES_GCM_16, Some(0), None),
        (EncryptionId::CHACHA20_POLY1305, Some(256), None),
        (EncryptionId::CHACHA20_POLY1305, None, sha),
        (EncryptionId::AES_CBC, Some(128), None),
        (EncryptionId::AES_CBC, Some(128), Some(IntegrityId::NONE)),
        (EncryptionId::AES_CBC, None, sha),
        (EncryptionId::AES_CBC, Some(128), Some(IntegrityId::HMAC_MD5_96)),
        (EncryptionId::NULL, None, sha),
    ] {
        let found = Cipher::from_transforms(encryption, key_bits, integrity);
        assert_eq!(found, None, "{encryption} {key_bits:?} {integrity:?}");
    }
    let none = Some(IntegrityId::NONE);
    assert!(Cipher::from_transforms(EncryptionId::AES_GCM_16, Some(128), none).is_some());
}

#[test]
fn suites_print_as_swanctl_writes_them() {
    let printed: Vec<String> = Cipher::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(
        printed,
        [
            "aes256gcm16",
            "chacha20poly1305",
            "aes128gcm16",
            "aes256-sha256",
            "aes256-sha384",
            "aes256-sha512",
            "aes128-sha256",
            "aes128-sha384",
            "aes128-sha512",
        ]
    );
}

#[test]
fn keys_print_no_secret_and_may_move_between_threads() {
    fn sends<T: Send + Sync>() {}
    sends::<SealKey>();
    sends::<OpenKey>();
    let pair = pair(Cipher::ChaCha20Poly1305, 1);
    assert_eq!(format!("{:?}", pair.seal), "SealKey { cipher: ChaCha20Poly1305, .. }");
    assert_eq!(format!("{:?}", pair.open), "OpenKey { cipher: ChaCha20Poly1305, .. }");
}
