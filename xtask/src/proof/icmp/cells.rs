//! Cells of a matrix: each is told as it ends, and all of them come to one finding.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock;
use crate::interop::transfer::Transfer;
use crate::proof::Finding;

/// Octets of a transfer.
pub(super) const MIB: u64 = 1 << 20;

/// What the cells came to.
#[derive(Debug, Default)]
pub(super) struct Cells {
    passed: usize,
    /// Names of the cells, by what they failed of.
    failed: BTreeMap<String, Vec<String>>,
    slowest: Option<(Duration, String)>,
    longest: Option<(Duration, String)>,
}

impl Cells {
    /// Runs one and tells of it.
    pub(super) fn run(&mut self, name: &str, cell: impl FnOnce() -> anyhow::Result<Transfer>) {
        let start = clock::now();
        let found = cell();
        let seconds = start.elapsed().as_secs_f64();
        match found {
            Ok(Transfer { time, pause, .. }) => {
                eprintln!("pass  {seconds:>5.1} s  {name}, {}, pause {}", ms(time), ms(pause));
                self.passed += 1;
                keep(&mut self.slowest, time, name);
                keep(&mut self.longest, pause, name);
            }
            Err(error) => {
                let reason = format!("{error:#}");
                eprintln!("FAIL  {seconds:>5.1} s  {name}: {reason}");
                self.failed.entry(brief(&reason)).or_default().push(name.to_owned());
            }
        }
    }

    /// Notes a check that is no transfer.
    pub(super) fn check(&mut self, name: &str, check: impl FnOnce() -> anyhow::Result<String>) {
        let start = clock::now();
        let found = check();
        let seconds = start.elapsed().as_secs_f64();
        match found {
            Ok(what) => {
                eprintln!("pass  {seconds:>5.1} s  {name}: {what}");
                self.passed += 1;
            }
            Err(error) => {
                let reason = format!("{error:#}");
                eprintln!("FAIL  {seconds:>5.1} s  {name}: {reason}");
                self.failed.entry(brief(&reason)).or_default().push(name.to_owned());
            }
        }
    }

    /// All of them as one.
    pub(super) fn finding(&self) -> Finding {
        let failed: usize = self.failed.values().map(Vec::len).sum();
        let mut figure = format!("{} of {} cells", self.passed, self.passed + failed);
        for (what, worst) in [("slowest", &self.slowest), ("longest pause", &self.longest)] {
            if let Some((time, name)) = worst {
                figure.push_str(&format!(", {what} {} ({name})", ms(*time)));
            }
        }
        let reasons: Vec<String> =
            self.failed.iter().map(|(why, names)| format!("{}: {why}", names.join("; "))).collect();
        match reasons.is_empty() {
            true => Finding::pass(figure),
            false => Finding::fail(figure, reasons.join(" | ")),
        }
    }
}

fn keep(worst: &mut Option<(Duration, String)>, time: Duration, name: &str) {
    if worst.as_ref().is_none_or(|(before, _)| *before < time) {
        *worst = Some((time, name.to_owned()));
    }
}

fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// A reason without the addresses and numbers of one command, so that cells can share it.
fn brief(reason: &str) -> String {
    const LEN: usize = 160;
    let without_command = reason.split('`').step_by(2).collect::<Vec<_>>().join("`…`");
    without_command.chars().take(LEN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_fail_alike_are_told_together() {
        let mut cells = Cells::default();
        let time = Duration::from_millis(7);
        cells.run("one", || Ok(Transfer { mbit_s: 1.0, time, pause: time / 7 }));
        for name in ["two", "three"] {
            cells.run(name, || anyhow::bail!("stopped: `send {name}`: silence"));
        }
        let finding = cells.finding();
        let figure = "1 of 3 cells, slowest 7 ms (one), longest pause 1 ms (one)";
        assert_eq!(finding.figure, figure);
        assert_eq!(finding.reason, "two; three: stopped: `…`: silence");
    }
}
