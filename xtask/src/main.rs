//! Checks, proofs and generators for developers: `cargo xtask help`.

#![expect(clippy::print_stdout, reason = "a command line speaks on stdout")]

mod bench;
mod checklist;
mod clock;
mod fuzz;
mod instructions;
mod interop;
mod lifetimes;
mod linux;
mod model;
mod needs;
mod outcome;
mod proof;
mod replay;
mod root;
mod scapy;
mod sim;
mod test;
mod tidy;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use outcome::{Outcome, Status};

/// Checks and proofs of the Adit workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Everything a change must pass, the checks below included
    Test,
    /// Arrows between crates, `unsafe`, lengths, unfinished work, RFC numbers, I/O in pure crates
    Tidy,
    /// Worlds of several hosts in virtual time: bad links, NATs, crashes, clocks, strangers
    Sim(sim::Options),
    /// What `aditd --record FILE` has written, played again: does the same come out?
    Replay(replay::Options),
    /// Writes the tables of docs/lifetimes.md from what the code says
    Lifetimes,
    /// Every state of the model of rekeying and deleting, and the model beside the code
    Model(model::Options),
    /// Fuzz targets on the stable compiler
    Fuzz {
        /// How long each target runs
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only these targets
        targets: Vec<String>,
    },
    /// Adit against a real peer in network namespaces (root)
    Interop(interop::Options),
    /// What is to be proven, row by row, and by which tests it is
    Checklist(checklist::Options),
    /// Every number we claim, measured (root)
    Proof(proof::Options),
    /// Instructions of a packet, a lookup and a handshake, against those of before
    Instructions(instructions::Options),
    /// Our tunnels beside those of others, in the same rounds (root)
    Bench(bench::Options),
    /// Test vectors made by others' programs (root)
    Vectors(linux::vectors::Options),
    /// Tidies up behind the harness
    #[command(hide = true)]
    Janitor,
    /// Hands packets to the kernel of a guest
    #[command(hide = true)]
    GuestSend {
        /// Rounds of SAs and packets
        file: String,
    },
    /// One end of a TCP transfer
    #[command(hide = true)]
    Receive {
        /// Where to listen
        address: IpAddr,
    },
    /// The other end of a TCP transfer
    #[command(hide = true)]
    Send {
        /// Address to send from
        source: IpAddr,
        /// Where the receiver listens
        target: SocketAddr,
        /// How much to send
        octets: u64,
        /// How long to wait before each part
        #[arg(default_value_t = 0)]
        milliseconds: u64,
    },
    /// Sends ICMP errors about packets that nobody sent
    #[command(hide = true)]
    SpoofIcmp {
        /// Who gets them
        target: IpAddr,
        /// Source of the packets they quote
        source: IpAddr,
        /// Destination of the packets they quote
        destination: IpAddr,
        /// How many
        count: u32,
        /// In which time
        milliseconds: u64,
    },
    /// Counts datagrams
    #[command(hide = true)]
    UdpCount {
        /// Where to listen
        address: IpAddr,
    },
    /// Sends datagrams
    #[command(hide = true)]
    UdpSend {
        /// Address to send from
        source: IpAddr,
        /// Where the receiver listens
        target: SocketAddr,
        /// How long they are
        mix: bench::load::Mix,
        /// How long to send
        milliseconds: u64,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Test => Ok(test::run()),
        Verb::Tidy => tidy::run(),
        Verb::Sim(options) => sim::run_verb(&options),
        Verb::Replay(options) => replay::run(&options),
        Verb::Lifetimes => lifetimes::run(),
        Verb::Model(options) => model::run(options).map(finish),
        Verb::Fuzz { seconds, targets } => fuzz::run(Duration::from_secs(seconds), &targets),
        Verb::Interop(options) => interop::run(&options),
        Verb::Checklist(options) => checklist::run(&options),
        Verb::Proof(options) => proof::run(&options),
        Verb::Instructions(options) => instructions::run(options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Vectors(options) => linux::vectors::run(&options),
        Verb::GuestSend { file } => linux::packets::send_rounds(&file).map(|()| ExitCode::SUCCESS),
        Verb::Janitor => {
            interop::serve_janitor();
            Ok(ExitCode::SUCCESS)
        }
        Verb::Receive { address } => interop::receive(address).map(|()| ExitCode::SUCCESS),
        Verb::Send { source, target, octets, milliseconds } => {
            let pace = Duration::from_millis(milliseconds);
            interop::send(source, target, octets, pace).map(|()| ExitCode::SUCCESS)
        }
        Verb::SpoofIcmp { target, source, destination, count, milliseconds } => {
            let time = Duration::from_millis(milliseconds);
            proof::spoof(target, [source, destination], count, time).map(|()| ExitCode::SUCCESS)
        }
        Verb::UdpCount { address } => bench::load::count(address).map(|()| ExitCode::SUCCESS),
        Verb::UdpSend { source, target, mix, milliseconds } => {
            let time = Duration::from_millis(milliseconds);
            bench::load::send(source, target, mix, time).map(|()| ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

/// Prints how a single check ended.
fn finish(outcome: Outcome) -> ExitCode {
    eprintln!("{}: {}", outcome.status.word(), outcome.note);
    if outcome.status == Status::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
