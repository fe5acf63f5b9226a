//! A brake on what is said in answer to packets, so that a flood of them is not a flood of answers.

use std::time::{Duration, Instant};

/// Lets so many through at once, and after that as many per second.
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
        let since = *self.since.get_or_insert(now);
        let token = second.checked_div(per_second).unwrap_or(second);
        let passed = now.saturating_duration_since(since);
        if passed >= second {
            *self = Self { spent: 0, since: Some(now) };
        } else if let Some(good) = passed.as_nanos().checked_div(token.as_nanos()) {
            let good = u32::try_from(good).unwrap_or(u32::MAX);
            self.spent = self.spent.saturating_sub(good);
            self.since = since.checked_add(token.saturating_mul(good));
        }
        let passes = self.spent < per_second;
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
