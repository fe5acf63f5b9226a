//! `cargo xtask bench handshakes`: two daemons over one cable and as many IKE SAs as asked for.
//!
//! What the figures mean: each handshake ends with an IKE SA and a child SA that is in the packet
//! engine of both ends, with AES-128-GCM and selectors that no other child has. Ours have a connection,
//! identities, hosts and routes of their own; charon has that in the shape that costs it least (`charon`),
//! ESP in user space as ours, and its limits against floods switched off. We keep our limits and stay
//! below them. Both ends and the load generator share the machine.

mod charon;
mod ends;
mod report;
mod usage;
mod vici;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;

pub(crate) use self::ends::Make;

use self::ends::Ends;
use self::usage::Usage;
use super::profile::{Hot, Recording};
use crate::interop::{self, lab::Lab};
use crate::{clock, needs};

/// The command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Fewer IKE SAs
    #[arg(long)]
    quick: bool,
    /// Print a JSON object when all is done
    #[arg(long)]
    json: bool,
    /// Only our own daemon
    #[arg(long)]
    alone: bool,
    /// Only the key exchange that charon has too
    #[arg(long)]
    plain: bool,
    /// Only up to so many IKE SAs
    #[arg(long)]
    most: Option<usize>,
    /// This daemon instead of one built for it
    #[arg(long)]
    daemon: Option<PathBuf>,
    /// Where the time goes, by perf: of handshakes of their own, after those measured
    #[arg(long)]
    profile: bool,
    /// Keep configuration and logs, and say where
    #[arg(long)]
    keep: bool,
}

/// One measurement: so many handshakes while so many IKE SAs stood.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Whose.
    daemon: &'static str,
    /// IKE SAs before.
    standing: usize,
    /// Handshakes measured.
    handshakes: usize,
    /// Handshakes per second.
    pub(crate) per_second: f64,
    /// CPU time of the initiator for each, microseconds.
    pub(crate) initiator_us: f64,
    /// CPU time of the responder for each, microseconds.
    pub(crate) responder_us: f64,
    /// Memory of the initiator for each, octets.
    pub(crate) initiator_octets: f64,
    /// Memory of the responder for each, octets.
    pub(crate) responder_octets: f64,
}

/// What IKE SAs with one child each take, from the first measured to the last: tables that double now
/// and then make differences between a few of them anything.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Held {
    /// Whose.
    daemon: &'static str,
    /// IKE SAs.
    pub(crate) sas: usize,
    /// Memory of the initiator for each, octets.
    pub(crate) initiator_octets: f64,
    /// Memory of the responder for each, octets.
    pub(crate) responder_octets: f64,
}

/// Where the time of handshakes goes while so many IKE SAs stand.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Seen {
    /// Whose.
    daemon: &'static str,
    /// IKE SAs before.
    standing: usize,
    /// Functions of both ends, the hottest first.
    pub(crate) functions: Vec<Hot>,
}

/// All that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    held: Vec<Held>,
    seen: Vec<Seen>,
    /// Seconds until a daemon had all its tunnels, and how many those were.
    load_s: f64,
    tunnels: usize,
}

impl Report {
    /// What was measured of a daemon first while so many IKE SAs stood.
    pub(crate) fn row(&self, make: Make, standing: usize) -> Option<&Row> {
        self.rows.iter().find(|row| row.daemon == make.name() && row.standing >= standing)
    }

    /// Where the time of a daemon's handshakes went first while so many IKE SAs stood.
    pub(crate) fn seen(&self, make: Make, standing: usize) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.daemon == make.name() && seen.standing >= standing)
    }

    /// What the IKE SAs of a daemon take.
    pub(crate) fn held(&self, make: Make) -> Option<&Held> {
        self.held.iter().find(|held| held.daemon == make.name())
    }
}

/// IKE SAs measured at each step.
pub(crate) const SAMPLE: usize = 500;

/// What the proof compares: of ours many and few IKE SAs that stand, of the others few.
pub(crate) const MANY: usize = 10_000;

/// How many of charon's memory is measured of: a handshake takes it longer the more there are.
const MANY_OF_CHARON: usize = 3_000;

/// The figures of the proof.
///
/// # Errors
///
/// A daemon does not build, start or answer.
pub(crate) fn measure_for_proof() -> anyhow::Result<Report> {
    interop::adit::build()?;
    let options = Options {
        quick: false,
        json: false,
        alone: false,
        plain: false,
        most: None,
        daemon: None,
        profile: true,
        keep: false,
    };
    let mut report = Report::default();
    let few = [10, SAMPLE];
    let more = [10, SAMPLE, MANY];
    measure_daemon(Make::Adit { post_quantum: false }, &more, &options, &mut report)?;
    measure_daemon(Make::Adit { post_quantum: true }, &few, &options, &mut report)?;
    let of_charon = [10, SAMPLE, MANY_OF_CHARON];
    measure_daemon(Make::Charon, &of_charon, &options, &mut report)?;
    Ok(report)
}

