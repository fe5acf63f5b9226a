//! `adit doctor`: prints what is wrong, or what was looked at.

use std::path::Path;

use adit_mgmt::api::SCHEMA;
use serde::Serialize;

use crate::args::Doctor;
use crate::daemon::Daemon;
use crate::doctor::{Findings, Wish, examine};
use crate::echo::network;
use crate::error::{Error, Exit};
use crate::screen::{Paint, Screen, Style};
use crate::table::fact_in;
use crate::words::{clean, count};

/// For `--json`.
#[derive(Serialize)]
struct Report {
    schema: u32,
    ok: bool,
    #[serde(flatten)]
    findings: Findings,
}

/// `adit doctor`.
pub(crate) fn run(args: &Doctor, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let mut daemon = Daemon::connect(vici)?;
    // The files are named as this side sees them; only packets leave from the daemon's network.
    network::enter(&daemon)?;
    let wish =
        Wish { tunnel: args.name.clone(), config: Some(args.config.clone()), quiet: args.quiet };
    let findings = examine(&mut daemon, &wish)?;
    let ok = findings.is_good();
    if args.json {
        screen.json(&Report { schema: SCHEMA, ok, findings })?;
    } else {
        screen.text(&text(&findings, screen.paint))?;
    }
    Ok(if ok { Exit::Good } else { Exit::Problem })
}

/// Only the problems and what else is to be known; without any problem, what was looked at.
fn text(findings: &Findings, paint: Paint) -> String {
    let blocks: Vec<String> =
        findings.problems.iter().map(|problem| problem.render(paint.colour)).collect();
    if !blocks.is_empty() {
        let many = count(blocks.len(), "problem");
        let many = paint.with(Style::Bad, &many).into_owned();
        let more = more(findings, paint);
        return format!("{}\n{more}{many}.  adit explain CODE says more.\n", blocks.join("\n"));
    }
    let first = if findings.untried.is_empty() {
        paint.with(Style::Good, "No problems.")
    } else {
        paint.with(Style::Warning, "No problems in what was tried, and not all of it could be.")
    };
    let mut out = format!("{first}\n{}", more(findings, paint));
    for looked in &findings.checks {
        let at = looked.at.as_deref().map_or_else(|| "nothing to look at".to_owned(), clean);
        out.push_str(&fact_in(paint, LABEL_COLUMNS, looked.check, &at.replace("; ", "\n")));
        out.push('\n');
    }
    out
}

/// What could not be tried, and the notes.
fn more(findings: &Findings, paint: Paint) -> String {
    let untried = findings.untried.iter().map(|one| format!("could not try: {}\n", clean(one)));
    let untried = untried.map(|line| paint.with(Style::Warning, &line).into_owned());
    let notes = findings.notes.iter().map(|one| format!("note: {}\n", clean(one)));
    untried.chain(notes).collect()
}

/// `certificates`, and a space.
const LABEL_COLUMNS: usize = 13;

#[cfg(test)]
mod tests {
    use adit_mgmt::{Code, Diagnosis};

    use super::*;
    use crate::doctor::Looked;

    fn looked(at: Option<&str>) -> Looked {
        Looked { check: "mtu", at: at.map(str::to_owned), problems: 0 }
    }

    #[test]
    fn health_is_shown_with_what_was_looked_at() {
        let checks = vec![looked(Some("a: 1; b: 2")), looked(None)];
        let findings = Findings { checks, ..Findings::default() };
        insta::assert_snapshot!(text(&findings, Paint::PLAIN), @r"
        No problems.
          mtu          a: 1
                       b: 2
          mtu          nothing to look at
        ");
    }

    /// Nothing found where nothing could be tried is no health.
    #[test]
    fn what_could_not_be_tried_is_shown_and_not_good() {
        let untried = vec!["a: echo requests to 10.2.0.1: Operation not permitted".to_owned()];
        let notes = vec!["b: no echo requests were sent: it is not up".to_owned()];
        let findings = Findings { notes, untried, ..Findings::default() };
        assert!(!findings.is_good() && Findings::default().is_good());
        insta::assert_snapshot!(text(&findings, Paint::PLAIN), @r"
        No problems in what was tried, and not all of it could be.
        could not try: a: echo requests to 10.2.0.1: Operation not permitted
        note: b: no echo requests were sent: it is not up
        ");
    }

    #[test]
    fn only_problems_are_shown_if_there_are_any() {
        let problem = Diagnosis::new(Code::E405, "packets go out, and none comes back").fix("look");
        let (checks, problems) = (vec![looked(Some("x"))], vec![problem]);
        let findings = Findings { checks, problems, ..Findings::default() };
        insta::assert_snapshot!(text(&findings, Paint::PLAIN), @r"
        error[E405]: packets go out, and none comes back
          fix            look

        1 problem.  adit explain CODE says more.
        ");
    }
}
