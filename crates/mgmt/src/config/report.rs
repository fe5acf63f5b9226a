//! A mistake in a file, shown with the file's line, a caret, the reason and a way out.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

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
    pub(super) fn whole_file(file: &SourceFile, sentence: impl Into<String>) -> Self {
        Mistake::whole_file(sentence).render(file)
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.plain)
    }
}

impl std::error::Error for ConfigError {}

/// How much of the file is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Excerpt {
    /// The line with a caret.
    Line,
    /// The line's number: what stands there must not be repeated.
    Number,
    /// The file's name.
    Name,
}

/// A mistake before it is rendered.
#[derive(Clone, Debug)]
pub(super) struct Mistake<'a> {
    code: Code,
    severity: Severity,
    sentence: String,
    span: Range<usize>,
    excerpt: Excerpt,
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
            excerpt: Excerpt::Line,
            label: String::new(),
            notes: Vec::new(),
            elsewhere: None,
            help: Vec::new(),
        }
    }

    /// A mistake that has no place inside the file.
    pub(super) fn whole_file(sentence: impl Into<String>) -> Self {
        Self { excerpt: Excerpt::Name, ..Self::new(0..0, sentence) }
    }

    /// A mistake whose place is told by number alone.
    pub(super) fn hidden(span: Range<usize>, sentence: impl Into<String>) -> Self {
        Self { excerpt: Excerpt::Number, ..Self::new(span, sentence) }
    }

    pub(super) fn code(mut self, code: Code) -> Self {
        self.code = code;
        self.severity = code.severity();
        self
    }

    /// The same as a warning, which prevents nothing.
    pub(super) fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
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
        ConfigError {
            code: self.code,
            severity: self.severity,
            tunnel: tunnel_name(file),
            place: Place { file: path, line: self.line(file) },
            sentence: self.sentence.clone(),
            plain,
            coloured,
        }
    }

    fn line(&self, file: &SourceFile) -> Option<usize> {
        (self.excerpt != Excerpt::Name).then(|| line_of(&file.text, self.span.start))
    }

    fn snippet<'r>(
        &'r self,
        file: &'r SourceFile,
        path: &'r str,
    ) -> Snippet<'r, annotate_snippets::Annotation<'r>> {
        let annotation = |kind: AnnotationKind, span, label: &'r str| {
            let annotation = kind.span(clamp(span, &file.text));
            if label.is_empty() { annotation } else { annotation.label(label) }
        };
        let primary = annotation(AnnotationKind::Primary, &self.span, &self.label);
        let notes = self.notes.iter();
        let notes = notes.map(|(span, label)| annotation(AnnotationKind::Context, span, label));
        Snippet::source(&file.text).path(path).annotation(primary).annotations(notes)
    }

    fn report<'r>(&'r self, file: &'r SourceFile, path: &'r str) -> Vec<Group<'r>> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level
            .primary_title(format!("{}: {}", tunnel_name(file), self.sentence))
            .id(self.code.to_string());
        let mut group = match (self.excerpt, self.line(file)) {
            (Excerpt::Line, _) => title.element(self.snippet(file, path)),
            (_, Some(line)) => title.element(Origin::path(path).line(line)),
            (_, None) => title.element(Origin::path(path)),
        };
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
    file.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Line of an octet, counted from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|octet| *octet == b'\n').count()
}

/// Spans come from the TOML parser; this keeps the renderer safe from its surprises.
fn clamp(span: &Range<usize>, text: &str) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    start..end
}
