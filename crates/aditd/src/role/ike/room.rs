//! Where many SAs lie: on large pages.

use std::thread::JoinHandle;
use std::time::Duration;

use adit_sys::huge_pages;
use adit_sys::thread::spawn_named;
use tracing::{debug, trace};

/// SAs from which on they are many: they need more pages than a processor remembers.
const SAS_MIN: u64 = 4_096;
/// How many times as long as moving a large page has taken nothing is moved: who sets up SAs and who carries
/// packets may have to wait for one, and not for all of them, and the processor is theirs. The kernel's own
/// thread would take an hour for what 100,000 SAs need.
const REST: u32 = 199;

/// Counts SAs, and has a thread ask for large pages under them whenever there came as many as there were.
#[derive(Debug)]
pub(super) struct Room {
    installed: u64,
    next: u64,
    asking: Option<JoinHandle<()>>,
}

impl Default for Room {
    fn default() -> Self {
        Self { installed: 0, next: SAS_MIN, asking: None }
    }
}

impl Room {
    /// Takes note of one more SA.
    pub(super) fn note(&mut self) {
        if !self.is_due() || self.asking.as_ref().is_some_and(|asking| !asking.is_finished()) {
            return;
        }
        self.next = self.installed.saturating_mul(2);
        match spawn_named("pages", ask) {
            Ok(asking) => self.asking = Some(asking),
            Err(error) => trace!(%error, "SAs lie on small pages"),
        }
    }

    fn is_due(&mut self) -> bool {
        self.installed = self.installed.saturating_add(1);
        self.installed >= self.next
    }
}

fn ask() {
    let rest = |took: Duration| std::thread::sleep(took.saturating_mul(REST));
    match huge_pages::ask(rest) {
        Ok(octets) => debug!(octets, "SAs lie on large pages"),
        Err(error) => trace!(%error, "SAs lie on small pages"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Who asks first may still be at it when there are twice as many.
    #[test]
    fn pages_are_asked_for_seldom_and_by_one_thread_at_a_time() {
        let mut room = Room::default();
        let mut due = Vec::new();
        for installed in 1..=40_000_u64 {
            let before = room.next;
            room.note();
            if room.next != before {
                due.push(installed);
                room.asking.take().map(JoinHandle::join);
            }
        }
        assert_eq!(due, [4_096, 8_192, 16_384, 32_768]);
        let (go, gone) = channel();
        room.asking = spawn_named("test", move || gone.recv().unwrap_or_default()).ok();
        (40_001..=70_000).for_each(|_| room.note());
        assert_eq!(room.next, 65_536);
        go.send(()).unwrap();
        while room.asking.as_ref().is_some_and(|asking| !asking.is_finished()) {
            std::thread::yield_now();
        }
        room.note();
        assert_eq!(room.next, 140_002);
        room.asking.take().map(JoinHandle::join);
    }
}
