//! Key exchange methods: RFC 3526 (MODP), RFC 5903 (ECP), RFC 8031 (X25519), ML-KEM, and the
//! checks of RFC 6989 on what a peer sends.
//!
//! A Diffie-Hellman exchange and a key encapsulation look the same from outside: the initiator
//! [generates](KeyExchange::generate) a [`KeyShare`], the responder
//! [answers](KeyExchange::respond) its public value with one of its own and has the shared secret,
//! the initiator [agrees](KeyShare::agree) on it.

mod ecdh;
mod mlkem;
mod modp;

use core::fmt;

use adit_wire::iana::KeyExchangeId;

use crate::{Rng, Secret};

/// A negotiated key exchange method.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyExchange {
    /// 2048-bit MODP group, number 14 (RFC 3526 §3).
    Modp2048,
    /// 3072-bit MODP group, number 15 (RFC 3526 §4).
    Modp3072,
    /// 256-bit random ECP group, number 19 (RFC 5903 §3.1).
    EcpP256,
    /// 384-bit random ECP group, number 20 (RFC 5903 §3.2).
    EcpP384,
    /// Curve25519, number 31 (RFC 8031).
    X25519,
    /// ML-KEM-768, number 36 (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem).
    MlKem768,
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
    MlKem(mlkem::DecapsulationKey),
}

impl KeyExchange {
    /// Every method, the preferred one first.
    pub const ALL: [Self; 6] = [
        Self::X25519,
        Self::EcpP256,
        Self::EcpP384,
        Self::MlKem768,
        Self::Modp3072,
        Self::Modp2048,
    ];

    /// The method with this number, if we have it.
    pub fn from_id(id: KeyExchangeId) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.id() == id)
    }

    /// The number IANA gave the method.
    pub const fn id(self) -> KeyExchangeId {
        match self {
            Self::Modp2048 => KeyExchangeId::MODP_2048,
            Self::Modp3072 => KeyExchangeId::MODP_3072,
            Self::EcpP256 => KeyExchangeId::ECP_256,
            Self::EcpP384 => KeyExchangeId::ECP_384,
            Self::X25519 => KeyExchangeId::CURVE25519,
            Self::MlKem768 => KeyExchangeId::ML_KEM_768,
        }
    }

    /// Whether the responder's public value is a ciphertext made for the initiator's key.
    pub const fn is_kem(self) -> bool {
        matches!(self, Self::MlKem768)
    }

    /// Octets of public value that the initiator sends.
    pub const fn initiator_public_len(self) -> usize {
        match self {
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::EcpP256 => 64,
            Self::EcpP384 => 96,
            Self::X25519 => 32,
            Self::MlKem768 => 1184,
        }
    }

    /// Octets of public value that the responder sends.
    pub const fn responder_public_len(self) -> usize {
        match self {
            Self::MlKem768 => 1088,
            Self::Modp2048 | Self::Modp3072 | Self::EcpP256 | Self::EcpP384 | Self::X25519 => {
                self.initiator_public_len()
            }
        }
    }

    /// Octets of shared secret (RFC 7296 §2.14: a MODP secret has the length of the prime).
    pub const fn shared_len(self) -> usize {
        match self {
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::EcpP384 => 48,
            Self::EcpP256 | Self::X25519 | Self::MlKem768 => 32,
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
            Algorithm::MlKem => {
                let (public, key) = mlkem::generate(rng);
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
            Algorithm::MlKem => mlkem::encapsulate(peer_public, rng),
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
            Self::Modp2048 => Algorithm::Modp(modp::group_14()),
            Self::Modp3072 => Algorithm::Modp(modp::group_15()),
            Self::EcpP256 => Algorithm::Ecdh(ecdh::Curve::P256),
            Self::EcpP384 => Algorithm::Ecdh(ecdh::Curve::P384),
            Self::X25519 => Algorithm::Ecdh(ecdh::Curve::X25519),
            Self::MlKem768 => Algorithm::MlKem,
        }
    }
}

enum Algorithm {
    Modp(&'static modp::Group),
    Ecdh(ecdh::Curve),
    MlKem,
}

impl fmt::Display for KeyExchange {
    /// Writes the word of swanctl's proposals: `modp2048`, `ecp256`, `x25519`, `mlkem768`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Modp2048 => "modp2048",
            Self::Modp3072 => "modp3072",
            Self::EcpP256 => "ecp256",
            Self::EcpP384 => "ecp384",
            Self::X25519 => "x25519",
            Self::MlKem768 => "mlkem768",
        })
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
            (Algorithm::MlKem, Private::MlKem(key)) => key.decapsulate(peer_public),
            (Algorithm::Modp(_) | Algorithm::Ecdh(_) | Algorithm::MlKem, _) => None,
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
