//! Plays seeds of two gateways on a bad network: `seeds [COUNT] [--seeds COUNT] [--start SEED]
//! [--json]`.
//!
//! A seed that fails is printed with what was played and the ladder of its messages;
//! `seeds --start SEED 1` plays it again. Ends with status 1 if any failed.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adit_sim::{Outcome, Profile, Seed, Summary, run_seed};

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A panic is an outcome and is printed with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let report = play(&options);
    report.print(&options);
    if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const USAGE: &str = "usage: seeds [COUNT] [--seeds COUNT] [--start SEED] [--json] [--ladder]";

/// Failing seeds printed in full.
const LADDERS_MAX: usize = 3;

struct Options {
    seeds: u64,
    start: u64,
    json: bool,
    ladder: bool,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { seeds: 100, start: 0, json: false, ladder: false };
        while let Some(argument) = arguments.next() {
            let number = |text: Option<String>| {
                let text = text.ok_or_else(|| format!("{argument} needs a number"))?;
                text.parse().map_err(|_| format!("{text:?} is not a number"))
            };
            match argument.as_str() {
                "--seeds" => options.seeds = number(arguments.next())?,
                "--start" => options.start = number(arguments.next())?,
                "--json" => options.json = true,
                "--ladder" => options.ladder = true,
                _ => options.seeds = number(Some(argument.clone()))?,
            }
        }
        Ok(options)
    }
}

#[derive(Default)]
struct Report {
    played: u64,
    failed: Vec<Outcome>,
    totals: Summary,
    took: Duration,
}

/// Plays all seeds, on as many threads as there are processors.
fn play(options: &Options) -> Report {
    let begin = clock();
    let next = AtomicU64::new(options.start);
    let end = options.start.saturating_add(options.seeds);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| work(&next, end, options))).collect();
        for worker in workers {
            report.add(worker.join().expect("a worker catches panics of its seeds"));
        }
    });
    report.failed.sort_by_key(|outcome| outcome.seed);
    report.took = clock().saturating_duration_since(begin);
    report
}

fn work(next: &AtomicU64, end: u64, options: &Options) -> Report {
    let mut report = Report::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return report;
        }
        let outcome = run_seed(Seed(seed), Profile::default());
        if options.ladder {
            print(&format!("seed {seed}: {}\n{}", outcome.scenario, outcome.ladder));
        }
        report.count(outcome);
    }
}

impl Report {
    fn count(&mut self, outcome: Outcome) {
        self.played += 1;
        match outcome.result {
            Ok(summary) => self.sum(&summary),
            Err(_) => self.failed.push(outcome),
        }
    }

    fn sum(&mut self, summary: &Summary) {
        self.totals.elapsed += summary.elapsed;
        self.totals.messages += summary.messages;
        self.totals.ike_sas += summary.ike_sas;
        self.totals.rekeys += summary.rekeys;
        self.totals.failures += summary.failures;
    }

    fn add(&mut self, other: Self) {
        self.played += other.played;
        self.sum(&other.totals);
        self.failed.extend(other.failed);
    }

    fn print(&self, options: &Options) {
        if options.json {
            print(&self.json());
            return;
        }
        for outcome in self.failed.iter().take(LADDERS_MAX) {
            if let Err(violation) = &outcome.result {
                let Seed(seed) = outcome.seed;
                print(&format!("seed {seed}: {}\n{}", outcome.scenario, outcome.ladder));
                print(&format!("seed {seed}: {violation}\n"));
            }
        }
        if !self.failed.is_empty() {
            let seeds: Vec<u64> = self.failed.iter().map(|outcome| outcome.seed.0).collect();
            print(&format!("failed: {seeds:?}"));
        }
        let Summary { elapsed, messages, ike_sas, rekeys, failures } = self.totals;
        print(&format!(
            "{} seeds, {} failed; {:.0} h virtual in {:.1} s ({:.0} seeds/s); {messages} \
             datagrams, {ike_sas} IKE SAs, {rekeys} rekeys, {failures} failures reported",
            self.played,
            self.failed.len(),
            elapsed.as_secs_f64() / 3_600.0,
            self.took.as_secs_f64(),
            self.rate(),
        ));
    }

    fn json(&self) -> String {
        let failed: Vec<String> =
            self.failed.iter().map(|outcome| outcome.seed.0.to_string()).collect();
        let Summary { elapsed, messages, ike_sas, rekeys, failures } = self.totals;
        format!(
            "{{\"seeds\":{},\"failed\":[{}],\"seeds_per_s\":{:.1},\"virtual_s\":{},\
             \"datagrams\":{messages},\"ike_sas\":{ike_sas},\"rekeys\":{rekeys},\
             \"failures\":{failures}}}",
            self.played,
            failed.join(","),
            self.rate(),
            elapsed.as_secs(),
        )
    }

    fn rate(&self) -> f64 {
        let played = u32::try_from(self.played).unwrap_or(u32::MAX);
        f64::from(played) / self.took.as_secs_f64().max(0.001)
    }
}

#[expect(clippy::print_stdout, reason = "a program's report")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::disallowed_methods, reason = "measures how fast the simulation runs")]
fn clock() -> Instant {
    Instant::now()
}
