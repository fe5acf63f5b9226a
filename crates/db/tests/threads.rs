//! Every interleaving of threads that take sequence numbers of one SA, by loom's model of memory.

#![expect(unreachable_pub, dead_code, reason = "one file of the crate, with a model beneath it")]

/// What the file finds beside it in the crate, with loom's atomics for those of the machine.
mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../src/sad/sequence.rs"]
mod sequence;

use loom::thread;
use sequence::SequenceCounter;

/// Spends `each` numbers in each of two threads after `last`, in every order there is, and gives what
/// each got to `check`.
fn in_every_order(last: u64, each: usize, check: fn(&[Vec<Option<u64>>; 2])) {
    loom::model(move || {
        let mut counters = SequenceCounter::shared(last, false, 2);
        let mut spender = || {
            let mut counter = counters.next().expect("there are two");
            move || (0..each).map(|_| counter.spend().ok()).collect::<Vec<_>>()
        };
        let (mut ours, others) = (spender(), spender());
        let other = thread::spawn(others);
        let ours = ours();
        check(&[ours, other.join().expect("the other thread ends")]);
    });
}

#[test]
fn no_number_is_given_out_twice() {
    in_every_order(0, 5, |spent| {
        let mut all: Vec<u64> = spent.iter().flatten().map(|n| n.expect("many are left")).collect();
        assert!(spent.iter().all(|one| one.is_sorted()));
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!((all.len(), count), (10, 10));
    });
}

#[test]
fn none_is_given_out_beyond_the_end_and_both_hear_of_it() {
    let max = u64::from(u32::MAX);
    in_every_order(max - 4, 5, |spent| {
        let max = u64::from(u32::MAX);
        let mut all: Vec<u64> = spent.iter().flatten().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, [max - 3, max - 2, max - 1, max]);
        // Four numbers for two times five: whoever got none has been refused, and for ever.
        for one in spent {
            let first_refusal = one.iter().position(Option::is_none);
            let refused = one.iter().skip(first_refusal.unwrap_or(one.len()));
            assert!(first_refusal.is_some() && refused.flatten().next().is_none());
        }
    });
}
