//! A brake on the audit events of RFC 4303 §4, so that a flood of bad packets does not become a flood of records.

use std::time::{Duration, Instant};

/// Most audit events per second and direction.
pub const AUDITS_PER_SECOND: u32 = 10;

/// Lets the first [`AUDITS_PER_SECOND`] events of each second through.
#[derive(Debug, Default)]
pub(crate) struct AuditGate {
    since: Option<Instant>,
    passed: u32,
}

impl AuditGate {
    /// Whether one more may pass.
    pub(crate) fn pass(&mut self, now: Instant) -> bool {
        let second_over = self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1));
        if second_over {
            self.since = Some(now);
            self.passed = 0;
        }
        if self.passed >= AUDITS_PER_SECOND {
            return false;
        }
        self.passed = self.passed.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn ten_a_second_pass() {
        let start = Instant::now();
        let mut gate = AuditGate::default();
        let passed = (0..100).filter(|_| gate.pass(start)).count();
        assert_eq!(passed, 10);
        assert!(!gate.pass(start + Duration::from_millis(999)));
        assert!(gate.pass(start + Duration::from_secs(1)));
    }
}
