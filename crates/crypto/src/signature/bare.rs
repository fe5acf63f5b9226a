//! RSASSA-PKCS1-v1_5 of a hash that the signature does not name: IKEv1 encrypts HASH_I or HASH_R itself
//! with the private key in the form of PKCS #1, block type 1 (RFC 2409 §5.1).
//!
//! aws-lc-rs signs with a DigestInfo alone, so the block is made here. The exponentiation takes the same
//! time for every private exponent, and without the primes there is no fault that could give them away;
//! the result is checked before it leaves all the same.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use der::asn1::{OctetStringRef, UintRef};
use der::{AnyRef, Reader, SliceReader};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Octets of padding at least (RFC 8017 §9.2).
const PADDING_MIN: usize = 8;

/// Signs `hash`. `None` if the key is too short for it, or its result is not right.
pub(super) fn sign(pair: &RsaKeyPair, public: &[u8], hash: &[u8]) -> Option<Vec<u8>> {
    let pkcs8: Pkcs8V1Der<'static> = pair.as_der().ok()?;
    let (modulus, mut exponent) = private_parts(pkcs8.as_ref())?;
    let block = block(hash, modulus.len())?;
    let signature = power(&block, &modulus, &exponent);
    exponent.as_mut_words().zeroize();
    let signature = signature?;
    verifies(public, hash, &signature).then_some(signature)
}

/// Whether `signature` is one of `hash` by the RSAPublicKey `public` (RFC 8017 A.1.1).
pub(super) fn verifies(public: &[u8], hash: &[u8], signature: &[u8]) -> bool {
    let Some((modulus, exponent)) = public_parts(public) else { return false };
    let Some(block) = block(hash, modulus.len()) else { return false };
    if signature.len() != modulus.len() || signature >= modulus.as_slice() {
        return false;
    }
    // The whole block is compared: nothing in it may be something else (RFC 8017 §8.2.2).
    power(signature, &modulus, &exponent).is_some_and(|opened| opened.ct_eq(&block).into())
}

/// `00 01 FF … FF 00 hash`.
fn block(hash: &[u8], octets: usize) -> Option<Vec<u8>> {
    let padding = octets.checked_sub(hash.len())?.checked_sub(3)?;
    if padding < PADDING_MIN {
        return None;
    }
    Some([&[0, 1], vec![0xff; padding].as_slice(), &[0], hash].concat())
}

/// `base ^ exponent mod modulus`, as long as the modulus. Constant time in the exponent.
fn power(base: &[u8], modulus: &[u8], exponent: &BoxedUint) -> Option<Vec<u8>> {
    let bits = u32::try_from(modulus.len()).ok()?.checked_mul(8)?;
    let number = BoxedUint::from_be_slice(modulus, bits).ok()?;
    let params = BoxedMontyParams::new_vartime(Odd::new(number).into_option()?);
    let base = BoxedUint::from_be_slice(base, bits).ok()?;
    let result = BoxedMontyForm::new(base, &params).pow(exponent).retrieve();
    let octets = result.to_be_bytes();
    octets.get(octets.len().checked_sub(modulus.len())?..).map(<[u8]>::to_vec)
}

fn number(octets: &[u8]) -> Option<BoxedUint> {
    let bits = u32::try_from(octets.len()).ok()?.checked_mul(8)?;
    BoxedUint::from_be_slice(octets, bits).ok()
}

/// Modulus and exponent of an RSAPublicKey.
fn public_parts(der: &[u8]) -> Option<(Vec<u8>, BoxedUint)> {
    let mut reader = SliceReader::new(der).ok()?;
    let parts = reader.sequence(|r| -> der::Result<(UintRef<'_>, UintRef<'_>)> {
        Ok((r.decode()?, r.decode()?))
    });
    let (modulus, exponent) = parts.ok()?;
    Some((modulus.as_bytes().to_vec(), number(exponent.as_bytes())?))
}

/// Modulus and private exponent of a PKCS #8 file with an RSAPrivateKey (RFC 8017 A.1.2).
fn private_parts(der: &[u8]) -> Option<(Vec<u8>, BoxedUint)> {
    let mut reader = SliceReader::new(der).ok()?;
    let key: &OctetStringRef = reader
        .sequence(|r| -> der::Result<_> {
            let _version: UintRef<'_> = r.decode()?;
            let _algorithm: AnyRef<'_> = r.decode()?;
            let key = r.decode()?;
            let _attributes = r.read_slice(r.remaining_len())?;
            Ok(key)
        })
        .ok()?;
    let mut reader = SliceReader::new(key.as_bytes()).ok()?;
    let parts = reader.sequence(|r| -> der::Result<(UintRef<'_>, UintRef<'_>)> {
        let _version: UintRef<'_> = r.decode()?;
        let modulus = r.decode()?;
        let _public: UintRef<'_> = r.decode()?;
        let exponent = r.decode()?;
        let _primes = r.read_slice(r.remaining_len())?;
        Ok((modulus, exponent))
    });
    let (modulus, exponent) = parts.ok()?;
    Some((modulus.as_bytes().to_vec(), number(exponent.as_bytes())?))
}
