//! `adit explain icmp`: what becomes of ICMP messages (RFC 4301 §6), by default and at a tunnel.

use std::path::Path;

use adit_db::{IcmpPassage, IcmpRow, IcmpRules};
use adit_mgmt::api::{self, IcmpSetting};
use serde::Serialize;

use crate::error::Error;
use crate::screen::{Paint, Screen, Style};
use crate::table::{Cell, Table};
use crate::verb::check;
use crate::words::{clean, wrapped};

/// Columns of running text.
const COLUMNS: usize = 80;

/// What `adit explain` takes for this.
pub(crate) const WORD: &str = "icmp";

/// The whole, for `--json`.
#[derive(Serialize)]
struct Explained<'a> {
    schema: u32,
    tunnel: Option<&'a str>,
    errors: &'static str,
    carry: &'static str,
    transit: &'static str,
    security_failures: &'static str,
    /// Interfaces that are outside, if some are named.
    red: Vec<String>,
    /// Those that are inside.
    black: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    row: &'static str,
    icmp: &'static str,
    icmpv6: &'static str,
    red: &'static str,
    /// Whether `red` is not as it is by default.
    red_configured: bool,
    black: Passage,
    tunnel: Passage,
}

#[derive(Serialize)]
struct Passage {
    /// What counts, also because of `icmp_errors`.
    passage: &'static str,
    configured: bool,
}

/// Prints the table, with a name as it is at that tunnel of the configuration.
pub(crate) fn explain(
    name: Option<&str>,
    config: &Path,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Error> {
    let rules = match name {
        Some(name) => rules_of(name, config)?,
        None => IcmpRules::default(),
    };
    if json {
        let rows = (0..).zip(IcmpRow::ALL).map(|(number, row)| to_row(number, &row, &rules));
        return screen.json(&Explained {
            schema: api::SCHEMA,
            tunnel: name,
            errors: rules.errors.word(),
            carry: rules.carry.word(),
            transit: rules.transit.word(),
            security_failures: rules.security_failures.word(),
            red: rules.interfaces.red().iter().map(ToString::to_string).collect(),
            black: rules.interfaces.black().iter().map(ToString::to_string).collect(),
            rows: rows.collect(),
        });
    }
    screen.text(&text(name, &rules, screen.paint))
}

/// What the configuration says of a tunnel.
fn rules_of(name: &str, config: &Path) -> Result<IcmpRules, Error> {
    let configuration = check::load(config)?;
    let tunnel = configuration.tunnels.get(name);
    let children = tunnel.map(|tunnel| tunnel.connection.children.as_slice());
    children.and_then(|children| children.first()).map(|child| child.icmp.clone()).ok_or_else(|| {
        let names = configuration.tunnels.keys().map(String::as_str);
        let hint = match adit_db::nearest(name, names) {
            Some(name) => format!("did you mean {name}? "),
            None => String::new(),
        };
        let directory = config.display();
        Error::Usage(format!(
            "there is no tunnel {name:?} in {directory}; {hint}`adit explain {WORD}` has the defaults"
        ))
    })
}

fn to_row(number: usize, row: &IcmpRow, rules: &IcmpRules) -> Row {
    let treatment = rules.treatment(number);
    let passage = |passage, default| {
        let passage = effective(row, rules, passage);
        Passage { passage: passage.word(), configured: passage != default }
    };
    Row {
        row: row.key,
        icmp: row.v4,
        icmpv6: row.v6,
        red: treatment.red.word(),
        red_configured: treatment.red != row.default.red,
        black: passage(treatment.black, row.default.black),
        tunnel: passage(treatment.tunnel, row.default.tunnel),
    }
}

/// How messages of a row pass, limited by `icmp_errors` if they are errors.
fn effective(row: &IcmpRow, rules: &IcmpRules, passage: IcmpPassage) -> IcmpPassage {
    if row.is_error { passage.min(rules.errors) } else { passage }
}

fn text(name: Option<&str>, rules: &IcmpRules, paint: Paint) -> String {
    let mut table = Table::new(&["ROW", "ICMP", "ICMPV6", "RED", "BLACK", "TUNNEL"]);
    for (number, row) in (0..).zip(IcmpRow::ALL) {
        let Row { red, red_configured, black, tunnel, .. } = to_row(number, &row, rules);
        let cell = |side: Passage| match side.configured {
            true => Cell::styled(Style::Bold, format!("{} *", side.passage)),
            false => Cell::new(side.passage),
        };
        let red = cell(Passage { passage: red, configured: red_configured });
        let plain = [row.key, row.v4, row.v6].map(Cell::new);
        table.row(plain.into_iter().chain([red, cell(black), cell(tunnel)]).collect());
    }
    let whose = match name {
        Some(name) => format!(
            "tunnel {name}, icmp_errors = \"{}\", icmp_carry = \"{}\", security_failures = \"{}\", \
             traceroute_transit = \"{}\"; * is configured",
            rules.errors,
            rules.carry.word(),
            rules.security_failures,
            rules.transit.word()
        ),
        None => "the defaults".to_owned(),
    };
    let interfaces = match rules.interfaces.is_none() {
        true => "all but those of tunnels are red".to_owned(),
        false => rules.interfaces.to_string(),
    };
    let legend = wrapped(LEGEND, COLUMNS);
    format!("{whose}\ninterfaces: {interfaces}\n\n{}\n{legend}\n", table.render(paint))
}

/// A table of settings that are not as by default, with where each is written; nothing if there are none.
pub(crate) fn settings(settings: &[IcmpSetting], paint: Paint) -> String {
    if settings.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["TUNNEL", "ICMP", "IS", "BY"]);
    for setting in settings {
        table.row(vec![
            Cell::styled(Style::Bold, clean(&setting.tunnel)),
            Cell::new(clean(&setting.setting)),
            Cell::new(clean(&setting.value)),
            Cell::new(clean(&setting.source)),
        ]);
    }
    format!("{}\n", table.render(paint))
}

const LEGEND: &str = "RED is from outside, by an interface that is red: at most a message prompts a question whether the peer is \
there, or measures the path within bounds. BLACK is from the protected side into the tunnel, TUNNEL out of it. explicit: where policies \
and selectors contain the message itself. implicit: errors also by the SA of the packet that they \
quote. Set rows in a tunnel's file, [icmp], and all errors with icmp_errors. security_failures: who is told \
by ICMP of packets that are refused for their security (RFC 2521).";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_is_marked() {
        let mut rules = IcmpRules::default();
        let number = IcmpRow::named("echo-request").unwrap();
        let treatment = rules.treatment(number);
        let black = IcmpPassage::Discard;
        rules.set(number, adit_db::IcmpTreatment { black, ..treatment });

        let plain = Paint::PLAIN;
        let shown = text(Some("berlin"), &rules, plain);
        let marked: Vec<&str> = shown.lines().filter(|line| line.contains("discard *")).collect();
        assert_eq!(marked.len(), 1, "{shown}");
        assert!(marked[0].starts_with("echo-request"), "{shown}");
        assert!(!text(None, &IcmpRules::default(), plain).contains(" *"));
    }

    /// `icmp_errors` limits the rows of errors, and shows in them.
    #[test]
    fn the_limit_of_errors_shows_in_their_rows() {
        let mut rules = IcmpRules::default();
        rules.errors = IcmpPassage::Discard;
        let rows = (0..).zip(IcmpRow::ALL);
        for (number, row) in rows {
            let shown = to_row(number, &row, &rules);
            let expected = if row.is_error { "discard" } else { row.default.black.word() };
            assert_eq!(shown.black.passage, expected, "{}", row.key);
        }
    }
}
