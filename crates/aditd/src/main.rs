//! `aditd`, the Adit IPsec daemon: IKEv2 and user-space ESP in one process of several roles.

#![forbid(unsafe_code)]

mod args;
mod calendar;
mod connected;
mod diagnose;
mod engine;
mod filter;
mod keylog;
mod log;
mod message;
mod policy;
mod raw_esp;
mod record;
mod role;
mod routes;
mod shards;
mod tickets;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    let feed = match log::start(args.log.as_deref(), &args.log_level) {
        Ok(feed) => feed,
        Err(error) => {
            eprintln!("aditd: {error}");
            return ExitCode::from(USAGE);
        }
    };
    // Keys must not reach a core file; a kernel that refuses is no reason not to start.
    if let Err(error) = adit_sys::process::forbid_core_dumps() {
        tracing::warn!(%error, "core files are not forbidden");
    }
    match role::parent::run(&args, &feed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(diagnosis) => {
            if args.log.is_some() {
                tracing::error!("{}", diagnosis.one_line());
            }
            eprintln!("{}", diagnosis.render(std::io::stderr().is_terminal()));
            ExitCode::FAILURE
        }
    }
}

/// Exit code for a command line that cannot be understood.
const USAGE: u8 = 2;
