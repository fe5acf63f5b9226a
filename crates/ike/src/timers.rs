//! Who wants to be called when: one index over all IKE SAs and connections, so that asking for
//! the next instant costs the same with one IKE SA and with ten thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use adit_db::{ConnectionName, IkeSaId};

/// Who has a timer.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum TimerOwner {
    Ike(IkeSaId),
    Connection(ConnectionName),
}

/// The index.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_instant: BTreeSet<(Instant, TimerOwner)>,
    by_owner: BTreeMap<TimerOwner, Instant>,
}

impl Timers {
    /// Sets, moves or clears the timer of an owner.
    pub(crate) fn set(&mut self, owner: TimerOwner, at: Option<Instant>) {
        if self.by_owner.get(&owner).copied() == at {
            return;
        }
        if let Some(before) = self.by_owner.remove(&owner) {
            self.by_instant.remove(&(before, owner.clone()));
        }
        if let Some(at) = at {
            self.by_owner.insert(owner.clone(), at);
            self.by_instant.insert((at, owner));
        }
    }

    /// The earliest instant.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_instant.first().map(|(at, _)| *at)
    }

    /// Everybody whose time has come, the earliest first. Their timers stay until they are set
    /// anew.
    pub(crate) fn due(&self, now: Instant) -> Vec<TimerOwner> {
        self.by_instant
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, owner)| owner.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_comes_first_and_moved_timers_leave_nothing_behind() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as an origin")]
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let owner = |id| TimerOwner::Ike(IkeSaId(id));
        let mut timers = Timers::default();

        timers.set(owner(1), Some(at(5)));
        timers.set(owner(2), Some(at(3)));
        timers.set(owner(1), Some(at(1)));
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.due(at(3)), [owner(1), owner(2)]);

        timers.set(owner(1), None);
        assert_eq!(timers.due(at(9)), [owner(2)]);
        timers.set(owner(2), None);
        assert_eq!(timers.next(), None);
    }
}
