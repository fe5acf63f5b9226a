//! Digital signatures: RSASSA-PKCS1-v1_5 and RSASSA-PSS (RFC 8017), ECDSA (FIPS 186-5) and Ed25519
//! (RFC 8032), all by aws-lc-rs; and DSA for IKEv1, by RustCrypto's `dsa`.
//!
//! Keys are the octets inside a SubjectPublicKeyInfo or a private key's file; who reads those
//! containers is `adit-pki`. aws-lc-rs draws the randomness of ECDSA and of PSS itself. It has no
//! Ed448 (RFC 8420), and what else has it is no place for long-term keys: `ed448-goldilocks` has not
//! been released with signatures, and its released fork says of itself that nobody has reviewed it.

mod bare;
mod dss;

use std::fmt;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::PublicKey as RsaPublicKey;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
    RsaParameters, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::rsa::DecryptingKey;

/// The hash of a signature scheme.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SignatureHash {
    /// SHA-1, for verifying what old peers sign.
    Sha1,
    /// SHA2-256.
    Sha2_256,
    /// SHA2-384.
    Sha2_384,
    /// SHA2-512.
    Sha2_512,
    /// None: the scheme takes the message itself (RFC 8420).
    Identity,
}

/// What is computed with a key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SignatureScheme {
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(SignatureHash),
    /// RSASSA-PSS with MGF1 of the same hash and a salt as long as the hash.
    RsaPss(SignatureHash),
    /// ECDSA; the key says on which curve.
    Ecdsa(SignatureHash),
    /// Ed25519.
    Ed25519,
}

impl SignatureScheme {
    /// All that can be verified, in order of preference for signing.
    pub const ALL: [Self; 11] = [
        Self::Ed25519,
        Self::Ecdsa(SignatureHash::Sha2_256),
        Self::Ecdsa(SignatureHash::Sha2_384),
        Self::Ecdsa(SignatureHash::Sha2_512),
        Self::RsaPss(SignatureHash::Sha2_256),
        Self::RsaPss(SignatureHash::Sha2_384),
        Self::RsaPss(SignatureHash::Sha2_512),
        Self::RsaPkcs1(SignatureHash::Sha2_256),
        Self::RsaPkcs1(SignatureHash::Sha2_384),
        Self::RsaPkcs1(SignatureHash::Sha2_512),
        Self::RsaPkcs1(SignatureHash::Sha1),
    ];

    /// Its hash.
    pub fn hash(self) -> SignatureHash {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaPss(hash) | Self::Ecdsa(hash) => hash,
            Self::Ed25519 => SignatureHash::Identity,
        }
    }
}

/// The words of swanctl.conf: `rsa-sha256`, `rsa/pss-sha384`, `ecdsa-sha512`, `ed25519`.
impl fmt::Display for SignatureScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, hash) = match self {
            Self::RsaPkcs1(hash) => ("rsa", hash),
            Self::RsaPss(hash) => ("rsa/pss", hash),
            Self::Ecdsa(hash) => ("ecdsa", hash),
            Self::Ed25519 => return f.write_str("ed25519"),
        };
        write!(f, "{name}-{hash}")
    }
}

impl fmt::Display for SignatureHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "sha1",
            Self::Sha2_256 => "sha256",
            Self::Sha2_384 => "sha384",
            Self::Sha2_512 => "sha512",
            Self::Identity => "identity",
        })
    }
}

/// Kind and size of a key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyKind {
    /// RSA with a modulus of so many bits.
    Rsa(u32),
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// DSA with a modulus of so many bits, for IKEv1 alone.
    Dsa(u32),
}

impl KeyKind {
    /// The hash that fits the curve; RSA keys take any, and IKEv1 has SHA-1 alone for DSA (RFC 2409 §5.1).
    pub fn own_hash(self) -> SignatureHash {
        match self {
            Self::Rsa(_) | Self::P256 => SignatureHash::Sha2_256,
            Self::P384 => SignatureHash::Sha2_384,
            Self::P521 => SignatureHash::Sha2_512,
            Self::Ed25519 => SignatureHash::Identity,
            Self::Dsa(_) => SignatureHash::Sha1,
        }
    }

    /// Whether a key of this kind can sign so.
    pub fn signs(self, scheme: SignatureScheme) -> bool {
        match (self, scheme) {
            (Self::Rsa(_), SignatureScheme::RsaPkcs1(hash) | SignatureScheme::RsaPss(hash)) => {
                hash != SignatureHash::Sha1
            }
            (Self::P256 | Self::P384 | Self::P521, SignatureScheme::Ecdsa(hash)) => {
                hash == self.own_hash()
            }
            (Self::Ed25519, SignatureScheme::Ed25519) => true,
            _ => false,
        }
    }
}

