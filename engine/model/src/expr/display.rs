//! Writes an expression so that it reads back as the same one.

use std::fmt;

use crate::{
    expr::{Arithmetic, Names, Predicate, Term, lexer::is_bare_name},
    value::{Value, write_quoted},
};

pub(super) struct Displayed<'a> {
    pub(super) predicate: &'a Predicate,
    pub(super) names: &'a Names<'a>,
}

impl fmt::Display for Displayed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Writer { f, names: self.names }.predicate(self.predicate, Binding::Or)
    }
}

/// How tightly a predicate must hold together to stand somewhere without parentheses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    /// An operand of `and`.
    Operand,
    /// An operand of `not`. A comparison would do without parentheses, but not every reader would know.
    Tight,
}

struct Writer<'f, 'g, 'a> {
    f: &'f mut fmt::Formatter<'g>,
    names: &'a Names<'a>,
}

impl Writer<'_, '_, '_> {
    fn predicate(&mut self, predicate: &Predicate, needed: Binding) -> fmt::Result {
        let binding = match predicate {
            Predicate::And(all) | Predicate::Or(all) if all.is_empty() => Binding::Tight,
            Predicate::Or(_) => Binding::Or,
            Predicate::And(_) => Binding::And,
            Predicate::Compare(..) | Predicate::IdentifierIs(..) => Binding::Operand,
            _ => Binding::Tight,
        };
        if binding >= needed {
            return self.bare_predicate(predicate);
        }
        self.f.write_str("(")?;
        self.bare_predicate(predicate)?;
        self.f.write_str(")")
    }

    fn bare_predicate(&mut self, predicate: &Predicate) -> fmt::Result {
        match predicate {
            Predicate::And(all) if all.is_empty() => self.f.write_str("true"),
            Predicate::Or(all) if all.is_empty() => self.f.write_str("false"),
            Predicate::And(all) => self.list(all, " and ", Binding::Operand),
            Predicate::Or(all) => self.list(all, " or ", Binding::And),
            Predicate::Not(inner) => {
                self.f.write_str("not ")?;
                self.predicate(inner, Binding::Tight)
            }
            Predicate::Compare(comparison, left, right) => {
                self.term(left, 0)?;
                write!(self.f, " {comparison} ")?;
                self.term(right, 0)
            }
            Predicate::HasValue(term) => {
                self.f.write_str("has(")?;
                self.term(term, 0)?;
                self.f.write_str(")")
            }
            Predicate::HasIdentifier(index) => {
                self.f.write_str("has(")?;
                self.index(self.names.identifiers, *index)?;
                self.f.write_str(")")
            }
            Predicate::IdentifierIs(index, value) => {
                self.index(self.names.identifiers, *index)?;
                self.f.write_str(" == ")?;
                write_quoted(self.f, value, '"')
            }
            Predicate::InSegment(index) => {
                self.f.write_str("in_segment(")?;
                self.index(self.names.segments, *index)?;
                self.f.write_str(")")
            }
        }
    }

    fn list(&mut self, all: &[Predicate], separator: &str, needed: Binding) -> fmt::Result {
        for (at, predicate) in all.iter().enumerate() {
            if at > 0 {
                self.f.write_str(separator)?;
            }
            self.predicate(predicate, needed)?;
        }
        Ok(())
    }

    /// Sums bind with 1, products with 2, everything else tighter.
    fn term(&mut self, term: &Term, needed: u8) -> fmt::Result {
        match term {
            Term::Literal(Value::Time(time)) => write_quoted(self.f, &time.to_string(), '"'),
            Term::Literal(value) => write!(self.f, "{value}"),
            Term::Trait(index) => self.index(self.names.traits, *index),
            Term::Field(path) => self.name(&path.to_string()),
            Term::Now => self.f.write_str("now"),
            Term::Arithmetic(operator, left, right) => {
                let binding = match operator {
                    Arithmetic::Add | Arithmetic::Subtract => 1,
                    Arithmetic::Multiply | Arithmetic::Divide => 2,
                };
                let (open, close) = if binding < needed { ("(", ")") } else { ("", "") };
                self.f.write_str(open)?;
                self.term(left, binding)?;
                write!(self.f, " {operator} ")?;
                // Operators of one precedence group from the left.
                self.term(right, binding + 1)?;
                self.f.write_str(close)
            }
        }
    }

    /// The name with this index, or a stand-in if it is of another pipeline.
    fn index(&mut self, names: &[String], index: usize) -> fmt::Result {
        match names.get(index) {
            Some(name) => self.name(name),
            None => write!(self.f, "#{index}"),
        }
    }

    fn name(&mut self, name: &str) -> fmt::Result {
        write!(self.f, "{}", Written(name))
    }
}

/// A name as an expression must write it: in backticks if it is no plain word.
pub(super) fn written(name: &str) -> String {
    Written(name).to_string()
}

struct Written<'a>(&'a str);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_bare_name(self.0) { f.write_str(self.0) } else { write_quoted(f, self.0, '`') }
    }
}
