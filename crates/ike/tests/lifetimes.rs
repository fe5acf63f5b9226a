//! Lifetimes that two ends cannot misread: every case, and what holds in all of them.
//!
//! The tables of `docs/lifetimes.md` are what the code says; `cargo xtask lifetimes` writes them anew.

#![cfg(test)]

#[path = "lifetimes/tables.rs"]
mod tables;

use adit_ike::lifetime::{
    Absent, Agreement, Bounds, FLOOR_SECONDS, Family, Heard, Heed, Limit, Limits, Offer, Origin,
    Phase, Policy, Rank, Reception, Refusal, ResponderLifetime, duration, receive, respond, soft,
};
use proptest::prelude::*;

const COOKIES: [u8; 16] = *b"initiatoresponde";

/// How a notify goes to its initiator: DOI, classes of its attributes, SPI; or it does not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Heard { doi: u32, classes: (u16, u16), spi: &'static [u8] },
    Forged,
    Lost,
}

impl Way {
    const FORMS: [Self; 8] = [
        Self::Heard { doi: 0, classes: (1, 2), spi: &COOKIES },
        Self::Heard { doi: 0, classes: (11, 12), spi: &COOKIES },
        Self::Heard { doi: 1, classes: (1, 2), spi: &COOKIES },
        Self::Heard { doi: 1, classes: (11, 12), spi: &COOKIES },
        Self::Heard { doi: 0, classes: (1, 2), spi: &[] },
        Self::Heard { doi: 0, classes: (11, 12), spi: &[] },
        Self::Heard { doi: 1, classes: (1, 2), spi: &[] },
        Self::Heard { doi: 1, classes: (11, 12), spi: &[] },
    ];

    /// What comes of it at the initiator.
    fn deliver(self, said: Offer, current: &Limits, policy: &Policy) -> Limits {
        let (doi, classes, spi, protected) = match self {
            Self::Heard { doi, classes, spi } => (doi, classes, spi, true),
            Self::Forged => (0, (1, 2), &COOKIES[..], false),
            Self::Lost => return current.clone(),
        };
        let notify = ResponderLifetime { doi, protocol: 1, spi, protected };
        if !notify.is_about(Family::Isakmp { cookies: &COOKIES }) {
            return current.clone();
        }
        let (class, value) = classes;
        let of = |unit, amount: Option<u64>| amount.map(|amount| [(class, unit), (value, amount)]);
        let attributes = [of(1, said.seconds), of(2, said.kilobytes)];
        let attributes: Vec<(u16, u64)> = attributes.into_iter().flatten().flatten().collect();
        let heard = ResponderLifetime::read(&attributes, Phase::One);
        receive(heard, current, policy).limits
    }
}

/// Specification 2 §2.6: what the initiator sends.
const OFFERS: [(&str, Offer); 7] = [
    ("nothing", Offer::NONE),
    ("3600 s", Offer::of_seconds(3_600)),
    ("100000 kB", Offer::of_kilobytes(100_000)),
    ("3600 s, 100000 kB", Offer { seconds: Some(3_600), kilobytes: Some(100_000) }),
    ("3600 s in 4 octets", of_octets(&[0, 0, 0x0e, 0x10])),
    ("3600 s in 8 octets", of_octets(&[0, 0, 0, 0, 0, 0, 0x0e, 0x10])),
    ("90 s in 1 octet", of_octets(&[90])),
];

/// A duration of so many octets; the number itself is [`duration`]'s to read, see below.
const fn of_octets(octets: &[u8]) -> Offer {
    let mut number = 0;
    let mut rest = octets;
    while let [first, more @ ..] = rest {
        number = number * 256 + *first as u64;
        rest = more;
    }
    Offer::of_seconds(number)
}

/// Specification 2 §2.6: what the responder has, beside an offer of 3,600 s and 100,000 kB.
const RESPONDERS: [(&str, Option<(u64, u64)>); 4] = [
    ("shorter: 1800 s, 50000 kB", Some((1_800, 50_000))),
    ("equal: 3600 s, 100000 kB", Some((3_600, 100_000))),
    ("longer: 7200 s, 200000 kB", Some((7_200, 200_000))),
    ("none", None),
];

