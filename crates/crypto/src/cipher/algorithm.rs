//! Single algorithms that a suite is made of: RFC 2403 to 2405, 2410, 2451, 3566, 3602, 3686,
//! 4312, 4494, 4868, 5529, 8750.

use core::fmt;

use adit_wire::iana::{EncryptionId, IntegrityId};

use super::Cipher;

/// Length of a cipher's key, where the cipher has several.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeySize {
    /// 16 octets.
    Bits128,
    /// 24 octets.
    Bits192,
    /// 32 octets.
    Bits256,
}

/// Length of the ICV, where an AEAD has several.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum IcvSize {
    /// 64 bits.
    Octets8,
    /// 96 bits.
    Octets12,
    /// 128 bits.
    Octets16,
}

/// AEAD that sends no IV, for the sequence number is one (RFC 8750 §3). ESP only.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ImplicitIv {
    /// ENCR_AES_GCM_16_IIV.
    AesGcm16(KeySize),
    /// ENCR_AES_CCM_8_IIV.
    AesCcm8(KeySize),
    /// ENCR_CHACHA20_POLY1305_IIV.
    ChaCha20Poly1305,
}

/// Encryption algorithm that needs an integrity algorithm beside it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Encryption {
    /// ENCR_AES_CBC (RFC 3602).
    AesCbc(KeySize),
    /// ENCR_AES_CTR (RFC 3686).
    AesCtr(KeySize),
    /// ENCR_CAMELLIA_CBC (RFC 4312).
    CamelliaCbc(KeySize),
    /// ENCR_CAMELLIA_CTR (RFC 5529).
    CamelliaCtr(KeySize),
    /// ENCR_3DES with three keys (RFC 2451).
    TripleDes,
    /// ENCR_DES (RFC 2405).
    Des,
    /// ENCR_BLOWFISH (RFC 2451).
    Blowfish(KeySize),
    /// ENCR_CAST with 128 bits of key (RFC 2451).
    Cast128,
    /// ENCR_NULL (RFC 2410): nothing is secret, everything is authentic.
    Null,
}

/// Integrity algorithm beside an encryption algorithm that has none of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Integrity {
    /// AUTH_HMAC_SHA2_256_128 (RFC 4868).
    HmacSha2_256_128,
    /// AUTH_HMAC_SHA2_384_192 (RFC 4868).
    HmacSha2_384_192,
    /// AUTH_HMAC_SHA2_512_256 (RFC 4868).
    HmacSha2_512_256,
    /// AUTH_AES_XCBC_96 (RFC 3566).
    AesXcbc96,
    /// AUTH_AES_CMAC_96 (RFC 4494).
    AesCmac96,
    /// AUTH_HMAC_SHA1_96 (RFC 2404).
    HmacSha1_96,
    /// AUTH_HMAC_MD5_96 (RFC 2403).
    HmacMd5_96,
}

/// Octets of the nonce at the end of a counter mode's key material (RFC 3686 §5.1).
pub(super) const CTR_NONCE_LEN: usize = 4;

impl KeySize {
    /// Every length, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Bits256, Self::Bits192, Self::Bits128];

    /// Key length in bits, as the Key Length attribute carries it (RFC 7296 §3.3.5).
    pub const fn bits(self) -> u16 {
        match self {
            Self::Bits128 => 128,
            Self::Bits192 => 192,
            Self::Bits256 => 256,
        }
    }

    /// Key length in octets.
    pub const fn octets(self) -> usize {
        match self {
            Self::Bits128 => 16,
            Self::Bits192 => 24,
            Self::Bits256 => 32,
        }
    }

    pub(super) fn from_bits(bits: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.bits() == bits)
    }
}

impl IcvSize {
    /// Every length, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Octets16, Self::Octets12, Self::Octets8];

    /// ICV length in octets.
    pub const fn octets(self) -> usize {
        match self {
            Self::Octets8 => 8,
            Self::Octets12 => 12,
            Self::Octets16 => 16,
        }
    }
}

impl ImplicitIv {
    /// Every algorithm, the preferred one first.
    pub const ALL: [Self; 7] = [
        Self::AesGcm16(KeySize::Bits256),
        Self::AesGcm16(KeySize::Bits192),
        Self::AesGcm16(KeySize::Bits128),
        Self::ChaCha20Poly1305,
        Self::AesCcm8(KeySize::Bits256),
        Self::AesCcm8(KeySize::Bits192),
        Self::AesCcm8(KeySize::Bits128),
    ];

