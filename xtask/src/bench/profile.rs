//! Where the processor time of a subject goes, by function: what `perf` sees of both daemons.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

use super::cell::Cell;
use super::rounds;
use super::subject::Subject;
use super::tunnel::Tunnel;
use crate::interop::lab::output;
use crate::needs;

/// Looks per second; no divisor of the kernel's ticks, so that it does not look in step with them.
const LOOKS_HZ: u32 = 997;

/// Functions that are kept of each profile.
const HOTTEST: usize = 8;

/// Until perf looks.
const START: Duration = Duration::from_millis(300);

/// A profile of both daemons of a subject.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Profile {
    /// Of what.
    pub(crate) subject: Subject,
    /// While it did this.
    pub(crate) cell: Cell,
    /// Functions, the hottest first.
    pub(crate) hottest: Vec<Hot>,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Hot {
    /// Its share of the daemons' time, in percent.
    pub(crate) percent: f64,
    /// Its name.
    pub(crate) function: String,
    /// Is it the kernel's?
    pub(crate) kernel: bool,
}

/// Looks at a tunnel while it is in a cell once more.
///
/// # Errors
///
/// There is no `perf`, or it may not look.
pub(crate) fn take(tunnel: &Tunnel, cell: Cell, time: Duration) -> anyhow::Result<Profile> {
    let file = tunnel.lab.left.folder.join(format!("{}.perf", cell.name()));
    let recording = Recording::of(&tunnel.processes, file, LOOKS_HZ)?;
    let measured = rounds::measure(tunnel, cell, time, 0);
    let mut hottest = recording.finish()?;
    measured?;
    hottest.truncate(HOTTEST);
    Ok(Profile { subject: tunnel.subject, cell, hottest })
}

/// `perf` while it looks.
pub(crate) struct Recording {
    perf: PathBuf,
    file: PathBuf,
    recorder: Child,
}

impl Recording {
    /// Looks at processes so many times per second until [`Recording::finish`]; `file` takes what it sees.
    ///
    /// # Errors
    ///
    /// There is no `perf`.
    pub(crate) fn of(processes: &[u32], file: PathBuf, looks_hz: u32) -> anyhow::Result<Self> {
        let perf = needs::find("perf").context("perf is not installed")?;
        let processes: Vec<String> = processes.iter().map(u32::to_string).collect();
        let mut record = Command::new(&perf);
        record.args(["record", "-q", "-e", "cpu-clock", "-F", &looks_hz.to_string(), "-o"]);
        record.arg(&file).args(["-p", &processes.join(",")]);
        record.stdout(Stdio::null()).stderr(Stdio::null());
        let recorder = record.spawn().context("cannot start perf")?;
        std::thread::sleep(START);
        Ok(Self { perf, file, recorder })
    }

    /// All functions that it has seen, the hottest first.
    ///
    /// # Errors
    ///
    /// It may not look, or has seen nothing.
    pub(crate) fn finish(mut self) -> anyhow::Result<Vec<Hot>> {
        // It writes what it has seen, and ends by the signal.
        let recorder_id = i32::try_from(self.recorder.id()).context("a process id fits")?;
        let _ = kill(Pid::from_raw(recorder_id), Signal::SIGINT);
        self.recorder.wait().context("perf vanished")?;
        report(&self.perf, &self.file)
    }
}

/// Runs a program to its end, and says where its time has gone, the hottest function first.
///
/// # Errors
///
/// There is no `perf`, or it has seen nothing.
pub(crate) fn of_program(
    program: &Path,
    arguments: &[&str],
    file: &Path,
) -> anyhow::Result<Vec<Hot>> {
    let perf = needs::find("perf").context("perf is not installed")?;
    let mut record = Command::new(&perf);
    record.args(["record", "-q", "-e", "cpu-clock", "-F", &LOOKS_HZ.to_string(), "-o"]);
    record.arg(file).arg("--").arg(program).args(arguments);
    output(&mut record)?;
    report(&perf, file)
}

fn report(perf: &Path, file: &Path) -> anyhow::Result<Vec<Hot>> {
    let mut report = Command::new(perf);
    report.args(["report", "--stdio", "-q", "--no-children", "-F", "overhead,sym", "-i"]);
    let seen = read(&output(report.arg(file))?);
    anyhow::ensure!(!seen.is_empty(), "perf has seen nothing");
    Ok(seen)
}

/// Lines as `  26.75%  [k] do_syscall_64`.
fn read(text: &str) -> Vec<Hot> {
    let hot = |line: &str| {
        let (percent, rest) = line.trim().split_once('%')?;
        let (kind, function) = rest.trim().split_once(' ')?;
        let percent = percent.parse().ok()?;
        Some(Hot { percent, function: short(function.trim()), kernel: kind == "[k]" })
    };
    text.lines().filter_map(hot).collect()
}

/// Without the hash that a compiler puts behind Rust's names.
fn short(function: &str) -> String {
    let base = function.rsplit_once("::h").filter(|(_, hash)| hash.len() == HASH_DIGITS);
    base.map_or(function, |(base, _)| base).to_owned()
}

const HASH_DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_functions_are_read() {
        let text =
            "\n    26.75%  [k] do_syscall_64\n     5.41%  [.] a::b::h0123456789abcdef\n  x\n";
        let hot = |percent, function: &str, kernel| Hot {
            percent,
            function: function.to_owned(),
            kernel,
        };
        assert_eq!(read(text), [hot(26.75, "do_syscall_64", true), hot(5.41, "a::b", false)]);
    }
}
