//! What is wrong, or doubtful, in a policy document: each thing with its place.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// After so many problems the rest is likely a consequence.
const PROBLEMS_MAX: usize = 200;

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The document loads, and likely means something else than its author thinks.
    Warning,
    /// The document does not load.
    Error,
}

/// One thing that is wrong at one place of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// How to put it right, where that is known.
    pub hint: Option<String>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The bytes of the document that are meant.
    pub span: Range<usize>,
}

/// A place in a document, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// All problems of one document, in the order they stand there. Displayed with source lines and carets.
#[derive(Debug, Clone)]
pub struct Problems {
    source: Arc<str>,
    name: Arc<str>,
    list: Vec<Problem>,
}

impl Problems {
    /// No problems yet of the document `name`.
    pub(crate) fn none(source: impl Into<Arc<str>>, name: &str) -> Self {
        Self {
            source: source.into(),
            name: name.into(),
            list: Vec::new(),
        }
    }

    /// Notes an error at `span`.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>, hint: Option<String>) {
        self.push(Severity::Error, span, message.into(), hint);
    }

    /// Notes a warning at `span`.
    pub(crate) fn warn(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Warning, span, message.into(), Some(hint.into()));
    }

    fn push(&mut self, severity: Severity, span: Span, message: String, hint: Option<String>) {
        if self.list.len() >= PROBLEMS_MAX {
            return;
        }
        let (line, column) = place(&self.source, span.start);
        let span = span.start..self.first_line_end(span);
        self.list.push(Problem {
            severity,
            message,
            hint,
            line,
            column,
            span,
        });
    }

    /// A span of several lines is shown by its first.
    fn first_line_end(&self, span: Span) -> usize {
        let text = self.source.get(span.start..span.end).unwrap_or_default();
        span.start + text.find('\n').unwrap_or(text.len())
    }

    /// The problems in the order they stand in the document.
    pub(crate) fn sorted(mut self) -> Self {
        self.list
            .sort_by_key(|problem| (problem.span.start, problem.span.end));
        self.list.dedup();
        self
    }

    /// The problems one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether the document is without fault.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The text for a terminal, with colours.
    pub fn styled(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let reports = self.list.iter().map(|problem| {
            let level = match problem.severity {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
            };
            let snippet = Snippet::source(&*self.source)
                .path(&*self.name)
                .annotation(AnnotationKind::Primary.span(problem.span.clone()));
            let mut group = level.primary_title(&problem.message).element(snippet);
            if let Some(hint) = &problem.hint {
                group = group.element(Level::HELP.message(hint));
            }
            renderer.render(&[group])
        });
        reports.collect::<Vec<_>>().join("\n\n")
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for Problems {}

/// Line and column, both from 1, of a byte of `source`.
fn place(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    (line, column)
}
