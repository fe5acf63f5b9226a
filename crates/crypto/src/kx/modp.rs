//! MODP groups: RFC 2409 (groups 1 and 2), RFC 3526 (5, 14 to 18), RFC 5114 (22 to 24).
//!
//! The generator of the former is 2 and their primes are safe, so the checks of RFC 6989 §2.1 suffice:
//! `1 < y < p - 1`. The latter work in a small subgroup, which RFC 6989 §2.2 has checked as well.
//! Exponentiation is constant time in the exponent.

pub(super) mod numbers;

use std::sync::LazyLock;

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd, Resize};
use zeroize::Zeroize;

use self::numbers::*;
use crate::{Rng, Secret};

/// One group with what Montgomery multiplication wants to know about its prime.
pub(super) struct Group {
    params: BoxedMontyParams,
    /// Largest public value that is accepted: `p - 2`.
    public_max: BoxedUint,
    generator: BoxedUint,
    /// The order of the subgroup that public values belong to, where it is a small one.
    order: Option<BoxedUint>,
    /// Bits of a private exponent, in whole words: the higher estimate of RFC 3526 §8, or those of the
    /// subgroup's order.
    exponent_bits: u32,
}

/// A private exponent, erased when dropped.
pub(super) struct Exponent(BoxedUint);

impl Drop for Exponent {
    fn drop(&mut self) {
        self.0.as_mut_words().zeroize();
    }
}

macro_rules! groups {
    ($($name:ident => $group:expr;)*) => {$(
        pub(super) fn $name() -> &'static Group {
            static GROUP: LazyLock<Group> = LazyLock::new(|| $group);
            &GROUP
        }
    )*};
}

// By their numbers.
groups! {
    group_1 => Group::safe(PRIME_1, 768, 256);
    group_2 => Group::safe(PRIME_2, 1024, 256);
    group_5 => Group::safe(PRIME_5, 1536, 256);
    group_14 => Group::safe(PRIME_14, 2048, 320);
    group_15 => Group::safe(PRIME_15, 3072, 448);
    group_16 => Group::safe(PRIME_16, 4096, 512);
    group_17 => Group::safe(PRIME_17, 6144, 576);
    group_18 => Group::safe(PRIME_18, 8192, 640);
    group_22 => Group::of_order([PRIME_22, GENERATOR_22, ORDER_22], 1024, 192);
    group_23 => Group::of_order([PRIME_23, GENERATOR_23, ORDER_23], 2048, 256);
    group_24 => Group::of_order([PRIME_24, GENERATOR_24, ORDER_24], 2048, 256);
}

impl Group {
    /// A group of a safe prime, with generator 2.
    fn safe(prime: &str, bits: u32, exponent_bits: u32) -> Self {
        let generator = BoxedUint::from(2_u8).resize(bits);
        Self::new(prime, generator, None, bits, exponent_bits)
    }

    /// A subgroup given by prime, generator and order.
    fn of_order([prime, generator, order]: [&str; 3], bits: u32, exponent_bits: u32) -> Self {
        let order = number(order, exponent_bits);
        Self::new(prime, number(generator, bits), Some(order), bits, exponent_bits)
    }

    fn new(
        prime: &str,
        generator: BoxedUint,
        order: Option<BoxedUint>,
        bits: u32,
        exponent_bits: u32,
    ) -> Self {
        let prime = number(prime, bits);
        let public_max = prime.wrapping_sub(BoxedUint::from(2_u8));
        let prime = Odd::new(prime).expect("the prime is odd");
        let params = BoxedMontyParams::new_vartime(prime);
        Self { params, public_max, generator, order, exponent_bits }
    }

    /// Draws a private exponent. Its top bit is set, so it is never a trivial one.
    pub(super) fn generate(&self, rng: &mut dyn Rng) -> Exponent {
        let mut octets = vec![0; self.exponent_octets()];
        rng.fill(&mut octets);
        if let Some(first) = octets.first_mut() {
            *first |= 0x80;
        }
        let exponent = BoxedUint::from_be_slice(&octets, self.exponent_bits)
            .expect("as many octets as bits were drawn");
        octets.zeroize();
        Exponent(exponent)
    }

    /// The public value of `exponent`, padded to the length of the prime (RFC 7296 §3.4).
    pub(super) fn public(&self, exponent: &Exponent) -> Vec<u8> {
        self.power(self.generator.clone(), exponent)
    }

