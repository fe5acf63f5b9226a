//! RESPONDER-LIFETIME (RFC 2407 §4.6.3.1) as `docs/lifetimes.md` has it: a responder that lives shorter
//! than it was asked to says so, and an initiator that hears of it does what can be done.
//!
//! The rule is `crate::lifetime`; here are the policies that follow from a configuration, and the form of
//! the notify. Packets nobody negotiates: that limit each end keeps for itself.

use std::time::Duration;

use adit_db::{AbsentLifetime, ChildConfig, Connection, LifetimeBounds, LimitSpec};
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId;
use adit_wire::iana::isakmp::NotifyType;
use adit_wire::isakmp::{Attributes, ChainBuilder, Notify};
use adit_wire::{Reader, doi};

use crate::lifetime::{
    Absent, Agreement, Bounds, DEFAULT_SECONDS, FLOOR_KILOBYTES, FLOOR_SECONDS, Family, Heard,
    Heed, KILOBYTE_OCTETS, Limit, Limits, Offer, Origin, Phase, Policy, Rank, ResponderLifetime,
    receive, respond, soft,
};

use super::core::Core;
use super::informational;

/// What an initiator makes of what it has heard about an SA.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct News {
    /// It ends then, counted from its beginning.
    pub(crate) end: Option<Duration>,
    /// It ends after so many kilobytes.
    pub(crate) kilobytes: Option<u64>,
    /// It is renewed by then: the peer wants what is no life, and may end it without a word.
    pub(crate) renewal: Option<Duration>,
    /// The same in kilobytes.
    pub(crate) renewal_kilobytes: Option<u64>,
    /// The peer wants what is no life, and the configuration is strict: it is deleted.
    pub(crate) delete: bool,
}

impl News {
    /// When it is to be renewed at the latest: before the end there is time for that.
    pub(crate) fn latest_renewal(self, rank: Rank) -> Option<Duration> {
        self.renewal.or_else(|| self.end.map(|end| renewal_before(end, rank)))
    }
}

// ---- Time ----

/// Which end of an IKE SA renews first.
pub(crate) fn rank(core: &Core) -> Rank {
    Rank::of(core.path.local.ip(), core.path.remote.ip())
}

/// When an SA is renewed that ends then: the end with the lower address comes before the other.
pub(crate) fn renewal_before(end: Duration, rank: Rank) -> Duration {
    Duration::from_secs(soft(end.as_secs(), rank))
}

/// A renewal that the operator wants after `at`, less up to `rand` at random: the end with the lower
/// address has the greater half of that, the other the least quarter, so that they do not begin at once.
pub(crate) fn drawn(at: u64, rand: u64, rank: Rank, jitter: u64) -> u64 {
    let by = match rank {
        Rank::Lower => rand / 2 + jitter % (rand - rand / 2).saturating_add(1),
        Rank::Higher => jitter % (rand / 4).saturating_add(1),
    };
    at.saturating_sub(by).max(1)
}

// ---- Initiator ----

/// The kilobytes that are offered for a phase 1, if the operator wants any.
pub(crate) fn own_phase1_kilobytes(connection: &Connection) -> Option<u64> {
    let own = connection.lifetime_rule.ike_own_kilobytes;
    (own > 0).then(|| own.max(FLOOR_KILOBYTES))
}

/// What is offered for a child: seconds always, as their absence is read in many ways.
pub(crate) fn offered_for_child(config: &ChildConfig, connection: &Connection) -> doi::Lifetimes {
    let Limits { seconds, kilobytes } = child_policy(config, connection).ours;
    doi::Lifetimes {
        seconds: Some(seconds.map_or(DEFAULT_SECONDS, |limit| limit.amount)),
        kilobytes: kilobytes.map(|limit| limit.amount),
    }
}

/// What an initiator lives by that has offered `own`: a responder may not change it. Those that do are
/// taken at their word where they want less.
pub(crate) fn of_answer(own: doi::Lifetimes, answered: doi::Lifetimes) -> Limits {
    let least = |own: Option<u64>, answered: Option<u64>, floor| {
        let less = answered.filter(|&amount| amount >= floor);
        own.into_iter().chain(less).min().map(|amount| Limit::new(amount, Origin::Offered))
    };
    Limits {
        seconds: least(own.seconds, answered.seconds, FLOOR_SECONDS),
        kilobytes: least(own.kilobytes, answered.kilobytes, FLOOR_KILOBYTES),
    }
}

// ---- Responder ----

/// What a responder makes of what is offered for a phase 1; `None` if that is refused.
pub(crate) fn of_phase1(offered: doi::Lifetimes, connection: &Connection) -> Option<Agreement> {
    let doi::Lifetimes { seconds, kilobytes } = offered;
    respond(Offer { seconds, kilobytes }, &phase1_policy(connection)).ok()
}

/// What it makes of what is offered for a child; `None` if that is refused.
pub(crate) fn of_child(
    offered: doi::Lifetimes,
    config: &ChildConfig,
    connection: &Connection,
) -> Option<Agreement> {
    let doi::Lifetimes { seconds, kilobytes } = offered;
    respond(Offer { seconds, kilobytes }, &child_policy(config, connection)).ok()
}

