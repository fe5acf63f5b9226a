//! A slice of the seeds; `cargo run -p adit-sim --bin seeds --release -- 10000` plays them all.

#![cfg(test)]

use adit_sim::{Profile, Seed, run_seed};

#[test]
fn the_first_seeds_converge() {
    for seed in 0..80 {
        let outcome = run_seed(Seed(seed), Profile::default());
        if let Err(violation) = outcome.result {
            panic!("seed {seed}: {}\n{}\n{violation}", outcome.scenario, outcome.ladder);
        }
    }
}

#[test]
fn a_seed_plays_the_same_twice() {
    let play = || run_seed(Seed(3), Profile::default());
    let (one, two) = (play(), play());
    assert_eq!(one.ladder, two.ladder);
    assert_eq!(one.result, two.result);
}
