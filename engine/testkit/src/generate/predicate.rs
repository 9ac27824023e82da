//! Segment predicates that the segment language can say, with thresholds where the data is.

use proptest::{collection::vec, prelude::*, sample::select};
use tidewater_model::{
    Decimal, Millis, Timestamp, Value,
    expr::{Arithmetic, Comparison, Predicate, Term},
};

use super::START;

/// What predicates can be about: indices into the pipeline's lists.
#[derive(Debug)]
pub(super) struct Subjects {
    /// How many identifiers there are.
    pub(super) identifiers: usize,
    /// Traits that are numbers, strings or truth values.
    pub(super) scalars: Vec<usize>,
    /// Traits that are times.
    pub(super) times: Vec<usize>,
    /// Segments that may be asked for without a cycle.
    pub(super) segments: Vec<usize>,
}

/// A predicate before anyone knows what the pipeline has: its picks are taken modulo what there is, so that a
/// draft stays valid while the pipeline around it shrinks.
#[derive(Clone, Debug)]
pub(super) enum Draft {
    All(Vec<Draft>),
    Any(Vec<Draft>),
    Not(Box<Draft>),
    Numbers(Comparison, Number, Number),
    Moments(Comparison, Moment, Moment),
    Spans(Comparison, Span, Span),
    Scalar(Comparison, usize, usize),
    HasTrait(usize),
    HasIdentifier(usize),
    IdentifierIs(usize, usize),
    InSegment(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Number {
    /// In half units.
    Literal(i64),
    Trait(usize),
    Apply(Arithmetic, Box<Number>, Box<Number>),
}

/// A time; the left one of a pair is never a literal, or nothing would tell the language that it is a time.
#[derive(Clone, Debug)]
pub(super) enum Moment {
    Now,
    Trait(usize),
    /// Milliseconds from the start of the stream.
    Literal(i64),
    Shifted(Box<Moment>, Arithmetic, i64),
}

#[derive(Clone, Debug)]
pub(super) enum Span {
    Literal(i64),
    Between(Moment, Moment),
    Scaled(Box<Span>, Arithmetic, Number),
}

const SCALARS: [&str; 5] = ["gold", "silver", "x", "3", ""];
const VALUES: [&str; 7] = ["u0", "u1", "a0", "a1", "p0@x.io", "d0", "7"];
const SPANS_MS: [i64; 9] = [1_000, 500, 0, 1, 2_500, 5_000, 30_000, 60_000, -1_000];

/// Random predicates, at most three levels deep. Half of them are one simple comparison: of what is deep, most never
/// changes its answer.
pub(super) fn drafts() -> impl Strategy<Value = Draft> {
    let threshold = || {
        (comparisons(), 0..8usize, 1i64..8)
            .prop_map(|(c, of, halves)| Draft::Numbers(c, Number::Trait(of), Number::Literal(halves)))
    };
    let age = || {
        (comparisons(), 0..8usize, select(SPANS_MS.to_vec())).prop_map(|(c, of, span)| {
            Draft::Spans(c, Span::Between(Moment::Now, Moment::Trait(of)), Span::Literal(span))
        })
    };
    let leaf = prop_oneof![
        8 => threshold(),
        3 => age(),
        3 => (comparisons(), numbers(), numbers()).prop_map(|(c, a, b)| Draft::Numbers(c, a, b)),
        3 => (comparisons(), spans(), spans()).prop_map(|(c, a, b)| Draft::Spans(c, a, b)),
        2 => (comparisons(), moments(), any_moments()).prop_map(|(c, a, b)| Draft::Moments(c, a, b)),
        1 => (comparisons(), 0..8usize, 0..7usize).prop_map(|(c, a, b)| Draft::Scalar(c, a, b)),
        1 => (0..8usize).prop_map(Draft::HasTrait),
        2 => (0..8usize).prop_map(Draft::HasIdentifier),
        1 => (0..8usize, 0..7usize).prop_map(|(a, b)| Draft::IdentifierIs(a, b)),
        3 => (0..8usize).prop_map(Draft::InSegment),
    ];
    let deep = leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 2..4).prop_map(Draft::All),
            2 => vec(inner.clone(), 2..4).prop_map(Draft::Any),
            2 => inner.prop_map(|inner| Draft::Not(inner.into())),
        ]
    });
    prop_oneof![3 => threshold(), 2 => age(), 5 => deep]
}

fn comparisons() -> impl Strategy<Value = Comparison> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};

    select(vec![GreaterOrEqual, Greater, Less, LessOrEqual, Equal, NotEqual])
}

fn arithmetic() -> impl Strategy<Value = Arithmetic> {
    select(vec![Arithmetic::Add, Arithmetic::Subtract, Arithmetic::Multiply, Arithmetic::Divide])
}

fn numbers() -> impl Strategy<Value = Number> {
    let leaf = prop_oneof![
        4 => (0..8usize).prop_map(Number::Trait),
        3 => (0i64..8).prop_map(Number::Literal),
        1 => (-8i64..0).prop_map(Number::Literal),
    ];
    leaf.prop_recursive(1, 3, 2, |inner| {
        (arithmetic(), inner.clone(), inner).prop_map(|(op, a, b)| Number::Apply(op, a.into(), b.into()))
    })
}

