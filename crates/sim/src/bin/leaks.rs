//! Plays seeds of a gateway's packet engine with a sniffer outside:
//! `leaks [COUNT] [--seeds COUNT] [--start SEED]`.
//!
//! A seed that fails is printed with all its steps; `leaks --start SEED 1` plays it again. Ends
//! with status 1 if any failed.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use adit_sim::{LeakOutcome, LeakSummary, Seed, run_leak_seed};

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\nusage: leaks [COUNT] [--seeds COUNT] [--start SEED]");
            return ExitCode::from(2);
        }
    };
    // A panic is an outcome and is printed with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let report = play(&options);
    report.print();
    if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Failing seeds printed in full.
const STEPS_MAX: usize = 2;

struct Options {
    seeds: u64,
    start: u64,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { seeds: 1_000, start: 0 };
        while let Some(argument) = arguments.next() {
            let number = |text: Option<String>| {
                let text = text.ok_or_else(|| format!("{argument} needs a number"))?;
                text.parse().map_err(|_| format!("{text:?} is not a number"))
            };
            match argument.as_str() {
                "--seeds" => options.seeds = number(arguments.next())?,
                "--start" => options.start = number(arguments.next())?,
                _ => options.seeds = number(Some(argument.clone()))?,
            }
        }
        Ok(options)
    }
}

#[derive(Default)]
struct Report {
    played: u64,
    failed: Vec<LeakOutcome>,
    totals: LeakSummary,
}

/// Plays all seeds, on as many threads as there are processors.
fn play(options: &Options) -> Report {
    let start = clock();
    let next = AtomicU64::new(options.start);
    let end = options.start.saturating_add(options.seeds);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let work = || work(&next, end, start);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let more = worker.join().expect("a worker catches panics of its seeds");
            report.played += more.played;
            report.failed.extend(more.failed);
            report.sum(&more.totals);
        }
    });
    report.failed.sort_by_key(|outcome| outcome.seed);
    report
}

fn work(next: &AtomicU64, end: u64, start: Instant) -> Report {
    let mut report = Report::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return report;
        }
        let outcome = run_leak_seed(Seed(seed), start);
        report.played += 1;
        match outcome.result {
            Ok(summary) => report.sum(&summary),
            Err(_) => report.failed.push(outcome),
        }
    }
}

impl Report {
    fn sum(&mut self, other: &LeakSummary) {
        let totals = &mut self.totals;
        totals.sent += other.sent;
        totals.sealed += other.sealed;
        totals.bypassed += other.bypassed;
        totals.kept += other.kept;
        totals.delivered += other.delivered;
        totals.refused += other.refused;
        totals.sas += other.sas;
        totals.crashes += other.crashes;
    }

    fn print(&self) {
        for outcome in self.failed.iter().take(STEPS_MAX) {
            if let Err(leak) = &outcome.result {
                let Seed(seed) = outcome.seed;
                print(&format!("seed {seed}:\n{}\nseed {seed}: {leak}\n", outcome.steps));
            }
        }
        if !self.failed.is_empty() {
            let seeds = self.failed.iter().map(|outcome| outcome.seed.0.to_string());
            let seeds: Vec<String> = seeds.take(20).collect();
            print(&format!("failed: {}", seeds.join(" ")));
        }
        let LeakSummary { sent, sealed, bypassed, kept, delivered, refused, sas, crashes } =
            self.totals;
        print(&format!(
            "{} sequences, {} failed; {sent} packets and fragments sent: {sealed} left sealed, \
             {bypassed} in clear as they may, {kept} kept; {delivered} came in, {refused} were \
             refused; {sas} SAs, {crashes} crashes",
            self.played,
            self.failed.len(),
        ));
    }
}

#[expect(clippy::disallowed_methods, reason = "virtual time counts from some instant")]
fn clock() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "this is a program, and its report is its output")]
fn print(text: &str) {
    println!("{text}");
}
