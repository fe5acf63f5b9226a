//! The clocks of the host: everything else takes time as an argument.

#![expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]

use std::time::{Duration, Instant, SystemTime};

/// The monotonic time, for timers and lifetimes.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall time, for logs and captures only: it jumps.
#[must_use]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The wall time since 1970; zero if the clock stands before that.
#[must_use]
pub fn unix_time() -> Duration {
    wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The time for which the calling thread has had a processor; zero if the kernel does not tell.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map(Duration::from).unwrap_or_default()
}
