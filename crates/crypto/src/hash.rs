//! Plain hashes. Only NAT detection needs one (RFC 7296 §2.23).

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// SHA-1 over the concatenation of `parts`, as the NAT_DETECTION notifies carry it.
///
/// RFC 7296 §2.23 fixes SHA-1 there; nothing secret and no signature depends on it.
pub fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-1 gives 20 octets")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4, example "abc".
    #[test]
    fn sha1_of_abc_in_any_cut() {
        let expected = [
            0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e, 0x25, 0x71, 0x78, 0x50,
            0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d,
        ];
        assert_eq!(sha1(&[b"abc"]), expected);
        assert_eq!(sha1(&[b"a", b"", b"bc"]), expected);
    }
}
