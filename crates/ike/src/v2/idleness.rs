//! Idle time of a child SA (RFC 4301 §4.4.2.1), over all its rekeyings.

use std::time::{Duration, Instant};

use adit_db::USE_INTERVAL;

/// How long a child has carried nothing, and whether that is too long. Boxed, and nothing where it may
/// idle for ever: most may.
#[derive(Clone, Debug)]
pub(crate) struct Idleness(Option<Box<Limited>>);

/// That of a child with a limit.
#[derive(Clone, Debug)]
struct Limited {
    limit: Duration,
    /// The latest that a packet may have passed, or when the first SA was installed.
    since: Instant,
    /// Whether a packet has passed this SA.
    used: bool,
}

impl Idleness {
    /// That of a child that is installed now; without a limit it may idle for ever.
    pub(crate) fn new(limit: Option<Duration>, now: Instant) -> Self {
        Self(limit.map(|limit| Box::new(Limited { limit, since: now, used: false })))
    }

    /// Packets pass: now, and perhaps until the next report is due.
    pub(crate) fn note_use(&mut self, now: Instant) {
        if let Some(limited) = &mut self.0 {
            limited.since = limited.since.max(now + USE_INTERVAL);
            limited.used = true;
        }
    }

    /// The SA replaces another one, which carried what it carries: new keys are no use.
    pub(crate) fn inherit(&mut self, old: &Self) {
        if let (Some(limited), Some(old)) = (&mut self.0, &old.0) {
            limited.since = old.since;
        }
    }

    /// When it has idled too long.
    pub(crate) fn over_at(&self) -> Option<Instant> {
        self.0.as_ref().map(|limited| limited.since + limited.limit)
    }

    /// Whether new keys would be for nothing: the SA may idle to its end, and nothing has used it.
    pub(crate) fn makes_superfluous(&self) -> bool {
        self.0.as_ref().is_some_and(|limited| !limited.used)
    }
}
