//! CBC alone, with an IV that the caller keeps: what IKEv1 encrypts its messages with (RFC 2409
//! appendix B). Whoever uses it authenticates by other means.

use core::fmt;

use crate::Secret;

use super::algorithm::Encryption;
use super::text::{Decrypt, Encrypt, decryptor, encryptor};

/// A key of a block cipher in CBC, for both directions.
pub struct CbcKey {
    block_octets: usize,
    encrypt: Box<dyn Encrypt>,
    decrypt: Box<dyn Decrypt>,
}

impl CbcKey {
    /// A key for messages. `None` if the cipher has no CBC, or the key another length than
    /// [`Encryption::key_len`].
    pub fn new(encryption: Encryption, key: &Secret) -> Option<Self> {
        let is_cbc = matches!(
            encryption,
            Encryption::AesCbc(_)
                | Encryption::CamelliaCbc(_)
                | Encryption::TripleDes
                | Encryption::Des
                | Encryption::Blowfish(_)
                | Encryption::Cast128
        );
        let fits = is_cbc && key.len() == encryption.key_len();
        fits.then(|| Self {
            block_octets: encryption.block_len(),
            encrypt: encryptor(encryption, key.as_bytes()),
            decrypt: decryptor(encryption, key.as_bytes()),
        })
    }

    /// Octets of a block, and of an IV.
    pub fn block_octets(&self) -> usize {
        self.block_octets
    }

    /// Encrypts whole blocks in place; false, and nothing changes, if `text` or `iv` has another
    /// length.
    #[must_use]
    pub fn encrypt(&self, iv: &[u8], text: &mut [u8]) -> bool {
        let fits = self.fits(iv, text);
        if fits {
            self.encrypt.encrypt(iv, text);
        }
        fits
    }

    /// The inverse of [`Self::encrypt`].
    #[must_use]
    pub fn decrypt(&self, iv: &[u8], text: &mut [u8]) -> bool {
        let fits = self.fits(iv, text);
        if fits {
            self.decrypt.decrypt(iv, text);
        }
        fits
    }

    fn fits(&self, iv: &[u8], text: &[u8]) -> bool {
        iv.len() == self.block_octets
            && !text.is_empty()
            && text.len().is_multiple_of(self.block_octets)
    }
}

impl fmt::Debug for CbcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CbcKey").field("block_octets", &self.block_octets).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeySize;

    /// What is encrypted comes back, block after block, and what has no whole blocks stays.
    #[test]
    fn texts_of_whole_blocks_come_back() {
        for encryption in [
            Encryption::AesCbc(KeySize::Bits128),
            Encryption::AesCbc(KeySize::Bits256),
            Encryption::CamelliaCbc(KeySize::Bits192),
            Encryption::TripleDes,
            Encryption::Des,
            Encryption::Cast128,
        ] {
            let key = Secret::from_slice(&vec![0x5a; encryption.key_len()]);
            let key = CbcKey::new(encryption, &key).unwrap();
            let iv = vec![7; key.block_octets()];
            let plain: Vec<u8> = (0..64).collect();
            let mut text = plain.clone();
            assert!(key.encrypt(&iv, &mut text) && text != plain);
            assert!(key.decrypt(&iv, &mut text) && text == plain);
            assert!(!key.encrypt(&iv, &mut text[..9]) && !key.decrypt(&iv, &mut []));
            assert!(!key.encrypt(&iv[1..], &mut text) && text == plain);
        }
        let short = Secret::from_slice(&[1; 15]);
        assert!(CbcKey::new(Encryption::AesCbc(KeySize::Bits128), &short).is_none());
        let null = Secret::from_slice(&[]);
        assert!(CbcKey::new(Encryption::Null, &null).is_none());
    }
}
