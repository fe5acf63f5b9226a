//! The fuzz targets: all of them, or those of packets and their policies.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Effort, Finding};
use crate::fuzz::{self, Run, Targets};

/// What a claim is about, and the targets that try it.
type Wanted = [(&'static str, &'static [&'static str])];

const WANTED: &Wanted = &[
    ("IKE", &["wire_ikev2", "ike_initiator", "ike_responder", "ike_established"]),
    ("IKEv1", &["wire_isakmp", "ikev1_phase1", "ikev1_established"]),
    ("ESP input", &["esp_inbound"]),
    ("AH input", &["ah_inbound"]),
    ("IPComp input", &["ipcomp_inbound"]),
    ("AGGFRAG input", &["aggfrag_inbound"]),
    ("VICI", &["vici", "vici_conn"]),
    ("TOML", &["config_toml"]),
];

/// Targets that get all the time there is: whatever a stranger reaches first. The others get a fifth
/// of it, or CI would have no time for anything else.
const FOREMOST: [&str; 8] = [
    "wire_ikev2",
    "ike_initiator",
    "ike_responder",
    "ike_established",
    "esp_inbound",
    "vici",
    "vici_conn",
    "config_toml",
];

/// How long a target runs, where the foremost get so much.
type Share = fn(&str, Duration) -> Duration;

fn time_of(name: &str, time: Duration) -> Duration {
    if FOREMOST.contains(&name) { time } else { time / 5 }
}

/// Inbound packets have valid keys and any inner octets.
const WANTED_OF_PACKETS: &Wanted = &[
    ("ESP", &["esp_inbound", "esp_outbound"]),
    ("AH", &["ah_inbound"]),
    ("IPComp", &["ipcomp_inbound"]),
    ("AGGFRAG", &["aggfrag_inbound"]),
    ("policies", &["spd_lookup"]),
    ("fragments", &["fragments"]),
];

/// Runs every target there is.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    run(effort, WANTED, |_| true, time_of)
}

/// Runs the targets of packets and their policies alone.
pub(super) fn measure_packets(effort: &Effort) -> anyhow::Result<Finding> {
    let of_packets = |name: &str| WANTED_OF_PACKETS.iter().any(|(_, names)| names.contains(&name));
    run(effort, WANTED_OF_PACKETS, of_packets, time_of)
}

/// Whoever is in phase 1 or past it, with valid keys or without.
const WANTED_OF_IKEV1: &Wanted = &[
    ("ISAKMP payloads", &["wire_isakmp"]),
    ("phase 1", &["ikev1_phase1"]),
    ("Quick Mode and Informational exchanges", &["ikev1_established"]),
];

/// Runs the targets of IKEv1 alone.
pub(super) fn measure_ikev1(effort: &Effort) -> anyhow::Result<Finding> {
    let of_ikev1 = |name: &str| WANTED_OF_IKEV1.iter().any(|(_, names)| names.contains(&name));
    run(effort, WANTED_OF_IKEV1, of_ikev1, |_, time| time)
}

/// Runs each target, as many at once as there are processors. What they learn is thrown away, so
/// that the committed corpora stay as they are.
fn run(
    effort: &Effort,
    wanted: &Wanted,
    is_meant: fn(&str) -> bool,
    share: Share,
) -> anyhow::Result<Finding> {
    let mut targets = match fuzz::build()? {
        Ok(targets) => targets,
        Err(missing) => return Ok(Finding::missing(missing)),
    };
    targets.names.retain(|name| is_meant(name));
    let learned = std::env::temp_dir().join(format!("adit-fuzz-{}", std::process::id()));
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let runs = std::thread::scope(|scope| {
        let work = || work(&targets, (effort.fuzz, share), &learned, &next);
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let results =
            threads.into_iter().map(|thread| thread.join().expect("workers do not panic"));
        results.collect::<anyhow::Result<Vec<_>>>()
    });
    remove(&learned);
    Ok(judge(wanted, (effort.fuzz, share), runs?.into_iter().flatten().collect()))
}

/// Runs the targets that no other worker has taken.
fn work(
    targets: &Targets,
    (time, share): (Duration, Share),
    learned: &Path,
    next: &AtomicUsize,
) -> anyhow::Result<Vec<(String, Run)>> {
    let mut runs = Vec::new();
    while let Some(name) = targets.names.get(next.fetch_add(1, Ordering::Relaxed)) {
        let time = share(name, time);
        let run = targets.run(name, time, &learned.join(name))?;
        eprintln!("{name}: {} inputs in {} s", run.executions, time.as_secs());
        runs.push((name.clone(), run));
    }
    Ok(runs)
}

fn judge(
    wanted: &Wanted,
    (time, share): (Duration, Share),
    mut runs: Vec<(String, Run)>,
) -> Finding {
    runs.sort_by(|a, b| a.0.cmp(&b.0));
    let mut figures = Vec::new();
    let mut faults = Vec::new();
    for (name, run) in &runs {
        figures.push(format!("{name} {}", run.executions));
        faults.extend(run.crash.as_ref().map(|crash| format!("{name}: {crash}")));
        if run.executions == 0 {
            faults.push(format!("{name} tried nothing"));
        }
        if run.corpus == 0 {
            faults.push(format!("{name} has no committed corpus"));
        }
    }
    for (what, names) in wanted {
        let tried = |name: &&str| runs.iter().any(|(run, _)| run == name);
        let absent = names.iter().filter(|name| !tried(name));
        faults.extend(absent.map(|name| format!("{what}: there is no target {name}")));
    }
    let targets = runs.len();
    let (time, less) = (time.as_secs(), share("", time).as_secs());
    let figures = figures.join(", ");
    let figure = format!("{targets} targets, inputs in {time} s ({less} s for some): {figures}");
    if faults.is_empty() {
        return Finding::pass(figure);
    }
    Finding::fail(figure, faults.join("; "))
}

fn remove(folder: &Path) {
    // It may never have been made.
    let _ = std::fs::remove_dir_all(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(change: impl Fn(&mut Vec<(String, Run)>)) -> Finding {
        let names = WANTED.iter().flat_map(|(_, names)| *names);
        let run = || Run { executions: 9, corpus: 2, crash: None };
        let mut runs = names.map(|name| ((*name).to_owned(), run())).collect();
        change(&mut runs);
        judge(WANTED, (Duration::from_secs(3), time_of), runs)
    }

    #[test]
    fn a_crash_an_idle_run_and_a_missing_part_fail() {
        assert_eq!(judged(|_| ()).reason, "");
        assert_eq!(judged(|runs| runs[0].1.crash = Some("x".into())).reason, "wire_ikev2: x");
        assert_eq!(judged(|runs| runs[0].1.executions = 0).reason, "wire_ikev2 tried nothing");
        let bare = judged(|runs| runs[0].1.corpus = 0);
        assert_eq!(bare.reason, "wire_ikev2 has no committed corpus");
        let absent = judged(|runs| runs.retain(|(name, _)| name != "esp_inbound"));
        assert_eq!(absent.reason, "ESP input: there is no target esp_inbound");
    }
}
