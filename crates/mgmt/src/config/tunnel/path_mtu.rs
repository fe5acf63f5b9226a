//! `path_mtu`, `path_mtu_age`, `fragment` and `mss_clamp`: how the path MTU is found and what becomes
//! of what is too long (RFC 4301 §8).

use std::time::Duration;

use adit_db::{
    ChildConfig, EchoRule, Engine, FragmentPolicy, MssClamp, MtuPolicy, PATH_MTU_RANGE, PathMtuRule,
};

use super::super::fields::Fields;
use super::super::report::Mistake;

const PATH: &[(&str, PathMtuRule)] =
    &[("discover", PathMtuRule::Discover), ("ignore", PathMtuRule::Ignore)];

const FRAGMENT: &[(&str, FragmentPolicy)] =
    &[("before", FragmentPolicy::Before), ("after", FragmentPolicy::After)];

/// Least that TCP may be told: what every host takes (RFC 9293 §3.7.1), and some for old habits.
const MSS_MIN: u32 = 88;
/// Most: what fits the longest packet.
const MSS_MAX: u32 = 65_495;
/// Seconds: one minute (RFC 8201 §4: it must not be less than five, if packets are to tell it) to a day.
const AGE_S: std::ops::RangeInclusive<u32> = 60..=86_400;

/// Reads the four keys.
pub(super) fn read(fields: &mut Fields<'_>, engine: Engine, child: &mut ChildConfig) {
    let keys = ["path_mtu", "path_mtu_age", "fragment", "mss_clamp", "path_probe"];
    let first = keys.iter().find_map(|key| fields.key_span(key));
    child.mtu = MtuPolicy {
        path: read_path(fields).unwrap_or_default(),
        ageing: fields
            .integer("path_mtu_age", AGE_S, "seconds")
            .map_or(MtuPolicy::AGEING_DEFAULT, |age| Duration::from_secs(age.value.into())),
        fragment: fields.word("fragment", FRAGMENT).map_or_else(Default::default, |it| it.value),
        mss: read_mss(fields).unwrap_or_default(),
        // It is read once the selectors are known.
        echo: EchoRule::DEFAULT,
    };
    if let Some(place) = first.filter(|_| engine == Engine::Kernel) {
        fields.mistake(
            Mistake::new(place, "the kernel finds the path MTU by itself")
                .label("only the engine of our own obeys this")
                .help("leave the key out, or write engine = \"userspace\""),
        );
    }
}

fn read_path(fields: &mut Fields<'_>) -> Option<PathMtuRule> {
    if fields.is_integer("path_mtu") {
        let (least, most) = (u32::from(*PATH_MTU_RANGE.start()), u32::from(*PATH_MTU_RANGE.end()));
        let value = fields.integer("path_mtu", least..=most, "octets")?.value;
        return u16::try_from(value).ok().map(PathMtuRule::Fixed);
    }
    fields.word("path_mtu", PATH).map(|rule| rule.value)
}

fn read_mss(fields: &mut Fields<'_>) -> Option<MssClamp> {
    if fields.is_integer("mss_clamp") {
        let value = fields.integer("mss_clamp", MSS_MIN..=MSS_MAX, "octets")?.value;
        return u16::try_from(value).ok().map(MssClamp::To);
    }
    let clamps = fields.flag("mss_clamp", &[])?.value;
    Some(if clamps { MssClamp::ToPath } else { MssClamp::Off })
}
