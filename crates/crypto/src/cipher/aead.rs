//! AEADs under ESP's and IKE's nonces: AES-GCM (RFC 4106), ChaCha20-Poly1305 (RFC 7634), AES-CCM
//! (RFC 4309), AES-GMAC (RFC 4543).
//!
//! aws-lc-rs does AES-GCM with whole ICVs. Where it is no help, when opening a shortened ICV or
//! authenticating octets that do not lie in one piece, GHASH is that of the ghash crate.

use std::sync::OnceLock;

use aes::cipher::{BlockCipherEncrypt, BlockSizeUser};
use aes::{Aes128, Aes192, Aes256};
use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce,
    UnboundKey,
};
use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext};
use aws_lc_rs::iv::FixedLength;
use ccm::aead::array::{Array, ArraySize};
use ccm::aead::{AeadInOut, inout::InOutBuf};
use ccm::consts::{U8, U11, U12, U16};
use ccm::{Ccm, KeyInit, TagSize};
use ghash::GHash;
use ghash::universal_hash::UniversalHash as _;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::algorithm::{IcvSize, KeySize};
use super::key::{OpenError, SealError};
use super::text::aes_key;
use super::{CCM_SALT_LEN, SALT_LEN};
use crate::{Extent, Prefetch, Secret};

/// AES-GCM or ChaCha20-Poly1305 with its salt.
///
/// The library expands a key to 592 octets, and most SAs of a gateway are idle: it does so when the key is
/// used for the first time. The key itself stays beside it, as it is a part of what it is expanded to.
pub(super) struct AeadKey {
    expanded: OnceLock<LessSafeKey>,
    /// The cipher's key.
    raw: Secret,
    kind: AeadKind,
    salt: [u8; SALT_LEN],
}

/// What the library calls the ciphers.
#[derive(Clone, Copy)]
enum AeadKind {
    Gcm(KeySize),
    ChaCha20Poly1305,
}

impl AeadKind {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Gcm(KeySize::Bits128) => &AES_128_GCM,
            Self::Gcm(KeySize::Bits192) => &AES_192_GCM,
            Self::Gcm(KeySize::Bits256) => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

impl AeadKey {
    pub(super) fn gcm(size: KeySize, material: &Secret) -> Self {
        Self::new(AeadKind::Gcm(size), material)
    }

    pub(super) fn chacha(material: &Secret) -> Self {
        Self::new(AeadKind::ChaCha20Poly1305, material)
    }

    /// `material` has been measured: the cipher's key, then the salt.
    fn new(kind: AeadKind, material: &Secret) -> Self {
        let (key, salt) = split_salt(material);
        // The caller's copy is erased when the SA is set up.
        Self { expanded: OnceLock::new(), raw: Secret::from_slice(key), kind, salt }
    }

    #[inline]
    fn key(&self) -> &LessSafeKey {
        self.expanded.get_or_init(|| self.expand())
    }

    /// Runs once for each key, whatever the key is: the time says nothing of it.
    #[cold]
    #[inline(never)]
    fn expand(&self) -> LessSafeKey {
        let key = UnboundKey::new(self.kind.algorithm(), self.raw.as_bytes());
        LessSafeKey::new(key.expect("the key has the algorithm's length"))
    }

    /// Tells the processor of the expanded key, if there is one.
    #[inline]
    pub(super) fn prefetch(&self, by: Prefetch, extent: Extent) {
        if let Some(key) = self.expanded.get() {
            by.key(key, extent);
        }
    }

    fn nonce(&self, iv: [u8; 8]) -> Nonce {
        Nonce::assume_unique_for_key(nonce(self.salt, iv))
    }

    /// `icv_out` may be shorter than the tag (RFC 4106 §6).
    #[inline]
    pub(super) fn seal(
        &self,
        counter: u64,
        aad: &[u8],
        iv_out: &mut [u8],
        text: &mut [u8],
        icv_out: &mut [u8],
    ) -> Result<(), SealError> {
        let iv = counter.to_be_bytes();
        if icv_out.len() == TAG_LEN {
            // The tag goes where it belongs, without a stop.
            self.key()
                .seal_in_place_scatter(self.nonce(iv), Aad::from(aad), text, &[], icv_out)
                .map_err(|_| SealError::Length("text"))?;
        } else {
            let tag = self
                .key()
                .seal_in_place_separate_tag(self.nonce(iv), Aad::from(aad), text)
                .map_err(|_| SealError::Length("text"))?;
            icv_out.iter_mut().zip(tag.as_ref()).for_each(|(octet, value)| *octet = *value);
        }
        *iv_out.first_chunk_mut().ok_or(SealError::Length("iv"))? = iv;
        Ok(())
    }

