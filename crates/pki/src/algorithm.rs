//! AlgorithmIdentifiers of signature schemes: those in AUTH payloads (RFC 7427 §3, Appendix A; RFC
//! 8420 Appendix A) and those in certificates.

use adit_crypto::{SignatureHash, SignatureScheme};
use der::Tag;

use crate::read::{Reader, explicit};
use crate::{PkiError, oid};

/// Longest AlgorithmIdentifier: its length has one octet in the AUTH payload (RFC 7427 §3).
pub const ALGORITHM_OCTETS_MAX: usize = 255;

/// The AlgorithmIdentifier of a scheme, as RFC 7427 Appendix A writes it out.
pub fn algorithm_identifier(scheme: SignatureScheme) -> Vec<u8> {
    let parts = match scheme {
        SignatureScheme::RsaPkcs1(hash) => [oid_element(rsa_oid(hash)), NULL.to_vec()].concat(),
        SignatureScheme::RsaPss(hash) => [oid_element(oid::RSA_PSS), pss_parameters(hash)].concat(),
        SignatureScheme::Ecdsa(hash) => oid_element(ecdsa_oid(hash)),
        SignatureScheme::Ed25519 => oid_element(oid::ED25519),
    };
    element(SEQUENCE, &parts)
}

/// Reads an AlgorithmIdentifier; `octets` are nothing else.
///
/// # Errors
///
/// [`PkiError::Malformed`] if it is none, [`PkiError::Missing`] if nothing here signs so.
pub fn read_algorithm(octets: &[u8]) -> Result<SignatureScheme, PkiError> {
    if octets.len() > ALGORITHM_OCTETS_MAX {
        return Err(PkiError::TooMuch(PART));
    }
    let mut outer = Reader::new(octets, PART)?;
    let mut inner = outer.sequence(PART)?;
    outer.finish()?;
    let name = inner.take(Tag::ObjectIdentifier)?;
    if name == oid::RSA_PSS {
        let hash = read_pss(inner.sequence(PART)?)?;
        inner.finish()?;
        return Ok(SignatureScheme::RsaPss(hash));
    }
    let scheme = scheme_of(name).ok_or(PkiError::Missing("signature algorithm that is known"))?;
    // RFC 4055 §5 wants NULL behind RSA's, RFC 5758 §3.2 and RFC 8410 §3 nothing behind others'.
    // Some leave RSA's out.
    if matches!(scheme, SignatureScheme::RsaPkcs1(_))
        && let Some(null) = inner.take_if(Tag::Null)?
        && !null.is_empty()
    {
        return Err(inner.error());
    }
    inner.finish()?;
    Ok(scheme)
}

/// Whether an AlgorithmIdentifier is that of DSA with SHA-256, which has no parameters (RFC 5758 §3.1).
pub(crate) fn is_dsa_sha256(octets: &[u8]) -> bool {
    octets == element(SEQUENCE, &oid_element(oid::DSA_SHA256))
}

fn scheme_of(name: &[u8]) -> Option<SignatureScheme> {
    SignatureScheme::ALL.into_iter().find(|scheme| match scheme {
        SignatureScheme::RsaPkcs1(hash) => rsa_oid(*hash) == name,
        SignatureScheme::Ecdsa(hash) => ecdsa_oid(*hash) == name,
        SignatureScheme::Ed25519 => name == oid::ED25519,
        SignatureScheme::RsaPss(_) => false,
    })
}

