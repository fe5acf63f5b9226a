//! `adit`, the command line: speaks to the daemon through its control socket, reads configuration
//! files, and shows a whole tunnel on one machine (`adit demo`).

mod args;
mod daemon;
mod demo;
mod doctor;
mod echo;
mod error;
mod screen;
mod table;
mod verb;
mod words;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Verb};
use crate::error::{Error, Exit};
use crate::screen::Screen;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut screen = Screen::stdout(cli.color);
    match run(&cli, &mut screen) {
        Ok(exit) => exit.into(),
        Err(error) => {
            screen::explain(&error, wants_json(&cli.verb), &mut screen);
            error.exit().into()
        }
    }
}

fn run(cli: &Cli, screen: &mut Screen) -> Result<Exit, Error> {
    let vici = &cli.vici;
    match &cli.verb {
        Verb::Demo(args) => demo::run(args, screen),
        Verb::Check(args) => verb::check::run(args, vici, screen),
        Verb::Up(args) => verb::act::up(args, vici, screen),
        Verb::Down(args) => verb::act::down(args, vici, screen),
        Verb::Restart(args) => verb::act::restart(args, vici, screen),
        Verb::Rekey(args) => verb::act::rekey(args, vici, screen),
        Verb::Reload(args) => verb::act::reload(args, vici, screen),
        Verb::Status(args) => verb::status::run(args, vici, screen),
        Verb::Doctor(args) => verb::doctor::run(args, vici, screen),
        Verb::Ping(args) => verb::ping::run(args, vici, screen),
        Verb::Trace(args) => verb::trace::run(args, vici, screen),
        Verb::Mtu(args) => verb::mtu::run(args, vici, screen),
        Verb::Why(args) => verb::why::why(args, vici, screen),
        Verb::WhyLifetime(args) => verb::lifetime::run(args, vici, screen),
        Verb::Spd(args) => verb::why::spd(args, vici, screen),
        Verb::Sad(args) => verb::why::sad(args, vici, screen),
        Verb::Log(args) => verb::log::run(args, vici, screen).map(|()| Exit::Good),
        Verb::Secret(args) => verb::secret::run(args, screen).map(|()| Exit::Good),
        Verb::Explain(args) => verb::describe::explain(args, screen).map(|()| Exit::Good),
        Verb::Completions(args) => verb::describe::completions(args, screen).map(|()| Exit::Good),
        Verb::Man(args) => verb::describe::man(args, screen).map(|()| Exit::Good),
    }
}

/// Whether the caller is a program that reads JSON.
fn wants_json(verb: &Verb) -> bool {
    match verb {
        Verb::Demo(args) => demo::wants_json(args),
        Verb::Check(args) => args.json,
        Verb::Up(args) | Verb::Down(args) | Verb::Restart(args) => args.json,
        Verb::Rekey(args) => args.json,
        Verb::Reload(args) | Verb::Spd(args) | Verb::Sad(args) => args.json,
        Verb::Doctor(args) => args.json,
        Verb::Ping(args) => args.json,
        Verb::Trace(args) => args.json,
        Verb::Mtu(args) => args.json,
        Verb::Why(args) => args.json,
        Verb::WhyLifetime(args) => args.json,
        Verb::Status(args) => args.json,
        Verb::Log(args) => args.json,
        Verb::Explain(args) => args.json,
        Verb::Secret(args) => verb::secret::wants_json(args),
        Verb::Completions(_) | Verb::Man(_) => false,
    }
}
