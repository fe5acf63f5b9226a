//! The janitor: a process of its own that tidies up when its master is gone.
//!
//! The master names what it makes on the janitor's standard input. When that input ends, whether the
//! master finished, panicked, was interrupted or was killed, the janitor ends whatever still runs
//! in the named namespaces, deletes them, and removes the named folders. It sits in a process
//! group of its own, so ctrl-c does not reach it.

use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock;

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);

/// The master's end.
pub(crate) struct Janitor {
    process: Child,
}

impl Janitor {
    /// Starts one, as this very program with the hidden verb `janitor`.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.arg("janitor").stdin(Stdio::piped()).process_group(0);
        Ok(Self { process: command.spawn().context("cannot start the janitor")? })
    }

    /// `name` is about to be made with `ip netns add`.
    pub(crate) fn namespace(&mut self, name: &str) -> anyhow::Result<()> {
        self.tell(&format!("namespace {name}"))
    }

    /// `folder` is about to be made.
    pub(crate) fn folder(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.tell(&format!("folder {}", folder.display()))
    }

    fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.process.stdin.as_mut().context("the janitor is gone")?;
        writeln!(input, "{line}").context("the janitor is gone")
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if self.process.wait().is_err() {
            eprintln!("xtask: the janitor vanished; see `ip netns`");
        }
    }
}

/// The hidden verb: reads names until the input ends, then tidies up.
pub(crate) fn serve() {
    let lines: Vec<String> = io::stdin().lock().lines().map_while(Result::ok).collect();
    let named = |kind: &str| -> Vec<&str> {
        lines.iter().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ')).collect()
    };
    let namespaces = named("namespace");
    end_processes(&namespaces);
    for name in namespaces {
        let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
    }
    for folder in named("folder") {
        let _ = fs::remove_dir_all(folder);
    }
}

/// Asks the processes in our namespaces to end, and kills those that do not.
fn end_processes(namespaces: &[&str]) {
    signal_all(namespaces, Signal::SIGTERM);
    let is_empty = || namespaces.iter().all(|name| processes(name).is_empty());
    if !clock::poll(GRACE, Duration::from_millis(50), is_empty) {
        signal_all(namespaces, Signal::SIGKILL);
        clock::poll(GRACE, Duration::from_millis(50), is_empty);
    }
}

fn signal_all(namespaces: &[&str], signal: Signal) {
    for process in namespaces.iter().flat_map(|name| processes(name)) {
        // It may have ended meanwhile.
        let _ = kill(process, signal);
    }
}

/// The processes in one of our namespaces.
fn processes(name: &str) -> Vec<Pid> {
    let output = Command::new("ip").args(["netns", "pids", name]).stderr(Stdio::null()).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(|line| line.trim().parse().ok()).map(Pid::from_raw).collect()
}
