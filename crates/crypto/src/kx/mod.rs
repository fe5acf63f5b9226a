//! Key exchange methods: RFC 2409, RFC 3526 and RFC 5114 (MODP), RFC 5903 (ECP), RFC 6954 (brainpool),
//! RFC 8031 (X25519, X448), ML-KEM, and the checks of RFC 6989 on what a peer sends.
//!
//! A Diffie-Hellman exchange and a key encapsulation look the same from outside: the initiator
//! [generates](KeyExchange::generate) a [`KeyShare`], the responder
//! [answers](KeyExchange::respond) its public value with one of its own and has the shared secret,
//! the initiator [agrees](KeyShare::agree) on it.

mod ecdh;
mod mlkem;
mod modp;
mod static_kem;
mod stock;
mod weierstrass;
mod x448;

use core::fmt;

use adit_wire::iana::KeyExchangeId;

use crate::{Rng, Secret};

pub use static_kem::{KemKey, KemPublicKey, KemSet};
pub use stock::{KEY_SHARES_MAX, KeyShareStock};

/// A negotiated key exchange method.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyExchange {
    /// 768-bit MODP group, number 1 (RFC 2409 §6.1).
    Modp768,
    /// 1024-bit MODP group, number 2 (RFC 2409 §6.2).
    Modp1024,
    /// 1536-bit MODP group, number 5 (RFC 3526 §2).
    Modp1536,
    /// 2048-bit MODP group, number 14 (RFC 3526 §3).
    Modp2048,
    /// 3072-bit MODP group, number 15 (RFC 3526 §4).
    Modp3072,
    /// 4096-bit MODP group, number 16 (RFC 3526 §5).
    Modp4096,
    /// 6144-bit MODP group, number 17 (RFC 3526 §6).
    Modp6144,
    /// 8192-bit MODP group, number 18 (RFC 3526 §7).
    Modp8192,
    /// 256-bit random ECP group, number 19 (RFC 5903 §3.1).
    EcpP256,
    /// 384-bit random ECP group, number 20 (RFC 5903 §3.2).
    EcpP384,
    /// 521-bit random ECP group, number 21 (RFC 5903 §3.3).
    EcpP521,
    /// 1024-bit MODP group with a subgroup of 160 bits, number 22 (RFC 5114 §2.1).
    Modp1024S160,
    /// 2048-bit MODP group with a subgroup of 224 bits, number 23 (RFC 5114 §2.2).
    Modp2048S224,
    /// 2048-bit MODP group with a subgroup of 256 bits, number 24 (RFC 5114 §2.3).
    Modp2048S256,
    /// 192-bit random ECP group, number 25 (RFC 5114 §2.4).
    EcpP192,
    /// 224-bit random ECP group, number 26 (RFC 5114 §2.5).
    EcpP224,
    /// brainpoolP256r1, number 28 (RFC 6954).
    BrainpoolP256,
    /// brainpoolP384r1, number 29 (RFC 6954).
    BrainpoolP384,
    /// Curve25519, number 31 (RFC 8031).
    X25519,
    /// Curve448, number 32 (RFC 8031).
    X448,
    /// ML-KEM-512, number 35 (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem).
    MlKem512,
    /// ML-KEM-768, number 36 (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem).
    MlKem768,
    /// ML-KEM-1024, number 37 (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem).
    MlKem1024,
}

/// Why a peer's public value was not accepted. IKE answers both with INVALID_SYNTAX.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyExchangeError {
    /// Public values of this method have one length in this direction, and this is not it.
    #[error("public value of {method} has {actual_octets} octets instead of {expected_octets}")]
    WrongLength {
        /// The method.
        method: KeyExchange,
        /// Length that the method has in this direction.
        expected_octets: usize,
        /// Length that came.
        actual_octets: usize,
    },
    /// The value fails the recipient's tests of RFC 6989 §2 or FIPS 203 §7.2: it is outside the
    /// group, or would lead to a secret that anybody can guess.
    #[error("public value of {method} is not valid")]
    InvalidPublic {
        /// The method.
        method: KeyExchange,
    },
}

