//! RESPONDER-LIFETIME (RFC 2407 §4.6.3.1) as `docs/lifetimes.md` has it: a responder that lives shorter
//! than it was asked to says so, and an initiator that hears of it does what can be done.
//!
//! The rule is `crate::lifetime`; here are the policies that follow from a configuration, and the form of
//! the notify. Seconds alone are negotiated: limits in octets each end keeps for itself.

use std::time::Duration;

use adit_db::{ChildConfig, Connection};
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId;
use adit_wire::iana::isakmp::NotifyType;
use adit_wire::isakmp::{Attributes, ChainBuilder, Notify};
use adit_wire::{Reader, doi};

use crate::lifetime::{
    Agreement, Bounds, FLOOR_SECONDS, Family, Heard, Heed, Limit, Limits, Offer, Origin, Phase,
    Policy, ResponderLifetime, receive, respond,
};

use super::core::Core;
use super::informational;

/// What an initiator makes of what it has heard about an SA.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct News {
    /// It ends then, counted from its beginning.
    pub(crate) end: Option<Duration>,
    /// It is renewed by then: the peer wants what is no life, and may end it without a word.
    pub(crate) renewal: Option<Duration>,
}

impl News {
    /// When it is to be renewed at the latest: a tenth before the end there is time for that.
    pub(crate) fn latest_renewal(self) -> Option<Duration> {
        let before_end = self.end.map(|end| end.saturating_sub(end / 10));
        self.renewal.or(before_end)
    }
}

// ---- Responder ----

/// What a responder makes of the seconds that are offered for a phase 1; `None` if they are refused.
pub(crate) fn of_phase1(offered: Option<u64>, connection: &Connection) -> Option<Agreement> {
    respond(Offer { seconds: offered, kilobytes: None }, &phase1_policy(connection)).ok()
}

/// The same for a child.
pub(crate) fn of_phase2(offered: Option<Duration>, config: &ChildConfig) -> Option<Agreement> {
    let seconds = offered.map(|life| life.as_secs());
    respond(Offer { seconds, kilobytes: None }, &policy(Phase::Two, child_seconds(config))).ok()
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

// ---- Initiator ----

/// What authentic notifies say about the phase 1 that they came under, which ends after `current`.
pub(crate) fn heard_of_phase1(notify: &Notify<'_>, current: Option<Duration>, core: &Core) -> News {
    let cookies = cookies(core);
    let family = Family::Isakmp { cookies: &cookies };
    heard(notify, family, current, &phase1_policy(&core.connection), Phase::One)
}

/// What they say about a child that the sender takes packets for under `spi`.
pub(crate) fn heard_of_child(
    notify: &Notify<'_>,
    (protocol, spi): (ProtocolId, Spi),
    current: Option<Duration>,
    core: &Core,
) -> News {
    let (cookies, spi) = (cookies(core), spi.to_octets());
    let family = Family::Ipsec { protocol: protocol.0, spi: &spi, cookies: &cookies };
    // Bounds are for responders; the floor is the same for all.
    heard(notify, family, current, &policy(Phase::Two, 0), Phase::Two)
}

fn heard(
    notify: &Notify<'_>,
    family: Family<'_>,
    current: Option<Duration>,
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
    let limit = current.map(|life| Limit::new(life.as_secs(), Origin::Configured));
    let current = Limits { seconds: limit, kilobytes: None };
    let reception = receive(read(notify.data, phase), &current, policy);
    let end = match reception.seconds {
        Heed::Adopted => reception.limits.seconds.map(|limit| Duration::from_secs(limit.amount)),
        Heed::Unsaid | Heed::Ignored | Heed::Early(_) => None,
    };
    let renewal = match reception.seconds {
        Heed::Early(seconds) => Some(Duration::from_secs(seconds)),
        Heed::Unsaid | Heed::Ignored | Heed::Adopted => None,
    };
    News { end, renewal }
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
    policy(Phase::One, life.as_secs())
}

fn child_seconds(config: &ChildConfig) -> u64 {
    config.lifetime.seconds.hard
}

/// What follows from a limit of ours; zero is none.
fn policy(phase: Phase, seconds: u64) -> Policy {
    let ours = (seconds > 0).then(|| Limit::new(seconds, Origin::Configured));
    Policy {
        seconds: Bounds { most: ours.clone(), ..Bounds::any(FLOOR_SECONDS) },
        ours: Limits { seconds: ours, kilobytes: None },
        ..Policy::new(phase)
    }
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
    const HOUR: Option<Duration> = Some(Duration::from_secs(3_600));

    fn about_phase1(doi: Doi, spi: &[u8], data: &[u8]) -> News {
        let kind = NotifyType::RESPONDER_LIFETIME;
        let notify = Notify { doi, protocol: Of::ISAKMP, spi, kind, data };
        let family = Family::Isakmp { cookies: &COOKIES };
        heard(&notify, family, HOUR, &policy(Phase::One, 3_600), Phase::One)
    }

    fn news(end: u64, renewal: u64) -> News {
        let some = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        News { end: some(end), renewal: some(renewal) }
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
            heard(&notify, family, HOUR, &policy(Phase::Two, 0), Phase::Two)
        };
        let family = |spi| Family::Ipsec { protocol: 3, spi, cookies: &COOKIES };
        assert_eq!(heard(family(&[1, 2, 3, 4])), news(900, 0));
        assert_eq!(heard(family(&[1, 2, 3, 5])), News::default());
        assert_eq!(heard(Family::Isakmp { cookies: &COOKIES }), News::default());
    }
}
