//! Answers predicates, over an event's fields (`where`) or over a profile (segments).

use tidewater_model::{
    Decimal, Value,
    expr::{Predicate, Term},
};

/// What the names in a predicate stand for. A question that makes no sense in a scope is answered with null or no.
pub(crate) trait Scope {
    /// The value of a term that is a name, a path or `now`.
    fn look_up(&self, name: &Term) -> Value;

    /// Whether there is a value of the identifier, or, with `Some`, this value of it.
    fn has_identifier(&self, _identifier: usize, _value: Option<&str>) -> bool {
        false
    }

    /// Whether it is in the segment.
    fn in_segment(&self, _segment: usize) -> bool {
        false
    }
}

/// The answer to `predicate`.
pub(crate) fn holds(predicate: &Predicate, scope: &impl Scope) -> bool {
    match predicate {
        Predicate::And(parts) => parts.iter().all(|part| holds(part, scope)),
        Predicate::Or(parts) => parts.iter().any(|part| holds(part, scope)),
        Predicate::Not(part) => !holds(part, scope),
        Predicate::Compare(comparison, left, right) => {
            let (a, b) = (value(left, scope), value(right, scope));
            let order = match (&a, &b) {
                (Value::Number(_), _) => a.compare(&as_number(right, b)),
                (_, Value::Number(_)) => as_number(left, a).compare(&b),
                _ => a.compare(&b),
            };
            order.is_some_and(|order| comparison.holds(order))
        }
        Predicate::HasValue(term) => value(term, scope) != Value::Null,
        Predicate::HasIdentifier(identifier) => scope.has_identifier(*identifier, None),
        Predicate::IdentifierIs(identifier, value) => scope.has_identifier(*identifier, Some(value)),
        Predicate::InSegment(segment) => scope.in_segment(*segment),
    }
}

/// What stands in an event counts as a number where one is asked for, also if it is a string that is one.
fn as_number(term: &Term, value: Value) -> Value {
    match (term, &value) {
        (Term::Field(_), Value::String(text)) => Decimal::parse(text.as_bytes()).map_or(value, Value::Number),
        _ => value,
    }
}

fn value(term: &Term, scope: &impl Scope) -> Value {
    match term {
        Term::Literal(value) => value.clone(),
        Term::Arithmetic(operator, left, right) => {
            let operand = |term: &Term| as_number(term, value(term, scope));
            operator.apply(&operand(left), &operand(right))
        }
        Term::Trait(_) | Term::Field(_) | Term::Now => scope.look_up(term),
    }
}
