//! Protection suites of ESP and IKE: RFC 3602, 3686, 4106, 4309, 4543, 5282, 7634, 8750 and
//! others.
//!
//! A suite is what makes octets secret and authentic under one pair of keys: an AEAD, or an
//! encryption algorithm together with an integrity algorithm. ESP packets (RFC 4303) and IKE's SK
//! payloads (RFC 7296 §3.14) are protected by the same [`SealKey`] and [`OpenKey`]; only the
//! authenticated octets in front differ, and these are the caller's.
//!
//! There is no suite without integrity: [`Cipher::Paired`] takes an [`Integrity`], and that type
//! has no value for none.

mod aead;
mod algorithm;
mod authentication;
mod chained;
mod key;
mod paired;
mod protection;
mod shape;
mod text;

use core::fmt;

use adit_wire::iana::{EncryptionId, IntegrityId};

pub use algorithm::{Encryption, IcvSize, ImplicitIv, Integrity, KeySize};
pub use authentication::{Absorber, Authentication, AuthenticationKey, AuthenticationTag};
pub use chained::{CbcKey, CbcKeyError};
pub use key::{KeyLengthError, OpenError, OpenKey, SealError, SealKey};
pub use protection::Protection;
pub use shape::Shape;

/// Octets after which one key of a cipher with blocks of 16 octets (AES, Camellia) should be
/// replaced: 2^36 blocks.
///
/// Up to there an attacker tells ciphertext from noise with a probability of at most 2^-57 (GCM:
/// draft-irtf-cfrg-aead-limits §5.1.1; CBC, where blocks collide by birthday: 2^-56). ChaCha20 has
/// no such limit below its counter.
pub const AES_OCTETS_MAX: u64 = 1 << 40;

/// Octets after which one key of a cipher with blocks of 8 octets should be replaced: 2^27 blocks.
///
/// Two equal blocks of ciphertext reveal the difference of two blocks of text. By birthday they
/// are there with a probability of 2^-11 at this amount, and all but certainly at 2^32 blocks.
pub const SHORT_BLOCK_OCTETS_SOFT: u64 = 1 << 30;

/// Octets after which one key of a cipher with blocks of 8 octets must not be used: 2^29 blocks,
/// an eighth of the birthday bound of 2^32; the probability of a collision is 2^-7.
pub const SHORT_BLOCK_OCTETS_MAX: u64 = 1 << 32;

/// Octets of salt at the end of an AEAD's key material (RFC 4106 §8.1, RFC 4543 §5.3,
/// RFC 7634 §2).
const SALT_LEN: usize = 4;

/// Octets of salt of AES-CCM (RFC 4309 §7.1).
const CCM_SALT_LEN: usize = 3;

/// One protection suite. A value that exists is one we can compute.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Cipher {
    /// AES-GCM (RFC 4106, RFC 5282).
    AesGcm(KeySize, IcvSize),
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// AES-CCM (RFC 4309, RFC 5282).
    AesCcm(KeySize, IcvSize),
    /// AES-GMAC: ENCR_NULL_AUTH_AES_GMAC, authentic and not secret (RFC 4543).
    AesGmac(KeySize),
    /// One of the AEADs above without IV in the packet (RFC 8750).
    ImplicitIv(ImplicitIv),
    /// Encrypted first, then authenticated.
    Paired(Encryption, Integrity),
}

impl Cipher {
    /// Number of suites.
    const COUNT: usize = 2 * KeySize::ALL.len() * IcvSize::ALL.len()
        + 1
        + KeySize::ALL.len()
        + ImplicitIv::ALL.len()
        + Encryption::ALL.len() * Integrity::ALL.len();

    /// Every suite: the AEADs, then the pairs.
    pub const ALL: [Self; Self::COUNT] = all();

    /// The suite of these negotiated transforms.
    ///
    /// Returns `None` for an algorithm or key length we do not have, and for combinations that
    /// RFC 7296 §3.3.3 and RFC 5282 §8 exclude: an AEAD with an integrity algorithm (NONE is the
    /// same as none), another cipher without one, a key length where there is only one.
    pub fn from_transforms(
        encryption: EncryptionId,
        key_bits: Option<u16>,
        integrity: Option<IntegrityId>,
    ) -> Option<Self> {
        let integrity = integrity.filter(|&id| id != IntegrityId::NONE);
        if let Some(integrity) = integrity {
            let encryption = Encryption::from_id(encryption, key_bits)?;
            return Some(Self::Paired(encryption, Integrity::from_id(integrity)?));
        }
        if encryption == EncryptionId::CHACHA20_POLY1305 {
            return key_bits.is_none().then_some(Self::ChaCha20Poly1305);
        }
        if let Some(one) = ImplicitIv::from_id(encryption, key_bits) {
            return Some(Self::ImplicitIv(one));
        }
        let size = KeySize::from_bits(key_bits?)?;
        match encryption {
            EncryptionId::AES_GCM_8 => Some(Self::AesGcm(size, IcvSize::Octets8)),
            EncryptionId::AES_GCM_12 => Some(Self::AesGcm(size, IcvSize::Octets12)),
            EncryptionId::AES_GCM_16 => Some(Self::AesGcm(size, IcvSize::Octets16)),
            EncryptionId::AES_CCM_8 => Some(Self::AesCcm(size, IcvSize::Octets8)),
            EncryptionId::AES_CCM_12 => Some(Self::AesCcm(size, IcvSize::Octets12)),
            EncryptionId::AES_CCM_16 => Some(Self::AesCcm(size, IcvSize::Octets16)),
            EncryptionId::NULL_AUTH_AES_GMAC => Some(Self::AesGmac(size)),
            _ => None,
        }
    }

