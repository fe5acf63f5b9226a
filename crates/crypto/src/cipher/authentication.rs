//! Authentication without encryption, as AH has it (RFC 4302): an integrity algorithm, or AES-GMAC
//! (RFC 4543 §4).
//!
//! What is authenticated lies in pieces, because a receiver cannot know some octets of the headers
//! in front of AH as they were sent. So the caller feeds an [`Absorber`] piece by piece.

use core::fmt;

use adit_wire::iana::IntegrityId;
use subtle::ConstantTimeEq;

use super::aead::{PaddedHash, TagKey};
use super::algorithm::{Integrity, KeySize};
use super::key::KeyLengthError;
use super::paired::MacKey;
use super::{AES_OCTETS_MAX, Protection, SALT_LEN};
use crate::Secret;
use crate::mac::MacState;

/// Integrity algorithm of AH.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Authentication {
    /// One that ESP has beside its encryption.
    Mac(Integrity),
    /// AUTH_AES_128_GMAC, AUTH_AES_192_GMAC or AUTH_AES_256_GMAC (RFC 4543 §4): with a counter
    /// that goes with every packet.
    AesGmac(KeySize),
}

/// One direction's key of AH; it signs and verifies.
pub struct AuthenticationKey {
    algorithm: Authentication,
    transform: Transform,
}

enum Transform {
    Mac(Box<MacKey>),
    Gmac(Box<TagKey>),
}

/// Takes the octets to be authenticated, in their order.
pub struct Absorber<'a>(State<'a>);

#[expect(clippy::large_enum_variant, reason = "a box would allocate for every packet")]
enum State<'a> {
    Mac(MacState<'a>),
    Gmac(PaddedHash, &'a TagKey),
}

/// What stands in the ICV field: with AES-GMAC the counter and the tag, else the tag alone.
pub struct AuthenticationTag {
    octets: [u8; Authentication::TAG_LEN_MAX],
    len: usize,
}

/// Octets of the counter that AES-GMAC sends in front of its tag.
const GMAC_IV_LEN: usize = 8;

impl Authentication {
    /// Number of algorithms.
    const COUNT: usize = Integrity::ALL.len() + KeySize::ALL.len();

    /// Every algorithm, the preferred one first.
    pub const ALL: [Self; Self::COUNT] = all();

    /// Octets of the longest ICV field: that of HMAC-SHA-512-256.
    pub const TAG_LEN_MAX: usize = 32;

    /// The algorithm with this number, if we have it.
    pub fn from_id(id: IntegrityId) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.id() == id)
    }

    /// The number IANA gave the algorithm.
    pub const fn id(self) -> IntegrityId {
        match self {
            Self::Mac(integrity) => integrity.id(),
            Self::AesGmac(KeySize::Bits128) => IntegrityId::AES_128_GMAC,
            Self::AesGmac(KeySize::Bits192) => IntegrityId::AES_192_GMAC,
            Self::AesGmac(KeySize::Bits256) => IntegrityId::AES_256_GMAC,
        }
    }

    /// Octets of key material, the salt of AES-GMAC included (RFC 4543 §5.3).
    pub const fn key_len(self) -> usize {
        match self {
            Self::Mac(integrity) => integrity.key_len(),
            Self::AesGmac(size) => size.octets() + SALT_LEN,
        }
    }

    /// Octets of the ICV field before any padding.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::Mac(integrity) => integrity.icv_len(),
            Self::AesGmac(_) => GMAC_IV_LEN + 16,
        }
    }

    /// Octets after which a key should be replaced, whatever the configuration says; none if the
    /// algorithm sets no limit.
    pub const fn octets_soft(self) -> Option<u64> {
        match self {
            Self::Mac(_) => None,
            Self::AesGmac(_) => Some(AES_OCTETS_MAX),
        }
    }
}

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, which refuses a bad index")]
const fn all() -> [Authentication; Authentication::COUNT] {
    let mut all = [Authentication::AesGmac(KeySize::Bits256); Authentication::COUNT];
    let mut at = 0;
    while at < Integrity::ALL.len() {
        all[at] = Authentication::Mac(Integrity::ALL[at]);
        at += 1;
    }
    let mut size = 0;
    while size < KeySize::ALL.len() {
        all[at + size] = Authentication::AesGmac(KeySize::ALL[size]);
        size += 1;
    }
    all
}