/// `RSA 2048`, `ECDSA P-256`.
impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::P256 => f.write_str("ECDSA P-256"),
            Self::P384 => f.write_str("ECDSA P-384"),
            Self::P521 => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Dsa(bits) => write!(f, "DSA {bits}"),
        }
    }
}

/// Least bits of an RSA modulus (RFC 8247 §4.1 refuses less).
pub const RSA_BITS_MIN: u32 = 2_048;

/// Most bits of an RSA modulus: what a signature costs grows with them, and a stranger may choose.
pub const RSA_BITS_MAX: u32 = 8_192;

/// Least and most bits of a DSA modulus: all that FIPS 186 ever had that is not broken.
pub const DSA_BITS_MIN: u32 = 1_024;
/// See [`DSA_BITS_MIN`].
pub const DSA_BITS_MAX: u32 = 3_072;

/// Why octets are no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// They are no key of that kind.
    #[error("not a valid key")]
    Malformed,
    /// An RSA modulus out of bounds.
    #[error("an RSA key of {0} bits; it must have {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    RsaSize(u32),
    /// A DSA group whose p or q is out of bounds.
    #[error(
        "a DSA key of {0} bits in a group of {1}; p must have {DSA_BITS_MIN} to {DSA_BITS_MAX} in steps of 64, q 160, 224 or 256"
    )]
    DsaSize(u32, u32),
    /// A kind of key that is not done here.
    #[error("a kind of key that is not supported; RSA, ECDSA P-256/384/521, Ed25519 and DSA are")]
    Unsupported,
    /// Ed448, of which no library is fit for long-term keys yet.
    #[error("an Ed448 key, which no library that others have reviewed signs with; use Ed25519")]
    Ed448,
}

/// A public key.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct VerifyingKey {
    kind: KeyKind,
    /// RSA: RSAPublicKey (RFC 8017 A.1.1). Curves: the uncompressed point. Ed25519: 32 octets. DSA: Dss-Parms
    /// and the public value (RFC 3279 §2.3.2).
    octets: Box<[u8]>,
}

