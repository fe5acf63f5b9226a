//! Keys that seal and open octets in place (RFC 4303 §3.3.2 and §3.4.4, RFC 7296 §3.14).
//!
//! Everything that can be computed from the keys alone is computed once, in `new`: key schedules,
//! the HMAC's inner and outer state. Sealing and opening allocate nothing.

use core::fmt;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce};
use aws_lc_rs::aead::{Algorithm, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use subtle::ConstantTimeEq;

use super::{AesKeySize, Cipher, Integrity, SALT_LEN};
use crate::{Prf, Secret};

/// Key material has another length than the suite asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{cipher} does not take {encryption_octets} + {integrity_octets} octets of key")]
pub struct KeyLengthError {
    /// The suite.
    pub cipher: Cipher,
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
    transform: SealTransform,
}

enum SealTransform {
    Aead(AeadKey),
    Cbc(Box<CbcSealKey>),
}

/// One direction's receiving key.
pub struct OpenKey {
    cipher: Cipher,
    transform: OpenTransform,
}

enum OpenTransform {
    Aead(AeadKey),
    Cbc(Box<CbcOpenKey>),
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
            Cipher::AesGcm16(size) => SealTransform::Aead(AeadKey::gcm(size, encryption)),
            Cipher::ChaCha20Poly1305 => SealTransform::Aead(AeadKey::chacha(encryption)),
            Cipher::AesCbc(size, mac) => {
                SealTransform::Cbc(Box::new(CbcSealKey::new(size, mac, encryption, integrity)))
            }
        };
        Ok(Self { cipher, transform })
    }

    /// The suite this key belongs to.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Encrypts `text` in place and computes its IV and ICV.
    ///
    /// The arguments stand in the order of the octets in the packet, and are all slices because
    /// they lie next to each other in one buffer:
    ///
    /// - `aad`: authenticated, not encrypted. ESP: SPI and sequence number, with an AEAD and ESN
    ///   the 64-bit number (RFC 4106 §5); with CBC the 8 octets of the ESP header. IKE: the
    ///   message from its header up to the IV (RFC 5282 §5.1, RFC 7296 §3.14).
    /// - `iv_out`: receives [`Cipher::iv_len`] octets.
    /// - `text`: padded by the caller to a multiple of [`Cipher::block_len`]; an AEAD takes any
    ///   length.
    /// - `icv_out`: receives [`Cipher::icv_len`] octets.
    /// - `trailer`: authenticated behind the ciphertext and not sent: the high 32 bits of an
    ///   extended sequence number (RFC 4303 §2.2.1). CBC only; empty for an AEAD, which has them
    ///   in `aad`.
    ///
    /// `counter` is never given twice to the same key: with an AEAD a repeated value reveals both
    /// texts and the authentication key. Counting, and stopping before the count wraps, is the
    /// caller's matter; ESP passes the sequence number. An AEAD sends it as the IV. CBC encrypts
    /// it under a key of its own, which gives IVs that never repeat and that nobody can predict
    /// (RFC 3602 §3).
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
        if iv_out.len() != self.cipher.iv_len() {
            return Err(SealError::Length("iv"));
        }
        if icv_out.len() != self.cipher.icv_len() {
            return Err(SealError::Length("icv"));
        }
        match &self.transform {
            SealTransform::Aead(_) if !trailer.is_empty() => Err(SealError::Length("trailer")),
            SealTransform::Aead(key) => key.seal(counter, aad, iv_out, text, icv_out),
            SealTransform::Cbc(key) => key.seal(counter, aad, iv_out, text, icv_out, trailer),
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
            Cipher::AesGcm16(size) => OpenTransform::Aead(AeadKey::gcm(size, encryption)),
            Cipher::ChaCha20Poly1305 => OpenTransform::Aead(AeadKey::chacha(encryption)),
            Cipher::AesCbc(size, mac) => {
                OpenTransform::Cbc(Box::new(CbcOpenKey::new(size, mac, encryption, integrity)))
            }
        };
        Ok(Self { cipher, transform })
    }

    /// The suite this key belongs to.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Checks the ICV and decrypts `text` in place; the arguments are those of [`SealKey::seal`].
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
        if icv.len() != self.cipher.icv_len() {
            return Err(OpenError::Length("icv"));
        }
        match &self.transform {
            OpenTransform::Aead(_) if !trailer.is_empty() => Err(OpenError::Length("trailer")),
            OpenTransform::Aead(key) => key.open(aad, iv, text, icv),
            OpenTransform::Cbc(key) => key.open(aad, iv, text, icv, trailer),
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

/// AES-GCM or ChaCha20-Poly1305 with its salt.
struct AeadKey {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl AeadKey {
    fn gcm(size: AesKeySize, material: &Secret) -> Self {
        match size {
            AesKeySize::Bits128 => Self::new(&AES_128_GCM, material),
            AesKeySize::Bits256 => Self::new(&AES_256_GCM, material),
        }
    }

    fn chacha(material: &Secret) -> Self {
        Self::new(&CHACHA20_POLY1305, material)
    }

    /// `material` has been measured: the cipher's key, then the salt.
    fn new(algorithm: &'static Algorithm, material: &Secret) -> Self {
        let (key, salt) = material.as_bytes().split_at(algorithm.key_len());
        let key = UnboundKey::new(algorithm, key).expect("the key has the algorithm's length");
        Self {
            key: LessSafeKey::new(key),
            salt: salt.try_into().expect("four octets follow the key"),
        }
    }

    /// RFC 4106 §4 and RFC 7634 §2: the nonce is the salt, then the IV.
    fn nonce(&self, iv: [u8; 8]) -> Nonce {
        let mut nonce = [0; SALT_LEN + 8];
        let (salt_octets, iv_octets) = nonce.split_at_mut(SALT_LEN);
        salt_octets.copy_from_slice(&self.salt);
        iv_octets.copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(
        &self,
        counter: u64,
        aad: &[u8],
        iv_out: &mut [u8],
        text: &mut [u8],
        icv_out: &mut [u8],
    ) -> Result<(), SealError> {
        let iv = counter.to_be_bytes();
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(iv), Aad::from(aad), text)
            .map_err(|_| SealError::Length("text"))?;
        iv_out.copy_from_slice(&iv);
        icv_out.copy_from_slice(tag.as_ref());
        Ok(())
    }

    fn open(&self, aad: &[u8], iv: &[u8], text: &mut [u8], icv: &[u8]) -> Result<(), OpenError> {
        let iv = iv.try_into().map_err(|_| OpenError::Length("iv"))?;
        self.key
            .open_in_place_separate_tag(self.nonce(iv), Aad::from(aad), icv, text)
            .map_err(|_| OpenError::Integrity)?;
        Ok(())
    }
}

/// Sending half of AES-CBC with HMAC.
struct CbcSealKey {
    key: EncryptingKey,
    /// Encrypts counters into IVs.
    iv_key: EncryptingKey,
    mac: MacKey,
}

impl CbcSealKey {
    fn new(size: AesKeySize, mac: Integrity, encryption: &Secret, integrity: &Secret) -> Self {
        let iv_key = Prf::HmacSha2_256.compute(encryption.as_bytes(), &[IV_KEY_LABEL]);
        Self {
            key: EncryptingKey::cbc(aes_key(size, encryption.as_bytes())).expect("AES has CBC"),
            iv_key: EncryptingKey::ecb(aes_key(AesKeySize::Bits256, iv_key.as_bytes()))
                .expect("AES has ECB"),
            mac: MacKey::new(mac, integrity),
        }
    }

    fn seal(
        &self,
        counter: u64,
        aad: &[u8],
        iv_out: &mut [u8],
        text: &mut [u8],
        icv_out: &mut [u8],
        trailer: &[u8],
    ) -> Result<(), SealError> {
        if !text.len().is_multiple_of(AES_BLOCK_LEN) {
            return Err(SealError::Length("text"));
        }
        let iv = self.iv(counter);
        let context = EncryptionContext::Iv128(FixedLength::from(&iv));
        self.key.less_safe_encrypt(text, context).expect("whole blocks and an IV of 16 octets");
        iv_out.copy_from_slice(&iv);
        let icv = self.mac.compute([aad, &iv, text, trailer]);
        icv_out.copy_from_slice(self.mac.truncate(&icv));
        Ok(())
    }

    /// An IV that never repeats and that nobody without the key can predict.
    ///
    /// NIST SP 800-38A Appendix C: the forward cipher applied to a nonce. The key is not the
    /// encryption key, so that an IV never equals a block of the cipher under that key, and it is
    /// derived from it instead of drawn at random, so that a seeded run repeats octet for octet.
    fn iv(&self, counter: u64) -> [u8; AES_BLOCK_LEN] {
        let mut block = u128::from(counter).to_be_bytes();
        self.iv_key
            .less_safe_encrypt(&mut block, EncryptionContext::None)
            .expect("one whole block");
        block
    }
}

/// Separates the key of the IVs from everything else made from an encryption key.
const IV_KEY_LABEL: &[u8] = b"adit AES-CBC IV key";

const AES_BLOCK_LEN: usize = 16;

/// Receiving half of AES-CBC with HMAC.
struct CbcOpenKey {
    key: DecryptingKey,
    mac: MacKey,
}

impl CbcOpenKey {
    fn new(size: AesKeySize, mac: Integrity, encryption: &Secret, integrity: &Secret) -> Self {
        Self {
            key: DecryptingKey::cbc(aes_key(size, encryption.as_bytes())).expect("AES has CBC"),
            mac: MacKey::new(mac, integrity),
        }
    }

    fn open(
        &self,
        aad: &[u8],
        iv: &[u8],
        text: &mut [u8],
        icv: &[u8],
        trailer: &[u8],
    ) -> Result<(), OpenError> {
        let iv: [u8; AES_BLOCK_LEN] = iv.try_into().map_err(|_| OpenError::Length("iv"))?;
        if !text.len().is_multiple_of(AES_BLOCK_LEN) {
            return Err(OpenError::Length("text"));
        }
        let expected = self.mac.compute([aad, &iv, text, trailer]);
        if !bool::from(self.mac.truncate(&expected).ct_eq(icv)) {
            return Err(OpenError::Integrity);
        }
        let context = DecryptionContext::Iv128(FixedLength::from(&iv));
        self.key.decrypt(text, context).expect("whole blocks and an IV of 16 octets");
        Ok(())
    }
}

/// HMAC-SHA-2 with its key already absorbed.
struct MacKey {
    key: hmac::Key,
    icv_len: usize,
}

impl MacKey {
    fn new(integrity: Integrity, key: &Secret) -> Self {
        let algorithm = match integrity {
            Integrity::HmacSha2_256_128 => hmac::HMAC_SHA256,
            Integrity::HmacSha2_384_192 => hmac::HMAC_SHA384,
            Integrity::HmacSha2_512_256 => hmac::HMAC_SHA512,
        };
        Self { key: hmac::Key::new(algorithm, key.as_bytes()), icv_len: integrity.icv_len() }
    }

    fn compute(&self, parts: [&[u8]; 4]) -> hmac::Tag {
        // Copies the absorbed key: no key schedule and no heap.
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(part);
        }
        context.sign()
    }

    /// RFC 4868 §2.3: the first half of the output is the ICV.
    fn truncate<'a>(&self, tag: &'a hmac::Tag) -> &'a [u8] {
        tag.as_ref().get(..self.icv_len).expect("the ICV is half of the output")
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
        cipher,
        encryption_octets: encryption.len(),
        integrity_octets: integrity.len(),
    })
}

fn aes_key(size: AesKeySize, octets: &[u8]) -> UnboundCipherKey {
    let algorithm = match size {
        AesKeySize::Bits128 => &AES_128,
        AesKeySize::Bits256 => &AES_256,
    };
    UnboundCipherKey::new(algorithm, octets).expect("the key has the cipher's length")
}
