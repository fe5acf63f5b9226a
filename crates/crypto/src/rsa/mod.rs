//! RSA encryption (RFC 8017 §7): RSAES-PKCS1-v1_5 with implicit rejection, and RSAES-OAEP with
//! SHA-256 and an empty label.
//!
//! IKEv1 encrypts nonces to public keys (RFC 2409 §5.2, §5.3), so a peer that nobody knows may ask for
//! decryptions as often as it likes. Nothing tells it whether a padding was right (Bleichenbacher):
//! [`DecryptingKey::decrypt`] always gives a message. Of what is no ciphertext it is one that only
//! who has the private key could foretell, and always the same; all of it is one path without
//! branches on what was decrypted, as draft-irtf-cfrg-rsa-guidance has it.
//!
//! The numbers are crypto-bigint's, as those of MODP groups are: its exponentiation takes the same time
//! for every exponent and base. aws-lc-rs says of a wrong padding that it is wrong, and gives nobody the
//! bare private operation. The base is blinded all the same ([`private`]).

mod oaep;
mod pkcs1;
mod private;
mod rejection;

use core::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize;

use self::private::PrivateKey;
use self::rejection::Synthetic;
use crate::signature::{KeyError, VerifyingKey};
use crate::{Prf, Rng, Secret};

/// How a message is made as long as the modulus.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RsaPadding {
    /// RSAES-PKCS1-v1_5 (RFC 8017 §7.2), which IKEv1 means.
    Pkcs1,
    /// RSAES-OAEP (RFC 8017 §7.1) with SHA-256, MGF1 of the same, and an empty label.
    Oaep,
}

/// The public half of an RSA key, to encrypt with.
#[derive(Clone)]
pub struct EncryptingKey {
    modulus: BoxedMontyParams,
    exponent: u64,
    /// Octets of the modulus, and of a ciphertext.
    octets: usize,
}

impl EncryptingKey {
    /// Of a key that verifies signatures; `None` if it is not RSA.
    pub fn new(key: &VerifyingKey) -> Option<Self> {
        let [modulus, exponent] = *integers(key.octets())?.as_slice() else { return None };
        Self::of(modulus, exponent)
    }

    fn of(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let octets = modulus.len();
        let modulus = number(modulus, octets)?;
        let modulus = BoxedMontyParams::new_vartime(Odd::new(modulus).into_option()?);
        // A public exponent of more octets would make everybody slow, and nobody has one. One of zero is
        // none: everything would be its power.
        if exponent.len() > EXPONENT_OCTETS_MAX {
            return None;
        }
        let exponent = exponent.iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
        if exponent == 0 {
            return None;
        }
        Some(Self { modulus, exponent, octets })
    }

    /// Octets of every ciphertext.
    pub fn ciphertext_len(&self) -> usize {
        self.octets
    }

    /// Octets of the longest message.
    pub fn message_len_max(&self, padding: RsaPadding) -> usize {
        let overhead = match padding {
            RsaPadding::Pkcs1 => pkcs1::OVERHEAD_OCTETS,
            RsaPadding::Oaep => oaep::OVERHEAD_OCTETS,
        };
        self.octets.saturating_sub(overhead)
    }

    /// Encrypts; `None` if the message is longer than [`Self::message_len_max`].
    pub fn encrypt(
        &self,
        padding: RsaPadding,
        message: &[u8],
        rng: &mut dyn Rng,
    ) -> Option<Vec<u8>> {
        let encoded = match padding {
            RsaPadding::Pkcs1 => pkcs1::encode(message, self.octets, rng)?,
            RsaPadding::Oaep => oaep::encode(message, self.octets, rng)?,
        };
        let mut base = self.form(number(encoded.as_bytes(), self.octets)?);
        let power = self.power(&base);
        wipe(&mut base);
        Some(octets(&power.retrieve(), self.octets).as_bytes().to_vec())
    }

    /// The bare public operation (RFC 8017 §5.2.2): the block that was signed. `None` for a signature of
    /// another length, or one that is no number below the modulus.
    pub(crate) fn open(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let power = self.power(&self.form(self.representative(signature)?));
        Some(octets(&power.retrieve(), self.octets).as_bytes().to_vec())
    }

    /// A number below the modulus that is written in as many octets.
    fn representative(&self, octets: &[u8]) -> Option<BoxedUint> {
        let number = number(octets, self.octets).filter(|_| octets.len() == self.octets)?;
        (number < *self.modulus.modulus().as_ref()).then_some(number)
    }

    /// `base^e`. Which steps that takes shows the public exponent, and nothing of the base.
    fn power(&self, base: &BoxedMontyForm) -> BoxedMontyForm {
        let below_first = self.exponent.checked_ilog2().unwrap_or(0);
        let mut power = base.clone();
        for bit in (0..below_first).rev() {
            power = power.square();
            if self.exponent >> bit & 1 == 1 {
                power = power.mul(base);
            }
        }
        power
    }

    fn form(&self, number: BoxedUint) -> BoxedMontyForm {
        BoxedMontyForm::new(number, &self.modulus)
    }
}

impl fmt::Debug for EncryptingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptingKey").field("octets", &self.octets).finish_non_exhaustive()
    }
}

/// A private RSA key, to decrypt with. It is neither printed nor copied.
pub struct DecryptingKey {
    private: PrivateKey,
    /// `SHA-256(d)`: what synthetic messages come of.
    rejection: Secret,
}

