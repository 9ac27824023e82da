//! What is known about a term's type before any value is: the set of types that it can have, null aside.
//!
//! A comparison that can never be true or arithmetic that is always null is a mistake, not a filter.

use std::fmt;

use crate::expr::Arithmetic;

/// A set of types, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const BOOL: Self = Self(1);
    pub(super) const NUMBER: Self = Self(2);
    pub(super) const STRING: Self = Self(4);
    pub(super) const TIME: Self = Self(8);
    pub(super) const SPAN: Self = Self(16);
    /// What stands in an event, and what a trait that is no time keeps of it.
    pub(super) const SCALAR: Self = Self(1 | 2 | 4);

    const EACH: [(Self, &'static str); 5] = [
        (Self::BOOL, "a boolean"),
        (Self::NUMBER, "a number"),
        (Self::STRING, "a string"),
        (Self::TIME, "a time"),
        (Self::SPAN, "a duration"),
    ];

    /// Whether values of the two can be of one type, so that they can be compared.
    pub(super) fn overlap(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What the operator gives; empty if it is always null.
    pub(super) fn arithmetic(operator: Arithmetic, left: Self, right: Self) -> Self {
        let pairs = left.each().flat_map(|left| right.each().map(move |right| (left, right)));
        let results = pairs.filter_map(|(left, right)| Self::of_pair(operator, left, right));
        Self(results.fold(0, |all, result| all | result.0))
    }

    /// The same table as in [`arithmetic`](super::arithmetic::apply).
    fn of_pair(operator: Arithmetic, left: Self, right: Self) -> Option<Self> {
        use Arithmetic::{Add, Divide, Multiply, Subtract};

        Some(match (operator, left, right) {
            (_, Self::NUMBER, Self::NUMBER) => Self::NUMBER,
            (Add | Subtract, Self::SPAN, Self::SPAN) => Self::SPAN,
            (Add | Subtract, Self::TIME, Self::SPAN) | (Add, Self::SPAN, Self::TIME) => Self::TIME,
            (Subtract, Self::TIME, Self::TIME) => Self::SPAN,
            (Multiply | Divide, Self::SPAN, Self::NUMBER) | (Multiply, Self::NUMBER, Self::SPAN) => {
                Self::SPAN
            }
            (Divide, Self::SPAN, Self::SPAN) => Self::NUMBER,
            _ => return None,
        })
    }

    fn each(self) -> impl Iterator<Item = Self> + Clone {
        Self::EACH.into_iter().map(|(one, _)| one).filter(move |one| one.overlap(self))
    }
}

/// `a number`, or `a boolean, a number or a string`.
impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            Self::EACH.into_iter().filter(|(one, _)| one.overlap(*self)).map(|(_, name)| name).collect();
        match names.as_slice() {
            [] => f.write_str("null"),
            [only] => f.write_str(only),
            [first @ .., last] => write!(f, "{} or {last}", first.join(", ")),
        }
    }
}
