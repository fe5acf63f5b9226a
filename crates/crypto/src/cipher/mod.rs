//! Protection suites of ESP and IKE: RFC 3602, 4106, 4868, 5282 and 7634.
//!
//! A suite is what makes octets secret and authentic under one pair of keys: an AEAD, or a block
//! cipher together with an HMAC. ESP packets (RFC 4303) and IKE's SK payloads (RFC 7296 §3.14)
//! are protected by the same [`SealKey`] and [`OpenKey`]; only the authenticated octets in front
//! differ, and these are the caller's.

mod key;

use core::fmt;

use adit_wire::iana::{EncryptionId, IntegrityId};

pub use key::{KeyLengthError, OpenError, OpenKey, SealError, SealKey};

/// Octets after which one AES key (GCM or CBC) should be replaced: 2^36 blocks of 16 octets.
///
/// Up to there an attacker tells ciphertext from noise with a probability of at most 2^-57 (GCM:
/// draft-irtf-cfrg-aead-limits §5.1.1; CBC, where blocks collide by birthday: 2^-56). ChaCha20 has
/// no such limit below its counter.
pub const AES_OCTETS_MAX: u64 = 1 << 40;

/// Octets of salt at the end of an AEAD's key material (RFC 4106 §8.1, RFC 7634 §2).
const SALT_LEN: usize = 4;

/// Length of an AES key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AesKeySize {
    /// 16 octets.
    Bits128,
    /// 32 octets.
    Bits256,
}

/// Integrity algorithm beside a cipher that has none of its own (RFC 4868 §2.3).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Integrity {
    /// AUTH_HMAC_SHA2_256_128.
    HmacSha2_256_128,
    /// AUTH_HMAC_SHA2_384_192.
    HmacSha2_384_192,
    /// AUTH_HMAC_SHA2_512_256.
    HmacSha2_512_256,
}

/// One protection suite. A value that exists is one we can compute.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Cipher {
    /// AES-GCM with an ICV of 16 octets (RFC 4106, RFC 5282).
    AesGcm16(AesKeySize),
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// AES-CBC (RFC 3602), encrypted first, then authenticated by an HMAC.
    AesCbc(AesKeySize, Integrity),
}

impl AesKeySize {
    /// Key length in bits, as the Key Length attribute carries it (RFC 7296 §3.3.5).
    pub const fn bits(self) -> u16 {
        match self {
            Self::Bits128 => 128,
            Self::Bits256 => 256,
        }
    }

    /// Key length in octets.
    pub const fn octets(self) -> usize {
        match self {
            Self::Bits128 => 16,
            Self::Bits256 => 32,
        }
    }

    fn from_bits(bits: u16) -> Option<Self> {
        [Self::Bits128, Self::Bits256].into_iter().find(|size| size.bits() == bits)
    }
}

impl Integrity {
    /// Every algorithm, the preferred one first.
    pub const ALL: [Self; 3] =
        [Self::HmacSha2_256_128, Self::HmacSha2_384_192, Self::HmacSha2_512_256];

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
        }
    }

    /// Key length in octets: the output length of the hash (RFC 4868 §2.1.1).
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha2_256_128 => 32,
            Self::HmacSha2_384_192 => 48,
            Self::HmacSha2_512_256 => 64,
        }
    }

    /// Octets of ICV: the first half of the output (RFC 4868 §2.3).
    pub const fn icv_len(self) -> usize {
        self.key_len() / 2
    }
}

impl Cipher {
    /// Every suite, the preferred one first.
    pub const ALL: [Self; 9] = [
        Self::AesGcm16(AesKeySize::Bits256),
        Self::ChaCha20Poly1305,
        Self::AesGcm16(AesKeySize::Bits128),
        Self::AesCbc(AesKeySize::Bits256, Integrity::HmacSha2_256_128),
        Self::AesCbc(AesKeySize::Bits256, Integrity::HmacSha2_384_192),
        Self::AesCbc(AesKeySize::Bits256, Integrity::HmacSha2_512_256),
        Self::AesCbc(AesKeySize::Bits128, Integrity::HmacSha2_256_128),
        Self::AesCbc(AesKeySize::Bits128, Integrity::HmacSha2_384_192),
        Self::AesCbc(AesKeySize::Bits128, Integrity::HmacSha2_512_256),
    ];

