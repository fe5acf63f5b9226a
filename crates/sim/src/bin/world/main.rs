//! Plays worlds of several hosts: `world [--seeds N] [--minutes M] [--exchanges N] [--profile P]
//! [--jobs J] [--start SEED] [--keep NUMBERS] [--story] [--json]`.
//!
//! It ends after so many seeds of each profile, so many minutes or so many exchanges, whichever comes
//! first, and with status 1 if any invariant broke. A seed that fails is shrunk to the shortest
//! schedule that still does, and printed with the line that plays it again.

mod options;
mod report;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adit_sim::{Seed, WorldPlay, run_world, shrink_world};

use options::Options;
use report::{Failed, Report};

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    // A panic is an outcome and is printed with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let report = play(&options);
    print(&if options.json { report.json() } else { report.text() });
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Failures after which there is no point in going on.
const FAILURES_MAX: u64 = 10;
/// Time between two lines about how far it has come.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What the threads share.
struct Shared<'a> {
    options: &'a Options,
    begin: Instant,
    next: AtomicU64,
    exchanges: AtomicU64,
    failures: AtomicU64,
    is_over: AtomicBool,
    told: Mutex<Instant>,
}

/// Plays on as many threads as were asked for.
fn play(options: &Options) -> Report {
    let begin = clock();
    let shared = Shared {
        options,
        begin,
        next: AtomicU64::new(0),
        exchanges: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        told: Mutex::new(begin),
    };
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(|| work(&shared))).collect();
        for worker in workers {
            report.add(worker.join().expect("a worker catches panics of its seeds"));
        }
    });
    report.finish(clock().saturating_duration_since(begin));
    report
}

fn work(shared: &Shared<'_>) -> Report {
    let mut report = Report::default();
    let options = shared.options;
    let profiles = u64::try_from(options.profiles.len()).unwrap_or(1);
    while !shared.is_over.load(Ordering::Relaxed) {
        let turn = shared.next.fetch_add(1, Ordering::Relaxed);
        let seed = turn / profiles;
        let profile = usize::try_from(turn % profiles).ok().and_then(|at| options.profiles.get(at));
        let Some(profile) = profile.filter(|_| options.seeds.is_none_or(|seeds| seed < seeds))
        else {
            break;
        };
        let play = WorldPlay {
            seed: Seed(options.start.wrapping_add(seed)),
            profile: *profile,
            kept: options.kept.as_deref(),
            start: shared.begin,
            is_told: options.story,
        };
        let outcome = run_world(&play);
        if options.story {
            print(&format!("{}\n{}", outcome.scenario, outcome.story));
        }
        shared.exchanges.fetch_add(outcome.exchanges, Ordering::Relaxed);
        if outcome.result.is_err() {
            let failures = shared.failures.fetch_add(1, Ordering::Relaxed) + 1;
            let failed = Failed { play: (play.seed, play.profile), shrunk: shrink_world(&play) };
            print(&failed.text(&outcome));
            report.fail(failed);
            if failures >= FAILURES_MAX {
                shared.is_over.store(true, Ordering::Relaxed);
            }
        }
        report.count(&outcome);
        shared.look_at_the_clock();
    }
    report
}

impl Shared<'_> {
    /// Says how far it is, now and then, and ends what has gone on for long enough.
    fn look_at_the_clock(&self) {
        let now = clock();
        let exchanges = self.exchanges.load(Ordering::Relaxed);
        let passed = now.saturating_duration_since(self.begin);
        let is_enough = self.options.exchanges.is_some_and(|wanted| exchanges >= wanted);
        if is_enough || self.options.time.is_some_and(|time| passed >= time) {
            self.is_over.store(true, Ordering::Relaxed);
        }
        let Ok(mut told) = self.told.try_lock() else { return };
        if now.saturating_duration_since(*told) >= PROGRESS_EVERY {
            *told = now;
            let worlds = self.next.load(Ordering::Relaxed);
            let failures = self.failures.load(Ordering::Relaxed);
            let rate = report::per_second(exchanges, passed);
            eprintln!(
                "{:>6.0} s  {worlds} worlds, {exchanges} exchanges, {rate:.0}/s, {failures} failed",
                passed.as_secs_f64()
            );
        }
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
