//! Encryption without authentication: CBC (RFC 2451, RFC 3602) and counter mode (RFC 3686).
//!
//! AES comes from aws-lc-rs. The other ciphers are those of the RustCrypto crates; Blowfish, CAST
//! and DES look their tables up by secret, so their time tells something about the key.

use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt as _, BlockModeEncrypt as _,
    BlockSizeUser, InnerIvInit as _, KeyInit, StreamCipher as _, consts::U16, typenum::Unsigned,
};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use blowfish::Blowfish;
use camellia::{Camellia128, Camellia192, Camellia256};
use cast5::Cast5;
use des::{Des, TdesEde3};

use super::algorithm::{CTR_NONCE_LEN, Encryption, KeySize};

/// Encrypts whole texts in place.
///
/// `iv` has [`Encryption::iv_len`] octets and `text` is a multiple of [`Encryption::block_len`];
/// the caller has measured both.
pub(super) trait Encrypt: Send + Sync {
    fn encrypt(&self, iv: &[u8], text: &mut [u8]);
}

/// The inverse of [`Encrypt`].
pub(super) trait Decrypt: Send + Sync {
    fn decrypt(&self, iv: &[u8], text: &mut [u8]);
}

/// `material` has [`Encryption::key_len`] octets.
pub(super) fn encryptor(encryption: Encryption, material: &[u8]) -> Box<dyn Encrypt> {
    match encryption {
        Encryption::AesCbc(size) => Box::new(AesCbcEncrypt(
            EncryptingKey::cbc(aes_key(size, material)).expect("AES has CBC"),
        )),
        Encryption::AesCtr(size) => Box::new(AesCtr::new(size, material)),
        Encryption::CamelliaCbc(KeySize::Bits128) => Cbc::<Camellia128>::boxed(material),
        Encryption::CamelliaCbc(KeySize::Bits192) => Cbc::<Camellia192>::boxed(material),
        Encryption::CamelliaCbc(KeySize::Bits256) => Cbc::<Camellia256>::boxed(material),
        Encryption::CamelliaCtr(KeySize::Bits128) => Ctr::<Camellia128>::boxed(material),
        Encryption::CamelliaCtr(KeySize::Bits192) => Ctr::<Camellia192>::boxed(material),
        Encryption::CamelliaCtr(KeySize::Bits256) => Ctr::<Camellia256>::boxed(material),
        Encryption::TripleDes => Cbc::<TdesEde3>::boxed(material),
        Encryption::Des => Cbc::<Des>::boxed(material),
        Encryption::Blowfish(_) => Cbc::<Blowfish>::boxed(material),
        Encryption::Cast128 => Cbc::<Cast5>::boxed(material),
        Encryption::Null => Box::new(Null),
    }
}

/// `material` has [`Encryption::key_len`] octets.
pub(super) fn decryptor(encryption: Encryption, material: &[u8]) -> Box<dyn Decrypt> {
    match encryption {
        Encryption::AesCbc(size) => Box::new(AesCbcDecrypt(
            DecryptingKey::cbc(aes_key(size, material)).expect("AES has CBC"),
        )),
        Encryption::AesCtr(size) => Box::new(AesCtr::new(size, material)),
        Encryption::CamelliaCbc(KeySize::Bits128) => Cbc::<Camellia128>::boxed(material),
        Encryption::CamelliaCbc(KeySize::Bits192) => Cbc::<Camellia192>::boxed(material),
        Encryption::CamelliaCbc(KeySize::Bits256) => Cbc::<Camellia256>::boxed(material),
        Encryption::CamelliaCtr(KeySize::Bits128) => Ctr::<Camellia128>::boxed(material),
        Encryption::CamelliaCtr(KeySize::Bits192) => Ctr::<Camellia192>::boxed(material),
        Encryption::CamelliaCtr(KeySize::Bits256) => Ctr::<Camellia256>::boxed(material),
        Encryption::TripleDes => Cbc::<TdesEde3>::boxed(material),
        Encryption::Des => Cbc::<Des>::boxed(material),
        Encryption::Blowfish(_) => Cbc::<Blowfish>::boxed(material),
        Encryption::Cast128 => Cbc::<Cast5>::boxed(material),
        Encryption::Null => Box::new(Null),
    }
}

pub(super) fn aes_key(size: KeySize, octets: &[u8]) -> UnboundCipherKey {
    let algorithm = match size {
        KeySize::Bits128 => &AES_128,
        KeySize::Bits192 => &AES_192,
        KeySize::Bits256 => &AES_256,
    };
    UnboundCipherKey::new(algorithm, octets).expect(MEASURED)
}

const MEASURED: &str = "the key has the cipher's length";

const WHOLE_BLOCKS: &str = "whole blocks and an IV of 16 octets";

struct AesCbcEncrypt(EncryptingKey);

impl Encrypt for AesCbcEncrypt {
    fn encrypt(&self, iv: &[u8], text: &mut [u8]) {
        let iv = FixedLength::try_from(iv).expect(WHOLE_BLOCKS);
        self.0.less_safe_encrypt(text, EncryptionContext::Iv128(iv)).expect(WHOLE_BLOCKS);
    }
}

