//! Row 4: the fuzz targets.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Effort, Finding};
use crate::fuzz::{self, Run, Targets};

/// Runs each target, as many at once as there are processors. What they learn is thrown away, so
/// that the committed corpora stay as they are.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let targets = match fuzz::build()? {
        Ok(targets) => targets,
        Err(missing) => return Ok(Finding::missing(missing)),
    };
    anyhow::ensure!(!targets.names.is_empty(), "fuzz/Cargo.toml has no target");
    let learned = std::env::temp_dir().join(format!("adit-fuzz-{}", std::process::id()));
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let runs = std::thread::scope(|scope| {
        let work = || work(&targets, effort.fuzz, &learned, &next);
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let results =
            threads.into_iter().map(|thread| thread.join().expect("workers do not panic"));
        results.collect::<anyhow::Result<Vec<_>>>()
    });
    remove(&learned);
    Ok(judge(effort.fuzz, runs?.into_iter().flatten().collect()))
}

/// Runs the targets that no other worker has taken.
fn work(
    targets: &Targets,
    time: Duration,
    learned: &Path,
    next: &AtomicUsize,
) -> anyhow::Result<Vec<(String, Run)>> {
    let mut runs = Vec::new();
    while let Some(name) = targets.names.get(next.fetch_add(1, Ordering::Relaxed)) {
        let run = targets.run(name, time, &learned.join(name))?;
        eprintln!("{name}: {} inputs in {} s", run.executions, time.as_secs());
        runs.push((name.clone(), run));
    }
    Ok(runs)
}

fn judge(time: Duration, mut runs: Vec<(String, Run)>) -> Finding {
    runs.sort_by(|a, b| a.0.cmp(&b.0));
    let mut figures = Vec::new();
    let mut crashes = Vec::new();
    for (name, run) in &runs {
        figures.push(format!("{name} {}", run.executions));
        crashes.extend(run.crash.as_ref().map(|crash| format!("{name}: {crash}")));
        if run.executions == 0 {
            crashes.push(format!("{name} tried nothing"));
        }
    }
    let targets = runs.len();
    let time = time.as_secs();
    let figure = format!("{targets} targets, inputs in {time} s each: {}", figures.join(", "));
    if crashes.is_empty() {
        return Finding::pass(figure);
    }
    Finding::fail(figure, crashes.join("; "))
}

fn remove(folder: &Path) {
    // It may never have been made.
    let _ = std::fs::remove_dir_all(folder);
}