    /// The same AEAD with the IV in the packet: keys, salt, nonce and ICV are its own.
    pub const fn explicit(self) -> Cipher {
        match self {
            Self::AesGcm16(size) => Cipher::AesGcm(size, IcvSize::Octets16),
            Self::AesCcm8(size) => Cipher::AesCcm(size, IcvSize::Octets8),
            Self::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305,
        }
    }

    /// The number IANA gave the algorithm.
    pub const fn id(self) -> EncryptionId {
        match self {
            Self::AesGcm16(_) => EncryptionId::AES_GCM_16_IIV,
            Self::AesCcm8(_) => EncryptionId::AES_CCM_8_IIV,
            Self::ChaCha20Poly1305 => EncryptionId::CHACHA20_POLY1305_IIV,
        }
    }

    pub(super) fn from_id(id: EncryptionId, key_bits: Option<u16>) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.id() == id && one.explicit().key_bits() == key_bits)
    }
}

impl Encryption {
    /// Every algorithm, the preferred one first.
    pub const ALL: [Self; 19] = [
        Self::AesCbc(KeySize::Bits256),
        Self::AesCbc(KeySize::Bits192),
        Self::AesCbc(KeySize::Bits128),
        Self::AesCtr(KeySize::Bits256),
        Self::AesCtr(KeySize::Bits192),
        Self::AesCtr(KeySize::Bits128),
        Self::CamelliaCbc(KeySize::Bits256),
        Self::CamelliaCbc(KeySize::Bits192),
        Self::CamelliaCbc(KeySize::Bits128),
        Self::CamelliaCtr(KeySize::Bits256),
        Self::CamelliaCtr(KeySize::Bits192),
        Self::CamelliaCtr(KeySize::Bits128),
        Self::TripleDes,
        Self::Cast128,
        Self::Blowfish(KeySize::Bits256),
        Self::Blowfish(KeySize::Bits192),
        Self::Blowfish(KeySize::Bits128),
        Self::Des,
        Self::Null,
    ];

    /// The algorithm with this number and Key Length attribute, if we have it.
    pub fn from_id(id: EncryptionId, key_bits: Option<u16>) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.id() == id && one.key_bits() == key_bits)
    }

    /// The number IANA gave the algorithm.
    pub const fn id(self) -> EncryptionId {
        match self {
            Self::AesCbc(_) => EncryptionId::AES_CBC,
            Self::AesCtr(_) => EncryptionId::AES_CTR,
            Self::CamelliaCbc(_) => EncryptionId::CAMELLIA_CBC,
            Self::CamelliaCtr(_) => EncryptionId::CAMELLIA_CTR,
            Self::TripleDes => EncryptionId::TRIPLE_DES,
            Self::Des => EncryptionId::DES,
            Self::Blowfish(_) => EncryptionId::BLOWFISH,
            Self::Cast128 => EncryptionId::CAST,
            Self::Null => EncryptionId::NULL,
        }
    }

    /// Value of the Key Length attribute in bits; none for an algorithm with one key length only.
    ///
    /// CAST has lengths from 40 to 128 bits (RFC 2451 §2.2), of which only the longest is used.
    pub const fn key_bits(self) -> Option<u16> {
        match self {
            Self::AesCbc(size)
            | Self::AesCtr(size)
            | Self::CamelliaCbc(size)
            | Self::CamelliaCtr(size)
            | Self::Blowfish(size) => Some(size.bits()),
            Self::Cast128 => Some(128),
            Self::TripleDes | Self::Des | Self::Null => None,
        }
    }

    /// Octets of key material, the nonce of a counter mode included.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCbc(size) | Self::CamelliaCbc(size) | Self::Blowfish(size) => size.octets(),
            Self::AesCtr(size) | Self::CamelliaCtr(size) => size.octets() + CTR_NONCE_LEN,
            Self::TripleDes => 24,
            Self::Des => 8,
            Self::Cast128 => 16,
            Self::Null => 0,
        }
    }

    /// Octets of IV that go with every packet.
    pub const fn iv_len(self) -> usize {
        match self {
            Self::AesCbc(_) | Self::CamelliaCbc(_) => 16,
            Self::TripleDes | Self::Des | Self::Blowfish(_) | Self::Cast128 => 8,
            // RFC 3686 §3.1.
            Self::AesCtr(_) | Self::CamelliaCtr(_) => 8,
            Self::Null => 0,
        }
    }

    /// What the octets to encrypt must be a multiple of.
    pub const fn block_len(self) -> usize {
        match self {
            Self::AesCbc(_) | Self::CamelliaCbc(_) => 16,
            Self::TripleDes | Self::Des | Self::Blowfish(_) | Self::Cast128 => 8,
            Self::AesCtr(_) | Self::CamelliaCtr(_) | Self::Null => 1,
        }
    }
}

