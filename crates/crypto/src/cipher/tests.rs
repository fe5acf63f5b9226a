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
    let mut text = vec![0; text_len.next_multiple_of(cipher.text_multiple())];
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
    let Parts { aad, iv, text, icv, trailer } = parts;
    key.seal(counter, aad, iv, text, icv, trailer)?;
    if key.cipher().is_iv_implicit() {
        *iv = counter.to_be_bytes().to_vec();
    }
    Ok(())
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
            prop_assert_eq!(packet.text == sent.text, cipher.is_readable());
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
            wrong.push(("trailer", Parts { trailer: vec![0; 4], ..good.clone() }));
        }
        if cipher.text_multiple() > 1 {
            wrong.push(("text", Parts { text: vec![0; 33], ..good.clone() }));
        }
        for (name, parts) in wrong {
            let mut packet = parts.clone();
            let result = seal(&key, 1, &mut packet);
            assert_eq!(result, Err(SealError::Length(name)), "{cipher}");
            assert_eq!(packet, parts, "{cipher}");
        }
    }
}

/// RFC 4106 §3.1, RFC 7634 §2, RFC 3686 §3.1: the IV is the counter itself.
#[test]
fn iv_of_aeads_and_counter_modes_is_the_counter() {
    let counts = |cipher: &Cipher| cipher.iv_len() > 0 && cipher.text_multiple() == 1;
    for cipher in Cipher::ALL.into_iter().filter(counts) {
        let mut packet = clear(cipher, 16, 1);
        seal(&pair(cipher, 1).seal, 0x0102_0304_0506_0708, &mut packet).unwrap();
        assert_eq!(packet.iv, [1, 2, 3, 4, 5, 6, 7, 8], "{cipher}");
    }
}

/// RFC 8750 §3: what is sent is what the same AEAD sends, but for the IV.
#[test]
fn implicit_ivs_are_the_same_ivs_unsent() {
    for one in ImplicitIv::ALL {
        let (implicit, explicit) = (Cipher::ImplicitIv(one), one.explicit());
        let sealed = |cipher| {
            let mut packet = clear(cipher, 100, 1);
            seal(&pair(cipher, 1).seal, 0x0102_0304_0506_0708, &mut packet).unwrap();
            packet
        };
        assert_eq!(sealed(implicit), sealed(explicit), "{implicit}");
        assert_eq!((implicit.iv_len(), explicit.iv_len()), (0, 8));
        assert_eq!(implicit.octets_soft(), explicit.octets_soft());
    }
}

//= https://www.rfc-editor.org/rfc/rfc3602#section-3
//= type=test
//# The IV MUST be chosen at random, and MUST be unpredictable.
/// The same for the other block ciphers (RFC 2451 §3).
#[test]
fn cbc_ivs_differ_by_counter_and_by_key_and_tell_nothing_of_the_counter() {
    for encryption in Encryption::ALL.into_iter().filter(|one| one.block_len() > 1) {
        let cipher = Cipher::Paired(encryption, Integrity::HmacSha2_256_128);
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
        // About half of the bits are set in an unpredictable sequence.
        let ones: u32 = first.iter().flatten().map(|octet| octet.count_ones()).sum();
        let half = u32::try_from(500 * encryption.iv_len() * 4).unwrap();
        assert!(ones.abs_diff(half) < half / 32, "{cipher}: {ones} bits are set");
    }
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
        assert_eq!(cipher.encryption_id().is_aead(), cipher.is_aead());
    }
    let unique: std::collections::BTreeSet<Cipher> = Cipher::ALL.into_iter().collect();
    assert_eq!(unique.len(), Cipher::ALL.len());
}

/// RFC 2410 §3.1 leaves authenticity to the other algorithm, so there has to be one.
#[test]
fn every_suite_authenticates() {
    for cipher in Cipher::ALL {
        assert!(cipher.icv_len() >= 8, "{cipher}");
        assert!(cipher.is_aead() || cipher.integrity_key_len() >= 16, "{cipher}");
    }
}