    /// The number IANA gave the encryption algorithm.
    pub const fn encryption_id(self) -> EncryptionId {
        match self {
            Self::AesGcm(_, IcvSize::Octets8) => EncryptionId::AES_GCM_8,
            Self::AesGcm(_, IcvSize::Octets12) => EncryptionId::AES_GCM_12,
            Self::AesGcm(_, IcvSize::Octets16) => EncryptionId::AES_GCM_16,
            Self::ChaCha20Poly1305 => EncryptionId::CHACHA20_POLY1305,
            Self::AesCcm(_, IcvSize::Octets8) => EncryptionId::AES_CCM_8,
            Self::AesCcm(_, IcvSize::Octets12) => EncryptionId::AES_CCM_12,
            Self::AesCcm(_, IcvSize::Octets16) => EncryptionId::AES_CCM_16,
            Self::AesGmac(_) => EncryptionId::NULL_AUTH_AES_GMAC,
            Self::ImplicitIv(one) => one.id(),
            Self::Paired(encryption, _) => encryption.id(),
        }
    }

    /// Value of the Key Length attribute in bits, salt not counted (RFC 4106 §8.4); none for a
    /// cipher with one key length only.
    pub const fn key_bits(self) -> Option<u16> {
        match self {
            Self::AesGcm(size, _) | Self::AesCcm(size, _) | Self::AesGmac(size) => {
                Some(size.bits())
            }
            Self::ChaCha20Poly1305 => None,
            Self::ImplicitIv(one) => one.explicit().key_bits(),
            Self::Paired(encryption, _) => encryption.key_bits(),
        }
    }

    /// The number IANA gave the integrity algorithm; none for an AEAD.
    pub const fn integrity_id(self) -> Option<IntegrityId> {
        match self {
            Self::Paired(_, integrity) => Some(integrity.id()),
            Self::AesGcm(..)
            | Self::ChaCha20Poly1305
            | Self::AesCcm(..)
            | Self::AesGmac(_)
            | Self::ImplicitIv(_) => None,
        }
    }

    /// Whether the cipher authenticates by itself.
    pub const fn is_aead(self) -> bool {
        !matches!(self, Self::Paired(..))
    }

    /// Octets of encryption key material, the salt of an AEAD included.
    pub const fn encryption_key_len(self) -> usize {
        match self {
            Self::AesGcm(size, _) | Self::AesGmac(size) => size.octets() + SALT_LEN,
            Self::ChaCha20Poly1305 => 32 + SALT_LEN,
            Self::AesCcm(size, _) => size.octets() + CCM_SALT_LEN,
            Self::ImplicitIv(one) => one.explicit().encryption_key_len(),
            Self::Paired(encryption, _) => encryption.key_len(),
        }
    }

    /// Octets of integrity key; none for an AEAD.
    pub const fn integrity_key_len(self) -> usize {
        match self {
            Self::Paired(_, integrity) => integrity.key_len(),
            Self::AesGcm(..)
            | Self::ChaCha20Poly1305
            | Self::AesCcm(..)
            | Self::AesGmac(_)
            | Self::ImplicitIv(_) => 0,
        }
    }

    /// Octets of IV that go with every packet.
    pub const fn iv_len(self) -> usize {
        match self {
            Self::AesGcm(..) | Self::ChaCha20Poly1305 | Self::AesCcm(..) | Self::AesGmac(_) => 8,
            Self::ImplicitIv(_) => 0,
            Self::Paired(encryption, _) => encryption.iv_len(),
        }
    }

    /// Octets of ICV that go with every packet.
    pub const fn icv_len(self) -> usize {
        match self {
            Self::AesGcm(_, icv) | Self::AesCcm(_, icv) => icv.octets(),
            Self::ChaCha20Poly1305 | Self::AesGmac(_) => 16,
            Self::ImplicitIv(one) => one.explicit().icv_len(),
            Self::Paired(_, integrity) => integrity.icv_len(),
        }
    }

