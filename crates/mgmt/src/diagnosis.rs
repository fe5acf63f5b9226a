//! What a problem looks like to the operator: one sentence, what was seen, what to do, where.
//!
//! ```text
//! error[E301]: berlin: the two sides disagree about which networks to connect
//!   we asked for   10.1.0.0/24 <-> 10.2.0.0/24
//!   peer allows    10.1.0.0/24 <-> 10.3.0.0/24
//!                                  ^^^^^^^^^^^
//!   fix            set remote = "10.3.0.0/24" here, or local = "10.2.0.0/24" there
//! ```
//!
//! The constructors, one for each kind of failure, take typed values and choose the words, so that
//! daemon and command line say the same.

mod authentication;
mod encryption;
mod failures;
mod moving;
mod signature;
mod tcp;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub(crate) use self::failures::human;
pub use self::failures::{AuthFacts, Context, PortProblem, SelectorFacts, Side};
use crate::codes::{Code, Severity};

/// A problem with everything that is known about it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Its kind.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// The tunnel it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// What is wrong, in one sentence without a full stop.
    pub sentence: String,
    /// What was seen and what it means, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
    /// What to do; the likeliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<String>,
    /// Where in the configuration the cause stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// One labelled fact.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Line {
    /// A word or two.
    pub label: String,
    /// The fact; a line feed continues it in the same column.
    pub value: String,
    /// Characters of `value` to underline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Range<usize>>,
}

/// A place in a file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Place {
    /// The file as the operator knows it.
    pub file: String,
    /// Counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

impl Diagnosis {
    /// A diagnosis with its sentence and nothing else; severity is the code's.
    pub fn new(code: Code, sentence: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            tunnel: None,
            sentence: sentence.into(),
            lines: Vec::new(),
            fixes: Vec::new(),
            place: None,
        }
    }

    /// Names the tunnel.
    #[must_use]
    pub fn tunnel(mut self, tunnel: impl Into<String>) -> Self {
        self.tunnel = Some(tunnel.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn line(mut self, label: &str, value: impl Into<String>) -> Self {
        self.lines.push(Line { label: label.into(), value: value.into(), mark: None });
        self
    }

    /// Adds a fact if there is one.
    #[must_use]
    pub fn line_some(self, label: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.line(label, value),
            None => self,
        }
    }

    /// Adds a fact and underlines `mark`, counted in characters of `value`.
    #[must_use]
    pub fn marked(mut self, label: &str, value: impl Into<String>, mark: Range<usize>) -> Self {
        self.lines.push(Line { label: label.into(), value: value.into(), mark: Some(mark) });
        self
    }

    /// Adds something to do.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fixes.push(fix.into());
        self
    }

    /// Says where the cause stands.
    #[must_use]
    pub fn place(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Everything in one line, for logs and `errmsg`.
    pub fn one_line(&self) -> String {
        let mut out = format!("{}: ", self.code);
        if let Some(tunnel) = &self.tunnel {
            let _ = write!(out, "{}: ", Clean(tunnel));
        }
        let _ = write!(out, "{}", Clean(&self.sentence));
        out
    }

    /// The whole block, with a line feed at the end. `colour` adds ANSI escapes; whatever the
    /// values hold, no other control character is printed.
    pub fn render(&self, colour: bool) -> String {
        let paint = Paint { colour, severity: self.severity };
        let mut out = String::new();
        let head = format!("{}[{}]", self.severity, self.code);
        paint.head(&mut out, &head);
        out.push_str(": ");
        if let Some(tunnel) = &self.tunnel {
            let _ = write!(out, "{}: ", Clean(tunnel));
        }
        let _ = writeln!(out, "{}", Clean(&self.sentence));
        for line in &self.lines {
            render_line(&mut out, &paint, line);
        }
        for (index, fix) in self.fixes.iter().enumerate() {
            let label = if index == 0 { "fix" } else { "or" };
            let line = Line { label: label.into(), value: fix.clone(), mark: None };
            render_line(&mut out, &paint, &line);
        }
        if let Some(place) = &self.place {
            let line = Line { label: "in".into(), value: place.to_string(), mark: None };
            render_line(&mut out, &paint, &line);
        }
        out
    }
}

impl fmt::Display for Diagnosis {
    /// The block without colour and without the last line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end_matches('\n'))
    }
}

/// Columns of a label, with the space behind it.
const LABEL_COLUMNS: usize = 15;

fn render_line(out: &mut String, paint: &Paint, line: &Line) {
    let mut parts = line.value.split('\n');
    let padding = LABEL_COLUMNS.saturating_sub(line.label.chars().count()).max(1);
    out.push_str("  ");
    paint.label(out, &Clean(&line.label).to_string());
    out.extend(std::iter::repeat_n(' ', padding));
    let _ = writeln!(out, "{}", Clean(parts.next().unwrap_or_default()));
    if let Some(mark) = &line.mark {
        out.extend(std::iter::repeat_n(' ', 2 + LABEL_COLUMNS + mark.start));
        paint.mark(out, &"^".repeat(mark.len().max(1)));
        out.push('\n');
    }
    for part in parts {
        out.extend(std::iter::repeat_n(' ', 2 + LABEL_COLUMNS));
        let _ = writeln!(out, "{}", Clean(part));
    }
}

/// Text without control characters: a peer's words must not move the cursor.
struct Clean<'a>(&'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
            .try_for_each(|c| f.write_char(c))
    }
}

struct Paint {
    colour: bool,
    severity: Severity,
}

impl Paint {
    fn head(&self, out: &mut String, text: &str) {
        let escape = match self.severity {
            Severity::Error => "\x1b[1;31m",
            Severity::Warning => "\x1b[1;33m",
        };
        self.wrap(out, escape, text);
    }

    fn label(&self, out: &mut String, text: &str) {
        let escape = if text == "fix" || text == "or" { "\x1b[1;32m" } else { "\x1b[36m" };
        self.wrap(out, escape, text);
    }

    fn mark(&self, out: &mut String, text: &str) {
        self.wrap(out, "\x1b[1;31m", text);
    }

    fn wrap(&self, out: &mut String, escape: &str, text: &str) {
        if self.colour {
            let _ = write!(out, "{escape}{text}\x1b[0m");
        } else {
            out.push_str(text);
        }
    }
}
