//! ML-KEM-512, -768 and -1024: FIPS 203, draft-ietf-ipsecme-ikev2-mlkem.
//!
//! In production aws-lc-rs makes and uses the keys and draws its own randomness. A deterministic
//! [`Rng`] gets the ml-kem crate instead, which takes the randomness as an argument. A key that stays
//! is made of its seed by the ml-kem crate, as aws-lc-rs reads none, and used by aws-lc-rs.

use aws_lc_rs::kem::{self, Ciphertext, ML_KEM_512, ML_KEM_768, ML_KEM_1024};
#[expect(deprecated, reason = "aws-lc-rs reads no other form")]
use ml_kem::ExpandedKeyEncoding as _;
use ml_kem::{Decapsulate, KeyExport, Seed, ml_kem_512, ml_kem_768, ml_kem_1024};
use zeroize::Zeroize;

use crate::{Rng, Secret};

/// A parameter set (FIPS 203 §8).
#[derive(Clone, Copy)]
pub(super) enum Set {
    K512,
    K768,
    K1024,
}

/// The initiator's private key.
pub(super) enum DecapsulationKey {
    /// Made by aws-lc-rs, which erases it when dropped.
    System(kem::DecapsulationKey),
    /// The 64 octets of randomness (d, z) of FIPS 203 §7.1 that the key is made of.
    Seeded(Set, Secret),
}

/// What a parameter set of the ml-kem crate does, whose types have nothing in common.
macro_rules! seeded {
    ($set:expr, $module:ident => $body:expr) => {
        match $set {
            Set::K512 => {
                use ml_kem_512 as $module;
                $body
            }
            Set::K768 => {
                use ml_kem_768 as $module;
                $body
            }
            Set::K1024 => {
                use ml_kem_1024 as $module;
                $body
            }
        }
    };
}

impl Set {
    /// Makes a key pair; the encapsulation key is what the initiator sends.
    pub(super) fn generate(self, rng: &mut dyn Rng) -> (Vec<u8>, DecapsulationKey) {
        if rng.is_deterministic() {
            let seed = Secret::random(64, rng);
            let public = seeded!(self, set => {
                let key = set::DecapsulationKey::from_seed(octets(&seed));
                key.encapsulation_key().to_bytes().to_vec()
            });
            return (public, DecapsulationKey::Seeded(self, seed));
        }
        let key = kem::DecapsulationKey::generate(self.algorithm());
        let key = key.expect("keys need entropy only");
        let public = key
            .encapsulation_key()
            .and_then(|public| Ok(public.key_bytes()?.as_ref().to_vec()))
            .expect("a fresh private key has a public key");
        (public, DecapsulationKey::System(key))
    }

    /// Makes a ciphertext to send and the secret in it; `None` if the encapsulation key is refused.
    ///
    /// Both libraries do the checks of FIPS 203 §7.2: the length, and that every coefficient is
    /// reduced.
    pub(super) fn encapsulate(
        self,
        peer_public: &[u8],
        rng: &mut dyn Rng,
    ) -> Option<(Vec<u8>, Secret)> {
        if rng.is_deterministic() {
            return seeded!(self, set => {
                let peer = set::EncapsulationKey::new(&peer_public.try_into().ok()?).ok()?;
                let mut message = [0; 32];
                rng.fill(&mut message);
                let (ciphertext, shared) = peer.encapsulate_deterministic(&message.into());
                message.zeroize();
                Some((ciphertext.to_vec(), Secret::from_slice(&shared)))
            });
        }
        let peer = kem::EncapsulationKey::new(self.algorithm(), peer_public).ok()?;
        let (ciphertext, shared) = peer.encapsulate().ok()?;
        Some((ciphertext.as_ref().to_vec(), Secret::from_slice(shared.as_ref())))
    }

    /// The key pair of 64 octets (d, z) of FIPS 203 §7.1: encapsulation key, decapsulation key.
    pub(super) fn of_seed(self, seed: &[u8; SEED_OCTETS]) -> (Vec<u8>, DecapsulationKey) {
        let (public, private) = seeded!(self, set => {
            let key = set::DecapsulationKey::from_seed((*seed).into());
            #[expect(deprecated, reason = "aws-lc-rs reads no other form")]
            let private = Secret::from_slice(&key.to_expanded_bytes());
            (key.encapsulation_key().to_bytes().to_vec(), private)
        });
        let key = kem::DecapsulationKey::new(self.algorithm(), private.as_bytes());
        (public, DecapsulationKey::System(key.expect("both libraries have FIPS 203's form")))
    }

    /// Whether an encapsulation key passes the checks of FIPS 203 §7.2.
    pub(super) fn accepts(self, public: &[u8]) -> bool {
        seeded!(self, set => {
            public.try_into().is_ok_and(|public| set::EncapsulationKey::new(public).is_ok())
        })
    }

    fn algorithm(self) -> &'static kem::Algorithm {
        match self {
            Self::K512 => &ML_KEM_512,
            Self::K768 => &ML_KEM_768,
            Self::K1024 => &ML_KEM_1024,
        }
    }
}

impl DecapsulationKey {
    /// The secret in `ciphertext`, or `None` for a ciphertext of another length.
    pub(super) fn decapsulate(&self, ciphertext: &[u8]) -> Option<Secret> {
        match self {
            Self::System(key) => {
                let shared = key.decapsulate(Ciphertext::from(ciphertext)).ok()?;
                Some(Secret::from_slice(shared.as_ref()))
            }
            Self::Seeded(set, seed) => seeded!(*set, parameters => {
                let key = parameters::DecapsulationKey::from_seed(octets(seed));
                Some(Secret::from_slice(&key.decapsulate(&ciphertext.try_into().ok()?)))
            }),
        }
    }
}

/// Octets of a seed (d, z).
pub(super) const SEED_OCTETS: usize = 64;

fn octets(seed: &Secret) -> Seed {
    seed.as_bytes().try_into().expect("the seed has 64 octets")
}
