//! `cargo xtask interop`: our daemon against a real peer, in network namespaces.

mod adit;
mod gateway;
mod in_guest;
mod janitor;
mod kernel;
pub(crate) mod lab;
mod linux;
mod ping;
mod plan;
mod raw;
mod scenarios;
mod strongswan;
mod transfer;

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

pub(crate) use janitor::serve as serve_janitor;
pub(crate) use linux::{Extent, programs as kernel_programs};
pub(crate) use transfer::{receive, send};

use crate::outcome::{Status, json_list};
use crate::{clock, needs};
use gateway::{Gateway, Make};
use lab::Lab;
use plan::Plan;
use scenarios::{SCENARIOS, Scenario};

/// The command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Who is on the other side
    peer: Peer,
    /// Print a JSON list with a row for each scenario, when all have run
    #[arg(long)]
    json: bool,
    /// List the scenarios
    #[arg(long)]
    list: bool,
    /// Fewer of the cases with a Linux kernel
    #[arg(long)]
    quick: bool,
    /// Keep configuration and logs, and say where
    #[arg(long)]
    keep: bool,
    /// Use the other side's daemon on both sides: tests the harness, not Adit
    #[arg(long, hide = true)]
    self_check: bool,
    /// Only these
    scenarios: Vec<String>,
}

/// The peers that there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Peer {
    /// Debian's charon-systemd with kernel-libipsec
    Strongswan,
    /// The ESP of a Linux kernel in User-mode Linux, with strongSwan's keys
    Linux,
    /// Our daemon over a kernel's IPsec in User-mode Linux, against ours in user space and strongSwan
    Kernel,
}

/// Measured values by name; the name ends with the unit.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Name of the scenario.
    pub(crate) scenario: String,
    /// How it ended.
    pub(crate) status: Status,
    /// Why it failed or was skipped; otherwise what it showed.
    pub(crate) reason: String,
    /// How long it took.
    pub(crate) seconds: f64,
    /// What it measured.
    pub(crate) figures: Figures,
}

/// Both gateways of a scenario. The gateways stand before the lab, so they go first.
pub(crate) struct Bench {
    /// Adit.
    pub(crate) left: Gateway,
    /// The peer.
    pub(crate) right: Gateway,
    /// What they were configured with.
    pub(crate) plan: Plan,
    _lab: Lab,
}

/// The programs that the harness runs.
pub(crate) const PROGRAMS: [&str; 4] = ["ip", "ping", "charon-systemd", "swanctl"];

/// Runs the verb.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.list {
        print_list(options.peer);
        return Ok(ExitCode::SUCCESS);
    }
    let report = |row: &Row| {
        if options.json {
            eprintln!("{row}");
        } else {
            println!("{row}");
        }
    };
    let rows = match options.peer {
        Peer::Strongswan => rows(options, report)?,
        Peer::Linux => {
            let extent = if options.quick { Extent::Few } else { Extent::All };
            linux::rows(extent, &options.scenarios, options.keep, report)?
        }
        Peer::Kernel => kernel::rows(options.quick, &options.scenarios, options.keep, report)?,
    };
    if options.json {
        println!("{}", json_list(&rows)?);
    } else {
        print_summary(&rows);
    }
    let clean = rows.iter().all(|row| row.status != Status::Fail);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every scenario against strongSwan, for the proof; they are told on stderr as they end.
pub(crate) fn all_rows() -> anyhow::Result<Vec<Row>> {
    let options = Options {
        peer: Peer::Strongswan,
        json: false,
        list: false,
        quick: false,
        keep: false,
        self_check: false,
        scenarios: Vec::new(),
    };
    rows(&options, |row| eprintln!("{row}"))
}

/// Every case against a Linux kernel, or a few, for the proof.
pub(crate) fn kernel_rows(extent: Extent) -> anyhow::Result<Vec<Row>> {
    linux::rows(extent, &[], false, |row| eprintln!("{row}"))
}

fn print_list(peer: Peer) {
    match peer {
        Peer::Strongswan => {
            for scenario in SCENARIOS {
                println!("{:<22} {}", scenario.name, scenario.claim);
            }
        }
        Peer::Linux => {
            for (name, claim) in linux::list() {
                println!("{name:<40} {claim}");
            }
        }
        Peer::Kernel => {
            for (name, claim) in kernel::list() {
                println!("{name:<22} {claim}");
            }
        }
    }
}

fn rows(options: &Options, report: impl Fn(&Row)) -> anyhow::Result<Vec<Row>> {
    let chosen = choose(&options.scenarios)?;
    let missing = needs::missing(&PROGRAMS);
    if missing.is_empty() && !options.self_check {
        adit::build()?;
    }
    let mut rows = Vec::new();
    for scenario in chosen {
        let row = if missing.is_empty() {
            run_scenario(scenario, options)
        } else {
            scenario.row(Status::missing(), format!("missing: {}", missing.join("; ")))
        };
        report(&row);
        rows.push(row);
    }
    Ok(rows)
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let find = |name: &String| {
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
        found.ok_or_else(|| anyhow::anyhow!("no scenario `{name}`; --list shows them"))
    };
    names.iter().map(find).collect()
}

fn run_scenario(scenario: &'static Scenario, options: &Options) -> Row {
    let start = clock::now();
    let result = bench(scenario, options).and_then(|bench| {
        (scenario.run)(&bench).inspect_err(|_| {
            eprint!("{}{}", bench.left.last_words(), bench.right.last_words());
        })
    });
    let mut row = match result {
        Ok(figures) => Row { figures, ..scenario.row(Status::Pass, scenario.claim.to_owned()) },
        Err(error) => scenario.row(Status::Fail, format!("{error:#}")),
    };
    row.seconds = start.elapsed().as_secs_f64();
    row
}

fn bench(scenario: &Scenario, options: &Options) -> anyhow::Result<Bench> {
    let lab = Lab::new(options.keep)?;
    let plan = (scenario.plan)();
    for network in 0..plan.more_networks {
        lab.left.add_address(&format!("10.101.{network}.1/32"), "lo")?;
    }
    let make = if options.self_check { Make::StrongSwan } else { scenario.left };
    let right = Gateway::start(&lab.right, &lab.left, &plan, Make::StrongSwan)?;
    let left = Gateway::start(&lab.left, &lab.right, &plan, make)?;
    Ok(Bench { left, right, plan, _lab: lab })
}

impl Scenario {
    fn row(&self, status: Status, reason: String) -> Row {
        let figures = Figures::new();
        Row { scenario: self.name.to_owned(), status, reason, seconds: 0.0, figures }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.status.word();
        write!(f, "{word}  {:>5.1} s  {:<30} {}", self.seconds, self.scenario, self.reason)?;
        for (name, value) in &self.figures {
            write!(f, ", {name} {value:.1}")?;
        }
        Ok(())
    }
}

fn print_summary(rows: &[Row]) {
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    let (pass, fail, skip) = (count(Status::Pass), count(Status::Fail), count(Status::Skip));
    println!("{pass} passed, {fail} failed, {skip} skipped");
}
