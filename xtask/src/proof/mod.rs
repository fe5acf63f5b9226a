//! `cargo xtask proof`: every number we claim, measured. One row per claim, one file per row.

mod aggfrag;
mod capture;
mod checklist;
mod criterion;
mod dhless;
mod fuzzing;
mod icmp;
mod ikev1;
mod ikev1_speed;
mod ikev2;
pub(crate) mod ikev2_speed;
mod kernel;
mod leaks;
mod peer;
mod scapy;
mod seeds;
mod speed;
mod vectors;
mod worlds;

pub(crate) use icmp::spoof;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::outcome::{Status, json_list, seconds};
use crate::{clock, needs};

/// The command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Which claims
    of: Claims,
    /// Shorter runs: shows that the measurements work, proves less
    #[arg(long)]
    quick: bool,
    /// Write what row 5 of `ikev1` measures into docs/dhless.md
    #[arg(long)]
    write: bool,
    /// Print a JSON list of the rows, when all are measured
    #[arg(long)]
    json: bool,
    /// Only these rows, by number
    rows: Vec<u8>,
}

/// Sets of claims.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Claims {
    /// IKEv2 and ESP between two gateways
    Foundation,
    /// What happens to packets: RFC 4301, RFC 4303
    Ipsec,
    /// How fast we are beside others
    Speed,
    /// IKEv2 with its extensions
    Ikev2,
    /// IKEv1
    Ikev1,
    /// Path MTU and ICMP
    Icmp,
}

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Time for each fuzz target.
    pub(crate) fuzz: Duration,
    /// Seeds of the simulation.
    pub(crate) seeds: u64,
    /// Seeds of the search for leaks.
    pub(crate) sequences: u64,
    /// A short look is enough.
    pub(crate) quick: bool,
    /// Figures that stand in a document are written into it.
    pub(crate) write: bool,
}

pub(crate) const FULL: Effort = Effort {
    fuzz: Duration::from_secs(300),
    seeds: 10_000,
    sequences: 100_000,
    quick: false,
    write: false,
};

pub(crate) const QUICK: Effort = Effort {
    fuzz: Duration::from_secs(20),
    seeds: 500,
    sequences: 2_000,
    quick: true,
    write: false,
};

/// What a measurement found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// How it ended.
    pub(crate) status: Status,
    /// What was measured, with its unit.
    pub(crate) figure: String,
    /// Why it failed or was skipped; may be empty.
    pub(crate) reason: String,
}

impl Finding {
    /// The claim holds.
    pub(crate) fn pass(figure: impl Into<String>) -> Self {
        Self { status: Status::Pass, figure: figure.into(), reason: String::new() }
    }

    /// The claim does not hold.
    pub(crate) fn fail(figure: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { status: Status::Fail, figure: figure.into(), reason: reason.into() }
    }

    /// This machine lacks something: a skip at home, a failure in CI.
    pub(crate) fn missing(reason: impl Into<String>) -> Self {
        Self { status: Status::missing(), figure: String::new(), reason: reason.into() }
    }
}

/// A claim and how to measure it.
struct Claim {
    number: u8,
    claim: &'static str,
    measure: fn(&Effort) -> anyhow::Result<Finding>,
}

const FOUNDATION: &[Claim] = &[
    Claim {
        number: 1,
        claim: "strongSwan and we tunnel, transfer, rekey, delete and restart, either side first",
        measure: peer::measure,
    },
    Claim {
        number: 2,
        claim: "tshark verifies every ESP packet and decodes every IKE message of the demo",
        measure: capture::measure,
    },
    Claim {
        number: 3,
        claim: "our transforms, key derivation and ESP packets give the published octets",
        measure: vectors::measure,
    },
    Claim {
        number: 4,
        claim: "no input crashes IKE, ESP, VICI or TOML, whatever the fuzz targets try",
        measure: fuzzing::measure,
    },
    Claim {
        number: 5,
        claim: "two peers converge under loss, duplication and reordering, whatever the seed",
        measure: seeds::measure,
    },
    Claim {
        number: 6,
        claim: "time to seal and open by packet size, beside the bare AEAD; handshakes per second",
        measure: criterion::measure,
    },
];

