//! ML-KEM-768: FIPS 203, draft-ietf-ipsecme-ikev2-mlkem.
//!
//! In production aws-lc-rs makes and uses the keys and draws its own randomness. A deterministic
//! [`Rng`] gets the ml-kem crate instead, which takes the randomness as an argument.

use aws_lc_rs::kem::{self, Ciphertext, ML_KEM_768};
use ml_kem::{Decapsulate, KeyExport, MlKem768, Seed, ml_kem_768};
use zeroize::Zeroize;

use crate::{Rng, Secret};

/// The initiator's private key.
pub(super) enum DecapsulationKey {
    /// Made by aws-lc-rs, which erases it when dropped.
    System(kem::DecapsulationKey),
    /// The 64 octets of randomness (d, z) of FIPS 203 §7.1 that the key is made of.
    Seeded(Secret),
}

/// Makes a key pair; the encapsulation key is what the initiator sends.
pub(super) fn generate(rng: &mut dyn Rng) -> (Vec<u8>, DecapsulationKey) {
    if rng.is_deterministic() {
        let seed = Secret::random(64, rng);
        let public = expand(&seed).encapsulation_key().to_bytes().to_vec();
        return (public, DecapsulationKey::Seeded(seed));
    }
    let key = kem::DecapsulationKey::generate(&ML_KEM_768).expect("keys need entropy only");
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
pub(super) fn encapsulate(peer_public: &[u8], rng: &mut dyn Rng) -> Option<(Vec<u8>, Secret)> {
    if rng.is_deterministic() {
        let peer = ml_kem_768::EncapsulationKey::new(&peer_public.try_into().ok()?).ok()?;
        let mut message = [0; 32];
        rng.fill(&mut message);
        let (ciphertext, shared) = peer.encapsulate_deterministic(&message.into());
        message.zeroize();
        return Some((ciphertext.to_vec(), Secret::from_slice(&shared)));
    }
    let peer = kem::EncapsulationKey::new(&ML_KEM_768, peer_public).ok()?;
    let (ciphertext, shared) = peer.encapsulate().ok()?;
    Some((ciphertext.as_ref().to_vec(), Secret::from_slice(shared.as_ref())))
}

impl DecapsulationKey {
    /// The secret in `ciphertext`, or `None` for a ciphertext of another length.
    pub(super) fn decapsulate(&self, ciphertext: &[u8]) -> Option<Secret> {
        match self {
            Self::System(key) => {
                let shared = key.decapsulate(Ciphertext::from(ciphertext)).ok()?;
                Some(Secret::from_slice(shared.as_ref()))
            }
            Self::Seeded(seed) => {
                let shared = expand(seed).decapsulate(&ciphertext.try_into().ok()?);
                Some(Secret::from_slice(&shared))
            }
        }
    }
}

fn expand(seed: &Secret) -> ml_kem::DecapsulationKey<MlKem768> {
    let seed: Seed = seed.as_bytes().try_into().expect("the seed has 64 octets");
    ml_kem::DecapsulationKey::from_seed(seed)
}