impl VerifyingKey {
    /// An RSA key from its RSAPublicKey (RFC 8017 A.1.1).
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`], and [`KeyError::RsaSize`] if it is too short to be safe or too long
    /// to be quick.
    pub fn rsa(der: &[u8]) -> Result<Self, KeyError> {
        let bits = RsaParameters::public_modulus_len(der).map_err(|_| KeyError::Malformed)?;
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(KeyError::RsaSize(bits));
        }
        let key = RsaPublicKey::from_der(der).map_err(|_| KeyError::Malformed)?;
        Ok(Self { kind: KeyKind::Rsa(bits), octets: key.as_ref().into() })
    }

    /// A key on P-256, P-384 or P-521 from its uncompressed point (SEC 1 §2.3.3).
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`] if that is no point of the curve, [`KeyError::Unsupported`] for
    /// another kind.
    pub fn curve(kind: KeyKind, point: &[u8]) -> Result<Self, KeyError> {
        let algorithm: &'static dyn VerificationAlgorithm = match kind {
            KeyKind::P256 => &signature::ECDSA_P256_SHA256_ASN1,
            KeyKind::P384 => &signature::ECDSA_P384_SHA384_ASN1,
            KeyKind::P521 => &signature::ECDSA_P521_SHA512_ASN1,
            KeyKind::Rsa(_) | KeyKind::Ed25519 | KeyKind::Dsa(_) => {
                return Err(KeyError::Unsupported);
            }
        };
        UnparsedPublicKey::new(algorithm, point).parse().map_err(|_| KeyError::Malformed)?;
        Ok(Self { kind, octets: point.into() })
    }

    /// An Ed25519 key from its 32 octets.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`].
    pub fn ed25519(octets: &[u8]) -> Result<Self, KeyError> {
        UnparsedPublicKey::new(&signature::ED25519, octets)
            .parse()
            .map_err(|_| KeyError::Malformed)?;
        Ok(Self { kind: KeyKind::Ed25519, octets: octets.into() })
    }

    /// A DSA key: Dss-Parms and, behind it, DSAPublicKey (RFC 3279 §2.3.2), both in DER. What takes
    /// exponentiations to find out is [`Self::is_sound`].
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`], [`KeyError::DsaSize`].
    pub fn dsa(octets: &[u8]) -> Result<Self, KeyError> {
        let kind = KeyKind::Dsa(dss::public(octets)?.bits());
        Ok(Self { kind, octets: octets.into() })
    }

    /// Whether a DSA key is of the group that it names: both its generator and its public value are of order
    /// q. Costs some milliseconds; a key that is not verifies nothing. Of other keys that is known already.
    pub fn is_sound(&self) -> bool {
        let is_dsa = matches!(self.kind, KeyKind::Dsa(_));
        !is_dsa || dss::public(&self.octets).is_ok_and(|public| public.key().is_some())
    }

    /// Kind and size.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The octets it was made of.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Whether `signature` is one of `message`; false for a scheme of another kind of key, too.
    /// ECDSA signatures are as RFC 7427 wants them: ECDSA-Sig-Value (RFC 3279 §2.2.3).
    pub fn verifies(&self, scheme: SignatureScheme, message: &[u8], signature: &[u8]) -> bool {
        let Some(algorithm) = algorithm(self.kind, scheme) else { return false };
        UnparsedPublicKey::new(algorithm, &self.octets).verify(message, signature).is_ok()
    }

    /// Whether `signature` is one of `message` by DSA with SHA-256, as certificates have it: Dss-Sig-Value in DER
    /// (RFC 3279 §2.2.2, RFC 5758 §3.1). Costs some milliseconds; of another kind of key nothing is.
    pub fn verifies_dsa_certificate(&self, message: &[u8], signature: &[u8]) -> bool {
        let is_dsa = matches!(self.kind, KeyKind::Dsa(_));
        is_dsa && dss::verifies_certificate(&self.octets, &crate::sha256(&[message]), signature)
    }

    /// Whether `signature` is one of `message` by ECDSA with the hash that belongs to the curve, the
    /// two numbers one after the other (RFC 4754 §7).
    pub fn verifies_concatenated(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some(algorithm) = concatenating(self.kind) else { return false };
        UnparsedPublicKey::new(algorithm, &self.octets).verify(message, signature).is_ok()
    }
}

impl VerifyingKey {
    /// Whether `signature` is one of IKEv1, which is of `hash` itself: by RSA without the hash's name, by DSA as
    /// r and s (RFC 2409 §5.1), by ECDSA as the hash that belongs to the curve (RFC 4754 §7).
    pub fn verifies_bare(&self, hash: &[u8], signature: &[u8]) -> bool {
        if let (Some(algorithm), Some(digest)) = (concatenating(self.kind), digest(self.kind, hash))
        {
            let key = UnparsedPublicKey::new(algorithm, &self.octets);
            return key.verify_digest(&digest, signature).is_ok();
        }
        match self.kind {
            KeyKind::Rsa(_) => bare::verifies(self, hash, signature),
            KeyKind::Dsa(_) => dss::verifies(&self.octets, hash, signature),
            KeyKind::P256 | KeyKind::P384 | KeyKind::P521 | KeyKind::Ed25519 => false,
        }
    }
}

/// ECDSA with the hash that belongs to the curve, whose two numbers follow one another.
fn concatenating(kind: KeyKind) -> Option<&'static dyn VerificationAlgorithm> {
    match kind {
        KeyKind::P256 => Some(&signature::ECDSA_P256_SHA256_FIXED),
        KeyKind::P384 => Some(&signature::ECDSA_P384_SHA384_FIXED),
        KeyKind::P521 => Some(&signature::ECDSA_P521_SHA512_FIXED),
        KeyKind::Rsa(_) | KeyKind::Ed25519 | KeyKind::Dsa(_) => None,
    }
}

fn algorithm(kind: KeyKind, scheme: SignatureScheme) -> Option<&'static dyn VerificationAlgorithm> {
    use SignatureHash::{Sha1, Sha2_256, Sha2_384, Sha2_512};
    use SignatureScheme::{Ecdsa, Ed25519, RsaPkcs1, RsaPss};
    Some(match (kind, scheme) {
        (KeyKind::Rsa(_), RsaPkcs1(Sha1)) => {
            &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY
        }
        (KeyKind::Rsa(_), RsaPkcs1(Sha2_256)) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa(_), RsaPkcs1(Sha2_384)) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa(_), RsaPkcs1(Sha2_512)) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (KeyKind::Rsa(_), RsaPss(Sha2_256)) => &signature::RSA_PSS_2048_8192_SHA256,
        (KeyKind::Rsa(_), RsaPss(Sha2_384)) => &signature::RSA_PSS_2048_8192_SHA384,
        (KeyKind::Rsa(_), RsaPss(Sha2_512)) => &signature::RSA_PSS_2048_8192_SHA512,
        (KeyKind::P256, Ecdsa(Sha2_256)) => &signature::ECDSA_P256_SHA256_ASN1,
        (KeyKind::P256, Ecdsa(Sha2_384)) => &signature::ECDSA_P256_SHA384_ASN1,
        (KeyKind::P256, Ecdsa(Sha2_512)) => &signature::ECDSA_P256_SHA512_ASN1,
        (KeyKind::P384, Ecdsa(Sha2_256)) => &signature::ECDSA_P384_SHA256_ASN1,
        (KeyKind::P384, Ecdsa(Sha2_384)) => &signature::ECDSA_P384_SHA384_ASN1,
        (KeyKind::P384, Ecdsa(Sha2_512)) => &signature::ECDSA_P384_SHA512_ASN1,
        (KeyKind::P521, Ecdsa(Sha2_256)) => &signature::ECDSA_P521_SHA256_ASN1,
        (KeyKind::P521, Ecdsa(Sha2_384)) => &signature::ECDSA_P521_SHA384_ASN1,
        (KeyKind::P521, Ecdsa(Sha2_512)) => &signature::ECDSA_P521_SHA512_ASN1,
        (KeyKind::Ed25519, Ed25519) => &signature::ED25519,
        _ => return None,
    })
}

/// A private key. aws-lc-rs or `dsa` keeps and erases it; it is neither printed nor copied.
pub struct SigningKey {
    pair: Pair,
    public: VerifyingKey,
}

enum Pair {
    /// What signs, and what decrypts.
    Rsa(Box<(RsaKeyPair, DecryptingKey)>),
    /// For both forms of a signature: numbers in ASN.1, and one after the other.
    Curve(Box<[EcdsaKeyPair; 2]>),
    Ed25519(Ed25519KeyPair),
    Dsa(Box<dsa::SigningKey>),
}

impl SigningKey {
    /// An RSA key: PKCS#8, or RSAPrivateKey (RFC 8017 A.1.2).
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`], [`KeyError::RsaSize`].
    pub fn rsa(der: &[u8]) -> Result<Self, KeyError> {
        let pair = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der));
        let pair = pair.map_err(|_| KeyError::Malformed)?;
        let public = VerifyingKey::rsa(pair.public_key().as_ref())?;
        let decrypting = DecryptingKey::new(der)?;
        Ok(Self { pair: Pair::Rsa(Box::new((pair, decrypting))), public })
    }

    /// A key on P-256, P-384 or P-521: PKCS#8, or ECPrivateKey (RFC 5915).
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`] if it is none or on another of the three curves,
    /// [`KeyError::Unsupported`] for another kind.
    pub fn curve(kind: KeyKind, der: &[u8]) -> Result<Self, KeyError> {
        let algorithms: [&'static EcdsaSigningAlgorithm; 2] = match kind {
            KeyKind::P256 => [
                &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            ],
            KeyKind::P384 => [
                &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            ],
            KeyKind::P521 => [
                &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
                &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            ],
            KeyKind::Rsa(_) | KeyKind::Ed25519 | KeyKind::Dsa(_) => {
                return Err(KeyError::Unsupported);
            }
        };
        let read = |algorithm| {
            EcdsaKeyPair::from_private_key_der(algorithm, der).map_err(|_| KeyError::Malformed)
        };
        let [asn1, fixed] = algorithms;
        let pairs = [read(asn1)?, read(fixed)?];
        let [first, _] = &pairs;
        let public = VerifyingKey::curve(kind, first.public_key().as_ref())?;
        Ok(Self { pair: Pair::Curve(Box::new(pairs)), public })
    }

    /// An Ed25519 key: PKCS#8.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`].
    pub fn ed25519(der: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::Malformed)?;
        let public = VerifyingKey::ed25519(pair.public_key().as_ref())?;
        Ok(Self { pair: Pair::Ed25519(pair), public })
    }

    /// A DSA key: Dss-Parms (RFC 3279 §2.3.2), and the private value as an INTEGER.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`], also if the generator is not of the order that the group says;
    /// [`KeyError::DsaSize`].
    pub fn dsa(parameters: &[u8], value: &[u8]) -> Result<Self, KeyError> {
        let key = dss::private(parameters, value)?;
        let public = VerifyingKey::dsa(&dss::public_octets(parameters, &key)?)?;
        Ok(Self { pair: Pair::Dsa(Box::new(key)), public })
    }

    /// Its public half.
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// What decrypts, of an RSA key.
    pub fn decrypting(&self) -> Option<&DecryptingKey> {
        match &self.pair {
            Pair::Rsa(pair) => Some(&pair.1),
            Pair::Curve(_) | Pair::Ed25519(_) | Pair::Dsa(_) => None,
        }
    }

    /// Signs; `None` for a scheme that [`KeyKind::signs`] refuses.
    pub fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Option<Vec<u8>> {
        if !self.public.kind.signs(scheme) {
            return None;
        }
        match &self.pair {
            Pair::Rsa(pair) => sign_rsa(&pair.0, scheme, message),
            Pair::Curve(pairs) => {
                let [asn1, _] = pairs.as_ref();
                sign_curve(asn1, message)
            }
            Pair::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
            // IKEv2 and certificates have no place for it.
            Pair::Dsa(_) => None,
        }
    }

    /// Signs by ECDSA with the hash that belongs to the curve, the two numbers one after the other
    /// (RFC 4754 §7); `None` for other keys.
    pub fn sign_concatenated(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Curve(pairs) => {
                let [_, fixed] = pairs.as_ref();
                sign_curve(fixed, message)
            }
            Pair::Rsa(_) | Pair::Ed25519(_) | Pair::Dsa(_) => None,
        }
    }
}

