//! The shortest part of a schedule that still fails, by delta debugging (Zeller and Hildebrandt 2002):
//! whole halves are left out first, then ever smaller parts.

use super::{Broken, WorldOutcome, WorldPlay, run_world, schedule_len};

/// What is left of a schedule that fails.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The numbers of the entries that are needed.
    pub kept: Vec<usize>,
    /// How many there were.
    pub of: usize,
    /// How it ends with those alone, the story told.
    pub outcome: WorldOutcome,
}

/// Most runs to find it.
const RUNS_MAX: usize = 400;

/// Looks for the shortest part of a seed's schedule that breaks the same invariant; `None` if
/// nothing breaks.
pub fn shrink_world(play: &WorldPlay<'_>) -> Option<Shrunk> {
    let all: Vec<usize> = (0..schedule_len(play)).collect();
    let invariant = failure(play, &all)?.invariant;
    let fails =
        |kept: &[usize]| failure(play, kept).is_some_and(|broken| broken.invariant == invariant);
    let of = all.len();
    let kept = minimal(all, RUNS_MAX, fails);
    let outcome = run_world(&WorldPlay { kept: Some(&kept), is_told: true, ..*play });
    Some(Shrunk { kept, of, outcome })
}

fn failure(play: &WorldPlay<'_>, kept: &[usize]) -> Option<Broken> {
    run_world(&WorldPlay { kept: Some(kept), is_told: false, ..*play }).result.err()
}

/// A part of `all` that still fails, and of which no entry can be left out if there were runs
/// enough to try all. `all` fails.
fn minimal(all: Vec<usize>, runs_max: usize, fails: impl Fn(&[usize]) -> bool) -> Vec<usize> {
    let (mut kept, mut parts, mut runs) = (all, 2, 0);
    while !kept.is_empty() && runs < runs_max {
        let len = kept.len().div_ceil(parts);
        let smaller = (0..kept.len()).step_by(len).find_map(|from| {
            runs += 1;
            let mut rest = kept.clone();
            rest.drain(from..(from + len).min(kept.len()));
            (runs <= runs_max && fails(&rest)).then_some(rest)
        });
        match smaller {
            Some(rest) => {
                kept = rest;
                parts = parts.saturating_sub(1).max(2);
            }
            None if len == 1 => break,
            None => parts = (2 * parts).min(kept.len()),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_that_matter_are_found() {
        for wanted in [vec![], vec![7], vec![0, 31], vec![3, 4, 5, 6], vec![1, 10, 20, 30]] {
            let fails = |kept: &[usize]| wanted.iter().all(|one| kept.contains(one));
            assert_eq!(minimal((0..32).collect(), RUNS_MAX, fails), wanted);
        }
    }

    #[test]
    fn it_ends_after_so_many_runs() {
        let kept = minimal((0..1_000).collect(), 20, |kept| kept.contains(&3));
        assert!(kept.contains(&3) && kept.len() < 1_000);
    }
}
