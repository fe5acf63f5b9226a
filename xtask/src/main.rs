//! Checks, proofs and generators for developers: `cargo xtask help`.

#![expect(clippy::print_stdout, reason = "a command line speaks on stdout")]

mod root;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks and proofs of the Adit workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Arrows between crates, `unsafe`, lengths, unfinished work, RFC numbers, I/O in pure crates
    Tidy,
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Tidy => tidy::run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