/// RSASSA-PSS-params (RFC 4055 §3.1): one hash for all, a salt of its length, the usual trailer. Other
/// salts are refused: a peer that picks one gains nothing but our time (CHECKLIST F20).
fn read_pss(mut parameters: Reader<'_>) -> Result<SignatureHash, PkiError> {
    let unknown = || PkiError::Missing("set of PSS parameters that is known");
    let hash = parameters.take_if(explicit(0))?.ok_or_else(unknown)?;
    let hash = read_hash(Reader::new(hash, PART)?)?;
    let mask = parameters.take_if(explicit(1))?.ok_or_else(unknown)?;
    let mut mask = Reader::new(mask, PART)?.sequence(PART)?;
    let is_mgf1 = mask.take(Tag::ObjectIdentifier)? == oid::MGF1;
    let inner = mask.raw()?;
    mask.finish()?;
    let is_same = read_hash(Reader::new(inner, PART)?)? == hash;
    let salt = parameters.take_if(explicit(2))?.ok_or_else(unknown)?;
    let mut salt = Reader::new(salt, PART)?;
    let is_fitting = salt.take(Tag::Integer)? == [salt_octets(hash)];
    salt.finish()?;
    let is_usual = match parameters.take_if(explicit(3))? {
        Some(trailer) => trailer == [2, 1, 1],
        None => true,
    };
    parameters.finish()?;
    if is_mgf1 && is_same && is_fitting && is_usual { Ok(hash) } else { Err(unknown()) }
}

/// The AlgorithmIdentifier of a hash, with NULL or nothing behind it (RFC 4055 §2.1).
fn read_hash(mut outer: Reader<'_>) -> Result<SignatureHash, PkiError> {
    let mut inner = outer.sequence(PART)?;
    outer.finish()?;
    let name = inner.take(Tag::ObjectIdentifier)?;
    let _ = inner.take_if(Tag::Null)?;
    inner.finish()?;
    [SignatureHash::Sha2_256, SignatureHash::Sha2_384, SignatureHash::Sha2_512]
        .into_iter()
        .find(|hash| hash_oid(*hash) == name)
        .ok_or(PkiError::Missing("set of PSS parameters that is known"))
}

fn pss_parameters(hash: SignatureHash) -> Vec<u8> {
    let digest = element(SEQUENCE, &[oid_element(hash_oid(hash)), NULL.to_vec()].concat());
    let mask = element(SEQUENCE, &[oid_element(oid::MGF1), digest.clone()].concat());
    let salt = element(INTEGER, &[salt_octets(hash)]);
    let parts = [element(0xa0, &digest), element(0xa1, &mask), element(0xa2, &salt)];
    element(SEQUENCE, &parts.concat())
}

fn rsa_oid(hash: SignatureHash) -> &'static [u8] {
    match hash {
        SignatureHash::Sha1 => oid::SHA1_RSA,
        SignatureHash::Sha2_256 | SignatureHash::Identity => oid::SHA256_RSA,
        SignatureHash::Sha2_384 => oid::SHA384_RSA,
        SignatureHash::Sha2_512 => oid::SHA512_RSA,
    }
}

fn ecdsa_oid(hash: SignatureHash) -> &'static [u8] {
    match hash {
        SignatureHash::Sha1 | SignatureHash::Sha2_256 | SignatureHash::Identity => {
            oid::ECDSA_SHA256
        }
        SignatureHash::Sha2_384 => oid::ECDSA_SHA384,
        SignatureHash::Sha2_512 => oid::ECDSA_SHA512,
    }
}

fn hash_oid(hash: SignatureHash) -> &'static [u8] {
    match hash {
        SignatureHash::Sha1 | SignatureHash::Sha2_256 | SignatureHash::Identity => oid::SHA256,
        SignatureHash::Sha2_384 => oid::SHA384,
        SignatureHash::Sha2_512 => oid::SHA512,
    }
}

/// As long as the hash.
fn salt_octets(hash: SignatureHash) -> u8 {
    match hash {
        SignatureHash::Sha1 | SignatureHash::Sha2_256 | SignatureHash::Identity => 32,
        SignatureHash::Sha2_384 => 48,
        SignatureHash::Sha2_512 => 64,
    }
}

fn oid_element(name: &[u8]) -> Vec<u8> {
    element(OBJECT_IDENTIFIER, name)
}

/// DER of one element with up to 65,535 octets of contents.
pub(crate) fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(contents.len()) {
        Ok(length @ 0..128) => out.push(length),
        Ok(length) => out.extend([0x81, length]),
        Err(_) => {
            let length = u16::try_from(contents.len()).unwrap_or(u16::MAX);
            out.push(0x82);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend_from_slice(contents);
    out
}

const PART: &str = "AlgorithmIdentifier";
const NULL: [u8; 2] = [5, 0];
pub(crate) const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;

#[cfg(test)]
mod tests;
