//! What an SA has to remember of packets that do not simply pass (RFC 4301 §4.4.2). Most SAs of a gateway
//! carry nothing most of the time, so there is none of it before there is something to be remembered.

use std::time::{Duration, Instant};

use adit_db::{Age, ChildSa, PolicyId, USE_INTERVAL};

use super::path::Way;
use super::{InboundSa, OutboundSa};
use crate::counters::SaCounters;
use crate::drop_reason::{DropReason, SaDrops};

/// What is touched when an outbound packet is dropped, not when it passes alone.
#[derive(Debug, Default)]
pub(super) struct OutboundCold {
    told: Told,
    /// There once there was one.
    drops: Option<Box<SaDrops>>,
    /// When the last dummy packet was sent.
    pub(super) dummy_sent: Option<Instant>,
    /// The policy of the SAs over this one.
    pub(super) over: Option<PolicyId>,
    /// What is known of the way to the peer, beyond what everybody takes it for.
    pub(super) way: Option<Box<Way>>,
}

/// The same of inbound packets.
#[derive(Debug, Default)]
pub(super) struct InboundCold {
    told: Told,
    /// Here, so that the first costs no more than one allocation.
    drops: SaDrops,
    ecn_suspicious: u64,
}

/// What was reported.
#[derive(Debug, Default)]
struct Told {
    /// The worst age, and when.
    age: Option<(Age, Instant)>,
    /// When last that packets pass.
    used: Option<Instant>,
}

/// Least time between two reports of the same age of an SA. They repeat while packets come, for
/// the first may have met a full queue, or an exchange that failed.
pub const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

impl Told {
    /// Whether this age is to be reported; it counts as reported from now on.
    fn newly(&mut self, age: Age, now: Instant) -> bool {
        let news = self.age.is_none_or(|(worst, told)| {
            age > worst || now.saturating_duration_since(told) >= EXPIRY_INTERVAL
        });
        if news {
            self.age = Some((age, now));
        }
        news
    }

    /// Whether it is to be reported that packets pass; if so, it counts as reported.
    fn newly_used(&mut self, now: Instant) -> bool {
        let since = self.used.map(|told| now.saturating_duration_since(told));
        let due = since.is_none_or(|since| since >= USE_INTERVAL);
        if due {
            self.used = Some(now);
        }
        due
    }
}

impl OutboundCold {
    /// What an SA has from the beginning, if anything.
    pub(super) fn of(sa: &ChildSa) -> Option<Box<Self>> {
        let way = Way::of(sa);
        let has_any = way.is_some() || notes_use(sa);
        has_any.then(|| Box::new(Self { way, ..Self::default() }))
    }
}

impl InboundCold {
    /// What an SA has from the beginning, if anything.
    pub(super) fn of(sa: &ChildSa) -> Option<Box<Self>> {
        notes_use(sa).then(Box::default)
    }
}

/// Packets that pass are to be remembered: no packet makes room for that.
fn notes_use(sa: &ChildSa) -> bool {
    sa.lifetime.idle.is_some()
}

impl OutboundSa {
    #[cold]
    pub(super) fn cold_mut(&mut self) -> &mut OutboundCold {
        self.cold.get_or_insert_default()
    }

    pub(crate) fn dropped(&mut self, reason: DropReason) {
        self.cold_mut().drops.get_or_insert_default().add(reason);
    }

    pub(crate) fn newly(&mut self, age: Age, now: Instant) -> bool {
        self.cold_mut().told.newly(age, now)
    }

    /// Whether it is to be reported that packets pass, where that is remembered.
    pub(super) fn newly_used(&mut self, now: Instant) -> bool {
        self.cold.as_mut().is_some_and(|cold| cold.told.newly_used(now))
    }

    /// The counters of what did not simply pass put in.
    pub(super) fn with_cold_counters(&self, counters: SaCounters) -> SaCounters {
        let drops = self.cold.as_ref().and_then(|cold| cold.drops.as_deref().copied());
        SaCounters { drops: drops.unwrap_or_default().into(), ..counters }
    }
}

impl InboundSa {
    #[cold]
    fn cold_mut(&mut self) -> &mut InboundCold {
        self.cold.get_or_insert_default()
    }

    pub(crate) fn dropped(&mut self, reason: DropReason) {
        self.cold_mut().drops.add(reason);
    }

    pub(crate) fn ecn_suspicious(&mut self) {
        let cold = self.cold_mut();
        cold.ecn_suspicious = cold.ecn_suspicious.saturating_add(1);
    }

    pub(crate) fn newly(&mut self, age: Age, now: Instant) -> bool {
        self.cold_mut().told.newly(age, now)
    }

    /// Whether it is to be reported that packets pass, where that is remembered.
    pub(super) fn newly_used(&mut self, now: Instant) -> bool {
        self.cold.as_mut().is_some_and(|cold| cold.told.newly_used(now))
    }

    /// The counters of what did not simply pass put in.
    pub(super) fn with_cold_counters(&self, counters: SaCounters) -> SaCounters {
        let Some(cold) = &self.cold else { return counters };
        let ecn_suspicious = cold.ecn_suspicious;
        SaCounters { drops: cold.drops.into(), ecn_suspicious, ..counters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Busy SAs have these.
    #[test]
    fn what_is_remembered_stays_small() {
        let (outbound, inbound) = (size_of::<OutboundCold>(), size_of::<InboundCold>());
        assert!(outbound <= 80, "{outbound}");
        assert!(inbound <= 232, "{inbound}");
    }
}
