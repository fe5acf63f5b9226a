//! `cargo xtask test`: everything a change must pass.

use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::outcome::{Outcome, Step, run as run_steps};
use crate::{checklist, fuzz, needs, root, sim, tidy};

/// Seeds of the simulation that every change runs.
const SEEDS: u64 = 100;

/// Worlds of each profile that every change runs.
const WORLDS: u64 = 12;

const STEPS: [Step; 10] = [
    Step { name: "tools", run: tools },
    Step { name: "fmt", run: fmt },
    Step { name: "tidy", run: tidy_step },
    Step { name: "checklist", run: checklist_step },
    Step { name: "clippy", run: clippy },
    Step { name: "doc", run: doc },
    Step { name: "test", run: test },
    Step { name: "fuzz corpora", run: fuzz::replay },
    Step { name: "sim", run: sim_step },
    Step { name: "worlds", run: worlds_step },
];

/// Runs the steps.
pub(crate) fn run() -> ExitCode {
    if run_steps(&STEPS) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says loudly what tests will skip for want of a program.
fn tools() -> anyhow::Result<Outcome> {
    let missing = needs::missing(&[]);
    if missing.is_empty() {
        return Ok(Outcome::pass(""));
    }
    for sentence in &missing {
        eprintln!("MISSING: {sentence}");
    }
    eprintln!("What needs these is skipped here; with CI=true it fails.");
    Ok(Outcome::missing(format!("{} missing, see above", missing.len())))
}

fn fmt() -> anyhow::Result<Outcome> {
    succeed(root::cargo().args(["fmt", "--all", "--check"]), "run `cargo fmt --all`")
}

fn tidy_step() -> anyhow::Result<Outcome> {
    let clean = tidy::run()? == ExitCode::SUCCESS;
    Ok(if clean { Outcome::pass("") } else { Outcome::fail("see the lines above") })
}

fn checklist_step() -> anyhow::Result<Outcome> {
    checklist::step()
}

fn clippy() -> anyhow::Result<Outcome> {
    let mut command = root::cargo();
    command.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    succeed(&mut command, "mend the warnings above")
}

fn doc() -> anyhow::Result<Outcome> {
    let mut command = root::cargo();
    command.args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
    succeed(command.env("RUSTDOCFLAGS", "-D warnings"), "mend the links above")
}

fn test() -> anyhow::Result<Outcome> {
    let mut command = root::cargo();
    succeed(command.args(["test", "--workspace", "--no-fail-fast"]), "see the failures above")
}

fn sim_step() -> anyhow::Result<Outcome> {
    sim::run(SEEDS, sim::Profile::Dev)
}

fn worlds_step() -> anyhow::Result<Outcome> {
    sim::few_worlds(WORLDS)
}

/// Runs `command` and lets it speak for itself; `advice` is for when it fails.
fn succeed(command: &mut Command, advice: &str) -> anyhow::Result<Outcome> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    Ok(if status.success() { Outcome::pass("") } else { Outcome::fail(advice) })
}
