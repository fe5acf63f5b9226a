//! CBC whose IV goes on from message to message, as IKEv1 encrypts (RFC 2409 appendix B), and the
//! keys that RFC 2409 and RFC 2451 refuse for being weak.

use super::algorithm::Encryption;
use super::text::{Decrypt, Encrypt, decryptor, encryptor};
use crate::Secret;

/// Key of an ISAKMP SA, both directions in one. It keeps no IV: whose message comes next and whether
/// it is genuine is not known here.
pub struct CbcKey {
    encryption: Encryption,
    encryptor: Box<dyn Encrypt>,
    decryptor: Box<dyn Decrypt>,
}

/// Why there is no such key, or why octets stayed as they were.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CbcKeyError {
    /// The algorithm is no block cipher in CBC.
    #[error("{0} is not CBC")]
    NotCbc(Encryption),
    /// The key, the IV or the text has a length that the algorithm does not have.
    #[error("wrong length of {0}")]
    Length(&'static str),
    /// RFC 2409 appendix A and RFC 2451 §2.3: such a key must not be used.
    #[error("weak key")]
    Weak,
}

impl CbcKey {
    /// A key of [`Encryption::key_len`] octets.
    ///
    /// # Errors
    ///
    /// Each of [`CbcKeyError`].
    pub fn new(encryption: Encryption, key: &Secret) -> Result<Self, CbcKeyError> {
        if encryption.iv_len() != encryption.block_len() {
            return Err(CbcKeyError::NotCbc(encryption));
        }
        if key.len() != encryption.key_len() {
            return Err(CbcKeyError::Length("key"));
        }
        if is_weak(encryption, key.as_bytes()) {
            return Err(CbcKeyError::Weak);
        }
        let encryptor = encryptor(encryption, key.as_bytes());
        let decryptor = decryptor(encryption, key.as_bytes());
        Ok(Self { encryption, encryptor, decryptor })
    }

    /// The algorithm.
    pub const fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// Octets of a block and of the IV.
    pub const fn block_len(&self) -> usize {
        self.encryption.block_len()
    }

    /// Encrypts whole blocks in place; the last of them is the IV of what follows.
    ///
    /// # Errors
    ///
    /// [`CbcKeyError::Length`]; `text` is then as it was.
    pub fn encrypt(&self, iv: &[u8], text: &mut [u8]) -> Result<(), CbcKeyError> {
        self.measure(iv, text)?;
        self.encryptor.encrypt(iv, text);
        Ok(())
    }

    /// Decrypts whole blocks in place. The IV of what follows is the last block as it came: the
    /// caller takes it before.
    ///
    /// # Errors
    ///
    /// [`CbcKeyError::Length`]; `text` is then as it was.
    pub fn decrypt(&self, iv: &[u8], text: &mut [u8]) -> Result<(), CbcKeyError> {
        self.measure(iv, text)?;
        self.decryptor.decrypt(iv, text);
        Ok(())
    }

    fn measure(&self, iv: &[u8], text: &[u8]) -> Result<(), CbcKeyError> {
        if iv.len() != self.block_len() {
            return Err(CbcKeyError::Length("iv"));
        }
        if text.is_empty() || !text.len().is_multiple_of(self.block_len()) {
            return Err(CbcKeyError::Length("text"));
        }
        Ok(())
    }
}

impl core::fmt::Debug for CbcKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CbcKey").field("encryption", &self.encryption).finish_non_exhaustive()
    }
}

/// `key` has been measured. Whether a key is weak may show in the time this takes: a weak one is not
/// used anyway.
fn is_weak(encryption: Encryption, key: &[u8]) -> bool {
    match encryption {
        // RFC 2409 appendix A: weak and semi-weak keys.
        Encryption::Des => des::weak_key_test(&with_odd_parity(key)).is_err(),
        // RFC 2451 §2.3: two keys that are the same undo each other.
        Encryption::TripleDes => {
            let keys = key.chunks(8).map(with_odd_parity);
            keys.clone().zip(keys.skip(1)).any(|(one, next)| one == next)
        }
        Encryption::AesCbc(_)
        | Encryption::AesCtr(_)
        | Encryption::CamelliaCbc(_)
        | Encryption::CamelliaCtr(_)
        | Encryption::Blowfish(_)
        | Encryption::Cast128
        | Encryption::Null => false,
    }
}