struct AesCbcDecrypt(DecryptingKey);

impl Decrypt for AesCbcDecrypt {
    fn decrypt(&self, iv: &[u8], text: &mut [u8]) {
        let iv = FixedLength::try_from(iv).expect(WHOLE_BLOCKS);
        self.0.decrypt(text, DecryptionContext::Iv128(iv)).expect(WHOLE_BLOCKS);
    }
}

/// Counter mode is its own inverse.
struct AesCtr {
    key: EncryptingKey,
    nonce: [u8; CTR_NONCE_LEN],
}

impl AesCtr {
    fn new(size: KeySize, material: &[u8]) -> Self {
        let (key, nonce) = split_nonce(material);
        let key = EncryptingKey::ctr(aes_key(size, key)).expect("AES has counter mode");
        Self { key, nonce }
    }

    fn apply(&self, iv: &[u8], text: &mut [u8]) {
        let block = FixedLength::from(&counter_block(self.nonce, iv));
        self.key
            .less_safe_encrypt(text, EncryptionContext::Iv128(block))
            .expect("counter mode takes any length");
    }
}

impl Encrypt for AesCtr {
    fn encrypt(&self, iv: &[u8], text: &mut [u8]) {
        self.apply(iv, text);
    }
}

impl Decrypt for AesCtr {
    fn decrypt(&self, iv: &[u8], text: &mut [u8]) {
        self.apply(iv, text);
    }
}

/// RFC 3686 §4, RFC 5529 §2.2: nonce, IV, and a block number that begins with 1.
fn counter_block(nonce: [u8; CTR_NONCE_LEN], iv: &[u8]) -> [u8; 16] {
    let mut block = [0; 16];
    let from = nonce.iter().chain(iv).chain(&[0, 0, 0, 1]);
    block.iter_mut().zip(from).for_each(|(octet, value)| *octet = *value);
    block
}

fn split_nonce(material: &[u8]) -> (&[u8], [u8; CTR_NONCE_LEN]) {
    let (key, nonce) = material.split_last_chunk().expect("four octets follow the key");
    (key, *nonce)
}

/// CBC with any block cipher.
struct Cbc<C>(C);

impl<C: KeyInit> Cbc<C> {
    fn boxed(key: &[u8]) -> Box<Self> {
        Box::new(Self(C::new_from_slice(key).expect(MEASURED)))
    }
}

impl<C: BlockCipherEncrypt + Send + Sync> Encrypt for Cbc<C> {
    fn encrypt(&self, iv: &[u8], text: &mut [u8]) {
        let iv = iv.try_into().expect("an IV of one block");
        let mut mode = cbc::Encryptor::inner_iv_init(&self.0, iv);
        mode.encrypt_blocks(whole_blocks::<C>(text));
    }
}

impl<C: BlockCipherDecrypt + Send + Sync> Decrypt for Cbc<C> {
    fn decrypt(&self, iv: &[u8], text: &mut [u8]) {
        let iv = iv.try_into().expect("an IV of one block");
        let mut mode = cbc::Decryptor::inner_iv_init(&self.0, iv);
        mode.decrypt_blocks(whole_blocks::<C>(text));
    }
}

fn whole_blocks<C: BlockSizeUser>(text: &mut [u8]) -> &mut [Array<u8, C::BlockSize>] {
    let (blocks, rest) = Array::slice_as_chunks_mut(text);
    assert!(rest.is_empty(), "a text of whole blocks of {}", C::BlockSize::USIZE);
    blocks
}

/// Counter mode with any block cipher of 16 octets.
struct Ctr<C> {
    cipher: C,
    nonce: [u8; CTR_NONCE_LEN],
}

impl<C: KeyInit> Ctr<C> {
    fn boxed(material: &[u8]) -> Box<Self> {
        let (key, nonce) = split_nonce(material);
        Box::new(Self { cipher: C::new_from_slice(key).expect(MEASURED), nonce })
    }
}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Ctr<C> {
    fn apply(&self, iv: &[u8], text: &mut [u8]) {
        let core = ctr::CtrCore::<&C, ctr::flavors::Ctr32BE>::inner_iv_init(
            &self.cipher,
            &Array(counter_block(self.nonce, iv)),
        );
        aes::cipher::StreamCipherCoreWrapper::from_core(core).apply_keystream(text);
    }
}

impl<C> Encrypt for Ctr<C>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn encrypt(&self, iv: &[u8], text: &mut [u8]) {
        self.apply(iv, text);
    }
}

impl<C> Decrypt for Ctr<C>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn decrypt(&self, iv: &[u8], text: &mut [u8]) {
        self.apply(iv, text);
    }
}

/// RFC 2410.
struct Null;

impl Encrypt for Null {
    fn encrypt(&self, _iv: &[u8], _text: &mut [u8]) {}
}

impl Decrypt for Null {
    fn decrypt(&self, _iv: &[u8], _text: &mut [u8]) {}
}
