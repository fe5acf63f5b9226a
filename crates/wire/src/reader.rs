//! Takes numbers and octet strings from the front of a slice, in network order.

use crate::WireError;

/// The octets not yet read.
///
/// Every method takes from the front or, on [`WireError::Truncated`], leaves all as it was.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// Takes one octet.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[octet]| octet)
    }

    /// Takes two octets.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Takes four octets.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes eight octets.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Takes exactly `N` octets.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, tail) =
            self.0.split_first_chunk::<N>().ok_or(WireError::Truncated(WireError::UNNAMED))?;
        self.0 = tail;
        Ok(*head)
    }

    /// Takes exactly `len` octets.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) =
            self.0.split_at_checked(len).ok_or(WireError::Truncated(WireError::UNNAMED))?;
        self.0 = tail;
        Ok(head)
    }

    /// Takes a part of `len` octets, to be read on its own.
    pub fn part(&mut self, len: usize) -> Result<Self, WireError> {
        self.bytes(len).map(Self)
    }

    /// Takes everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    /// Octets left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the reading of the structure `name`.
    ///
    /// # Errors
    ///
    /// [`WireError::Trailing`] if octets are left.
    pub fn finish(&self, name: &'static str) -> Result<(), WireError> {
        if self.is_empty() { Ok(()) } else { Err(WireError::Trailing(name)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_in_network_order() {
        let mut r = Reader(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

        assert_eq!(r.u8(), Ok(0x01));
        assert_eq!(r.u16(), Ok(0x0203));
        assert_eq!(r.u32(), Ok(0x0405_0607));
        assert_eq!(r.u64(), Ok(0x0809_0a0b_0c0d_0e0f));
        assert_eq!(r.finish("Thing"), Err(WireError::Trailing("Thing")));
        assert_eq!(r.rest(), [16]);
        assert_eq!(r.finish("Thing"), Ok(()));
    }

    #[test]
    fn a_failed_read_takes_nothing() {
        let mut r = Reader(&[1, 2, 3]);

        assert_eq!(r.u32(), Err(WireError::Truncated("input")));
        assert_eq!(r.bytes(usize::MAX), Err(WireError::Truncated("input")));
        assert_eq!(r.part(4), Err(WireError::Truncated("input")));
        assert_eq!(r.array(), Ok([1, 2, 3]));
    }
}