fn shifts() -> impl Strategy<Value = (Arithmetic, i64)> {
    (select(vec![Arithmetic::Add, Arithmetic::Subtract]), select(SPANS_MS.to_vec()))
}

fn moments() -> impl Strategy<Value = Moment> {
    let leaf = prop_oneof![Just(Moment::Now), (0..8usize).prop_map(Moment::Trait)];
    prop_oneof![
        3 => leaf.clone(),
        1 => (leaf, shifts()).prop_map(|(of, (op, by))| Moment::Shifted(of.into(), op, by)),
    ]
}

fn any_moments() -> impl Strategy<Value = Moment> {
    let literal =
        || prop_oneof![(-1..14i64).prop_map(|half| half * 500), 0..7_000i64].prop_map(Moment::Literal);
    prop_oneof![
        3 => moments(),
        2 => literal(),
        1 => (literal(), shifts()).prop_map(|(of, (op, by))| Moment::Shifted(of.into(), op, by)),
    ]
}

fn spans() -> impl Strategy<Value = Span> {
    let leaf = prop_oneof![
        3 => (moments(), any_moments()).prop_map(|(a, b)| Span::Between(a, b)),
        3 => select(SPANS_MS.to_vec()).prop_map(Span::Literal),
    ];
    let scale = (leaf.clone(), select(vec![Arithmetic::Multiply, Arithmetic::Divide]), numbers());
    prop_oneof![5 => leaf, 1 => scale.prop_map(|(of, op, by)| Span::Scaled(of.into(), op, by))]
}

impl Draft {
    /// The predicate over what the pipeline has.
    pub(super) fn build(&self, subjects: &Subjects) -> Predicate {
        match self {
            Self::All(parts) => Predicate::And(parts.iter().map(|part| part.build(subjects)).collect()),
            Self::Any(parts) => Predicate::Or(parts.iter().map(|part| part.build(subjects)).collect()),
            Self::Not(part) => Predicate::Not(part.build(subjects).into()),
            Self::Numbers(comparison, a, b) => {
                Predicate::Compare(*comparison, a.build(subjects), b.build(subjects))
            }
            Self::Moments(comparison, a, b) => {
                Predicate::Compare(*comparison, a.build(subjects), b.build(subjects))
            }
            Self::Spans(comparison, a, b) => {
                Predicate::Compare(*comparison, a.build(subjects), b.build(subjects))
            }
            Self::Scalar(comparison, of, value) => {
                let literal = match value.checked_sub(SCALARS.len()) {
                    None => Value::String(SCALARS[*value].into()),
                    Some(truth) => Value::Bool(truth % 2 == 0),
                };
                match pick(&subjects.scalars, *of) {
                    Some(index) => {
                        Predicate::Compare(*comparison, Term::Trait(index), Term::Literal(literal))
                    }
                    None => Predicate::HasIdentifier(0),
                }
            }
            Self::HasTrait(of) => {
                let all: Vec<usize> = subjects.scalars.iter().chain(&subjects.times).copied().collect();
                match pick(&all, *of) {
                    Some(index) => Predicate::HasValue(Term::Trait(index)),
                    None => Predicate::HasIdentifier(0),
                }
            }
            Self::HasIdentifier(of) => Predicate::HasIdentifier(of % subjects.identifiers),
            Self::IdentifierIs(of, value) => {
                Predicate::IdentifierIs(of % subjects.identifiers, VALUES[*value].to_owned())
            }
            Self::InSegment(of) => match pick(&subjects.segments, *of) {
                Some(index) => Predicate::InSegment(index),
                None => Predicate::HasIdentifier(of % subjects.identifiers),
            },
        }
    }
}

fn pick(from: &[usize], pick: usize) -> Option<usize> {
    from.get(pick % from.len().max(1)).copied()
}

impl Number {
    fn build(&self, subjects: &Subjects) -> Term {
        match self {
            Self::Literal(halves) => Term::Literal(Value::Number(Decimal(i128::from(*halves) * 500_000_000))),
            Self::Trait(of) => match pick(&subjects.scalars, *of) {
                Some(index) => Term::Trait(index),
                None => Term::Literal(Value::Number(Decimal::ONE)),
            },
            Self::Apply(operator, a, b) => {
                Term::Arithmetic(*operator, a.build(subjects).into(), b.build(subjects).into())
            }
        }
    }
}

impl Moment {
    fn build(&self, subjects: &Subjects) -> Term {
        match self {
            Self::Now => Term::Now,
            Self::Trait(of) => pick(&subjects.times, *of).map_or(Term::Now, Term::Trait),
            Self::Literal(at) => Term::Literal(Value::Time(Timestamp(START + at))),
            Self::Shifted(of, operator, by) => {
                let by = Term::Literal(Value::Span(Millis(*by)));
                Term::Arithmetic(*operator, of.build(subjects).into(), by.into())
            }
        }
    }
}

impl Span {
    fn build(&self, subjects: &Subjects) -> Term {
        match self {
            Self::Literal(ms) => Term::Literal(Value::Span(Millis(*ms))),
            Self::Between(a, b) => {
                Term::Arithmetic(Arithmetic::Subtract, a.build(subjects).into(), b.build(subjects).into())
            }
            Self::Scaled(of, operator, by) => {
                Term::Arithmetic(*operator, of.build(subjects).into(), by.build(subjects).into())
            }
        }
    }
}
