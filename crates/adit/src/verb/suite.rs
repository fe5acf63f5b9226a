//! `adit explain suite`: the named choices of algorithms, each proposal with its reason.

use adit_db::Profile;
use adit_db::proposal::Reasoned;
use adit_mgmt::api;
use adit_wire::iana::ProtocolId;
use serde::Serialize;

use crate::error::Error;
use crate::screen::{Paint, Screen, Style};
use crate::table::{Cell, Table};
use crate::words::wrapped;

/// Columns of running text.
const COLUMNS: usize = 80;

/// What `adit explain` takes for this.
pub(crate) const WORD: &str = "suite";

/// One suite, for `--json`.
#[derive(Serialize)]
struct Explained {
    name: &'static str,
    date: &'static str,
    purpose: &'static str,
    source: &'static str,
    limits: &'static str,
    ike: Vec<Proposal>,
    esp: Vec<Proposal>,
    ah: Vec<Proposal>,
}

#[derive(Serialize)]
struct Proposal {
    proposal: String,
    why: &'static str,
}

#[derive(Serialize)]
struct Suites {
    schema: u32,
    suites: Vec<Explained>,
}

/// Prints one suite, or a list of all.
pub(crate) fn explain(name: Option<&str>, json: bool, screen: &mut Screen) -> Result<(), Error> {
    let profile = name.map(|name| Profile::named(name).ok_or_else(|| unknown(name))).transpose()?;
    if json {
        let profiles = profile.map_or_else(|| Profile::ALL.to_vec(), |profile| vec![profile]);
        let suites = profiles.into_iter().map(explained).collect();
        return screen.json(&Suites { schema: api::SCHEMA, suites });
    }
    match profile {
        Some(profile) => screen.text(&long(profile, screen.paint)),
        None => screen.text(&list(screen.paint)),
    }
}

fn unknown(name: &str) -> Error {
    let names = Profile::ALL.map(|profile| profile.name);
    let hint = match adit_db::nearest(name, names) {
        Some(name) => format!("did you mean {name}? "),
        None => String::new(),
    };
    Error::Usage(format!("there is no suite {name:?}; {hint}`adit explain {WORD}` lists all"))
}

fn explained(profile: &'static Profile) -> Explained {
    let proposals = |protocol| {
        let of = |one: &Reasoned| Proposal { proposal: one.words.to_owned(), why: one.why };
        profile.reasoned(protocol).iter().map(of).collect()
    };
    Explained {
        name: profile.name,
        date: profile.date,
        purpose: profile.purpose,
        source: profile.source,
        limits: profile.limits,
        ike: proposals(ProtocolId::IKE),
        esp: proposals(ProtocolId::ESP),
        ah: proposals(ProtocolId::AH),
    }
}

fn long(profile: &Profile, paint: Paint) -> String {
    let head = format!("suite = \"{}\"", profile.name);
    let mut out = format!("{}, as of {}\n", paint.with(Style::Bold, &head), profile.date);
    let mut paragraph = |text: &str| {
        out.push('\n');
        out.push_str(&wrapped(text, COLUMNS));
        out.push('\n');
    };
    paragraph(&format!("For {}.", profile.purpose));
    paragraph(&format!("Source: {}.", profile.source));
    paragraph(&format!("Limits: {}.", profile.limits));
    for (key, protocol) in
        [("ike", ProtocolId::IKE), ("esp", ProtocolId::ESP), ("ah", ProtocolId::AH)]
    {
        for Reasoned { words, why } in profile.reasoned(protocol) {
            // The list of algorithms is one word, to be copied.
            out.push_str(&format!("\n{key} = \"{words}\"\n"));
            out.push_str(&wrapped(&format!("{}.", sentence(why)), COLUMNS));
            out.push('\n');
        }
    }
    out
}

fn sentence(clause: &str) -> String {
    let mut rest = clause.chars();
    rest.next()
        .map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), rest.as_str()))
}

fn list(paint: Paint) -> String {
    let mut table = Table::new(&["SUITE", "AS OF", "FOR"]);
    for profile in Profile::ALL {
        let cells = [profile.name, profile.date, profile.purpose];
        table.row(cells.into_iter().map(Cell::new).collect());
    }
    format!("{}\n`adit explain {WORD} NAME` says more.\n", table.render(paint))
}
