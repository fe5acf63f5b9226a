//! What a suite does to the length of a packet, looked up once with the key.

use super::Cipher;

/// Lengths of a [`Cipher`] in octets, small enough to lie beside its key: a packet asks for them
/// several times, and which suite it is only once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    iv_len: u8,
    icv_len: u8,
    block_len: u8,
    text_multiple: u8,
    is_aead: bool,
    is_iv_implicit: bool,
}

impl Shape {
    /// The lengths of a suite.
    #[expect(clippy::cast_possible_truncation, reason = "a test measures all suites")]
    pub const fn of(cipher: Cipher) -> Self {
        Self {
            iv_len: cipher.iv_len() as u8,
            icv_len: cipher.icv_len() as u8,
            block_len: cipher.block_len() as u8,
            text_multiple: cipher.text_multiple() as u8,
            is_aead: cipher.is_aead(),
            is_iv_implicit: cipher.is_iv_implicit(),
        }
    }

    /// [`Cipher::iv_len`].
    #[inline]
    pub const fn iv_len(self) -> usize {
        self.iv_len as usize
    }

    /// [`Cipher::icv_len`].
    #[inline]
    pub const fn icv_len(self) -> usize {
        self.icv_len as usize
    }

    /// [`Cipher::block_len`]: 4, 8 or 16.
    #[inline]
    pub const fn block_len(self) -> usize {
        self.block_len as usize
    }

    /// [`Cipher::text_multiple`]: 1, 8 or 16.
    #[inline]
    pub const fn text_multiple(self) -> usize {
        self.text_multiple as usize
    }

    /// [`Cipher::is_aead`].
    #[inline]
    pub const fn is_aead(self) -> bool {
        self.is_aead
    }

    /// [`Cipher::is_iv_implicit`].
    #[inline]
    pub const fn is_iv_implicit(self) -> bool {
        self.is_iv_implicit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks are powers of two, so that what is missing to a whole one is a matter of bits.
    #[test]
    fn a_shape_says_what_its_suite_says() {
        for cipher in Cipher::ALL {
            let shape = Shape::of(cipher);
            assert_eq!(shape.iv_len(), cipher.iv_len());
            assert_eq!(shape.icv_len(), cipher.icv_len());
            assert_eq!(shape.block_len(), cipher.block_len());
            assert_eq!(shape.text_multiple(), cipher.text_multiple());
            assert_eq!(shape.is_aead(), cipher.is_aead());
            assert_eq!(shape.is_iv_implicit(), cipher.is_iv_implicit());
            assert!(shape.block_len().is_power_of_two(), "{cipher}");
            assert!(shape.text_multiple().is_power_of_two(), "{cipher}");
        }
    }
}