    #[inline]
    pub(super) fn open(
        &self,
        aad: &[u8],
        iv: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), OpenError> {
        let iv = iv.try_into().map_err(|_| OpenError::Length("iv"))?;
        self.key()
            .open_in_place_separate_tag(self.nonce(iv), Aad::from(aad), icv, text)
            .map_err(|_| OpenError::Integrity)?;
        Ok(())
    }
}

/// Octets of a whole tag.
const TAG_LEN: usize = 16;

/// RFC 4106 §4 and RFC 7634 §2: the nonce is the salt, then the IV. It is put together as one number,
/// because whoever reads what was written in other pieces waits for memory.
#[inline]
fn nonce(salt: [u8; SALT_LEN], iv: [u8; 8]) -> [u8; SALT_LEN + 8] {
    let number = u128::from(u64::from_le_bytes(iv)) << 32 | u128::from(u32::from_le_bytes(salt));
    let [n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11, ..] = number.to_le_bytes();
    [n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11]
}

fn split_salt<const N: usize>(material: &Secret) -> (&[u8], [u8; N]) {
    let (key, salt) = material.as_bytes().split_last_chunk().expect("a salt follows the key");
    (key, *salt)
}

/// Opens AES-GCM whose ICV is shortened, which aws-lc-rs only makes.
pub(super) struct ShortGcmOpenKey {
    counter_mode: EncryptingKey,
    tag: TagKey,
}

impl ShortGcmOpenKey {
    pub(super) fn new(size: KeySize, material: &Secret) -> Self {
        let (key, _) = split_salt::<SALT_LEN>(material);
        let counter_mode = EncryptingKey::ctr(aes_key(size, key)).expect("AES has counter mode");
        Self { counter_mode, tag: TagKey::new(size, material) }
    }

    /// `icv` has been measured.
    pub(super) fn open(
        &self,
        aad: &[u8],
        iv: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), OpenError> {
        let iv = iv.try_into().map_err(|_| OpenError::Length("iv"))?;
        if !self.tag.is_tag(iv, &[aad], text, icv) {
            return Err(OpenError::Integrity);
        }
        // NIST SP 800-38D §7.1: the tag has counter 1, the text begins with 2.
        let block = FixedLength::from(&self.tag.counter_block(iv, 2));
        self.counter_mode
            .less_safe_encrypt(text, EncryptionContext::Iv128(block))
            .expect("counter mode takes any length");
        Ok(())
    }
}

/// AES-GMAC: AES-GCM in which everything is associated data. Both directions.
pub(super) struct GmacKey(TagKey);

impl GmacKey {
    pub(super) fn new(size: KeySize, material: &Secret) -> Self {
        Self(TagKey::new(size, material))
    }

    /// `icv_out` has been measured.
    pub(super) fn seal(
        &self,
        counter: u64,
        aad: &[u8],
        iv_out: &mut [u8],
        text: &[u8],
        icv_out: &mut [u8],
    ) {
        let iv = counter.to_be_bytes();
        iv_out.copy_from_slice(&iv);
        icv_out.copy_from_slice(&self.0.tag(iv, &[aad, &iv, text], &[]));
    }

    pub(super) fn open(
        &self,
        aad: &[u8],
        iv: &[u8],
        text: &[u8],
        icv: &[u8],
    ) -> Result<(), OpenError> {
        let iv: [u8; 8] = iv.try_into().map_err(|_| OpenError::Length("iv"))?;
        // RFC 4543 §3.3: unlike in AES-GCM, the IV is authenticated with the rest.
        if self.0.is_tag(iv, &[aad, &iv, text], &[], icv) {
            Ok(())
        } else {
            Err(OpenError::Integrity)
        }
    }
}

/// Computes AES-GCM's tags (NIST SP 800-38D §6.4, §7.1).
pub(super) struct TagKey {
    ghash: GHash,
    block_cipher: EncryptingKey,
    salt: [u8; SALT_LEN],
}

impl TagKey {
    pub(super) fn new(size: KeySize, material: &Secret) -> Self {
        let (key, salt) = split_salt(material);
        let block_cipher = EncryptingKey::ecb(aes_key(size, key)).expect("AES has ECB");
        let mut hash_key = encrypted(&block_cipher, [0; 16]);
        let ghash = GHash::new(&Array(hash_key));
        hash_key.zeroize();
        Self { ghash, block_cipher, salt }
    }

