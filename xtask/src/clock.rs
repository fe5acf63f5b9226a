//! The one clock of the developers' programs.

use std::time::{Duration, Instant};

/// Now.
#[expect(
    clippy::disallowed_methods,
    reason = "a program may read the clock; it does so here alone"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Asks `is_done` every `pause` until it says yes, at most `limit` long. Says whether it did.
pub(crate) fn poll(limit: Duration, pause: Duration, mut is_done: impl FnMut() -> bool) -> bool {
    let start = now();
    loop {
        if is_done() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(pause);
    }
}
