//! Numbers of the IPsec DOI (RFC 2407 §4) and of IKE's own attributes (RFC 2409 appendix A).

use super::{EncryptionId, IntegrityId, KeyExchangeId, PrfId, registry};

registry! {
    /// Domain of interpretation (RFC 2407 §4.2). Phase 1 may say [`Doi::ISAKMP`] in notifies.
    pub struct Doi(u32) {
        ISAKMP = 0, "ISAKMP";
        IPSEC = 1, "IPSEC";
    }
}

registry! {
    /// Situation, a set of bits (RFC 2407 §4.2).
    pub struct Situation(u32) {
        IDENTITY_ONLY = 1, "SIT_IDENTITY_ONLY";
        SECRECY = 2, "SIT_SECRECY";
        INTEGRITY = 4, "SIT_INTEGRITY";
    }
}

registry! {
    /// Security protocol (RFC 2407 §4.4.1).
    pub struct ProtocolId(u8) {
        NONE = 0, "NONE";
        ISAKMP = 1, "PROTO_ISAKMP";
        AH = 2, "PROTO_IPSEC_AH";
        ESP = 3, "PROTO_IPSEC_ESP";
        IPCOMP = 4, "PROTO_IPCOMP";
    }
}

registry! {
    /// Transform of PROTO_ISAKMP (RFC 2407 §4.4.2).
    pub struct IsakmpTransformId(u8) {
        KEY_IKE = 1, "KEY_IKE";
    }
}

registry! {
    /// Transform of PROTO_IPSEC_AH (RFC 2407 §4.4.3).
    pub struct AhTransformId(u8) {
        MD5 = 2, "AH_MD5";
        SHA = 3, "AH_SHA";
        DES = 4, "AH_DES";
        SHA2_256 = 5, "AH_SHA2-256";
        SHA2_384 = 6, "AH_SHA2-384";
        SHA2_512 = 7, "AH_SHA2-512";
        RIPEMD = 8, "AH_RIPEMD";
        AES_XCBC_MAC = 9, "AH_AES-XCBC-MAC";
        RSA = 10, "AH_RSA";
        AES_128_GMAC = 11, "AH_AES-128-GMAC";
        AES_192_GMAC = 12, "AH_AES-192-GMAC";
        AES_256_GMAC = 13, "AH_AES-256-GMAC";
    }
}

registry! {
    /// Transform of PROTO_IPSEC_ESP (RFC 2407 §4.4.4 and the documents of each cipher).
    pub struct EspTransformId(u8) {
        DES_IV64 = 1, "ESP_DES_IV64";
        DES = 2, "ESP_DES";
        TRIPLE_DES = 3, "ESP_3DES";
        RC5 = 4, "ESP_RC5";
        IDEA = 5, "ESP_IDEA";
        CAST = 6, "ESP_CAST";
        BLOWFISH = 7, "ESP_BLOWFISH";
        TRIPLE_IDEA = 8, "ESP_3IDEA";
        DES_IV32 = 9, "ESP_DES_IV32";
        RC4 = 10, "ESP_RC4";
        NULL = 11, "ESP_NULL";
        AES_CBC = 12, "ESP_AES-CBC";
        AES_CTR = 13, "ESP_AES-CTR";
        AES_CCM_8 = 14, "ESP_AES-CCM_8";
        AES_CCM_12 = 15, "ESP_AES-CCM_12";
        AES_CCM_16 = 16, "ESP_AES-CCM_16";
        AES_GCM_8 = 18, "ESP_AES-GCM_8";
        AES_GCM_12 = 19, "ESP_AES-GCM_12";
        AES_GCM_16 = 20, "ESP_AES-GCM_16";
        SEED_CBC = 21, "ESP_SEED_CBC";
        CAMELLIA = 22, "ESP_CAMELLIA";
        NULL_AUTH_AES_GMAC = 23, "ESP_NULL_AUTH_AES-GMAC";
    }
}

impl EspTransformId {
    /// The number of the same cipher in IKEv2, if it has one.
    #[must_use]
    pub const fn encryption(self) -> Option<EncryptionId> {
        match self {
            Self::CAMELLIA => Some(EncryptionId::CAMELLIA_CBC),
            Self::NULL_AUTH_AES_GMAC => Some(EncryptionId::NULL_AUTH_AES_GMAC),
            Self(id @ (1..=9 | 11..=16 | 18..=20)) => Some(EncryptionId(widened(id))),
            Self(_) => None,
        }
    }

