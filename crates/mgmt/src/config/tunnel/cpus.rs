//! `cpus`: SAs for resources of the sender (RFC 9611).

use adit_db::{ChildConfig, ChildName, DscpClass, DscpSet};

use super::super::fields::Fields;
use super::super::report::Mistake;

/// The children for resources beside `fallback`, which has been read in whole.
pub(super) fn read(
    fields: &mut Fields<'_>,
    fallback: &mut ChildConfig,
    has_classes: bool,
) -> Vec<ChildConfig> {
    let Some(cpus) = fields.integer("cpus", 1..=CPUS_MAX, "CPUs") else { return Vec::new() };
    if has_classes || !fallback.pfp.is_none() {
        fields.mistake(
            Mistake::new(cpus.span, "`cpus` divides what `classes` or `pfp` divides already")
                .label("an SA for each CPU")
                .help("keep one of them"),
        );
        return Vec::new();
    }
    let names: Result<Vec<ChildName>, _> = (1..=cpus.value)
        .map(|number| ChildName::new(&format!("{}.cpu{number}", fallback.name)))
        .collect();
    let names = match names {
        Ok(names) => names,
        Err(error) => {
            fields.mistake(
                Mistake::new(cpus.span, "the SAs of the CPUs have no names")
                    .label(format!("they would be the tunnel's with .cpu1 behind it: {error}"))
                    .help("give the file a shorter name"),
            );
            return Vec::new();
        }
    };
    fallback.cpus = u16::try_from(cpus.value).unwrap_or(0);
    let class = Some(DscpClass { of: fallback.name.clone(), code_points: DscpSet::default() });
    let child = |(resource, name)| ChildConfig {
        name,
        class: class.clone(),
        resource: Some(resource),
        ..fallback.clone()
    };
    (0..).zip(names).map(child).collect()
}

/// Most SAs for CPUs of a tunnel.
const CPUS_MAX: u32 = 64;
