//! Transform types and the algorithms under each (RFC 7296 §3.3.2, RFC 9370 §2.2.1).

use super::registry;

registry! {
    /// What a transform does.
    pub struct TransformType(u8) {
        ENCR = 1, "ENCR";
        PRF = 2, "PRF";
        INTEG = 3, "INTEG";
        KE = 4, "KE";
        ESN = 5, "ESN";
        ADDKE1 = 6, "ADDKE1";
        ADDKE2 = 7, "ADDKE2";
        ADDKE3 = 8, "ADDKE3";
        ADDKE4 = 9, "ADDKE4";
        ADDKE5 = 10, "ADDKE5";
        ADDKE6 = 11, "ADDKE6";
        ADDKE7 = 12, "ADDKE7";
    }
}

impl TransformType {
    /// Whether this is one of the additional key exchanges of RFC 9370.
    #[must_use]
    pub const fn is_additional_ke(self) -> bool {
        self.0 >= Self::ADDKE1.0 && self.0 <= Self::ADDKE7.0
    }
}

/// Whether an encryption algorithm is offered with a Key Length attribute (RFC 7296 §3.3.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyLength {
    /// The algorithm has keys of several lengths and the attribute must tell which.
    Required,
    /// The algorithm has several lengths and a default.
    Optional,
    /// The algorithm has keys of one length only.
    Forbidden,
    /// Nobody here knows the algorithm.
    Unknown,
}

registry! {
    /// Encryption algorithm (transform type 1).
    pub struct EncryptionId(u16) {
        DES_IV64 = 1, "ENCR_DES_IV64";
        DES = 2, "ENCR_DES";
        TRIPLE_DES = 3, "ENCR_3DES";
        RC5 = 4, "ENCR_RC5";
        IDEA = 5, "ENCR_IDEA";
        CAST = 6, "ENCR_CAST";
        BLOWFISH = 7, "ENCR_BLOWFISH";
        TRIPLE_IDEA = 8, "ENCR_3IDEA";
        DES_IV32 = 9, "ENCR_DES_IV32";
        NULL = 11, "ENCR_NULL";
        AES_CBC = 12, "ENCR_AES_CBC";
        AES_CTR = 13, "ENCR_AES_CTR";
        AES_CCM_8 = 14, "ENCR_AES_CCM_8";
        AES_CCM_12 = 15, "ENCR_AES_CCM_12";
        AES_CCM_16 = 16, "ENCR_AES_CCM_16";
        AES_GCM_8 = 18, "ENCR_AES_GCM_8";
        AES_GCM_12 = 19, "ENCR_AES_GCM_12";
        AES_GCM_16 = 20, "ENCR_AES_GCM_16";
        NULL_AUTH_AES_GMAC = 21, "ENCR_NULL_AUTH_AES_GMAC";
        CAMELLIA_CBC = 23, "ENCR_CAMELLIA_CBC";
        CAMELLIA_CTR = 24, "ENCR_CAMELLIA_CTR";
        CAMELLIA_CCM_8 = 25, "ENCR_CAMELLIA_CCM_8";
        CAMELLIA_CCM_12 = 26, "ENCR_CAMELLIA_CCM_12";
        CAMELLIA_CCM_16 = 27, "ENCR_CAMELLIA_CCM_16";
        CHACHA20_POLY1305 = 28, "ENCR_CHACHA20_POLY1305";
        AES_CCM_8_IIV = 29, "ENCR_AES_CCM_8_IIV";
        AES_GCM_16_IIV = 30, "ENCR_AES_GCM_16_IIV";
        CHACHA20_POLY1305_IIV = 31, "ENCR_CHACHA20_POLY1305_IIV";
        KUZNYECHIK_MGM_KTREE = 32, "ENCR_KUZNYECHIK_MGM_KTREE";
        MAGMA_MGM_KTREE = 33, "ENCR_MAGMA_MGM_KTREE";
        KUZNYECHIK_MGM_MAC_KTREE = 34, "ENCR_KUZNYECHIK_MGM_MAC_KTREE";
        MAGMA_MGM_MAC_KTREE = 35, "ENCR_MAGMA_MGM_MAC_KTREE";
    }
}