    /// The transform of a cipher that has a number in IKEv2; the inverse of [`Self::encryption`].
    #[must_use]
    pub fn from_encryption(id: EncryptionId) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.encryption() == Some(id))
    }
}

registry! {
    /// Class of a phase 1 attribute (RFC 2409 appendix A).
    pub struct Phase1Class(u16) {
        ENCRYPTION_ALGORITHM = 1, "Encryption Algorithm";
        HASH_ALGORITHM = 2, "Hash Algorithm";
        AUTHENTICATION_METHOD = 3, "Authentication Method";
        GROUP_DESCRIPTION = 4, "Group Description";
        GROUP_TYPE = 5, "Group Type";
        GROUP_PRIME = 6, "Group Prime/Irreducible Polynomial";
        GROUP_GENERATOR_ONE = 7, "Group Generator One";
        GROUP_GENERATOR_TWO = 8, "Group Generator Two";
        GROUP_CURVE_A = 9, "Group Curve A";
        GROUP_CURVE_B = 10, "Group Curve B";
        LIFE_TYPE = 11, "Life Type";
        LIFE_DURATION = 12, "Life Duration";
        PRF = 13, "PRF";
        KEY_LENGTH = 14, "Key Length";
        FIELD_SIZE = 15, "Field Size";
        GROUP_ORDER = 16, "Group Order";
    }
}

impl Phase1Class {
    /// Whether a value is always of two octets: RFC 2409 appendix A calls these basic.
    #[must_use]
    pub const fn is_basic(self) -> bool {
        matches!(self.0, 1..=5 | 11 | 13..=15)
    }
}

registry! {
    /// Encryption algorithm of phase 1 (RFC 2409 appendix A).
    pub struct Phase1Encryption(u16) {
        DES_CBC = 1, "DES-CBC";
        IDEA_CBC = 2, "IDEA-CBC";
        BLOWFISH_CBC = 3, "Blowfish-CBC";
        RC5_R16_B64_CBC = 4, "RC5-R16-B64-CBC";
        TRIPLE_DES_CBC = 5, "3DES-CBC";
        CAST_CBC = 6, "CAST-CBC";
        AES_CBC = 7, "AES-CBC";
        CAMELLIA_CBC = 8, "CAMELLIA-CBC";
    }
}

impl Phase1Encryption {
    /// The number of the same cipher in IKEv2, if anybody here knows it.
    #[must_use]
    pub const fn encryption(self) -> Option<EncryptionId> {
        match self {
            Self::DES_CBC => Some(EncryptionId::DES),
            Self::IDEA_CBC => Some(EncryptionId::IDEA),
            Self::BLOWFISH_CBC => Some(EncryptionId::BLOWFISH),
            Self::RC5_R16_B64_CBC => Some(EncryptionId::RC5),
            Self::TRIPLE_DES_CBC => Some(EncryptionId::TRIPLE_DES),
            Self::CAST_CBC => Some(EncryptionId::CAST),
            Self::AES_CBC => Some(EncryptionId::AES_CBC),
            Self::CAMELLIA_CBC => Some(EncryptionId::CAMELLIA_CBC),
            Self(_) => None,
        }
    }

    /// The algorithm of a cipher that has a number in IKEv2; the inverse of [`Self::encryption`].
    #[must_use]
    pub fn from_encryption(id: EncryptionId) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.encryption() == Some(id))
    }
}

registry! {
    /// Hash algorithm of phase 1 (RFC 2409 appendix A, RFC 4868).
    pub struct Phase1Hash(u16) {
        MD5 = 1, "MD5";
        SHA = 2, "SHA";
        TIGER = 3, "Tiger";
        SHA2_256 = 4, "SHA2-256";
        SHA2_384 = 5, "SHA2-384";
        SHA2_512 = 6, "SHA2-512";
    }
}

impl Phase1Hash {
    /// HMAC with this hash: the prf where none is negotiated (RFC 2409 §4).
    #[must_use]
    pub const fn prf(self) -> Option<PrfId> {
        match self {
            Self::MD5 => Some(PrfId::HMAC_MD5),
            Self::SHA => Some(PrfId::HMAC_SHA1),
            Self::SHA2_256 => Some(PrfId::HMAC_SHA2_256),
            Self::SHA2_384 => Some(PrfId::HMAC_SHA2_384),
            Self::SHA2_512 => Some(PrfId::HMAC_SHA2_512),
            Self(_) => None,
        }
    }

