//! `cargo xtask bench`: our tunnels beside those of others, in the same rounds.
//!
//! Every subject has two network namespaces with a cable of its own, all are up together, and each
//! round measures all of them, one at a time. So ratios within a round say more than the figures
//! themselves, which depend on the machine and on whoever else uses it.

mod cell;
mod chart;
mod counters;
mod debian;
pub(crate) mod handshakes;
pub(crate) mod load;
mod machine;
mod page;
pub(crate) mod profile;
mod report;
mod rivals;
mod rounds;
mod statistics;
mod subject;
mod table;
mod tunnel;
mod usage;
mod wireguard;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};

pub(crate) use cell::Cell;
pub(crate) use machine::Machine;
#[cfg(test)]
pub(crate) use report::tests::report as small_report;
pub(crate) use report::{Entry, Report};
pub(crate) use rounds::Extent;
#[cfg(test)]
pub(crate) use rounds::Sample;
pub(crate) use statistics::Measure;
pub(crate) use subject::Subject;

use crate::interop::adit;
use crate::outcome::Status;
use crate::{needs, proof, root};
use profile::Profile;
use tunnel::Tunnel;

/// The command line.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// Measure something else than tunnels
    #[command(subcommand)]
    part: Option<Part>,
    /// Two rounds of two seconds for each value
    #[arg(long)]
    quick: bool,
    /// Print JSON with every single value, when all are measured
    #[arg(long)]
    json: bool,
    /// Write docs/performance.md and its picture
    #[arg(long)]
    write: bool,
    /// Fail if our daemon needs more system calls for a packet of one TCP stream than this
    #[arg(long, value_name = "CALLS")]
    most_calls: Option<f64>,
    /// How many rounds
    #[arg(long)]
    rounds: Option<u32>,
    /// How long each value is measured
    #[arg(long)]
    seconds: Option<u64>,
    /// Only these subjects: veth, plain, adit-aes, adit-chacha, adit-esp, wireguard-go, boringtun, gotatun,
    /// libipsec
    #[arg(long, value_delimiter = ',')]
    only: Vec<Subject>,
    /// Only these figures: tcp-1, tcp-1-back, tcp-4, tcp-4-back, udp-64, udp-576, udp-1390, udp-imix,
    /// ping
    #[arg(long, value_delimiter = ',')]
    cells: Vec<Cell>,
}

/// What is measured by itself.
#[derive(Clone, Debug, Subcommand)]
enum Part {
    /// IKE handshakes per second, their CPU time and the memory of SAs, beside charon's (root)
    Handshakes(handshakes::Options),
    /// IKE in one process: handshakes by key exchange beside their primitives, memory, a storm of rekeys
    Ike {
        /// Fewer of everything
        #[arg(long)]
        quick: bool,
    },
}

/// Rounds and seconds of a full run, and of a short one.
const FULL: (u32, u64) = (7, 4);
const QUICK: (u32, u64) = (2, 2);

/// What the measurements need besides the rivals.
pub(crate) const PROGRAMS: [&str; 3] = ["ip", "ping", "iperf3"];

