//! Keys that seal and open octets in place (RFC 4303 §3.3.2 and §3.4.4, RFC 7296 §3.14).
//!
//! Everything that can be computed from the keys alone is computed once, in `new`: key schedules,
//! the HMAC's inner and outer state. Sealing and opening allocate nothing. The library's AEADs alone
//! expand their keys with the first text.

use core::fmt;

use super::aead::{AeadKey, CcmKey, GmacKey, ShortGcmOpenKey};
use super::paired::{PairedOpenKey, PairedSealKey};
use super::{Cipher, IcvSize, Protection, Shape};
use crate::{Extent, Prefetch, Secret};

/// Key material has another length than the suite asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{protection} does not take {encryption_octets} + {integrity_octets} octets of key")]
pub struct KeyLengthError {
    /// The suite.
    pub protection: Protection,
    /// Octets of encryption key material that were given.
    pub encryption_octets: usize,
    /// Octets of integrity key that were given.
    pub integrity_octets: usize,
}

/// Why octets were not sealed: the caller passed a slice of a wrong length.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The named argument has a length that the suite does not have.
    #[error("wrong length of {0}")]
    Length(&'static str),
}

/// Why octets were not opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The named part has a length that nothing sealed with this suite has.
    #[error("wrong length of {0}")]
    Length(&'static str),
    /// The ICV is not that of these octets under this key.
    #[error("integrity check failed")]
    Integrity,
}

/// One direction's sending key.
pub struct SealKey {
    cipher: Cipher,
    shape: Shape,
    transform: SealTransform,
}

enum SealTransform {
    Aead(AeadKey),
    Ccm(Box<CcmKey>),
    Gmac(Box<GmacKey>),
    Paired(Box<PairedSealKey>),
}

/// One direction's receiving key.
pub struct OpenKey {
    cipher: Cipher,
    shape: Shape,
    transform: OpenTransform,
}

enum OpenTransform {
    Aead(AeadKey),
    ShortGcm(Box<ShortGcmOpenKey>),
    Ccm(Box<CcmKey>),
    Gmac(Box<GmacKey>),
    Paired(Box<PairedOpenKey>),
}

impl SealKey {
    /// Sets up sending with `cipher`.
    ///
    /// `encryption` has [`Cipher::encryption_key_len`] octets, the salt last; `integrity` has
    /// [`Cipher::integrity_key_len`], so it is empty for an AEAD.
    ///
    /// # Errors
    ///
    /// [`KeyLengthError`] for keys of other lengths.
    pub fn new(
        cipher: Cipher,
        encryption: &Secret,
        integrity: &Secret,
    ) -> Result<Self, KeyLengthError> {
        check_key_lengths(cipher, encryption, integrity)?;
        let transform = match cipher {
            Cipher::ImplicitIv(one) => {
                let explicit = Self::new(one.explicit(), encryption, integrity)?;
                return Ok(Self { cipher, shape: Shape::of(cipher), ..explicit });
            }
            Cipher::AesGcm(size, _) => SealTransform::Aead(AeadKey::gcm(size, encryption)),
            Cipher::ChaCha20Poly1305 => SealTransform::Aead(AeadKey::chacha(encryption)),
            Cipher::AesCcm(size, icv) => {
                SealTransform::Ccm(Box::new(CcmKey::new(size, icv, encryption)))
            }
            Cipher::AesGmac(size) => SealTransform::Gmac(Box::new(GmacKey::new(size, encryption))),
            Cipher::Paired(text, mac) => SealTransform::Paired(Box::new(PairedSealKey::new(
                text, mac, encryption, integrity,
            ))),
        };
        Ok(Self { cipher, shape: Shape::of(cipher), transform })
    }

    /// The suite this key belongs to.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// The lengths of that suite.
    #[inline]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Tells the processor that the key is going to be used. The key itself is read for it.
    #[inline]
    pub fn prefetch(&self, by: Prefetch, extent: Extent) {
        match &self.transform {
            SealTransform::Aead(key) => key.prefetch(by, extent),
            SealTransform::Ccm(key) => by.value(&**key),
            SealTransform::Gmac(key) => by.value(&**key),
            SealTransform::Paired(key) => by.value(&**key),
        }
    }

    /// Encrypts `text` in place and computes its IV and ICV.
    ///
    /// The arguments stand in the order of the octets in the packet, and are all slices because
    /// they lie next to each other in one buffer:
    ///
    /// - `aad`: authenticated, not encrypted. ESP: SPI and sequence number, with an AEAD and ESN
    ///   the 64-bit number (RFC 4106 §5); with a pair the 8 octets of the ESP header. IKE: the
    ///   message from its header up to the IV (RFC 5282 §5.1, RFC 7296 §3.14).
    /// - `iv_out`: receives [`Cipher::iv_len`] octets.
    /// - `text`: padded by the caller to a multiple of [`Cipher::text_multiple`].
    /// - `icv_out`: receives [`Cipher::icv_len`] octets.
    /// - `trailer`: authenticated behind the ciphertext and not sent: the high 32 bits of an
    ///   extended sequence number (RFC 4303 §2.2.1). Empty for an AEAD, which has them in `aad`.
    ///
    /// `counter` is never given twice to the same key: with an AEAD a repeated value reveals both
    /// texts and the authentication key, with a counter mode both texts. Counting, and stopping
    /// before the count wraps, is the caller's matter; ESP passes the sequence number. AEADs and
    /// counter modes send it as the IV, or do not send it (RFC 8750). CBC encrypts it under a key of its own, which gives IVs
    /// that nobody can predict (RFC 3602 §3).
    ///
    /// # Errors
    ///
    /// [`SealError::Length`] names the argument of impossible length. Nothing was written.
    #[inline]
    pub fn seal(
        &self,
        counter: u64,
        aad: &[u8],
        iv_out: &mut [u8],
        text: &mut [u8],
        icv_out: &mut [u8],
        trailer: &[u8],
    ) -> Result<(), SealError> {
        if iv_out.len() != self.shape.iv_len() {
            return Err(SealError::Length("iv"));
        }
        if icv_out.len() != self.shape.icv_len() {
            return Err(SealError::Length("icv"));
        }
        if self.shape.is_aead() && !trailer.is_empty() {
            return Err(SealError::Length("trailer"));
        }
        let mut unsent = [0; 8];
        let iv_out = if self.shape.is_iv_implicit() { &mut unsent } else { iv_out };
        match &self.transform {
            SealTransform::Aead(key) => key.seal(counter, aad, iv_out, text, icv_out),
            SealTransform::Ccm(key) => key.seal(counter, aad, iv_out, text, icv_out),
            SealTransform::Gmac(key) => {
                key.seal(counter, aad, iv_out, text, icv_out);
                Ok(())
            }
            SealTransform::Paired(key) => key.seal(counter, aad, iv_out, text, icv_out, trailer),
        }
    }
}

