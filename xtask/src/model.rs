//! `cargo xtask model`: every state of the model of rekeying and deleting, and the model beside the
//! code.

use std::process::Stdio;

use anyhow::Context as _;
use clap::Args;

use crate::outcome::Outcome;
use crate::root;

/// The command line: how much may happen in one run. Without bounds, what a proof looks at.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Orders of users, of both sides
    #[arg(long, requires = "losses", requires = "copies")]
    orders: Option<u8>,
    /// Messages that are lost
    #[arg(long, requires = "orders")]
    losses: Option<u8>,
    /// Messages of which a copy arrives late
    #[arg(long, requires = "orders")]
    copies: Option<u8>,
    /// Walks through the model and two real endpoints
    #[arg(long, default_value_t = DEEP.walks)]
    walks: u32,
}

/// What is looked at.
pub(crate) struct Depth {
    /// Orders, losses and late copies, for each run of the checker.
    bounds: &'static [[u8; 3]],
    walks: u32,
}

/// What a full proof looks at.
pub(crate) const DEEP: Depth = Depth { bounds: &[[3, 1, 0], [3, 0, 1], [2, 1, 1]], walks: 10_000 };

/// What a short look is enough for.
pub(crate) const SHALLOW: Depth = Depth { bounds: &[[3, 0, 0], [2, 1, 1]], walks: 500 };

/// Runs the verb.
pub(crate) fn run(options: Options) -> anyhow::Result<Outcome> {
    match (options.orders, options.losses, options.copies) {
        (Some(orders), Some(losses), Some(copies)) => {
            look(&[[orders, losses, copies]], options.walks)
        }
        _ => look(DEEP.bounds, options.walks),
    }
}

/// Looks as deep as that.
pub(crate) fn measure(depth: &Depth) -> anyhow::Result<Outcome> {
    look(depth.bounds, depth.walks)
}

/// Visits every state within each of the bounds, then compares walks with the code.
fn look(bounds: &[[u8; 3]], walks: u32) -> anyhow::Result<Outcome> {
    let mut notes = Vec::new();
    for [orders, losses, copies] in bounds {
        let mut cargo = root::cargo();
        cargo.args(["run", "--quiet", "--release", "-p", "adit-model", "--bin", "model", "--"]);
        for (name, number) in [("--orders", orders), ("--losses", losses), ("--copies", copies)] {
            cargo.args([name, &number.to_string()]);
        }
        let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        let text = String::from_utf8_lossy(&output.stdout);
        eprint!("{text}");
        notes.push(text.trim_end().lines().last().unwrap_or("no model").to_owned());
        if !output.status.success() {
            return Ok(Outcome::fail(notes.join("; ")));
        }
    }
    let mut cargo = root::cargo();
    cargo.args(["test", "--quiet", "-p", "adit-model", "--test", "conformance"]);
    cargo.env("ADIT_MODEL_WALKS", walks.to_string());
    let status = cargo.stdout(Stdio::null()).status().context("cannot start cargo")?;
    let notes = notes.join("; ");
    Ok(match status.success() {
        true => Outcome::pass(format!("{notes}; {walks} walks beside the code")),
        false => Outcome::fail(format!("{notes}; the code does not do what the model does")),
    })
}
