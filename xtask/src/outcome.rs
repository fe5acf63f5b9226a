//! How a check ended, and a run of several checks.

use std::time::Duration;

use serde::Serialize;

use crate::{clock, needs};

/// How a check ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It holds.
    Pass,
    /// It does not hold, or could not be looked at where it has to be.
    Fail,
    /// It was not looked at; the reason says why.
    Skip,
}

impl Status {
    /// The word in reports.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Skip => "skip",
        }
    }

    /// Something is missing on this machine: a skip at home, a failure in CI.
    pub(crate) fn missing() -> Self {
        if needs::is_ci() { Self::Fail } else { Self::Skip }
    }
}

/// What one step of a run came to.
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) status: Status,
    /// Why, or a figure worth showing; may be empty.
    pub(crate) note: String,
}

impl Outcome {
    /// It holds.
    pub(crate) fn pass(note: impl Into<String>) -> Self {
        Self { status: Status::Pass, note: note.into() }
    }

    /// It does not hold.
    pub(crate) fn fail(note: impl Into<String>) -> Self {
        Self { status: Status::Fail, note: note.into() }
    }

    /// It could not be looked at on this machine.
    pub(crate) fn missing(note: impl Into<String>) -> Self {
        Self { status: Status::missing(), note: note.into() }
    }
}

/// A named check.
pub(crate) struct Step {
    /// One word or two.
    pub(crate) name: &'static str,
    /// Runs it.
    pub(crate) run: fn() -> anyhow::Result<Outcome>,
}

/// Runs all steps, later ones also after a failure, and prints a table with their times to stderr.
/// Says whether none failed.
pub(crate) fn run(steps: &[Step]) -> bool {
    let start = clock::now();
    let mut rows = Vec::new();
    for step in steps {
        eprintln!("\n=== {}", step.name);
        let start = clock::now();
        let outcome = (step.run)().unwrap_or_else(|error| Outcome::fail(format!("{error:#}")));
        rows.push((step.name, outcome, start.elapsed()));
    }
    eprintln!("\n=== summary");
    for (name, outcome, time) in &rows {
        eprintln!(
            "{:>4}  {:>7}  {name:<14} {}",
            outcome.status.word(),
            seconds(*time),
            outcome.note
        );
    }
    eprintln!("      {:>7}  in all", seconds(start.elapsed()));
    rows.iter().all(|(_, outcome, _)| outcome.status != Status::Fail)
}

/// `12.3 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A JSON list with a row on each line, so that people can read it too.
///
/// # Errors
///
/// A row that JSON cannot hold.
pub(crate) fn json_list<T: Serialize>(rows: &[T]) -> anyhow::Result<String> {
    let rows = rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(if rows.is_empty() { "[]".to_owned() } else { format!("[\n{}\n]", rows.join(",\n")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_rows_is_one_json_value() {
        for rows in [vec![], vec![Status::Pass], vec![Status::Pass, Status::Fail, Status::Skip]] {
            let list = json_list(&rows).unwrap();
            let read: Vec<String> = serde_json::from_str(&list).unwrap();
            let words = rows.iter().map(|status| status.word().to_lowercase());
            assert_eq!(read, words.collect::<Vec<_>>());
        }
    }
}
