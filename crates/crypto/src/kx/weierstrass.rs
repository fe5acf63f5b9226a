//! Curves that aws-lc-rs lacks: P-192 and P-224 (RFC 5903's form, RFC 5114 §2.4 and §2.5), brainpool
//! P-256 and P-384 (RFC 6954).
//!
//! The crates refuse a point that is not on its curve (RFC 6989 §2.3), and the point at infinity.

use bp256::BrainpoolP256r1;
use bp256::elliptic_curve::point::AffineCoordinates;
use bp256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use bp256::elliptic_curve::{
    AffinePoint, CurveArithmetic, FieldBytesSize, ProjectivePoint, PublicKey, SecretKey,
};
use bp384::BrainpoolP384r1;
use p192::NistP192;
use p224::NistP224;
use zeroize::Zeroize as _;

use super::ecdh::{DRAWS_MAX, UNCOMPRESSED};
use crate::{Rng, Secret};

/// A curve.
#[derive(Clone, Copy)]
pub(super) enum Curve {
    P192,
    P224,
    Brainpool256,
    Brainpool384,
}

/// A private scalar in octets, known to be one of the curve's.
pub(super) struct PrivateKey(Secret);

impl Curve {
    /// Draws a private key.
    ///
    /// # Panics
    ///
    /// If `rng` gives nothing but scalars outside the group.
    pub(super) fn generate(self, rng: &mut dyn Rng) -> PrivateKey {
        match self {
            Self::P192 => generate::<NistP192>(24, rng),
            Self::P224 => generate::<NistP224>(28, rng),
            Self::Brainpool256 => generate::<BrainpoolP256r1>(32, rng),
            Self::Brainpool384 => generate::<BrainpoolP384r1>(48, rng),
        }
    }

    /// The public value: the coordinates x and y (RFC 5903 §7, RFC 6954 §2).
    pub(super) fn public(self, key: &PrivateKey) -> Vec<u8> {
        match self {
            Self::P192 => public::<NistP192>(key),
            Self::P224 => public::<NistP224>(key),
            Self::Brainpool256 => public::<BrainpoolP256r1>(key),
            Self::Brainpool384 => public::<BrainpoolP384r1>(key),
        }
    }

    /// The shared secret, the coordinate x, or `None` if the peer's value is refused.
    pub(super) fn agree(self, key: &PrivateKey, peer_public: &[u8]) -> Option<Secret> {
        match self {
            Self::P192 => agree::<NistP192>(key, peer_public),
            Self::P224 => agree::<NistP224>(key, peer_public),
            Self::Brainpool256 => agree::<BrainpoolP256r1>(key, peer_public),
            Self::Brainpool384 => agree::<BrainpoolP384r1>(key, peer_public),
        }
    }
}

/// Brainpool's orders are two thirds and half of what their octets can hold, so a draw may fail.
fn generate<C: CurveArithmetic>(octets: usize, rng: &mut dyn Rng) -> PrivateKey {
    let mut draw = || {
        let scalar = Secret::random(octets, rng);
        SecretKey::<C>::from_slice(scalar.as_bytes()).ok().map(|_| PrivateKey(scalar))
    };
    (0..DRAWS_MAX).find_map(|_| draw()).expect("random octets are a scalar of the group")
}

fn public<C>(key: &PrivateKey) -> Vec<u8>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
{
    let point = secret::<C>(key).public_key().to_sec1_point(false);
    let octets = point.as_bytes();
    octets.strip_prefix(&[UNCOMPRESSED]).unwrap_or(octets).to_vec()
}

fn agree<C>(key: &PrivateKey, peer_public: &[u8]) -> Option<Secret>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C> + AffineCoordinates,
{
    let encoded = [&[UNCOMPRESSED], peer_public].concat();
    let peer = PublicKey::<C>::from_sec1_bytes(&encoded).ok()?;
    // `SecretKey` erases itself; the types that compute are mere numbers, which nobody does it for.
    let mut scalar = secret::<C>(key).to_nonzero_scalar();
    let mut projective: ProjectivePoint<C> = peer.to_projective() * *scalar;
    let mut affine: AffinePoint<C> = projective.into();
    let mut x = affine.x();
    let octets: &mut [u8] = x.as_mut();
    let shared = Secret::from_slice(octets);
    octets.zeroize();
    affine.zeroize();
    projective.zeroize();
    scalar.zeroize();
    Some(shared)
}

fn secret<C: CurveArithmetic>(key: &PrivateKey) -> SecretKey<C> {
    SecretKey::from_slice(key.0.as_bytes()).expect("it was one when it was drawn")
}
