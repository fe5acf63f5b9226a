//! Which tests cite which rows.
//!
//! A test says so in its comment: `CHECKLIST A04`, or several rows with commas between. So do
//! scenarios with real peers, in a comment above their line, and fuzz targets, in the comment that
//! begins their file. What stands on anything else is a hint for readers and proves nothing.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::rows::is_id;
use crate::root;

/// Something that runs and says which row it proves.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Citation {
    /// The row.
    pub(crate) row: String,
    /// Where, from the root of the workspace.
    pub(crate) file: String,
    /// The package of a test; empty for others.
    pub(crate) package: String,
    /// Name of the test, the scenario or the target.
    pub(crate) test: String,
}

/// Finds all citations in the workspace.
///
/// # Errors
///
/// Files that cannot be read.
pub(crate) fn find() -> anyhow::Result<Vec<Citation>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root::path("crates"))? {
        let folder = entry?.path();
        let name = folder.file_name().context("no name")?.to_string_lossy().into_owned();
        let package = if name.starts_with("adit") { name } else { format!("adit-{name}") };
        for part in ["src", "tests"] {
            let read = |text: &str| rows_of_tests(text);
            read_folder(&folder.join(part), &package, &read, &mut found)?;
        }
    }
    read_folder(&root::path("xtask/src"), "xtask", &rows_of_tests, &mut found)?;
    read_folder(&root::path("xtask/src/interop"), "", &rows_of_scenarios, &mut found)?;
    read_folder(&root::path("xtask/src/proof/icmp"), "", &rows_of_scenarios, &mut found)?;
    let targets = root::path("fuzz/targets");
    read_folder(&targets, "", &|text: &str| rows_of_target(text), &mut found)?;
    for target in found.iter_mut().filter(|one| one.test.is_empty()) {
        let stem = Path::new(&target.file).file_stem().unwrap_or_default();
        target.test = stem.to_string_lossy().into_owned();
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Rows and the name of what cites them.
type Cited = Vec<(String, String)>;

fn read_folder(
    folder: &Path,
    package: &str,
    read: &dyn Fn(&str) -> Cited,
    found: &mut Vec<Citation>,
) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_folder(&path, package, read, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(root::folder()).unwrap_or(&path).display().to_string();
            let cited = read(&fs::read_to_string(&path)?);
            found.extend(cited.into_iter().map(|(row, test)| Citation {
                row,
                file: file.clone(),
                package: package.to_owned(),
                test,
            }));
        }
    }
    Ok(())
}

/// Rows named in one line of a comment from `CHECKLIST` on, or anywhere if the lines above cite.
fn rows_in(line: &str, goes_on: bool) -> Vec<String> {
    let text = match line.split_once("CHECKLIST") {
        Some((_, rest)) => rest,
        None if goes_on => line,
        None => return Vec::new(),
    };
    let is_between = |letter: char| !letter.is_ascii_alphanumeric() && letter != '-';
    // A hyphen is part of `PM-14`, and stands between the rows of `A01-A03`.
    let parts = |word| if is_id(word) { vec![word] } else { word.split('-').collect() };
    let words = text.split(is_between).flat_map(parts);
    words.filter(|word| is_id(word)).map(str::to_owned).collect()
}

/// The tests of a file with the rows that the comments right above them cite.
fn rows_of_tests(text: &str) -> Cited {
    let mut found = Vec::new();
    let mut rows: Vec<String> = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("//") {
            rows.extend(rows_in(line, !rows.is_empty()));
        } else if line.starts_with('#') {
            is_test |= line.starts_with("#[test]");
        } else {
            if let Some(rest) = line.strip_prefix("fn ")
                && is_test
            {
                let test = rest.split(['(', '<']).next().unwrap_or(rest);
                found.extend(rows.drain(..).map(|row| (row, test.to_owned())));
            }
            rows.clear();
            is_test = false;
        }
    }
    found
}

/// The scenarios of a table with the rows that the comments above them cite.
fn rows_of_scenarios(text: &str) -> Cited {
    let mut found = Vec::new();
    let mut rows: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("//") {
            rows.extend(rows_in(line, !rows.is_empty()));
        } else if let Some(name) = line.split('"').nth(1) {
            found.extend(rows.drain(..).map(|row| (row, name.to_owned())));
        } else if !["plain(", "planned(", "special(", "Scenario {"].contains(&line) {
            rows.clear();
        }
    }
    found
}

/// The rows that a fuzz target cites; its name is its file's.
fn rows_of_target(text: &str) -> Cited {
    let mut rows: Vec<String> = Vec::new();
    for line in text.lines().take_while(|line| line.starts_with("//!")) {
        rows.extend(rows_in(line, !rows.is_empty()));
    }
    rows.into_iter().map(|row| (row, String::new())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(found: &Cited) -> Vec<(&str, &str)> {
        found.iter().map(|(row, test)| (row.as_str(), test.as_str())).collect()
    }

    #[test]
    fn citations_are_those_of_the_next_test() {
        let text = "\
            /// CHECKLIST S01,\n/// S02: not E101, nor XS03.\n#[test]\nfn one() {\n\
            // CHECKLIST S03 is no citation.\n}\n/// Not S04.\n#[test]\nfn two() {}\n\
            /// CHECKLIST S05 stands on no test.\nfn three() {}\n\
            proptest! {\n    /// H01 before CHECKLIST S06.\n    #[test]\n    fn four(\n\
            /// CHECKLIST PM-14: a, not XPM-15.\n#[test]\nfn five() {\n";
        let cited = [("S01", "one"), ("S02", "one"), ("S06", "four"), ("PM-14", "five")];
        assert_eq!(pairs(&rows_of_tests(text)), cited);
    }

    #[test]
    fn scenarios_are_named_by_the_first_text_below_the_comment() {
        let text = "\
            // CHECKLIST J01: a.\nplain(\"child\", \"a claim\", f),\nplain(\"other\", \"b\", f),\n\
            // CHECKLIST K01.\nplanned(\n    \"ike\",\n    \"c\",\n";
        assert_eq!(pairs(&rows_of_scenarios(text)), [("J01", "child"), ("K01", "ike")]);
    }

    #[test]
    fn fuzz_targets_cite_at_their_beginning() {
        let text = "//! A target. CHECKLIST D13,\n//! D16.\n\n//! CHECKLIST D01.\n";
        assert_eq!(pairs(&rows_of_target(text)), [("D13", ""), ("D16", "")]);
    }
}