/// Adds what the initiator of a quick mode cannot know to the second message.
pub(crate) fn put(told: Offer, protocol: ProtocolId, spi: Spi, chain: &mut ChainBuilder) {
    let data = data(told);
    informational::put_child_notify(NotifyType::RESPONDER_LIFETIME, protocol, spi, &data, chain);
}

/// The attributes of the notify, of the classes that everybody understands.
pub(crate) fn data(told: Offer) -> Vec<u8> {
    let Offer { seconds, kilobytes } = told;
    doi::Lifetimes { seconds, kilobytes }.responder_lifetime().as_bytes().to_vec()
}

// ---- What an initiator hears ----

/// What authentic notifies say about the phase 1 that they came under, which ends at `current`.
pub(crate) fn heard_of_phase1(notify: &Notify<'_>, current: &Limits, core: &Core) -> News {
    let cookies = cookies(core);
    let family = Family::Isakmp { cookies: &cookies };
    heard(notify, family, current, &phase1_policy(&core.connection), Phase::One)
}

/// What they say about a child with these limits that the sender takes packets for under `spi`.
pub(crate) fn heard_of_child(
    notify: &Notify<'_>,
    (protocol, spi): (ProtocolId, Spi),
    current: &Limits,
    core: &Core,
) -> News {
    let (cookies, spi) = (cookies(core), spi.to_octets());
    let family = Family::Ipsec { protocol: protocol.0, spi: &spi, cookies: &cookies };
    // Bounds are for responders; the floor is the same for all.
    let strict = core.connection.lifetime_rule.strict;
    let policy = Policy { strict, ..Policy::new(Phase::Two) };
    heard(notify, family, current, &policy, Phase::Two)
}

/// A limit of ours in seconds.
pub(crate) fn seconds(life: Option<Duration>) -> Option<Limit> {
    life.map(|life| Limit::new(life.as_secs(), Origin::Configured))
}

fn heard(
    notify: &Notify<'_>,
    family: Family<'_>,
    current: &Limits,
    policy: &Policy,
    phase: Phase,
) -> News {
    let about = ResponderLifetime {
        doi: notify.doi.0,
        protocol: notify.protocol.0,
        spi: notify.spi,
        protected: true,
    };
    if notify.kind != NotifyType::RESPONDER_LIFETIME || !about.is_about(family) {
        return News::default();
    }
    let reception = receive(read(notify.data, phase), current, policy);
    let adopted = |heed, limit: Option<Limit>| match heed {
        Heed::Adopted => limit.map(|limit| limit.amount),
        Heed::Unsaid | Heed::Ignored | Heed::Early(_) => None,
    };
    let early = |heed| match heed {
        Heed::Early(amount) => Some(amount),
        Heed::Unsaid | Heed::Ignored | Heed::Adopted => None,
    };
    let Limits { seconds, kilobytes } = reception.limits;
    News {
        end: adopted(reception.seconds, seconds).map(Duration::from_secs),
        kilobytes: adopted(reception.kilobytes, kilobytes),
        renewal: early(reception.seconds).map(Duration::from_secs),
        renewal_kilobytes: early(reception.kilobytes),
        delete: reception.delete,
    }
}

fn read(data: &[u8], phase: Phase) -> Heard {
    let Ok(attributes) = Attributes::read(&mut Reader(data)) else { return Heard::Malformed };
    let all: Option<Vec<(u16, u64)>> =
        attributes.iter().map(|one| Some((one.class, one.value.number()?))).collect();
    all.map_or(Heard::Malformed, |all| ResponderLifetime::read(&all, phase))
}

// ---- Policies ----

fn phase1_policy(connection: &Connection) -> Policy {
    let life = match connection.rekey_time.is_zero() {
        true => Duration::ZERO,
        false => connection.rekey_time + connection.over_time,
    };
    let rule = connection.lifetime_rule;
    let kilobytes = own_phase1_kilobytes(connection).map(|own| Limit::new(own, Origin::Configured));
    let policy = policy(Phase::One, life.as_secs(), rule.ike_seconds, rule.strict);
    Policy {
        kilobytes: bounds(kilobytes.clone(), rule.ike_kilobytes, FLOOR_KILOBYTES),
        ours: Limits { kilobytes, ..policy.ours },
        absent: match rule.absent {
            AbsentLifetime::Shorter => Absent::Shorter,
            AbsentLifetime::LocalDefault => Absent::LocalDefault,
            AbsentLifetime::Seconds28800 => Absent::Seconds28800,
            AbsentLifetime::Infinite => Absent::Infinite,
            AbsentLifetime::Reject => Absent::Reject,
        },
        ..policy
    }
}

