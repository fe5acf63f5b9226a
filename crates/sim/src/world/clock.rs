//! The clock of one host: it drifts, and jumps when its host was suspended.

use std::time::Duration;

/// A clock that shows something else than the world's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// When, by the world's time, it was last set.
    set_at: Duration,
    /// What it showed then.
    showed: Duration,
    /// How much faster than the world's time it runs, in millionths.
    drift_ppm: i32,
}

/// What a drift is counted in.
const MILLION: i128 = 1_000_000;

impl Clock {
    /// What it shows at a moment of the world.
    pub(super) fn at(&self, world: Duration) -> Duration {
        let passed = nanos(world.saturating_sub(self.set_at));
        self.showed + duration(passed * (MILLION + i128::from(self.drift_ppm)) / MILLION)
    }

    /// The first moment of the world at which it shows at least this.
    pub(super) fn moment_of(&self, shown: Duration) -> Duration {
        let speed = MILLION + i128::from(self.drift_ppm);
        let passed = nanos(shown.saturating_sub(self.showed)) * MILLION;
        self.set_at + duration((passed + speed - 1) / speed)
    }

    /// Lets it run at another speed from now on.
    pub(super) fn drift(&mut self, world: Duration, drift_ppm: i32) {
        *self = Self { set_at: world, showed: self.at(world), drift_ppm };
    }

    /// Lets it show so much more from now on; a clock that counts never goes back.
    pub(super) fn jump(&mut self, world: Duration, by: Duration) {
        *self = Self { set_at: world, showed: self.at(world) + by, ..*self };
    }
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX / MILLION / 2)
}

fn duration(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_of_what_it_shows_is_the_first_one() {
        let mut clock = Clock::default();
        for (at, ppm) in [(10, 20_000), (300, -20_000), (400, 7), (500, 0)] {
            clock.drift(Duration::from_secs(at), ppm);
            clock.jump(Duration::from_secs(at), Duration::from_millis(17));
            for ms in [0, 1, 333, 98_765] {
                let moment = Duration::from_secs(at) + Duration::from_millis(ms);
                let shown = clock.at(moment);
                let found = clock.moment_of(shown);
                assert!(found <= moment && clock.at(found) >= shown, "{clock:?} {moment:?}");
            }
        }
    }

    #[test]
    fn it_never_goes_back() {
        let mut clock = Clock::default();
        let mut last = Duration::ZERO;
        for second in 0..100 {
            let now = Duration::from_secs(second);
            clock.drift(now, if second % 2 == 0 { 50_000 } else { -50_000 });
            assert!(clock.at(now) >= last);
            last = clock.at(now);
        }
    }
}
