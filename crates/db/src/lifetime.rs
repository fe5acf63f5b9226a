//! Lifetimes of SAs, RFC 4301 §4.4.2.1: soft limits ask for a replacement, hard limits end the SA.
//!
//! Three clocks run: seconds, octets and packets. [`LifetimeSpec`] is what the operator wrote,
//! [`Lifetime`] what one SA got of it, [`Usage`] what it has used up. A fourth begins anew with every
//! packet in either direction: idle time, which only ends an SA.

use std::time::Duration;

/// Limits as configured; both sides of an SA choose theirs alone (RFC 7296 §2.8).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LifetimeSpec {
    /// Age in seconds.
    pub seconds: LimitSpec,
    /// Octets of inner packets.
    pub octets: LimitSpec,
    /// Packets.
    pub packets: LimitSpec,
    /// Seconds without a packet in either direction after which the SA ends; zero is never.
    pub idle_s: u64,
}

/// A soft and a hard limit in one unit; zero is no limit.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct LimitSpec {
    /// Where the SA is rekeyed.
    pub soft: u64,
    /// Where the SA ends.
    pub hard: u64,
    /// Upper bound of the random amount that `soft` is lowered by.
    pub rand: u64,
}

impl LimitSpec {
    /// No limit.
    pub const NONE: Self = Self { soft: 0, hard: 0, rand: 0 };

    /// The limits that swanctl derives from a rekey value alone: life is a tenth longer, at least
    /// by one, so that an SA never ends in the moment it is to be renewed; the random amount is
    /// that tenth.
    pub fn from_soft(soft: u64) -> Self {
        let tenth = soft / 10;
        Self { soft, hard: soft.saturating_add(tenth.max(soft.min(1))), rand: tenth }
    }

    /// Fixes the limits for one SA; `jitter` is a random number.
    ///
    /// The soft limit is lowered by `jitter` modulo `rand + 1`, but not below 1.
    fn draw(self, jitter: u64) -> (Option<u64>, Option<u64>) {
        let lowered_by = match self.rand.checked_add(1) {
            Some(choices) => jitter.checked_rem(choices).unwrap_or(0),
            None => jitter,
        };
        let soft = self.soft.saturating_sub(lowered_by).max(1);
        let hard = (self.hard > 0).then_some(self.hard);
        ((self.soft > 0).then_some(soft), hard)
    }
}

impl LifetimeSpec {
    /// Age at which a child SA is rekeyed: one hour, swanctl's default.
    pub const DEFAULT_REKEY_SECONDS: u64 = 3600;

    /// Fixes the limits for one SA. `jitter` holds a random number each for seconds, octets and
    /// packets, so that peers and siblings do not rekey in the same instant (RFC 7296 §2.8).
    pub fn draw(&self, jitter: [u64; 3]) -> Lifetime {
        let [seconds, octets, packets] = jitter;
        let (soft_seconds, hard_seconds) = self.seconds.draw(seconds);
        let (soft_octets, hard_octets) = self.octets.draw(octets);
        let (soft_packets, hard_packets) = self.packets.draw(packets);
        Lifetime {
            soft: Amounts {
                time: soft_seconds.map(Duration::from_secs),
                octets: soft_octets,
                packets: soft_packets,
            },
            hard: Amounts {
                time: hard_seconds.map(Duration::from_secs),
                octets: hard_octets,
                packets: hard_packets,
            },
            idle: (self.idle_s > 0).then(|| Duration::from_secs(self.idle_s)),
        }
    }
}

/// One hour, with swanctl's tenth on top and as jitter; no limit on octets and packets.
impl Default for LifetimeSpec {
    fn default() -> Self {
        Self {
            seconds: LimitSpec::from_soft(Self::DEFAULT_REKEY_SECONDS),
            octets: LimitSpec::NONE,
            packets: LimitSpec::NONE,
            idle_s: 0,
        }
    }
}

/// The limits of one SA, counted from its installation.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Lifetime {
    /// Rekey when the first of them is reached.
    pub soft: Amounts,
    /// End the SA when the first of them is reached.
    pub hard: Amounts,
    /// End the SA when nothing has passed for so long. Each direction sees half of what passes, so
    /// the IKE SA decides, by what both report.
    pub idle: Option<Duration>,
}

/// Least time between two reports that packets pass an SA with a limit of idle time. One report
/// stands for all packets of the time that begins with it.
pub const USE_INTERVAL: Duration = Duration::from_secs(1);

/// An amount per clock; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Amounts {
    /// Age since installation.
    pub time: Option<Duration>,
    /// Octets of inner packets.
    pub octets: Option<u64>,
    /// Packets.
    pub packets: Option<u64>,
}

/// What an SA has used up in one direction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Octets of inner packets.
    pub octets: u64,
    /// Packets.
    pub packets: u64,
}

