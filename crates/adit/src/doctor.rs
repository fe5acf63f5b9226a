//! `adit doctor`: looks at the host, the daemon and its tunnels, tries what only trying shows, and
//! finds out what is wrong.
//!
//! What is seen becomes values ([`facts`]); the checks ([`checks`]) are pure functions of them, so that
//! each can be tried with any world. `adit demo break` asks the same doctor.

mod checks;
pub(crate) mod facts;
mod firewall;
mod look;
mod probe;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use adit_mgmt::Diagnosis;
use serde::Serialize;

use crate::daemon::Daemon;
use crate::doctor::facts::Facts;
pub(crate) use crate::doctor::probe::longest_uncut;
use crate::error::Error;

/// What to examine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// Only this tunnel.
    pub(crate) tunnel: Option<String>,
    /// Where certificates are named.
    pub(crate) config: Option<PathBuf>,
    /// Send nothing.
    pub(crate) quiet: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    /// What was looked at, check by check.
    pub(crate) checks: Vec<Looked>,
    /// What is wrong, errors first.
    pub(crate) problems: Vec<Diagnosis>,
    /// What is worth knowing and no problem.
    pub(crate) notes: Vec<String>,
    /// What could not be tried, and why: then health is not known.
    pub(crate) untried: Vec<String>,
}

impl Findings {
    /// Whether all was tried that was meant to be, and nothing is wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.problems.is_empty() && self.untried.is_empty()
    }
}

/// A check, and what it looked at.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Looked {
    pub(crate) check: &'static str,
    /// In words; `None` if there was nothing to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<String>,
    /// Problems it found.
    pub(crate) problems: usize,
}

/// Examines from the network namespace of the calling thread, which should be the daemon's.
///
/// # Errors
///
/// [`Error::Usage`] if there is no such tunnel; what talking to the daemon answers. What cannot be
/// looked at for another reason is left out and said so.
pub(crate) fn examine(daemon: &mut Daemon, wish: &Wish) -> Result<Findings, Error> {
    let facts = look::gather(daemon, wish)?;
    Ok(judge(&facts))
}

/// All checks of the same facts. A problem that several of them see, or the daemon too, is told once.
fn judge(facts: &Facts) -> Findings {
    let (notes, untried) = (checks::notes(facts), checks::untried(facts));
    let mut findings = Findings { notes, untried, ..Findings::default() };
    for check in checks::ALL {
        let before = findings.problems.len();
        for problem in (check.find)(facts) {
            let told = |one: &Diagnosis| one.code == problem.code && one.tunnel == problem.tunnel;
            if !findings.problems.iter().any(told) {
                findings.problems.push(problem);
            }
        }
        let problems = findings.problems.len() - before;
        findings.checks.push(Looked { check: check.name, at: (check.looked_at)(facts), problems });
    }
    findings.problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    findings
}
