//! `mode = "beet"`: one host on each side, and ESP alone.

use adit_db::{ChildConfig, Mode};

use crate::config::fields::{Fields, Placed};
use crate::config::overlap::PlacedSelector;
use crate::config::report::Mistake;

/// Whether the selectors of a tunnel fit its mode.
pub(super) fn check(
    fields: &mut Fields<'_>,
    mode: Option<Placed<Mode>>,
    child: &ChildConfig,
    sides: [&[PlacedSelector]; 2],
) {
    let Some(mode) = mode.filter(|mode| mode.value == Mode::Beet) else { return };
    let first = sides.iter().find_map(|side| side.first());
    let is_ipv4 = first.is_none_or(|one| one.selector.is_ipv4());
    for (key, side) in ["local", "remote"].into_iter().zip(sides) {
        let host = side.first().map(|one| one.selector.start);
        let is_other = |one: &&PlacedSelector| {
            one.selector.start != one.selector.end
                || Some(one.selector.start) != host
                || one.selector.is_ipv4() != is_ipv4
        };
        if let Some(wide) = side.iter().find(is_other) {
            fields.mistake(
                Mistake::new(wide.span.clone(), "BEET mode is for one host on each side")
                    .label("more than one address, or another family")
                    .note(mode.span.clone(), "asks for it")
                    .help("write one address, or mode = \"tunnel\""),
            );
        } else if side.is_empty() {
            fields.mistake(
                Mistake::new(mode.span.clone(), format!("BEET mode needs an address as `{key}`"))
                    .label("inside the tunnel it has no other way to know it")
                    .help("write one address, or mode = \"tunnel\""),
            );
        }
    }
    if !child.is_esp_only() || child.compress {
        fields.mistake(
            Mistake::new(mode.span, "BEET mode is for ESP without compression")
                .help("leave out `protocol` and `compress`, or write mode = \"tunnel\""),
        );
    }
}
