//! `cargo xtask checklist`: each row of `specs/checklist.toml` with the tests that prove it, or the
//! reason why none does.

pub(crate) mod citations;
pub(crate) mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::outcome::{Outcome, json_list};
use citations::Citation;
use rows::{Checklist, Declined, Letters};

/// The command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Print a JSON list of the rows
    #[arg(long)]
    json: bool,
    /// Only these groups, as letters and ranges
    #[arg(long, default_value = EVERY)]
    groups: Letters,
}

/// The groups that are about IKEv2 and the process around it.
pub(crate) const IKEV2: &str = "A-R,X";

/// Groups of which every row is proven or declined.
const EVERY: &str = "A-X";

/// The groups that are about IKEv1.
pub(crate) const IKEV1: &str = "T,U,W";

/// The group that is about path MTU and ICMP.
pub(crate) const PATH_MTU: &str = "PM";

/// Where a row stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// A test cites it.
    Proven,
    /// It is not built.
    Declined,
    /// Nobody has named it.
    Missing,
}

/// One row.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Its id.
    pub(crate) id: String,
    /// What is to be proven.
    pub(crate) behaviour: String,
    /// Where it stands.
    pub(crate) standing: Standing,
    /// What proves it.
    pub(crate) proven_by: Vec<Citation>,
    /// Why it is declined, and what it comes with; may be empty.
    pub(crate) reason: String,
}

/// The title of a group and its rows.
pub(crate) type Titled = (String, Vec<Row>);

/// The rows of these groups as they stand, by group, and what is wrong with the citations.
///
/// # Errors
///
/// Files that cannot be read, or contradict each other.
pub(crate) fn table(letters: &Letters) -> anyhow::Result<(Vec<Titled>, Vec<String>)> {
    let checklist = rows::checklist()?;
    let declined = rows::declined(&checklist)?;
    let cited = citations::find()?;
    let faults = faults(&checklist, &declined, &cited);
    let wanted = checklist.iter().filter(|(letter, _)| letters.contains(letter));
    let groups = wanted.map(|(letter, group)| {
        let rows = group.rows.iter().map(|(id, behaviour)| row(id, behaviour, &declined, &cited));
        (format!("{letter}. {}", group.title), rows.collect())
    });
    Ok((groups.collect(), faults))
}

fn row(
    id: &str,
    behaviour: &str,
    declined: &BTreeMap<String, Declined>,
    cited: &[Citation],
) -> Row {
    let proven_by: Vec<Citation> = cited.iter().filter(|one| one.row == id).cloned().collect();
    let declined = declined.get(id);
    let standing = match (proven_by.is_empty(), declined) {
        (false, _) => Standing::Proven,
        (true, Some(_)) => Standing::Declined,
        (true, None) => Standing::Missing,
    };
    Row {
        id: id.to_owned(),
        behaviour: behaviour.to_owned(),
        standing,
        proven_by,
        reason: declined
            .map(|declined| format!("{} (with {})", declined.reason, declined.later))
            .unwrap_or_default(),
    }
}

/// Rows that are cited and do not exist, and rows that are declined though a test proves them.
fn faults(
    checklist: &Checklist,
    declined: &BTreeMap<String, Declined>,
    cited: &[Citation],
) -> Vec<String> {
    let mut faults = BTreeSet::new();
    for Citation { row, file, test, .. } in cited {
        if declined.contains_key(row) {
            faults.insert(format!("{row} is declined, and {file}:{test} proves it"));
        }
        let group = checklist.get(rows::group_of(row));
        if group.is_some_and(|group| !group.rows.contains_key(row)) {
            faults.insert(format!("{file}:{test} cites {row}, and there is no such row"));
        }
    }
    faults.into_iter().collect()
}

