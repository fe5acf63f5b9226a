//! `cargo xtask instructions`: how many instructions a packet, a lookup and a handshake cost.
//!
//! Time says little on a machine that others share; the number of instructions is the same every
//! time. Valgrind counts them. What is ours, all that rustc has compiled, depends on nothing but
//! the sources and the compiler that `rust-toolchain.toml` names, so a growth of 3 % fails. The
//! whole also has the C library and the ciphers in C and assembly, which other compilers and
//! processors make a little longer or shorter: it shows if a cipher is called twice, and fails
//! later.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, Status, json_list};
use crate::{finish, needs, root};

/// The command line.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Keep what is counted as what is to be held
    #[arg(long)]
    update: bool,
    /// Print a JSON list of the rows
    #[arg(long)]
    json: bool,
}

/// One kind of work, and the program that does it.
struct Work {
    name: &'static str,
    /// An example of a crate, and its first arguments; the last one is how often.
    program: &'static str,
    arguments: &'static [&'static str],
    /// How often in the two runs; what they have in common is not counted.
    times: [u64; 2],
    /// Things done each time.
    each: u64,
}

const WORK: [Work; 4] = [
    Work { name: "seal", program: "packets", arguments: &["seal"], times: [20, 120], each: 64 },
    Work { name: "open", program: "packets", arguments: &["open"], times: [20, 120], each: 64 },
    Work {
        name: "lookup",
        program: "packets",
        arguments: &["lookup"],
        times: [100, 600],
        each: 64,
    },
    Work { name: "handshake", program: "handshakes", arguments: &[], times: [4, 12], each: 1 },
];

/// Growth that fails, in percent: of what is ours, and of the whole.
const OURS_PERCENT: f64 = 3.0;
const WHOLE_PERCENT: f64 = 10.0;

/// Where the numbers are that are to be held.
const BASELINE: &str = "xtask/src/instructions.json";

/// Instructions for one thing.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
struct Count {
    ours: f64,
    whole: f64,
}

/// What was counted, beside what is to be held.
#[derive(Debug, Serialize)]
struct Row {
    work: String,
    ours: f64,
    ours_before: Option<f64>,
    whole: f64,
    whole_before: Option<f64>,
    status: Status,
}

/// Counts everything, prints a table and says whether nothing has grown.
pub(crate) fn run(options: Options) -> anyhow::Result<ExitCode> {
    if let Some(reason) = missing() {
        return Ok(finish(Outcome::missing(format!("NOTHING WAS COUNTED: {reason}"))));
    }
    build()?;
    let mut counts = BTreeMap::new();
    for work in &WORK {
        counts.insert(work.name.to_owned(), count(work)?);
    }
    let file = root::path(BASELINE);
    if options.update {
        fs::write(&file, serde_json::to_string_pretty(&counts)? + "\n")?;
    }
    let before = fs::read_to_string(&file).with_context(|| format!("cannot read {BASELINE}"))?;
    let rows = compare(&counts, &serde_json::from_str(&before).context(BASELINE)?);
    if options.json {
        println!("{}", json_list(&rows)?);
    }
    eprint!("{}", table(&rows));
    Ok(finish(conclusion(&rows)))
}

/// What keeps this machine from counting as others do.
fn missing() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the numbers to be held are those of x86-64".to_owned());
    }
    match needs::find("valgrind") {
        Some(_) => None,
        None => Some("valgrind is missing (apt-get install valgrind)".to_owned()),
    }
}

fn build() -> anyhow::Result<()> {
    let mut cargo = root::cargo();
    cargo.args(["build", "--quiet", "--release", "-p", "adit-dataplane", "-p", "adit-ike"]);
    cargo.args(["--example", "packets", "--example", "handshakes"]);
    ensure!(cargo.status().context("cannot start cargo")?.success(), "cargo build failed");
    Ok(())
}

/// Instructions of one thing: the difference of two runs.
fn count(work: &Work) -> anyhow::Result<Count> {
    let [few, many] = work.times;
    let (less, more) = (counted(work, few)?, counted(work, many)?);
    let things = many.saturating_sub(few).saturating_mul(work.each) as f64;
    let per_thing = |less: u64, more: u64| rounded((more as f64 - less as f64) / things);
    Ok(Count { ours: per_thing(less.ours, more.ours), whole: per_thing(less.whole, more.whole) })
}

/// To a tenth, which is more than repeats.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Instructions of a whole run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counted {
    ours: u64,
    whole: u64,
}

/// Runs a program under valgrind.
fn counted(work: &Work, times: u64) -> anyhow::Result<Counted> {
    let program = root::target().join("release/examples").join(work.program);
    let profile = profile_path(work.name);
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no"]);
    valgrind.arg(format!("--callgrind-out-file={}", profile.display()));
    valgrind.arg(program).args(work.arguments).arg(times.to_string());
    let output = valgrind.output().context("cannot start valgrind")?;
    let text = fs::read_to_string(&profile);
    let _ = fs::remove_file(&profile);
    if !output.status.success() {
        bail!("{} failed: {}", work.name, String::from_utf8_lossy(&output.stderr));
    }
    Ok(sums(&text.context("valgrind has left no profile")?))
}

fn profile_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("adit-instructions-{}-{name}", std::process::id()))
}

