//! A mistake in a file, shown with the file's line, a caret, the reason and a way out.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::SourceFile;
use crate::api::FileProblem;
use crate::codes::{Code, Severity};
use crate::diagnosis::Place;

/// A mistake, rendered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// Its kind.
    pub code: Code,
    /// An error prevents the load, a warning does not.
    pub severity: Severity,
    /// The tunnel, which is the file's name.
    pub tunnel: String,
    /// Where.
    pub place: Place,
    /// What is wrong, in one sentence.
    pub sentence: String,
    plain: String,
    coloured: String,
}

impl ConfigError {
    /// The block with the excerpt, without a line feed at its end.
    pub fn render(&self, colour: bool) -> &str {
        if colour { &self.coloured } else { &self.plain }
    }

    /// The same for the control socket.
    pub fn to_problem(&self) -> FileProblem {
        FileProblem {
            code: self.code,
            severity: self.severity,
            file: self.place.file.clone(),
            line: self.place.line,
            sentence: self.sentence.clone(),
            rendered: self.plain.clone(),
        }
    }

    /// A mistake that has no place inside the file.
    pub(super) fn whole_file(file: &SourceFile, sentence: &str) -> Self {
        Mistake::new(0..0, sentence).render(file)
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.plain)
    }
}

impl std::error::Error for ConfigError {}

/// A mistake before it is rendered.
#[derive(Clone, Debug)]
pub(super) struct Mistake<'a> {
    code: Code,
    severity: Severity,
    sentence: String,
    span: Range<usize>,
    label: String,
    notes: Vec<(Range<usize>, String)>,
    elsewhere: Option<(&'a SourceFile, Range<usize>, String)>,
    help: Vec<String>,
}

impl<'a> Mistake<'a> {
    pub(super) fn new(span: Range<usize>, sentence: impl Into<String>) -> Self {
        Self {
            code: Code::E510,
            severity: Code::E510.severity(),
            sentence: sentence.into(),
            span,
            label: String::new(),
            notes: Vec::new(),
            elsewhere: None,
            help: Vec::new(),
        }
    }

    pub(super) fn code(mut self, code: Code) -> Self {
        self.code = code;
        self.severity = code.severity();
        self
    }

    /// Words beside the caret.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Another place of the same file that belongs to it.
    pub(super) fn note(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.notes.push((span, label.into()));
        self
    }

    /// A place of another file that belongs to it.
    pub(super) fn elsewhere(
        mut self,
        file: &'a SourceFile,
        span: Range<usize>,
        label: impl Into<String>,
    ) -> Self {
        self.elsewhere = Some((file, span, label.into()));
        self
    }

    /// A way out.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    pub(super) fn help_some(self, help: Option<impl Into<String>>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    pub(super) fn start(&self) -> usize {
        self.span.start
    }

    pub(super) fn render(&self, file: &SourceFile) -> ConfigError {
        let path = file.path.display().to_string();
        let plain = Renderer::plain().render(&self.report(file, &path));
        let coloured = Renderer::styled().render(&self.report(file, &path));
        let line = line_of(&file.text, self.span.start);
        ConfigError {
            code: self.code,
            severity: self.severity,
            tunnel: tunnel_name(file),
            place: Place {
                file: path,
                line: (!self.span.is_empty()).then_some(line),
            },
            sentence: self.sentence.clone(),
            plain,
            coloured,
        }
    }

    fn report<'r>(&'r self, file: &'r SourceFile, path: &'r str) -> Vec<Group<'r>> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level
            .primary_title(format!("{}: {}", tunnel_name(file), self.sentence))
            .id(self.code.to_string());
        let mut snippet = Snippet::source(&file.text).path(path).annotation(
            AnnotationKind::Primary
                .span(clamp(&self.span, &file.text))
                .label(self.label.as_str()),
        );
        for (span, label) in &self.notes {
            let span = clamp(span, &file.text);
            snippet = snippet.annotation(AnnotationKind::Context.span(span).label(label.as_str()));
        }
        let mut group = title.element(snippet);
        if let Some((other, span, label)) = &self.elsewhere {
            let span = clamp(span, &other.text);
            let annotation = AnnotationKind::Context.span(span).label(label.as_str());
            let snippet = Snippet::source(&other.text).path(other.path.display().to_string());
            group = group.element(snippet.annotation(annotation));
        }
        for help in &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        vec![group]
    }
}

/// The file's name without its extension.
pub(super) fn tunnel_name(file: &SourceFile) -> String {
    file.path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Line of an octet, counted from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text
        .bytes()
        .take(at)
        .filter(|octet| *octet == b'\n')
        .count()
}

/// Spans come from the TOML parser; this keeps the renderer safe from its surprises.
fn clamp(span: &Range<usize>, text: &str) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    start..end
}
