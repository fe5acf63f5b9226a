//! Asking the processor for memory before it is read.

use core::fmt;
use core::mem::size_of_val;

/// A key as the library keeps it: whatever costs memory lies behind a pointer that no safe code can
/// follow.
pub type LibraryKey = aws_lc_rs::aead::LessSafeKey;

/// How much of a key is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extent {
    /// One line of it: finding its page takes as long as all the rest, and several pages are found at once
    /// if nothing else is asked for between them.
    Page,
    /// All of it.
    Whole,
}

/// How to tell the processor of memory that is going to be read, so that what is far away is here when
/// it is needed. It changes nothing but time.
///
/// No safe code can say so, hence a program hands it to who has use for it (`adit_sys::PREFETCH`).
#[derive(Clone, Copy)]
pub struct Prefetch {
    memory: fn(*const u8, usize),
    key: fn(&LibraryKey, Extent),
}

impl Prefetch {
    /// Tells nobody: everything is read when it is needed.
    pub const NONE: Self = Self { memory: |_, _| {}, key: |_, _| {} };

    /// `memory` takes an address, which may be any, and a number of octets; `key` tells of what a key
    /// points to.
    pub const fn new(memory: fn(*const u8, usize), key: fn(&LibraryKey, Extent)) -> Self {
        Self { memory, key }
    }

    /// Tells of a value, without what it points to.
    #[inline]
    pub fn value<T: ?Sized>(self, value: &T) {
        (self.memory)(core::ptr::from_ref(value).cast(), size_of_val(value));
    }

    /// Tells of what a key points to.
    #[inline]
    pub(crate) fn key(self, key: &LibraryKey, extent: Extent) {
        (self.key)(key, extent);
    }
}

impl fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    static OCTETS: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn a_value_is_told_of_in_whole() {
        let prefetch =
            Prefetch::new(|_, octets| OCTETS.store(octets, Ordering::Relaxed), |_, _| {});
        prefetch.value(&[0_u64; 3]);
        assert_eq!(OCTETS.load(Ordering::Relaxed), 24);
        prefetch.value(&[0_u8; 7][..]);
        assert_eq!(OCTETS.load(Ordering::Relaxed), 7);
        Prefetch::NONE.value(&0);
    }
}
