//! Row 6: criterion's estimates.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use serde::Deserialize;

use super::{Effort, Finding, printed};
use crate::root;

/// Crates with benches.
const PACKAGES: [&str; 4] = ["adit-crypto", "adit-dataplane", "adit-ike", "adit-sim"];

/// What has to be among the results: a word of the name, and what it stands for.
const WANTED: [(&str, &str); 5] = [
    ("esp/seal", "ESP seal"),
    ("esp/open", "ESP open"),
    ("/bare", "the bare AEAD"),
    ("/ours", "our AEAD"),
    ("handshake", "handshakes"),
];

/// Nanoseconds of one iteration by the bench's name.
type Results = BTreeMap<String, f64>;

/// Runs the benches and reads what criterion left.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let packages = PACKAGES.into_iter().filter(|name| {
        let folder = name.strip_prefix("adit-").unwrap_or(name);
        let entries = fs::read_dir(root::path("crates").join(folder).join("benches"));
        entries.is_ok_and(|mut entries| entries.next().is_some())
    });
    let start = marker()?;
    for package in packages {
        let mut cargo = root::cargo();
        cargo.args(["bench", "--quiet", "-p", package, "--bench", "*", "--", "--noplot"]);
        let times = if effort.quick { ["0.1", "0.3"] } else { ["0.5", "1"] };
        cargo.args(["--warm-up-time", times[0], "--measurement-time", times[1]]);
        printed(&mut cargo).with_context(|| format!("the benches of {package}"))?;
    }
    let mut results = Results::new();
    collect(&root::target().join("criterion"), start, &mut results)?;
    for (name, ns) in &results {
        eprintln!("{ns:>12.0} ns  {name}");
    }
    Ok(judge(&results))
}

fn judge(results: &Results) -> Finding {
    let figure = summary(results);
    let missing: Vec<&str> = WANTED
        .iter()
        .filter(|(word, _)| !results.keys().any(|name| name.contains(word)))
        .map(|(_, what)| *what)
        .collect();
    if missing.is_empty() {
        return Finding::pass(figure);
    }
    Finding::fail(figure, format!("no bench for {}", missing.join(", ")))
}

/// ESP and bare AEAD per packet, handshakes per second.
fn summary(results: &Results) -> String {
    let mut parts = Vec::new();
    for (name, ns) in results {
        if name.contains("handshake") {
            parts.push(format!("{name} {:.0}/s", 1e9 / ns));
        } else if name.starts_with("esp/") {
            parts.push(format!("{name} {ns:.0} ns"));
        } else if let Some(bare) = name.contains("/ours").then(|| name.replace("/ours", "/bare"))
            && let Some(bare_ns) = results.get(&bare)
        {
            let name = name.replace("/ours", "");
            parts.push(format!("{name} {ns:.0} ns (bare {bare_ns:.0})"));
        }
    }
    parts.join(", ")
}

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Reads `…/new/{benchmark,estimates}.json` below `folder`, if written since `start`.
fn collect(folder: &Path, start: SystemTime, results: &mut Results) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "new") {
            if let Some((name, ns)) = read(&path, start)? {
                results.insert(name, ns);
            }
        } else if path.is_dir() {
            collect(&path, start, results)?;
        }
    }
    Ok(())
}

fn read(folder: &Path, start: SystemTime) -> anyhow::Result<Option<(String, f64)>> {
    let file = folder.join("estimates.json");
    let is_ours = fs::metadata(&file).and_then(|data| data.modified()).is_ok_and(|at| at >= start);
    if !is_ours {
        return Ok(None);
    }
    let benchmark = fs::read_to_string(folder.join("benchmark.json"))?;
    let benchmark: Benchmark = serde_json::from_str(&benchmark).context("criterion's names")?;
    let estimates: Estimates =
        serde_json::from_str(&fs::read_to_string(&file)?).context("criterion's estimates")?;
    Ok(Some((benchmark.full_id, estimates.median.point_estimate)))
}

/// The time of a file made now, which is what the files of this run are compared with.
fn marker() -> anyhow::Result<SystemTime> {
    let file = std::env::temp_dir().join(format!("adit-bench-{}", std::process::id()));
    fs::write(&file, "")?;
    let time = fs::metadata(&file)?.modified()?;
    fs::remove_file(&file)?;
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_beside_the_bare_aead() {
        let names = ["seal/a/bare/64", "seal/a/ours/64", "esp/seal/a/64", "handshake/psk"];
        let times = [100.0, 120.4, 150.0, 1e6];
        let results: Results = names.map(str::to_owned).into_iter().zip(times).collect();
        assert_eq!(
            summary(&results),
            "esp/seal/a/64 150 ns, handshake/psk 1000/s, seal/a/64 120 ns (bare 100)"
        );
        assert_eq!(judge(&results).reason, "no bench for ESP open");
    }
}
