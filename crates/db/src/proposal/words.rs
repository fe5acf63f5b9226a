//! The words of `swanctl.conf` for the transforms of this suite.

use adit_wire::iana::{EncryptionId, IntegrityId, KeyExchangeId, PrfId, ProtocolId, TransformType};
use adit_wire::ikev2::Transform;

/// The transform a word stands for in a proposal of this protocol.
pub(super) fn transform_of(word: &str, protocol: ProtocolId) -> Option<Transform> {
    if protocol == ProtocolId::AH
        && let Some((_, transform)) = AH_WORDS.iter().find(|(known, _)| *known == word)
    {
        return Some(*transform);
    }
    if let Some((round, method)) = additional(word) {
        let base = find(method).filter(|transform| transform.kind == TransformType::KE)?;
        return Some(Transform {
            kind: TransformType(ADDKE_BEFORE_FIRST.checked_add(round)?),
            ..base
        });
    }
    find(word)
}

/// The first word that stands for a transform.
pub(super) fn word_of(transform: &Transform) -> Option<String> {
    if let Some(round @ 1..=7) = transform.kind.0.checked_sub(ADDKE_BEFORE_FIRST) {
        let base = Transform { kind: TransformType::KE, ..*transform };
        return word(&base).map(|word| format!("ke{round}_{word}"));
    }
    word(transform).map(str::to_owned)
}

/// Every word, for the nearest one to a slip and for completions.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(word, _)| *word).chain([
        "ke1_mlkem512",
        "ke1_mlkem768",
        "ke1_mlkem1024",
        "ke1_none",
        "default",
        "compat",
        "cnsa2",
        "fips",
    ])
}

/// The PRF of the same hash or cipher (RFC 4868 §2.4).
pub(super) fn prf_of_integrity(integrity: u16) -> Option<Transform> {
    match IntegrityId(integrity) {
        IntegrityId::HMAC_SHA2_256_128 => Some(prf(PrfId::HMAC_SHA2_256)),
        IntegrityId::HMAC_SHA2_384_192 => Some(prf(PrfId::HMAC_SHA2_384)),
        IntegrityId::HMAC_SHA2_512_256 => Some(prf(PrfId::HMAC_SHA2_512)),
        IntegrityId::AES_XCBC_96 => Some(prf(PrfId::AES128_XCBC)),
        IntegrityId::AES_CMAC_96 => Some(prf(PrfId::AES128_CMAC)),
        IntegrityId::HMAC_SHA1_96 => Some(prf(PrfId::HMAC_SHA1)),
        IntegrityId::HMAC_MD5_96 => Some(prf(PrfId::HMAC_MD5)),
        _ => None,
    }
}

/// Splits `ke1_mlkem768` into the round and the method.
fn additional(word: &str) -> Option<(u8, &str)> {
    let (round, method) = word.strip_prefix("ke")?.split_once('_')?;
    match round.as_bytes() {
        [digit @ b'1'..=b'7'] => Some((digit.checked_sub(b'0')?, method)),
        _ => None,
    }
}

fn find(word: &str) -> Option<Transform> {
    WORDS.iter().find(|(known, _)| *known == word).map(|(_, transform)| *transform)
}

fn word(transform: &Transform) -> Option<&'static str> {
    let mut all = WORDS.iter().chain(AH_WORDS);
    all.find(|(_, known)| known == transform).map(|(word, _)| *word)
}

const fn encr(id: EncryptionId, key_bits: Option<u16>) -> Transform {
    Transform { kind: TransformType::ENCR, id: id.0, key_bits }
}

const fn prf(id: PrfId) -> Transform {
    Transform { kind: TransformType::PRF, id: id.0, key_bits: None }
}

const fn integ(id: IntegrityId) -> Transform {
    Transform { kind: TransformType::INTEG, id: id.0, key_bits: None }
}

const fn ke(id: KeyExchangeId) -> Transform {
    Transform { kind: TransformType::KE, id: id.0, key_bits: None }
}

const fn esn(id: u16) -> Transform {
    Transform { kind: TransformType::ESN, id, key_bits: None }
}

/// ADDKE1 is transform type 6, RFC 9370 §2.2.1.
const ADDKE_BEFORE_FIRST: u8 = 5;

/// What ESP has as a cipher that only authenticates, AH has as integrity algorithm (RFC 4543 §4).
const AH_WORDS: &[(&str, Transform)] = &[
    ("aes128gmac", integ(IntegrityId::AES_128_GMAC)),
    ("aes192gmac", integ(IntegrityId::AES_192_GMAC)),
    ("aes256gmac", integ(IntegrityId::AES_256_GMAC)),
];

