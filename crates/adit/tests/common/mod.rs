//! Runs the program and prepares what it says for comparison.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test program uses its part, and fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Exit code and everything printed, standard error last.
    pub fn all(&self) -> String {
        let mut text = format!("exit {}\n{}", self.code, self.out);
        if !self.err.is_empty() {
            text.push_str("--- standard error\n");
            text.push_str(&self.err);
        }
        text
    }
}

/// Runs `adit` with arguments, as from a shell with nothing special set.
pub fn adit(arguments: &[&str]) -> Run {
    run(command().args(arguments))
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.env("COLUMNS", "100").env_remove("NO_COLOR").env_remove("CARGO");
    command
}

pub fn run(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Run {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// A directory of this test, empty, that goes away with the value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("adit-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Builds the daemon once, as cargo builds no other package's program for a test.
pub fn build_aditd() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let beside = Path::new(env!("CARGO_BIN_EXE_adit")).parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "aditd", "--manifest-path"]);
        cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        match beside.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some("release") => drop(cargo.arg("--release")),
            Some(profile) => drop(cargo.args(["--profile", profile])),
        }
        assert!(cargo.status().unwrap().success(), "aditd does not build");
    });
}

/// Puts `… s` in the place of times, which differ from run to run: `2.0 s`, `18 ms`, `0.02 s`.
pub fn without_times(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        let length = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let (number, behind) = number.split_at(length);
        let unit = behind.strip_prefix(' ').unwrap_or_default();
        let is_time = [" ", "\n", ",", ":"].iter().any(|end| {
            unit.starts_with(&format!("ms{end}")) || unit.starts_with(&format!("s{end}"))
        });
        out.push_str(before);
        out.push_str(if is_time { "…" } else { number });
        rest = behind;
        if is_time && let Some(seconds) = unit.strip_prefix('m') {
            out.push(' ');
            rest = seconds;
        }
    }
    out + rest
}