impl DecryptingKey {
    /// A key that has been checked already, as RSAPrivateKey (RFC 8017 A.1.2) or in PKCS#8.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`].
    pub(crate) fn new(der: &[u8]) -> Result<Self, KeyError> {
        let read = || {
            let numbers = integers(der).filter(|numbers| numbers.len() > 2);
            let numbers = match numbers {
                Some(numbers) => numbers,
                None => integers(inside_pkcs8(der)?)?,
            };
            // Version, modulus, public exponent, private one, primes, exponents, coefficient.
            let [_, n, e, d, p, q, dp, dq, coefficient] = *numbers.as_slice() else { return None };
            let public = EncryptingKey::of(n, e)?;
            let rejection = rejection::key(d, public.octets);
            let private = PrivateKey::new(public, [p, q], [dp, dq], coefficient, &rejection)?;
            Some(Self { private, rejection })
        };
        read().ok_or(KeyError::Malformed)
    }

    /// The public half.
    pub fn public(&self) -> &EncryptingKey {
        self.private.public()
    }

    /// Decrypts. What is no ciphertext of this key gives a message, too, whose octets and length nobody
    /// can foretell without the key; it takes the same time.
    #[must_use]
    pub fn decrypt(&self, padding: RsaPadding, ciphertext: &[u8]) -> Secret {
        let len = self.public().octets;
        // How long it is and whether it is a number below the modulus everybody sees.
        let base = self.public().representative(ciphertext);
        let base = base.unwrap_or_else(|| BoxedUint::zero_with_precision(bits(len)));
        let key = Prf::HmacSha2_256.compute(self.rejection.as_bytes(), &[ciphertext]);
        let encoded = self.private.power(base);
        let (max, decoded) = match padding {
            RsaPadding::Pkcs1 => (pkcs1::SEPARATOR_OCTETS, pkcs1::decode(&encoded)),
            RsaPadding::Oaep => (oaep::OVERHEAD_OCTETS, oaep::decode(&encoded)),
        };
        Synthetic::new(&key, len, len.saturating_sub(max)).unless(decoded)
    }

    /// The bare private operation on a block that is padded already (RFC 8017 §5.2.1), checked before it
    /// leaves: a result that is wrong modulo one prime would give the other one away. `None` for a block that
    /// is not as long as the modulus, or not below it.
    pub(crate) fn sign_block(&self, block: &[u8]) -> Option<Vec<u8>> {
        let signed = self.private.power(self.public().representative(block)?);
        let opened = self.public().open(signed.as_bytes())?;
        bool::from(opened.ct_eq(block)).then(|| signed.as_bytes().to_vec())
    }
}

/// A new RSA key of 2,048 bits: PKCS#8, and its public half as SubjectPublicKeyInfo. Its randomness is the
/// library's own. `None` if the library makes none.
pub fn new_rsa_key() -> Option<(Secret, Vec<u8>)> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
    let private: Pkcs8V1Der<'static> = pair.as_der().ok()?;
    let public: PublicKeyX509Der<'static> = pair.public_key().as_der().ok()?;
    Some((Secret::from_slice(private.as_ref()), public.as_ref().to_vec()))
}

impl fmt::Debug for DecryptingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptingKey(<secret>)")
    }
}

/// Most octets of a public exponent.
const EXPONENT_OCTETS_MAX: usize = 8;

/// A number that has room for `len` octets; `None` if it needs more.
fn number(octets: &[u8], len: usize) -> Option<BoxedUint> {
    BoxedUint::from_be_slice(octets, bits(len)).ok()
}

fn bits(octets: usize) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX / 8) * 8
}

/// The last `len` octets of a number.
fn octets(number: &BoxedUint, len: usize) -> Secret {
    let mut all = number.to_be_bytes();
    let start = all.len().saturating_sub(len);
    let secret = Secret::from_slice(all.get(start..).unwrap_or_default());
    all.zeroize();
    secret
}

fn wipe(form: &mut BoxedMontyForm) {
    form.as_montgomery_mut().as_mut_words().zeroize();
}

// ---- DER ----

/// The INTEGERs of a SEQUENCE of nothing else, without leading zeros.
fn integers(der: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = element(&mut &*der, SEQUENCE)?;
    let mut integers = Vec::new();
    while !rest.is_empty() {
        let octets = element(&mut rest, INTEGER)?;
        let zeros = octets.iter().take_while(|octet| **octet == 0).count();
        integers.push(octets.get(zeros..)?);
    }
    Some(integers)
}

/// What PKCS#8 (RFC 5208 §5) wraps.
fn inside_pkcs8(der: &[u8]) -> Option<&[u8]> {
    let mut info = element(&mut &*der, SEQUENCE)?;
    element(&mut info, INTEGER)?;
    element(&mut info, SEQUENCE)?;
    element(&mut info, OCTET_STRING)
}

/// The contents of the next element, which must have this tag.
fn element<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&first, more) = rest.split_first()?;
    let (&short, mut more) = more.split_first()?;
    let len = if short < 0x80 {
        usize::from(short)
    } else {
        let (octets, after) = more.split_at_checked(usize::from(short & 0x7f))?;
        more = after;
        if octets.len() > 2 {
            return None;
        }
        octets.iter().fold(0, |len, octet| len << 8 | usize::from(*octet))
    };
    let (contents, after) = more.split_at_checked(len)?;
    *rest = after;
    (first == tag).then_some(contents)
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
