//! Criterion's estimates: how fast we are, and beside what.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use serde::Deserialize;

use super::{Effort, Finding, printed};
use crate::root;

/// Crates with benches that criterion runs, and which of those to run: of the ciphers alone, those
/// that have a bare counterpart; the others are seen in ESP packets, and by `cargo bench`.
const PACKAGES: [(&str, &str, &str); 4] = [
    ("adit-crypto", "*", "gcm|gmac|chacha20"),
    ("adit-dataplane", "esp", "gcm|gmac|chacha20|ccm|aes256-sha256"),
    ("adit-ike", "*", "."),
    ("adit-sim", "*", "."),
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

/// Runs the benches of the foundation.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let start = marker()?;
    for (package, target, benches) in PACKAGES {
        bench(package, target, benches, effort)?;
    }
    Ok(judge(&results(start)?))
}

/// Runs the benches of ESP, each beside its cipher alone.
pub(super) fn measure_shares(effort: &Effort) -> anyhow::Result<Finding> {
    let start = marker()?;
    bench("adit-dataplane", "esp", "^esp/", effort)?;
    Ok(judge_shares(&results(start)?))
}

/// Runs the benches of a package, if it has any, whose names the regular expression finds.
fn bench(package: &str, target: &str, benches: &str, effort: &Effort) -> anyhow::Result<()> {
    let folder = package.strip_prefix("adit-").unwrap_or(package);
    let entries = fs::read_dir(root::path("crates").join(folder).join("benches"));
    if !entries.is_ok_and(|mut entries| entries.next().is_some()) {
        return Ok(());
    }
    let mut cargo = root::cargo();
    cargo.args(["bench", "--quiet", "-p", package, "--bench", target, "--", "--noplot", benches]);
    let times = if effort.quick { ["0.1", "0.3"] } else { ["0.2", "0.5"] };
    cargo.args(["--warm-up-time", times[0], "--measurement-time", times[1]]);
    printed(&mut cargo).with_context(|| format!("the benches of {package}")).map(drop)
}

/// What criterion has left since `start`; all of it goes to stderr.
fn results(start: SystemTime) -> anyhow::Result<Results> {
    let mut results = Results::new();
    collect(&root::target().join("criterion"), start, &mut results)?;
    for (name, ns) in &results {
        eprintln!("{ns:>12.0} ns  {name}");
    }
    Ok(results)
}

/// A bench of the packet engine, not of its cipher alone: `esp/seal/transport/aes256gcm16/1400`.
struct Sample {
    direction: String,
    transport: bool,
    suite: String,
    octets: String,
}

impl Sample {
    fn of(name: &str) -> Option<Self> {
        let (rest, octets) = name.strip_prefix("esp/")?.rsplit_once('/')?;
        let (direction, rest) = rest.split_once('/')?;
        let suite = rest.strip_prefix("transport/");
        let sample = Self {
            direction: direction.to_owned(),
            transport: suite.is_some(),
            suite: suite.unwrap_or(rest).to_owned(),
            octets: octets.to_owned(),
        };
        (!sample.suite.ends_with("/alone")).then_some(sample)
    }
}

/// Each sample beside its cipher; without one the row has not been measured.
fn judge_shares(results: &Results) -> Finding {
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut missing = Vec::new();
    for (name, ns) in results {
        let Some(sample) = Sample::of(name) else { continue };
        let Some(cipher) = name.strip_prefix("esp/").and_then(|rest| bare(rest, results)) else {
            missing.push(name.clone());
            continue;
        };
        let percent = 100.0 * cipher / ns;
        let Sample { direction, transport, suite, octets } = sample;
        let mode = if transport { " in transport mode" } else { "" };
        eprintln!("{percent:>4.0} %  {direction} {suite}{mode}, {octets} octets");
        if SHOWN_SIZES.contains(&format!("/{octets}").as_str()) && !transport {
            let part = format!("{direction} {octets}: {percent:.0} %");
            shown.entry(suite).or_default().push(part);
        }
    }
    let lines: Vec<String> =
        shown.iter().map(|(suite, parts)| format!("{suite} ({})", parts.join(", "))).collect();
    let figure = lines.join(", ");
    if !missing.is_empty() {
        return Finding::fail(figure, format!("no cipher alone for {}", missing.join(", ")));
    }
    if shown.is_empty() {
        return Finding::fail(figure, "no bench of ESP ran");
    }
    Finding::pass(figure)
}

fn judge(results: &Results) -> Finding {
    let figure = summary(results);
    let mut missing: Vec<String> = WANTED
        .iter()
        .filter(|(word, _)| !results.keys().any(|name| name.contains(word)))
        .map(|(_, what)| (*what).to_owned())
        .collect();
    let samples = results.keys().filter(|name| Sample::of(name).is_some());
    let sealed = samples.filter_map(|name| name.strip_prefix("esp/"));
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
        } else if Sample::of(name).is_some()
            && let Some(rest) = name.strip_prefix("esp/")
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

/// The cipher alone for `seal/aes256gcm16/1400`: right beside it if somebody measured that, in a
/// hot buffer otherwise.
fn bare(name: &str, results: &Results) -> Option<f64> {
    let (cipher, size) = name.rsplit_once('/')?;
    let beside = results.get(&format!("esp/{cipher}/alone/{size}"));
    beside.or_else(|| results.get(&format!("{cipher}/bare/{size}"))).copied()
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
    use crate::outcome::Status;

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
    fn shares_need_a_cipher_to_be_shares_of() {
        let entry = |name: &str, ns| (name.to_owned(), ns);
        let mut results = Results::from([
            entry("esp/seal/aes128ccm16/64", 200.0),
            entry("esp/seal/aes128ccm16/alone/64", 150.0),
            entry("esp/open/transport/aes256gcm16/1400", 400.0),
            entry("esp/open/transport/aes256gcm16/alone/1400", 300.0),
        ]);
        assert_eq!(judge_shares(&results).figure, "aes128ccm16 (seal 64: 75 %)");
        assert_eq!(judge_shares(&results).status, Status::Pass);
        results.remove("esp/open/transport/aes256gcm16/alone/1400");
        let reason = "no cipher alone for esp/open/transport/aes256gcm16/1400";
        assert_eq!(judge_shares(&results).reason, reason);
        assert_eq!(judge_shares(&Results::new()).status, Status::Fail);
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