    /// The suite of these negotiated transforms.
    ///
    /// Returns `None` for an algorithm or key length we do not have, and for combinations that
    /// RFC 7296 §3.3.3 and RFC 5282 §8 exclude: an AEAD with an integrity algorithm (NONE is the
    /// same as none), AES-CBC without one, ChaCha20-Poly1305 with a key length.
    pub fn from_transforms(
        encryption: EncryptionId,
        key_bits: Option<u16>,
        integrity: Option<IntegrityId>,
    ) -> Option<Self> {
        let integrity = integrity.filter(|&id| id != IntegrityId::NONE);
        match (encryption, key_bits, integrity) {
            (EncryptionId::AES_GCM_16, Some(bits), None) => {
                AesKeySize::from_bits(bits).map(Self::AesGcm16)
            }
            (EncryptionId::CHACHA20_POLY1305, None, None) => Some(Self::ChaCha20Poly1305),
            (EncryptionId::AES_CBC, Some(bits), Some(integrity)) => {
                Some(Self::AesCbc(AesKeySize::from_bits(bits)?, Integrity::from_id(integrity)?))
            }
            _ => None,
        }
    }

    /// The number IANA gave the encryption algorithm.
    pub const fn encryption_id(self) -> EncryptionId {
        match self {
            Self::AesGcm16(_) => EncryptionId::AES_GCM_16,
            Self::ChaCha20Poly1305 => EncryptionId::CHACHA20_POLY1305,
            Self::AesCbc(..) => EncryptionId::AES_CBC,
        }
    }

    /// Value of the Key Length attribute in bits, salt not counted (RFC 4106 §8.4); none for a
    /// cipher with one key length only.
    pub const fn key_bits(self) -> Option<u16> {
        match self {
            Self::AesGcm16(size) | Self::AesCbc(size, _) => Some(size.bits()),
            Self::ChaCha20Poly1305 => None,
        }
    }

    /// The number IANA gave the integrity algorithm; none for an AEAD.
    pub const fn integrity_id(self) -> Option<IntegrityId> {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => None,
            Self::AesCbc(_, integrity) => Some(integrity.id()),
        }
    }

    /// Whether the cipher authenticates by itself.
    pub const fn is_aead(self) -> bool {
        !matches!(self, Self::AesCbc(..))
    }

    /// Octets of encryption key material, the salt of an AEAD included.
    pub const fn encryption_key_len(self) -> usize {
        match self {
            Self::AesGcm16(size) => size.octets() + SALT_LEN,
            Self::ChaCha20Poly1305 => 32 + SALT_LEN,
            Self::AesCbc(size, _) => size.octets(),
        }
    }

    /// Octets of integrity key; none for an AEAD.
    pub const fn integrity_key_len(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 0,
            Self::AesCbc(_, integrity) => integrity.key_len(),
        }
    }

    /// Octets of IV that go with every packet.
    pub const fn iv_len(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 8,
            Self::AesCbc(..) => 16,
        }
    }

    /// Octets of ICV that go with every packet.
    pub const fn icv_len(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 16,
            Self::AesCbc(_, integrity) => integrity.icv_len(),
        }
    }

    /// What the octets to encrypt must be a multiple of in ESP: the cipher block, and 4 at least
    /// (RFC 4303 §2.4).
    ///
    /// IKE asks for the cipher block only, so an AEAD needs no padding there (RFC 5282 §3); 4 is
    /// permitted.
    pub const fn block_len(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 4,
            Self::AesCbc(..) => 16,
        }
    }
}

impl fmt::Display for Cipher {
    /// Writes the words of swanctl's proposals: `aes256gcm16`, `aes128-sha256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesGcm16(size) => write!(f, "aes{}gcm16", size.bits()),
            Self::ChaCha20Poly1305 => f.write_str("chacha20poly1305"),
            Self::AesCbc(size, integrity) => write!(f, "aes{}-{integrity}", size.bits()),
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
        })
    }
}

#[cfg(test)]
mod tests;
