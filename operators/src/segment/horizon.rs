//! How long a comparison that reads the clock keeps its answer while all values stay as they are.
//!
//! The terms are run over a stretch of time at once: each step gives bounds that hold at every instant of the
//! stretch. While the bounds leave only one answer it can't have changed, and the longest such stretch is found by
//! halving. Sums and differences are followed exactly; where `now` stands once in a term, everything else is, too.

use tidewater_model::{
    Decimal, Millis, Timestamp, Value,
    expr::{Arithmetic, Comparison},
};

use crate::{
    profile::value,
    segment::{
        Subject,
        term::{Slow, Step},
        tree::Tables,
    },
};

/// A stretch, of 100 years, whose end arithmetic with `now` seldom takes out of range.
const NEAR_MS: i64 = 100 * 365 * 86_400_000;

/// What is known of a term over a stretch of time.
#[derive(Clone, Debug)]
enum Course {
    /// Null all along.
    Null,
    /// Goes evenly from the first value to the last; constant if both are the same.
    Even(Value, Value),
    /// Stays within these bounds, of one type.
    Within(Value, Value),
    /// May be anything.
    Unknown,
}

impl Slow {
    /// The first instant after `now` at which the clock may change the answer; `i64::MAX` if it never does.
    pub(super) fn changes_after(
        &self,
        tables: &Tables,
        (values, now): (&[u64], i64),
        subject: &impl Subject,
    ) -> i64 {
        let read = |index: u16| {
            let place = &tables.traits[usize::from(index)];
            value::read(place, values, |start, len| subject.text(start, len))
        };
        let traits: Vec<Value> = self.traits.iter().map(|index| read(*index)).collect();
        let is_settled = |end: i64| self.is_settled(&traits, now, end);
        let (mut settled, mut open) = (now, Timestamp::MAX.0);
        if settled >= open || is_settled(open) {
            return i64::MAX;
        }
        if let Some(change) = self.even_change(&traits, now, open.min(now.saturating_add(NEAR_MS))) {
            return change;
        }
        while open - settled > 1 {
            let middle = settled + (open - settled) / 2;
            if is_settled(middle) {
                settled = middle;
            } else {
                open = middle;
            }
        }
        open
    }

    /// Whether only one answer is possible from `now` to `end`, both included.
    fn is_settled(&self, traits: &[Value], now: i64, end: i64) -> bool {
        let left = self.course(&self.left, traits, now, end);
        let Some(comparison) = self.comparison else { return !matches!(left, Course::Unknown) };
        let right = self.course(&self.right, traits, now, end);
        match (&left, &right) {
            (Course::Null, _) | (_, Course::Null) => true,
            (Course::Even(a, a_end), Course::Even(b, b_end)) => {
                settles(comparison, even_orders((a, a_end), (b, b_end), end - now))
            }
            _ => match (left.bounds(), right.bounds()) {
                (Some(left), Some(right)) => settles(comparison, orders(&left, &right)),
                _ => false,
            },
        }
    }

    /// The first instant after `now` at which the answer changes if both sides go evenly up to `end` and it changes
    /// before that; `None` otherwise.
    fn even_change(&self, traits: &[Value], now: i64, end: i64) -> Option<i64> {
        let comparison = self.comparison?;
        let left = self.course(&self.left, traits, now, end);
        let right = self.course(&self.right, traits, now, end);
        let (Course::Even(a, a_end), Course::Even(b, b_end)) = (&left, &right) else { return None };
        let (start, stop) = (distance(a, b)?, distance(a_end, b_end)?);
        let slope = (stop - start) / i128::from(end - now);
        if slope == 0 || (start < 0) == (slope < 0) && start != 0 {
            return None; // It never comes closer to zero.
        }
        let answer = comparison.holds(start.cmp(&0));
        // It is zero, or has passed it, after so many steps; where it is zero it leaves it with the next one.
        let steps = start.unsigned_abs().div_ceil(slope.unsigned_abs()) as i128;
        let changes = |at: &i128| *at > 0 && comparison.holds((start + slope * at).cmp(&0)) != answer;
        let first = [steps, steps + 1].into_iter().find(changes)?;
        i64::try_from(i128::from(now) + first).ok().filter(|instant| *instant <= end)
    }