    /// The hash below an HMAC; the inverse of [`Self::prf`].
    #[must_use]
    pub fn from_prf(id: PrfId) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.prf() == Some(id))
    }
}

registry! {
    /// Authentication method of phase 1: RFC 2409 appendix A, RFC 4754,
    /// draft-ietf-ipsec-dhless-enc-mode-00, draft-ietf-ipsec-isakmp-hybrid-auth-05,
    /// draft-ietf-ipsec-isakmp-xauth-06 §7.
    pub struct Phase1Auth(u16) {
        PRE_SHARED_KEY = 1, "pre-shared key";
        DSS_SIGNATURES = 2, "DSS signatures";
        RSA_SIGNATURES = 3, "RSA signatures";
        RSA_ENCRYPTION = 4, "Encryption with RSA";
        REVISED_RSA_ENCRYPTION = 5, "Revised encryption with RSA";
        DHLESS_RSA_ENCRYPTION = 6, "DHless RSA Encryption";
        ECDSA_GENERIC = 8, "ECDSA signatures";
        ECDSA_SHA256_P256 = 9, "ECDSA with SHA-256 on P-256";
        ECDSA_SHA384_P384 = 10, "ECDSA with SHA-384 on P-384";
        ECDSA_SHA512_P521 = 11, "ECDSA with SHA-512 on P-521";
        HYBRID_INIT_RSA = 64221, "HybridInitRSA";
        HYBRID_RESP_RSA = 64222, "HybridRespRSA";
        HYBRID_INIT_DSS = 64223, "HybridInitDSS";
        HYBRID_RESP_DSS = 64224, "HybridRespDSS";
        XAUTH_INIT_PRE_SHARED = 65001, "XAUTHInitPreShared";
        XAUTH_RESP_PRE_SHARED = 65002, "XAUTHRespPreShared";
        XAUTH_INIT_DSS = 65003, "XAUTHInitDSS";
        XAUTH_RESP_DSS = 65004, "XAUTHRespDSS";
        XAUTH_INIT_RSA = 65005, "XAUTHInitRSA";
        XAUTH_RESP_RSA = 65006, "XAUTHRespRSA";
        XAUTH_INIT_RSA_ENCRYPTION = 65007, "XAUTHInitRSAEncryption";
        XAUTH_RESP_RSA_ENCRYPTION = 65008, "XAUTHRespRSAEncryption";
        XAUTH_INIT_REVISED_RSA_ENCRYPTION = 65009, "XAUTHInitRSARevisedEncryption";
        XAUTH_RESP_REVISED_RSA_ENCRYPTION = 65010, "XAUTHRespRSARevisedEncryption";
    }
}

/// From what SKEYID is made (RFC 2409 §5, draft-ietf-ipsec-dhless-enc-mode-00 §2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyFrom {
    /// A pre-shared key.
    PreSharedKey,
    /// The nonces and the shared secret of the key exchange.
    Signatures,
    /// Nonces that only the peer can decrypt.
    Encryption,
    /// The same, in the revised mode with a single private key operation for each side.
    RevisedEncryption,
    /// The same, without a key exchange.
    Dhless,
}

impl Phase1Auth {
    /// From what SKEYID is made; none for a method nobody here knows.
    #[must_use]
    pub const fn key_from(self) -> Option<KeyFrom> {
        match self.0 {
            1 | 65_001 | 65_002 => Some(KeyFrom::PreSharedKey),
            2 | 3 | 8..=11 | 64_221..=64_224 | 65_003..=65_006 => Some(KeyFrom::Signatures),
            4 | 65_007 | 65_008 => Some(KeyFrom::Encryption),
            5 | 65_009 | 65_010 => Some(KeyFrom::RevisedEncryption),
            6 => Some(KeyFrom::Dhless),
            _ => None,
        }
    }

    /// Whether XAUTH has to follow phase 1.
    #[must_use]
    pub const fn is_followed_by_xauth(self) -> bool {
        matches!(self.0, 64_221..=64_224 | 65_001..=65_010)
    }
}

