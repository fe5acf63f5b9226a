//! The rows of `specs/checklist.toml`, and those that `specs/declined.toml` declines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::str::FromStr;

use anyhow::Context as _;
use serde::Deserialize;

use crate::root;

/// A group of rows: a letter, what it is about, and the rows by their ids.
#[derive(Debug, Deserialize)]
pub(crate) struct Group {
    /// What its rows are about.
    pub(crate) title: String,
    /// What is to be proven, by id.
    #[serde(flatten)]
    pub(crate) rows: BTreeMap<String, String>,
}

/// All groups, by their letters.
pub(crate) type Checklist = BTreeMap<String, Group>;

/// Rows without a test, and why.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declined {
    /// Their ids.
    pub(crate) rows: Vec<String>,
    /// What they come with.
    pub(crate) later: String,
    /// Why they are not proven.
    pub(crate) reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclinedFile {
    declined: Vec<Declined>,
}

/// Reads `specs/checklist.toml`.
///
/// # Errors
///
/// No such file, or a row whose id does not begin with its group's letter.
pub(crate) fn checklist() -> anyhow::Result<Checklist> {
    parse(&read("specs/checklist.toml")?).context("specs/checklist.toml")
}

fn parse(text: &str) -> anyhow::Result<Checklist> {
    let checklist: Checklist = toml::from_str(text)?;
    for (letter, group) in &checklist {
        let strange = group.rows.keys().find(|id| !is_id(id) || group_of(id) != letter);
        anyhow::ensure!(strange.is_none(), "row {strange:?} in group {letter}");
    }
    Ok(checklist)
}

/// Reads `specs/declined.toml`; its rows have to be in the checklist, once.
///
/// # Errors
///
/// No such file, or a row that is not in `checklist` or declined twice.
pub(crate) fn declined(checklist: &Checklist) -> anyhow::Result<BTreeMap<String, Declined>> {
    parse_declined(&read("specs/declined.toml")?, checklist).context("specs/declined.toml")
}

fn parse_declined(text: &str, checklist: &Checklist) -> anyhow::Result<BTreeMap<String, Declined>> {
    let file: DeclinedFile = toml::from_str(text)?;
    let mut found = BTreeMap::new();
    for declined in file.declined {
        for id in &declined.rows {
            let known = checklist.values().any(|group| group.rows.contains_key(id));
            anyhow::ensure!(known, "there is no row {id}");
            let twice = found.insert(id.clone(), declined.clone()).is_some();
            anyhow::ensure!(!twice, "row {id} is declined twice");
        }
    }
    Ok(found)
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(root::path(path)).with_context(|| format!("cannot read {path}"))
}

/// Whether a word is the id of a row: a capital letter and two digits, or two letters, a hyphen and
/// two digits.
pub(crate) fn is_id(word: &str) -> bool {
    let group = group_of(word);
    let digits = word.strip_prefix(group).unwrap_or_default();
    let digits = match group.len() {
        1 => Some(digits),
        2 => digits.strip_prefix('-'),
        _ => None,
    };
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|o| o.is_ascii_digit()))
}

/// The letters that a row's id begins with: those of its group.
pub(crate) fn group_of(id: &str) -> &str {
    let end = id.find(|letter: char| !letter.is_ascii_uppercase()).unwrap_or(id.len());
    id.get(..end).unwrap_or_default()
}

/// Letters of groups: `A-R,X,PM`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Letters(BTreeSet<String>);

impl Letters {
    /// Whether a group is among them.
    pub(crate) fn contains(&self, group: &str) -> bool {
        self.0.contains(group)
    }
}

impl FromStr for Letters {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut letters = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if part.len() == 2 && group_of(part) == part {
                letters.insert(part.to_owned());
                continue;
            }
            let letter = |text: &str| match text.chars().next() {
                Some(letter) if letter.is_ascii_uppercase() && text.len() == 1 => Ok(letter),
                _ => Err(format!("`{text}` is no group; write letters and ranges: A-R,X,PM")),
            };
            letters.extend((letter(first)?..=letter(last)?).map(String::from));
        }
        Ok(Self(letters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_letters_and_ranges() {
        let letters: Letters = "A-C,X".parse().unwrap();
        let named = ["A", "B", "C", "D", "X"].map(|group| letters.contains(group));
        assert_eq!(named, [true, true, true, false, true]);
        assert!("A-".parse::<Letters>().is_err() && "a".parse::<Letters>().is_err());
        let letters: Letters = "A-R,PM".parse().unwrap();
        assert!(letters.contains("P") && letters.contains("PM"));
        assert!(!"A-R".parse::<Letters>().unwrap().contains("PM"));
    }

    #[test]
    fn ids_have_one_letter_or_two_and_a_hyphen() {
        let ids = ["A01", "PM-44", "PM44", "A-01", "A1", "XPM-01", "PM-4", ""].map(is_id);
        assert_eq!(ids, [true, true, false, false, false, false, false, false]);
        assert_eq!((group_of("PM-44"), group_of("P44")), ("PM", "P"));
    }

    #[test]
    fn a_row_stands_in_its_group_and_is_declined_once() {
        assert!(parse("[A]\ntitle = \"a\"\nB01 = \"b\"").is_err());
        assert!(parse("[P]\ntitle = \"a\"\nPM-01 = \"b\"").is_err());
        let checklist = parse("[A]\ntitle = \"a\"\nA01 = \"b\"").unwrap();
        let decline = |rows: &str| {
            let text = format!("[[declined]]\nrows = {rows}\nlater = \"x\"\nreason = \"y\"");
            parse_declined(&text, &checklist).is_ok()
        };
        assert!(decline(r#"["A01"]"#));
        assert!(!decline(r#"["A02"]"#) && !decline(r#"["A01", "A01"]"#));
    }

    #[test]
    fn the_files_of_this_project_can_be_read() {
        let checklist = checklist().unwrap();
        assert!(checklist.len() > 15 && !declined(&checklist).unwrap().is_empty());
    }
}