impl fmt::Display for Authentication {
    /// Writes the word of swanctl's proposals: `sha256`, `aes128gmac`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(integrity) => integrity.fmt(f),
            Self::AesGmac(size) => write!(f, "aes{}gmac", size.bits()),
        }
    }
}

impl AuthenticationKey {
    /// Sets up one direction; `key` has [`Authentication::key_len`] octets, the salt last.
    ///
    /// # Errors
    ///
    /// [`KeyLengthError`] for a key of another length.
    pub fn new(algorithm: Authentication, key: &Secret) -> Result<Self, KeyLengthError> {
        if key.len() != algorithm.key_len() {
            return Err(KeyLengthError {
                protection: Protection::Ah(algorithm),
                encryption_octets: 0,
                integrity_octets: key.len(),
            });
        }
        let transform = match algorithm {
            Authentication::Mac(mac) => Transform::Mac(Box::new(MacKey::new(mac, key))),
            Authentication::AesGmac(size) => Transform::Gmac(Box::new(TagKey::new(size, key))),
        };
        Ok(Self { algorithm, transform })
    }

    /// The algorithm this key belongs to.
    pub fn algorithm(&self) -> Authentication {
        self.algorithm
    }

    /// Authenticates what `feed` absorbs; nothing is allocated.
    ///
    /// `counter` is never given twice to the same key, because AES-GMAC reveals the key then.
    pub fn sign(&self, counter: u64, feed: impl FnOnce(&mut Absorber<'_>)) -> AuthenticationTag {
        let mut absorber = self.start();
        feed(&mut absorber);
        self.finish(absorber, counter.to_be_bytes())
    }

    /// Whether `field`, without padding, is what [`Self::sign`] makes of these octets; compared in
    /// constant time.
    #[must_use]
    pub fn verify(&self, field: &[u8], feed: impl FnOnce(&mut Absorber<'_>)) -> bool {
        let iv = match self.transform {
            Transform::Mac(_) => [0; GMAC_IV_LEN],
            Transform::Gmac(_) => match field.first_chunk() {
                Some(iv) => *iv,
                None => return false,
            },
        };
        let mut absorber = self.start();
        feed(&mut absorber);
        self.finish(absorber, iv).as_bytes().ct_eq(field).into()
    }

    fn start(&self) -> Absorber<'_> {
        Absorber(match &self.transform {
            Transform::Mac(key) => State::Mac(key.mac.start()),
            Transform::Gmac(key) => State::Gmac(key.start(), key),
        })
    }

    fn finish(&self, absorber: Absorber<'_>, iv: [u8; GMAC_IV_LEN]) -> AuthenticationTag {
        let len = self.algorithm.tag_len();
        match absorber.0 {
            State::Mac(state) => {
                let output = state.finish();
                AuthenticationTag::new(output.truncated(len).iter().copied(), len)
            }
            State::Gmac(hash, key) => {
                AuthenticationTag::new(iv.into_iter().chain(key.finish(hash, iv, &[])), len)
            }
        }
    }
}

impl Absorber<'_> {
    /// Takes the next octets.
    pub fn absorb(&mut self, octets: &[u8]) {
        match &mut self.0 {
            State::Mac(state) => state.absorb(octets),
            State::Gmac(hash, _) => hash.absorb(octets),
        }
    }
}

