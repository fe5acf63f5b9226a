//! Octets that must not leak: key material of every kind.

use core::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// Key material: erased when dropped, printed as `<secret>`, compared in constant time.
///
/// It is not `Clone`: every copy is one more place to erase, so copying is the explicit
/// [`Secret::duplicate`], and the caller says why. The length is not secret.
#[derive(Default)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes over `octets`; no copy of them is left behind.
    pub fn new(octets: Vec<u8>) -> Self {
        // A vector that is shrunk in place may move and leave its octets in freed memory.
        if octets.len() == octets.capacity() {
            return Self(octets.into_boxed_slice());
        }
        let mut octets = octets;
        let secret = Self::from_slice(&octets);
        octets.zeroize();
        secret
    }

    /// Copies `octets`; erasing the original stays the caller's duty.
    pub fn from_slice(octets: &[u8]) -> Self {
        Self(Box::from(octets))
    }

    /// Joins `parts` in order, for example nonces into a key (RFC 7296 §2.14: `Ni | Nr`).
    pub fn concat(parts: &[&[u8]]) -> Self {
        let mut octets = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            octets.extend_from_slice(part);
        }
        Self::new(octets)
    }

    /// Draws `len` octets from `rng`.
    pub fn random(len: usize, rng: &mut dyn crate::Rng) -> Self {
        let mut octets = vec![0; len];
        rng.fill(&mut octets);
        Self::new(octets)
    }

    /// The octets themselves. Do not store, log or compare what this returns.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Number of octets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no octet, as the integrity key of an AEAD has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a second copy. The caller states in a comment why one is not enough.
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// Cuts the octets into consecutive secrets of the given lengths, as RFC 7296 §2.14 and §2.17
    /// take keys from the output of prf+.
    ///
    /// Returns `None` unless the lengths add up to exactly [`Secret::len`].
    pub fn split<const N: usize>(self, lengths: [usize; N]) -> Option<[Self; N]> {
        let mut rest = self.as_bytes();
        let mut parts = [const { None }; N];
        for (part, len) in parts.iter_mut().zip(lengths) {
            let (head, tail) = rest.split_at_checked(len)?;
            *part = Some(Self::from_slice(head));
            rest = tail;
        }
        rest.is_empty().then(|| parts.map(Option::unwrap_or_default))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl ConstantTimeEq for Secret {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for Secret {
    /// Compares in time that depends on the lengths only.
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_octet() {
        let secret = Secret::from_slice(b"correct horse");
        assert_eq!(format!("{secret:?}"), "<secret>");
        assert_eq!(format!("{:?}", Some(&secret)), "Some(<secret>)");
    }

    #[test]
    fn secrets_are_equal_by_their_octets() {
        let secret = Secret::from_slice(&[1, 2, 3]);
        assert_eq!(secret, secret.duplicate());
        assert_ne!(secret, Secret::from_slice(&[1, 2, 4]));
        assert_ne!(secret, Secret::from_slice(&[1, 2]));
    }

    #[test]
    fn new_keeps_the_octets_of_a_vector_with_spare_room() {
        let mut octets = Vec::with_capacity(64);
        octets.extend_from_slice(&[7; 20]);
        assert_eq!(Secret::new(octets).as_bytes(), [7; 20]);
    }

    #[test]
    fn split_cuts_in_order_and_consumes_everything() {
        let [a, b, c] = Secret::from_slice(&[1, 2, 3, 4]).split([1, 0, 3]).unwrap();
        assert_eq!(a.as_bytes(), [1]);
        assert!(b.is_empty());
        assert_eq!(c.as_bytes(), [2, 3, 4]);
        assert_eq!(Secret::from_slice(&[1, 2, 3]).split([1, 1]), None);
        assert_eq!(Secret::from_slice(&[1, 2, 3]).split([1, 3]), None);
    }

    #[test]
    fn concat_joins_in_order() {
        let joined = Secret::concat(&[&[1, 2], &[], &[3]]);
        assert_eq!(joined.as_bytes(), [1, 2, 3]);
    }
}
