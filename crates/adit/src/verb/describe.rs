//! What can be printed without a daemon: `explain`, `completions`, `man`.

use adit_mgmt::{Code, Severity, api};
use clap::CommandFactory as _;
use serde::Serialize;

use crate::args::{Cli, Completions, Explain, Man};
use crate::error::Error;
use crate::screen::{Paint, Screen, Style};
use crate::table::{Cell, Table};
use crate::verb::{icmp, suite};
use crate::words::wrapped;

/// Columns of running text.
const COLUMNS: usize = 80;

/// One code, for `--json`.
#[derive(Serialize)]
struct Explanation {
    code: Code,
    severity: Severity,
    title: &'static str,
    explanation: &'static str,
}

#[derive(Serialize)]
struct Explanations {
    schema: u32,
    codes: Vec<Explanation>,
}

/// `adit explain`.
pub(crate) fn explain(args: &Explain, screen: &mut Screen) -> Result<(), Error> {
    match (args.code.as_deref(), args.name.as_deref()) {
        (Some(suite::WORD), name) => return suite::explain(name, args.json, screen),
        (Some(icmp::WORD), name) => {
            return icmp::explain(name, &args.config, args.json, screen);
        }
        (_, Some(name)) => {
            return Err(Error::Usage(format!("a code stands alone, without {name:?}")));
        }
        (_, None) => {}
    }
    let codes: Vec<Code> = match &args.code {
        Some(text) => vec![text.parse().map_err(|_| unknown_code(text))?],
        None => Code::ALL.to_vec(),
    };
    if args.json {
        let codes = codes.into_iter().map(explanation).collect();
        return screen.json(&Explanations { schema: api::SCHEMA, codes });
    }
    match (&args.code, codes.as_slice()) {
        (Some(_), [code]) => screen.text(&long(*code, screen.paint)),
        _ => screen.text(&list(&codes, screen.paint)),
    }
}

fn explanation(code: Code) -> Explanation {
    Explanation {
        code,
        severity: code.severity(),
        title: code.title(),
        explanation: code.explanation(),
    }
}

fn unknown_code(text: &str) -> Error {
    let names: Vec<String> = Code::ALL.iter().map(ToString::to_string).collect();
    let hint = match adit_db::nearest(text, names.iter().map(String::as_str)) {
        Some(code) => format!("did you mean {code}? "),
        None => String::new(),
    };
    Error::Usage(format!("there is no code {text:?}; {hint}`adit explain` lists all"))
}

fn long(code: Code, paint: Paint) -> String {
    let head = format!("{}[{code}]", code.severity());
    let head = paint.with(severity_style(code.severity()), &head);
    let mut out = format!("{head}: {}\n", code.title());
    for paragraph in code.explanation().split("\n\n") {
        out.push('\n');
        out.push_str(&wrapped(paragraph, COLUMNS));
        out.push('\n');
    }
    out
}

fn list(codes: &[Code], paint: Paint) -> String {
    let mut table = Table::new(&["CODE", "KIND", "MEANING"]);
    for code in codes {
        let style = severity_style(code.severity());
        table.row(vec![
            Cell::new(code.to_string()),
            Cell::styled(style, code.severity().to_string()),
            Cell::new(code.title()),
        ]);
    }
    format!("{}\n`adit explain CODE` says more.\n", table.render(paint))
}

/// How a severity is painted.
pub(crate) fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Error => Style::Bad,
        Severity::Warning => Style::Warning,
    }
}

/// `adit completions`.
pub(crate) fn completions(args: &Completions, screen: &mut Screen) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "adit", &mut script);
    screen.text(&String::from_utf8_lossy(&script))
}

/// `adit man`: a page for `adit` and one for each verb.
pub(crate) fn man(args: &Man, screen: &mut Screen) -> Result<(), Error> {
    std::fs::create_dir_all(&args.directory)
        .map_err(Error::io(args.directory.display().to_string()))?;
    clap_mangen::generate_to(Cli::command(), &args.directory)
        .map_err(Error::io(args.directory.display().to_string()))?;
    screen.line(&format!("man pages are in {}", args.directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_explained_in_paragraphs() {
        let text = long(Code::E130, Paint::PLAIN);
        assert!(text.starts_with("error[E130]: the peer closed the tunnel\n\nThe peer sent"));
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }

    #[test]
    fn an_unknown_code_suggests_the_nearest() {
        let error = unknown_code("EE203").to_string();
        assert_eq!(
            error,
            "there is no code \"EE203\"; did you mean E203? `adit explain` lists all"
        );
    }

    #[test]
    fn the_command_line_is_described_without_contradiction() {
        Cli::command().debug_assert();
    }
}