/// DES looks at seven bits of each octet; in the list of weak keys the eighth makes their number odd.
fn with_odd_parity(key: &[u8]) -> [u8; 8] {
    let mut odd = [0; 8];
    for (to, &from) in odd.iter_mut().zip(key) {
        let seven = from & 0xfe;
        *to = seven | u8::from(seven.count_ones().is_multiple_of(2));
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeySize;

    fn key(encryption: Encryption, octets: &[u8]) -> Result<CbcKey, CbcKeyError> {
        CbcKey::new(encryption, &Secret::from_slice(octets))
    }

    #[test]
    fn the_last_block_is_the_iv_of_what_follows() {
        for encryption in Encryption::ALL {
            let octets: Vec<u8> = (1..).take(encryption.key_len()).collect();
            let Ok(key) = key(encryption, &octets) else { continue };
            let iv = vec![7; key.block_len()];
            let text: Vec<u8> = (0..4 * key.block_len()).map(|at| at.to_le_bytes()[0]).collect();
            let mut whole = text.clone();
            key.encrypt(&iv, &mut whole).unwrap();

            let (first, second) = whole.split_at(2 * key.block_len());
            let mut again = second.to_vec();
            key.decrypt(&first[key.block_len()..], &mut again).unwrap();
            assert_eq!(again, text[2 * key.block_len()..], "{encryption}");
            key.decrypt(&iv, &mut whole).unwrap();
            assert_eq!(whole, text, "{encryption}");
        }
    }

    #[test]
    fn only_cbc_has_such_keys() {
        let ctr = Encryption::AesCtr(KeySize::Bits128);
        assert_eq!(key(ctr, &[1; 20]).err(), Some(CbcKeyError::NotCbc(ctr)));
        let null = key(Encryption::Null, &[]).err();
        assert_eq!(null, Some(CbcKeyError::NotCbc(Encryption::Null)));
    }

    #[test]
    fn wrong_lengths_change_nothing() {
        let aes = Encryption::AesCbc(KeySize::Bits128);
        assert_eq!(key(aes, &[1; 15]).err(), Some(CbcKeyError::Length("key")));
        let key = key(aes, &[1; 16]).unwrap();
        let mut text = [5; 17];
        assert_eq!(key.encrypt(&[0; 16], &mut text), Err(CbcKeyError::Length("text")));
        assert_eq!(key.decrypt(&[0; 8], &mut text[..16]), Err(CbcKeyError::Length("iv")));
        assert_eq!(key.decrypt(&[0; 16], &mut []), Err(CbcKeyError::Length("text")));
        assert_eq!(text, [5; 17]);
    }

    /// RFC 2409 appendix A lists weak keys with odd parity; DES does not see the parity.
    #[test]
    fn weak_keys_are_refused_whatever_their_parity() {
        let weak = Some(CbcKeyError::Weak);
        for octets in [[0x01; 8], [0x00; 8], [0xfe; 8], [0xff; 8]] {
            assert_eq!(key(Encryption::Des, &octets).err(), weak);
        }
        let semi = [0x01, 0xfe, 0x01, 0xfe, 0x01, 0xfe, 0x01, 0xfe];
        assert_eq!(key(Encryption::Des, &semi).err(), weak);
        assert!(key(Encryption::Des, b"Adit IKE").is_ok());

        let triple = |parts: [[u8; 8]; 3]| key(Encryption::TripleDes, parts.as_flattened()).err();
        let (one, two, three) = (*b"one key ", *b"two keys", *b"the last");
        assert_eq!(triple([one, two, three]), None);
        assert_eq!(triple([one, two, one]), None);
        assert_eq!(triple([one, one, three]), weak);
        assert_eq!(triple([one, two, two]), weak);
    }
}