fn configured(amount: u64) -> Option<Limit> {
    Some(Limit::new(amount, Origin::Configured))
}

fn policy(most: Option<(u64, u64)>) -> Policy {
    let seconds = most.and_then(|(seconds, _)| configured(seconds));
    let kilobytes = most.and_then(|(_, kilobytes)| configured(kilobytes));
    let base = Policy::new(Phase::One);
    Policy {
        ours: Limits { seconds: seconds.clone(), kilobytes: kilobytes.clone() },
        seconds: Bounds { most: seconds, ..base.seconds.clone() },
        kilobytes: Bounds { most: kilobytes, ..base.kilobytes.clone() },
        ..base
    }
}

/// What an initiator has by its own offer, however it came to make it.
fn by_offer(offer: Offer) -> Limits {
    Limits {
        seconds: offer.seconds.and_then(configured),
        kilobytes: offer.kilobytes.and_then(configured),
    }
}

fn amounts(limits: &Limits) -> Offer {
    let amount = |limit: &Option<Limit>| limit.as_ref().map(|limit| limit.amount);
    Offer { seconds: amount(&limits.seconds), kilobytes: amount(&limits.kilobytes) }
}

fn of(seconds: u64, kilobytes: u64) -> Offer {
    let some = |amount| Some(amount).filter(|amount| *amount > 0);
    Offer { seconds: some(seconds), kilobytes: some(kilobytes) }
}

/// Where the responder ends the SA, and what it says: seconds and kilobytes. Zero is no limit, or nothing
/// said.
type Expected = ((u64, u64), (u64, u64));

/// Specification 2 §2.3, §2.6: every offer with every responder, written down by hand.
const EXPECTED: [[Expected; 4]; 7] = [
    [
        ((1_800, 50_000), (1_800, 50_000)),
        ((3_600, 100_000), (3_600, 100_000)),
        ((7_200, 200_000), (7_200, 200_000)),
        ((28_800, 0), (28_800, 0)),
    ],
    SECONDS_ONLY,
    [
        ((1_800, 50_000), (1_800, 50_000)),
        ((3_600, 100_000), (3_600, 0)),
        ((7_200, 100_000), (7_200, 0)),
        ((28_800, 100_000), (28_800, 0)),
    ],
    [
        ((1_800, 50_000), (1_800, 50_000)),
        ((3_600, 100_000), (0, 0)),
        ((3_600, 100_000), (0, 0)),
        ((3_600, 100_000), (0, 0)),
    ],
    SECONDS_ONLY,
    SECONDS_ONLY,
    [
        ((90, 50_000), (0, 50_000)),
        ((90, 100_000), (0, 100_000)),
        ((90, 200_000), (0, 200_000)),
        ((90, 0), (0, 0)),
    ],
];

const SECONDS_ONLY: [Expected; 4] = [
    ((1_800, 50_000), (1_800, 50_000)),
    ((3_600, 100_000), (0, 100_000)),
    ((3_600, 200_000), (0, 200_000)),
    ((3_600, 0), (0, 0)),
];

#[test]
fn every_offer_with_every_responder() {
    for ((name, offer), expected) in OFFERS.iter().zip(EXPECTED) {
        for ((has, most), (ends, says)) in RESPONDERS.iter().zip(expected) {
            let agreement = respond(*offer, &policy(*most)).unwrap();
            assert_eq!(amounts(&agreement.limits), of(ends.0, ends.1), "{name} / {has}");
            let said = Some(of(says.0, says.1)).filter(|said| *said != Offer::NONE);
            assert_eq!(agreement.notify, said, "{name} / {has}");
        }
    }
    for (octets, offer) in [(&[0, 0, 0x0e, 0x10][..], OFFERS[4]), (&[90], OFFERS[6])] {
        assert_eq!(duration(octets), offer.1.seconds);
    }
}