/// Adds up a profile of callgrind: lines with a place and a cost, below the name of their function.
/// The line after `calls=` has what the called functions cost, which they say themselves.
fn sums(profile: &str) -> Counted {
    let mut counted = Counted::default();
    let (mut is_ours, mut is_call) = (false, false);
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            is_ours = is_rust(name);
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if let Some(cost) = cost(line)
            && !std::mem::take(&mut is_call)
        {
            counted.whole = counted.whole.saturating_add(cost);
            counted.ours = counted.ours.saturating_add(if is_ours { cost } else { 0 });
        }
    }
    counted
}

/// `123 4567`: a line of the source, and instructions.
fn cost(line: &str) -> Option<u64> {
    let (place, cost) = line.split_once(' ')?;
    place.starts_with(|first: char| first.is_ascii_digit()).then_some(())?;
    cost.parse().ok()
}

/// Rust's functions have paths; those of C and assembly have plain names.
fn is_rust(name: &str) -> bool {
    name.contains("::")
}

fn compare(counts: &BTreeMap<String, Count>, before: &BTreeMap<String, Count>) -> Vec<Row> {
    let row = |(work, now): (&String, &Count)| {
        let held = before.get(work);
        let holds = held.is_some_and(|held| {
            now.ours <= grown(held.ours, OURS_PERCENT)
                && now.whole <= grown(held.whole, WHOLE_PERCENT)
        });
        Row {
            work: work.clone(),
            ours: now.ours,
            ours_before: held.map(|held| held.ours),
            whole: now.whole,
            whole_before: held.map(|held| held.whole),
            status: if holds { Status::Pass } else { Status::Fail },
        }
    };
    counts.iter().map(row).collect()
}

fn grown(number: f64, percent: f64) -> f64 {
    number * (1.0 + percent / 100.0)
}

fn table(rows: &[Row]) -> String {
    let mut table = format!(
        "{:<10} {:>12} {:>12} {:>8} {:>12} {:>12} {:>8}\n",
        "", "ours", "to be held", "growth", "whole", "to be held", "growth"
    );
    let cells = |now: f64, before: Option<f64>| {
        let before_cell = before.map_or_else(|| "-".to_owned(), |before| format!("{before:.1}"));
        let growth = before.map(|before| 100.0 * (now / before - 1.0));
        let growth = growth.map_or_else(|| "-".to_owned(), |growth| format!("{growth:+.1} %"));
        format!("{now:>12.1} {before_cell:>12} {growth:>8}")
    };
    for row in rows {
        let (ours, whole) = (cells(row.ours, row.ours_before), cells(row.whole, row.whole_before));
        table += &format!("{:<10} {ours} {whole}  {}\n", row.work, row.status.word());
    }
    table
}

fn conclusion(rows: &[Row]) -> Outcome {
    let failed = rows.iter().filter(|row| row.status == Status::Fail);
    let failed: Vec<&str> = failed.map(|row| row.work.as_str()).collect();
    if !failed.is_empty() {
        return Outcome::fail(format!(
            "{} cost more than before; if that is right, `cargo xtask instructions --update`",
            failed.join(", ")
        ));
    }
    let is_less = |row: &&Row| row.ours_before.is_some_and(|before| row.ours < before * 0.97);
    match rows.iter().filter(is_less).count() {
        0 => Outcome::pass("nothing costs more than before"),
        _ => Outcome::pass("less than before: `cargo xtask instructions --update` holds it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_added_up_without_what_others_did() {
        let profile = "\
version: 1\nevents: Ir\npositions: line\nfl=a.rs\nfn=adit::seal\n10 100\n+3 7\n12 20\ncfn=memcpy\n\
calls=3 1\n12 999\n13 5\nfn=memcpy\n1 30\n0 4\ntotals: 159\n";
        assert_eq!(sums(profile), Counted { ours: 125, whole: 159 });
    }

    fn counts(ours: f64, whole: f64) -> BTreeMap<String, Count> {
        BTreeMap::from([("seal".to_owned(), Count { ours, whole })])
    }

    #[test]
    fn growth_fails_and_the_rest_does_not() {
        let status = |ours, whole| {
            let rows = compare(&counts(ours, whole), &counts(600.0, 6_000.0));
            (conclusion(&rows).status, conclusion(&rows).note)
        };
        assert_eq!(status(600.0, 6_000.0).0, Status::Pass);
        assert_eq!(status(617.0, 6_500.0).0, Status::Pass);
        assert_eq!(status(619.0, 6_000.0).0, Status::Fail);
        assert_eq!(status(600.0, 6_601.0).0, Status::Fail);
        assert!(status(500.0, 6_000.0).1.contains("--update"));
        let unknown = compare(&counts(1.0, 1.0), &BTreeMap::new());
        assert_eq!(conclusion(&unknown).status, Status::Fail);
    }

    #[test]
    fn the_table_is_aligned() {
        let rows = compare(&counts(610.0, 5_900.0), &counts(600.0, 6_000.0));
        let table = table(&rows);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].starts_with("seal              610.0        600.0   +1.7 %"), "{table}");
        assert_eq!(lines[0].len() + "  pass".len(), lines[1].len());
    }

    /// Each kind of work has a number to be held.
    #[test]
    fn the_baseline_has_all_work() {
        let text = fs::read_to_string(root::path(BASELINE)).unwrap();
        let held: BTreeMap<String, Count> = serde_json::from_str(&text).unwrap();
        assert!(WORK.iter().all(|work| held.contains_key(work.name)), "{text}");
        assert_eq!(held.len(), WORK.len());
    }
}