/// The initiator's half of one exchange: a private value, used once, and the public one.
///
/// The private value is erased when the share is dropped or used.
pub struct KeyShare {
    method: KeyExchange,
    public: Vec<u8>,
    private: Private,
}

enum Private {
    Modp(modp::Exponent),
    Ecdh(ecdh::PrivateKey),
    Weierstrass(weierstrass::PrivateKey),
    X448(x448::PrivateKey),
    MlKem(mlkem::DecapsulationKey),
}

impl KeyExchange {
    /// Every method, in the order of their numbers but for the usual ones, which come first.
    pub const ALL: [Self; 23] = [
        Self::X25519,
        Self::EcpP256,
        Self::EcpP384,
        Self::MlKem768,
        Self::Modp3072,
        Self::Modp2048,
        Self::Modp768,
        Self::Modp1024,
        Self::Modp1536,
        Self::Modp4096,
        Self::Modp6144,
        Self::Modp8192,
        Self::EcpP521,
        Self::Modp1024S160,
        Self::Modp2048S224,
        Self::Modp2048S256,
        Self::EcpP192,
        Self::EcpP224,
        Self::BrainpoolP256,
        Self::BrainpoolP384,
        Self::X448,
        Self::MlKem512,
        Self::MlKem1024,
    ];

    /// The method with this number, if we have it.
    pub fn from_id(id: KeyExchangeId) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.id() == id)
    }

    /// The number IANA gave the method.
    pub const fn id(self) -> KeyExchangeId {
        self.shape().id
    }

    /// Whether the responder's public value is a ciphertext made for the initiator's key.
    pub const fn is_kem(self) -> bool {
        matches!(self, Self::MlKem512 | Self::MlKem768 | Self::MlKem1024)
    }

    /// Octets of public value that the initiator sends.
    pub const fn initiator_public_len(self) -> usize {
        self.shape().initiator
    }

    /// Octets of public value that the responder sends.
    pub const fn responder_public_len(self) -> usize {
        self.shape().responder
    }

    /// Octets of shared secret (RFC 7296 §2.14: a MODP secret has the length of the prime).
    pub const fn shared_len(self) -> usize {
        self.shape().shared
    }

    const fn shape(self) -> Shape {
        use KeyExchangeId as Id;
        match self {
            Self::Modp768 => Shape::even(Id::MODP_768, "modp768", 96),
            Self::Modp1024 => Shape::even(Id::MODP_1024, "modp1024", 128),
            Self::Modp1536 => Shape::even(Id::MODP_1536, "modp1536", 192),
            Self::Modp2048 => Shape::even(Id::MODP_2048, "modp2048", 256),
            Self::Modp3072 => Shape::even(Id::MODP_3072, "modp3072", 384),
            Self::Modp4096 => Shape::even(Id::MODP_4096, "modp4096", 512),
            Self::Modp6144 => Shape::even(Id::MODP_6144, "modp6144", 768),
            Self::Modp8192 => Shape::even(Id::MODP_8192, "modp8192", 1024),
            Self::Modp1024S160 => Shape::even(Id::MODP_1024_160, "modp1024s160", 128),
            Self::Modp2048S224 => Shape::even(Id::MODP_2048_224, "modp2048s224", 256),
            Self::Modp2048S256 => Shape::even(Id::MODP_2048_256, "modp2048s256", 256),
            Self::EcpP192 => Shape::ecp(Id::ECP_192, "ecp192", 24),
            Self::EcpP224 => Shape::ecp(Id::ECP_224, "ecp224", 28),
            Self::EcpP256 => Shape::ecp(Id::ECP_256, "ecp256", 32),
            Self::EcpP384 => Shape::ecp(Id::ECP_384, "ecp384", 48),
            Self::EcpP521 => Shape::ecp(Id::ECP_521, "ecp521", 66),
            Self::BrainpoolP256 => Shape::ecp(Id::BRAINPOOL_P256R1, "ecp256bp", 32),
            Self::BrainpoolP384 => Shape::ecp(Id::BRAINPOOL_P384R1, "ecp384bp", 48),
            Self::X25519 => Shape::even(Id::CURVE25519, "x25519", 32),
            Self::X448 => Shape::even(Id::CURVE448, "x448", 56),
            Self::MlKem512 => Shape::kem(Id::ML_KEM_512, "mlkem512", 800, 768),
            Self::MlKem768 => Shape::kem(Id::ML_KEM_768, "mlkem768", 1184, 1088),
            Self::MlKem1024 => Shape::kem(Id::ML_KEM_1024, "mlkem1024", 1568, 1568),
        }
    }

    /// Makes the initiator's share. A fresh one belongs to every exchange.
    pub fn generate(self, rng: &mut dyn Rng) -> KeyShare {
        let (public, private) = match self.algorithm() {
            Algorithm::Modp(group) => {
                let exponent = group.generate(rng);
                (group.public(&exponent), Private::Modp(exponent))
            }
            Algorithm::Ecdh(curve) => {
                let key = curve.generate(rng);
                (curve.public(&key), Private::Ecdh(key))
            }
            Algorithm::Weierstrass(curve) => {
                let key = curve.generate(rng);
                (curve.public(&key), Private::Weierstrass(key))
            }
            Algorithm::X448 => {
                let key = x448::generate(rng);
                (x448::public(&key), Private::X448(key))
            }
            Algorithm::MlKem(set) => {
                let (public, key) = set.generate(rng);
                (public, Private::MlKem(key))
            }
        };
        KeyShare { method: self, public, private }
    }

    /// Answers an initiator's public value: our public value to send, and the shared secret.
    ///
    /// # Errors
    ///
    /// [`KeyExchangeError`] if `peer_public` has a wrong length or is not valid.
    pub fn respond(
        self,
        peer_public: &[u8],
        rng: &mut dyn Rng,
    ) -> Result<(Vec<u8>, Secret), KeyExchangeError> {
        self.check_length(peer_public, self.initiator_public_len())?;
        let answer = match self.algorithm() {
            Algorithm::Modp(group) => {
                let exponent = group.generate(rng);
                group.agree(&exponent, peer_public).map(|shared| (group.public(&exponent), shared))
            }
            Algorithm::Ecdh(curve) => {
                let key = curve.generate(rng);
                curve.agree(&key, peer_public).map(|shared| (curve.public(&key), shared))
            }
            Algorithm::Weierstrass(curve) => {
                let key = curve.generate(rng);
                curve.agree(&key, peer_public).map(|shared| (curve.public(&key), shared))
            }
            Algorithm::X448 => {
                let key = x448::generate(rng);
                x448::agree(&key, peer_public).map(|shared| (x448::public(&key), shared))
            }
            Algorithm::MlKem(set) => set.encapsulate(peer_public, rng),
        };
        answer.ok_or(KeyExchangeError::InvalidPublic { method: self })
    }

    fn check_length(self, public: &[u8], expected_octets: usize) -> Result<(), KeyExchangeError> {
        if public.len() == expected_octets {
            return Ok(());
        }
        Err(KeyExchangeError::WrongLength {
            method: self,
            expected_octets,
            actual_octets: public.len(),
        })
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Self::EcpP256 => Algorithm::Ecdh(ecdh::Curve::P256),
            Self::EcpP384 => Algorithm::Ecdh(ecdh::Curve::P384),
            Self::EcpP521 => Algorithm::Ecdh(ecdh::Curve::P521),
            Self::X25519 => Algorithm::Ecdh(ecdh::Curve::X25519),
            Self::EcpP192 => Algorithm::Weierstrass(weierstrass::Curve::P192),
            Self::EcpP224 => Algorithm::Weierstrass(weierstrass::Curve::P224),
            Self::BrainpoolP256 => Algorithm::Weierstrass(weierstrass::Curve::Brainpool256),
            Self::BrainpoolP384 => Algorithm::Weierstrass(weierstrass::Curve::Brainpool384),
            Self::X448 => Algorithm::X448,
            Self::MlKem512 => Algorithm::MlKem(mlkem::Set::K512),
            Self::MlKem768 => Algorithm::MlKem(mlkem::Set::K768),
            Self::MlKem1024 => Algorithm::MlKem(mlkem::Set::K1024),
            Self::Modp768 => Algorithm::Modp(modp::group_1()),
            Self::Modp1024 => Algorithm::Modp(modp::group_2()),
            Self::Modp1536 => Algorithm::Modp(modp::group_5()),
            Self::Modp2048 => Algorithm::Modp(modp::group_14()),
            Self::Modp3072 => Algorithm::Modp(modp::group_15()),
            Self::Modp4096 => Algorithm::Modp(modp::group_16()),
            Self::Modp6144 => Algorithm::Modp(modp::group_17()),
            Self::Modp8192 => Algorithm::Modp(modp::group_18()),
            Self::Modp1024S160 => Algorithm::Modp(modp::group_22()),
            Self::Modp2048S224 => Algorithm::Modp(modp::group_23()),
            Self::Modp2048S256 => Algorithm::Modp(modp::group_24()),
        }
    }
}

