//! Pipelines and predicates made from a tape of numbers.

use tidewater_model::{
    Aggregate, Decimal, EventFilter, IdentifierSpec, Millis, Normalize, Path, PipelineSpec, SegmentSpec,
    Timestamp, TraitSpec, Value, Window,
    expr::{Arithmetic, Comparison, Predicate, Term},
};

/// The instant around which everything happens.
pub(super) const START: i64 = 1_700_000_000_000;

/// Decisions; past the end all are the first choice.
pub(super) struct Tape<'a> {
    rest: std::slice::Iter<'a, u16>,
}

impl<'a> Tape<'a> {
    pub(super) fn new(numbers: &'a [u16]) -> Self {
        Self { rest: numbers.iter() }
    }

    /// A number below `choices`.
    pub(super) fn pick(&mut self, choices: usize) -> usize {
        self.rest.next().map_or(0, |number| usize::from(*number) % choices)
    }

    pub(super) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.pick(choices.len())].clone()
    }

    pub(super) fn between(&mut self, from: i64, to: i64) -> i64 {
        from + self.pick((to - from + 1) as usize) as i64
    }

    pub(super) fn is_over(&self) -> bool {
        self.rest.len() == 0
    }
}

pub(super) fn path() -> Path {
    Path::parse("properties.x").unwrap()
}

pub(super) fn identifier(name: &str) -> IdentifierSpec {
    IdentifierSpec { name: name.into(), from: vec![path()], normalize: Normalize::None, block: Vec::new() }
}

pub(super) fn definition(name: &str, aggregate: Aggregate, window: Option<Window>) -> TraitSpec {
    TraitSpec { name: name.into(), aggregate, events: EventFilter::Any, condition: None, window }
}

pub(super) fn segment(name: &str, predicate: Predicate) -> SegmentSpec {
    SegmentSpec { name: name.into(), predicate, description: None }
}

pub(super) fn pipeline(tape: &mut Tape<'_>) -> PipelineSpec {
    let identifiers = ["email", "phone"].map(identifier).to_vec();
    let mut traits = Vec::new();
    for index in 0..1 + tape.pick(7) {
        let aggregate = tape.one_of(&[
            Aggregate::Count,
            Aggregate::LastTime,
            Aggregate::Sum(path()),
            Aggregate::Avg(path()),
            Aggregate::Last(path()),
            Aggregate::Min(path()),
            Aggregate::Max(path()),
            Aggregate::First(path()),
            Aggregate::FirstTime,
        ]);
        let window = Window { length: Millis(tape.between(1, 40)), resolution: Millis(tape.one_of(&[1, 7])) };
        let window = (tape.pick(5) < 2).then_some(window);
        traits.push(definition(&format!("t{index}"), aggregate, window));
    }
    let mut spec = PipelineSpec { identifiers, traits, ..PipelineSpec::default() };
    // A few more than one word of bits, or only a few.
    let count = tape.one_of(&[1, 2, 4, 8, 70]);
    // Segments refer to later ones and to earlier ones, never in a cycle: by the order of (index * 7) mod count.
    let rank = |segment: usize| (segment * 7 + 3) % count.max(1);
    for index in 0..count {
        let predicate = if tape.is_over() {
            Predicate::And(Vec::new())
        } else {
            let lower: Vec<usize> = (0..count).filter(|other| rank(*other) < rank(index)).collect();
            let depth = tape.pick(3);
            predicate(tape, &spec, &lower, depth)
        };
        spec.segments.push(segment(&format!("s{index}"), predicate));
    }
    spec
}

fn predicate(tape: &mut Tape<'_>, spec: &PipelineSpec, lower: &[usize], depth: usize) -> Predicate {
    if depth > 0 {
        let parts = |tape: &mut Tape<'_>| {
            (0..2 + tape.pick(2)).map(|_| predicate(tape, spec, lower, depth - 1)).collect()
        };
        return match tape.pick(5) {
            0 | 1 => Predicate::And(parts(tape)),
            2 | 3 => Predicate::Or(parts(tape)),
            _ => Predicate::Not(Box::new(predicate(tape, spec, lower, depth - 1))),
        };
    }
    let trait_index = tape.pick(spec.traits.len());
    match tape.pick(12) {
        0..=3 => compare(tape, Term::Trait(trait_index), |tape| literal_for(tape, &spec.traits[trait_index])),
        4 => {
            let mut dressed = Term::Trait(trait_index);
            for _ in 0..1 + tape.pick(2) {
                dressed = dress(tape, dressed);
            }
            compare(tape, dressed, |tape| literal_for(tape, &spec.traits[trait_index]))
        }
        5..=6 => clock(tape, trait_index),
        7 => {
            let left = term(tape, spec, 2);
            compare(tape, left, |tape| term(tape, spec, 2))
        }
        8 => Predicate::HasValue(match tape.pick(3) {
            0 => Term::Trait(trait_index),
            _ => term(tape, spec, 2),
        }),
        9 => Predicate::HasIdentifier(tape.pick(2)),
        10 => Predicate::IdentifierIs(tape.pick(2), tape.one_of(&["a", "b"]).into()),
        _ if lower.is_empty() => compare(tape, Term::Trait(trait_index), |_| Term::Trait(trait_index)),
        _ => Predicate::InSegment(lower[tape.pick(lower.len())]),
    }
}

