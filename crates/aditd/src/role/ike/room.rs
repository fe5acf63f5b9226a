//! Where many SAs lie: on large pages.

use adit_sys::huge_pages;
use tracing::{debug, trace};

/// SAs from which on they are many: they need more pages than a processor remembers.
const SAS_MIN: u64 = 4_096;

/// Counts SAs, and asks for large pages under them whenever there came as many as there were.
#[derive(Debug)]
pub(super) struct Room {
    installed: u64,
    next: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { installed: 0, next: SAS_MIN }
    }
}

impl Room {
    /// Takes note of one more SA.
    pub(super) fn note(&mut self) {
        if self.is_due() {
            match huge_pages::ask() {
                Ok(octets) => debug!(octets, "SAs lie on large pages"),
                Err(error) => trace!(%error, "SAs lie on small pages"),
            }
        }
    }

    fn is_due(&mut self) -> bool {
        self.installed = self.installed.saturating_add(1);
        let is_due = self.installed >= self.next;
        if is_due {
            self.next = self.next.saturating_mul(2);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_asked_for_seldom() {
        let mut room = Room::default();
        let due: Vec<u64> = (1..=20_000).filter(|_| room.is_due()).collect();
        assert_eq!(due, [4_096, 8_192, 16_384]);
    }
}