enum Algorithm {
    Modp(&'static modp::Group),
    Ecdh(ecdh::Curve),
    Weierstrass(weierstrass::Curve),
    X448,
    MlKem(mlkem::Set),
}

/// What a method looks like from outside.
struct Shape {
    id: KeyExchangeId,
    /// Its word in swanctl's proposals.
    word: &'static str,
    /// Octets of the initiator's public value.
    initiator: usize,
    /// Octets of the responder's public value.
    responder: usize,
    /// Octets of the shared secret.
    shared: usize,
}

impl Shape {
    /// Public values and secret are numbers of one length.
    const fn even(id: KeyExchangeId, word: &'static str, octets: usize) -> Self {
        Self { id, word, initiator: octets, responder: octets, shared: octets }
    }

    /// Public values are two coordinates of this length, the secret is one.
    const fn ecp(id: KeyExchangeId, word: &'static str, octets: usize) -> Self {
        Self { id, word, initiator: 2 * octets, responder: 2 * octets, shared: octets }
    }

    /// Key and ciphertext have their own lengths (FIPS 203 table 3).
    const fn kem(id: KeyExchangeId, word: &'static str, key: usize, ciphertext: usize) -> Self {
        Self { id, word, initiator: key, responder: ciphertext, shared: 32 }
    }
}

impl fmt::Display for KeyExchange {
    /// Writes the word of swanctl's proposals: `modp2048`, `ecp256`, `x25519`, `mlkem768`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shape().word)
    }
}

