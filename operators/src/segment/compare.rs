//! Turns predicates into tests: whatever compares one number, time or scalar with a constant becomes "at least"
//! tests on raw words, the rest a slow comparison.

use tidewater_model::{
    Decimal, IdentifierSeed, Timestamp, Value,
    expr::{Arithmetic, Comparison, Predicate, Term},
};

use crate::{
    profile::layout::{Kind, Layout},
    scalar::Scalar128,
    segment::{
        term::Slow,
        tree::{Tables, Test, Tree},
    },
};

/// Greatest number that a packed scalar has room for.
const MAX_PACKED: i128 = (1 << 119) - 1;

/// Compiles predicates of one pipeline.
pub(super) struct Predicates<'a> {
    pub(super) layout: &'a Layout,
    /// Per identifier in rank order.
    pub(super) seeds: &'a [IdentifierSeed],
    pub(super) tables: Tables,
}

/// A time that a comparison can take apart: something known at `now`, plus a constant.
#[derive(Clone, Copy)]
enum Instant {
    Now(i64),
    Trait(usize, i64),
}

impl Predicates<'_> {
    pub(super) fn tree(&mut self, predicate: &Predicate) -> Tree {
        match predicate {
            Predicate::And(parts) => Tree::all(parts.iter().map(|part| self.tree(part)).collect::<Vec<_>>()),
            Predicate::Or(parts) => Tree::any(parts.iter().map(|part| self.tree(part)).collect::<Vec<_>>()),
            Predicate::Not(part) => self.tree(part).negate(),
            Predicate::Compare(comparison, left, right) => {
                self.compare(*comparison, &fold(left), &fold(right))
            }
            Predicate::HasValue(term) => match fold(term) {
                Term::Literal(value) => Tree::Constant(value != Value::Null),
                Term::Now => Tree::Constant(true),
                Term::Trait(index) => self.has(index),
                term => self.slow(Slow::new(None, &term, None)),
            },
            // The layout has a counter for every identifier that a segment asks for.
            Predicate::HasIdentifier(index) => self.layout.identifier_counters[*index]
                .map_or(Tree::Constant(false), |word| Tree::test(Test::Narrow { word, at_least: 1 })),
            Predicate::IdentifierIs(index, value) => {
                self.tables.identifiers.push((*index, self.seeds[*index].hash(value.as_bytes())));
                Tree::test(Test::Identifier(self.tables.identifiers.len() as u32 - 1))
            }
            Predicate::InSegment(segment) => Tree::test(Test::InSegment(*segment as u32)),
        }
    }

    fn compare(&mut self, comparison: Comparison, left: &Term, right: &Term) -> Tree {
        match (left, right) {
            (Term::Literal(left), Term::Literal(right)) => {
                Tree::Constant(left.compare(right).is_some_and(|order| comparison.holds(order)))
            }
            (Term::Literal(Value::Null), _) | (_, Term::Literal(Value::Null)) => Tree::Constant(false),
            (Term::Trait(index), Term::Literal(value)) => self.compare_trait(comparison, *index, value),
            (Term::Literal(value), Term::Trait(index)) => {
                self.compare_trait(mirror(comparison), *index, value)
            }
            _ => {
                let fast = match (left, right) {
                    (term, Term::Literal(value)) => self.compare_chain(comparison, term, value),
                    (Term::Literal(value), term) => self.compare_chain(mirror(comparison), term, value),
                    _ => self.compare_instants(comparison, left, right),
                };
                fast.unwrap_or_else(|| self.slow(Slow::new(Some(comparison), left, Some(right))))
            }
        }
    }

    fn slow(&mut self, slow: Slow) -> Tree {
        self.tables.slow.push(slow);
        Tree::test(Test::Slow(self.tables.slow.len() as u32 - 1))
    }

    /// Whether a trait is not null.
    pub(super) fn has(&mut self, index: usize) -> Tree {
        match self.layout.traits[index].kind {
            Kind::Count | Kind::Sum => Tree::Constant(true),
            Kind::Min => self.at_least(index, i128::MAX).negate(),
            Kind::Max | Kind::Avg => self.at_least(index, i128::MIN + 1),
            Kind::First | Kind::Last => self.at_least(index, Scalar128::FALSE.0 as i128),
            Kind::FirstTime => self.at_least(index, i128::from(i64::MAX)).negate(),
            Kind::LastTime => self.at_least(index, i128::from(i64::MIN) + 1),
        }
    }

    /// Whether a trait's raw words are at least `bound`, on the line of numbers that they stand on.
    pub(super) fn at_least(&mut self, index: usize, bound: i128) -> Tree {
        let place = self.layout.traits[index];
        let word = place.word;
        let least = match place.kind {
            Kind::Count => 0,
            Kind::FirstTime | Kind::LastTime => i128::from(i64::MIN),
            Kind::Sum | Kind::Min | Kind::Max | Kind::First | Kind::Last => {
                return Tree::test(Test::Wide { word, at_least: self.tables.wide(bound) });
            }
            Kind::Avg => return Tree::test(Test::Mean { word, at_least: self.tables.wide(bound) }),
        };
        if bound <= least {
            return Tree::Constant(true);
        }
        // Beyond an i64 lies no count and no time.
        i64::try_from(bound)
            .map_or(Tree::Constant(false), |at_least| Tree::test(Test::Narrow { word, at_least }))
    }

    fn compare_trait(&mut self, comparison: Comparison, index: usize, value: &Value) -> Tree {
        let kind = self.layout.traits[index].kind;
        let bound = match (kind, value) {
            (Kind::Count, Value::Number(number)) => return self.compare_count(comparison, index, *number),
            (Kind::Sum | Kind::Min | Kind::Max | Kind::Avg, Value::Number(number)) => number.0,
            (Kind::FirstTime | Kind::LastTime, Value::Time(time)) => i128::from(time.0),
            (Kind::First | Kind::Last, _) => return self.compare_scalar(comparison, index, value),
            _ => return Tree::Constant(false),
        };
        let has = self.has(index);
        let ordered = order(comparison, bound, &mut |bound| self.at_least(index, bound));
        #[cfg(feature = "planted-bugs")]
        if crate::planted::active(crate::planted::Bug::NullComparesEqual) && comparison == Comparison::Equal {
            return Tree::any([has.negate(), ordered]);
        }
        Tree::all([has, ordered])
    }

    /// Counts are whole, so the number they are compared with is rounded to where the answer changes.
    fn compare_count(&mut self, comparison: Comparison, index: usize, number: Decimal) -> Tree {
        let unit = Decimal::ONE.0;
        let (floor, whole) = (number.0.div_euclid(unit), number.0.rem_euclid(unit) == 0);
        match comparison {
            Comparison::Equal if !whole => Tree::Constant(false),
            Comparison::NotEqual if !whole => Tree::Constant(true),
            Comparison::GreaterOrEqual if !whole => self.at_least(index, floor + 1),
            Comparison::Less if !whole => self.at_least(index, floor + 1).negate(),
            _ => order(comparison, floor, &mut |bound| self.at_least(index, bound)),
        }
    }

    /// A packed scalar's kind stands in its top byte, so every kind has its own stretch of the line.
    fn compare_scalar(&mut self, comparison: Comparison, index: usize, value: &Value) -> Tree {
        let first = |kind: i128| kind << 120;
        let (from, to, bound) = match value {
            Value::Bool(false) => (first(1), first(3), Scalar128::FALSE.0 as i128),
            Value::Bool(true) => (first(1), first(3), Scalar128::TRUE.0 as i128),
            Value::Number(number) if number.0.unsigned_abs() <= MAX_PACKED as u128 => {
                (first(3), first(4), Scalar128::number(*number).0 as i128)
            }
            Value::Number(_) => {
                let literal = Term::Literal(value.clone());
                return self.slow(Slow::new(Some(comparison), &Term::Trait(index), Some(&literal)));
            }
            Value::String(text) => {
                let is_string = self.at_least(index, first(4));
                self.tables.texts.push((comparison, text.as_bytes().into()));
                let text = self.tables.texts.len() as u32 - 1;
                let word = self.layout.traits[index].word;
                return Tree::all([is_string, Tree::test(Test::Text { word, text })]);
            }
            Value::Null | Value::Time(_) | Value::Span(_) => return Tree::Constant(false),
        };
        let of_kind = [self.at_least(index, from), self.at_least(index, to).negate()];
        let ordered = order(comparison, bound, &mut |bound| self.at_least(index, bound));
        Tree::all(of_kind.into_iter().chain([ordered]))
    }

    /// `last_seen < now - 7d` and its kin; `None` if it is none of them.
    fn compare_instants(&mut self, comparison: Comparison, left: &Term, right: &Term) -> Option<Tree> {
        let (left, right) = (self.instant(left)?, self.instant(right)?);
        let guards = [self.guard(left), self.guard(right)];
        let ordered = match (left, right) {
            (Instant::Now(a), Instant::Trait(index, b)) => {
                self.compare_age(comparison, index, i128::from(b) - i128::from(a))
            }
            (Instant::Trait(index, b), Instant::Now(a)) => {
                self.compare_age(mirror(comparison), index, i128::from(b) - i128::from(a))
            }
            (Instant::Now(_), Instant::Now(_)) | (Instant::Trait(..), Instant::Trait(..)) => return None,
        };
        Some(Tree::all(guards.into_iter().chain([ordered])))
    }

    /// How `now - trait` compares with `bound`, wherever the trait is not null.
    fn compare_age(&self, comparison: Comparison, index: usize, bound: i128) -> Tree {
        order(comparison, bound, &mut |bound| self.age_at_least(index, bound))
    }

    /// Whether `now - trait` is at least `bound`, wherever the trait is not null.
    pub(super) fn age_at_least(&self, index: usize, bound: i128) -> Tree {
        let word = self.layout.traits[index].word;
        match i64::try_from(bound) {
            Ok(at_least) => Tree::test(Test::Age { word, at_least }),
            Err(_) => Tree::Constant(bound < 0),
        }
    }

    /// Whether an instant is not null: its trait is there, and adding the constant stays within the model's times.
    fn guard(&mut self, instant: Instant) -> Tree {
        let within = |offset: i64, at_least: &mut dyn FnMut(i128) -> Tree| {
            let bounds = [Timestamp::MIN, Timestamp::MAX].map(|time| i128::from(time.0) - i128::from(offset));
            let low = if offset < 0 { at_least(bounds[0]) } else { Tree::Constant(true) };
            let high = if offset > 0 { at_least(bounds[1] + 1).negate() } else { Tree::Constant(true) };
            Tree::all([low, high])
        };
        match instant {
            Instant::Now(offset) => within(offset, &mut now_at_least),
            Instant::Trait(index, offset) => {
                Tree::all([self.has(index), within(offset, &mut |bound| self.at_least(index, bound))])
            }
        }
    }

    fn instant(&self, term: &Term) -> Option<Instant> {
        let Term::Arithmetic(operator, left, right) = term else {
            return match term {
                Term::Now => Some(Instant::Now(0)),
                Term::Trait(index) if self.is_time(*index) => Some(Instant::Trait(*index, 0)),
                _ => None,
            };
        };
        let (time, offset) = match (operator, &**left, &**right) {
            (Arithmetic::Add, time, Term::Literal(Value::Span(span)))
            | (Arithmetic::Add, Term::Literal(Value::Span(span)), time) => (time, span.0),
            (Arithmetic::Subtract, time, Term::Literal(Value::Span(span))) => (time, span.0.checked_neg()?),
            _ => return None,
        };
        match time {
            Term::Now => Some(Instant::Now(offset)),
            Term::Trait(index) if self.is_time(*index) => Some(Instant::Trait(*index, offset)),
            _ => None,
        }
    }

    pub(super) fn is_time(&self, index: usize) -> bool {
        matches!(self.layout.traits[index].kind, Kind::FirstTime | Kind::LastTime)
    }
}

