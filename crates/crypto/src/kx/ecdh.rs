//! Elliptic curves: RFC 5903 (P-256, P-384, P-521) and RFC 8031 (X25519).
//!
//! aws-lc-rs does the tests of RFC 6989 §2.3: a point that is not on the curve and, for X25519, a
//! shared secret of zeros are refused.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, UnparsedPublicKey};
use zeroize::Zeroize;

use crate::{Rng, Secret};

/// A private key; aws-lc-rs erases it when dropped.
pub(super) type PrivateKey = agreement::PrivateKey;

/// A curve.
#[derive(Clone, Copy)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
    X25519,
}

/// Draws of a scalar before giving up. Close to half of them are beyond the order of the worst curve,
/// brainpool P-384: fewer than one key in 2^250 does not come about.
pub(super) const DRAWS_MAX: u8 = 255;

/// SEC 1 §2.3.3: the point follows uncompressed. RFC 5903 §7 leaves the octet out.
pub(super) const UNCOMPRESSED: u8 = 0x04;

/// Octets of the longest uncompressed point, that of P-521.
const POINT_OCTETS_MAX: usize = 133;

impl Curve {
    /// Draws a private key.
    ///
    /// The scalar comes from `rng`, also in production: one way for both kinds of randomness.
    ///
    /// # Panics
    ///
    /// If `rng` gives nothing but scalars outside the group.
    pub(super) fn generate(self, rng: &mut dyn Rng) -> PrivateKey {
        let mut scalar = [0; 66];
        let (scalar, _) = scalar.split_at_mut(self.scalar_octets());
        let key = (0..DRAWS_MAX).find_map(|_| {
            rng.fill(scalar);
            // The order of P-521 has 521 bits, its octets 528.
            if let (Self::P521, Some(first)) = (self, scalar.first_mut()) {
                *first &= 1;
            }
            PrivateKey::from_private_key(self.algorithm(), scalar).ok()
        });
        scalar.zeroize();
        key.expect("random octets are a scalar of the group")
    }

    /// The public value: the coordinates x and y (RFC 5903 §7), or u (RFC 8031 §3.1).
    pub(super) fn public(self, key: &PrivateKey) -> Vec<u8> {
        let point = key.compute_public_key().expect("a private key has a public key");
        let octets = point.as_ref();
        match self {
            Self::X25519 => octets,
            Self::P256 | Self::P384 | Self::P521 => {
                octets.strip_prefix(&[UNCOMPRESSED]).unwrap_or(octets)
            }
        }
        .to_vec()
    }

    /// The shared secret: the coordinate x (RFC 5903 §7) or u, or `None` if the peer's value is
    /// refused. `peer_public` has the length of [`Curve::public`].
    pub(super) fn agree(self, key: &PrivateKey, peer_public: &[u8]) -> Option<Secret> {
        let mut point = [UNCOMPRESSED; POINT_OCTETS_MAX];
        let encoded = match self {
            Self::X25519 => peer_public,
            Self::P256 | Self::P384 | Self::P521 => {
                point.get_mut(1..=peer_public.len())?.copy_from_slice(peer_public);
                point.get(..=peer_public.len())?
            }
        };
        let peer = UnparsedPublicKey::new(self.algorithm(), encoded);
        agreement::agree(key, peer, (), |shared| Ok(Secret::from_slice(shared))).ok()
    }

    const fn scalar_octets(self) -> usize {
        match self {
            Self::P256 | Self::X25519 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn algorithm(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &ECDH_P256,
            Self::P384 => &ECDH_P384,
            Self::P521 => &ECDH_P521,
            Self::X25519 => &agreement::X25519,
        }
    }
}
