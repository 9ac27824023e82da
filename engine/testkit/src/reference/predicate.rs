//! Answers predicates about something that can look up terms.

use std::cmp::Ordering;

use tidewater_model::{
    Decimal, Value,
    expr::{Predicate, Term},
};

/// What a predicate is about.
pub(super) trait Subject {
    /// The value of a name, a path or `now`.
    fn value(&self, term: &Term) -> Value;

    /// Its values of an identifier.
    fn identifiers(&self, identifier: usize) -> Vec<&str>;

    /// Whether it is in a segment.
    fn is_in(&self, segment: usize) -> bool;
}

/// Whether `predicate` says yes about `subject`.
pub(super) fn holds(predicate: &Predicate, subject: &dyn Subject) -> bool {
    match predicate {
        Predicate::And(parts) => !parts.iter().any(|part| !holds(part, subject)),
        Predicate::Or(parts) => parts.iter().any(|part| holds(part, subject)),
        Predicate::Not(part) => !holds(part, subject),
        Predicate::Compare(comparison, left, right) => {
            let (mut a, mut b) = (value(left, subject), value(right, subject));
            match (&a, &b) {
                (Value::String(_), Value::Number(_)) => a = number(left, a),
                (Value::Number(_), Value::String(_)) => b = number(right, b),
                _ => {}
            }
            match order(&a, &b) {
                Some(order) => comparison.holds(order),
                None => false,
            }
        }
        Predicate::HasValue(term) => !matches!(value(term, subject), Value::Null),
        Predicate::HasIdentifier(identifier) => !subject.identifiers(*identifier).is_empty(),
        Predicate::IdentifierIs(identifier, value) => {
            subject.identifiers(*identifier).contains(&value.as_str())
        }
        Predicate::InSegment(segment) => subject.is_in(*segment),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    let same_type = std::mem::discriminant(left) == std::mem::discriminant(right);
    if same_type { left.compare(right) } else { None }
}

/// A path's value as a number, if it is a string that says one.
fn number(term: &Term, value: Value) -> Value {
    let text = match &value {
        Value::String(text) if matches!(term, Term::Field(_)) => text.as_bytes(),
        _ => return value,
    };
    Decimal::parse(text).map(Value::Number).unwrap_or(value)
}

fn value(term: &Term, subject: &dyn Subject) -> Value {
    match term {
        Term::Literal(value) => value.clone(),
        Term::Arithmetic(operator, left, right) => {
            operator.apply(&number(left, value(left, subject)), &number(right, value(right, subject)))
        }
        name => subject.value(name),
    }
}

/// Whether a predicate asks for `now`, by itself.
pub(super) fn asks_for_now(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::And(parts) | Predicate::Or(parts) => parts.iter().any(asks_for_now),
        Predicate::Not(part) => asks_for_now(part),
        Predicate::Compare(_, left, right) => has_now(left) || has_now(right),
        Predicate::HasValue(term) => has_now(term),
        Predicate::HasIdentifier(_) | Predicate::IdentifierIs(..) | Predicate::InSegment(_) => false,
    }
}

fn has_now(term: &Term) -> bool {
    match term {
        Term::Now => true,
        Term::Arithmetic(_, left, right) => has_now(left) || has_now(right),
        Term::Literal(_) | Term::Trait(_) | Term::Field(_) => false,
    }
}
