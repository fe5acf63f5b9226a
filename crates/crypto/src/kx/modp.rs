//! MODP groups: RFC 3526 §3 (group 14) and §4 (group 15).
//!
//! The generator is 2 and the primes are safe, so the checks of RFC 6989 §2.1 suffice:
//! `1 < y < p - 1`. Exponentiation is constant time in the exponent.

use std::sync::LazyLock;

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd, Resize};
use zeroize::Zeroize;

use crate::{Rng, Secret};

/// One group with what Montgomery multiplication wants to know about its prime.
pub(super) struct Group {
    params: BoxedMontyParams,
    /// Largest public value that is accepted: `p - 2`.
    public_max: BoxedUint,
    /// Bits of a private exponent: the higher estimate of RFC 3526 §8, in whole words.
    exponent_bits: u32,
}

/// A private exponent, erased when dropped.
pub(super) struct Exponent(BoxedUint);

impl Drop for Exponent {
    fn drop(&mut self) {
        self.0.as_mut_words().zeroize();
    }
}

/// The 2048-bit group.
pub(super) fn group_14() -> &'static Group {
    static GROUP: LazyLock<Group> = LazyLock::new(|| Group::new(PRIME_14, 2048, 320));
    &GROUP
}

/// The 3072-bit group.
pub(super) fn group_15() -> &'static Group {
    static GROUP: LazyLock<Group> = LazyLock::new(|| Group::new(PRIME_15, 3072, 448));
    &GROUP
}

impl Group {
    fn new(prime: &str, bits: u32, exponent_bits: u32) -> Self {
        let prime = BoxedUint::from_be_hex(prime, bits).expect("the prime is in hexadecimal");
        let public_max = prime.wrapping_sub(BoxedUint::from(2_u8));
        let prime = Odd::new(prime).expect("the prime is odd");
        Self { params: BoxedMontyParams::new_vartime(prime), public_max, exponent_bits }
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
        self.power(self.number(2), exponent)
    }

    /// The shared secret, padded to the length of the prime (RFC 7296 §2.14), or `None` if the
    /// peer's value is refused.
    pub(super) fn agree(&self, exponent: &Exponent, peer_public: &[u8]) -> Option<Secret> {
        let peer_public =
            BoxedUint::from_be_slice(peer_public, self.params.bits_precision()).ok()?;
        //= https://www.rfc-editor.org/rfc/rfc6989#section-2.1
        //# Each recipient MUST verify that the peer's public value r is in the
        //# legal range (1 < r < p-1).
        if peer_public < self.number(2) || peer_public > self.public_max {
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

    fn number(&self, value: u8) -> BoxedUint {
        BoxedUint::from(value).resize(self.params.bits_precision())
    }

    fn exponent_octets(&self) -> usize {
        self.exponent_bits.div_ceil(8) as usize
    }
}

/// RFC 3526 §3: 2^2048 - 2^1984 - 1 + 2^64 * ( [2^1918 pi] + 124476 ).
pub(super) const PRIME_14: &str = "\
    FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
    020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
    4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
    EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
    98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
    9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
    E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
    3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF";

/// RFC 3526 §4: 2^3072 - 2^3008 - 1 + 2^64 * ( [2^2942 pi] + 1690314 ).
pub(super) const PRIME_15: &str = "\
    FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
    020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
    4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
    EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
    98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
    9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
    E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
    3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33\
    A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
    ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864\
    D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2\
    08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF";
#[cfg(test)]
mod tests {
    use crypto_bigint::{Limb, NonZero};

    use super::*;

    const PRECISION_BITS: u32 = 3_200;
    /// Bits that absorb what the divisions cut off.
    const GUARD_BITS: u32 = 64;

    /// RFC 3526: `2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + c)`; nothing up anybody's sleeve.
    #[test]
    fn primes_are_those_of_the_formula() {
        for (prime, bits, c) in [(PRIME_14, 2_048, 124_476_u32), (PRIME_15, 3_072, 1_690_314)] {
            let middle = pi(bits - 130).wrapping_add(BoxedUint::from(c));
            let formula = power_of_two(bits)
                .wrapping_sub(power_of_two(bits - 64))
                .wrapping_sub(BoxedUint::one())
                .wrapping_add(middle.shl(64));
            let prime = BoxedUint::from_be_hex(prime, bits).unwrap();
            assert_eq!(prime.resize(PRECISION_BITS), formula);
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
