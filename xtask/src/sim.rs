//! `cargo xtask sim`: the simulator's seeds.

use std::process::Stdio;

use anyhow::Context as _;

use crate::outcome::Outcome;
use crate::root;

/// How the simulator is built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Profile {
    /// As the tests are; nothing new to build for a few seeds.
    Dev,
    /// Fast, for thousands of seeds.
    Release,
}

/// Plays seeds 0 to `seeds` of two gateways.
pub(crate) fn run(seeds: u64, profile: Profile) -> anyhow::Result<Outcome> {
    play("seeds", seeds, profile)
}

/// Plays seeds 0 to `seeds` of one gateway's packet engine.
pub(crate) fn leaks(seeds: u64) -> anyhow::Result<Outcome> {
    play("leaks", seeds, Profile::Release)
}

/// What the simulator says goes to stderr, its last line is the note.
fn play(program: &str, seeds: u64, profile: Profile) -> anyhow::Result<Outcome> {
    let mut cargo = root::cargo();
    cargo.args(["run", "--quiet", "-p", "adit-sim", "--bin", program]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    cargo.args(["--", "--seeds", &seeds.to_string()]).stderr(Stdio::inherit());
    let output = cargo.output().context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    eprint!("{text}");
    let last = text.trim_end().lines().last().unwrap_or("the simulator did not start").to_owned();
    if output.status.success() {
        return Ok(Outcome::pass(last));
    }
    Ok(Outcome::fail(format!("{last}; `{program} --start SEED 1` plays a failed seed again")))
}