/// Runs the verb.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let missing = needs::missing(&interop::PROGRAMS);
    ensure!(missing.is_empty(), "missing: {}", missing.join("; "));
    if options.daemon.is_none() {
        interop::adit::build()?;
    }
    let report = measure(options)?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(options: &Options) -> anyhow::Result<Report> {
    let most = options.most.unwrap_or(if options.quick { 1_000 } else { 10_000 });
    let below = [10, SAMPLE, 1_000, 10_000].into_iter().filter(|n| *n < most);
    let standing: Vec<usize> = below.chain([most]).collect();
    let mut makes = vec![Make::Adit { post_quantum: false }];
    if !options.plain {
        makes.push(Make::Adit { post_quantum: true });
    }
    if !options.alone {
        makes.push(Make::Charon);
    }
    let mut report = Report::default();
    for make in makes {
        // Hybrid handshakes cost the same whatever stands: its rate is what is asked for.
        let standing = match make {
            Make::Adit { post_quantum: true } => standing.get(..2).unwrap_or(&standing),
            Make::Adit { .. } | Make::Charon => &standing,
        };
        measure_daemon(make, standing, options, &mut report)?;
    }
    Ok(report)
}

fn measure_daemon(
    make: Make,
    standing: &[usize],
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    // Looking slows them down, so that those looked at are not those measured.
    let looked_at = |before| options.profile && before >= SAMPLE && make != Make::Charon;
    let tunnels = standing.iter().fold(0, |done: usize, &before| {
        done.max(before) + SAMPLE + if looked_at(before) { SAMPLE } else { 0 }
    });
    let lab = Lab::new(options.keep)?;
    let mut ends = Ends::start(&lab, make, options.daemon.as_deref(), tunnels)?;
    if make == (Make::Adit { post_quantum: false }) {
        (report.load_s, report.tunnels) = (ends.load_s, ends.tunnels);
        eprintln!("{} tunnels loaded in {:.2} s", report.tunnels, report.load_s);
    }
    let mut first = None;
    for &before in standing {
        let missing = before.saturating_sub(ends.established()?);
        ends.connect(missing)?;
        first.get_or_insert((ends.established()?, ends.usage()?));
        let row = sample(&mut ends, make)?;
        eprintln!("{row}");
        report.rows.push(row);
        if looked_at(before) {
            let seen = look(&mut ends, make, &lab);
            let seen =
                seen.inspect_err(|error| eprintln!("no profile of {}: {error:#}", make.name()));
            report.seen.extend(seen);
        }
    }
    let (standing, before) = first.context("nothing was measured")?;
    let sas = ends.established()?.saturating_sub(standing);
    let each = each(before, ends.usage()?, sas, |usage| usage.resident);
    let [initiator_octets, responder_octets] = each;
    let held = Held { daemon: make.name(), sas, initiator_octets, responder_octets };
    eprintln!("{held}");
    report.held.push(held);
    ends.check_children()
}

fn sample(ends: &mut Ends, make: Make) -> anyhow::Result<Row> {
    std::thread::sleep(REST);
    let standing = ends.established()?;
    let before = ends.usage()?;
    let start = clock::now();
    ends.connect(SAMPLE)?;
    let seconds = start.elapsed().as_secs_f64();
    std::thread::sleep(REST);
    let after = ends.usage()?;
    let [initiator_us, responder_us] = each(before, after, SAMPLE, |usage| usage.cpu_us);
    let octets = each(before, after, SAMPLE, |usage| usage.resident);
    let [initiator_octets, responder_octets] = octets;
    Ok(Row {
        daemon: make.name(),
        standing,
        handshakes: SAMPLE,
        per_second: SAMPLE as f64 / seconds,
        initiator_us,
        responder_us,
        initiator_octets,
        responder_octets,
    })
}

/// What both ends do in handshakes.
fn look(ends: &mut Ends, make: Make, lab: &Lab) -> anyhow::Result<Seen> {
    let standing = ends.established()?;
    let file = lab.left.folder.join(format!("handshakes-{standing}.perf"));
    let recording = Recording::of(&ends.processes(), file, LOOKS_HZ)?;
    let connected = ends.connect(SAMPLE);
    let functions = recording.finish()?;
    connected?;
    Ok(Seen { daemon: make.name(), standing, functions })
}

/// Looks per second: a sample of handshakes takes half a second of the processors.
const LOOKS_HZ: u32 = 4_999;

/// What both ends have used for each of so many IKE SAs.
fn each(before: [Usage; 2], after: [Usage; 2], sas: usize, used: fn(&Usage) -> f64) -> [f64; 2] {
    let [left, right] = before;
    let [left_after, right_after] = after;
    [(left, left_after), (right, right_after)]
        .map(|(before, after)| (used(&after) - used(&before)) / sas as f64)
}

/// What is still under way when the last handshake is done comes to its end.
const REST: Duration = Duration::from_millis(300);