impl SigningKey {
    /// Signs `hash` as IKEv1 does: with RSA without the hash's name, with DSA as r and s (RFC 2409 §5.1), with
    /// ECDSA as the hash that belongs to the curve, the two numbers one after the other (RFC 4754 §7). `None`
    /// for other keys.
    pub fn sign_bare(&self, hash: &[u8]) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Rsa(pair) => bare::sign(&pair.1, hash),
            Pair::Curve(pairs) => {
                let [_, fixed] = pairs.as_ref();
                let signature = fixed.sign_digest(&digest(self.public.kind, hash)?).ok()?;
                Some(signature.as_ref().to_vec())
            }
            Pair::Dsa(key) => dss::sign(key, hash),
            Pair::Ed25519(_) => None,
        }
    }
}

/// `hash` as that of the algorithm which belongs to a curve: the number that ECDSA signs is the same if zeros
/// stand in front of a shorter one, and of a longer one it takes the leftmost octets (FIPS 186-5 §6.4).
fn digest(kind: KeyKind, hash: &[u8]) -> Option<Digest> {
    let algorithm = match kind {
        KeyKind::P256 => &digest::SHA256,
        KeyKind::P384 => &digest::SHA384,
        KeyKind::P521 => &digest::SHA512,
        KeyKind::Rsa(_) | KeyKind::Ed25519 | KeyKind::Dsa(_) => return None,
    };
    let taken = hash.get(..algorithm.output_len()).unwrap_or(hash);
    let mut octets = vec![0; algorithm.output_len().saturating_sub(taken.len())];
    octets.extend_from_slice(taken);
    Digest::import_less_safe(&octets, algorithm).ok()
}

