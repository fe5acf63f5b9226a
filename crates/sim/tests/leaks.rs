//! A slice of the seeds; `cargo run -p adit-sim --bin leaks --release -- 100000` plays them all.

#![cfg(test)]

use std::time::Instant;

use adit_sim::{LeakSummary, Seed, run_leak_seed};

#[expect(clippy::disallowed_methods, reason = "virtual time counts from some instant")]
fn start() -> Instant {
    Instant::now()
}

/// CHECKLIST S12: whatever happens to policies and SAs, in whatever order.
#[test]
fn nothing_protected_leaves_in_clear() {
    let mut totals = LeakSummary::default();
    for seed in 0..150 {
        let outcome = run_leak_seed(Seed(seed), start());
        let summary = outcome.result.unwrap_or_else(|leak| {
            panic!("seed {seed}:\n{}\nseed {seed}: {leak}", outcome.steps);
        });
        totals.sealed += summary.sealed;
        totals.bypassed += summary.bypassed;
        totals.delivered += summary.delivered;
        totals.crashes += summary.crashes;
    }
    // Sequences in which nothing passes would show nothing.
    assert!(totals.sealed > 500 && totals.bypassed > 500, "{totals:?}");
    assert!(totals.delivered > 500 && totals.crashes > 50, "{totals:?}");
}

#[test]
fn a_seed_does_the_same_twice() {
    let start = start();
    let play = || run_leak_seed(Seed(7), start);
    let (one, two) = (play(), play());
    assert_eq!((one.steps, one.result), (two.steps, two.result));
}
