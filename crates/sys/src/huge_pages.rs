//! Large pages under what a process has much of.
//!
//! A processor remembers where some thousand pages are. A gateway with many SAs has them on more pages of
//! 4 KiB than that, spread like its traffic, and then finding the page takes as long as finding what is on it.

#![expect(unsafe_code, reason = "madvise has no safe wrapper for memory that is in use")]

use std::fs;
use std::io;
use std::time::Duration;

use nix::libc;

use crate::clock;

/// Octets of a large page.
const HUGE: usize = 1 << 21;

/// Shorter pieces of memory stay as they are, octets: all pages of a few of these are remembered anyway.
const PIECE_MIN: usize = 16 << 20;

/// Asks the kernel for large pages under what this process has allocated so far, where that is much, and
/// says of how many octets. What is in use is moved, a large page at a time: that takes some tenths of a
/// millisecond, and some milliseconds where the machine is a virtual one whose host has to find the memory.
/// Whoever touches what is being moved waits as long; so `rest` is told after each how long it took, and
/// comes back when the next may be moved. Nothing but time changes, and where the administrator forbids
/// large pages or the kernel has none, nothing at all.
///
/// # Errors
///
/// There is no `/proc`.
pub fn ask(mut rest: impl FnMut(Duration)) -> io::Result<usize> {
    let setting = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if setting.map_or(true, |setting| setting.contains("[never]")) {
        return Ok(0);
    }
    let maps = fs::read_to_string("/proc/self/maps")?;
    let pieces = maps.lines().filter_map(piece).filter_map(|piece| aligned(piece, PIECE_MIN));
    Ok(pieces.map(|(start, octets)| move_piece(start, octets, &mut rest)).sum())
}

/// Moves a piece of memory; says how much that is.
fn move_piece(start: usize, octets: usize, rest: &mut impl FnMut(Duration)) -> usize {
    if !advise(start, octets, libc::MADV_HUGEPAGE) {
        return 0;
    }
    for page in (start..start.saturating_add(octets)).step_by(HUGE) {
        let begun = clock::now();
        // Kernels before 6.1 do not know it, and get to it in their own time.
        if advise(page, HUGE, MADV_COLLAPSE) {
            rest(begun.elapsed());
        }
    }
    octets
}

/// Gives advice about memory of ours; whether it was taken.
fn advise(start: usize, octets: usize, advice: libc::c_int) -> bool {
    let address = std::ptr::without_provenance_mut(start);
    // SAFETY: neither advice changes what the memory holds, whoever uses it, nor what may be done with
    // it; an address that is not mapped any more is an error.
    unsafe { libc::madvise(address, octets, advice) == 0 }
}

/// The first and the last but one address of a line of `/proc/self/maps` if that is memory of the process
/// alone, to be written: what was allocated.
fn piece(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (rights, inode, name) = (words.next()?, words.nth(2)?, words.next());
    let is_allocated = rights == "rw-p" && inode == "0" && matches!(name, None | Some("[heap]"));
    let address = |text| usize::from_str_radix(text, 16).ok();
    is_allocated.then_some((address(start)?, address(end)?))
}

/// Start and octets of the large pages that fit between two addresses which are `least` apart.
fn aligned((start, end): (usize, usize), least: usize) -> Option<(usize, usize)> {
    if end.checked_sub(start)? < least {
        return None;
    }
    let start = start.checked_next_multiple_of(HUGE)?;
    let octets = (end - end % HUGE).checked_sub(start)?;
    (octets > 0).then_some((start, octets))
}

/// Not in all versions of the library.
const MADV_COLLAPSE: libc::c_int = 25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_allocated_is_told_apart() {
        let heap = "55d0c8a00000-55d0cc000000 rw-p 00000000 00:00 0                     [heap]";
        assert_eq!(piece(heap), Some((0x55d0_c8a0_0000, 0x55d0_cc00_0000)));
        let arena = "7f0000000000-7f0000021000 rw-p 00000000 00:00 0 ";
        assert_eq!(piece(arena), Some((0x7f00_0000_0000, 0x7f00_0002_1000)));
        for other in [
            "7ffd0a000000-7ffd0c000000 rw-p 00000000 00:00 0                     [stack]",
            "7f0000000000-7f0004000000 rw-s 00000000 00:01 0 ",
            "7f0000000000-7f0004000000 r--p 00000000 00:00 0 ",
            "7f0000000000-7f0004000000 rw-p 00000000 fd:00 77                    /usr/lib/libc.so.6",
            "",
            "7f-x rw-p 0 0 0",
        ] {
            assert_eq!(piece(other), None, "{other}");
        }
    }

    #[test]
    fn large_pages_lie_between_the_ends() {
        let at = |pages: usize| pages * HUGE;
        assert_eq!(aligned((at(3), at(5)), HUGE), Some((at(3), at(2))));
        assert_eq!(aligned((at(3) + 1, at(5) - 1), HUGE), None);
        assert_eq!(aligned((at(3) + 1, at(6) - 1), HUGE), Some((at(4), HUGE)));
        assert_eq!(aligned((at(3), at(4)), at(2)), None);
        assert_eq!(aligned((at(4), at(3)), 0), None);
        assert_eq!(aligned((usize::MAX - 1, usize::MAX), 0), None);
    }

    /// Whatever the machine has of it, memory keeps what it holds.
    #[test]
    fn memory_keeps_what_it_holds() {
        let memory: Vec<u8> = (0..=250).cycle().take(2 * PIECE_MIN).collect();
        let mut moved = 0;
        let asked = ask(|_| moved += 1).unwrap();
        assert!(memory.iter().zip((0..=250).cycle()).all(|(octet, value)| *octet == value));
        let setting = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        let has_some = setting.is_ok_and(|setting| !setting.contains("[never]"));
        assert_eq!(asked >= PIECE_MIN, has_some);
        assert!(moved <= asked / HUGE, "{moved} rests for {asked} octets");
    }
}