/// Runs the verb.
///
/// # Errors
///
/// This host lacks what every measurement needs, or Adit does not build.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    match &options.part {
        Some(Part::Handshakes(options)) => return handshakes::run(options),
        Some(Part::Ike { quick }) => return measure_ike(*quick),
        None => {}
    }
    let missing = needs::missing(&PROGRAMS);
    anyhow::ensure!(missing.is_empty(), "missing: {}", missing.join("; "));
    let (rounds, seconds) = if options.quick { QUICK } else { FULL };
    let all_or =
        |chosen: &[Cell]| if chosen.is_empty() { Cell::ALL.to_vec() } else { chosen.to_vec() };
    let extent = Extent {
        rounds: options.rounds.unwrap_or(rounds),
        time: Duration::from_secs(options.seconds.unwrap_or(seconds)),
        cells: all_or(&options.cells),
        profile: true,
    };
    let subjects =
        if options.only.is_empty() { Subject::ALL.to_vec() } else { options.only.clone() };
    let report = measure(&subjects, &extent)?;
    let text: Vec<String> = table::tables(&report).iter().map(table::aligned).collect();
    let text = text.join("\n");
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
        eprintln!("\n{text}");
    } else {
        println!("\n{text}");
    }
    if options.write {
        page::write(&report, root::folder())?;
    }
    if let Some(most) = options.most_calls {
        check_calls(&report, most)?;
    }
    let is_complete = report.entries.iter().all(|entry| entry.absent.is_none());
    Ok(if is_complete || !needs::is_ci() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure_ike(quick: bool) -> anyhow::Result<ExitCode> {
    let effort = if quick { proof::QUICK } else { proof::FULL };
    let finding = proof::ikev2_speed::measure(&effort)?;
    println!("{}", finding.figure.replace("; ", "\n"));
    anyhow::ensure!(finding.status != Status::Fail, "{}", finding.reason);
    Ok(ExitCode::SUCCESS)
}

/// The figure of CI: it does not depend on how fast the machine is, only on how well packets keep
/// together.
fn check_calls(report: &Report, most: f64) -> anyhow::Result<()> {
    let calls = report.spread(Subject::AditAes, Cell::Tcp1, Measure::CallsPerPacket);
    let calls = calls.context("our daemon has counted nothing")?;
    anyhow::ensure!(
        calls.median <= most,
        "{:.3} system calls for each packet, {most:.3} are the most",
        calls.median
    );
    eprintln!("{:.3} system calls for each packet, at most {most:.3}", calls.median);
    Ok(())
}

/// Brings `subjects` up, all together, and measures them. What does not come up is an entry with the
/// reason.
///
/// # Errors
///
/// Adit does not build.
pub(crate) fn measure(subjects: &[Subject], extent: &Extent) -> anyhow::Result<Report> {
    adit::build()?;
    if subjects.contains(&Subject::Plain) {
        tunnel::build_plain()?;
    }
    let cell_s = extent.time.as_secs_f64();
    let mut report = Report::new(Machine::here(), extent.rounds, cell_s, &extent.cells);
    let mut tunnels = Vec::new();
    for subject in subjects {
        eprintln!("starting {}", subject.name());
        let (entry, tunnel) = start(*subject, &report.machine.commit);
        report.entries.push(entry);
        tunnels.extend(tunnel);
    }
    report.samples = rounds::run(&tunnels, extent);
    if extent.profile {
        report.profiles = profiles(&tunnels, extent);
    }
    for tunnel in &tunnels {
        let mut entries = report.entries.iter_mut();
        let entry = entries.find(|entry| entry.subject == tunnel.subject);
        if let Some(entry) = entry.filter(|_| !tunnel.processes.is_empty()) {
            entry.memory_octets = Some(usage::memory(&tunnel.processes));
        }
    }
    Ok(report)
}

fn start(subject: Subject, commit: &str) -> (Entry, Option<Tunnel>) {
    let mut entry = Entry {
        subject,
        cipher: subject.cipher(),
        version: if subject.is_ours() { commit.to_owned() } else { String::new() },
        absent: None,
        memory_octets: None,
    };
    let rival = if subject.is_rival() { rivals::prepare(subject).map(Some) } else { Ok(None) };
    let started = rival.and_then(|rival| {
        if let Some(rival) = &rival {
            entry.version.clone_from(&rival.version);
        }
        Tunnel::start(subject, rival.as_ref())
    });
    match started {
        Ok(tunnel) => (entry, Some(tunnel)),
        Err(error) => {
            eprintln!("  {} is not measured: {error:#}", subject.name());
            entry.absent = Some(format!("{error:#}"));
            (entry, None)
        }
    }
}

/// What our daemon does while it is measured in the cells that tell most.
fn profiles(tunnels: &[Tunnel], extent: &Extent) -> Vec<Profile> {
    let ours = tunnels.iter().find(|tunnel| tunnel.subject == Subject::AditAes);
    let cells = [Cell::Tcp1, Cell::Tcp4, Cell::Udp(load::Mix::Small), Cell::Ping];
    let wanted = cells.into_iter().filter(|cell| extent.cells.contains(cell));
    let take = |cell| {
        let taken = profile::take(ours?, cell, extent.time);
        taken.inspect_err(|error| eprintln!("no profile of {}: {error:#}", cell.name())).ok()
    };
    wanted.filter_map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_system_calls_are_an_error() {
        let mut report = small_report();
        assert!(check_calls(&report, 1.0).is_err());
        for sample in &mut report.samples {
            sample.moved = Some(counters::Moved { packets: 100, calls: 10 });
        }
        assert!(check_calls(&report, 0.1).is_ok());
        let error = check_calls(&report, 0.09).unwrap_err().to_string();
        assert_eq!(error, "0.100 system calls for each packet, 0.090 are the most");
    }
}
