use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn window(packets: u32, esn: bool) -> ReplayWindow {
    ReplayWindow::new(WindowSize::covering(packets).unwrap(), esn)
}

/// A window that has reached `top` in one jump.
fn window_at(packets: u32, top: u64) -> ReplayWindow {
    let mut window = window(packets, true);
    assert!(window.advance(top));
    window
}

#[test]
fn sizes_are_powers_of_two() {
    let packets = |wanted| WindowSize::covering(wanted).map(WindowSize::packets);
    assert_eq!(packets(0), Some(0));
    assert_eq!(packets(1), Some(64));
    assert_eq!(packets(65), Some(128));
    assert_eq!(packets(1000), Some(1024));
    assert_eq!(packets(65_536), Some(65_536));
    assert_eq!(packets(65_537), None);
}

/// CHECKLIST S04: duplicate, too old, edge, and after a big jump, for each size.
#[test]
fn window_knows_what_it_saw() {
    for size in [64, 128, 256, 1024, 65_536] {
        let mut window = window(size, false);
        let size = u64::from(size);
        assert_eq!(window.check(0), Err(ReplayError::Impossible));
        assert!(window.advance(1));
        assert_eq!(window.check(1), Err(ReplayError::Duplicate));
        assert!(window.advance(size + 1));
        assert_eq!(window.check(1), Err(ReplayError::TooOld));
        assert_eq!(window.check(2), Ok(()));
        assert!(!window.advance(2));
        assert_eq!(window.check(2), Err(ReplayError::Duplicate));
        assert_eq!(window.top(), size + 1);
        assert!(window.advance(5 * size + 7));
        assert_eq!(window.check(5 * size + 6), Ok(()));
        assert_eq!(window.check(4 * size + 8), Ok(()));
        assert_eq!(window.check(4 * size + 7), Err(ReplayError::TooOld));
    }
}

/// CHECKLIST S04: window 0 takes everything but the number zero.
#[test]
fn window_off_takes_duplicates() {
    let mut window = window(0, false);
    assert!(window.advance(9));
    assert!(!window.advance(9));
    assert_eq!(window.check(9), Ok(()));
    assert_eq!(window.check(1), Ok(()));
    assert_eq!(window.check(0), Err(ReplayError::Impossible));
}

#[test]
fn judging_changes_nothing() {
    let window = window(64, false);
    for _ in 0..2 {
        assert_eq!(window.check(u64::from(u32::MAX)), Ok(()));
    }
    assert_eq!(window.top(), 0);
}

//= https://www.rfc-editor.org/rfc/rfc4303#appendix-A2.2
//= type=test
//# Under Case A: If Seql >= Tl - W + 1 (modulo 2^32) AND Seql <= Tl, then Seqh = Th.
/// CHECKLIST S05: the whole window lies in one subspace.
#[test]
fn esn_case_a() {
    let top = (7 << 32) | 1000;
    let window = window_at(64, top);
    assert_eq!(window.infer(1000), Ok(top));
    assert_eq!(window.infer(937), Ok((7 << 32) | 937));
    assert_eq!(window.infer(936), Ok((8 << 32) | 936));
    assert_eq!(window.infer(u32::MAX), Ok((7 << 32) | 0xffff_ffff));
    assert_eq!(window.infer(0), Ok(8 << 32));
}

/// CHECKLIST S05: the window reaches back into the subspace before.
#[test]
fn esn_case_b() {
    let top = (7 << 32) | 10;
    let window = window_at(64, top);
    assert_eq!(window.infer(10), Ok(top));
    assert_eq!(window.infer(11), Ok((7 << 32) | 11));
    assert_eq!(window.infer(0), Ok(7 << 32));
    let bottom = 10_u32.wrapping_sub(63);
    assert_eq!(window.infer(bottom), Ok((6 << 32) | u64::from(bottom)));
    assert_eq!(window.infer(bottom - 1), Ok((7 << 32) | u64::from(bottom - 1)));
}

#[test]
fn esn_never_leaves_its_64_bits() {
    assert_eq!(window(64, true).infer(u32::MAX), Err(ReplayError::Impossible));
    let window = window_at(64, u64::MAX);
    assert_eq!(window.infer(u32::MAX), Ok(u64::MAX));
    assert_eq!(window.infer(0), Err(ReplayError::Impossible));
}

#[test]
fn the_last_number_of_all_ends_the_window() {
    let mut window = window_at(64, u64::MAX - 70);
    for sequence in u64::MAX - 69..=u64::MAX {
        assert!(window.advance(sequence));
        assert_eq!(window.check(sequence), Err(ReplayError::Duplicate));
    }
    assert_eq!(window.check(u64::MAX - 63), Err(ReplayError::Duplicate));
    assert_eq!(window.check(u64::MAX - 64), Err(ReplayError::TooOld));
}

#[test]
fn the_number_after_two_to_the_32_is_followed() {
    let mut window = window_at(64, 0xffff_fff0);
    for sequence in 0xffff_fff1_u64..0x1_0000_0100 {
        let low = u32::try_from(sequence & 0xffff_ffff).unwrap();
        assert_eq!(window.infer(low), Ok(sequence));
        assert!(window.advance(sequence));
    }
}

/// The window as the RFC describes it: the set of numbers seen, and arithmetic.
struct Model {
    size: u64,
    seen: BTreeSet<u64>,
}

impl Model {
    fn top(&self) -> u64 {
        self.seen.last().copied().unwrap_or(0)
    }

    fn check(&self, sequence: u64) -> Result<(), ReplayError> {
        if sequence == 0 {
            Err(ReplayError::Impossible)
        } else if self.top().saturating_sub(sequence) >= self.size {
            Err(ReplayError::TooOld)
        } else if self.seen.contains(&sequence) {
            Err(ReplayError::Duplicate)
        } else {
            Ok(())
        }
    }
}

proptest! {
    #[test]
    fn window_agrees_with_a_set(
        size in prop::sample::select(vec![64_u32, 128, 256, 1024]),
        start in prop_oneof![Just(0_u64), Just(0xffff_ff00), 0..1_u64 << 40, Just(u64::MAX - 3000)],
        steps in prop::collection::vec((-300_i64..300, any::<bool>()), 1..400),
        far in prop::collection::vec(0_u64..5000, 400),
    ) {
        let mut window = window(size, true);
        let mut model = Model { size: size.into(), seen: BTreeSet::new() };
        let mut at = start;
        for ((step, jump), far) in steps.into_iter().zip(far) {
            at = at.saturating_add_signed(step);
            if jump {
                at = at.saturating_add(far);
            }
            let verdict = window.check(at);
            prop_assert_eq!(verdict, model.check(at), "{} with top {}", at, model.top());
            let newest = window.advance(at);
            prop_assert_eq!(newest, verdict.is_ok() && at > model.top());
            if verdict.is_ok() {
                model.seen.insert(at);
            }
            prop_assert_eq!(window.top(), model.top());
        }
    }

    /// A packet less than half the subspace ahead or inside the window is inferred exactly.
    #[test]
    fn esn_is_inferred_for_all_numbers_in_reach(
        top in 1_u64..u64::MAX - (1 << 33),
        size in prop::sample::select(vec![64_u32, 1024, 65_536]),
        ahead in -65_535_i64..(1 << 31),
    ) {
        let ahead = ahead.max(1 - i64::from(size));
        if let Some(sequence) = top.checked_add_signed(ahead) {
            let low = u32::try_from(sequence & 0xffff_ffff).unwrap();
            prop_assert_eq!(window_at(size, top).infer(low), Ok(sequence));
        }
    }
}