/// Specification 2 §2.6: whatever form the notify has, both ends have one limit afterwards; lost or forged
/// it changes nothing, and the end whose limit comes first renews before that.
#[test]
fn every_offer_with_every_responder_and_every_notify() {
    for (name, offer) in OFFERS {
        for (has, most) in RESPONDERS {
            let theirs = respond(offer, &policy(most)).unwrap();
            let before = by_offer(offer);
            for way in Way::FORMS {
                let after = match theirs.notify {
                    Some(said) => way.deliver(said, &before, &policy(None)),
                    None => before.clone(),
                };
                assert_eq!(amounts(&after), amounts(&theirs.limits), "{name} / {has} / {way:?}");
            }
            for way in [Way::Lost, Way::Forged] {
                let said = theirs.notify.unwrap_or_default();
                let after = way.deliver(said, &before, &policy(None));
                assert_eq!(after, before, "{name} / {has} / {way:?}");
                assert_nobody_is_surprised(&after, &theirs.limits);
            }
        }
    }
}

/// Some end renews the SA before any end of it, in each unit: nobody waits for a DELETE.
fn assert_nobody_is_surprised(initiator: &Limits, responder: &Limits) {
    for (ours, theirs) in [(Rank::Lower, Rank::Higher), (Rank::Higher, Rank::Lower)] {
        let ends = [(initiator, ours), (responder, theirs)];
        let seconds = ends.map(|(limits, rank)| {
            limits.seconds.as_ref().map(|limit| (soft(limit.amount, rank), limit.amount))
        });
        let octets = ends.map(|(limits, rank)| limits.octets(rank));
        for unit in [seconds, octets] {
            let known = || unit.iter().flatten();
            let renewed = known().map(|(soft, _)| soft).min();
            let ended = known().map(|(_, hard)| hard).min();
            assert!(renewed.is_none() || renewed < ended, "{initiator:?} {responder:?}");
        }
    }
}

/// Specification 2 §2.3.2: the knob `absent`, beside a policy that ends in an hour or in a day.
#[test]
fn an_absent_lifetime_is_what_the_operator_says() {
    let with = |absent, most| {
        let policy = Policy { absent, ..policy(most) };
        let agreement = respond(Offer::NONE, &policy).map(|agreement| {
            let told = agreement.notify.and_then(|offer| offer.seconds);
            assert_eq!(told, amounts(&agreement.limits).seconds);
            told
        });
        agreement.ok()
    };
    let (hour, day) = (Some((3_600, 0x8000)), Some((86_400, 0x8000)));
    assert_eq!(with(Absent::Shorter, hour), Some(Some(3_600)));
    assert_eq!(with(Absent::Shorter, day), Some(Some(28_800)));
    assert_eq!(with(Absent::Shorter, None), Some(Some(28_800)));
    assert_eq!(with(Absent::LocalDefault, day), Some(Some(86_400)));
    assert_eq!(with(Absent::LocalDefault, None), Some(None));
    assert_eq!(with(Absent::Seconds28800, hour), Some(Some(3_600)));
    assert_eq!(with(Absent::Seconds28800, day), Some(Some(28_800)));
    assert_eq!(with(Absent::Infinite, day), Some(Some(86_400)));
    assert_eq!(with(Absent::Infinite, None), Some(None));
    assert_eq!(with(Absent::Reject, day), None);
}

/// RFC 2407 §4.5: nothing said in phase 2 is 28,800 seconds, as both ends know; less is told.
#[test]
fn phase_2_has_a_default() {
    let base = Policy::new(Phase::Two);
    let agreement = respond(Offer::NONE, &base).unwrap();
    assert_eq!(agreement.notify, None);
    assert_eq!(agreement.limits.seconds, Some(Limit::new(28_800, Origin::Doi)));
    let seconds = Bounds { most: configured(3_600), ..base.seconds.clone() };
    let agreement = respond(Offer::NONE, &Policy { seconds, ..base }).unwrap();
    assert_eq!(agreement.notify, Some(Offer::of_seconds(3_600)));
    assert_eq!(agreement.limits.seconds, configured(3_600));
}

