//! Answers predicates, over an event's fields (`where`) or over a profile (segments).

use tidewater_model::{
    Value,
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
            let order = value(left, scope).compare(&value(right, scope));
            order.is_some_and(|order| comparison.holds(order))
        }
        Predicate::HasValue(term) => value(term, scope) != Value::Null,
        Predicate::HasIdentifier(identifier) => scope.has_identifier(*identifier, None),
        Predicate::IdentifierIs(identifier, value) => scope.has_identifier(*identifier, Some(value)),
        Predicate::InSegment(segment) => scope.in_segment(*segment),
    }
}

fn value(term: &Term, scope: &impl Scope) -> Value {
    match term {
        Term::Literal(value) => value.clone(),
        Term::Arithmetic(operator, left, right) => operator.apply(&value(left, scope), &value(right, scope)),
        Term::Trait(_) | Term::Field(_) | Term::Now => scope.look_up(term),
    }
}
