//! Predicates answered the obvious way.

use tidewater_model::{
    PipelineSpec, Timestamp, Value,
    expr::{Predicate, Term},
};

/// What a predicate can ask about.
pub(super) struct Facts<'a> {
    pub(super) spec: &'a PipelineSpec,
    pub(super) traits: Vec<Value>,
    /// Per identifier.
    pub(super) identifiers: &'a [Vec<String>],
    pub(super) now: i64,
}

impl Facts<'_> {
    /// Per segment.
    pub(super) fn answers(&self) -> Vec<bool> {
        self.spec.segments.iter().map(|segment| self.holds(&segment.predicate)).collect()
    }

    fn holds(&self, predicate: &Predicate) -> bool {
        match predicate {
            Predicate::And(parts) => parts.iter().all(|part| self.holds(part)),
            Predicate::Or(parts) => parts.iter().any(|part| self.holds(part)),
            Predicate::Not(part) => !self.holds(part),
            Predicate::Compare(comparison, left, right) => {
                let order = self.value(left).compare(&self.value(right));
                order.is_some_and(|order| comparison.holds(order))
            }
            Predicate::HasValue(term) => self.value(term) != Value::Null,
            Predicate::HasIdentifier(index) => !self.identifiers[*index].is_empty(),
            Predicate::IdentifierIs(index, value) => self.identifiers[*index].contains(value),
            Predicate::InSegment(segment) => self.holds(&self.spec.segments[*segment].predicate),
        }
    }

    fn value(&self, term: &Term) -> Value {
        match term {
            Term::Literal(value) => value.clone(),
            Term::Trait(index) => self.traits[*index].clone(),
            Term::Field(_) => Value::Null,
            Term::Now => Value::Time(Timestamp(self.now)),
            Term::Arithmetic(operator, left, right) => operator.apply(&self.value(left), &self.value(right)),
        }
    }
}
