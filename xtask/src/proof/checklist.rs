//! Each point of what is to be tested about ESP and AH has a test that says so and passes.
//!
//! A test says so in its comment: `CHECKLIST S04`, or several points with commas between.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;

use super::vectors::tests_that;
use super::{Effort, Finding, lacks};
use crate::root;

/// The points, each in a few words.
const POINTS: [(&str, &str); 19] = [
    ("S01", "both modes, both families, every algorithm"),
    ("S02", "padding"),
    ("S03", "sequence numbers that are sent"),
    ("S04", "replay window"),
    ("S05", "extended sequence numbers"),
    ("S06", "lifetimes"),
    ("S07", "what AH covers, and what not"),
    ("S08", "AH and extension headers"),
    ("S09", "order of headers, fragments"),
    ("S10", "bundles of SAs"),
    ("S11", "packets outside the selectors"),
    ("S12", "protected traffic in clear"),
    ("S13", "dummy packets"),
    ("S14", "truncated and malformed packets"),
    ("S15", "UDP checksums, zero or not"),
    ("S16", "IPComp"),
    ("S17", "DF, DSCP, flow label and TTL of tunnels"),
    ("S18", "outer addresses of what comes in"),
    ("S19", "hub and spokes"),
];

/// A test that cites points.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Citation {
    point: String,
    package: String,
    test: String,
}

/// Finds the tests, runs them, and says which points have none that passes.
pub(super) fn measure(_: &Effort) -> anyhow::Result<Finding> {
    if let Some(finding) = lacks(&["ip", "ping"]) {
        return Ok(finding);
    }
    let mut cited = BTreeSet::new();
    for entry in fs::read_dir(root::path("crates"))? {
        let folder = entry?.path();
        let name = folder.file_name().context("no name")?.to_string_lossy().into_owned();
        let package = if name.starts_with("adit") { name } else { format!("adit-{name}") };
        for part in ["src", "tests"] {
            read_folder(&folder.join(part), &package, &mut cited)?;
        }
    }
    let tests: BTreeSet<&str> = cited.iter().map(|one| one.test.as_str()).collect();
    // All packages at once, as for the whole suite: what that built is not built again.
    let mut cargo = root::cargo();
    cargo.args(["test", "--workspace", "--tests", "--no-fail-fast", "--"]).args(tests);
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Of tests of one name all have to pass.
    let failed = tests_that(&text, "FAILED");
    let passed = tests_that(&text, "ok").difference(&failed).cloned().collect();
    Ok(judge(&cited, &passed))
}

fn read_folder(folder: &Path, package: &str, cited: &mut BTreeSet<Citation>) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_folder(&path, package, cited)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            cited.extend(citations(&fs::read_to_string(&path)?, package));
        }
    }
    Ok(())
}

/// The tests of a file with the points that the comments before them cite.
fn citations(text: &str, package: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    let mut points: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("//") {
            let known = POINTS.iter().map(|(point, _)| *point);
            let citing = line.contains("CHECKLIST") || !points.is_empty();
            points.extend(known.filter(|point| citing && line.contains(point)));
        } else if let Some(rest) = line.strip_prefix("fn ") {
            let test = rest.split(['(', '<']).next().unwrap_or(rest);
            found.extend(points.drain(..).map(|point| Citation {
                point: point.to_owned(),
                package: package.to_owned(),
                test: test.to_owned(),
            }));
        } else if !line.starts_with('#') {
            points.clear();
        }
    }
    found
}

fn judge(cited: &BTreeSet<Citation>, passed: &BTreeSet<String>) -> Finding {
    let passes = |one: &Citation| passed.contains(&one.test);
    let mut faults: Vec<String> = Vec::new();
    let mut counts = Vec::new();
    for (point, title) in POINTS {
        let tests = cited.iter().filter(|one| one.point == point);
        let (good, bad): (Vec<&Citation>, Vec<&Citation>) = tests.partition(|one| passes(one));
        faults.extend(bad.iter().map(|one| format!("{point}: {} did not pass", one.test)));
        eprintln!("{point} {title}: {} tests", good.len());
        for one in &good {
            eprintln!("    {} {}", one.package, one.test);
        }
        if good.is_empty() {
            faults.push(format!("{point} ({title}) has no test"));
        } else {
            counts.push(format!("{point} {}", good.len()));
        }
    }
    let figure = format!(
        "{} of {} points, tests of each: {}",
        counts.len(),
        POINTS.len(),
        counts.join(", ")
    );
    if faults.is_empty() { Finding::pass(figure) } else { Finding::fail(figure, faults.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
        /// CHECKLIST S01,\n/// S02: a claim.\n#[test]\nfn one() {\n// S03 is no citation.\n}\n\
        /// Not S04.\n#[test]\nfn two() {}\n    /// CHECKLIST S05.\n    fn three(\n";

    #[test]
    fn citations_are_those_of_the_next_test() {
        let found = citations(TEXT, "p");
        let found: Vec<_> =
            found.iter().map(|one| (one.point.as_str(), one.test.as_str())).collect();
        assert_eq!(found, [("S01", "one"), ("S02", "one"), ("S05", "three")]);
    }

    #[test]
    fn a_point_without_a_passing_test_fails() {
        let all: BTreeSet<Citation> = POINTS
            .iter()
            .map(|(point, _)| Citation {
                point: (*point).to_owned(),
                package: "p".to_owned(),
                test: format!("of_{point}"),
            })
            .collect();
        let names: BTreeSet<String> = all.iter().map(|one| one.test.clone()).collect();
        assert_eq!(judge(&all, &names).reason, "");
        let fewer = names.into_iter().filter(|name| name != "of_S16").collect();
        let reason = judge(&all, &fewer).reason;
        assert_eq!(reason, "S16: of_S16 did not pass; S16 (IPComp) has no test");
    }
}