impl Integrity {
    /// Every algorithm, the preferred one first.
    pub const ALL: [Self; 7] = [
        Self::HmacSha2_256_128,
        Self::HmacSha2_384_192,
        Self::HmacSha2_512_256,
        Self::AesXcbc96,
        Self::AesCmac96,
        Self::HmacSha1_96,
        Self::HmacMd5_96,
    ];

    /// The algorithm with this number, if we have it.
    pub fn from_id(id: IntegrityId) -> Option<Self> {
        Self::ALL.into_iter().find(|integrity| integrity.id() == id)
    }

    /// The number IANA gave the algorithm.
    pub const fn id(self) -> IntegrityId {
        match self {
            Self::HmacSha2_256_128 => IntegrityId::HMAC_SHA2_256_128,
            Self::HmacSha2_384_192 => IntegrityId::HMAC_SHA2_384_192,
            Self::HmacSha2_512_256 => IntegrityId::HMAC_SHA2_512_256,
            Self::AesXcbc96 => IntegrityId::AES_XCBC_96,
            Self::AesCmac96 => IntegrityId::AES_CMAC_96,
            Self::HmacSha1_96 => IntegrityId::HMAC_SHA1_96,
            Self::HmacMd5_96 => IntegrityId::HMAC_MD5_96,
        }
    }

    /// Key length in octets: the output length of the hash (RFC 4868 §2.1.1, RFC 2403 §5,
    /// RFC 2404 §5), or an AES key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha2_256_128 => 32,
            Self::HmacSha2_384_192 => 48,
            Self::HmacSha2_512_256 => 64,
            Self::HmacSha1_96 => 20,
            Self::AesXcbc96 | Self::AesCmac96 | Self::HmacMd5_96 => 16,
        }
    }

    /// Octets of ICV: the first half of the output (RFC 4868 §2.3), or the first 96 bits.
    pub const fn icv_len(self) -> usize {
        match self {
            Self::HmacSha2_256_128 | Self::HmacSha2_384_192 | Self::HmacSha2_512_256 => {
                self.key_len() / 2
            }
            Self::AesXcbc96 | Self::AesCmac96 | Self::HmacSha1_96 | Self::HmacMd5_96 => 12,
        }
    }
}

impl fmt::Display for Encryption {
    /// Writes the word of swanctl's proposals: `aes128ctr`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesCbc(size) => write!(f, "aes{}", size.bits()),
            Self::AesCtr(size) => write!(f, "aes{}ctr", size.bits()),
            Self::CamelliaCbc(size) => write!(f, "camellia{}", size.bits()),
            Self::CamelliaCtr(size) => write!(f, "camellia{}ctr", size.bits()),
            Self::TripleDes => f.write_str("3des"),
            Self::Des => f.write_str("des"),
            Self::Blowfish(size) => write!(f, "blowfish{}", size.bits()),
            Self::Cast128 => f.write_str("cast128"),
            Self::Null => f.write_str("null"),
        }
    }
}

impl fmt::Display for Integrity {
    /// Writes the word of swanctl's proposals: `sha256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha2_256_128 => "sha256",
            Self::HmacSha2_384_192 => "sha384",
            Self::HmacSha2_512_256 => "sha512",
            Self::AesXcbc96 => "aesxcbc",
            Self::AesCmac96 => "aescmac",
            Self::HmacSha1_96 => "sha1",
            Self::HmacMd5_96 => "md5",
        })
    }
}
