//! `model [--orders N] [--losses N] [--copies N]`: visits every state, and says how many there are.

#![expect(clippy::print_stdout, reason = "a command line speaks on stdout")]

use std::process::ExitCode;
use std::thread::available_parallelism;

use adit_model::world::{Bounds, Runs};
use stateright::{Checker, Model};

fn main() -> ExitCode {
    let Some(bounds) = bounds(std::env::args().skip(1)) else {
        eprintln!("usage: model [--orders N] [--losses N] [--copies N]");
        return ExitCode::FAILURE;
    };
    let threads = available_parallelism().map_or(1, usize::from);
    let checker = Runs(bounds).checker().threads(threads).spawn_bfs().join();
    let mut sound = true;
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        let is_wanted = property.expectation == stateright::Expectation::Sometimes;
        if found.is_some() == is_wanted {
            println!("holds: {}", property.name);
            continue;
        }
        sound = false;
        println!("FAILS: {}", property.name);
        if let Some(path) = found {
            println!("    {:#?}", path.last_state());
            path.into_actions().iter().for_each(|action| println!("    {action:?}"));
        }
    }
    let Bounds { orders, losses, copies } = bounds;
    println!(
        "{} states, {} deep, with {orders} orders, {losses} losses, {copies} copies",
        checker.unique_state_count(),
        checker.max_depth()
    );
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the command line says; `None` if it says something else.
fn bounds(mut words: impl Iterator<Item = String>) -> Option<Bounds> {
    let mut bounds = Bounds { orders: 2, losses: 1, copies: 1 };
    while let Some(word) = words.next() {
        let number = words.next()?.parse().ok()?;
        match word.as_str() {
            "--orders" => bounds.orders = number,
            "--losses" => bounds.losses = number,
            "--copies" => bounds.copies = number,
            _ => return None,
        }
    }
    Some(bounds)
}
