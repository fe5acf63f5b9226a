//! Fuzz targets on the stable compiler: building them, replaying their corpora, running them.
//!
//! `fuzz/` is a workspace of its own, so that the flags below touch nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use crate::outcome::Outcome;
use crate::{needs, root};

/// What `cargo fuzz` would pass, without its sanitizers, which need a nightly compiler.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// One input may take this long.
const INPUT_S_MAX: u32 = 10;

/// A target may use this much memory; hostile input that gets past it is a bug.
const MEMORY_MIB_MAX: u32 = 2_048;

/// The built targets.
pub(crate) struct Targets {
    folder: PathBuf,
    learned: PathBuf,
    /// Their names, sorted.
    pub(crate) names: Vec<String>,
}

/// What a run of one target found.
pub(crate) struct Run {
    /// Inputs tried.
    pub(crate) executions: u64,
    /// Committed inputs it started from.
    pub(crate) corpus: usize,
    /// The last lines of a run that crashed.
    pub(crate) crash: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// `cargo xtask fuzz`: each target, or the named ones, for `time`. What it learns stays beside what
/// it built, for the next run; the committed corpora stay small.
pub(crate) fn run(time: Duration, only: &[String]) -> anyhow::Result<ExitCode> {
    let targets = match build()? {
        Ok(targets) => targets,
        Err(missing) => anyhow::bail!("{missing}"),
    };
    let unknown = only.iter().find(|name| !targets.names.contains(name));
    if let Some(name) = unknown {
        anyhow::bail!("no fuzz target `{name}`; there are {}", targets.names.join(", "));
    }
    let mut clean = true;
    for name in targets.names.iter().filter(|name| only.is_empty() || only.contains(name)) {
        let run = targets.run(name, time, &targets.learned.join(name))?;
        println!(
            "{name}: {} inputs, {}",
            run.executions,
            run.crash.as_deref().unwrap_or("no crash")
        );
        clean &= run.crash.is_none();
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Feeds every committed input to its target.
pub(crate) fn replay() -> anyhow::Result<Outcome> {
    let targets = match build()? {
        Ok(targets) => targets,
        Err(missing) => return Ok(Outcome::missing(missing)),
    };
    let mut inputs = 0;
    for name in &targets.names {
        let corpus = corpus(name);
        let count = committed(&corpus);
        if count == 0 {
            return Ok(Outcome::fail(format!("{} is empty: commit a corpus", corpus.display())));
        }
        let output = targets.command(name).arg("-runs=0").arg(&corpus).output();
        let output = output.with_context(|| format!("cannot start fuzz target {name}"))?;
        if !output.status.success() {
            return Ok(Outcome::fail(format!("{name}: {}", last_lines(&output))));
        }
        inputs += count;
    }
    Ok(Outcome::pass(format!("{inputs} inputs to {} targets", targets.names.len())))
}

/// Builds all targets; the inner error says what this machine lacks.
pub(crate) fn build() -> anyhow::Result<Result<Targets, String>> {
    let manifest = root::path("fuzz/Cargo.toml");
    if !manifest.is_file() {
        return Ok(Err("there is no fuzz/Cargo.toml".to_owned()));
    }
    if needs::find("g++").is_none() && needs::find("c++").is_none() {
        return Ok(Err("libFuzzer needs a C++ compiler: apt-get install g++".to_owned()));
    }
    let metadata = metadata(&manifest)?;
    let host = host()?;
    let mut cargo = root::cargo();
    cargo.args(["build", "--release", "--bins", "--target", &host, "--manifest-path"]);
    cargo.arg(&manifest).env("RUSTFLAGS", RUSTFLAGS);
    // An overflow or a broken assertion is what a fuzzer looks for.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    cargo.env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
    let status = cargo.status().context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "the fuzz targets do not build");
    let targets = metadata.packages.into_iter().flat_map(|package| package.targets);
    let bins = targets.filter(|target| target.kind.iter().any(|kind| kind == "bin"));
    let mut names: Vec<String> = bins.map(|target| target.name).collect();
    names.sort();
    let folder = metadata.target_directory.join(host).join("release");
    let learned = metadata.target_directory.join("learned");
    Ok(Ok(Targets { folder, learned, names }))
}

impl Targets {
    /// Runs one target for `time`, starting from its committed corpus; what it learns goes to
    /// `learned`.
    pub(crate) fn run(&self, name: &str, time: Duration, learned: &Path) -> anyhow::Result<Run> {
        let corpus = corpus(name);
        let count = committed(&corpus);
        let artifacts = root::path("fuzz/artifacts").join(name);
        for folder in [learned, &corpus, &artifacts] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut command = self.command(name);
        command.arg(format!("-max_total_time={}", time.as_secs()));
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.arg("-print_final_stats=1").arg(learned).arg(&corpus);
        let output =
            command.output().with_context(|| format!("cannot start fuzz target {name}"))?;
        let crash = (!output.status.success()).then(|| last_lines(&output));
        Ok(Run { executions: executions(&output), corpus: count, crash })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        command.current_dir(root::folder());
        command.arg(format!("-timeout={INPUT_S_MAX}"));
        command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
        command
    }
}

fn corpus(name: &str) -> PathBuf {
    root::path("fuzz/corpus").join(name)
}

/// Inputs in a corpus, without those under the 40 digits that a run gives them.
fn committed(corpus: &Path) -> usize {
    let names = fs::read_dir(corpus).into_iter().flatten().flatten();
    names.filter(|entry| !is_learned(&entry.file_name().to_string_lossy())).count()
}

fn is_learned(name: &str) -> bool {
    name.len() == 40 && name.chars().all(|c| c.is_ascii_hexdigit())
}

fn metadata(manifest: &Path) -> anyhow::Result<Metadata> {
    let mut cargo = root::cargo();
    cargo.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
    let output = cargo.arg(manifest).output().context("cannot start cargo")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "fuzz/Cargo.toml: {complaint}");
    serde_json::from_slice(&output.stdout).context("cargo metadata printed something else")
}

/// The triple of this machine.
fn host() -> anyhow::Result<String> {
    let mut rustc = Command::new("rustc");
    let output = rustc.current_dir(root::folder()).args(["--print", "host-tuple"]).output();
    let output = output.context("cannot start rustc")?;
    anyhow::ensure!(output.status.success(), "rustc does not know its host");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The count in libFuzzer's closing statistics.
fn executions(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines = text.lines().filter_map(|l| l.strip_prefix("stat::number_of_executed_units:"));
    lines.next().and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

fn last_lines(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_learned_is_no_committed_corpus() {
        assert!(is_learned("da39a3ee5e6b4b0d3255bfef95601890afd80709"));
        assert!(!is_learned("answer_rekey_child_responder_with_40_let"));
        assert!(!is_learned("empty"));
        assert!(committed(&corpus("wire_ikev2")) > 0);
    }
}
