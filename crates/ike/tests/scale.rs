//! What one IKE SA costs when there are thousands: memory, and the work of one handshake more.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../benches/pair/crowd.rs"]
mod crowd;
#[path = "../benches/pair/settle.rs"]
mod settle;

use std::time::Duration;

use allocation_counter::measure;
use nix::time::{ClockId, clock_gettime};

use self::crowd::Crowd;

/// Octets of an established IKE SA and its child at one end, keys of the packet engine apart.
const SA_OCTETS_MAX: f64 = 1_800.0;

#[test]
fn an_established_sa_is_small() {
    const COUNT: u32 = 500;
    let mut crowd = Crowd::new(COUNT + 10);
    crowd.connect(10);
    let taken = measure(|| crowd.connect(COUNT));
    let each = taken.bytes_current as f64 / f64::from(2 * COUNT);
    assert!(each <= SA_OCTETS_MAX, "{each:.0} octets for each IKE SA with its child");
}

/// Whatever walks over all IKE SAs or all tunnels shows here.
#[test]
fn a_handshake_costs_the_same_with_many_standing() {
    const FEW: u32 = 50;
    const MANY: u32 = 1_500;
    let mut few = Crowd::new(FEW + BATCHES * BATCH);
    let mut many = Crowd::new(MANY + BATCHES * BATCH);
    few.connect(FEW);
    many.connect(MANY);
    // In turns, and by this thread's own time: others may have the machine. The quickest batch was
    // disturbed least.
    let mut quickest = [Duration::MAX; 2];
    let mut allocations = [0; 2];
    for _ in 0..BATCHES {
        for (end, crowd) in [&mut few, &mut many].into_iter().enumerate() {
            let start = own_time();
            allocations[end] += measure(|| crowd.connect(BATCH)).count_total;
            quickest[end] = quickest[end].min(own_time() - start);
        }
    }
    let time = quickest[1].as_secs_f64() / quickest[0].as_secs_f64();
    assert!(time < 1.5, "{time:.2} times the time with {MANY} standing instead of {FEW}");
    let count = allocations[1] as f64 / allocations[0] as f64;
    assert!((0.95..1.05).contains(&count), "{count:.2} times the allocations");
}

/// What this thread has had of a processor.
fn own_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

const BATCHES: u32 = 20;
/// Handshakes measured at once.
const BATCH: u32 = 5;
