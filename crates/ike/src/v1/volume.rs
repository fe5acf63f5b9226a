//! Kilobytes of phase 1 (RFC 2409 appendix A, life type 2; `docs/lifetimes.md`): octets that an ISAKMP SA has
//! protected, in both directions, and where that renews and ends it.

use crate::event::IkeVolume;
use crate::lifetime::{KILOBYTE_OCTETS, KILOBYTE_OCTETS_LEAST, Limit, Limits, Origin, Rank};

use super::core::Core;
use super::lifetimes::{self, News};

/// Where octets renew and end a phase 1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Volume {
    soft: Option<u64>,
    hard: Option<u64>,
    /// The soft limit has passed, and its renewal is on its way.
    is_passed: bool,
}

impl Volume {
    /// What an initiator has offered, or a responder has agreed to.
    pub(crate) fn new(core: &Core) -> Self {
        let kilobytes = match core.role.is_initiator() {
            true => lifetimes::own_phase1_kilobytes(&core.connection),
            false => core.life_kilobytes,
        };
        let mut volume = Self::default();
        volume.end_at(kilobytes, lifetimes::rank(core));
        volume
    }

    /// Where it ends, in kilobytes.
    pub(crate) fn kilobytes(&self) -> Option<Limit> {
        self.hard.map(|hard| Limit::new(hard / KILOBYTE_OCTETS, Origin::Configured))
    }

    /// The responder lives shorter, or wants what is no life.
    pub(crate) fn heed(&mut self, news: News, rank: Rank) {
        self.end_at(news.kilobytes, rank);
        if let Some(kilobytes) = news.renewal_kilobytes {
            let soft = kilobytes.saturating_mul(KILOBYTE_OCTETS_LEAST);
            self.soft = Some(self.soft.map_or(soft, |before| before.min(soft)));
        }
    }

    fn end_at(&mut self, kilobytes: Option<u64>, rank: Rank) {
        let kilobytes = kilobytes.map(|amount| Limit::new(amount, Origin::Offered));
        if let Some((soft, hard)) = (Limits { seconds: None, kilobytes }).octets(rank) {
            (self.soft, self.hard) = (Some(soft), Some(hard));
        }
    }

    /// Whether it is to be renewed, once.
    pub(crate) fn take_due(&mut self, octets: u64) -> bool {
        let is_due = !self.is_passed && self.soft.is_some_and(|soft| octets >= soft);
        self.is_passed |= is_due;
        is_due
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self, octets: u64) -> bool {
        self.hard.is_some_and(|hard| octets >= hard)
    }

    /// For people; nothing where there is no limit.
    pub(crate) fn info(&self, octets: u64) -> Option<IkeVolume> {
        let Self { soft, hard, .. } = *self;
        (soft.is_some() || hard.is_some()).then_some(IkeVolume { octets, soft, hard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/lifetimes.md, rules 8 to 10.
    #[test]
    fn octets_renew_once_and_end() {
        let mut volume = Volume::default();
        assert!(!volume.take_due(u64::MAX) && !volume.is_over(u64::MAX));
        assert!(volume.info(7).is_none());
        volume.end_at(Some(2_000), Rank::Higher);
        assert!(!volume.take_due(1_899_999));
        assert!(volume.take_due(1_900_000) && !volume.take_due(1_900_000));
        assert!(!volume.is_over(2_047_999) && volume.is_over(2_048_000));
        assert_eq!(volume.kilobytes().unwrap().amount, 2_000);

        let mut volume = Volume::default();
        let early = News { renewal_kilobytes: Some(512), ..News::default() };
        volume.heed(early, Rank::Lower);
        assert!(volume.take_due(512_000) && !volume.is_over(u64::MAX));
        volume.heed(News { kilobytes: Some(1_024), ..News::default() }, Rank::Lower);
        assert!(volume.is_over(1_024 * 1_024));
    }
}
