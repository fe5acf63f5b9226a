//! `cargo xtask sim`: the simulator's seeds.

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

/// Runs seeds 0 to `seeds`; the simulator prints the seed that failed.
pub(crate) fn run(seeds: u64, profile: Profile) -> anyhow::Result<Outcome> {
    if !root::path("crates/sim/src/bin/seeds.rs").is_file() {
        return Ok(Outcome::missing("crates/sim has no program `seeds`"));
    }
    let mut cargo = root::cargo();
    cargo.args(["run", "--quiet", "-p", "adit-sim", "--bin", "seeds"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    cargo.arg("--").arg(seeds.to_string());
    let status = cargo.status().context("cannot start cargo")?;
    if status.success() {
        return Ok(Outcome::pass(format!("{seeds} seeds")));
    }
    Ok(Outcome::fail(
        "a seed failed; its number is above and reproduces it",
    ))
}