fn child_policy(config: &ChildConfig, connection: &Connection) -> Policy {
    let rule = connection.lifetime_rule;
    let kilobytes = kilobytes_of(config.lifetime.octets);
    let own = kilobytes.map(|amount| Limit::new(amount, Origin::Configured));
    let policy = policy(Phase::Two, config.lifetime.seconds.hard, rule.child_seconds, rule.strict);
    Policy {
        kilobytes: bounds(own.clone(), rule.child_kilobytes, FLOOR_KILOBYTES),
        ours: Limits { kilobytes: own, ..policy.ours },
        ..policy
    }
}

/// A limit of ours in octets, as a limit that others take.
fn kilobytes_of(octets: LimitSpec) -> Option<u64> {
    (octets.hard > 0).then(|| (octets.hard / KILOBYTE_OCTETS).max(FLOOR_KILOBYTES))
}

/// What follows from a limit of ours in seconds, zero for none, and from what the operator takes.
fn policy(phase: Phase, seconds: u64, range: LifetimeBounds, strict: bool) -> Policy {
    let ours = (seconds > 0).then(|| Limit::new(seconds, Origin::Configured));
    Policy {
        seconds: bounds(ours.clone(), range, FLOOR_SECONDS),
        ours: Limits { seconds: ours, kilobytes: None },
        strict,
        ..Policy::new(phase)
    }
}

/// Without a most of the operator's that is our own limit.
fn bounds(ours: Option<Limit>, range: LifetimeBounds, floor: u64) -> Bounds {
    let most = (range.most > 0).then(|| Limit::new(range.most, Origin::Configured));
    Bounds { floor, least: range.least.max(floor), most: most.or(ours) }
}

fn cookies(core: &Core) -> [u8; 16] {
    let mut both = [0; 16];
    let (initiator, responder) = both.split_at_mut(8);
    initiator.copy_from_slice(&core.cookie_i.0);
    responder.copy_from_slice(&core.cookie_r.0);
    both
}

#[cfg(test)]
mod tests {
    use adit_wire::iana::doi::{Doi, ProtocolId as Of};

    use super::*;

    const COOKIES: [u8; 16] = [7; 16];

    fn hour() -> Limits {
        Limits { seconds: seconds(Some(Duration::from_hours(1))), kilobytes: None }
    }

    fn plain(phase: Phase, seconds: u64) -> Policy {
        policy(phase, seconds, LifetimeBounds::default(), false)
    }

    fn about_phase1(doi: Doi, spi: &[u8], data: &[u8]) -> News {
        let kind = NotifyType::RESPONDER_LIFETIME;
        let notify = Notify { doi, protocol: Of::ISAKMP, spi, kind, data };
        let family = Family::Isakmp { cookies: &COOKIES };
        heard(&notify, family, &hour(), &plain(Phase::One, 3_600), Phase::One)
    }

    fn news(end: u64, renewal: u64) -> News {
        let some = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        News { end: some(end), renewal: some(renewal), ..News::default() }
    }

    /// docs/lifetimes.md, rules 7 and 8: less is adopted, more ignored, and what is no life means early
    /// renewal; whatever form deployed peers give it.
    #[test]
    fn what_is_heard_is_heeded_by_the_rule() {
        let of = |seconds| data(Offer::of_seconds(seconds));
        let long_form = [0, 11, 0, 2, 0, 1, 0, 12, 0, 4, 0, 0, 7, 8];
        for doi in [Doi::ISAKMP, Doi::IPSEC] {
            for spi in [&COOKIES[..], &[]] {
                assert_eq!(about_phase1(doi, spi, &of(1_800)), news(1_800, 0));
                assert_eq!(about_phase1(doi, spi, &long_form), news(1_800, 0));
                assert_eq!(about_phase1(doi, spi, &of(3_600)), News::default());
                assert_eq!(about_phase1(doi, spi, &of(86_400)), News::default());
                assert_eq!(about_phase1(doi, spi, &of(59)), news(0, 30));
                assert_eq!(about_phase1(doi, spi, &of(0)), news(0, 30));
                assert_eq!(about_phase1(doi, spi, &[1]), news(0, 30));
                assert_eq!(about_phase1(doi, spi, &[0x80, 1, 0, 1, 0, 2, 0, 0]), news(0, 30));
            }
            assert_eq!(about_phase1(doi, &[8; 16], &of(1_800)), News::default());
        }
    }

    /// The notify of a child names the SPI that its sender takes packets under.
    #[test]
    fn children_are_told_apart() {
        let [data, spi] = [data(Offer::of_seconds(900)), vec![1, 2, 3, 4]];
        let heard = |family| {
            let kind = NotifyType::RESPONDER_LIFETIME;
            let notify = Notify { doi: Doi::IPSEC, protocol: Of(3), spi: &spi, kind, data: &data };
            heard(&notify, family, &hour(), &plain(Phase::Two, 0), Phase::Two)
        };
        let family = |spi| Family::Ipsec { protocol: 3, spi, cookies: &COOKIES };
        assert_eq!(heard(family(&[1, 2, 3, 4])), news(900, 0));
        assert_eq!(heard(family(&[1, 2, 3, 5])), News::default());
        assert_eq!(heard(Family::Isakmp { cookies: &COOKIES }), News::default());
    }
}