/// Of several words for a transform the first is the one we write.
const WORDS: &[(&str, Transform)] = &[
    ("aes128gcm16", encr(EncryptionId::AES_GCM_16, Some(128))),
    ("aes128gcm12", encr(EncryptionId::AES_GCM_12, Some(128))),
    ("aes128gcm8", encr(EncryptionId::AES_GCM_8, Some(128))),
    ("aes128ccm16", encr(EncryptionId::AES_CCM_16, Some(128))),
    ("aes128ccm12", encr(EncryptionId::AES_CCM_12, Some(128))),
    ("aes128ccm8", encr(EncryptionId::AES_CCM_8, Some(128))),
    ("aes192gcm16", encr(EncryptionId::AES_GCM_16, Some(192))),
    ("aes192gcm12", encr(EncryptionId::AES_GCM_12, Some(192))),
    ("aes192gcm8", encr(EncryptionId::AES_GCM_8, Some(192))),
    ("aes192ccm16", encr(EncryptionId::AES_CCM_16, Some(192))),
    ("aes192ccm12", encr(EncryptionId::AES_CCM_12, Some(192))),
    ("aes192ccm8", encr(EncryptionId::AES_CCM_8, Some(192))),
    ("aes256gcm16", encr(EncryptionId::AES_GCM_16, Some(256))),
    ("aes256gcm12", encr(EncryptionId::AES_GCM_12, Some(256))),
    ("aes256gcm8", encr(EncryptionId::AES_GCM_8, Some(256))),
    ("aes256ccm16", encr(EncryptionId::AES_CCM_16, Some(256))),
    ("aes256ccm12", encr(EncryptionId::AES_CCM_12, Some(256))),
    ("aes256ccm8", encr(EncryptionId::AES_CCM_8, Some(256))),
    ("chacha20poly1305", encr(EncryptionId::CHACHA20_POLY1305, None)),
    ("aes128gcm16iiv", encr(EncryptionId::AES_GCM_16_IIV, Some(128))),
    ("aes128ccm8iiv", encr(EncryptionId::AES_CCM_8_IIV, Some(128))),
    ("aes192gcm16iiv", encr(EncryptionId::AES_GCM_16_IIV, Some(192))),
    ("aes192ccm8iiv", encr(EncryptionId::AES_CCM_8_IIV, Some(192))),
    ("aes256gcm16iiv", encr(EncryptionId::AES_GCM_16_IIV, Some(256))),
    ("aes256ccm8iiv", encr(EncryptionId::AES_CCM_8_IIV, Some(256))),
    ("chacha20poly1305iiv", encr(EncryptionId::CHACHA20_POLY1305_IIV, None)),
    ("aes128", encr(EncryptionId::AES_CBC, Some(128))),
    ("aes192", encr(EncryptionId::AES_CBC, Some(192))),
    ("aes256", encr(EncryptionId::AES_CBC, Some(256))),
    ("aes128ctr", encr(EncryptionId::AES_CTR, Some(128))),
    ("aes192ctr", encr(EncryptionId::AES_CTR, Some(192))),
    ("aes256ctr", encr(EncryptionId::AES_CTR, Some(256))),
    ("aes128gmac", encr(EncryptionId::NULL_AUTH_AES_GMAC, Some(128))),
    ("aes192gmac", encr(EncryptionId::NULL_AUTH_AES_GMAC, Some(192))),
    ("aes256gmac", encr(EncryptionId::NULL_AUTH_AES_GMAC, Some(256))),
    ("camellia128", encr(EncryptionId::CAMELLIA_CBC, Some(128))),
    ("camellia192", encr(EncryptionId::CAMELLIA_CBC, Some(192))),
    ("camellia256", encr(EncryptionId::CAMELLIA_CBC, Some(256))),
    ("camellia128ctr", encr(EncryptionId::CAMELLIA_CTR, Some(128))),
    ("camellia192ctr", encr(EncryptionId::CAMELLIA_CTR, Some(192))),
    ("camellia256ctr", encr(EncryptionId::CAMELLIA_CTR, Some(256))),
    ("3des", encr(EncryptionId::TRIPLE_DES, None)),
    ("cast128", encr(EncryptionId::CAST, Some(128))),
    ("blowfish128", encr(EncryptionId::BLOWFISH, Some(128))),
    ("blowfish192", encr(EncryptionId::BLOWFISH, Some(192))),
    ("blowfish256", encr(EncryptionId::BLOWFISH, Some(256))),
    ("des", encr(EncryptionId::DES, None)),
    ("null", encr(EncryptionId::NULL, None)),
    ("aes", encr(EncryptionId::AES_CBC, Some(128))),
    ("camellia", encr(EncryptionId::CAMELLIA_CBC, Some(128))),
    ("blowfish", encr(EncryptionId::BLOWFISH, Some(128))),
    ("aes128gcm", encr(EncryptionId::AES_GCM_16, Some(128))),
    ("aes128gcm128", encr(EncryptionId::AES_GCM_16, Some(128))),
    ("aes128gcm96", encr(EncryptionId::AES_GCM_12, Some(128))),
    ("aes128gcm64", encr(EncryptionId::AES_GCM_8, Some(128))),
    ("aes128ccm128", encr(EncryptionId::AES_CCM_16, Some(128))),
    ("aes128ccm96", encr(EncryptionId::AES_CCM_12, Some(128))),
    ("aes128ccm64", encr(EncryptionId::AES_CCM_8, Some(128))),
    ("aes192gcm", encr(EncryptionId::AES_GCM_16, Some(192))),
    ("aes192gcm128", encr(EncryptionId::AES_GCM_16, Some(192))),
    ("aes192gcm96", encr(EncryptionId::AES_GCM_12, Some(192))),
    ("aes192gcm64", encr(EncryptionId::AES_GCM_8, Some(192))),
    ("aes192ccm128", encr(EncryptionId::AES_CCM_16, Some(192))),
    ("aes192ccm96", encr(EncryptionId::AES_CCM_12, Some(192))),
    ("aes192ccm64", encr(EncryptionId::AES_CCM_8, Some(192))),
    ("aes256gcm", encr(EncryptionId::AES_GCM_16, Some(256))),
    ("aes256gcm128", encr(EncryptionId::AES_GCM_16, Some(256))),
    ("aes256gcm96", encr(EncryptionId::AES_GCM_12, Some(256))),
    ("aes256gcm64", encr(EncryptionId::AES_GCM_8, Some(256))),
    ("aes256ccm128", encr(EncryptionId::AES_CCM_16, Some(256))),
    ("aes256ccm96", encr(EncryptionId::AES_CCM_12, Some(256))),
    ("aes256ccm64", encr(EncryptionId::AES_CCM_8, Some(256))),
    ("sha256", integ(IntegrityId::HMAC_SHA2_256_128)),
    ("sha384", integ(IntegrityId::HMAC_SHA2_384_192)),
    ("sha512", integ(IntegrityId::HMAC_SHA2_512_256)),
    ("aesxcbc", integ(IntegrityId::AES_XCBC_96)),
    ("aescmac", integ(IntegrityId::AES_CMAC_96)),
    ("sha1", integ(IntegrityId::HMAC_SHA1_96)),
    ("md5", integ(IntegrityId::HMAC_MD5_96)),
    ("sha", integ(IntegrityId::HMAC_SHA1_96)),
    ("sha2_256", integ(IntegrityId::HMAC_SHA2_256_128)),
    ("sha2_384", integ(IntegrityId::HMAC_SHA2_384_192)),
    ("sha2_512", integ(IntegrityId::HMAC_SHA2_512_256)),
    ("prfsha256", prf(PrfId::HMAC_SHA2_256)),
    ("prfsha384", prf(PrfId::HMAC_SHA2_384)),
    ("prfsha512", prf(PrfId::HMAC_SHA2_512)),
    ("prfaesxcbc", prf(PrfId::AES128_XCBC)),
    ("prfaescmac", prf(PrfId::AES128_CMAC)),
    ("prfsha1", prf(PrfId::HMAC_SHA1)),
    ("prfmd5", prf(PrfId::HMAC_MD5)),
    ("x25519", ke(KeyExchangeId::CURVE25519)),
    ("curve25519", ke(KeyExchangeId::CURVE25519)),
    ("x448", ke(KeyExchangeId::CURVE448)),
    ("curve448", ke(KeyExchangeId::CURVE448)),
    ("ecp192", ke(KeyExchangeId::ECP_192)),
    ("ecp224", ke(KeyExchangeId::ECP_224)),
    ("ecp256", ke(KeyExchangeId::ECP_256)),
    ("ecp384", ke(KeyExchangeId::ECP_384)),
    ("ecp521", ke(KeyExchangeId::ECP_521)),
    ("ecp256bp", ke(KeyExchangeId::BRAINPOOL_P256R1)),
    ("ecp384bp", ke(KeyExchangeId::BRAINPOOL_P384R1)),
    ("modp768", ke(KeyExchangeId::MODP_768)),
    ("modp1024", ke(KeyExchangeId::MODP_1024)),
    ("modp1536", ke(KeyExchangeId::MODP_1536)),
    ("modp2048", ke(KeyExchangeId::MODP_2048)),
    ("modp3072", ke(KeyExchangeId::MODP_3072)),
    ("modp4096", ke(KeyExchangeId::MODP_4096)),
    ("modp6144", ke(KeyExchangeId::MODP_6144)),
    ("modp8192", ke(KeyExchangeId::MODP_8192)),
    ("modp1024s160", ke(KeyExchangeId::MODP_1024_160)),
    ("modp2048s224", ke(KeyExchangeId::MODP_2048_224)),
    ("modp2048s256", ke(KeyExchangeId::MODP_2048_256)),
    ("mlkem512", ke(KeyExchangeId::ML_KEM_512)),
    ("mlkem768", ke(KeyExchangeId::ML_KEM_768)),
    ("mlkem1024", ke(KeyExchangeId::ML_KEM_1024)),
    ("static_mlkem512", ke(KeyExchangeId::ADIT_STATIC_ML_KEM_512)),
    ("static_mlkem768", ke(KeyExchangeId::ADIT_STATIC_ML_KEM_768)),
    ("static_mlkem1024", ke(KeyExchangeId::ADIT_STATIC_ML_KEM_1024)),
    ("none", ke(KeyExchangeId::NONE)),
    ("modpnone", ke(KeyExchangeId::NONE)),
    ("esn", esn(1)),
    ("noesn", esn(0)),
];
