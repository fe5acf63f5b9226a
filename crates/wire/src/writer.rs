//! Appends numbers and octet strings to a vector, in network order.

use alloc::vec::Vec;

/// Appends to the vector it borrows.
#[derive(Debug)]
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    /// Appends one octet.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Appends two octets.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends four octets.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends eight octets.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends `octets` as they are.
    pub fn bytes(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    /// Appends `len` zero octets.
    pub fn zeros(&mut self, len: usize) {
        self.0.resize(self.0.len().saturating_add(len), 0);
    }

    /// Where the next octet will stand, counted from the start of the vector.
    #[must_use]
    pub fn position(&self) -> usize {
        self.0.len()
    }

    /// Writes two octets over those at `at`; nothing happens unless all of them were written
    /// before.
    pub fn patch_u16(&mut self, at: usize, value: u16) {
        self.patch(at, value.to_be_bytes());
    }

    /// Writes four octets over those at `at`; nothing happens unless all of them were written
    /// before.
    pub fn patch_u32(&mut self, at: usize, value: u32) {
        self.patch(at, value.to_be_bytes());
    }

    fn patch<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        let place = self.0.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
        debug_assert!(place.is_some(), "patch of {N} octets at {at}, past the end");
        if let Some(place) = place {
            *place = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn numbers_are_appended_in_network_order_and_patched_in_place() {
        let mut octets = vec![0xff];
        let mut w = Writer(&mut octets);

        w.u8(1);
        let length_at = w.position();
        w.u16(0);
        w.u32(0);
        w.u64(0x0102_0304_0506_0708);
        w.zeros(2);
        w.patch_u16(length_at, 0x0203);
        w.patch_u32(length_at + 2, 0x0405_0607);

        assert_eq!(octets, [0xff, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
    }
}
