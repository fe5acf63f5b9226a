//! The place of a phase 1 among others with the same peer: another one takes it, and may give it back.

use std::time::{Duration, Instant};

use super::{Established, keepalive};
use crate::context::{Context, Notice};
use crate::v1::core::Core;

/// How long a phase 1 that is kept for another one's sake waits to be looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// What a phase 1 was to do before another one took its place.
#[derive(Debug, Default)]
pub(super) struct Before {
    rekey_at: Option<Instant>,
    over_at: Option<Instant>,
}

impl Established {
    /// Another phase 1 has its place. Who has begun that one deletes this one; if the peer does not, because
    /// it keeps the other or its delete was lost, we do after `wait`.
    pub(crate) fn supersede(&mut self, wait: Duration, now: Instant) {
        if self.superseded {
            return;
        }
        self.superseded = true;
        self.before = Before { rekey_at: self.rekey_at.take(), over_at: self.over_at };
        let end = now + wait;
        self.over_at = Some(self.over_at.map_or(end, |at| at.min(end)));
        self.keepalive_at = None;
    }

    /// The phase 1 that had its place is gone, and this one is still there.
    pub(crate) fn revive(&mut self, core: &Core, now: Instant) {
        if !self.superseded {
            return;
        }
        self.superseded = false;
        let Before { rekey_at, over_at } = std::mem::take(&mut self.before);
        (self.rekey_at, self.over_at) = (rekey_at, over_at);
        self.keepalive_at = keepalive(core, now);
    }

    /// It has been there for long beside the one that has its place: whether it still has to be that one shows.
    pub(super) fn outlive(&mut self, core: &Core, cx: &mut Context<'_>) {
        self.over_at = Some(cx.now + LOOK_AGAIN);
        cx.out.notice(Notice::Outlived { ike: core.id });
    }

    /// Whether the peer has said a word under it, or need not.
    pub(crate) fn is_confirmed(&self) -> bool {
        !self.is_unconfirmed
    }

    /// Packets of a child have come in: a sign of life, but not that the peer has this phase 1 if it has not
    /// said a word under it.
    pub(crate) fn hear_packets(&self, core: &mut Core, now: Instant) {
        if !self.is_unconfirmed {
            core.heard = now;
        }
    }
}
