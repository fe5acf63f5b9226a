//! Curve448: RFC 8031, RFC 7748 §5.

use x448::{X448_BASEPOINT_BYTES, x448, x448_unchecked};
use zeroize::Zeroize;

use crate::{Rng, Secret};

/// Octets of a scalar and of a coordinate u.
const OCTETS: usize = 56;

/// A private scalar, erased when dropped.
pub(super) struct PrivateKey(Secret);

/// Draws a private key.
pub(super) fn generate(rng: &mut dyn Rng) -> PrivateKey {
    PrivateKey(Secret::random(OCTETS, rng))
}

/// The public value, u (RFC 8031 §3.1).
pub(super) fn public(key: &PrivateKey) -> Vec<u8> {
    let mut scalar = key.scalar();
    let public = x448_unchecked(scalar, X448_BASEPOINT_BYTES);
    scalar.zeroize();
    public.to_vec()
}

/// The shared secret, or `None` if the peer's value is refused: one of small order gives zeros,
/// whatever the private key (RFC 7748 §6.2).
pub(super) fn agree(key: &PrivateKey, peer_public: &[u8]) -> Option<Secret> {
    let mut scalar = key.scalar();
    let shared = x448(scalar, peer_public.try_into().ok()?);
    scalar.zeroize();
    let mut shared = shared?;
    let secret = Secret::from_slice(&shared);
    shared.zeroize();
    (secret != Secret::from_slice(&[0; OCTETS])).then_some(secret)
}

impl PrivateKey {
    fn scalar(&self) -> [u8; OCTETS] {
        self.0.as_bytes().try_into().expect("as many octets as were drawn")
    }
}