impl KeyShare {
    /// The method this share belongs to.
    pub fn method(&self) -> KeyExchange {
        self.method
    }

    /// The octets to send, as the Key Exchange Data of a KE payload (RFC 7296 §3.4).
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Computes the shared secret from the responder's public value.
    ///
    /// The share is used up: RFC 7296 §2.12 permits reuse, and forward secrecy is better off
    /// without.
    ///
    /// # Errors
    ///
    /// [`KeyExchangeError`] if `peer_public` has a wrong length or is not valid. An ML-KEM
    /// ciphertext has no wrong value: a changed one gives another secret (FIPS 203 §6.3), and
    /// authentication fails later.
    pub fn agree(self, peer_public: &[u8]) -> Result<Secret, KeyExchangeError> {
        let Self { method, public: _, private } = self;
        method.check_length(peer_public, method.responder_public_len())?;
        let shared = match (method.algorithm(), private) {
            (Algorithm::Modp(group), Private::Modp(exponent)) => {
                group.agree(&exponent, peer_public)
            }
            (Algorithm::Ecdh(curve), Private::Ecdh(key)) => curve.agree(&key, peer_public),
            (Algorithm::Weierstrass(curve), Private::Weierstrass(key)) => {
                curve.agree(&key, peer_public)
            }
            (Algorithm::X448, Private::X448(key)) => x448::agree(&key, peer_public),
            (Algorithm::MlKem(_), Private::MlKem(key)) => key.decapsulate(peer_public),
            (
                Algorithm::Modp(_)
                | Algorithm::Ecdh(_)
                | Algorithm::Weierstrass(_)
                | Algorithm::X448
                | Algorithm::MlKem(_),
                _,
            ) => None,
        };
        shared.ok_or(KeyExchangeError::InvalidPublic { method })
    }
}

impl fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyShare").field("method", &self.method).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
