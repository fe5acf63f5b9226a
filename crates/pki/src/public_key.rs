//! Public keys as SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), the form of raw public keys in IKE (RFC
//! 7670).

use std::fmt;

use adit_crypto::{KeyError, KeyKind, VerifyingKey, sha1};
use der::Tag;

use crate::algorithm::{OBJECT_IDENTIFIER, SEQUENCE, element};
use crate::read::Reader;
use crate::{PkiError, oid, pem};

/// SHA-1 over a SubjectPublicKeyInfo: how CERTREQ payloads name authorities (RFC 7296 §3.7).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(pub [u8; 20]);

/// Lower-case hex digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A public key.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PublicKey {
    key: VerifyingKey,
    info: Box<[u8]>,
    id: KeyId,
    fingerprint: KeyId,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo; `der` is nothing else.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`]; [`PkiError::Key`] for keys that are too short, invalid, or of a kind
    /// that is not done here.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let mut outer = Reader::new(der, PART)?;
        let mut info = outer.sequence(PART)?;
        outer.finish()?;
        let mut algorithm = info.sequence(PART)?;
        let bits = info.bits()?;
        info.finish()?;
        let name = algorithm.take(Tag::ObjectIdentifier)?;
        let key = if name == oid::RSA_ENCRYPTION {
            let _ = algorithm.take_if(Tag::Null)?;
            VerifyingKey::rsa(bits)?
        } else if name == oid::EC_PUBLIC_KEY {
            // Curves by name alone (RFC 5480 §2.1.1), points uncompressed (§2.2).
            let curve = algorithm.take(Tag::ObjectIdentifier)?;
            VerifyingKey::curve(curve_of(curve).ok_or(KeyError::Unsupported)?, bits)?
        } else if name == oid::ED25519 {
            VerifyingKey::ed25519(bits)?
        } else if name == oid::DSA {
            // With parameters of its own: nobody inherits those of an authority (RFC 3279 §2.3.2) any more.
            VerifyingKey::dsa(&[algorithm.raw()?, bits].concat())?
        } else if name == oid::ED448 {
            return Err(KeyError::Ed448.into());
        } else {
            return Err(KeyError::Unsupported.into());
        };
        algorithm.finish()?;
        let (id, fingerprint) = (KeyId(sha1(&[der])), KeyId(sha1(&[bits])));
        Ok(Self { key, info: der.into(), id, fingerprint })
    }

    /// The SubjectPublicKeyInfo of a bare key.
    pub(crate) fn of(key: &VerifyingKey) -> Result<Self, PkiError> {
        let mut octets = key.octets();
        let algorithm = match key.kind() {
            KeyKind::Rsa(_) => {
                [element(OBJECT_IDENTIFIER, oid::RSA_ENCRYPTION), vec![5, 0]].concat()
            }
            KeyKind::Ed25519 => element(OBJECT_IDENTIFIER, oid::ED25519),
            KeyKind::Dsa(_) => {
                let mut parts = Reader::new(octets, PART)?;
                let parameters = parts.raw()?;
                octets = parts.raw()?;
                [&element(OBJECT_IDENTIFIER, oid::DSA), parameters].concat()
            }
            curve @ (KeyKind::P256 | KeyKind::P384 | KeyKind::P521) => [
                element(OBJECT_IDENTIFIER, oid::EC_PUBLIC_KEY),
                element(OBJECT_IDENTIFIER, oid_of(curve)),
            ]
            .concat(),
        };
        let bits = [&[0], octets].concat();
        let parts = [element(SEQUENCE, &algorithm), element(BIT_STRING, &bits)].concat();
        Self::from_der(&element(SEQUENCE, &parts))
    }

    /// Reads a file: SubjectPublicKeyInfo as PEM (`PUBLIC KEY`) or DER, or the key of a certificate.
    ///
    /// # Errors
    ///
    /// As [`Self::from_der`], and [`PkiError::Missing`] if it holds neither.
    pub fn from_file(octets: &[u8]) -> Result<Self, PkiError> {
        for block in pem::blocks(octets)? {
            match block.label.as_str() {
                "PUBLIC KEY" => return Self::from_der(block.octets.as_bytes()),
                "CERTIFICATE" => {
                    let certificate = crate::Certificate::from_der(block.octets.as_bytes())?;
                    return Ok(certificate.public_key().clone());
                }
                "" => {
                    let der = block.octets.as_bytes();
                    return Self::from_der(der).or_else(|error| {
                        let certificate = crate::Certificate::from_der(der).map_err(|_| error)?;
                        Ok(certificate.public_key().clone())
                    });
                }
                _ => {}
            }
        }
        Err(PkiError::Missing("public key"))
    }

    /// What verifies.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Kind and size.
    pub fn kind(&self) -> KeyKind {
        self.key.kind()
    }

    /// The SubjectPublicKeyInfo.
    pub fn der(&self) -> &[u8] {
        &self.info
    }

    /// SHA-1 over the SubjectPublicKeyInfo.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// SHA-1 over the bits of the key alone, which strongSwan names private keys by.
    pub fn fingerprint(&self) -> KeyId {
        self.fingerprint
    }
}

pub(crate) fn curve_of(name: &[u8]) -> Option<KeyKind> {
    [KeyKind::P256, KeyKind::P384, KeyKind::P521].into_iter().find(|kind| oid_of(*kind) == name)
}

fn oid_of(curve: KeyKind) -> &'static [u8] {
    match curve {
        KeyKind::P384 => oid::P384,
        KeyKind::P521 => oid::P521,
        KeyKind::P256 | KeyKind::Rsa(_) | KeyKind::Ed25519 | KeyKind::Dsa(_) => oid::P256,
    }
}

const PART: &str = "SubjectPublicKeyInfo";
const BIT_STRING: u8 = 0x03;
