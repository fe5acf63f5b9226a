//! Where a verb prints to, and whether in colour.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use adit_mgmt::{Diagnosis, api};
use serde::Serialize;

use crate::args::Color;
use crate::error::Error;

/// Colours by meaning. Every coloured thing is also told by its words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    /// It works.
    Good,
    /// Look at it.
    Warning,
    /// It does not work.
    Bad,
    /// A label or a heading.
    Label,
    /// Of less interest.
    Dim,
    /// Of more interest.
    Bold,
}

impl Style {
    fn escape(self) -> &'static str {
        match self {
            Self::Good => "\x1b[1;32m",
            Self::Warning => "\x1b[1;33m",
            Self::Bad => "\x1b[1;31m",
            Self::Label => "\x1b[36m",
            Self::Dim => "\x1b[2m",
            Self::Bold => "\x1b[1m",
        }
    }
}

/// Paints text or leaves it as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Paint {
    /// Whether to use colours.
    pub(crate) colour: bool,
}

impl Paint {
    /// No colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colour: false };

    /// The text in a style.
    pub(crate) fn with(self, style: Style, text: &str) -> Cow<'_, str> {
        if self.colour && !text.is_empty() {
            Cow::Owned(format!("{}{text}\x1b[0m", style.escape()))
        } else {
            Cow::Borrowed(text)
        }
    }
}

/// Standard output.
pub(crate) struct Screen {
    out: Box<dyn Write>,
    /// How to paint.
    pub(crate) paint: Paint,
    /// Whether a human looks at it.
    pub(crate) terminal: bool,
}

impl Screen {
    /// Standard output; colours as asked for, by default on a terminal unless NO_COLOR is set.
    pub(crate) fn stdout(when: Color) -> Self {
        let out = io::stdout();
        let terminal = out.is_terminal();
        let paint = Paint { colour: colours(when, terminal) };
        Self { out: Box::new(out.lock()), paint, terminal }
    }

    /// Prints as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Error> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Error::Closed;
            }
            Error::Io { what: "standard output".into(), source: error }
        })
    }

    /// Prints one line.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Error> {
        self.text(&format!("{line}\n"))
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let line = serde_json::to_string(value)
            .map_err(|error| Error::Refused(format!("cannot write JSON: {error}")))?;
        self.line(&line)
    }

    /// Prints a problem as its block.
    pub(crate) fn diagnosis(&mut self, diagnosis: &Diagnosis) -> Result<(), Error> {
        self.text(&diagnosis.render(self.paint.colour))
    }
}

fn colours(when: Color, terminal: bool) -> bool {
    match when {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            terminal && !forbidden && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// What `--json` prints instead of a result.
#[derive(Debug, Serialize)]
pub(crate) struct Trouble<'a> {
    schema: u32,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnosis: Option<&'a Diagnosis>,
}

/// Prints why a verb stopped: as JSON on standard output, otherwise for people on standard error.
pub(crate) fn explain(error: &Error, json: bool, screen: &mut Screen) {
    if matches!(error, Error::Closed) {
        return;
    }
    let diagnosis = error.diagnosis();
    if json {
        let trouble = Trouble { schema: api::SCHEMA, error: error.to_string(), diagnosis };
        // If this cannot be printed either, the exit code is all that is left.
        let _ = screen.json(&trouble);
        return;
    }
    let err = io::stderr();
    let paint = Paint { colour: screen.paint.colour && err.is_terminal() };
    let text = match diagnosis {
        Some(diagnosis) => diagnosis.render(paint.colour),
        None => format!("{}: {error}\n", paint.with(Style::Bad, "error")),
    };
    let _ = err.lock().write_all(text.as_bytes());
}
