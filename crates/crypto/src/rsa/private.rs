//! The private operation of RSA (RFC 8017 §5.1.2), by the Chinese remainder theorem. The base is blinded, and
//! the exponentiation takes the same time for every exponent and base.

use std::sync::{Mutex, PoisonError};

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, ConcatenatingMul as _, NonZero, Odd, Resize as _};
use zeroize::Zeroize;

use super::{EncryptingKey, number, octets, rejection, wipe};
use crate::{Prf, Secret};

/// The numbers of a private key, with what can be computed beforehand.
pub(super) struct PrivateKey {
    public: EncryptingKey,
    p: Prime,
    q: Prime,
    /// `q^-1` modulo `p`.
    coefficient: BoxedMontyForm,
    blinding: Mutex<Blinding>,
}

/// One prime, and the exponent that belongs to it.
struct Prime {
    params: BoxedMontyParams,
    exponent: BoxedUint,
}

impl PrivateKey {
    /// Of the primes, the exponents that belong to them and `q^-1 mod p` (RFC 8017 A.1.2). Of `secret` the
    /// blinding comes.
    pub(super) fn new(
        public: EncryptingKey,
        [p, q]: [&[u8]; 2],
        [dp, dq]: [&[u8]; 2],
        coefficient: &[u8],
        secret: &Secret,
    ) -> Option<Self> {
        // Both primes have room for as many octets: a number modulo one is one modulo the other.
        let half = p.len().max(q.len());
        let (p, q) = (Prime::new(p, dp, half)?, Prime::new(q, dq, half)?);
        let coefficient = BoxedMontyForm::new(number(coefficient, half)?, &p.params);
        let blinding = Mutex::new(Blinding::new(&public, secret));
        Some(Self { public, p, q, coefficient, blinding })
    }

    /// The public half.
    pub(super) fn public(&self) -> &EncryptingKey {
        &self.public
    }

    /// `base^d mod n` in as many octets as the modulus has. `base` is below the modulus.
    pub(super) fn power(&self, base: BoxedUint) -> Secret {
        let public = &self.public;
        let Blind { mut factor, mut inverse } = self.next_blind();
        let blinded = public.form(base).mul(&factor).retrieve();
        let mut modulo_p = self.p.power(&blinded);
        let mut modulo_q = self.q.power(&blinded);
        // Garner: m = m_q + q * ((m_p - m_q) * q^-1 mod p).
        let mut remainder = modulo_q.retrieve();
        let mut difference = modulo_p.sub(&self.p.form(&remainder));
        let mut multiple = difference.mul(&self.coefficient).retrieve();
        let precision = public.modulus.bits_precision();
        let q = self.q.params.modulus().as_ref();
        let mut whole = multiple
            .concatenating_mul(q)
            .resize_unchecked(precision)
            .wrapping_add(remainder.clone().resize_unchecked(precision));
        let mut power = public.form(whole.clone()).mul(&inverse);
        let encoded = octets(&power.retrieve(), public.octets);
        [&mut factor, &mut inverse, &mut modulo_p, &mut modulo_q, &mut difference, &mut power]
            .into_iter()
            .for_each(wipe);
        [&mut remainder, &mut multiple, &mut whole]
            .into_iter()
            .for_each(|number| number.as_mut_words().zeroize());
        encoded
    }

    fn next_blind(&self) -> Blind {
        // Whoever has panicked there has left two numbers that are still right, or will be drawn again.
        self.blinding.lock().unwrap_or_else(PoisonError::into_inner).next(&self.public)
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        wipe(&mut self.coefficient);
    }
}

impl Prime {
    fn new(prime: &[u8], exponent: &[u8], len: usize) -> Option<Self> {
        let params = BoxedMontyParams::new(Odd::new(number(prime, len)?).into_option()?);
        Some(Self { params, exponent: number(exponent, len)? })
    }

    /// Any number modulo the prime.
    fn form(&self, number: &BoxedUint) -> BoxedMontyForm {
        let prime: NonZero<BoxedUint> = self.params.modulus().as_nz_ref().clone();
        BoxedMontyForm::new(number.rem(&prime), &self.params)
    }

    fn power(&self, base: &BoxedUint) -> BoxedMontyForm {
        self.form(base).pow(&self.exponent)
    }
}

impl Drop for Prime {
    fn drop(&mut self) {
        self.exponent.as_mut_words().zeroize();
    }
}

/// `r^e` and `r^-1` for a number that only this key knows.
struct Blind {
    factor: BoxedMontyForm,
    inverse: BoxedMontyForm,
}

/// Where blinds come from: the squares of one are another, so that an inversion, which costs a quarter of
/// the operation, is not needed each time.
struct Blinding {
    secret: Secret,
    current: Blind,
    /// How often it was drawn anew.
    drawn: u64,
    /// How often the current one may still be squared.
    left: u32,
}

impl Blinding {
    fn new(public: &EncryptingKey, secret: &Secret) -> Self {
        let secret = Prf::HmacSha2_256.compute(secret.as_bytes(), &[b"blinding"]);
        let one = BoxedMontyForm::one(&public.modulus);
        let current = Blind { factor: one.clone(), inverse: one };
        Self { secret, current, drawn: 0, left: 0 }
    }

    fn next(&mut self, public: &EncryptingKey) -> Blind {
        if self.left == 0 {
            self.draw(public);
            self.left = SQUARES_MAX;
        } else {
            self.left -= 1;
            let Blind { factor, inverse } = &mut self.current;
            (*factor, *inverse) = (factor.square(), inverse.square());
        }
        let Blind { factor, inverse } = &self.current;
        Blind { factor: factor.clone(), inverse: inverse.clone() }
    }

    fn draw(&mut self, public: &EncryptingKey) {
        self.drawn = self.drawn.wrapping_add(1);
        let key = Prf::HmacSha2_256.compute(self.secret.as_bytes(), &[&self.drawn.to_be_bytes()]);
        // Below the modulus, whose first octet is not zero.
        let drawn = rejection::octets(&key, b"blinding", public.octets.saturating_sub(1));
        let Some(number) = number(drawn.as_bytes(), public.octets) else { return };
        let mut base = public.form(number);
        // A number without an inverse has a factor with the modulus: nobody will ever draw one.
        if let Some(inverse) = base.invert().into_option() {
            self.current = Blind { factor: public.power(&base), inverse };
        }
        wipe(&mut base);
    }
}

impl Drop for Blinding {
    fn drop(&mut self) {
        wipe(&mut self.current.factor);
        wipe(&mut self.current.inverse);
    }
}

/// After so many squares a blind is drawn anew.
const SQUARES_MAX: u32 = 31;
