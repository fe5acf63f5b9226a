//! `cargo xtask interop`: our daemon against a real peer, in network namespaces.

pub(crate) mod adit;
mod credentials;
pub(crate) mod gateway;
mod guests;
pub(crate) mod in_guest;
pub(crate) mod janitor;
mod kernel;
pub(crate) mod lab;
mod linux;
mod page;
mod ping;
pub(crate) mod plan;
mod raw;
mod scenarios;
mod strongswan;
pub(crate) mod transfer;

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

pub(crate) use janitor::serve as serve_janitor;
pub(crate) use linux::{Extent, programs as kernel_programs};
pub(crate) use transfer::{own_copy, receive, send};

use crate::outcome::{Status, json_list};
use crate::{clock, needs};
use gateway::{Gateway, Make};
use lab::Lab;
use page::Run;
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
    /// Write docs/interop.md, with `all`
    #[arg(long)]
    write: bool,
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
    /// Debian's libreswan over the ESP of a Linux kernel in User-mode Linux
    Libreswan,
    /// Debian's OpenIKED over the ESP of a Linux kernel in User-mode Linux
    Openiked,
    /// All of them, one after the other
    All,
}

impl Peer {
    /// The peers in the order in which they run.
    const EACH: [Self; 5] =
        [Self::Strongswan, Self::Linux, Self::Kernel, Self::Libreswan, Self::Openiked];

    /// As a heading.
    fn title(self) -> &'static str {
        match self {
            Self::Strongswan => "strongSwan, ESP in user space",
            Self::Linux => "The ESP of a Linux kernel",
            Self::Kernel => "Our daemon over a Linux kernel",
            Self::Libreswan => "libreswan over a Linux kernel",
            Self::Openiked => "OpenIKED over a Linux kernel",
            Self::All => "All",
        }
    }
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
    let one = std::slice::from_ref(&options.peer);
    let peers = if options.peer == Peer::All { &Peer::EACH } else { one };
    anyhow::ensure!(
        peers.len() == 1 || options.scenarios.is_empty(),
        "scenarios belong to one peer: name it instead of `all`"
    );
    anyhow::ensure!(
        !options.write || options.peer == Peer::All,
        "the page is about all peers: cargo xtask interop all --write"
    );
    let mut runs = Vec::new();
    for peer in peers {
        if peers.len() > 1 {
            eprintln!("=== {}", peer.title());
        }
        runs.push(Run { peer: *peer, rows: rows_of(*peer, options, report)? });
    }
    if options.write {
        page::write(&runs)?;
    }
    let rows: Vec<Row> = runs.into_iter().flat_map(|run| run.rows).collect();
    if options.json {
        println!("{}", json_list(&rows)?);
    } else {
        print_summary(&rows);
    }
    let clean = rows.iter().all(|row| row.status != Status::Fail);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rows_of(peer: Peer, options: &Options, report: impl Fn(&Row)) -> anyhow::Result<Vec<Row>> {
    let Options { scenarios, keep, quick, .. } = options;
    match peer {
        Peer::Strongswan | Peer::All => rows(options, report),
        Peer::Linux => {
            let extent = if *quick { Extent::Few } else { Extent::All };
            linux::rows(extent, scenarios, *keep, report)
        }
        Peer::Kernel => kernel::rows(*quick, scenarios, *keep, report),
        Peer::Libreswan | Peer::Openiked => guests::rows(peer, scenarios, *keep, report),
    }
}

/// Every scenario with a peer, for the proof; they are told on stderr as they end.
pub(crate) fn all_rows(peer: Peer) -> anyhow::Result<Vec<Row>> {
    some_rows(peer, Vec::new())
}

/// The same of those alone whose names begin with this word; there are some.
pub(crate) fn rows_that_begin(peer: Peer, word: &str) -> anyhow::Result<Vec<Row>> {
    let all = names(peer).into_iter().map(|(name, _)| name);
    some_rows(peer, all.filter(|name| name.starts_with(word)).collect())
}

fn some_rows(peer: Peer, scenarios: Vec<String>) -> anyhow::Result<Vec<Row>> {
    let options = Options {
        peer,
        json: false,
        list: false,
        quick: false,
        write: false,
        keep: false,
        self_check: false,
        scenarios,
    };
    rows_of(peer, &options, |row| eprintln!("{row}"))
}

/// Some scenarios with a peer, for the proof.
pub(crate) fn named_rows(peer: Peer, names: &[&str]) -> anyhow::Result<Vec<Row>> {
    let options = Options {
        peer,
        json: false,
        list: false,
        quick: false,
        write: false,
        keep: false,
        self_check: false,
        scenarios: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    rows_of(peer, &options, |row| eprintln!("{row}"))
}

/// Every case against a Linux kernel, or a few, for the proof.
pub(crate) fn kernel_rows(extent: Extent) -> anyhow::Result<Vec<Row>> {
    linux::rows(extent, &[], false, |row| eprintln!("{row}"))
}

/// The names of a peer's scenarios and what they show.
fn names(peer: Peer) -> Vec<(String, &'static str)> {
    let owned = |(name, claim): (&str, &'static str)| (name.to_owned(), claim);
    match peer {
        Peer::Strongswan => SCENARIOS.iter().map(|one| owned((one.name, one.claim))).collect(),
        Peer::Linux => linux::list(),
        Peer::Kernel => kernel::list().map(owned).collect(),
        Peer::Libreswan | Peer::Openiked => guests::list(peer).map(owned).collect(),
        Peer::All => Peer::EACH.into_iter().flat_map(names).collect(),
    }
}

fn print_list(peer: Peer) {
    let names = names(peer);
    let width = names.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, claim) in names {
        println!("{name:<width$}  {claim}");
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
        let missing = needs::missing(&[&PROGRAMS[..], scenario.needs].concat());
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
    if let Some(kind) = plan.login.kind() {
        credentials::write([&lab.left, &lab.right], kind)?;
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
