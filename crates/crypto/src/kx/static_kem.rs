//! ML-KEM keys that stay (FIPS 203): both sides have one, and send each other ciphertexts to it.

use core::fmt;

use adit_wire::iana::KeyExchangeId;

use super::mlkem::{DecapsulationKey, SEED_OCTETS, Set};
use super::{KeyExchange, KeyExchangeError};
use crate::{Rng, Secret};

/// A parameter set of ML-KEM (FIPS 203 §8).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KemSet {
    /// ML-KEM-512.
    MlKem512,
    /// ML-KEM-768.
    MlKem768,
    /// ML-KEM-1024.
    MlKem1024,
}

impl KemSet {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::MlKem512, Self::MlKem768, Self::MlKem1024];

    /// The exchange with an ephemeral key of this set.
    pub const fn ephemeral(self) -> KeyExchange {
        match self {
            Self::MlKem512 => KeyExchange::MlKem512,
            Self::MlKem768 => KeyExchange::MlKem768,
            Self::MlKem1024 => KeyExchange::MlKem1024,
        }
    }

    /// The set of a method that sends ciphertexts to static keys; `None` for every other method.
    pub fn from_static_id(id: KeyExchangeId) -> Option<Self> {
        let kem = id.static_kem()?;
        Self::ALL.into_iter().find(|set| set.ephemeral().id() == kem)
    }

    /// The number of the method that sends ciphertexts to static keys of this set.
    pub const fn static_id(self) -> KeyExchangeId {
        match self {
            Self::MlKem512 => KeyExchangeId::ADIT_STATIC_ML_KEM_512,
            Self::MlKem768 => KeyExchangeId::ADIT_STATIC_ML_KEM_768,
            Self::MlKem1024 => KeyExchangeId::ADIT_STATIC_ML_KEM_1024,
        }
    }

    /// Octets of an encapsulation key.
    pub const fn public_len(self) -> usize {
        self.ephemeral().initiator_public_len()
    }

    /// Octets of a ciphertext.
    pub const fn ciphertext_len(self) -> usize {
        self.ephemeral().responder_public_len()
    }

    fn set(self) -> Set {
        match self {
            Self::MlKem512 => Set::K512,
            Self::MlKem768 => Set::K768,
            Self::MlKem1024 => Set::K1024,
        }
    }
}

impl fmt::Display for KemSet {
    /// `mlkem768`, as in proposals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ephemeral().fmt(f)
    }
}

/// The private half of a key that stays. It is erased when dropped and never printed.
pub struct KemKey {
    seed: Secret,
    key: DecapsulationKey,
    public: KemPublicKey,
}

impl KemKey {
    /// Makes a key.
    pub fn generate(set: KemSet, rng: &mut dyn Rng) -> Self {
        let seed = Secret::random(SEED_OCTETS, rng);
        Self::from_seed(set, seed.as_bytes()).expect("the seed has its length")
    }

    /// The key of a seed, `d | z` of FIPS 203 §7.1; `None` unless it has 64 octets.
    pub fn from_seed(set: KemSet, seed: &[u8]) -> Option<Self> {
        let (public, key) = set.set().of_seed(seed.try_into().ok()?);
        let public = KemPublicKey { set, octets: public.into() };
        Some(Self { seed: Secret::from_slice(seed), key, public })
    }

    /// `d | z`, for the file that the key lies in.
    pub fn seed(&self) -> &Secret {
        &self.seed
    }

    /// The public half.
    pub fn public(&self) -> &KemPublicKey {
        &self.public
    }

    /// The secret in a ciphertext.
    ///
    /// # Errors
    ///
    /// [`KeyExchangeError::WrongLength`]. No ciphertext of the right length is wrong: one that was not
    /// made for this key gives a secret that nobody else has (FIPS 203 §6.3), in the same time.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret, KeyExchangeError> {
        let method = self.public.set.ephemeral();
        method.check_length(ciphertext, self.public.set.ciphertext_len())?;
        self.key.decapsulate(ciphertext).ok_or(KeyExchangeError::InvalidPublic { method })
    }
}