/// Works out what is constant in a term.
fn fold(term: &Term) -> Term {
    match term {
        // A segment sees no event.
        Term::Field(_) => Term::Literal(Value::Null),
        Term::Arithmetic(operator, left, right) => match (fold(left), fold(right)) {
            (Term::Literal(left), Term::Literal(right)) => Term::Literal(operator.apply(&left, &right)),
            (Term::Literal(Value::Null), _) | (_, Term::Literal(Value::Null)) => Term::Literal(Value::Null),
            (left, right) => Term::Arithmetic(*operator, Box::new(left), Box::new(right)),
        },
        Term::Literal(_) | Term::Trait(_) | Term::Now => term.clone(),
    }
}

/// The comparison with its sides exchanged.
fn mirror(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        Comparison::Equal | Comparison::NotEqual => comparison,
    }
}

/// A comparison with `bound` on a line of whole numbers, from "at least" alone.
fn order(comparison: Comparison, bound: i128, at_least: &mut dyn FnMut(i128) -> Tree) -> Tree {
    // No bound is anywhere near the end of an i128.
    let above = bound.saturating_add(1);
    match comparison {
        Comparison::GreaterOrEqual => at_least(bound),
        Comparison::Greater => at_least(above),
        Comparison::Less => at_least(bound).negate(),
        Comparison::LessOrEqual => at_least(above).negate(),
        Comparison::Equal => Tree::all([at_least(bound), at_least(above).negate()]),
        Comparison::NotEqual => Tree::any([at_least(bound).negate(), at_least(above)]),
    }
}

/// Whether `now` is at least `bound`.
pub(super) fn now_at_least(bound: i128) -> Tree {
    match i64::try_from(bound) {
        Ok(at_least) => Tree::test(Test::Now { at_least }),
        Err(_) => Tree::Constant(bound < 0),
    }
}