impl EncryptionId {
    /// Whether the algorithm also protects integrity, so that no INTEG transform goes with it
    /// (RFC 5282 §8, RFC 7634 §2).
    #[must_use]
    pub const fn is_aead(self) -> bool {
        matches!(
            self,
            Self::AES_CCM_8
                | Self::AES_CCM_12
                | Self::AES_CCM_16
                | Self::AES_GCM_8
                | Self::AES_GCM_12
                | Self::AES_GCM_16
                | Self::NULL_AUTH_AES_GMAC
                | Self::CAMELLIA_CCM_8
                | Self::CAMELLIA_CCM_12
                | Self::CAMELLIA_CCM_16
                | Self::CHACHA20_POLY1305
                | Self::AES_CCM_8_IIV
                | Self::AES_GCM_16_IIV
                | Self::CHACHA20_POLY1305_IIV
                | Self::KUZNYECHIK_MGM_KTREE
                | Self::MAGMA_MGM_KTREE
                | Self::KUZNYECHIK_MGM_MAC_KTREE
                | Self::MAGMA_MGM_MAC_KTREE
        )
    }

    /// Whether a Key Length attribute goes with the algorithm.
    #[must_use]
    pub const fn key_length(self) -> KeyLength {
        match self {
            Self::AES_CBC
            | Self::AES_CTR
            | Self::AES_CCM_8
            | Self::AES_CCM_12
            | Self::AES_CCM_16
            | Self::AES_GCM_8
            | Self::AES_GCM_12
            | Self::AES_GCM_16
            | Self::NULL_AUTH_AES_GMAC
            | Self::CAMELLIA_CBC
            | Self::CAMELLIA_CTR
            | Self::CAMELLIA_CCM_8
            | Self::CAMELLIA_CCM_12
            | Self::CAMELLIA_CCM_16
            | Self::AES_CCM_8_IIV
            | Self::AES_GCM_16_IIV => KeyLength::Required,
            // RFC 2451 §2.2 gives these a default.
            Self::RC5 | Self::CAST | Self::BLOWFISH => KeyLength::Optional,
            Self::DES_IV64
            | Self::DES
            | Self::TRIPLE_DES
            | Self::IDEA
            | Self::TRIPLE_IDEA
            | Self::DES_IV32
            | Self::NULL
            | Self::CHACHA20_POLY1305
            | Self::CHACHA20_POLY1305_IIV
            | Self::KUZNYECHIK_MGM_KTREE
            | Self::MAGMA_MGM_KTREE
            | Self::KUZNYECHIK_MGM_MAC_KTREE
            | Self::MAGMA_MGM_MAC_KTREE => KeyLength::Forbidden,
            _ => KeyLength::Unknown,
        }
    }
}

registry! {
    /// Pseudorandom function (transform type 2).
    pub struct PrfId(u16) {
        HMAC_MD5 = 1, "PRF_HMAC_MD5";
        HMAC_SHA1 = 2, "PRF_HMAC_SHA1";
        HMAC_TIGER = 3, "PRF_HMAC_TIGER";
        AES128_XCBC = 4, "PRF_AES128_XCBC";
        HMAC_SHA2_256 = 5, "PRF_HMAC_SHA2_256";
        HMAC_SHA2_384 = 6, "PRF_HMAC_SHA2_384";
        HMAC_SHA2_512 = 7, "PRF_HMAC_SHA2_512";
        AES128_CMAC = 8, "PRF_AES128_CMAC";
        HMAC_STREEBOG_512 = 9, "PRF_HMAC_STREEBOG_512";
    }
}

registry! {
    /// Integrity algorithm (transform type 3).
    pub struct IntegrityId(u16) {
        NONE = 0, "NONE";
        HMAC_MD5_96 = 1, "AUTH_HMAC_MD5_96";
        HMAC_SHA1_96 = 2, "AUTH_HMAC_SHA1_96";
        DES_MAC = 3, "AUTH_DES_MAC";
        KPDK_MD5 = 4, "AUTH_KPDK_MD5";
        AES_XCBC_96 = 5, "AUTH_AES_XCBC_96";
        HMAC_MD5_128 = 6, "AUTH_HMAC_MD5_128";
        HMAC_SHA1_160 = 7, "AUTH_HMAC_SHA1_160";
        AES_CMAC_96 = 8, "AUTH_AES_CMAC_96";
        AES_128_GMAC = 9, "AUTH_AES_128_GMAC";
        AES_192_GMAC = 10, "AUTH_AES_192_GMAC";
        AES_256_GMAC = 11, "AUTH_AES_256_GMAC";
        HMAC_SHA2_256_128 = 12, "AUTH_HMAC_SHA2_256_128";
        HMAC_SHA2_384_192 = 13, "AUTH_HMAC_SHA2_384_192";
        HMAC_SHA2_512_256 = 14, "AUTH_HMAC_SHA2_512_256";
    }
}

