//! DSA (FIPS 186-4) as IKEv1 uses it: HASH_I or HASH_R takes the place of the digest, and the signature is
//! r followed by s (RFC 2409 §5.1).
//!
//! The arithmetic is that of the crate `dsa`. It trusts what it is given, so that keys are checked here:
//! sizes, that g makes the subgroup of order q, and that the public value is in it. Whether p and q are
//! primes is not looked at: who chooses them badly weakens nothing but the key that is in the same file.
//! The number that must never come twice is drawn from the key and the hash (RFC 6979), and a signature
//! is checked before it leaves, lest a fault give the key away.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Integer, NonZero, Odd};
use der::asn1::UintRef;
use der::{Encode, Reader, SliceReader};
use dsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use dsa::{Components, Signature, SigningKey, VerifyingKey};

use super::{DSA_BITS_MAX, DSA_BITS_MIN, KeyError};

/// Bits of q: those of FIPS 186-2 and of FIPS 186-4.
const ORDERS: [u32; 3] = [160, 224, 256];

/// p is made of whole words: every program that makes keys does so, and FIPS 186 knows no other length.
const WORD: u32 = 64;

/// A public key whose sizes and ranges are right.
pub(super) struct Public {
    group: Group,
    value: BoxedUint,
}

/// Reads `Dss-Parms` (RFC 3279 §2.3.2) with the public value, an INTEGER, behind it. That costs little:
/// strangers send certificates.
///
/// # Errors
///
/// [`KeyError::Malformed`], [`KeyError::DsaSize`].
pub(super) fn public(octets: &[u8]) -> Result<Public, KeyError> {
    let mut reader = SliceReader::new(octets).map_err(|_| KeyError::Malformed)?;
    let group = Group::read(&mut reader)?;
    let value: UintRef<'_> = reader.decode().map_err(|_| KeyError::Malformed)?;
    if !reader.is_finished() {
        return Err(KeyError::Malformed);
    }
    let value = number(value, group.bits)?;
    if group.has_room_for(&value) { Ok(Public { group, value }) } else { Err(KeyError::Malformed) }
}

impl Public {
    /// Bits of p.
    pub(super) fn bits(&self) -> u32 {
        self.group.bits
    }

    /// What verifies; `None` if the generator or the public value is not of order q.
    pub(super) fn key(self) -> Option<VerifyingKey> {
        self.group.is_sound().then(|| self.group.public(self.value).ok())?
    }
}

/// Reads `Dss-Parms` and the private value, an INTEGER.
///
/// # Errors
///
/// [`KeyError::Malformed`], [`KeyError::DsaSize`].
pub(super) fn private(parameters: &[u8], value: &[u8]) -> Result<SigningKey, KeyError> {
    let mut reader = SliceReader::new(parameters).map_err(|_| KeyError::Malformed)?;
    let group = Group::read(&mut reader)?;
    let mut secret = SliceReader::new(value).map_err(|_| KeyError::Malformed)?;
    let x: UintRef<'_> = secret.decode().map_err(|_| KeyError::Malformed)?;
    if !reader.is_finished() || !secret.is_finished() {
        return Err(KeyError::Malformed);
    }
    let x = number(x, group.order.bits_precision())?;
    if !group.is_sound() {
        return Err(KeyError::Malformed);
    }
    let public = group.public(group.power(&group.generator, &x))?;
    SigningKey::from_components(public, x).map_err(|_| KeyError::Malformed)
}

/// `Dss-Parms` and the public value of a private key: what [`public`] reads.
pub(super) fn public_octets(parameters: &[u8], key: &SigningKey) -> Result<Vec<u8>, KeyError> {
    let value = key.verifying_key().y().to_be_bytes();
    let value = UintRef::new(&value).and_then(|value| value.to_der());
    Ok([parameters, value.map_err(|_| KeyError::Malformed)?.as_slice()].concat())
}

/// Signs `hash`. `None` if the result is not right.
pub(super) fn sign(key: &SigningKey, hash: &[u8]) -> Option<Vec<u8>> {
    let public = key.verifying_key();
    let signature = key.sign_prehash(hash).ok()?;
    public.verify_prehash(hash, &signature).ok()?;
    let octets = order_octets(public.components());
    let fixed = |part: &NonZero<BoxedUint>| {
        let part = part.to_be_bytes();
        part.get(part.len().checked_sub(octets)?..).map(<[u8]>::to_vec)
    };
    Some([fixed(signature.r())?, fixed(signature.s())?].concat())
}

/// Whether `signature` is one of `hash` by the key that [`public`] reads.
pub(super) fn verifies(octets: &[u8], hash: &[u8], signature: &[u8]) -> bool {
    let Some(key) = public(octets).ok().and_then(Public::key) else { return false };
    let octets = order_octets(key.components());
    signature.len() == 2 * octets && is_of(&key, hash, signature.split_at(octets))
}