registry! {
    /// Group description (RFC 2409 §6, RFC 3526, RFC 5114, RFC 5903, RFC 6954): the numbers of IKEv2
    /// for the same groups. RFC 8031 gave Curve25519 none in version 1; its peers use that of IKEv2.
    pub struct GroupId(u16) {
        MODP_768 = 1, "MODP-768";
        MODP_1024 = 2, "MODP-1024";
        EC2N_155 = 3, "EC2N-155";
        EC2N_185 = 4, "EC2N-185";
        MODP_1536 = 5, "MODP-1536";
        EC2N_163_SECOND = 6, "EC2N-163 (6)";
        EC2N_163 = 7, "EC2N-163 (7)";
        EC2N_283_SECOND = 8, "EC2N-283 (8)";
        EC2N_283 = 9, "EC2N-283 (9)";
        EC2N_409_SECOND = 10, "EC2N-409 (10)";
        EC2N_409 = 11, "EC2N-409 (11)";
        EC2N_571_SECOND = 12, "EC2N-571 (12)";
        EC2N_571 = 13, "EC2N-571 (13)";
        MODP_2048 = 14, "MODP-2048";
        MODP_3072 = 15, "MODP-3072";
        MODP_4096 = 16, "MODP-4096";
        MODP_6144 = 17, "MODP-6144";
        MODP_8192 = 18, "MODP-8192";
        ECP_256 = 19, "ECP-256";
        ECP_384 = 20, "ECP-384";
        ECP_521 = 21, "ECP-521";
        MODP_1024_S160 = 22, "MODP-1024 with a subgroup of 160 bits";
        MODP_2048_S224 = 23, "MODP-2048 with a subgroup of 224 bits";
        MODP_2048_S256 = 24, "MODP-2048 with a subgroup of 256 bits";
        ECP_192 = 25, "ECP-192";
        ECP_224 = 26, "ECP-224";
        BRAINPOOL_224 = 27, "brainpoolP224r1";
        BRAINPOOL_256 = 28, "brainpoolP256r1";
        BRAINPOOL_384 = 29, "brainpoolP384r1";
        BRAINPOOL_512 = 30, "brainpoolP512r1";
        CURVE25519 = 31, "Curve25519";
    }
}

impl GroupId {
    /// The number of the group in IKEv2; none for groups over GF\[2^N\], which nobody has there.
    #[must_use]
    pub const fn key_exchange(self) -> Option<KeyExchangeId> {
        match self.0 {
            1 | 2 | 5 | 14..=31 => Some(KeyExchangeId(self.0)),
            _ => None,
        }
    }

    /// Whether the group is over GF\[2^N\].
    #[must_use]
    pub const fn is_ec2n(self) -> bool {
        matches!(self.0, 3 | 4 | 6..=13)
    }
}

registry! {
    /// What a lifetime is counted in (RFC 2407 §4.5, RFC 2409 appendix A).
    pub struct LifeType(u16) {
        SECONDS = 1, "seconds";
        KILOBYTES = 2, "kilobytes";
    }
}

registry! {
    /// Class of a phase 2 attribute (RFC 2407 §4.5, RFC 4304).
    pub struct Phase2Class(u16) {
        SA_LIFE_TYPE = 1, "SA Life Type";
        SA_LIFE_DURATION = 2, "SA Life Duration";
        GROUP_DESCRIPTION = 3, "Group Description";
        ENCAPSULATION_MODE = 4, "Encapsulation Mode";
        AUTHENTICATION_ALGORITHM = 5, "Authentication Algorithm";
        KEY_LENGTH = 6, "Key Length";
        KEY_ROUNDS = 7, "Key Rounds";
        COMPRESS_DICTIONARY_SIZE = 8, "Compress Dictionary Size";
        COMPRESS_PRIVATE_ALGORITHM = 9, "Compress Private Algorithm";
        ECN_TUNNEL = 10, "ECN Tunnel";
        EXTENDED_SEQUENCE_NUMBER = 11, "Extended (64-bit) Sequence Number";
    }
}

impl Phase2Class {
    /// Whether a value is always of two octets: RFC 2407 §4.5 calls these basic.
    #[must_use]
    pub const fn is_basic(self) -> bool {
        matches!(self.0, 1 | 3..=8 | 10 | 11)
    }
}

