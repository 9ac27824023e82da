//! Which segments a profile is in.

use tidewater_model::{
    SegmentSpec, Timestamp, Value,
    expr::{Predicate, Term},
};

use crate::predicate::{Scope, holds};

/// The order in which segments can be answered: each after those that its predicate asks for.
pub(crate) fn in_dependency_order(segments: &[SegmentSpec]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut seen = vec![false; segments.len()];
    for segment in 0..segments.len() {
        visit(segment, segments, &mut seen, &mut order);
    }
    order
}

fn visit(segment: usize, segments: &[SegmentSpec], seen: &mut [bool], order: &mut Vec<usize>) {
    if std::mem::replace(&mut seen[segment], true) {
        return;
    }
    let mut asked = Vec::new();
    asked_segments(&segments[segment].predicate, &mut asked);
    for other in asked {
        visit(other, segments, seen, order);
    }
    order.push(segment);
}

fn asked_segments(predicate: &Predicate, asked: &mut Vec<usize>) {
    match predicate {
        Predicate::And(parts) | Predicate::Or(parts) => {
            parts.iter().for_each(|part| asked_segments(part, asked));
        }
        Predicate::Not(part) => asked_segments(part, asked),
        Predicate::InSegment(segment) => asked.push(*segment),
        Predicate::Compare(..)
        | Predicate::HasValue(_)
        | Predicate::HasIdentifier(_)
        | Predicate::IdentifierIs(..) => {}
    }
}

/// A profile as a segment's predicate sees it.
pub(crate) struct ProfileScope<'a> {
    pub(crate) traits: &'a [Value],
    pub(crate) identifiers: &'a [Vec<String>],
    pub(crate) now: Timestamp,
    /// Per segment, as far as it is answered.
    answers: Vec<bool>,
}

impl<'a> ProfileScope<'a> {
    pub(crate) fn new(traits: &'a [Value], identifiers: &'a [Vec<String>], now: Timestamp) -> Self {
        Self { traits, identifiers, now, answers: Vec::new() }
    }

    /// The indices of the segments the profile is in, ascending. `order` is [`in_dependency_order`].
    pub(crate) fn segments(mut self, segments: &[SegmentSpec], order: &[usize]) -> Vec<usize> {
        self.answers = vec![false; segments.len()];
        for segment in order {
            self.answers[*segment] = holds(&segments[*segment].predicate, &self);
        }
        (0..segments.len()).filter(|segment| self.answers[*segment]).collect()
    }
}

impl Scope for ProfileScope<'_> {
    fn look_up(&self, name: &Term) -> Value {
        match name {
            Term::Trait(index) => self.traits[*index].clone(),
            Term::Now => Value::Time(self.now),
            _ => Value::Null,
        }
    }

    fn has_identifier(&self, identifier: usize, value: Option<&str>) -> bool {
        let values = &self.identifiers[identifier];
        value.map_or(!values.is_empty(), |value| values.iter().any(|own| own == value))
    }

    fn in_segment(&self, segment: usize) -> bool {
        self.answers[segment]
    }
}