/// The same of a signature as certificates have it: `Dss-Sig-Value` (RFC 3279 §2.2.2) and nothing behind it.
pub(super) fn verifies_certificate(octets: &[u8], hash: &[u8], signature: &[u8]) -> bool {
    let Some(key) = public(octets).ok().and_then(Public::key) else { return false };
    let Ok(mut reader) = SliceReader::new(signature) else { return false };
    let parts =
        reader.sequence(|r| -> der::Result<[UintRef<'_>; 2]> { Ok([r.decode()?, r.decode()?]) });
    match parts {
        Ok([r, s]) if reader.is_finished() => is_of(&key, hash, (r.as_bytes(), s.as_bytes())),
        _ => false,
    }
}

/// Whether r and s are of this hash.
fn is_of(key: &VerifyingKey, hash: &[u8], (r, s): (&[u8], &[u8])) -> bool {
    let bits = key.components().q().bits_precision();
    let part = |octets| BoxedUint::from_be_slice(octets, bits).ok();
    // Neither may be zero, nor as large as q: the crate looks at that.
    let signature = part(r).zip(part(s)).and_then(|(r, s)| Signature::from_components(r, s));
    signature.is_some_and(|signature| key.verify_prehash(hash, &signature).is_ok())
}

fn order_octets(components: &Components) -> usize {
    usize::try_from(components.q().bit_width().div_ceil(8)).unwrap_or_default()
}

/// p, q and g.
struct Group {
    bits: u32,
    modulus: Odd<BoxedUint>,
    order: BoxedUint,
    generator: BoxedUint,
}

impl Group {
    /// Reads and checks them.
    fn read<'a>(reader: &mut SliceReader<'a>) -> Result<Self, KeyError> {
        let parts = reader.sequence(|r| -> der::Result<[UintRef<'a>; 3]> {
            Ok([r.decode()?, r.decode()?, r.decode()?])
        });
        let [p, q, g] = parts.map_err(|_| KeyError::Malformed)?;
        let (bits, order_bits) = (bits(p), bits(q));
        let is_size = (DSA_BITS_MIN..=DSA_BITS_MAX).contains(&bits) && bits.is_multiple_of(WORD);
        if !is_size || !ORDERS.contains(&order_bits) {
            return Err(KeyError::DsaSize(bits, order_bits));
        }
        let modulus = Odd::new(number(p, bits)?).into_option().ok_or(KeyError::Malformed)?;
        let (order, generator) = (number(q, order_bits)?, number(g, bits)?);
        let group = Self { bits, modulus, order, generator };
        // Without an odd q there is no inverse of s.
        let has_odd_order = bool::from(group.order.is_odd());
        if has_odd_order && group.has_room_for(&group.generator) {
            Ok(group)
        } else {
            Err(KeyError::Malformed)
        }
    }

    /// `base ^ exponent mod p`. Constant time in the exponent.
    fn power(&self, base: &BoxedUint, exponent: &BoxedUint) -> BoxedUint {
        let params = BoxedMontyParams::new_vartime(self.modulus.clone());
        BoxedMontyForm::new(base.clone(), &params).pow(exponent).retrieve()
    }

    /// Whether `value` is more than 1 and less than p.
    fn has_room_for(&self, value: &BoxedUint) -> bool {
        *value > BoxedUint::one() && *value < *self.modulus
    }

    /// Whether g makes the subgroup of order q.
    fn is_sound(&self) -> bool {
        self.power(&self.generator, &self.order) == BoxedUint::one()
    }

    /// The key with this public value, which must be of order q: the crate looks at that.
    fn public(&self, value: BoxedUint) -> Result<VerifyingKey, KeyError> {
        if !self.has_room_for(&value) {
            return Err(KeyError::Malformed);
        }
        let (p, q, g) = (self.modulus.clone().get(), self.order.clone(), self.generator.clone());
        Components::from_components_unchecked(p, q, g)
            .and_then(|components| VerifyingKey::from_components(components, value))
            .map_err(|_| KeyError::Malformed)
    }
}

/// Bits without leading zeros.
fn bits(number: UintRef<'_>) -> u32 {
    let octets = number.as_bytes();
    let zeros = octets.first().map_or(0, |first| first.leading_zeros());
    u32::try_from(octets.len()).map_or(u32::MAX, |len| len.saturating_mul(8)).saturating_sub(zeros)
}

fn number(number: UintRef<'_>, bits: u32) -> Result<BoxedUint, KeyError> {
    BoxedUint::from_be_slice(number.as_bytes(), bits).map_err(|_| KeyError::Malformed)
}
