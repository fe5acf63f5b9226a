//! Row 6: criterion's estimates.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use serde::Deserialize;

use super::{Effort, Finding, printed};
use crate::root;

/// Crates with benches, and which of those to run: of the ciphers alone, those that have a bare
/// counterpart; the others are seen in ESP packets, and by `cargo bench`.
const PACKAGES: [(&str, &str); 4] = [
    ("adit-crypto", "gcm|gmac|chacha20"),
    ("adit-dataplane", "."),
    ("adit-ike", "."),
    ("adit-sim", "."),
];

/// What has to be among the results: a word of the name, and what it stands for.
const WANTED: [(&str, &str); 5] = [
    ("esp/seal", "ESP seal"),
    ("esp/open", "ESP open"),
    ("/bare", "the bare AEAD"),
    ("/ours", "our AEAD"),
    ("handshake", "handshakes"),
];

/// Nanoseconds of one packet, or of one iteration, by the bench's name.
type Results = BTreeMap<String, f64>;

/// Runs the benches and reads what criterion left.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let packages = PACKAGES.into_iter().filter(|(name, _)| {
        let folder = name.strip_prefix("adit-").unwrap_or(name);
        let entries = fs::read_dir(root::path("crates").join(folder).join("benches"));
        entries.is_ok_and(|mut entries| entries.next().is_some())
    });
    let start = marker()?;
    for (package, benches) in packages {
        let mut cargo = root::cargo();
        cargo.args(["bench", "--quiet", "-p", package, "--bench", "*", "--", "--noplot", benches]);
        let times = if effort.quick { ["0.1", "0.3"] } else { ["0.2", "0.5"] };
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
    let mut missing: Vec<String> = WANTED
        .iter()
        .filter(|(word, _)| !results.keys().any(|name| name.contains(word)))
        .map(|(_, what)| (*what).to_owned())
        .collect();
    let sealed = results.keys().filter_map(|name| name.strip_prefix("esp/"));
    let alone = sealed.filter(|rest| is_aead(rest) && bare(rest, results).is_none());
    missing.extend(alone.map(|rest| format!("the bare AEAD of {rest}")));
    if missing.is_empty() {
        return Finding::pass(figure);
    }
    Finding::fail(figure, format!("no bench for {}", missing.join(", ")))
}

/// ESP beside the bare AEAD, handshakes per second.
fn summary(results: &Results) -> String {
    let mut parts = Vec::new();
    for (name, ns) in results {
        if name.contains("handshake") {
            parts.push(format!("{name} {:.0}/s", 1e9 / ns));
        } else if let Some(rest) = name.strip_prefix("esp/")
            && SHOWN_SIZES.iter().any(|size| rest.ends_with(size))
        {
            let bare = bare(rest, results).map(|ns| format!(" (bare AEAD {ns:.0})"));
            parts.push(format!("{rest} {ns:.0} ns{}", bare.unwrap_or_default()));
        }
    }
    parts.join(", ")
}

/// Packet sizes in the summary; all of them go to stderr.
const SHOWN_SIZES: [&str; 2] = ["/64", "/1400"];

/// Is it a bench of a cipher that the library offers as one operation? What is made of a cipher and
/// a MAC is two, and AES-CCM comes from another library.
fn is_aead(name: &str) -> bool {
    ["gcm", "gmac", "chacha20"].iter().any(|word| name.contains(word))
}

/// The AEAD alone for `seal/aes256gcm16/1400`: in the same batches if somebody measured that, in a
/// hot buffer otherwise.
fn bare(name: &str, results: &Results) -> Option<f64> {
    let (cipher, size) = name.rsplit_once('/')?;
    let batch = results.get(&format!("aead/{name}"));
    batch.or_else(|| results.get(&format!("{cipher}/bare/{size}"))).copied()
}

/// `benchmark.json`.
#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
    value_str: Option<String>,
    throughput: Option<Throughput>,
}

#[derive(Deserialize)]
struct Throughput {
    #[serde(rename = "Bytes")]
    octets: Option<f64>,
}

impl Benchmark {
    /// Packets of one iteration: benches of the packet engine work on batches, and say so by a
    /// throughput that is a multiple of the packet's size.
    fn packets(&self) -> f64 {
        let size: Option<f64> = self.value_str.as_ref().and_then(|size| size.parse().ok());
        let octets = self.throughput.as_ref().and_then(|throughput| throughput.octets);
        match (size, octets) {
            (Some(size), Some(octets)) if size > 0.0 && octets >= size => octets / size,
            _ => 1.0,
        }
    }
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
    let ns = estimates.median.point_estimate / benchmark.packets();
    Ok(Some((benchmark.full_id, ns)))
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
        let names = ["seal/gcm/bare/64", "seal/gcm/ours/64", "esp/seal/gcm/64", "ike/handshake/b"];
        let times = [100.0, 120.4, 150.0, 1e6];
        let results: Results = names.map(str::to_owned).into_iter().zip(times).collect();
        assert_eq!(summary(&results), "seal/gcm/64 150 ns (bare AEAD 100), ike/handshake/b 1000/s");
        assert_eq!(judge(&results).reason, "no bench for ESP open");
        let open = [("esp/open/gcm/64".to_owned(), 140.0)];
        let results: Results = results.into_iter().chain(open).collect();
        assert_eq!(judge(&results).reason, "no bench for the bare AEAD of open/gcm/64");
    }

    #[test]
    fn batches_are_divided_into_packets() {
        let packets = |text: &str| serde_json::from_str::<Benchmark>(text).unwrap().packets();
        let head = r#"{"full_id":"a/64","value_str":"64","throughput":"#;
        assert_eq!(packets(&format!(r#"{head}{{"Bytes":2048}}}}"#)), 32.0);
        assert_eq!(packets(&format!(r#"{head}{{"Elements":1}}}}"#)), 1.0);
        assert_eq!(packets(r#"{"full_id":"a","value_str":null,"throughput":null}"#), 1.0);
    }
}
