//! The segment language: two-valued predicates over traits, identifiers and `now`, and over event fields in `where`.
//!
//! [`parse_segment`] and [`parse_condition`] turn text into a resolved [`Predicate`]; [`Predicate`] is plain data
//! whose names are already indices into the pipeline's lists.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

use crate::{event::Path, value::Value};

mod arithmetic;
mod display;
mod error;
mod lexer;
mod names;
mod parser;
mod resolve;
mod tree;
mod types;

pub use error::{ParseError, ParseErrorKind};
pub use names::Names;
pub use resolve::{parse_condition, parse_segment};

/// A question with the answer yes or no. A comparison with null or across types is no, also `!=`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Predicate {
    /// All of them; yes of none.
    And(Vec<Predicate>),
    /// At least one of them; no of none.
    Or(Vec<Predicate>),
    /// The other answer.
    Not(Box<Predicate>),
    /// How two terms compare.
    Compare(Comparison, Term, Term),
    /// `has(trait)` or, in `where`, `has(path)`: the term is not null.
    HasValue(Term),
    /// `has(identifier)`: the profile has one or more values of the identifier with this index.
    HasIdentifier(usize),
    /// `identifier == "value"`: one of the profile's values of the identifier with this index is this one. The
    /// value is compared as written, so it must be written normalized.
    IdentifierIs(usize, String),
    /// `in_segment(name)`: the profile is in the segment with this index.
    InSegment(usize),
}

impl Predicate {
    /// Its canonical text, with the names that it was resolved with. What [`parse_segment`] or [`parse_condition`]
    /// made is read back from it as the same predicate.
    pub fn display<'a>(&'a self, names: &'a Names<'a>) -> impl fmt::Display + 'a {
        display::Displayed { predicate: self, names }
    }
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Whether a pair that compares as `order` answers yes.
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

/// Something with a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Term {
    /// A literal: `12.5`, `"text"`, `true`, `30d`, or a time, which is written as an RFC 3339 string next to something
    /// that is always a time.
    Literal(Value),
    /// The trait with this index.
    Trait(usize),
    /// What stands at this path of the event (`where` only).
    Field(Path),
    /// The engine's clock (segments only).
    Now,
    /// Arithmetic; see [`Arithmetic`] for the types it takes.
    Arithmetic(Arithmetic, Box<Term>, Box<Term>),
}

/// An arithmetic operator. With null, with types not listed, out of range or dividing by zero the result is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Arithmetic {
    /// number + number, time + span, span + time, span + span.
    Add,
    /// number - number, time - time = span, time - span, span - span.
    Subtract,
    /// number * number, span * number, number * span; spans round half to even to a millisecond.
    Multiply,
    /// number / number, span / number, span / span = number.
    Divide,
}

impl Arithmetic {
    /// Applies the operator; the one definition of arithmetic that the batch evaluator uses.
    pub fn apply(self, left: &Value, right: &Value) -> Value {
        arithmetic::apply(self, left, right)
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
        })
    }
}

#[cfg(test)]
mod tests;
