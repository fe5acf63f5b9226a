//! Payloads whose bodies are encrypted one by one, their headers in clear (RFC 2409 §5.2, §5.3).

use adit_crypto::{CbcKey, Secret};
use adit_wire::isakmp::Cookie;

use crate::v1::keymat::{Iv, payload_key};

use super::suite::Suite;

/// The key of one end, Ke_i or Ke_r, and where in its chain of blocks it stands.
pub(crate) struct PayloadCipher {
    key: CbcKey,
    iv: Iv,
}

impl PayloadCipher {
    /// Of the end that has drawn this nonce, and has this cookie. `None` if the cipher takes no key of
    /// it: a weak one of DES.
    pub(crate) fn new(suite: &Suite, nonce: &Secret, cookie: Cookie) -> Option<Self> {
        let key = payload_key(suite.prf, suite.encryption, nonce, cookie).ok()?;
        let iv = Iv::zero(key.block_len());
        Some(Self { key, iv })
    }

    /// Encrypts the next body.
    ///
    /// RFC 2409 §5.3: it is always padded, with zeros, and the last octet is the number of octets of
    /// padding in front of it.
    pub(crate) fn seal(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        let block = self.key.block_len();
        let zeros = block - 1 - body.len() % block;
        let mut text = body.to_vec();
        text.resize(body.len() + zeros, 0);
        text.push(u8::try_from(zeros).ok()?);
        self.iv = self.iv.encrypt(&self.key, &mut text).ok()?;
        Some(text)
    }

    /// Decrypts the next body; `None` if it is no whole number of blocks, or is not padded as it should.
    pub(crate) fn open(&mut self, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut text = sealed.to_vec();
        self.iv = self.iv.decrypt(&self.key, &mut text).ok()?;
        let (zeros, rest) = text.split_last()?;
        let end = rest.len().checked_sub(usize::from(*zeros))?;
        let padding = rest.get(end..)?;
        let is_padded = padding.len() < self.key.block_len() && padding.iter().all(|one| *one == 0);
        is_padded.then(|| rest.get(..end).unwrap_or_default().to_vec())
    }
}