fn compare(tape: &mut Tape<'_>, left: Term, right: impl FnOnce(&mut Tape<'_>) -> Term) -> Predicate {
    let comparison = tape.one_of(&[
        Comparison::GreaterOrEqual,
        Comparison::Equal,
        Comparison::Less,
        Comparison::NotEqual,
        Comparison::Greater,
        Comparison::LessOrEqual,
    ]);
    let right = right(tape);
    if tape.pick(4) == 1 {
        Predicate::Compare(comparison, right, left)
    } else {
        Predicate::Compare(comparison, left, right)
    }
}

/// A constant that the trait's values come near.
fn literal_for(tape: &mut Tape<'_>, definition: &TraitSpec) -> Term {
    Term::Literal(match definition.aggregate {
        _ if tape.pick(12) == 11 => any_literal(tape),
        Aggregate::FirstTime | Aggregate::LastTime => Value::Time(Timestamp(START + tape.between(-60, 160))),
        Aggregate::First(_) | Aggregate::Last(_) => scalar(tape),
        _ => number(tape),
    })
}

/// The shapes in which people use the clock, and a few in which they shouldn't.
fn clock(tape: &mut Tape<'_>, trait_index: usize) -> Predicate {
    use Arithmetic::{Add, Divide, Multiply, Subtract};

    let time = Term::Trait(trait_index);
    let span = |tape: &mut Tape<'_>| Term::Literal(span(tape));
    let age = arithmetic(Subtract, Term::Now, time.clone());
    match tape.pick(10) {
        0..=2 => compare(tape, age, span),
        3 => compare(tape, arithmetic(Subtract, time, Term::Now), span),
        4 => {
            let offset = span(tape);
            let operator = tape.one_of(&[Add, Subtract]);
            compare(tape, arithmetic(operator, time, offset), |_| Term::Now)
        }
        5 => {
            let offset = span(tape);
            let operator = tape.one_of(&[Add, Subtract]);
            compare(tape, time, |_| arithmetic(operator, Term::Now, offset))
        }
        6 => compare(tape, Term::Now, |tape| {
            Term::Literal(Value::Time(Timestamp(START + tape.between(-20, 160))))
        }),
        7 => {
            let unit = span(tape);
            compare(tape, arithmetic(Divide, age, unit), |tape| Term::Literal(number(tape)))
        }
        8 => {
            let factor = Term::Literal(number(tape));
            let right = if tape.pick(2) == 0 { span(tape) } else { dress(tape, time.clone()) };
            compare(tape, arithmetic(Multiply, age, factor), |_| right)
        }
        _ => {
            let offset = span(tape);
            let doubled = arithmetic(Add, age.clone(), arithmetic(Add, age, offset));
            compare(tape, doubled, span)
        }
    }
}

fn arithmetic(operator: Arithmetic, left: Term, right: Term) -> Term {
    Term::Arithmetic(operator, Box::new(left), Box::new(right))
}

/// The term with something done to it that takes a constant.
fn dress(tape: &mut Tape<'_>, term: Term) -> Term {
    use Arithmetic::{Add, Divide, Multiply, Subtract};

    let operator = tape.one_of(&[Multiply, Divide, Add, Subtract]);
    let constant = if tape.pick(4) == 0 { span(tape) } else { number(tape) };
    if tape.pick(3) == 0 {
        arithmetic(operator, Term::Literal(constant), term)
    } else {
        arithmetic(operator, term, Term::Literal(constant))
    }
}

/// Any term at all.
fn term(tape: &mut Tape<'_>, spec: &PipelineSpec, depth: usize) -> Term {
    match tape.pick(if depth > 0 { 7 } else { 4 }) {
        0 | 1 => Term::Trait(tape.pick(spec.traits.len())),
        2 => Term::Literal(any_literal(tape)),
        3 => Term::Now,
        _ => {
            let operator = tape.one_of(&[
                Arithmetic::Subtract,
                Arithmetic::Add,
                Arithmetic::Multiply,
                Arithmetic::Divide,
            ]);
            let left = term(tape, spec, depth - 1);
            arithmetic(operator, left, term(tape, spec, depth - 1))
        }
    }
}

fn any_literal(tape: &mut Tape<'_>) -> Value {
    match tape.pick(5) {
        0 => number(tape),
        1 => span(tape),
        2 => scalar(tape),
        3 => Value::Time(Timestamp(tape.one_of(&[START, START + 40, 0, Timestamp::MAX.0, Timestamp::MIN.0]))),
        _ => Value::Null,
    }
}

pub(super) fn number(tape: &mut Tape<'_>) -> Value {
    const HALF: i128 = 500_000_000;
    let halves = [2, 0, 4, 6, 1, 5, -2, -1, 10, 8, 3, 2_000_000_000_000_000_000];
    Value::Number(Decimal(tape.one_of(&halves) * HALF))
}

fn span(tape: &mut Tape<'_>) -> Value {
    const YEAR: i64 = 365 * 86_400_000;
    Value::Span(Millis(match tape.pick(8) {
        0..=5 => tape.between(-30, 60),
        _ => tape.one_of(&[86_400_000, 1_000 * YEAR, 9_000 * YEAR, -9_000 * YEAR, 30 * 86_400_000]),
    }))
}

/// What `first` and `last` keep.
pub(super) fn scalar(tape: &mut Tape<'_>) -> Value {
    match tape.pick(4) {
        0 => Value::String(tape.one_of(&["b", "a", "", "ab", "é"]).into()),
        1 => number(tape),
        2 => Value::Bool(true),
        _ => Value::Bool(false),
    }
}
