//! Message authentication codes below integrity algorithms and PRFs: HMAC (RFC 2104),
//! AES-XCBC-MAC (RFC 3566), AES-CMAC (RFC 4493).

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit as _};
use aws_lc_rs::hmac;
use hmac_md5::Mac as _;
use zeroize::Zeroize;

use crate::Secret;

/// The hmac crate, beside aws-lc-rs' module of the same name.
use ::hmac as hmac_md5;

type HmacMd5 = hmac_md5::Hmac<md5::Md5>;

/// A code with its key already absorbed: computing allocates nothing.
pub(crate) enum Mac {
    /// HMAC with one of the SHA hashes.
    Hmac(Box<hmac::Key>),
    /// HMAC with MD5, which aws-lc-rs does not have.
    HmacMd5(Box<HmacMd5>),
    /// A chain of AES blocks.
    Chain(Box<BlockChain>),
}

/// What a code gives.
pub(crate) struct MacOutput {
    octets: [u8; OUTPUT_LEN_MAX],
    len: usize,
}

/// HMAC-SHA-512.
const OUTPUT_LEN_MAX: usize = 64;

impl Mac {
    pub(crate) fn hmac(algorithm: hmac::Algorithm, key: &[u8]) -> Self {
        Self::Hmac(Box::new(hmac::Key::new(algorithm, key)))
    }

    pub(crate) fn hmac_md5(key: &[u8]) -> Self {
        Self::HmacMd5(Box::new(
            hmac_md5::KeyInit::new_from_slice(key).expect("HMAC takes a key of any length"),
        ))
    }

    pub(crate) fn xcbc(key: &[u8; BLOCK_LEN]) -> Self {
        Self::Chain(Box::new(BlockChain::xcbc(key)))
    }

    pub(crate) fn cmac(key: &[u8; BLOCK_LEN]) -> Self {
        Self::Chain(Box::new(BlockChain::cmac(key)))
    }

    /// The code of the concatenation of `parts`.
    pub(crate) fn compute<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> MacOutput {
        self.start().of(parts)
    }

    /// Begins a code over octets that come in pieces. Nothing is allocated.
    pub(crate) fn start(&self) -> MacState<'_> {
        match self {
            Self::Hmac(key) => MacState::of_hmac(key),
            Self::HmacMd5(key) => MacState::HmacMd5(HmacMd5::clone(key)),
            Self::Chain(key) => MacState::Chain(ChainState::new(key)),
        }
    }
}

/// A code in the making.
#[expect(clippy::large_enum_variant, reason = "a box would allocate for every packet")]
pub(crate) enum MacState<'a> {
    Hmac(hmac::Context),
    HmacMd5(HmacMd5),
    Chain(ChainState<'a>),
}

impl MacState<'_> {
    /// Copies the absorbed key: no key schedule and no heap.
    pub(crate) fn of_hmac(key: &hmac::Key) -> Self {
        Self::Hmac(hmac::Context::with_key(key))
    }

    /// The code of what was absorbed and of `parts`.
    pub(crate) fn of<'a>(mut self, parts: impl IntoIterator<Item = &'a [u8]>) -> MacOutput {
        parts.into_iter().for_each(|part| self.absorb(part));
        self.finish()
    }

    pub(crate) fn absorb(&mut self, part: &[u8]) {
        match self {
            Self::Hmac(context) => context.update(part),
            Self::HmacMd5(context) => context.update(part),
            Self::Chain(chain) => chain.absorb(part),
        }
    }

    pub(crate) fn finish(self) -> MacOutput {
        match self {
            Self::Hmac(context) => MacOutput::new(context.sign().as_ref()),
            Self::HmacMd5(context) => MacOutput::new(&context.finalize().into_bytes()),
            Self::Chain(chain) => MacOutput::new(&chain.finish()),
        }
    }
}

impl MacOutput {
    fn new(output: &[u8]) -> Self {
        let mut octets = [0; OUTPUT_LEN_MAX];
        octets.iter_mut().zip(output).for_each(|(octet, value)| *octet = *value);
        Self { octets, len: output.len() }
    }

