//! What is wrong with an expression, and where.

use std::fmt;

/// One thing wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What kind of thing.
    pub kind: ParseErrorKind,
    /// Byte offset of its first character.
    pub start: usize,
    /// Byte offset behind its last character; equal to `start` where something is missing.
    pub end: usize,
    /// Line of `start`, counted from 1.
    pub line: usize,
    /// Column of `start` in characters, counted from 1.
    pub column: usize,
    /// What is wrong and what was expected; a lower-case fragment.
    pub message: String,
    /// What could stand there instead.
    pub suggestion: Option<String>,
}

/// What kind of thing is wrong with an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// It can't be read.
    Syntax,
    /// A name that is defined nowhere.
    UnknownName,
    /// Every name is known, but not usable in this place or with these operands.
    Misuse,
    /// Part of the language that this version does not have.
    NotBuilt,
    /// Nested deeper than 64 levels.
    TooDeep,
}

impl ParseError {
    /// An error about `text[start..end]`.
    pub(crate) fn new(
        kind: ParseErrorKind,
        text: &str,
        (start, end): (usize, usize),
        message: impl Into<String>,
    ) -> Self {
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            kind,
            start,
            end,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
            suggestion: None,
        }
    }

    /// With what could stand there instead.
    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

/// Writes `1:8: unknown name ...; did you mean ...?`.
impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}