/// Where an SA stands in its life.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Age {
    /// No limit reached.
    Fresh,
    /// A soft limit reached: it must be replaced, and still works.
    Soft,
    /// A hard limit reached: it must not be used.
    Hard,
}

impl Lifetime {
    /// Unlimited.
    pub const NONE: Self = Self { soft: Amounts::NONE, hard: Amounts::NONE, idle: None };

    /// Whether there are limits beside those in time.
    pub fn has_amounts(&self) -> bool {
        let any = |amounts: &Amounts| amounts.octets.is_some() || amounts.packets.is_some();
        any(&self.soft) || any(&self.hard)
    }

    /// Where an SA of this age and use stands; `usage` counts what has gone through already.
    ///
    /// An SA with a hard limit of N packets carries N packets, not one more.
    pub fn age(&self, time: Duration, usage: Usage) -> Age {
        if self.hard.reached(time, usage) {
            Age::Hard
        } else if self.soft.reached(time, usage) {
            Age::Soft
        } else {
            Age::Fresh
        }
    }
}

impl Amounts {
    /// No limit.
    pub const NONE: Self = Self { time: None, octets: None, packets: None };

    /// Whether one of the limits is reached.
    pub fn reached(&self, time: Duration, usage: Usage) -> bool {
        self.time.is_some_and(|limit| time >= limit)
            || self.octets.is_some_and(|limit| usage.octets >= limit)
            || self.packets.is_some_and(|limit| usage.packets >= limit)
    }
}

impl Usage {
    /// Counts one more packet.
    pub fn add(&mut self, packet_octets: usize) {
        let octets = u64::try_from(packet_octets).unwrap_or(u64::MAX);
        self.octets = self.octets.saturating_add(octets);
        self.packets = self.packets.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn used(octets: u64, packets: u64) -> Usage {
        Usage { octets, packets }
    }

    /// CHECKLIST S06: by time, by octets, by packets; soft, then hard.
    #[test]
    fn the_first_limit_reached_decides() {
        let spec = LifetimeSpec {
            seconds: LimitSpec { soft: 60, hard: 90, rand: 0 },
            octets: LimitSpec { soft: 1000, hard: 2000, rand: 0 },
            packets: LimitSpec { soft: 5, hard: 10, rand: 0 },
            idle_s: 600,
        };
        let lifetime = spec.draw([7; 3]);
        assert_eq!(lifetime.idle, Some(Duration::from_mins(10)));
        let age = |seconds, usage| lifetime.age(Duration::from_secs(seconds), usage);
        assert_eq!(age(59, used(999, 4)), Age::Fresh);
        assert_eq!(age(60, used(0, 0)), Age::Soft);
        assert_eq!(age(0, used(1000, 0)), Age::Soft);
        assert_eq!(age(0, used(0, 5)), Age::Soft);
        assert_eq!(age(90, used(0, 0)), Age::Hard);
        assert_eq!(age(0, used(2000, 0)), Age::Hard);
        assert_eq!(age(0, used(0, 10)), Age::Hard);
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(LimitSpec::from_soft(0), LimitSpec::NONE);
        let lifetime = LifetimeSpec {
            seconds: LimitSpec::NONE,
            octets: LimitSpec::NONE,
            packets: LimitSpec::NONE,
            idle_s: 0,
        }
        .draw([u64::MAX; 3]);
        assert_eq!(lifetime, Lifetime::NONE);
        assert_eq!(lifetime.age(Duration::MAX, used(u64::MAX, u64::MAX)), Age::Fresh);
    }

    #[test]
    fn the_default_is_an_hour_and_a_tenth() {
        let lifetime = LifetimeSpec::default().draw([0; 3]);
        assert_eq!(lifetime.soft.time, Some(Duration::from_mins(60)));
        assert_eq!(lifetime.hard.time, Some(Duration::from_mins(66)));
    }

    proptest! {
        /// However short its life, an SA is renewed before it ends.
        #[test]
        fn a_derived_life_is_longer_than_the_rekey_value(
            soft in prop_oneof![1..20_u64, 1..u64::MAX], jitter: u64,
        ) {
            let limit = LimitSpec::from_soft(soft);
            prop_assert!(limit.hard > limit.soft);
            let (drawn, hard) = limit.draw(jitter);
            prop_assert!(drawn < hard);
        }

        /// Jitter only ever brings the rekeying forward, and never to zero.
        #[test]
        fn jitter_lowers_the_soft_limit(soft in 1u64.., hard: u64, rand: u64, jitter: u64) {
            let (drawn, _) = LimitSpec { soft, hard, rand }.draw(jitter);
            let drawn = drawn.unwrap();
            prop_assert!(drawn >= 1 && drawn <= soft);
            prop_assert!(soft - drawn <= rand);
        }
    }
}