registry! {
    /// Encapsulation mode (RFC 2407 §4.5, RFC 3947 §5.1 and its drafts).
    pub struct EncapsulationMode(u16) {
        TUNNEL = 1, "Tunnel";
        TRANSPORT = 2, "Transport";
        UDP_TUNNEL = 3, "UDP-Encapsulated-Tunnel";
        UDP_TRANSPORT = 4, "UDP-Encapsulated-Transport";
        UDP_TUNNEL_DRAFT = 61443, "UDP-Encapsulated-Tunnel (draft)";
        UDP_TRANSPORT_DRAFT = 61444, "UDP-Encapsulated-Transport (draft)";
    }
}

impl EncapsulationMode {
    /// Whether the whole packet goes inside.
    #[must_use]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::TUNNEL | Self::UDP_TUNNEL | Self::UDP_TUNNEL_DRAFT)
    }

    /// Whether ESP goes in UDP.
    #[must_use]
    pub const fn is_udp(self) -> bool {
        matches!(self.0, 3 | 4 | 61_443 | 61_444)
    }
}

registry! {
    /// Authentication algorithm of phase 2 (RFC 2407 §4.5 and the documents of each).
    pub struct AuthAlgorithm(u16) {
        HMAC_MD5 = 1, "HMAC-MD5";
        HMAC_SHA = 2, "HMAC-SHA";
        DES_MAC = 3, "DES-MAC";
        KPDK = 4, "KPDK";
        HMAC_SHA2_256 = 5, "HMAC-SHA2-256";
        HMAC_SHA2_384 = 6, "HMAC-SHA2-384";
        HMAC_SHA2_512 = 7, "HMAC-SHA2-512";
        HMAC_RIPEMD = 8, "HMAC-RIPEMD";
        AES_XCBC_MAC = 9, "AES-XCBC-MAC";
        SIG_RSA = 10, "SIG-RSA";
        AES_128_GMAC = 11, "AES-128-GMAC";
        AES_192_GMAC = 12, "AES-192-GMAC";
        AES_256_GMAC = 13, "AES-256-GMAC";
    }
}

impl AuthAlgorithm {
    /// The number of the same algorithm in IKEv2, if it has one.
    #[must_use]
    pub const fn integrity(self) -> Option<IntegrityId> {
        match self {
            Self::HMAC_MD5 => Some(IntegrityId::HMAC_MD5_96),
            Self::HMAC_SHA => Some(IntegrityId::HMAC_SHA1_96),
            Self::HMAC_SHA2_256 => Some(IntegrityId::HMAC_SHA2_256_128),
            Self::HMAC_SHA2_384 => Some(IntegrityId::HMAC_SHA2_384_192),
            Self::HMAC_SHA2_512 => Some(IntegrityId::HMAC_SHA2_512_256),
            Self::AES_XCBC_MAC => Some(IntegrityId::AES_XCBC_96),
            Self::AES_128_GMAC => Some(IntegrityId::AES_128_GMAC),
            Self::AES_192_GMAC => Some(IntegrityId::AES_192_GMAC),
            Self::AES_256_GMAC => Some(IntegrityId::AES_256_GMAC),
            Self(_) => None,
        }
    }

    /// The algorithm that has a number in IKEv2; the inverse of [`Self::integrity`].
    #[must_use]
    pub fn from_integrity(id: IntegrityId) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.integrity() == Some(id))
    }

    /// The AH transform that goes with the algorithm (RFC 2407 §4.4.3: both have to be said).
    #[must_use]
    pub const fn ah_transform(self) -> Option<AhTransformId> {
        match self {
            Self::HMAC_MD5 => Some(AhTransformId::MD5),
            Self::HMAC_SHA => Some(AhTransformId::SHA),
            Self::DES_MAC => Some(AhTransformId::DES),
            Self::HMAC_SHA2_256 => Some(AhTransformId::SHA2_256),
            Self::HMAC_SHA2_384 => Some(AhTransformId::SHA2_384),
            Self::HMAC_SHA2_512 => Some(AhTransformId::SHA2_512),
            Self::HMAC_RIPEMD => Some(AhTransformId::RIPEMD),
            Self::AES_XCBC_MAC => Some(AhTransformId::AES_XCBC_MAC),
            Self::SIG_RSA => Some(AhTransformId::RSA),
            Self::AES_128_GMAC => Some(AhTransformId::AES_128_GMAC),
            Self::AES_192_GMAC => Some(AhTransformId::AES_192_GMAC),
            Self::AES_256_GMAC => Some(AhTransformId::AES_256_GMAC),
            Self(_) => None,
        }
    }
}