registry! {
    /// Key exchange method (transform types 4 and 6 to 12).
    pub struct KeyExchangeId(u16) {
        NONE = 0, "NONE";
        MODP_768 = 1, "MODP_768";
        MODP_1024 = 2, "MODP_1024";
        MODP_1536 = 5, "MODP_1536";
        MODP_2048 = 14, "MODP_2048";
        MODP_3072 = 15, "MODP_3072";
        MODP_4096 = 16, "MODP_4096";
        MODP_6144 = 17, "MODP_6144";
        MODP_8192 = 18, "MODP_8192";
        ECP_256 = 19, "ECP_256";
        ECP_384 = 20, "ECP_384";
        ECP_521 = 21, "ECP_521";
        MODP_1024_160 = 22, "MODP_1024_160";
        MODP_2048_224 = 23, "MODP_2048_224";
        MODP_2048_256 = 24, "MODP_2048_256";
        ECP_192 = 25, "ECP_192";
        ECP_224 = 26, "ECP_224";
        BRAINPOOL_P224R1 = 27, "BRAINPOOL_P224R1";
        BRAINPOOL_P256R1 = 28, "BRAINPOOL_P256R1";
        BRAINPOOL_P384R1 = 29, "BRAINPOOL_P384R1";
        BRAINPOOL_P512R1 = 30, "BRAINPOOL_P512R1";
        CURVE25519 = 31, "CURVE25519";
        CURVE448 = 32, "CURVE448";
        GOST3410_2012_256 = 33, "GOST3410_2012_256";
        GOST3410_2012_512 = 34, "GOST3410_2012_512";
        ML_KEM_512 = 35, "ML_KEM_512";
        ML_KEM_768 = 36, "ML_KEM_768";
        ML_KEM_1024 = 37, "ML_KEM_1024";
        ADIT_STATIC_ML_KEM_512 = 65035, "ADIT_STATIC_ML_KEM_512";
        ADIT_STATIC_ML_KEM_768 = 65036, "ADIT_STATIC_ML_KEM_768";
        ADIT_STATIC_ML_KEM_1024 = 65037, "ADIT_STATIC_ML_KEM_1024";
    }
}

impl KeyExchangeId {
    /// The KEM of a method that sends ciphertexts to the static keys of both sides, without an ephemeral
    /// key (private use, docs/dhless.md); `None` for every other method.
    #[must_use]
    pub const fn static_kem(self) -> Option<Self> {
        match self {
            Self::ADIT_STATIC_ML_KEM_512 => Some(Self::ML_KEM_512),
            Self::ADIT_STATIC_ML_KEM_768 => Some(Self::ML_KEM_768),
            Self::ADIT_STATIC_ML_KEM_1024 => Some(Self::ML_KEM_1024),
            _ => None,
        }
    }
}

registry! {
    /// Sequence numbers of ESP and AH (transform type 5).
    pub struct EsnId(u16) {
        NO_ESN = 0, "32-bit sequence numbers";
        ESN = 1, "64-bit sequence numbers";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Private use begins at 1024 (RFC 7296 §3.3.2); the rest are the numbers of the KEM itself.
    #[test]
    fn static_kems_are_private_numbers_of_a_kem() {
        for id in KeyExchangeId::ALL {
            assert_eq!(id.static_kem().is_some(), id.0 >= 1_024, "{id}");
            assert_eq!(id.static_kem().map(|kem| kem.0 + 65_000), id.static_kem().map(|_| id.0));
        }
    }

    #[test]
    fn every_named_cipher_says_how_long_its_key_is() {
        for id in EncryptionId::ALL {
            assert_ne!(id.key_length(), KeyLength::Unknown, "{id}");
        }
        assert_eq!(EncryptionId(999).key_length(), KeyLength::Unknown);
    }
}