impl OpenKey {
    /// Sets up receiving with `cipher`; the arguments are those of [`SealKey::new`].
    ///
    /// # Errors
    ///
    /// [`KeyLengthError`] for keys of other lengths.
    pub fn new(
        cipher: Cipher,
        encryption: &Secret,
        integrity: &Secret,
    ) -> Result<Self, KeyLengthError> {
        check_key_lengths(cipher, encryption, integrity)?;
        let transform = match cipher {
            Cipher::ImplicitIv(one) => {
                let explicit = Self::new(one.explicit(), encryption, integrity)?;
                return Ok(Self { cipher, shape: Shape::of(cipher), ..explicit });
            }
            Cipher::AesGcm(size, IcvSize::Octets16) => {
                OpenTransform::Aead(AeadKey::gcm(size, encryption))
            }
            Cipher::AesGcm(size, IcvSize::Octets8 | IcvSize::Octets12) => {
                OpenTransform::ShortGcm(Box::new(ShortGcmOpenKey::new(size, encryption)))
            }
            Cipher::ChaCha20Poly1305 => OpenTransform::Aead(AeadKey::chacha(encryption)),
            Cipher::AesCcm(size, icv) => {
                OpenTransform::Ccm(Box::new(CcmKey::new(size, icv, encryption)))
            }
            Cipher::AesGmac(size) => OpenTransform::Gmac(Box::new(GmacKey::new(size, encryption))),
            Cipher::Paired(text, mac) => OpenTransform::Paired(Box::new(PairedOpenKey::new(
                text, mac, encryption, integrity,
            ))),
        };
        Ok(Self { cipher, shape: Shape::of(cipher), transform })
    }

    /// The suite this key belongs to.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// The lengths of that suite.
    #[inline]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Tells the processor that the key is going to be used. The key itself is read for it.
    #[inline]
    pub fn prefetch(&self, by: Prefetch, extent: Extent) {
        match &self.transform {
            OpenTransform::Aead(key) => key.prefetch(by, extent),
            OpenTransform::ShortGcm(key) => by.value(&**key),
            OpenTransform::Ccm(key) => by.value(&**key),
            OpenTransform::Gmac(key) => by.value(&**key),
            OpenTransform::Paired(key) => by.value(&**key),
        }
    }

    /// Checks the ICV and decrypts `text` in place; the arguments are those of [`SealKey::seal`].
    /// An IV that is not in the packet is passed all the same: it is the sequence number, 8 octets
    /// with the high half zero unless it is extended (RFC 8750 §3).
    ///
    /// The ICV is compared in constant time.
    ///
    /// # Errors
    ///
    /// - [`OpenError::Length`]: a part has a length that this suite never makes.
    /// - [`OpenError::Integrity`]: not sealed under this key, or changed since.
    ///
    /// After an error the contents of `text` mean nothing and no plaintext is among them.
    #[inline]
    pub fn open(
        &self,
        aad: &[u8],
        iv: &[u8],
        text: &mut [u8],
        icv: &[u8],
        trailer: &[u8],
    ) -> Result<(), OpenError> {
        if icv.len() != self.shape.icv_len() {
            return Err(OpenError::Length("icv"));
        }
        if self.shape.is_aead() && !trailer.is_empty() {
            return Err(OpenError::Length("trailer"));
        }
        match &self.transform {
            OpenTransform::Aead(key) => key.open(aad, iv, text, icv),
            OpenTransform::ShortGcm(key) => key.open(aad, iv, text, icv),
            OpenTransform::Ccm(key) => key.open(aad, iv, text, icv),
            OpenTransform::Gmac(key) => key.open(aad, iv, text, icv),
            OpenTransform::Paired(key) => key.open(aad, iv, text, icv, trailer),
        }
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenKey").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

fn check_key_lengths(
    cipher: Cipher,
    encryption: &Secret,
    integrity: &Secret,
) -> Result<(), KeyLengthError> {
    if encryption.len() == cipher.encryption_key_len()
        && integrity.len() == cipher.integrity_key_len()
    {
        return Ok(());
    }
    Err(KeyLengthError {
        protection: Protection::Esp(cipher),
        encryption_octets: encryption.len(),
        integrity_octets: integrity.len(),
    })
}
