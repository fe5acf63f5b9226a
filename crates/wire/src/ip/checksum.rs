//! Internet checksum, RFC 1071.

/// One's complement of the one's complement sum of `octets`, an odd last one padded with zero.
///
/// Over a header whose checksum field is right the result is zero.
#[must_use]
pub fn checksum(octets: &[u8]) -> u16 {
    let (pairs, odd) = octets.as_chunks::<2>();
    let mut sum = Sum(0);
    for pair in pairs {
        sum.add(u16::from_be_bytes(*pair));
    }
    if let [last] = odd {
        sum.add(u16::from_be_bytes([*last, 0]));
    }
    !sum.0
}

/// The checksum after one 16-bit word under it has changed (RFC 1624, equation 3).
#[must_use]
pub fn checksum_after_change(before: u16, old_word: u16, new_word: u16) -> u16 {
    let mut sum = Sum(!before);
    sum.add(!old_word);
    sum.add(new_word);
    !sum.0
}

/// A one's complement sum: a carry out of the top comes in again at the bottom.
struct Sum(u16);

impl Sum {
    fn add(&mut self, word: u16) {
        let (sum, carry) = self.0.overflowing_add(word);
        self.0 = sum.wrapping_add(carry.into());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of RFC 1071 §3.
    #[test]
    fn rfc_1071_example() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    /// The example of RFC 1624 §4.
    #[test]
    fn rfc_1624_example() {
        assert_eq!(checksum_after_change(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn an_odd_octet_is_padded_with_zero() {
        assert_eq!(checksum(&[1, 2, 3]), checksum(&[1, 2, 3, 0]));
        assert_eq!(checksum(&[]), 0xffff);
    }

    proptest! {
        /// Updating a checksum gives the one computed anew.
        #[test]
        fn an_updated_checksum_equals_a_new_one(mut octets: [u8; 20], word: [u8; 2]) {
            octets[0] = 0x45;
            let before = checksum(&octets);
            let old = u16::from_be_bytes([octets[6], octets[7]]);
            octets[6..8].copy_from_slice(&word);

            let updated = checksum_after_change(before, old, u16::from_be_bytes(word));
            prop_assert_eq!(updated, checksum(&octets));
        }
    }
}
