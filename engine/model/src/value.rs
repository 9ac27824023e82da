//! Values of events and traits.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    decimal::Decimal,
    time::{Millis, Timestamp},
};

/// A JSON scalar that is not null, as `first` and `last` keep it.
///
/// The derived order is the one that settles ties: false < true < numbers < strings (bytewise).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scalar {
    /// `false` or `true`.
    Bool(bool),
    /// An exact decimal.
    Number(Decimal),
    /// A string.
    String(Box<str>),
}

/// The value of a trait, of an event's field, or of a term in an expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Value {
    /// Nothing there.
    Null,
    /// `false` or `true`.
    Bool(bool),
    /// An exact decimal.
    Number(Decimal),
    /// A string.
    String(Box<str>),
    /// A point in time.
    Time(Timestamp),
    /// A length of time.
    Span(Millis),
}

impl Value {
    /// How two values compare; `None` when either is null or their types differ.
    ///
    /// Strings compare bytewise, false is less than true.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Number(a), Self::Number(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Self::Time(a), Self::Time(b)) => Some(a.cmp(b)),
            (Self::Span(a), Self::Span(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// As people read it: strings in double quotes, times as RFC 3339, spans as `30d`, nothing as `null`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => fmt::Display::fmt(value, f),
            Self::Number(value) => fmt::Display::fmt(value, f),
            Self::String(value) => write_quoted(f, value, '"'),
            Self::Time(value) => fmt::Display::fmt(value, f),
            Self::Span(value) => fmt::Display::fmt(value, f),
        }
    }
}

/// As people read it; see [`Value`].
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => fmt::Display::fmt(value, f),
            Self::Number(value) => fmt::Display::fmt(value, f),
            Self::String(value) => write_quoted(f, value, '"'),
        }
    }
}

/// Writes `text` between two `quote`s so that the segment language reads it back.
pub(crate) fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    use fmt::Write;

    f.write_char(quote)?;
    for character in text.chars() {
        match character {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            _ if character == quote => write!(f, "\\{quote}")?,
            _ if character.is_control() => write!(f, "\\u{{{:x}}}", character as u32)?,
            _ => f.write_char(character)?,
        }
    }
    f.write_char(quote)
}

impl From<Scalar> for Value {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Number(value) => Self::Number(value),
            Scalar::String(value) => Self::String(value),
        }
    }
}
