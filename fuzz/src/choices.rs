//! An input as a list of choices.

/// Reads choices from the front of an input; where it ends, every choice is zero.
///
/// Each choice takes the octets it needs and no more, so that a change of one octet changes one
/// choice, and inputs can be written by hand.
#[derive(Clone, Copy, Debug)]
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    /// Whether every further choice is zero.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// One octet.
    pub fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// Two octets.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// Four octets.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// So many octets.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        let given = self.octets(N);
        octets[..given.len()].copy_from_slice(given);
        octets
    }

    /// A number below `count`, which is at least 1 and at most 256.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.u8()) % count
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of several values.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// So many octets, or what is left if that is less.
    pub fn octets(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Octets behind their length in one octet.
    pub fn short(&mut self) -> &'a [u8] {
        let len = self.u8();
        self.octets(len.into())
    }

    /// Octets behind their length in two octets.
    pub fn long(&mut self) -> &'a [u8] {
        let len = self.u16();
        self.octets(len.into())
    }
}