const IPSEC: &[Claim] = &[
    Claim {
        number: 1,
        claim: "each point of what is to be tested about ESP and AH has a test that passes",
        measure: checklist::measure,
    },
    Claim {
        number: 2,
        claim: "our ESP packets and their ciphers give the published octets, sealed and opened",
        measure: vectors::measure_esp,
    },
    Claim {
        number: 3,
        claim: "Scapy opens what we seal, and we what it seals, in every combination",
        measure: scapy::measure,
    },
    Claim {
        number: 4,
        claim: "a Linux kernel opens what we seal, and we what it seals, in both modes",
        measure: kernel::measure,
    },
    Claim {
        number: 5,
        claim: "no octet of a protected flow leaves in clear, whatever happens to SAs and policies",
        measure: leaks::measure,
    },
    Claim {
        number: 6,
        claim: "no packet crashes ESP, AH, policies or reassembly, whatever the fuzz targets try",
        measure: fuzzing::measure_packets,
    },
    Claim {
        number: 7,
        claim: "speed of sealing and opening by suite and size, as a share of the bare cipher's",
        measure: criterion::measure_shares,
    },
];

/// One line of the report.
#[derive(Serialize)]
struct Row {
    number: u8,
    claim: &'static str,
    figure: String,
    status: Status,
    reason: String,
    seconds: f64,
}

/// Runs the verb.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let numbers: Vec<u8> = match options.of {
        Claims::Foundation => FOUNDATION.iter().map(|claim| claim.number).collect(),
        Claims::Ipsec => IPSEC.iter().map(|claim| claim.number).collect(),
        Claims::Speed => speed::numbers(),
        Claims::Ikev2 => ikev2::CLAIMS.iter().map(|claim| claim.number).collect(),
        Claims::Ikev1 => ikev1::CLAIMS.iter().map(|claim| claim.number).collect(),
        Claims::Icmp => icmp::CLAIMS.iter().map(|claim| claim.number).collect(),
    };
    if let Some(row) = options.rows.iter().find(|row| !numbers.contains(row)) {
        let numbers: Vec<String> = numbers.iter().map(u8::to_string).collect();
        anyhow::bail!("there is no row {row}; rows are {}", numbers.join(", "));
    }
    let effort = if options.quick { QUICK } else { FULL };
    let effort = Effort { write: options.write, ..effort };
    let rows = match options.of {
        Claims::Foundation => rows(FOUNDATION, &options.rows, &effort),
        Claims::Ipsec => rows(IPSEC, &options.rows, &effort),
        Claims::Speed => speed::rows(&effort, &options.rows),
        Claims::Ikev2 => rows(ikev2::CLAIMS, &options.rows, &effort),
        Claims::Ikev1 => rows(ikev1::CLAIMS, &options.rows, &effort),
        Claims::Icmp => rows(icmp::CLAIMS, &options.rows, &effort),
    };
    if options.json {
        println!("{}", json_list(&rows)?);
    }
    eprintln!("\n=== summary");
    for row in &rows {
        print_row(row, options.json);
    }
    let clean = rows.iter().all(|row| row.status != Status::Fail);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rows of `claims` that are `wanted`, all of them if it is empty.
fn rows(claims: &[Claim], wanted: &[u8], effort: &Effort) -> Vec<Row> {
    let is_wanted = |claim: &&Claim| wanted.is_empty() || wanted.contains(&claim.number);
    let measure = |claim: &Claim| {
        eprintln!("\n=== {} {}", claim.number, claim.claim);
        measure(claim, effort)
    };
    claims.iter().filter(is_wanted).map(measure).collect()
}

fn measure(claim: &Claim, effort: &Effort) -> Row {
    let start = clock::now();
    let found = (claim.measure)(effort);
    let found = found.unwrap_or_else(|error| Finding::fail("", format!("{error:#}")));
    Row {
        number: claim.number,
        claim: claim.claim,
        figure: found.figure,
        status: found.status,
        reason: found.reason,
        seconds: start.elapsed().as_secs_f64(),
    }
}

/// For people; beside JSON it goes to stderr.
fn print_row(row: &Row, json: bool) {
    let time = seconds(Duration::from_secs_f64(row.seconds));
    let mut text = format!("{:>4}  {time:>8}  {}  {}", row.status.word(), row.number, row.claim);
    for more in [&row.figure, &row.reason] {
        if !more.is_empty() {
            text.push_str(&format!("\n                   {more}"));
        }
    }
    if json {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}

/// Runs a command, shows what it complains of as it comes, and returns what it prints.
pub(crate) fn printed(command: &mut Command) -> anyhow::Result<String> {
    command.stderr(std::process::Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    let last: Vec<&str> = lines.into_iter().rev().collect();
    let name = command.get_program().to_string_lossy().into_owned();
    anyhow::bail!("{name}: {}: {}", output.status, last.join(" | "))
}

/// `None` if this machine has what a row needs.
pub(crate) fn lacks(programs: &[&str]) -> Option<Finding> {
    let missing = needs::missing(programs);
    (!missing.is_empty()).then(|| Finding::missing(format!("missing: {}", missing.join("; "))))
}