/// Specification 2 §2.3.3: too short is a storm, and strict takes nothing outside of the bounds.
#[test]
fn offers_that_are_refused() {
    let lax = policy(Some((3_600, 50_000)));
    let below = |offered, floor| Err(Refusal::BelowFloor { offered, floor });
    assert_eq!(respond(Offer::of_seconds(59), &lax), below(59, 60));
    assert_eq!(respond(Offer::of_seconds(0), &lax), below(0, 60));
    assert_eq!(respond(Offer::of_kilobytes(0), &lax), below(0, 1_024));
    assert!(respond(Offer::of_seconds(60), &lax).is_ok());
    let least = Bounds { least: 600, ..lax.seconds.clone() };
    let strict = Policy { strict: true, seconds: least, ..lax };
    let out = |offered| Err(Refusal::OutOfBounds { offered, least: 600, most: 3_600 });
    assert_eq!(respond(Offer::of_seconds(599), &strict), out(599));
    assert_eq!(respond(Offer::of_seconds(3_601), &strict), out(3_601));
    assert!(respond(Offer::of_seconds(3_600), &strict).is_ok());
    let lax = Policy { strict: false, ..strict };
    let agreement = respond(Offer::of_seconds(300), &lax).unwrap();
    assert_eq!(agreement.limits.seconds, Some(Limit::new(300, Origin::Offered)));
    let agreement = respond(Offer::of_seconds(u64::MAX), &lax).unwrap();
    assert_eq!(agreement.limits.seconds, configured(3_600));
}

fn heard(heard: Heard, strict: bool) -> Reception {
    let policy = Policy { strict, ..policy(None) };
    receive(heard, &by_offer(Offer::of_seconds(3_600)), &policy)
}

/// Specification 2 §2.3.5: less is adopted, more is ignored, and what cannot be tears nothing down.
#[test]
fn what_an_initiator_makes_of_a_notify() {
    let says = |seconds| heard(Heard::Says(Offer::of_seconds(seconds)), false);
    let unchanged = by_offer(Offer::of_seconds(3_600));
    assert_eq!(says(60).seconds, Heed::Adopted);
    assert_eq!(says(60).limits.seconds, Some(Limit::new(60, Origin::Notified)));
    for (seconds, heed) in [
        (3_600, Heed::Ignored),
        (7_200, Heed::Ignored),
        (u64::MAX, Heed::Ignored),
        (59, Heed::Early(30)),
        (0, Heed::Early(30)),
    ] {
        let reception = says(seconds);
        assert_eq!((reception.seconds, reception.delete), (heed, false), "{seconds}");
        assert_eq!(reception.limits, unchanged, "{seconds}");
    }
    let malformed = heard(Heard::Malformed, false);
    assert_eq!((malformed.seconds, malformed.limits), (Heed::Early(30), unchanged));
    assert!(heard(Heard::Malformed, true).delete);
    assert!(heard(Heard::Says(Offer::of_seconds(59)), true).delete);
    assert!(!heard(Heard::Says(Offer::of_seconds(60)), true).delete);
    assert!(!heard(Heard::Says(Offer::of_seconds(7_200)), true).delete);
    // Kilobytes of no limit, so any reasonable number is less.
    let kilobytes = heard(Heard::Says(Offer::of_kilobytes(5_000)), false);
    assert_eq!((kilobytes.seconds, kilobytes.kilobytes), (Heed::Unsaid, Heed::Adopted));
}

