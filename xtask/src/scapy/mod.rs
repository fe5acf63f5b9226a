//! Scapy, another implementation of IPsec that seals and opens what we do, packet by packet.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{needs, root};

/// What is done with a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// A clear packet becomes a protected one.
    Seal,
    /// The reverse.
    Open,
}

/// One SA and one packet, for either implementation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Job {
    /// See there.
    pub(crate) action: Action,
    /// The security protocol: `esp` or `ah`.
    pub(crate) protocol: String,
    /// In swanctl's words.
    pub(crate) suite: String,
    /// Key in hexadecimal, the salt included.
    pub(crate) encryption: String,
    /// Key in hexadecimal.
    pub(crate) integrity: String,
    /// Extended sequence numbers.
    pub(crate) esn: bool,
    /// The whole number of the packet.
    pub(crate) sequence: u64,
    /// See there.
    pub(crate) spi: u32,
    /// Transport mode, or else tunnel mode.
    pub(crate) transport: bool,
    /// In UDP.
    pub(crate) udp: bool,
    /// Outer address of the sender.
    pub(crate) from: String,
    /// Outer address of the receiver.
    pub(crate) to: String,
    /// AH in transport mode around the ESP of this, under the same number.
    pub(crate) around: Option<Around>,
    /// A whole IP packet in hexadecimal.
    pub(crate) packet: String,
}

/// An SA of AH.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Around {
    /// In swanctl's words.
    pub(crate) suite: String,
    /// Key in hexadecimal, the salt included.
    pub(crate) encryption: String,
    /// Key in hexadecimal.
    pub(crate) integrity: String,
    /// See there.
    pub(crate) spi: u32,
}

/// What became of a job.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// A whole IP packet in hexadecimal.
    Packet(String),
    /// Why there is none.
    Error(String),
    /// The implementation has no such algorithm.
    Lacks(String),
}

/// A suite of ours.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Suite {
    /// The security protocol that it is for: `esp` or `ah`.
    pub(crate) protocol: String,
    /// In swanctl's words.
    pub(crate) word: String,
    /// Octets of encryption key, the salt included.
    pub(crate) encryption: usize,
    /// Octets of integrity key.
    pub(crate) integrity: usize,
}

/// Works off jobs.
pub(crate) struct Worker {
    program: PathBuf,
    arguments: Vec<PathBuf>,
}

impl Worker {
    /// Our packet engine: the example `by_hand`.
    pub(crate) fn ours() -> anyhow::Result<Self> {
        let mut cargo = root::cargo();
        cargo.args(["build", "--quiet", "-p", "adit-dataplane", "--example", "by_hand"]);
        anyhow::ensure!(cargo.status()?.success(), "the example `by_hand` does not build");
        let program = root::target().join("debug/examples/by_hand");
        Ok(Self { program, arguments: Vec::new() })
    }

    /// Scapy, installed on first use.
    pub(crate) fn scapy() -> anyhow::Result<Self> {
        let script = root::path("xtask/src/scapy/peer.py");
        Ok(Self { program: environment()?, arguments: vec![script] })
    }

    /// Every suite of ours.
    pub(crate) fn suites(&self) -> anyhow::Result<Vec<Suite>> {
        let output = Command::new(&self.program).arg("suites").output()?;
        serde_json::from_slice(&output.stdout).context("the list of suites")
    }

    /// One answer to each job.
    pub(crate) fn work(&self, jobs: &[Job]) -> anyhow::Result<Vec<Answer>> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut input = child.stdin.take().context("no input")?;
        let lines = jobs.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        // Beside reading, or both sides wait for room in a pipe.
        let writer = thread::Builder::new().name("jobs".to_owned());
        let writer =
            writer.spawn(move || lines.iter().try_for_each(|line| writeln!(input, "{line}")))?;
        let output = child.wait_with_output()?;
        let name = self.program.display();
        anyhow::ensure!(output.status.success(), "{name}: {}", output.status);
        writer.join().ok().context("the writer of jobs is gone")?.context("jobs were left")?;
        let text = String::from_utf8(output.stdout)?;
        let answers = text.lines().map(serde_json::from_str).collect::<Result<Vec<Answer>, _>>()?;
        anyhow::ensure!(answers.len() == jobs.len(), "{name}: {} answers", answers.len());
        Ok(answers)
    }
}

/// A Python that has what requirements.txt names, below the folder of what cargo builds.
fn environment() -> anyhow::Result<PathBuf> {
    let folder = root::target().join("scapy");
    let (python, done) = (folder.join("bin/python"), folder.join("requirements.txt"));
    if fs::read_to_string(&done).is_ok_and(|text| text == REQUIREMENTS) {
        return Ok(python);
    }
    let system = needs::find("python3").context("python3 is missing")?;
    let _ = fs::remove_dir_all(&folder);
    run(Command::new(system).args(["-m", "venv"]).arg(&folder))?;
    let file = root::path("xtask/src/scapy/requirements.txt");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(file);
    run(&mut pip)?;
    fs::write(done, REQUIREMENTS)?;
    Ok(python)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {command:?}"))?;
    let name = command.get_program();
    anyhow::ensure!(status.success(), "{}: {status}", Path::new(name).display());
    Ok(())
}

/// What is installed, by version.
const REQUIREMENTS: &str = include_str!("requirements.txt");
