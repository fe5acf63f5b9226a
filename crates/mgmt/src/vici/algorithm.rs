//! Algorithms in charon's words, as they stand in `list-sa`: `AES_GCM_16`, `HMAC_SHA2_256_128`,
//! `PRF_HMAC_SHA2_256`, `CURVE_25519`. They are IANA's names with small differences.

use adit_wire::iana::{EncryptionId, IntegrityId, KeyExchangeId, PrfId};

/// An encryption algorithm, without its key length.
pub fn encryption(id: EncryptionId) -> String {
    match id {
        EncryptionId::TRIPLE_DES => "3DES_CBC".to_owned(),
        EncryptionId::DES => "DES_CBC".to_owned(),
        EncryptionId::CAST => "CAST_CBC".to_owned(),
        EncryptionId::BLOWFISH => "BLOWFISH_CBC".to_owned(),
        EncryptionId::NULL_AUTH_AES_GMAC => "NULL_AES_GMAC".to_owned(),
        other => without_prefix(&other.to_string(), "ENCR_"),
    }
}

/// An integrity algorithm.
pub fn integrity(id: IntegrityId) -> String {
    without_prefix(&id.to_string(), "AUTH_")
}

/// A pseudo-random function.
pub fn prf(id: PrfId) -> String {
    id.to_string()
}

/// A key exchange method.
pub fn key_exchange(id: KeyExchangeId) -> String {
    match id {
        KeyExchangeId::CURVE25519 => "CURVE_25519".to_owned(),
        KeyExchangeId::CURVE448 => "CURVE_448".to_owned(),
        KeyExchangeId::BRAINPOOL_P224R1 => "ECP_224_BP".to_owned(),
        KeyExchangeId::BRAINPOOL_P256R1 => "ECP_256_BP".to_owned(),
        KeyExchangeId::BRAINPOOL_P384R1 => "ECP_384_BP".to_owned(),
        KeyExchangeId::BRAINPOOL_P512R1 => "ECP_512_BP".to_owned(),
        other => other.to_string(),
    }
}

fn without_prefix(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names charon 5.9.8 printed in `list-sas --raw` and `list-algs`.
    #[test]
    fn names_are_charons() {
        assert_eq!(encryption(EncryptionId::AES_CBC), "AES_CBC");
        assert_eq!(encryption(EncryptionId::AES_GCM_16), "AES_GCM_16");
        assert_eq!(encryption(EncryptionId::CHACHA20_POLY1305), "CHACHA20_POLY1305");
        assert_eq!(encryption(EncryptionId::TRIPLE_DES), "3DES_CBC");
        assert_eq!(encryption(EncryptionId::BLOWFISH), "BLOWFISH_CBC");
        assert_eq!(encryption(EncryptionId::CAMELLIA_CTR), "CAMELLIA_CTR");
        assert_eq!(encryption(EncryptionId::AES_CCM_8), "AES_CCM_8");
        assert_eq!(encryption(EncryptionId::NULL), "NULL");
        assert_eq!(encryption(EncryptionId::NULL_AUTH_AES_GMAC), "NULL_AES_GMAC");
        assert_eq!(integrity(IntegrityId::AES_XCBC_96), "AES_XCBC_96");
        assert_eq!(prf(PrfId::AES128_CMAC), "PRF_AES128_CMAC");
        assert_eq!(integrity(IntegrityId::HMAC_SHA2_256_128), "HMAC_SHA2_256_128");
        assert_eq!(integrity(IntegrityId::HMAC_SHA2_384_192), "HMAC_SHA2_384_192");
        assert_eq!(prf(PrfId::HMAC_SHA2_256), "PRF_HMAC_SHA2_256");
        assert_eq!(key_exchange(KeyExchangeId::CURVE25519), "CURVE_25519");
        assert_eq!(key_exchange(KeyExchangeId::ECP_384), "ECP_384");
        assert_eq!(key_exchange(KeyExchangeId::MODP_2048), "MODP_2048");
    }
}