    fn counter_block(&self, iv: [u8; 8], counter: u32) -> [u8; 16] {
        let mut block = [0; 16];
        let counter = counter.to_be_bytes();
        let from = nonce(self.salt, iv).into_iter().chain(counter);
        block.iter_mut().zip(from).for_each(|(octet, value)| *octet = value);
        block
    }

    /// Begins a tag: what is absorbed now is associated data.
    pub(super) fn start(&self) -> PaddedHash {
        PaddedHash::new(self.ghash.clone())
    }

    fn tag(&self, iv: [u8; 8], aad: &[&[u8]], ciphertext: &[u8]) -> [u8; 16] {
        let mut hash = self.start();
        aad.iter().for_each(|part| hash.absorb(part));
        self.finish(hash, iv, ciphertext)
    }

    /// The tag of the associated data absorbed so far and of this text.
    pub(super) fn finish(&self, mut hash: PaddedHash, iv: [u8; 8], ciphertext: &[u8]) -> [u8; 16] {
        let aad_len = hash.pad();
        hash.absorb(ciphertext);
        let text_len = hash.pad();
        hash.absorb(&(aad_len * 8).to_be_bytes());
        hash.absorb(&(text_len * 8).to_be_bytes());
        let mut tag = hash.finish();
        let mask = encrypted(&self.block_cipher, self.counter_block(iv, 1));
        tag.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
        tag
    }

    /// Whether `icv` is the beginning of the tag, in constant time.
    fn is_tag(&self, iv: [u8; 8], aad: &[&[u8]], ciphertext: &[u8], icv: &[u8]) -> bool {
        let tag = self.tag(iv, aad, ciphertext);
        tag.get(..icv.len()).is_some_and(|tag| tag.ct_eq(icv).into())
    }
}

fn encrypted(key: &EncryptingKey, mut block: [u8; 16]) -> [u8; 16] {
    key.less_safe_encrypt(&mut block, EncryptionContext::None).expect("one whole block");
    block
}

/// GHASH over octets that come in pieces of any length.
pub(super) struct PaddedHash {
    hash: GHash,
    /// Several blocks, because the hash is quicker with many at once.
    buffer: [Array<u8, U16>; HASH_BLOCKS],
    /// Octets in the buffer.
    filled: usize,
    /// Octets since the last padding.
    absorbed: u64,
}

const HASH_BLOCKS: usize = 16;

impl PaddedHash {
    fn new(hash: GHash) -> Self {
        Self { hash, buffer: [Array([0; 16]); HASH_BLOCKS], filled: 0, absorbed: 0 }
    }

    pub(super) fn absorb(&mut self, mut octets: &[u8]) {
        self.absorbed += octets.len() as u64;
        while !octets.is_empty() {
            let buffer = Array::slice_as_flattened_mut(&mut self.buffer);
            let free = buffer.get_mut(self.filled..).unwrap_or_default();
            let (now, later) = octets.split_at(free.len().min(octets.len()));
            free.iter_mut().zip(now).for_each(|(octet, value)| *octet = *value);
            self.filled += now.len();
            octets = later;
            if self.filled == HASH_BLOCKS * 16 {
                self.hash.update(&self.buffer);
                self.filled = 0;
            }
        }
    }

    /// Fills the last block with zeros; returns the octets since the last padding.
    fn pad(&mut self) -> u64 {
        let absorbed = self.absorbed;
        let missing = self.filled.next_multiple_of(16) - self.filled;
        self.absorb([0; 16].get(..missing).unwrap_or_default());
        self.absorbed = 0;
        absorbed
    }

    fn finish(mut self) -> [u8; 16] {
        self.hash.update(self.buffer.get(..self.filled / 16).unwrap_or_default());
        self.hash.finalize().into()
    }
}

/// AES-CCM with its salt; both directions.
pub(super) struct CcmKey {
    ccm: Box<dyn CcmCipher>,
    salt: [u8; CCM_SALT_LEN],
}

impl CcmKey {
    pub(super) fn new(size: KeySize, icv: IcvSize, material: &Secret) -> Self {
        let (key, salt) = split_salt(material);
        let ccm = match size {
            KeySize::Bits128 => ccm_cipher::<Aes128>(key, icv),
            KeySize::Bits192 => ccm_cipher::<Aes192>(key, icv),
            KeySize::Bits256 => ccm_cipher::<Aes256>(key, icv),
        };
        Self { ccm, salt }
    }

