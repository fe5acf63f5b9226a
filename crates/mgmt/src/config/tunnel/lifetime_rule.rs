//! What a tunnel of IKEv1 takes of the lifetimes that its peer offers (`docs/lifetimes.md`), and kilobytes,
//! which no other version negotiates.

use adit_db::{
    AbsentLifetime, ChildConfig, Connection, IkeVersion, LifetimeBounds, LifetimeRule, LimitSpec,
};

use super::read_time;
use crate::config::fields::Fields;
use crate::config::report::Mistake;

/// Keys of this file.
const KEYS: &[&str] = &[
    "life_absent",
    "life_strict",
    "ike_life_min",
    "ike_life_max",
    "ike_life_kilobytes",
    "ike_life_kilobytes_min",
    "ike_life_kilobytes_max",
    "life_min",
    "life_max",
    "life_kilobytes",
    "life_kilobytes_min",
    "life_kilobytes_max",
];

const ABSENT: &[(&str, AbsentLifetime)] = &[
    ("local-default", AbsentLifetime::LocalDefault),
    ("28800", AbsentLifetime::Seconds28800),
    ("infinite", AbsentLifetime::Infinite),
    ("reject", AbsentLifetime::Reject),
];

/// Octets of a kilobyte where an SA ends.
const KILOBYTE: u64 = 1_024;

/// The least that any peer has to take, which is as much as the rule's floor.
const KILOBYTES_MIN: u32 = 1_024;

/// Reads the keys; `rekey` and `life` have been read.
pub(super) fn read(
    fields: &mut Fields<'_>,
    version: IkeVersion,
    connection: &mut Connection,
    child: &mut ChildConfig,
) {
    if version == IkeVersion::V2 {
        refuse(fields);
    }
    let mut rule = LifetimeRule::default();
    if let Some(absent) = fields.word("life_absent", ABSENT) {
        rule.absent = absent.value;
    }
    if let Some(strict) = fields.flag("life_strict", &[]) {
        rule.strict = strict.value;
    }
    rule.ike_seconds = times(fields, "ike_life_min", "ike_life_max");
    let ike = ["ike_life_kilobytes", "ike_life_kilobytes_min", "ike_life_kilobytes_max"];
    let (own, bounds) = kilobytes(fields, ike);
    (rule.ike_own_kilobytes, rule.ike_kilobytes) = (own.unwrap_or(0), bounds);
    rule.child_seconds = times(fields, "life_min", "life_max");
    let child_keys = ["life_kilobytes", "life_kilobytes_min", "life_kilobytes_max"];
    let (own, bounds) = kilobytes(fields, child_keys);
    rule.child_kilobytes = bounds;
    if version == IkeVersion::V2 {
        return;
    }
    connection.lifetime_rule = rule;
    if let Some(own) = own {
        // When it is renewed follows from who has the higher address.
        child.lifetime.octets = LimitSpec { hard: own * KILOBYTE, ..LimitSpec::NONE };
    }
}

fn times(fields: &mut Fields<'_>, least: &'static str, most: &'static str) -> LifetimeBounds {
    let shortest = read_time(fields, least, false);
    let longest = read_time(fields, most, false);
    let bounds = LifetimeBounds {
        least: shortest.map_or(0, |least| least.value),
        most: longest.as_ref().map_or(0, |most| most.value),
    };
    check(fields, longest.map(|most| most.span), bounds, most);
    bounds
}

/// Our own limit in kilobytes, and what is taken of others.
fn kilobytes(fields: &mut Fields<'_>, keys: [&'static str; 3]) -> (Option<u64>, LifetimeBounds) {
    let [own, least, most] = keys.map(|key| {
        let amount = fields.integer(key, KILOBYTES_MIN..=u32::MAX, "kilobytes of 1024 octets");
        amount.map(|amount| amount.map(u64::from))
    });
    let span = most.as_ref().map(|most| most.span.clone());
    let bounds = LifetimeBounds {
        least: least.map_or(0, |least| least.value),
        most: most.map_or(0, |most| most.value),
    };
    let [_, _, key] = keys;
    check(fields, span, bounds, key);
    (own.map(|own| own.value), bounds)
}

fn check(
    fields: &mut Fields<'_>,
    span: Option<std::ops::Range<usize>>,
    bounds: LifetimeBounds,
    key: &str,
) {
    if let Some(span) = span.filter(|_| bounds.most < bounds.least) {
        fields.mistake(
            Mistake::new(span, format!("`{key}` is less than the least"))
                .label("no offer could be taken")
                .help("write the greater number here, or leave one of the two out"),
        );
    }
}

/// IKEv2 negotiates no lifetimes.
fn refuse(fields: &mut Fields<'_>) {
    let found: Vec<_> = KEYS.iter().filter_map(|key| Some((key, fields.key_span(key)?))).collect();
    for (key, span) in found {
        fields.mistake(
            Mistake::new(span, format!("`{key}` is for ike = 1"))
                .label("IKEv2 negotiates no lifetimes: each end has its own")
                .help("leave it out; `life` and `rekey` are ours"),
        );
    }
}