fn sign_rsa(pair: &RsaKeyPair, scheme: SignatureScheme, message: &[u8]) -> Option<Vec<u8>> {
    use SignatureHash::{Sha2_256, Sha2_384, Sha2_512};
    use SignatureScheme::{Ecdsa, Ed25519, RsaPkcs1, RsaPss};
    let encoding: &'static dyn RsaEncoding = match scheme {
        RsaPkcs1(Sha2_256) => &signature::RSA_PKCS1_SHA256,
        RsaPkcs1(Sha2_384) => &signature::RSA_PKCS1_SHA384,
        RsaPkcs1(Sha2_512) => &signature::RSA_PKCS1_SHA512,
        RsaPss(Sha2_256) => &signature::RSA_PSS_SHA256,
        RsaPss(Sha2_384) => &signature::RSA_PSS_SHA384,
        RsaPss(Sha2_512) => &signature::RSA_PSS_SHA512,
        RsaPkcs1(_) | RsaPss(_) | Ecdsa(_) | Ed25519 => return None,
    };
    let mut out = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut out).ok()?;
    Some(out)
}

fn sign_curve(pair: &EcdsaKeyPair, message: &[u8]) -> Option<Vec<u8>> {
    let signature = pair.sign(&SystemRandom::new(), message).ok()?;
    Some(signature.as_ref().to_vec())
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, <secret>)", self.public.kind)
    }
}

#[cfg(test)]
mod tests;