    /// The first `len` octets; fewer if the code has fewer.
    pub(crate) fn truncated(&self, len: usize) -> &[u8] {
        self.octets.get(..len.min(self.len)).unwrap_or_default()
    }

    /// All of it.
    pub(crate) fn to_secret(&self) -> Secret {
        Secret::from_slice(self.truncated(self.len))
    }
}

impl Drop for MacOutput {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

/// CBC-MAC whose last block is masked, so that messages of all lengths are safe: XCBC and CMAC
/// differ in how the cipher's key and the two masks come from the key.
pub(crate) struct BlockChain {
    cipher: Aes128,
    /// Masks a last block that is whole.
    whole: [u8; BLOCK_LEN],
    /// Masks a last block that had to be padded.
    padded: [u8; BLOCK_LEN],
}

/// Octets of an AES block, and of these codes' keys.
pub(crate) const BLOCK_LEN: usize = 16;

impl BlockChain {
    /// RFC 3566 §4: the three keys are encryptions of 0x01…, 0x02… and 0x03….
    fn xcbc(key: &[u8; BLOCK_LEN]) -> Self {
        let base = Aes128::new(&Array(*key));
        let mut first = encrypted(&base, [1; BLOCK_LEN]);
        let cipher = Aes128::new(&Array(first));
        first.zeroize();
        let (whole, padded) = (encrypted(&base, [2; BLOCK_LEN]), encrypted(&base, [3; BLOCK_LEN]));
        Self { cipher, whole, padded }
    }

    /// RFC 4493 §2.3: the masks are the encryption of zeros, doubled once and twice.
    fn cmac(key: &[u8; BLOCK_LEN]) -> Self {
        let cipher = Aes128::new(&Array(*key));
        let whole = doubled(encrypted(&cipher, [0; BLOCK_LEN]));
        Self { cipher, whole, padded: doubled(whole) }
    }
}

/// A chain of blocks in the making.
pub(crate) struct ChainState<'a> {
    key: &'a BlockChain,
    state: [u8; BLOCK_LEN],
    /// Octets of the current block that are in the state already. A full block stays there until
    /// more octets come, because the last one is masked.
    filled: usize,
}

impl<'a> ChainState<'a> {
    fn new(key: &'a BlockChain) -> Self {
        Self { key, state: [0; BLOCK_LEN], filled: 0 }
    }

    fn absorb(&mut self, mut part: &[u8]) {
        while !part.is_empty() {
            if self.filled == BLOCK_LEN {
                self.state = encrypted(&self.key.cipher, self.state);
                self.filled = 0;
            }
            let (now, later) = part.split_at((BLOCK_LEN - self.filled).min(part.len()));
            xor(self.state.iter_mut().skip(self.filled), now);
            self.filled += now.len();
            part = later;
        }
    }

    fn finish(mut self) -> [u8; BLOCK_LEN] {
        if self.filled < BLOCK_LEN {
            // RFC 3566 §4, RFC 4493 §2.4: one bit, then zeros.
            xor(self.state.iter_mut().skip(self.filled), &[0x80]);
            xor(self.state.iter_mut(), &self.key.padded);
        } else {
            xor(self.state.iter_mut(), &self.key.whole);
        }
        encrypted(&self.key.cipher, self.state)
    }
}

impl Drop for BlockChain {
    fn drop(&mut self) {
        self.whole.zeroize();
        self.padded.zeroize();
    }
}

fn encrypted(cipher: &Aes128, block: [u8; BLOCK_LEN]) -> [u8; BLOCK_LEN] {
    let mut block = Array(block);
    cipher.encrypt_block(&mut block);
    block.0
}

/// Times x in the field of 2^128 elements with RFC 4493's polynomial, without a branch on secrets.
fn doubled(block: [u8; BLOCK_LEN]) -> [u8; BLOCK_LEN] {
    let number = u128::from_be_bytes(block);
    ((number << 1) ^ ((number >> 127) * 0x87)).to_be_bytes()
}

fn xor<'a>(octets: impl Iterator<Item = &'a mut u8>, with: &[u8]) {
    octets.zip(with).for_each(|(octet, with)| *octet ^= with);
}