    /// What the octets to encrypt must be a multiple of: the block of a cipher that takes whole
    /// blocks, else 1. IKE pads to this (RFC 5282 §3, RFC 5930 §2).
    pub const fn text_multiple(self) -> usize {
        match self {
            Self::Paired(encryption, _) => encryption.block_len(),
            Self::AesGcm(..)
            | Self::ChaCha20Poly1305
            | Self::AesCcm(..)
            | Self::AesGmac(_)
            | Self::ImplicitIv(_) => 1,
        }
    }

    /// What the octets to encrypt must be a multiple of in ESP: the cipher's block, and 4 at least
    /// (RFC 4303 §2.4).
    pub const fn block_len(self) -> usize {
        match self.text_multiple() {
            1 => 4,
            block => block,
        }
    }

    /// Octets after which a key should be replaced, whatever the configuration says; none if the
    /// cipher sets no limit.
    pub const fn octets_soft(self) -> Option<u64> {
        match self {
            Self::AesGcm(..) | Self::AesCcm(..) | Self::AesGmac(_) => Some(AES_OCTETS_MAX),
            Self::ChaCha20Poly1305 => None,
            Self::ImplicitIv(one) => one.explicit().octets_soft(),
            Self::Paired(encryption, _) => match encryption {
                Encryption::AesCbc(_)
                | Encryption::AesCtr(_)
                | Encryption::CamelliaCbc(_)
                | Encryption::CamelliaCtr(_) => Some(AES_OCTETS_MAX),
                Encryption::TripleDes
                | Encryption::Des
                | Encryption::Blowfish(_)
                | Encryption::Cast128 => Some(SHORT_BLOCK_OCTETS_SOFT),
                Encryption::Null => None,
            },
        }
    }

    /// Octets after which a key must not be used, whatever the configuration says: the short
    /// blocks' collisions are an attack, not an estimate.
    pub const fn octets_hard(self) -> Option<u64> {
        if self.text_multiple() == 8 { Some(SHORT_BLOCK_OCTETS_MAX) } else { None }
    }

    /// Whether the sequence number is the IV, so that the cipher is for packets that have one and
    /// not for IKE messages (RFC 8750 §3).
    pub const fn is_iv_implicit(self) -> bool {
        matches!(self, Self::ImplicitIv(_))
    }

    /// Whether whoever sees a packet reads it.
    pub const fn is_readable(self) -> bool {
        matches!(self, Self::AesGmac(_) | Self::Paired(Encryption::Null, _))
    }
}

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, which refuses a bad index")]
const fn all() -> [Cipher; Cipher::COUNT] {
    let mut all = [Cipher::ChaCha20Poly1305; Cipher::COUNT];
    let mut at = 0;
    let mut icv = 0;
    while icv < IcvSize::ALL.len() {
        let mut size = 0;
        while size < KeySize::ALL.len() {
            all[at] = Cipher::AesGcm(KeySize::ALL[size], IcvSize::ALL[icv]);
            all[at + 1] = Cipher::AesCcm(KeySize::ALL[size], IcvSize::ALL[icv]);
            at += 2;
            size += 1;
        }
        icv += 1;
    }
    // ChaCha20-Poly1305 stands there already.
    at += 1;
    let mut size = 0;
    while size < KeySize::ALL.len() {
        all[at] = Cipher::AesGmac(KeySize::ALL[size]);
        at += 1;
        size += 1;
    }
    let mut implicit = 0;
    while implicit < ImplicitIv::ALL.len() {
        all[at] = Cipher::ImplicitIv(ImplicitIv::ALL[implicit]);
        at += 1;
        implicit += 1;
    }
    let mut pair = 0;
    while pair < Encryption::ALL.len() * Integrity::ALL.len() {
        let (encryption, integrity) = (pair / Integrity::ALL.len(), pair % Integrity::ALL.len());
        all[at] = Cipher::Paired(Encryption::ALL[encryption], Integrity::ALL[integrity]);
        at += 1;
        pair += 1;
    }
    all
}

impl fmt::Display for Cipher {
    /// Writes the words of swanctl's proposals: `aes256gcm16`, `aes128-sha256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesGcm(size, icv) => write!(f, "aes{}gcm{}", size.bits(), icv.octets()),
            Self::ChaCha20Poly1305 => f.write_str("chacha20poly1305"),
            Self::AesCcm(size, icv) => write!(f, "aes{}ccm{}", size.bits(), icv.octets()),
            Self::AesGmac(size) => write!(f, "aes{}gmac", size.bits()),
            Self::ImplicitIv(one) => write!(f, "{}iiv", one.explicit()),
            Self::Paired(encryption, integrity) => write!(f, "{encryption}-{integrity}"),
        }
    }
}

#[cfg(test)]
mod tests;