registry! {
    /// Identification type (RFC 2407 §4.6.2.1).
    pub struct IdType(u8) {
        IPV4_ADDR = 1, "ID_IPV4_ADDR";
        FQDN = 2, "ID_FQDN";
        USER_FQDN = 3, "ID_USER_FQDN";
        IPV4_ADDR_SUBNET = 4, "ID_IPV4_ADDR_SUBNET";
        IPV6_ADDR = 5, "ID_IPV6_ADDR";
        IPV6_ADDR_SUBNET = 6, "ID_IPV6_ADDR_SUBNET";
        IPV4_ADDR_RANGE = 7, "ID_IPV4_ADDR_RANGE";
        IPV6_ADDR_RANGE = 8, "ID_IPV6_ADDR_RANGE";
        DER_ASN1_DN = 9, "ID_DER_ASN1_DN";
        DER_ASN1_GN = 10, "ID_DER_ASN1_GN";
        KEY_ID = 11, "ID_KEY_ID";
    }
}

/// `u16::from` that the compiler can call.
const fn widened(id: u8) -> u16 {
    id as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_ascend_without_repetition() {
        fn ascends<T: Ord>(all: &[T]) -> bool {
            all.windows(2).all(|pair| pair[0] < pair[1])
        }
        assert!(ascends(ProtocolId::ALL));
        assert!(ascends(AhTransformId::ALL));
        assert!(ascends(EspTransformId::ALL));
        assert!(ascends(Phase1Class::ALL));
        assert!(ascends(Phase1Encryption::ALL));
        assert!(ascends(Phase1Hash::ALL));
        assert!(ascends(Phase1Auth::ALL));
        assert!(ascends(GroupId::ALL));
        assert!(ascends(Phase2Class::ALL));
        assert!(ascends(EncapsulationMode::ALL));
        assert!(ascends(AuthAlgorithm::ALL));
        assert!(ascends(IdType::ALL));
    }

    /// The registries of the two versions differ: Camellia is 22 here and 23 there, GMAC 23 and 21.
    #[test]
    fn numbers_of_version_1_become_those_of_version_2_and_back() {
        for &one in EspTransformId::ALL {
            if let Some(id) = one.encryption() {
                assert_eq!(EspTransformId::from_encryption(id), Some(one), "{one}");
                assert!(id.name().is_some(), "{one}");
            }
        }
        for &one in Phase1Encryption::ALL {
            let id = one.encryption().unwrap();
            assert_eq!(Phase1Encryption::from_encryption(id), Some(one));
        }
        for &one in AuthAlgorithm::ALL {
            if let Some(id) = one.integrity() {
                assert_eq!(AuthAlgorithm::from_integrity(id), Some(one), "{one}");
            }
            assert!(one.ah_transform().is_some() || one == AuthAlgorithm::KPDK);
        }
        for &one in Phase1Hash::ALL {
            if let Some(id) = one.prf() {
                assert_eq!(Phase1Hash::from_prf(id), Some(one), "{one}");
            }
        }
        assert_eq!(EspTransformId::CAMELLIA.encryption(), Some(EncryptionId(23)));
        assert_eq!(EspTransformId::NULL_AUTH_AES_GMAC.encryption(), Some(EncryptionId(21)));
        assert_eq!(EspTransformId(17).encryption(), None);
    }

    #[test]
    fn every_group_is_one_of_version_2_or_over_gf_2_n() {
        for group in GroupId::ALL {
            assert_ne!(group.key_exchange().is_some(), group.is_ec2n(), "{group}");
        }
    }

    #[test]
    fn every_known_method_says_where_skeyid_comes_from() {
        for method in Phase1Auth::ALL {
            assert!(method.key_from().is_some(), "{method}");
        }
        assert_eq!(Phase1Auth(7).key_from(), None);
        assert!(Phase1Auth::XAUTH_INIT_PRE_SHARED.is_followed_by_xauth());
        assert!(!Phase1Auth::PRE_SHARED_KEY.is_followed_by_xauth());
    }
}
