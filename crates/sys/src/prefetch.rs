//! Telling the processor of memory that is going to be read.

#![expect(
    unsafe_code,
    reason = "a prefetch takes a raw pointer, and so does the only way to a key"
)]

use adit_crypto::{Extent, LibraryKey, Prefetch};

/// What the processor of this machine can be told; on others than x86-64 nothing.
pub const PREFETCH: Prefetch =
    if cfg!(target_arch = "x86_64") { Prefetch::new(memory, library_key) } else { Prefetch::NONE };

/// Octets of a cache line.
const LINE: usize = 64;

/// Octets of the library's AES-GCM key with its tables, `EVP_AEAD_CTX`, and of no key more.
const KEY_OCTETS: usize = 592;

/// Nothing lies below this address: what is less is no pointer.
const FIRST_ADDRESS: usize = 1 << 16;

/// Tells of so many octets from an address on.
fn memory(start: *const u8, octets: usize) {
    let before = start.addr() % LINE;
    let first = start.wrapping_sub(before);
    for offset in (0..before.saturating_add(octets)).step_by(LINE) {
        line(first.wrapping_add(offset));
    }
}

/// Tells of what the pointers in a key lead to. Which of its words is the one to the expanded key is
/// the library's secret; another leads to the description of the algorithm, which is always at hand.
fn library_key(key: &LibraryKey, extent: Extent) {
    let octets = match extent {
        Extent::Page => 1,
        Extent::Whole => KEY_OCTETS,
    };
    for number in 0..KEY_WORDS {
        let address = word_of(key, number);
        if address >= FIRST_ADDRESS {
            memory(std::ptr::without_provenance(address), octets);
        }
    }
}

/// Words of a key.
const KEY_WORDS: usize = size_of::<LibraryKey>() / size_of::<usize>();

/// A word of a key, whatever it is.
#[cfg(target_arch = "x86_64")]
#[inline]
fn word_of(key: &LibraryKey, number: usize) -> usize {
    let place = std::ptr::from_ref(key).cast::<usize>().wrapping_add(number % KEY_WORDS);
    let word: usize;
    // SAFETY: the word lies in the key, which is borrowed, and is only read. A load of Rust's would have
    // to know that it is none that the compiler has left without a value; the processor knows no such.
    unsafe {
        std::arch::asm!(
            "mov {word}, qword ptr [{place}]",
            word = out(reg) word,
            place = in(reg) place,
            options(nostack, preserves_flags, readonly, pure),
        );
    }
    word
}

#[cfg(not(target_arch = "x86_64"))]
fn word_of(_: &LibraryKey, _: usize) -> usize {
    0
}

/// Tells of the line at an address.
#[cfg(target_arch = "x86_64")]
#[inline]
fn line(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: every x86-64 has SSE, and a prefetch reads nothing: no address is wrong.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
fn line(_: *const u8) {}

#[cfg(test)]
mod tests {
    use adit_crypto::{Cipher, OpenKey, SealKey, Secret};

    use super::*;

    /// Everything can be told of, also what is not there.
    #[test]
    fn no_address_is_wrong() {
        memory(std::ptr::null(), usize::from(u16::MAX));
        memory(std::ptr::without_provenance(usize::MAX), 0);
        PREFETCH.value(&[0_u8; 100]);
        PREFETCH.value::<[u8]>(&[]);
    }

    #[test]
    fn keys_of_all_suites_can_be_told_of() {
        for cipher in Cipher::ALL {
            let encryption = Secret::new(vec![7; cipher.encryption_key_len()]);
            let integrity = Secret::new(vec![9; cipher.integrity_key_len()]);
            SealKey::new(cipher, &encryption, &integrity)
                .unwrap()
                .prefetch(PREFETCH, Extent::Whole);
            OpenKey::new(cipher, &encryption, &integrity)
                .unwrap()
                .prefetch(PREFETCH, Extent::Whole);
        }
    }

    /// Keys are told apart by what one of their words leads to, and that is memory.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn an_expanded_key_is_behind_a_pointer() {
        use aws_lc_rs::aead::{AES_128_GCM, UnboundKey};
        let key = || LibraryKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap());
        let (one, other) = (key(), key());
        let words = |key: &LibraryKey| (0..KEY_WORDS).map(|number| word_of(key, number)).collect();
        let (one, other): (Vec<usize>, Vec<usize>) = (words(&one), words(&other));
        let differ = one.iter().zip(&other).filter(|(one, other)| one != other);
        let leads: Vec<usize> = differ.map(|(address, _)| *address).collect();
        assert_eq!(leads.len(), 1, "{one:x?} {other:x?}");
        assert!(leads.iter().all(|address| *address >= FIRST_ADDRESS));
    }
}
