//! Private keys from files: PKCS#8 (RFC 5958), PKCS#1 (RFC 8017), SEC 1 (RFC 5915), and what OpenSSL has for
//! DSA.

use std::sync::Arc;

use adit_crypto::{KeyError, KeyKind, SigningKey};
use der::Tag;

use crate::algorithm::{SEQUENCE, element};
use crate::public_key::curve_of;
use crate::read::{Reader, explicit};
use crate::{PkiError, PublicKey, oid, pem};

/// A private key and its public half. It is erased when dropped and never printed.
#[derive(Debug)]
pub struct PrivateKey {
    key: SigningKey,
    public: Arc<PublicKey>,
}

impl PrivateKey {
    /// Reads a file: PEM with one key in it, or DER.
    ///
    /// # Errors
    ///
    /// [`PkiError::Encrypted`] if a password protects it, [`PkiError::Missing`] if there is none,
    /// [`PkiError::Key`] if it is not valid, too short or of another kind.
    pub fn from_file(octets: &[u8]) -> Result<Self, PkiError> {
        for block in pem::blocks(octets)? {
            let der = block.octets.as_bytes();
            return match block.label.as_str() {
                "PRIVATE KEY" => Self::from_pkcs8(der),
                "RSA PRIVATE KEY" => Self::of(SigningKey::rsa(der)?),
                "EC PRIVATE KEY" => Self::from_sec1(der),
                "DSA PRIVATE KEY" => Self::from_openssl(der),
                "ENCRYPTED PRIVATE KEY" => Err(PkiError::Encrypted),
                "" => Self::from_der(der),
                // `openssl ecparam -genkey` puts `EC PARAMETERS` in front, others a certificate.
                _ => continue,
            };
        }
        Err(PkiError::Missing("private key"))
    }

    /// Any of the four, without a label that says which. What is one of PKCS#8 that cannot be used is one all
    /// the same.
    fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        match Self::from_pkcs8(der) {
            Err(PkiError::Key(error @ (KeyError::Ed448 | KeyError::DsaSize(..)))) => {
                Err(error.into())
            }
            read => read
                .or_else(|_| Self::from_sec1(der))
                .or_else(|_| Self::from_openssl(der))
                .or_else(|_| Self::of(SigningKey::rsa(der)?)),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, PkiError> {
        let mut info = Reader::new(der, PART)?.sequence(PART)?;
        let _version = info.take(Tag::Integer)?;
        let mut algorithm = info.sequence(PART)?;
        let name = algorithm.take(Tag::ObjectIdentifier)?;
        if name == oid::RSA_ENCRYPTION {
            return Self::of(SigningKey::rsa(der)?);
        }
        if name == oid::ED25519 {
            return Self::of(SigningKey::ed25519(der)?);
        }
        if name == oid::DSA {
            let parameters = algorithm.raw()?;
            return Self::of(SigningKey::dsa(parameters, info.take(Tag::OctetString)?)?);
        }
        if name == oid::ED448 {
            return Err(KeyError::Ed448.into());
        }
        if name != oid::EC_PUBLIC_KEY {
            return Err(KeyError::Unsupported.into());
        }
        let curve = curve_of(algorithm.take(Tag::ObjectIdentifier)?);
        Self::of(SigningKey::curve(curve.ok_or(KeyError::Unsupported)?, der)?)
    }

    /// ECPrivateKey: version, the number, `[0]` the curve, `[1]` the point.
    fn from_sec1(der: &[u8]) -> Result<Self, PkiError> {
        let mut key = Reader::new(der, PART)?.sequence(PART)?;
        let _version = key.take(Tag::Integer)?;
        let number = key.take(Tag::OctetString)?;
        let kind = match key.take_if(explicit(0))? {
            Some(curve) => curve_of(Reader::new(curve, PART)?.take(Tag::ObjectIdentifier)?),
            None => match number.len() {
                32 => Some(KeyKind::P256),
                48 => Some(KeyKind::P384),
                66 => Some(KeyKind::P521),
                _ => None,
            },
        };
        Self::of(SigningKey::curve(kind.ok_or(KeyError::Unsupported)?, der)?)
    }

    /// DSAPrivateKey of OpenSSL: version, p, q, g, the public number and the private one.
    fn from_openssl(der: &[u8]) -> Result<Self, PkiError> {
        let mut key = Reader::new(der, PART)?.sequence(PART)?;
        let _version = key.take(Tag::Integer)?;
        let group = [key.raw()?, key.raw()?, key.raw()?].concat();
        let _public = key.take(Tag::Integer)?;
        let number = key.raw()?;
        key.finish()?;
        Self::of(SigningKey::dsa(&element(SEQUENCE, &group), number)?)
    }

    fn of(key: SigningKey) -> Result<Self, PkiError> {
        let public = Arc::new(PublicKey::of(key.public())?);
        Ok(Self { key, public })
    }

    /// What signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Its public half.
    pub fn public(&self) -> &Arc<PublicKey> {
        &self.public
    }
}

const PART: &str = "private key";

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MEcCAQAwBQYDK2VxBDsEOfYpIu8Pic4/q6VmZot4xADRF+iORl4iNJVPnfgSasQG
B+Ce9IBOwAfOHYo75t0l0ABN8QXpMrrfUQ==
-----END PRIVATE KEY-----
";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MEMwBQYDK2VxAzoAy3nD4yi09o6Ha6SPfL0KnTWpPFJp9QaK27fzFgIazzTVFHPx
TNPynYCl5RINAuglqaWgjM9RnaMA
-----END PUBLIC KEY-----
";

    /// Whoever brings an Ed448 key (RFC 8420) is told by name, whatever the file is like.
    #[test]
    fn ed448_is_refused_by_name() {
        let der = pem::blocks(PRIVATE.as_bytes()).unwrap().remove(0).octets;
        for file in [PRIVATE.as_bytes(), der.as_bytes()] {
            let error = PrivateKey::from_file(file).unwrap_err();
            assert!(matches!(error, PkiError::Key(KeyError::Ed448)), "{error:?}");
            assert!(error.to_string().contains("Ed448"), "{error}");
        }
        let der = pem::blocks(PUBLIC.as_bytes()).unwrap().remove(0).octets;
        let error = PublicKey::from_der(der.as_bytes()).unwrap_err();
        assert!(matches!(error, PkiError::Key(KeyError::Ed448)), "{error:?}");
    }
}