impl fmt::Debug for KemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KemKey").field("set", &self.public.set).finish_non_exhaustive()
    }
}

/// The public half of a key that stays; it has passed the checks of FIPS 203 §7.2.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct KemPublicKey {
    set: KemSet,
    octets: Box<[u8]>,
}

impl KemPublicKey {
    /// Takes an encapsulation key.
    ///
    /// # Errors
    ///
    /// [`KeyExchangeError`] if its length is wrong or a coefficient is not reduced.
    pub fn from_octets(set: KemSet, octets: &[u8]) -> Result<Self, KeyExchangeError> {
        let method = set.ephemeral();
        method.check_length(octets, set.public_len())?;
        match set.set().accepts(octets) {
            true => Ok(Self { set, octets: octets.into() }),
            false => Err(KeyExchangeError::InvalidPublic { method }),
        }
    }

    /// The parameter set.
    pub fn set(&self) -> KemSet {
        self.set
    }

    /// The encapsulation key.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Makes a ciphertext for the owner of the key, and the secret in it.
    ///
    /// # Errors
    ///
    /// Never for a key that was checked, unless a library refuses what the other accepts.
    pub fn encapsulate(&self, rng: &mut dyn Rng) -> Result<(Vec<u8>, Secret), KeyExchangeError> {
        self.set.ephemeral().respond(&self.octets, rng)
    }
}

impl fmt::Debug for KemPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KemPublicKey").field("set", &self.set).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SeededRng, SystemRng};

    /// Ciphertexts of both libraries open under the key of a seed, and the key is the same again.
    #[test]
    fn a_key_that_stays_opens_what_was_made_for_it() {
        for set in KemSet::ALL {
            assert_eq!(KemSet::from_static_id(set.static_id()), Some(set));
            assert_eq!(KemSet::from_static_id(set.ephemeral().id()), None);
            let key = KemKey::generate(set, &mut SeededRng::new(1));
            let again = KemKey::from_seed(set, key.seed().as_bytes()).unwrap();
            assert_eq!(key.public(), again.public());
            let peer = KemPublicKey::from_octets(set, key.public().octets()).unwrap();
            for rng in [&mut SeededRng::new(2) as &mut dyn Rng, &mut SystemRng] {
                let (ciphertext, shared) = peer.encapsulate(rng).unwrap();
                assert_eq!(ciphertext.len(), set.ciphertext_len());
                assert_eq!(again.decapsulate(&ciphertext).unwrap(), shared, "{set}");
            }
        }
    }

    /// FIPS 203 §6.3: what was made for another key, or changed on the way, opens to something else
    /// and is no error.
    #[test]
    fn rejection_is_implicit() {
        let mut rng = SeededRng::new(3);
        let set = KemSet::MlKem768;
        let [ours, other] = [(); 2].map(|()| KemKey::generate(set, &mut rng));
        let (mut ciphertext, shared) = ours.public().encapsulate(&mut rng).unwrap();
        let wrong = other.decapsulate(&ciphertext).unwrap();
        assert_ne!(wrong, shared);
        assert_eq!(other.decapsulate(&ciphertext).unwrap(), wrong);
        ciphertext[5] ^= 1;
        assert_ne!(ours.decapsulate(&ciphertext).unwrap(), shared);
        assert!(ours.decapsulate(&ciphertext[1..]).is_err());
        assert!(ours.decapsulate(&[]).is_err());
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        let set = KemSet::MlKem512;
        assert!(KemPublicKey::from_octets(set, &[0xff; 800]).is_err());
        assert!(KemPublicKey::from_octets(set, &[0; 799]).is_err());
        assert!(KemPublicKey::from_octets(KemSet::MlKem768, &[0; 800]).is_err());
        assert!(KemKey::from_seed(set, &[0; 63]).is_none());
        let key = KemKey::generate(set, &mut SeededRng::new(1));
        assert_eq!(format!("{key:?}"), "KemKey { set: MlKem512, .. }");
    }
}
