//! Row 4: the fuzz targets.

use super::{Effort, Finding};
use crate::{clock, fuzz};

/// Runs each target; what they learn is thrown away, so that the committed corpora stay as they
/// are.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let targets = match fuzz::build()? {
        Ok(targets) => targets,
        Err(missing) => return Ok(Finding::missing(missing)),
    };
    anyhow::ensure!(!targets.names.is_empty(), "fuzz/Cargo.toml has no target");
    let learned = std::env::temp_dir().join(format!("adit-fuzz-{}", std::process::id()));
    let mut figures = Vec::new();
    let mut crashes = Vec::new();
    for name in &targets.names {
        let start = clock::now();
        let run = targets.run(name, effort.fuzz, &learned.join(name));
        let run = run.inspect_err(|_| remove(&learned))?;
        eprintln!("{name}: {} inputs in {:.0} s", run.executions, start.elapsed().as_secs_f64());
        figures.push(format!("{name} {}", run.executions));
        crashes.extend(run.crash.map(|crash| format!("{name}: {crash}")));
        if run.executions == 0 {
            crashes.push(format!("{name} tried nothing"));
        }
    }
    remove(&learned);
    let time = effort.fuzz.as_secs();
    let figure = format!("inputs in {time} s each, no crash wanted: {}", figures.join(", "));
    if crashes.is_empty() {
        return Ok(Finding::pass(figure));
    }
    Ok(Finding::fail(figure, crashes.join("; ")))
}

fn remove(folder: &std::path::Path) {
    // It may never have been made.
    let _ = std::fs::remove_dir_all(folder);
}