    fn course(&self, steps: &[Step], traits: &[Value], now: i64, end: i64) -> Course {
        let mut stack: Vec<Course> = Vec::new();
        for step in steps {
            let course = match step {
                Step::Literal(value) => Course::constant(value.clone()),
                Step::Trait(index) => {
                    let place = self.traits.iter().position(|own| own == index);
                    Course::constant(place.map_or(Value::Null, |place| traits[place].clone()))
                }
                Step::Now => Course::Even(Value::Time(Timestamp(now)), Value::Time(Timestamp(end))),
                Step::Apply(operator) => {
                    let right = stack.pop().unwrap_or(Course::Null);
                    let left = stack.pop().unwrap_or(Course::Null);
                    apply(*operator, &left, &right)
                }
            };
            stack.push(course);
        }
        stack.pop().unwrap_or(Course::Null)
    }
}

impl Course {
    fn constant(value: Value) -> Self {
        if value == Value::Null { Self::Null } else { Self::Even(value.clone(), value) }
    }

    /// From one of these values to the other, without turning back.
    fn between(start: Value, end: Value) -> Self {
        match start.compare(&end).is_some_and(std::cmp::Ordering::is_gt) {
            true => Self::Within(end, start),
            false => Self::Within(start, end),
        }
    }

    /// The least and the greatest value, if it is never null.
    fn bounds(&self) -> Option<(Value, Value)> {
        match self {
            Self::Null | Self::Unknown => None,
            Self::Even(a, b) if a.compare(b).is_some_and(std::cmp::Ordering::is_gt) => {
                Some((b.clone(), a.clone()))
            }
            Self::Even(a, b) | Self::Within(a, b) => Some((a.clone(), b.clone())),
        }
    }

    fn is_constant(&self) -> bool {
        matches!(self, Self::Even(a, b) if a == b)
    }
}

fn apply(operator: Arithmetic, left: &Course, right: &Course) -> Course {
    let (Some(a), Some(b)) = (left.bounds(), right.bounds()) else {
        let is_null = matches!(left, Course::Null) || matches!(right, Course::Null);
        return if is_null { Course::Null } else { Course::Unknown };
    };
    if operator.apply(&sample(&a.0), &sample(&b.0)) == Value::Null {
        return Course::Null; // The operator does not take these types.
    }
    let is_sum = matches!(operator, Arithmetic::Add | Arithmetic::Subtract);
    if let (Course::Even(a, a_end), Course::Even(b, b_end)) = (left, right)
        && (is_sum || (left.is_constant() && right.is_constant()))
    {
        return match (operator.apply(a, b), operator.apply(a_end, b_end)) {
            (Value::Null, _) if left.is_constant() && right.is_constant() => Course::Null,
            (Value::Null, Value::Null) if stays_out_of_range(operator, (a, b), (a_end, b_end)) => {
                Course::Null
            }
            (Value::Null, _) | (_, Value::Null) => Course::Unknown,
            (start, end) => Course::Even(start, end),
        };
    }
    let (a_turns, b_turns) = (has_zero(&a), has_zero(&b));
    if operator == Arithmetic::Divide && b_turns {
        let always_zero = b.0 == b.1;
        return if always_zero { Course::Null } else { Course::Unknown };
    }
    if let (Course::Even(a, a_end), Course::Even(b, b_end), Arithmetic::Divide) = (left, right, operator) {
        // A quotient of two even courses only rises or only falls.
        return match (operator.apply(a, b), operator.apply(a_end, b_end)) {
            (Value::Null, _) | (_, Value::Null) => Course::Unknown,
            (start, end) => Course::between(start, end),
        };
    }
    // Every operator is monotone in each operand on these stretches, and so is rounding: the extremes are among the
    // four corners.
    let corners = [(&a.0, &b.0), (&a.0, &b.1), (&a.1, &b.0), (&a.1, &b.1)];
    let results = corners.map(|(a, b)| operator.apply(a, b));
    match results.iter().filter(|result| **result == Value::Null).count() {
        0 => {}
        // The corner closest to zero is out of range, so everything is.
        4 if !is_sum && !a_turns && !b_turns => return Course::Null,
        _ => return Course::Unknown,
    }
    let mut bounds = (results[0].clone(), results[0].clone());
    for result in &results[1..] {
        if result.compare(&bounds.0).is_some_and(std::cmp::Ordering::is_lt) {
            bounds.0 = result.clone();
        }
        if result.compare(&bounds.1).is_some_and(std::cmp::Ordering::is_gt) {
            bounds.1 = result.clone();
        }
    }
    Course::Within(bounds.0, bounds.1)
}

