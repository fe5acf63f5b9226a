//! `cargo xtask replay`: a recording of a daemon, played again.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::sim::{Profile, simulator};

/// The command line of `cargo xtask replay`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// What `aditd --record FILE` has written
    file: PathBuf,
    /// Prints one JSON object instead of the ladder
    #[arg(long)]
    json: bool,
}

/// Plays the file; what there is to say goes to standard output.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    // Cargo may run the program elsewhere.
    let file = std::path::absolute(&options.file).context("there is no current directory")?;
    let mut arguments = vec![file.to_str().context("the file's name is no UTF-8")?.to_owned()];
    arguments.extend(options.json.then(|| "--json".to_owned()));
    let status =
        simulator("replay", Profile::Dev, &arguments).status().context("cannot start cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