    /// RFC 4309 §4: the nonce is the salt, then the IV.
    fn nonce(&self, iv: [u8; 8]) -> [u8; CCM_NONCE_LEN] {
        let mut nonce = [0; CCM_NONCE_LEN];
        nonce.iter_mut().zip(self.salt.into_iter().chain(iv)).for_each(|(to, from)| *to = from);
        nonce
    }

    /// `icv_out` has been measured.
    pub(super) fn seal(
        &self,
        counter: u64,
        aad: &[u8],
        iv_out: &mut [u8],
        text: &mut [u8],
        icv_out: &mut [u8],
    ) -> Result<(), SealError> {
        let iv = counter.to_be_bytes();
        self.ccm.seal(self.nonce(iv), aad, text, icv_out).ok_or(SealError::Length("text"))?;
        iv_out.copy_from_slice(&iv);
        Ok(())
    }

    /// `icv` has been measured.
    pub(super) fn open(
        &self,
        aad: &[u8],
        iv: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Result<(), OpenError> {
        let iv = iv.try_into().map_err(|_| OpenError::Length("iv"))?;
        self.ccm.open(self.nonce(iv), aad, text, icv).ok_or_else(|| {
            // CCM authenticates the text in the clear, so it was decrypted.
            text.fill(0);
            OpenError::Integrity
        })
    }
}

const CCM_NONCE_LEN: usize = CCM_SALT_LEN + 8;

/// AES-CCM of any key and ICV length.
trait CcmCipher: Send + Sync {
    /// `None` for a text that is too long.
    fn seal(
        &self,
        nonce: [u8; CCM_NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv_out: &mut [u8],
    ) -> Option<()>;

    /// `None` unless the ICV is right.
    fn open(
        &self,
        nonce: [u8; CCM_NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Option<()>;
}

fn ccm_cipher<C>(key: &[u8], icv: IcvSize) -> Box<dyn CcmCipher>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Send + Sync + 'static,
{
    const MEASURED: &str = "the key has the cipher's length";
    match icv {
        IcvSize::Octets8 => Box::new(Ccm::<C, U8, U11>::new_from_slice(key).expect(MEASURED)),
        IcvSize::Octets12 => Box::new(Ccm::<C, U12, U11>::new_from_slice(key).expect(MEASURED)),
        IcvSize::Octets16 => Box::new(Ccm::<C, U16, U11>::new_from_slice(key).expect(MEASURED)),
    }
}

impl<C, M> CcmCipher for Ccm<C, M, U11>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
    M: ArraySize + TagSize + Send + Sync,
{
    fn seal(
        &self,
        nonce: [u8; CCM_NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv_out: &mut [u8],
    ) -> Option<()> {
        let tag = self.encrypt_inout_detached(&Array(nonce), aad, InOutBuf::from(text)).ok()?;
        icv_out.copy_from_slice(&tag);
        Some(())
    }

    fn open(
        &self,
        nonce: [u8; CCM_NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8],
    ) -> Option<()> {
        let tag = icv.try_into().ok()?;
        self.decrypt_inout_detached(&Array(nonce), aad, InOutBuf::from(text), tag).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whichever way it goes.
    #[test]
    fn a_key_is_expanded_by_the_first_text() {
        let material = Secret::new(vec![7; 16 + SALT_LEN]);
        let [sealing, opening] = [(); 2].map(|()| AeadKey::gcm(KeySize::Bits128, &material));
        let is_expanded = |key: &AeadKey| key.expanded.get().is_some();
        assert!(!is_expanded(&sealing) && !is_expanded(&opening));

        let (mut text, mut iv, mut icv) = (*b"text", [0; 8], [0; TAG_LEN]);
        sealing.seal(1, b"aad", &mut iv, &mut text, &mut icv).unwrap();
        opening.open(b"aad", &iv, &mut text, &icv).unwrap();
        assert_eq!(&text, b"text");
        assert!(is_expanded(&sealing) && is_expanded(&opening));
    }
}