/// Whether a sum that is out of range at both ends is so in between: it is if it goes from one end to the other on one side
/// of zero, which every range holds.
fn stays_out_of_range(operator: Arithmetic, start: (&Value, &Value), end: (&Value, &Value)) -> bool {
    let sum = |(a, b): (&Value, &Value)| {
        let (a, b) = (milliseconds(a)?, milliseconds(b)?);
        Some(if operator == Arithmetic::Subtract { a - b } else { a + b })
    };
    matches!((sum(start), sum(end)), (Some(start), Some(end)) if start.signum() * end.signum() > 0)
}

fn milliseconds(value: &Value) -> Option<i128> {
    match value {
        Value::Time(time) => Some(time.0.into()),
        Value::Span(span) => Some(span.0.into()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// A harmless value of the same type.
fn sample(value: &Value) -> Value {
    match value {
        Value::Number(_) => Value::Number(Decimal::ONE),
        Value::Span(_) => Value::Span(Millis::SECOND),
        Value::Time(_) => Value::Time(Timestamp(0)),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// Whether zero lies within the bounds.
fn has_zero((low, high): &(Value, Value)) -> bool {
    match (low, high) {
        (Value::Number(low), Value::Number(high)) => low.0 <= 0 && high.0 >= 0,
        (Value::Span(low), Value::Span(high)) => low.0 <= 0 && high.0 >= 0,
        _ => false,
    }
}

/// Which of less, equal and greater are possible.
type Orders = [bool; 3];

/// Whether every possible order gives the same answer.
fn settles(comparison: Comparison, possible: Orders) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};

    let mut answers = [Less, Equal, Greater]
        .into_iter()
        .zip(possible)
        .filter(|(_, possible)| *possible)
        .map(|(order, _)| comparison.holds(order));
    // No order at all is a comparison across types: no, all along.
    let Some(first) = answers.next() else { return true };
    answers.all(|answer| answer == first)
}

/// The possible orders of two values within bounds.
fn orders(a: &(Value, Value), b: &(Value, Value)) -> Orders {
    let (Some(lowest), Some(highest)) = (a.0.compare(&b.1), a.1.compare(&b.0)) else { return [false; 3] };
    [lowest.is_lt(), lowest.is_le() && highest.is_ge(), highest.is_gt()]
}

/// The possible orders of two values that go evenly, `steps` milliseconds long.
fn even_orders(a: (&Value, &Value), b: (&Value, &Value), steps: i64) -> Orders {
    let (Some(start), Some(end)) = (distance(a.0, b.0), distance(a.1, b.1)) else {
        // Neither a time nor a span: both are constant.
        return orders(&(a.0.clone(), a.0.clone()), &(b.0.clone(), b.0.clone()));
    };
    let (low, high) = (start.min(end), start.max(end));
    // The distance changes by the same whole number of milliseconds every millisecond, and may step over zero.
    let slope = if steps > 0 { (end - start) / i128::from(steps) } else { 0 };
    let meets = low <= 0 && high >= 0 && (slope == 0 || start % slope == 0);
    [low < 0, meets, high > 0]
}

/// How far two times or two spans are apart, in milliseconds.
fn distance(a: &Value, b: &Value) -> Option<i128> {
    match (a, b) {
        (Value::Time(a), Value::Time(b)) => Some(i128::from(a.0) - i128::from(b.0)),
        (Value::Span(a), Value::Span(b)) => Some(i128::from(a.0) - i128::from(b.0)),
        _ => None,
    }
}
