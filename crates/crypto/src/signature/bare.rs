//! RSASSA-PKCS1-v1_5 of a hash that the signature does not name: IKEv1 encrypts HASH_I or HASH_R itself
//! with the private key in the form of PKCS #1, block type 1 (RFC 2409 §5.1).
//!
//! aws-lc-rs signs with a DigestInfo alone, so the block is made here and [`rsa`](crate::rsa) does the rest.

use subtle::ConstantTimeEq as _;

use super::VerifyingKey;
use crate::rsa::{DecryptingKey, EncryptingKey};

/// Octets of padding at least (RFC 8017 §9.2).
const PADDING_MIN: usize = 8;

/// Signs `hash`. `None` if the key is too short for it, or its result is not right.
pub(super) fn sign(key: &DecryptingKey, hash: &[u8]) -> Option<Vec<u8>> {
    key.sign_block(&block(hash, key.public().ciphertext_len())?)
}

/// Whether `signature` is one of `hash` by an RSA key.
pub(super) fn verifies(key: &VerifyingKey, hash: &[u8], signature: &[u8]) -> bool {
    let Some(key) = EncryptingKey::new(key) else { return false };
    let Some(block) = block(hash, key.ciphertext_len()) else { return false };
    // The whole block is compared: nothing in it may be something else (RFC 8017 §8.2.2).
    key.open(signature).is_some_and(|opened| opened.ct_eq(&block).into())
}

/// `00 01 FF … FF 00 hash`.
fn block(hash: &[u8], octets: usize) -> Option<Vec<u8>> {
    let padding = octets.checked_sub(hash.len())?.checked_sub(3)?;
    if padding < PADDING_MIN {
        return None;
    }
    Some([&[0, 1], vec![0xff; padding].as_slice(), &[0], hash].concat())
}
