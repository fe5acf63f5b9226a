//! What a document names as code and proof is there.
//!
//! In a table of such a document `ike/src/cookie.rs` stands for a file below `crates`, and
//! `ike/src/cookie/tests.rs:a_name` for a test in one.

use std::fs;

use anyhow::Context as _;

use super::finding::Finding;
use crate::root;

/// Documents that are checked.
const DOCUMENTS: [&str; 1] = ["docs/rfc7296.md"];

/// Section, requirement, where it is obeyed, what proves it.
const COLUMNS: usize = 4;

/// Every file and test that a document names and that is not there.
///
/// # Errors
///
/// A document that cannot be read.
pub(super) fn check() -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root::path(document))
            .with_context(|| format!("cannot read {document}"))?;
        let read = |file: &str| fs::read_to_string(root::path(&format!("crates/{file}"))).ok();
        findings.extend(check_text(document, &text, &read));
    }
    Ok(findings)
}

fn check_text(document: &str, text: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let mut find = |what: String, fix| findings.push(Finding::new(document, number, what, fix));
        if line.starts_with('|') && !is_whole(line) {
            find(
                "a row without all of its columns".to_owned(),
                "say where, and by what or why not",
            );
        }
        for name in names(line) {
            let (file, test) = name.split_once(':').map_or((name, None), |(f, t)| (f, Some(t)));
            match (read(file), test) {
                (None, _) => find(format!("there is no crates/{file}"), "name where it is now"),
                (Some(source), Some(test)) if !has_test(&source, test) => {
                    find(
                        format!("crates/{file} has no test {test}"),
                        "name the test that proves it",
                    );
                }
                (Some(_), _) => {}
            }
        }
    }
    findings
}

/// Whether a row has something in each column.
fn is_whole(row: &str) -> bool {
    let cells = row.trim().trim_matches('|').split('|').map(str::trim);
    cells.clone().count() == COLUMNS && cells.into_iter().all(|cell| !cell.is_empty())
}

/// What stands between backticks and is of a source of ours.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|name| name.contains(".rs") && !name.contains(' '))
}

fn has_test(source: &str, test: &str) -> bool {
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with('#') {
            is_test |= line.starts_with("#[test]");
        } else if !line.starts_with("//") {
            let rest = line.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(test));
            if is_test && rest.is_some_and(|rest| rest.starts_with(['(', '<'])) {
                return true;
            }
            is_test = false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let source =
            "#[test]\n#[ignore]\n/// No.\nfn one() {}\nfn two() {}\n    #[test]\n    fn three(\n";
        let read = |file: &str| (file == "a/src/b.rs").then(|| source.to_owned());
        check_text("d.md", text, &read).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_named_must_be_there() {
        let there = "`a/src/b.rs`, `a/src/b.rs:one`, `a/src/b.rs:three`; `two`, `NO_RS`";
        assert!(found(&format!("| 1 | x | y | {there} |\n{there}\n")).is_empty());
        let missing = [
            ("`a/src/c.rs`", "there is no crates/a/src/c.rs"),
            ("`a/src/c.rs:one`", "there is no crates/a/src/c.rs"),
            ("`a/src/b.rs:two`", "has no test two"),
            ("`a/src/b.rs:on`", "has no test on"),
            ("`a/src/b.rs:four`", "has no test four"),
        ];
        for (name, what) in missing {
            let findings = found(&format!("first\n| 1 | x | y | {name} |\n"));
            let [finding] = &findings[..] else { panic!("{name}: {findings:?}") };
            assert!(finding.starts_with("d.md:2: ") && finding.contains(what), "{finding}");
        }
    }

    #[test]
    fn a_row_has_all_of_its_columns() {
        assert!(
            found("| § | a | b | c |\n| --- | --- | --- | --- |\n| 1 | x | y | z |\n").is_empty()
        );
        for row in ["| 1 | x | y |", "| 1 | x | y | |", "| 1 | x |  | z |", "| 1 | x | y | z | a |"]
        {
            assert_eq!(found(row).len(), 1, "{row}");
        }
    }
}