/// Specification 2 §2.4: the forms in which a notify is about an SA of ours, and those in which it is not.
#[test]
fn forms_of_the_notify() {
    let isakmp = Family::Isakmp { cookies: &COOKIES };
    let esp = Family::Ipsec { protocol: 3, spi: &[1, 2, 3, 4], cookies: &COOKIES };
    let about = |doi, protocol, spi, sa| {
        let notify = ResponderLifetime { doi, protocol, spi, protected: true };
        let forged = ResponderLifetime { protected: false, ..notify };
        assert!(!forged.is_about(sa), "{forged:?}");
        notify.is_about(sa)
    };
    for doi in [0, 1] {
        assert!(about(doi, 1, &COOKIES, isakmp) && about(doi, 1, &[], isakmp));
        assert!(!about(doi, 1, &[7; 16], isakmp) && !about(doi, 1, &COOKIES[..8], isakmp));
        assert!(!about(doi, 3, &COOKIES, isakmp));
    }
    assert!(about(1, 3, &[1, 2, 3, 4], esp) && about(1, 3, &COOKIES, esp));
    assert!(!about(0, 3, &[1, 2, 3, 4], esp), "DOI 0 has no ESP");
    assert!(!about(1, 2, &[1, 2, 3, 4], esp) && !about(1, 3, &[4, 3, 2, 1], esp));
    assert!(!about(1, 3, &[], esp), "which one would it be?");
    assert!(!about(2, 1, &COOKIES, isakmp));
    let read = ResponderLifetime::read;
    let hour = Heard::Says(Offer::of_seconds(3_600));
    assert_eq!(read(&[(1, 1), (2, 3_600)], Phase::Two), hour);
    assert_eq!(read(&[(11, 1), (12, 3_600)], Phase::Two), Heard::Malformed);
    assert_eq!(read(&[(11, 1), (12, 3_600), (1, 1), (2, 3_600)], Phase::One), hour);
    assert_eq!(read(&[(11, 1), (12, 3_600), (1, 1), (2, 60)], Phase::One), Heard::Malformed);
    assert_eq!(read(&[], Phase::One), Heard::Malformed);
    assert_eq!(read(&[(2, 3_600)], Phase::One), Heard::Malformed);
}

/// RFC 2401 §4.4.3: no SA outlives the certificates that it rests on.
#[test]
fn a_certificate_bounds_the_seconds() {
    let until = adit_pki::Moment(1_800_000_000);
    let origin = Origin::Certificate { ours: false, subject: "CN=moon".to_owned(), until };
    let limit = |amount| Limit::new(amount, origin.clone());
    let limits = by_offer(of(3_600, 5_000));
    assert_eq!(limits.clone().bounded(limit(4_000)), limits);
    assert_eq!(limits.bounded(limit(900)).seconds, Some(limit(900)));
    assert_eq!(Limits::default().bounded(limit(900)).seconds, Some(limit(900)));
    let text = origin.to_string();
    assert_eq!(text, "the peer's certificate CN=moon is valid until 2027-01-15 08:00 UTC");
}

/// `docs/lifetimes.md` says what the code says.
#[test]
fn the_document_is_up_to_date() {
    let document = include_str!("../../../docs/lifetimes.md");
    let (head, rest) = document.split_once(tables::BEGIN).expect("a place for the tables");
    let (_, tail) = rest.split_once(tables::END).expect("an end of the tables");
    let right = format!("{head}{}\n\n{}\n{}{tail}", tables::BEGIN, tables::all(), tables::END);
    let copy = concat!(env!("CARGO_TARGET_TMPDIR"), "/lifetimes.md");
    std::fs::write(copy, &right).unwrap();
    assert!(document == right, "`cargo xtask lifetimes` writes docs/lifetimes.md anew");
}

fn amount() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        Just(None),
        (0_u64..200).prop_map(Some),
        (200_u64..1_000_000).prop_map(Some),
        any::<u64>().prop_map(Some),
    ]
}

