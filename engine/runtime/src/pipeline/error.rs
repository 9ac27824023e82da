//! Everything that is wrong with a pipeline, at once, each with its place, for people to read.

use std::{fmt, sync::Arc};

use super::source::{Snippet, SourceText, Span};

/// What kind of mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file cannot be read.
    Io,
    /// It is not YAML, or uses a part of YAML that a pipeline file may not use.
    Syntax,
    /// It is larger or nested deeper than a pipeline may be.
    Limit,
    /// A key that does not exist.
    UnknownKey,
    /// A key that stands twice.
    DuplicateKey,
    /// A key that must be there and is not.
    MissingKey,
    /// A part of the contract that this version does not have.
    NotBuilt,
    /// Another kind of thing stands there than is expected: a list instead of a text.
    WrongType,
    /// The right kind of thing with a value that cannot be.
    InvalidValue,
    /// A name that no identifier, trait, segment, source or sink may have.
    InvalidName,
    /// A name that something else has.
    DuplicateName,
    /// A mistake in a segment or in a trait's `where`.
    Expression,
    /// Segments that are defined by each other.
    Cycle,
    /// `${...}` that stands for nothing.
    Environment,
    /// A source or sink found something wrong with its configuration.
    Connector,
}

/// One thing wrong with a pipeline.
///
/// `Display` writes `file:line:column: message`, the line with a mark under the place, and the hint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PipelineError {
    /// What kind of mistake it is.
    pub kind: ErrorKind,
    /// The file's name; `None` for a pipeline built in Rust.
    pub file: Option<String>,
    /// Line and column in characters, both counted from 1; `None` where there is no text to point at.
    pub position: Option<(usize, usize)>,
    /// The keys that lead to the place, such as `traits.orders.window`; empty for the whole file.
    pub path: String,
    /// What is wrong and what was expected; a lower-case fragment without secrets.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    snippet: Option<Snippet>,
}

impl PipelineError {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            file: None,
            position: None,
            path: String::new(),
            message: message.into(),
            hint: None,
            snippet: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With `did you mean ...?` as its hint if one of the candidates is near.
    #[must_use]
    pub fn with_nearest<'a>(self, name: &str, candidates: impl Iterator<Item = &'a str>) -> Self {
        match tidewater_model::suggest::nearest(name, candidates) {
            Some(near) => self.with_hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    pub(super) fn at(mut self, source: Option<&Arc<SourceText>>, span: Option<Span>, path: String) -> Self {
        self.path = path;
        if let Some(source) = source {
            self.file = Some(source.file().to_owned());
            self.position = span.map(|span| (span.start.line, span.start.column));
            self.snippet = span.and_then(|span| source.snippet(span));
        }
        self
    }

    pub(super) fn without_snippet(mut self) -> Self {
        self.snippet = None;
        self
    }

    /// The line, counted from 1.
    pub fn line(&self) -> Option<usize> {
        self.position.map(|(line, _)| line)
    }

    /// The column in characters, counted from 1.
    pub fn column(&self) -> Option<usize> {
        self.position.map(|(_, column)| column)
    }
}

impl fmt::Display for PipelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.position) {
            (Some(file), Some((line, column))) => write!(f, "{}:{line}:{column}: ", printable(file))?,
            (Some(file), None) => write!(f, "{}: ", printable(file))?,
            (None, _) if !self.path.is_empty() => write!(f, "{}: ", printable(&self.path))?,
            (None, _) => {}
        }
        f.write_str(&printable(&self.message))?;
        if let Some(snippet) = &self.snippet {
            write!(f, "\n{snippet}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", printable(hint))?;
        }
        Ok(())
    }
}

impl std::error::Error for PipelineError {}

/// Everything that is wrong with a pipeline, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineErrors {
    errors: Vec<PipelineError>,
    unlisted: usize,
}

impl PipelineErrors {
    /// The errors; `None` if there are none.
    pub fn from_errors(errors: Vec<PipelineError>) -> Option<Self> {
        let mut report = Report::default();
        errors.into_iter().for_each(|error| report.add(error));
        report.into_errors()
    }

    /// The errors in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, PipelineError> {
        self.errors.iter()
    }

    /// How many there are, listed or not; at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.errors.len() + self.unlisted
    }
}

impl<'a> IntoIterator for &'a PipelineErrors {
    type Item = &'a PipelineError;
    type IntoIter = std::slice::Iter<'a, PipelineError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for PipelineErrors {
    type Item = PipelineError;
    type IntoIter = std::vec::IntoIter<PipelineError>;

    fn into_iter(self) -> Self::IntoIter {
        self.errors.into_iter()
    }
}

impl From<PipelineError> for PipelineErrors {
    fn from(error: PipelineError) -> Self {
        Self { errors: vec![error], unlisted: 0 }
    }
}

impl fmt::Display for PipelineErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.errors.iter().enumerate() {
            if place > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)?;
        }
        match self.unlisted {
            0 => Ok(()),
            unlisted => write!(f, "\n\nand {unlisted} more"),
        }
    }
}

impl std::error::Error for PipelineErrors {}

/// More errors than this are counted, not kept: nobody reads them, and a hostile file could make millions.
const MAX_ERRORS: usize = 200;

/// Collects errors.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: Vec<PipelineError>,
    unlisted: usize,
}

impl Report {
    pub(super) fn add(&mut self, error: PipelineError) {
        // An alias brings the same mistake at the same place once for each time it is used.
        let known = |other: &PipelineError| {
            error.position.is_some() && other.position == error.position && other.message == error.message
        };
        if self.errors.iter().any(known) {
            return;
        }
        if self.errors.len() < MAX_ERRORS { self.errors.push(error) } else { self.unlisted += 1 }
    }

    /// Whether further errors are only counted. Then it is: finding the place of an error costs as much as its line
    /// is long, and a file can have as many errors as characters.
    pub(super) fn counts_only(&mut self) -> bool {
        let full = self.errors.len() >= MAX_ERRORS;
        self.unlisted += usize::from(full);
        full
    }

    pub(super) fn into_errors(mut self) -> Option<PipelineErrors> {
        self.errors.sort_by_key(|error| error.position);
        (!self.errors.is_empty()).then_some(PipelineErrors { errors: self.errors, unlisted: self.unlisted })
    }
}

/// Without control characters, which could move a terminal's cursor or hide what follows.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// In backticks and cut to a length that fits a message.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}…`", &text[..end]),
    }
}
