//! A slice of the seeds; `cargo run -p adit-sim --bin seeds --release -- 10000` plays them all.

#![cfg(test)]

use adit_sim::{Profile, Seed, run_seed};

fn assert_converges(seed: u64) {
    let outcome = run_seed(Seed(seed), Profile::default());
    if let Err(violation) = outcome.result {
        panic!("seed {seed}: {}\n{}\n{violation}", outcome.scenario, outcome.ladder);
    }
}

#[test]
fn the_first_seeds_converge() {
    (0..80).for_each(assert_converges);
}

/// Children that were gone moved with a NAT's mapping (1274, 2180); a peer was busy asking at a mapping
/// that was no more (the others).
#[test]
fn seeds_that_have_found_something_converge() {
    [1274, 2180, 3042, 3600, 6845, 7367, 9366].into_iter().for_each(assert_converges);
}

#[test]
fn a_seed_plays_the_same_twice() {
    let play = || run_seed(Seed(3), Profile::default());
    let (one, two) = (play(), play());
    assert_eq!(one.ladder, two.ladder);
    assert_eq!(one.result, two.result);
}