prop_compose! {
    /// Any policy of somebody who is in their right mind: what they offer is within their bounds.
    fn any_policy()(
        seconds in amount(), kilobytes in amount(), strict: bool,
        absent in prop_oneof![
            Just(Absent::Shorter), Just(Absent::LocalDefault), Just(Absent::Seconds28800),
            Just(Absent::Infinite), Just(Absent::Reject),
        ],
        phase in prop_oneof![Just(Phase::One), Just(Phase::Two)],
    ) -> Policy {
        let base = Policy::new(phase);
        let seconds = seconds.map(|amount| amount.max(base.seconds.floor)).and_then(configured);
        let kilobytes = kilobytes.map(|amount| amount.max(base.kilobytes.floor));
        let kilobytes = kilobytes.and_then(configured);
        Policy {
            ours: Limits { seconds: seconds.clone(), kilobytes: kilobytes.clone() },
            seconds: Bounds { most: seconds, ..base.seconds.clone() },
            kilobytes: Bounds { most: kilobytes, ..base.kilobytes.clone() },
            absent, strict, ..base
        }
    }
}

proptest! {
    /// For any two policies: what our initiator offers and our responder accepts ends at one limit for
    /// both once the notify is heard, no earlier than the floor and no later than either wants; and
    /// without the notify some end still renews before any end ends it.
    #[test]
    fn both_ends_agree(ours in any_policy(), theirs in any_policy()) {
        let theirs = Policy { phase: ours.phase, ..theirs };
        let offer = ours.offer();
        match respond(offer, &theirs) {
            Ok(Agreement { limits, notify }) => {
                let before = by_offer(offer);
                let after = match notify {
                    Some(said) => {
                        let reception = receive(Heard::Says(said), &before, &ours);
                        prop_assert!(!reception.delete, "{reception:?}");
                        reception.limits
                    }
                    None => before.clone(),
                };
                prop_assert_eq!(amounts(&after), amounts(&limits));
                let seconds = limits.seconds.as_ref().map_or(u64::MAX, |limit| limit.amount);
                prop_assert!(seconds >= FLOOR_SECONDS);
                prop_assert!(offer.seconds.is_none_or(|offered| seconds <= offered));
                let most = theirs.seconds.most.as_ref();
                prop_assert!(most.is_none_or(|most| seconds <= most.amount));
                assert_nobody_is_surprised(&after, &limits);
                assert_nobody_is_surprised(&before, &limits);
            }
            Err(Refusal::OutOfBounds { .. }) => prop_assert!(theirs.strict),
            Err(refusal) => prop_assert!(false, "{}", refusal),
        }
    }

    /// Whatever a peer notifies: no renewal comes sooner than half of the floor, the SA never lives longer
    /// than was negotiated, and one that the peer ends without a word is missed for half of the floor at
    /// most.
    #[test]
    fn no_notify_makes_a_storm_or_a_long_silence(
        said in amount(), current in amount(), policy in any_policy(),
    ) {
        let floor = policy.seconds.floor;
        let current = current.map(|amount| amount.max(floor));
        let before = Limits { seconds: current.and_then(configured), kilobytes: None };
        let offer = Offer { seconds: said, kilobytes: None };
        let reception = receive(Heard::Says(offer), &before, &policy);
        let after = amounts(&reception.limits).seconds;
        prop_assert!(after.is_none_or(|after| after >= floor));
        prop_assert!(current.is_none_or(|current| after.is_some_and(|after| after <= current)));
        let said = said.unwrap_or(u64::MAX);
        match reception.seconds {
            Heed::Early(at) => {
                prop_assert!(at >= floor / 2 && said < floor);
                prop_assert!(at.saturating_sub(said) <= floor / 2);
            }
            Heed::Adopted => prop_assert!(after == Some(said)),
            Heed::Ignored => prop_assert!(current.is_some_and(|current| current <= said)),
            Heed::Unsaid => prop_assert_eq!(after, current),
        }
    }

    /// No list of attributes does more than be read or refused.
    #[test]
    fn any_attributes_are_read(
        attributes in prop::collection::vec((0_u16..14, prop_oneof![0_u64..4, any::<u64>()]), 0..8),
    ) {
        for phase in [Phase::One, Phase::Two] {
            if let Heard::Says(offer) = ResponderLifetime::read(&attributes, phase) {
                prop_assert!(offer != Offer::NONE);
            }
        }
    }
}
