//! Comparisons of one value, dressed in arithmetic with constants, with a constant: `(now - last_seen) / 1d > 30`.
//!
//! Such arithmetic never turns back: as the value grows the result only grows or only falls, and it is null at most
//! beyond the ends. So the answer changes at a handful of points, found here once by halving with the model's own
//! arithmetic; at run time only the raw value is held against them.

use tidewater_model::{
    Decimal, Millis, Timestamp, Value,
    expr::{Arithmetic, Comparison, Term},
};

use crate::{
    profile::layout::Kind,
    segment::{compare::Predicates, tree::Tree},
};

/// The one value that varies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Base {
    Now,
    /// `now - trait`
    Since(usize),
    /// `trait - now`, on the line of `now - trait`.
    Until(usize),
    Trait(usize),
}

/// A value and what is done to it, from the inside out.
struct Chain<'a> {
    base: Base,
    /// Operator, constant, and whether the constant stands on the left.
    links: Vec<(Arithmetic, &'a Value, bool)>,
}

/// What the answer hangs on at one point of the line.
type Class = Option<std::cmp::Ordering>;

impl Predicates<'_> {
    /// `None` if the comparison is not of this kind. `term` has its constants folded.
    pub(super) fn compare_chain(
        &mut self,
        comparison: Comparison,
        term: &Term,
        constant: &Value,
    ) -> Option<Tree> {
        let chain = self.chain(term)?;
        let (least, greatest, middle) = self.domain(chain.base);
        let class = |at: i128| self.value(&chain, at).compare(constant);
        // Null here, it most likely is null everywhere: nothing that is worth being quick about.
        class(middle)?;
        let ascending = yes_stretches(comparison, (least, greatest, middle), class);
        let stretches = ascending.into_iter().map(|(from, to)| {
            let after_start =
                if from > least { self.position(chain.base, from) } else { Tree::Constant(true) };
            let before_end =
                if to < greatest { self.position(chain.base, to + 1).negate() } else { Tree::Constant(true) };
            Tree::all([after_start, before_end])
        });
        let inside = Tree::any(stretches.collect::<Vec<_>>());
        let has = match chain.base {
            Base::Now => Tree::Constant(true),
            Base::Since(index) | Base::Until(index) | Base::Trait(index) => self.has(index),
        };
        Some(Tree::all([has, inside]))
    }

    fn chain<'t>(&self, term: &'t Term) -> Option<Chain<'t>> {
        let base = |base| Some(Chain { base, links: Vec::new() });
        let (operator, left, right) = match term {
            Term::Now => return base(Base::Now),
            Term::Trait(index) => {
                let mixed = matches!(self.layout.traits[*index].kind, Kind::First | Kind::Last);
                return if mixed { None } else { base(Base::Trait(*index)) };
            }
            Term::Literal(_) | Term::Field(_) => return None,
            Term::Arithmetic(operator, left, right) => (*operator, &**left, &**right),
        };
        match (operator, left, right) {
            (Arithmetic::Subtract, Term::Now, Term::Trait(index)) if self.is_time(*index) => {
                base(Base::Since(*index))
            }
            (Arithmetic::Subtract, Term::Trait(index), Term::Now) if self.is_time(*index) => {
                base(Base::Until(*index))
            }
            (_, inner, Term::Literal(value)) => {
                let mut chain = self.chain(inner)?;
                chain.links.push((operator, value, false));
                Some(chain)
            }
            // A constant divided by a value that passes zero jumps there.
            (Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Multiply, Term::Literal(value), inner) => {
                let mut chain = self.chain(inner)?;
                chain.links.push((operator, value, true));
                Some(chain)
            }
            _ => None,
        }
    }

    /// The least and the greatest position that the base can have, and one at which arithmetic is at its safest.
    fn domain(&self, base: Base) -> (i128, i128, i128) {
        let times = [Timestamp::MIN, Timestamp::MAX].map(|time| i128::from(time.0));
        let number = Decimal::MAX.0;
        match base {
            Base::Now => (times[0], times[1], 0),
            Base::Since(_) | Base::Until(_) => (times[0] - times[1], times[1] - times[0], 0),
            Base::Trait(index) => match self.layout.traits[index].kind {
                Kind::FirstTime | Kind::LastTime => (times[0], times[1], 0),
                Kind::Count => (0, i128::from(i64::MAX), 0),
                // Far more than any number of events adds up to.
                Kind::Sum => (-(1 << 120), 1 << 120, 0),
                Kind::Min | Kind::Max | Kind::Avg | Kind::First | Kind::Last => (-number, number, 0),
            },
        }
    }

    /// Whether the base has come to a position on its line.
    fn position(&mut self, base: Base, at: i128) -> Tree {
        match base {
            Base::Now => super::compare::now_at_least(at),
            Base::Since(index) | Base::Until(index) => self.age_at_least(index, at),
            Base::Trait(index) => self.at_least(index, at),
        }
    }

    /// The chain's value where the base is at this position.
    fn value(&self, chain: &Chain<'_>, at: i128) -> Value {
        let short = at as i64;
        let base = match chain.base {
            Base::Now => Value::Time(Timestamp(short)),
            Base::Since(_) => Value::Span(Millis(short)),
            Base::Until(_) => Value::Span(Millis(-short)),
            Base::Trait(index) => match self.layout.traits[index].kind {
                Kind::FirstTime | Kind::LastTime => Value::Time(Timestamp(short)),
                Kind::Count => Value::Number(Decimal(at * Decimal::ONE.0)),
                _ => Value::Number(Decimal(at)),
            },
        };
        chain.links.iter().fold(base, |value, (operator, constant, is_left)| {
            if *is_left { operator.apply(constant, &value) } else { operator.apply(&value, constant) }
        })
    }
}

/// The longest stretches of the line, in ascending order and with both ends included, on which the answer is yes.
/// `middle` must not be null.
fn yes_stretches(
    comparison: Comparison,
    (least, greatest, middle): (i128, i128, i128),
    class: impl Fn(i128) -> Class,
) -> Vec<(i128, i128)> {
    // The ends of where the value is not null; there each order is one stretch.
    let first = boundary(middle, least, |at| class(at).is_some());
    let last = boundary(middle, greatest, |at| class(at).is_some());
    let mut stretches: Vec<(i128, i128)> = Vec::new();
    let mut from = first;
    while from <= last {
        let own = class(from);
        let to = boundary(from, last, |at| class(at) == own);
        if own.is_some_and(|order| comparison.holds(order)) {
            match stretches.last_mut() {
                Some(before) if before.1 + 1 == from => before.1 = to,
                _ => stretches.push((from, to)),
            }
        }
        from = to + 1;
    }
    stretches
}

/// The furthest position from `from` towards `to` up to which `holds` is true; it is true at `from`, and once it is
/// false it stays so.
fn boundary(from: i128, to: i128, holds: impl Fn(i128) -> bool) -> i128 {
    if holds(to) {
        return to;
    }
    let (mut inside, mut outside) = (from, to);
    while inside.abs_diff(outside) > 1 {
        // Neither end is near the limits of an i128.
        let halfway = (inside + outside).div_euclid(2);
        if holds(halfway) {
            inside = halfway;
        } else {
            outside = halfway;
        }
    }
    inside
}