/// Blocks of 8 octets end at an eighth of the birthday bound of 2^32 blocks, whatever is
/// configured; of the others none ends, and all but ChaCha20 and NULL are to be replaced.
#[test]
fn short_blocks_limit_what_a_key_may_carry() {
    for encryption in Encryption::ALL {
        let cipher = Cipher::Paired(encryption, Integrity::HmacSha2_256_128);
        match encryption.block_len() {
            8 => {
                assert_eq!(cipher.octets_soft(), Some(SHORT_BLOCK_OCTETS_SOFT));
                assert_eq!(cipher.octets_hard(), Some((8 << 32) / 8));
            }
            _ => {
                let soft = (encryption != Encryption::Null).then_some(AES_OCTETS_MAX);
                assert_eq!((cipher.octets_soft(), cipher.octets_hard()), (soft, None));
            }
        }
    }
    assert_eq!(Cipher::ChaCha20Poly1305.octets_soft(), None);
}

#[test]
fn combinations_that_the_rfcs_exclude_are_no_suites() {
    let sha = Some(IntegrityId::HMAC_SHA2_256_128);
    for (encryption, key_bits, integrity) in [
        (EncryptionId::AES_GCM_16, Some(256), sha),
        (EncryptionId::AES_GCM_16, None, None),
        (EncryptionId::AES_GCM_16, Some(160), None),
        (EncryptionId::AES_GCM_16, Some(0), None),
        (EncryptionId::CHACHA20_POLY1305, Some(256), None),
        (EncryptionId::CHACHA20_POLY1305, None, sha),
        (EncryptionId::AES_CBC, Some(128), None),
        (EncryptionId::AES_CBC, Some(128), Some(IntegrityId::NONE)),
        (EncryptionId::AES_CBC, None, sha),
        (EncryptionId::AES_CBC, Some(128), Some(IntegrityId::HMAC_MD5_128)),
        (EncryptionId::TRIPLE_DES, Some(192), sha),
        (EncryptionId::CAST, None, sha),
        (EncryptionId::NULL, None, None),
        (EncryptionId::NULL, None, Some(IntegrityId::NONE)),
        (EncryptionId::NULL_AUTH_AES_GMAC, Some(128), sha),
        (EncryptionId::AES_GCM_16_IIV, Some(128), sha),
        (EncryptionId::AES_GCM_16_IIV, None, None),
        (EncryptionId::CHACHA20_POLY1305_IIV, Some(256), None),
    ] {
        let found = Cipher::from_transforms(encryption, key_bits, integrity);
        assert_eq!(found, None, "{encryption} {key_bits:?} {integrity:?}");
    }
    let none = Some(IntegrityId::NONE);
    assert!(Cipher::from_transforms(EncryptionId::AES_GCM_16, Some(128), none).is_some());
}

#[test]
fn suites_print_as_swanctl_writes_them() {
    let aeads: Vec<String> =
        Cipher::ALL.iter().filter(|one| one.is_aead()).map(ToString::to_string).collect();
    assert_eq!(
        aeads.join(" "),
        "aes256gcm16 aes256ccm16 aes192gcm16 aes192ccm16 aes128gcm16 aes128ccm16 \
         aes256gcm12 aes256ccm12 aes192gcm12 aes192ccm12 aes128gcm12 aes128ccm12 \
         aes256gcm8 aes256ccm8 aes192gcm8 aes192ccm8 aes128gcm8 aes128ccm8 \
         chacha20poly1305 aes256gmac aes192gmac aes128gmac \
         aes256gcm16iiv aes192gcm16iiv aes128gcm16iiv chacha20poly1305iiv \
         aes256ccm8iiv aes192ccm8iiv aes128ccm8iiv"
    );
    let encryption: Vec<String> = Encryption::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(
        encryption.join(" "),
        "aes256 aes192 aes128 aes256ctr aes192ctr aes128ctr camellia256 camellia192 camellia128 \
         camellia256ctr camellia192ctr camellia128ctr 3des cast128 \
         blowfish256 blowfish192 blowfish128 des null"
    );
    let integrity: Vec<String> = Integrity::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(integrity.join(" "), "sha256 sha384 sha512 aesxcbc aescmac sha1 md5");
    let pair = Cipher::Paired(Encryption::AesCbc(KeySize::Bits128), Integrity::HmacSha2_256_128);
    assert_eq!(pair.to_string(), "aes128-sha256");
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