    /// The shared secret, padded to the length of the prime (RFC 7296 §2.14), or `None` if the
    /// peer's value is refused.
    pub(super) fn agree(&self, exponent: &Exponent, peer_public: &[u8]) -> Option<Secret> {
        let peer_public =
            BoxedUint::from_be_slice(peer_public, self.params.bits_precision()).ok()?;
        //= https://www.rfc-editor.org/rfc/rfc6989#section-2.1
        //# Each recipient MUST verify that the peer's public value r is in the
        //# legal range (1 < r < p-1).
        if peer_public < self.small(2) || peer_public > self.public_max {
            return None;
        }
        //= https://www.rfc-editor.org/rfc/rfc6989#section-2.2
        //# Each recipient MUST verify that the peer's public value r is in the
        //# legal range (1 < r < p-1) and that r^q = 1 mod p
        let in_subgroup = |order| {
            let form = BoxedMontyForm::new(peer_public.clone(), &self.params);
            form.pow(order).retrieve() == self.small(1)
        };
        if !self.order.as_ref().is_none_or(in_subgroup) {
            return None;
        }
        Some(Secret::new(self.power(peer_public, exponent)))
    }

    fn power(&self, base: BoxedUint, exponent: &Exponent) -> Vec<u8> {
        let mut power = BoxedMontyForm::new(base, &self.params).pow(&exponent.0);
        let mut number = power.retrieve();
        let octets = number.to_be_bytes().into_vec();
        power.as_montgomery_mut().as_mut_words().zeroize();
        number.as_mut_words().zeroize();
        octets
    }

    fn small(&self, value: u8) -> BoxedUint {
        BoxedUint::from(value).resize(self.params.bits_precision())
    }

    fn exponent_octets(&self) -> usize {
        self.exponent_bits.div_ceil(8) as usize
    }
}

fn number(digits: &str, bits: u32) -> BoxedUint {
    BoxedUint::from_be_hex(digits, bits).expect("hexadecimal digits for so many bits")
}

#[cfg(test)]
mod tests {
    use crypto_bigint::{Limb, NonZero};

    use super::*;

    const PRECISION_BITS: u32 = 8_320;
    /// Bits that absorb what the divisions cut off.
    const GUARD_BITS: u32 = 64;

    /// RFC 3526: `2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + c)`; nothing up anybody's sleeve.
    #[test]
    fn primes_are_those_of_the_formula() {
        let primes = [
            (PRIME_1, 768, 149_686_u32),
            (PRIME_2, 1_024, 129_093),
            (PRIME_5, 1_536, 741_804),
            (PRIME_14, 2_048, 124_476),
            (PRIME_15, 3_072, 1_690_314),
            (PRIME_16, 4_096, 240_904),
            (PRIME_17, 6_144, 929_484),
            (PRIME_18, 8_192, 4_743_158),
        ];
        for (prime, bits, c) in primes {
            let middle = pi(bits - 130).wrapping_add(BoxedUint::from(c));
            let formula = power_of_two(bits)
                .wrapping_sub(power_of_two(bits - 64))
                .wrapping_sub(BoxedUint::one())
                .wrapping_add(middle.shl(64));
            let prime = BoxedUint::from_be_hex(prime, bits).unwrap();
            assert_eq!(prime.resize(PRECISION_BITS), formula);
        }
    }

    /// RFC 5114: the generator has the order that is stated, which divides `p - 1`.
    #[test]
    fn subgroups_have_the_order_that_is_stated() {
        for group in [group_22(), group_23(), group_24()] {
            let order = group.order.clone().unwrap();
            let form = BoxedMontyForm::new(group.generator.clone(), &group.params);
            assert_eq!(form.pow(&order).retrieve(), group.small(1));
            assert_ne!(form.retrieve(), group.small(1));
            let order = NonZero::new(order.resize(group.params.bits_precision())).unwrap();
            let before_prime = group.public_max.wrapping_add(BoxedUint::one());
            assert!(before_prime.rem(&order).is_zero().to_bool());
        }
    }

    /// The integer part of `2^bits * pi` (Machin: pi/4 = 4 arctan 1/5 - arctan 1/239).
    fn pi(bits: u32) -> BoxedUint {
        let one = power_of_two(bits + GUARD_BITS);
        let quarter = arctan_of_inverse(5, &one).shl(2).wrapping_sub(arctan_of_inverse(239, &one));
        quarter.shl(2).shr(GUARD_BITS)
    }

    /// `one * arctan(1/x)` by the series of Gregory.
    fn arctan_of_inverse(x: u64, one: &BoxedUint) -> BoxedUint {
        let mut power = quotient(one, x);
        let mut sum = power.clone();
        for n in 1.. {
            power = quotient(&power, x * x);
            if power.is_zero().to_bool() {
                break;
            }
            let term = quotient(&power, 2 * n + 1);
            sum = if n % 2 == 0 { sum.wrapping_add(term) } else { sum.wrapping_sub(term) };
        }
        sum
    }

    fn quotient(number: &BoxedUint, divisor: u64) -> BoxedUint {
        number.div_rem_limb(NonZero::new(Limb::from(divisor)).unwrap()).0
    }

    fn power_of_two(exponent: u32) -> BoxedUint {
        BoxedUint::one_with_precision(PRECISION_BITS).shl(exponent)
    }
}
