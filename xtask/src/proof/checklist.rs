//! Rows of the checklist: each has a test that says so and passes, or a reason why there is none.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::Context as _;

use super::vectors::tests_that;
use super::{Effort, Finding, lacks};
use crate::checklist::rows::Letters;
use crate::checklist::{self, Row, Standing};
use crate::root;

/// What is to be tested about ESP and AH.
pub(super) fn measure(_: &Effort) -> anyhow::Result<Finding> {
    if let Some(finding) = lacks(&["ip", "ping"]) {
        return Ok(finding);
    }
    proven("S", Among::All)
}

/// What is to be tested about IKEv2. A short look believes what is cited and runs nothing.
pub(super) fn measure_ikev2(effort: &Effort) -> anyhow::Result<Finding> {
    measure_groups(effort, checklist::IKEV2, Among::All)
}

/// The same about IKEv1.
pub(super) fn measure_ikev1(effort: &Effort) -> anyhow::Result<Finding> {
    measure_groups(effort, checklist::IKEV1, Among::Cited)
}

/// The same about path MTU and ICMP.
pub(super) fn measure_path_mtu(effort: &Effort) -> anyhow::Result<Finding> {
    measure_groups(effort, checklist::PATH_MTU, Among::Cited)
}

fn measure_groups(effort: &Effort, groups: &str, among: Among) -> anyhow::Result<Finding> {
    if !effort.quick {
        return match lacks(&["ip", "ping"]) {
            Some(finding) => Ok(finding),
            None => proven(groups, among),
        };
    }
    let (rows, faults) = rows_of(groups)?;
    let all = rows.iter().flat_map(|row| &row.proven_by).map(|one| one.test.clone()).collect();
    Ok(judge(&rows, faults, &all))
}

/// Attacks that other daemons have fallen for.
pub(super) fn measure_attacks(_: &Effort) -> anyhow::Result<Finding> {
    proven("V", Among::Cited)
}

/// Packages to run tests of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Among {
    /// All at once, as for the whole suite: what that built is not built again.
    All,
    /// Those with a test that cites something.
    Cited,
}

/// Runs all tests that cite rows of these groups.
fn proven(groups: &str, among: Among) -> anyhow::Result<Finding> {
    let (rows, faults) = rows_of(groups)?;
    let cited = || rows.iter().flat_map(|row| &row.proven_by);
    // What has no package is run by other rows: scenarios with real peers, and fuzz targets.
    let runs_elsewhere = cited().filter(|one| one.package.is_empty());
    let mut passed: BTreeSet<String> = runs_elsewhere.map(|one| one.test.clone()).collect();
    let tests = || cited().filter(|one| !one.package.is_empty());
    let names: BTreeSet<&str> = tests().map(|one| one.test.as_str()).collect();
    let packages: BTreeSet<&str> = tests().map(|one| one.package.as_str()).collect();
    let mut cargo = root::cargo();
    cargo.arg("test");
    match among {
        Among::All => cargo.arg("--workspace"),
        Among::Cited => cargo.args(packages.iter().flat_map(|package| ["-p", package])),
    };
    cargo.args(["--tests", "--no-fail-fast", "--"]).args(names);
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Of tests of one name all have to pass.
    let failed = tests_that(&text, "FAILED");
    passed.extend(tests_that(&text, "ok").difference(&failed).cloned());
    Ok(judge(&rows, faults, &passed))
}

fn rows_of(groups: &str) -> anyhow::Result<(Vec<Row>, Vec<String>)> {
    let letters: Letters = groups.parse().map_err(anyhow::Error::msg)?;
    let (groups, faults) = checklist::table(&letters)?;
    Ok((groups.into_iter().flat_map(|(_, rows)| rows).collect(), faults))
}

fn judge(rows: &[Row], mut faults: Vec<String>, passed: &BTreeSet<String>) -> Finding {
    let mut good = BTreeSet::new();
    let mut without = Vec::new();
    for row in rows {
        let (passing, failing): (Vec<_>, Vec<_>) =
            row.proven_by.iter().partition(|one| passed.contains(&one.test));
        faults.extend(failing.iter().map(|one| format!("{}: {} did not pass", row.id, one.test)));
        eprintln!("{} {}: {} tests", row.id, row.behaviour, passing.len());
        for one in &passing {
            eprintln!("    {}:{}", one.file, one.test);
        }
        if passing.is_empty() && row.standing != Standing::Declined {
            without.push(row.id.as_str());
        }
        good.extend(passing.into_iter().map(|one| (&one.file, &one.test)));
    }
    if !without.is_empty() {
        faults.push(format!("without a test that passes: {}", without.join(", ")));
    }
    let figure = format!("{}, by {} tests", checklist::summary(rows.iter()), good.len());
    if faults.is_empty() { Finding::pass(figure) } else { Finding::fail(figure, faults.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::citations::Citation;

    fn row(id: &str, standing: Standing) -> Row {
        let citation = Citation {
            row: id.to_owned(),
            file: "f.rs".to_owned(),
            package: "p".to_owned(),
            test: format!("of_{id}"),
        };
        Row {
            id: id.to_owned(),
            behaviour: "b".to_owned(),
            standing,
            proven_by: if standing == Standing::Proven { vec![citation] } else { Vec::new() },
            reason: String::new(),
        }
    }

    #[test]
    fn a_row_without_a_passing_test_fails() {
        let rows = [row("S01", Standing::Proven), row("S02", Standing::Declined)];
        let passed = BTreeSet::from(["of_S01".to_owned()]);
        let finding = judge(&rows, Vec::new(), &passed);
        assert_eq!(finding.reason, "");
        assert_eq!(finding.figure, "2 rows: 1 proven, 1 declined, 0 missing, by 1 tests");

        let reason = judge(&rows, Vec::new(), &BTreeSet::new()).reason;
        assert_eq!(reason, "S01: of_S01 did not pass; without a test that passes: S01");
        let missing = [row("S03", Standing::Missing)];
        let reason = judge(&missing, Vec::new(), &passed).reason;
        assert_eq!(reason, "without a test that passes: S03");
    }
}
