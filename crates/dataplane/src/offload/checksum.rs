//! The one's complement sum of the Internet checksum (RFC 1071), many octets at a time.
//!
//! Sums are 16 bits in the order of the network: the checksum of octets is the complement of their
//! sum, and octets that include a right checksum sum up to 0xffff.

/// Sum of `octets`, an odd last one padded with zero; zero for none.
#[must_use]
#[inline]
pub fn sum(octets: &[u8]) -> u16 {
    let (blocks, rest) = octets.as_chunks();
    // The compiler makes vectors of any machine out of a loop as plain as this one: each word is
    // added whole, and its high half once more by itself.
    let mut whole = 0_u64;
    let mut high = 0_u64;
    for block in blocks {
        let word = u64::from_ne_bytes(*block);
        whole = whole.wrapping_add(word);
        high = high.wrapping_add(word >> 32);
    }
    // The whole words are the low halves and 2^32 times the high ones, modulo 2^64: which the sum of
    // the low halves does not reach before 2^32 words, so this is that sum.
    let low = whole.wrapping_sub(high << 32);
    fold(low.wrapping_add(high).wrapping_add(short_sum(rest)))
}

/// Copies `from` to the front of `to` and sums it up while it is at hand; `None`, with nothing
/// copied, if `to` is shorter.
#[must_use]
#[inline]
pub fn copy_and_sum(to: &mut [u8], from: &[u8]) -> Option<u16> {
    to.get_mut(..from.len())?.copy_from_slice(from);
    Some(sum(from))
}

/// The sum of what two sums are of, the first of them an even number of octets.
#[must_use]
pub const fn add(one: u16, other: u16) -> u16 {
    let (sum, carry) = one.overflowing_add(other);
    // A carry out of the top comes in again at the bottom, where it cannot carry once more.
    sum.wrapping_add(carry as u16)
}

/// Sum of fewer octets than a word has, in the order of the host: one's complement sums do not mind
/// the order (RFC 1071 §2 B), nor how wide their words are.
#[inline]
fn short_sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks();
    let words = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word)));
    let (pairs, last) = rest.as_chunks();
    let pairs = pairs.iter().map(|pair| u64::from(u16::from_ne_bytes(*pair)));
    let last = last.iter().map(|octet| u64::from(u16::from_ne_bytes([*octet, 0])));
    words.chain(pairs).chain(last).fold(0, u64::wrapping_add)
}

/// The sum, in the order of the network, of the words of a sum in that of the host.
#[inline]
fn fold(sum: u64) -> u16 {
    let octets = sum.to_ne_bytes();
    let (words, _) = octets.as_chunks::<2>();
    words.iter().fold(0, |sum, word| add(sum, u16::from_be_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use adit_wire::ip::checksum;
    use proptest::prelude::*;

    use super::*;

    /// Two sums are equal if they are the same number: 0xffff is another zero.
    fn same(one: u16, other: u16) -> bool {
        one % 0xffff == other % 0xffff
    }

    #[test]
    fn nothing_sums_up_to_zero() {
        assert_eq!(sum(&[]), 0);
        assert_eq!(copy_and_sum(&mut [], &[]), Some(0));
    }

    /// The example of RFC 1071 §3.
    #[test]
    fn rfc_1071_example() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    /// The largest packet of the largest words does not overflow.
    #[test]
    fn all_ones_are_all_ones() {
        for len in [2, 6, 8, 14, 30, 32, 34, 64, 1_390, 65_534] {
            assert_eq!(sum(&vec![0xff; len]), 0xffff, "{len}");
        }
    }

    #[test]
    fn what_has_no_room_is_not_copied() {
        let mut short = [7; 39];
        assert_eq!(copy_and_sum(&mut short, &[1; 40]), None);
        assert_eq!(short, [7; 39]);
    }

    proptest! {
        /// Any octets have the sum that adding them word by word has.
        #[test]
        fn the_sum_is_that_of_the_words(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(same(sum(&octets), !checksum(&octets)));
            let mut copy = vec![0; octets.len() + 3];
            prop_assert_eq!(copy_and_sum(&mut copy, &octets), Some(sum(&octets)));
            prop_assert_eq!(&copy[..octets.len()], &octets[..]);
            prop_assert_eq!(&copy[octets.len()..], [0; 3]);
        }

        /// What is cut at an even place has the sum of its parts.
        #[test]
        fn parts_add_up(octets in proptest::collection::vec(any::<u8>(), 0..300), at: u8) {
            let at = (usize::from(at) & !1).min(octets.len() & !1);
            let (front, back) = octets.split_at(at);
            prop_assert!(same(add(sum(front), sum(back)), sum(&octets)));
        }
    }
}
