//! The instants at which time alone may change an answer: where tests look first.

use std::collections::BTreeSet;

use tidewater_model::{
    PipelineSpec, Timestamp, Value,
    expr::{Predicate, Term},
};

/// Instants near which some event at one of `times` enters or leaves some window, or becomes as old as some segment asks
/// for, in milliseconds since 1970. Arithmetic with `now` can have edges elsewhere, too.
pub fn edges(spec: &PipelineSpec, times: impl Iterator<Item = i64>) -> BTreeSet<i64> {
    let mut literals = BTreeSet::new();
    spec.segments.iter().for_each(|segment| collect(&segment.predicate, &mut literals));
    let mut edges = BTreeSet::new();
    for literal in &literals {
        if let Literal::Time(time) = literal {
            edges.insert(*time);
        }
    }
    for at in times {
        edges.insert(at);
        for window in spec.traits.iter().filter_map(|part| part.window) {
            edges.insert(Timestamp(at).round_up(window.resolution).0.saturating_add(window.length.0));
        }
        for literal in &literals {
            if let Literal::Span(span) = literal {
                edges.insert(at.saturating_add(*span));
            }
        }
    }
    edges
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Literal {
    Time(i64),
    Span(i64),
}

fn collect(predicate: &Predicate, found: &mut BTreeSet<Literal>) {
    match predicate {
        Predicate::And(parts) | Predicate::Or(parts) => parts.iter().for_each(|part| collect(part, found)),
        Predicate::Not(part) => collect(part, found),
        Predicate::Compare(_, left, right) => {
            collect_term(left, found);
            collect_term(right, found);
        }
        Predicate::HasValue(_)
        | Predicate::HasIdentifier(_)
        | Predicate::IdentifierIs(..)
        | Predicate::InSegment(_) => {}
    }
}

fn collect_term(term: &Term, found: &mut BTreeSet<Literal>) {
    match term {
        Term::Literal(Value::Time(time)) => {
            found.insert(Literal::Time(time.0));
        }
        Term::Literal(Value::Span(span)) => {
            found.insert(Literal::Span(span.0));
        }
        Term::Arithmetic(_, left, right) => {
            collect_term(left, found);
            collect_term(right, found);
        }
        Term::Literal(_) | Term::Trait(_) | Term::Field(_) | Term::Now => {}
    }
}