/// Runs the verb: fails if a row is missing or a citation is wrong.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let (groups, faults) = table(&options.groups)?;
    let rows = || groups.iter().flat_map(|(_, rows)| rows);
    if options.json {
        println!("{}", json_list(&rows().collect::<Vec<_>>())?);
    } else {
        for (title, rows) in &groups {
            println!("{title}");
            rows.iter().for_each(print_row);
            println!();
        }
    }
    for fault in &faults {
        eprintln!("checklist: {fault}");
    }
    eprintln!("{}", summary(rows()));
    let missing = rows().any(|row| row.standing == Standing::Missing);
    Ok(if missing || !faults.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The same as a step among others: says only what is wrong.
pub(crate) fn step() -> anyhow::Result<Outcome> {
    let (groups, faults) = table(&EVERY.parse().map_err(anyhow::Error::msg)?)?;
    let rows = || groups.iter().flat_map(|(_, rows)| rows);
    for fault in &faults {
        eprintln!("checklist: {fault}");
    }
    let mut missing = rows().filter(|row| row.standing == Standing::Missing).peekable();
    let is_right = faults.is_empty() && missing.peek().is_none();
    missing.for_each(print_row);
    Ok(match is_right {
        true => Outcome::pass(summary(rows())),
        false => Outcome::fail(summary(rows())),
    })
}

/// `260 rows: 230 proven, 28 declined, 2 missing (C08, X06)`.
pub(crate) fn summary<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let (mut proven, mut declined, mut missing) = (0, 0, Vec::new());
    for row in rows {
        match row.standing {
            Standing::Proven => proven += 1,
            Standing::Declined => declined += 1,
            Standing::Missing => missing.push(row.id.as_str()),
        }
    }
    let all = proven + declined + missing.len();
    let names = match missing.is_empty() {
        true => String::new(),
        false => format!(" ({})", missing.join(", ")),
    };
    format!("{all} rows: {proven} proven, {declined} declined, {} missing{names}", missing.len())
}

/// Columns: id, behaviour, what proves it. A behaviour that is too long has a line of its own.
fn print_row(row: &Row) {
    const WIDTH: usize = 76;
    let proof = match row.standing {
        Standing::Missing => "MISSING".to_owned(),
        Standing::Declined => format!("declined: {}", row.reason),
        Standing::Proven => {
            let others = match row.proven_by.len() {
                0 | 1 => String::new(),
                more => format!(" and {} more", more - 1),
            };
            let first = row.proven_by.first();
            first.map(|one| format!("{}:{}{others}", one.file, one.test)).unwrap_or_default()
        }
    };
    let Row { id, behaviour, .. } = row;
    if behaviour.chars().count() > WIDTH {
        println!("  {id}  {behaviour}\n       {:WIDTH$}  {proof}", "");
    } else {
        println!("  {id}  {behaviour:WIDTH$}  {proof}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cited(row: &str) -> Citation {
        let text = str::to_owned;
        Citation { row: text(row), file: text("f.rs"), package: text("p"), test: text("t") }
    }

    #[test]
    fn a_row_is_proven_declined_or_missing() {
        let why = Declined { rows: Vec::new(), later: "x".to_owned(), reason: "y".to_owned() };
        let declined = BTreeMap::from([("A02".to_owned(), why)]);
        let cited = [cited("A01")];
        let rows = ["A01", "A02", "A03"].map(|id| row(id, "b", &declined, &cited));
        let standings = [Standing::Proven, Standing::Declined, Standing::Missing];
        assert_eq!(rows.each_ref().map(|row| row.standing), standings);
        assert_eq!(summary(rows.iter()), "3 rows: 1 proven, 1 declined, 1 missing (A03)");
    }

    #[test]
    fn what_is_proven_is_not_declined_and_what_is_cited_exists() {
        let checklist: Checklist = rows::checklist().unwrap();
        let declined = rows::declined(&checklist).unwrap();
        let found = faults(&checklist, &declined, &[cited("O01"), cited("A99"), cited("A01")]);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
