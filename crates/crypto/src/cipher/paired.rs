//! Encryption, then authentication, by two algorithms with a key each (RFC 4303 §3.3.2,
//! RFC 7296 §3.14).

use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext};
use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

use super::algorithm::{Encryption, Integrity, KeySize};
use super::key::{OpenError, SealError};
use super::text::{Decrypt, Encrypt, aes_key, decryptor, encryptor};
use crate::mac::Mac;
use crate::{Prf, Secret};

/// Sending half.
pub(super) struct PairedSealKey {
    text_multiple: usize,
    encryptor: Box<dyn Encrypt>,
    ivs: IvMaker,
    mac: MacKey,
}

impl PairedSealKey {
    /// Both secrets have been measured.
    pub(super) fn new(
        encryption: Encryption,
        integrity: Integrity,
        encryption_key: &Secret,
        integrity_key: &Secret,
    ) -> Self {
        Self {
            text_multiple: encryption.block_len(),
            encryptor: encryptor(encryption, encryption_key.as_bytes()),
            ivs: IvMaker::new(encryption, encryption_key),
            mac: MacKey::new(integrity, integrity_key),
        }
    }

    /// `iv_out` and `icv_out` have been measured.
    pub(super) fn seal(
        &self,
        counter: u64,
        aad: &[u8],
        iv_out: &mut [u8],
        text: &mut [u8],
        icv_out: &mut [u8],
        trailer: &[u8],
    ) -> Result<(), SealError> {
        if !text.len().is_multiple_of(self.text_multiple) {
            return Err(SealError::Length("text"));
        }
        self.ivs.write(counter, iv_out);
        self.encryptor.encrypt(iv_out, text);
        let icv = self.mac.mac.compute([aad, iv_out, text, trailer]);
        icv_out.copy_from_slice(icv.truncated(self.mac.icv_len));
        Ok(())
    }
}

/// Receiving half.
pub(super) struct PairedOpenKey {
    text_multiple: usize,
    iv_len: usize,
    decryptor: Box<dyn Decrypt>,
    mac: MacKey,
}

impl PairedOpenKey {
    /// Both secrets have been measured.
    pub(super) fn new(
        encryption: Encryption,
        integrity: Integrity,
        encryption_key: &Secret,
        integrity_key: &Secret,
    ) -> Self {
        Self {
            text_multiple: encryption.block_len(),
            iv_len: encryption.iv_len(),
            decryptor: decryptor(encryption, encryption_key.as_bytes()),
            mac: MacKey::new(integrity, integrity_key),
        }
    }

    pub(super) fn open(
        &self,
        aad: &[u8],
        iv: &[u8],
        text: &mut [u8],
        icv: &[u8],
        trailer: &[u8],
    ) -> Result<(), OpenError> {
        if iv.len() != self.iv_len {
            return Err(OpenError::Length("iv"));
        }
        if !text.len().is_multiple_of(self.text_multiple) {
            return Err(OpenError::Length("text"));
        }
        let expected = self.mac.mac.compute([aad, iv, text, trailer]);
        if !bool::from(expected.truncated(self.mac.icv_len).ct_eq(icv)) {
            return Err(OpenError::Integrity);
        }
        self.decryptor.decrypt(iv, text);
        Ok(())
    }
}

/// Where the IVs of one key come from.
enum IvMaker {
    /// Counter mode: an IV must not repeat and may be guessed, so it is the counter
    /// (RFC 3686 §3.1).
    Counter,
    /// CBC: an IV must not be guessed either.
    Secret(Box<EncryptingKey>),
    /// There is no IV.
    None,
}

impl IvMaker {
    fn new(encryption: Encryption, key: &Secret) -> Self {
        match encryption {
            Encryption::AesCtr(_) | Encryption::CamelliaCtr(_) => Self::Counter,
            Encryption::AesCbc(_)
            | Encryption::CamelliaCbc(_)
            | Encryption::TripleDes
            | Encryption::Des
            | Encryption::Blowfish(_)
            | Encryption::Cast128 => {
                let key = Prf::HmacSha2_256.compute(key.as_bytes(), &[IV_KEY_LABEL]);
                let key = aes_key(KeySize::Bits256, key.as_bytes());
                Self::Secret(Box::new(EncryptingKey::ecb(key).expect("AES has ECB")))
            }
            Encryption::Null => Self::None,
        }
    }

    /// For CBC an IV that nobody without the key can predict.
    ///
    /// NIST SP 800-38A Appendix C: a forward cipher applied to a nonce. The key is not the
    /// encryption key, so that an IV never equals a block of the cipher under that key, and it is
    /// derived from it instead of drawn at random, so that a seeded run repeats octet for octet.
    /// The 16 octets of AES never repeat; their first half may, as random octets would, and not
    /// sooner than two blocks of such a short-blocked cipher collide.
    fn write(&self, counter: u64, iv_out: &mut [u8]) {
        match self {
            Self::Counter => iv_out.copy_from_slice(&counter.to_be_bytes()),
            Self::Secret(key) => {
                let mut block = u128::from(counter).to_be_bytes();
                key.less_safe_encrypt(&mut block, EncryptionContext::None)
                    .expect("one whole block");
                iv_out.iter_mut().zip(block).for_each(|(octet, value)| *octet = value);
            }
            Self::None => {}
        }
    }
}

/// Separates the key of the IVs from everything else made from an encryption key.
const IV_KEY_LABEL: &[u8] = b"adit CBC IV key";

/// An integrity algorithm with its key.
pub(super) struct MacKey {
    pub(super) mac: Mac,
    icv_len: usize,
}

impl MacKey {
    /// The key has been measured.
    pub(super) fn new(integrity: Integrity, key: &Secret) -> Self {
        let key = key.as_bytes();
        let block = || key.try_into().expect("an AES-128 key, measured before");
        let mac = match integrity {
            Integrity::HmacSha2_256_128 => Mac::hmac(hmac::HMAC_SHA256, key),
            Integrity::HmacSha2_384_192 => Mac::hmac(hmac::HMAC_SHA384, key),
            Integrity::HmacSha2_512_256 => Mac::hmac(hmac::HMAC_SHA512, key),
            Integrity::HmacSha1_96 => Mac::hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key),
            Integrity::HmacMd5_96 => Mac::hmac_md5(key),
            Integrity::AesXcbc96 => Mac::xcbc(block()),
            Integrity::AesCmac96 => Mac::cmac(block()),
        };
        Self { mac, icv_len: integrity.icv_len() }
    }
}