impl AuthenticationTag {
    fn new(from: impl Iterator<Item = u8>, len: usize) -> Self {
        let mut octets = [0; Authentication::TAG_LEN_MAX];
        octets.iter_mut().zip(from).for_each(|(octet, value)| *octet = value);
        Self { octets, len }
    }

    /// The octets of the field.
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for AuthenticationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticationKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Cipher, Encryption, SealKey};
    use super::*;
    use crate::SeededRng;

    /// The ICV that ESP makes of the same octets without encrypting them.
    fn by_esp(algorithm: Authentication, key: &Secret, octets: &[u8], counter: u64) -> Vec<u8> {
        let (cipher, encryption, integrity) = match algorithm {
            Authentication::Mac(mac) => (
                Cipher::Paired(Encryption::Null, mac),
                Secret::default(),
                Secret::from_slice(key.as_bytes()),
            ),
            // RFC 4543 §3.3: there the IV is associated data as well, so only the MACs agree.
            Authentication::AesGmac(size) => (
                Cipher::AesGcm(size, super::super::IcvSize::Octets16),
                Secret::from_slice(key.as_bytes()),
                Secret::default(),
            ),
        };
        let mut iv = vec![0; cipher.iv_len()];
        let mut icv = vec![0; cipher.icv_len()];
        SealKey::new(cipher, &encryption, &integrity)
            .unwrap()
            .seal(counter, octets, &mut iv, &mut [], &mut icv, &[])
            .unwrap();
        [iv, icv].concat()
    }

    proptest! {
        /// However the octets are cut into pieces, the field is that of the one-piece algorithms,
        /// and a change of any octet is noticed.
        #[test]
        fn pieces_do_not_matter(
            algorithm in prop::sample::select(Authentication::ALL.to_vec()),
            octets in prop::collection::vec(any::<u8>(), 1..400),
            cuts in prop::collection::vec(0_usize..400, 0..6),
            counter: u64, seed: u64, change in any::<(prop::sample::Index, u8)>(),
        ) {
            let secret = Secret::random(algorithm.key_len(), &mut SeededRng::new(seed));
            let key = AuthenticationKey::new(algorithm, &secret).unwrap();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (octets.len() + 1)).collect();
            cuts.sort_unstable();
            let tag = key.sign(counter, |absorber| {
                let mut from = 0;
                for cut in cuts.iter().copied().chain([octets.len()]) {
                    absorber.absorb(&octets[from..cut]);
                    from = cut;
                }
            });
            prop_assert_eq!(tag.as_bytes().len(), algorithm.tag_len());
            prop_assert_eq!(tag.as_bytes(), by_esp(algorithm, &secret, &octets, counter));

            let mut other = octets.clone();
            let at = change.0.index(other.len());
            other[at] ^= change.1;
            let verified = key.verify(tag.as_bytes(), |absorber| absorber.absorb(&other));
            prop_assert_eq!(verified, change.1 == 0);
        }
    }

    #[test]
    fn a_field_of_another_length_is_refused() {
        for algorithm in Authentication::ALL {
            let key = Secret::random(algorithm.key_len(), &mut SeededRng::new(1));
            let key = AuthenticationKey::new(algorithm, &key).unwrap();
            let tag = key.sign(7, |absorber| absorber.absorb(b"x"));
            for len in 0..tag.as_bytes().len() {
                assert!(!key.verify(&tag.as_bytes()[..len], |absorber| absorber.absorb(b"x")));
            }
            assert!(AuthenticationKey::new(algorithm, &Secret::default()).is_err());
        }
    }

    #[test]
    fn numbers_and_words_are_unique() {
        for algorithm in Authentication::ALL {
            assert_eq!(Authentication::from_id(algorithm.id()), Some(algorithm));
            let same = |other: &Authentication| other.to_string() == algorithm.to_string();
            assert_eq!(Authentication::ALL.iter().filter(|other| same(other)).count(), 1);
        }
        assert_eq!(Authentication::from_id(IntegrityId::NONE), None);
    }
}
