//! A brake on what packets of others make us do (RFC 1812 §4.3.2.8), so that a flood of them is not a flood of answers.

use std::time::{Duration, Instant};

/// Lets so many through at once, and after that one more in each interval.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenBucket {
    /// Those that were let through and are not made good for yet.
    spent: u32,
    /// Up to when they were made good for.
    since: Option<Instant>,
}

impl TokenBucket {
    /// A full one.
    pub(crate) const NEW: Self = Self { spent: 0, since: None };

    /// Whether one more may pass, of `per_second`.
    pub(crate) fn pass(&mut self, per_second: u32, now: Instant) -> bool {
        let second = Duration::from_secs(1);
        self.spend(per_second, second.checked_div(per_second).unwrap_or(second), now)
    }

    /// Whether one more may pass, of `size` at once and one more in each `interval`.
    pub(crate) fn spend(&mut self, size: u32, interval: Duration, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since).as_nanos();
        let good = passed.checked_div(interval.as_nanos()).unwrap_or(0);
        let good = u32::try_from(good).unwrap_or(u32::MAX);
        match self.spent.checked_sub(good) {
            Some(spent @ 1..) => {
                self.spent = spent;
                self.since = since.checked_add(interval.saturating_mul(good));
            }
            // It is full, and no fuller for what has passed since it was.
            _ => *self = Self { spent: 0, since: Some(now) },
        }
        let passes = self.spent < size;
        self.spent = self.spent.saturating_add(passes.into());
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn it_fills_up_again_bit_by_bit() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = TokenBucket::default();
        let passed =
            |bucket: &mut TokenBucket, now| (0..100).filter(|_| bucket.pass(10, now)).count();
        assert_eq!(passed(&mut bucket, start), 10);
        assert_eq!(passed(&mut bucket, at(99)), 0);
        assert_eq!(passed(&mut bucket, at(100)), 1);
        assert_eq!(passed(&mut bucket, at(450)), 3);
        assert_eq!(passed(&mut bucket, at(5_000)), 10);
    }
}
