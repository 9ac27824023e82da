//! A profile's traits, computed from its events one after the other.

use tidewater_model::{
    Aggregate, Decimal, EventFilter, Scalar, Timestamp, TraitSpec, Value, Window, base::Partial, expr::Term,
};

use crate::{
    event::event_name,
    json::{Json, Object},
    predicate::{Scope, holds},
};

/// What a trait has gathered of the events so far.
#[derive(Clone, Debug)]
pub(crate) struct Tally<'s> {
    spec: &'s TraitSpec,
    /// How many events contributed.
    count: i64,
    /// The sum of the numbers, in units of 10^-9.
    sum: i128,
    least: Option<Decimal>,
    greatest: Option<Decimal>,
    first: Option<(Timestamp, Scalar)>,
    last: Option<(Timestamp, Scalar)>,
    first_time: Option<Timestamp>,
    last_time: Option<Timestamp>,
}

impl<'s> Tally<'s> {
    /// Nothing gathered yet.
    pub(crate) fn new(spec: &'s TraitSpec) -> Self {
        let (least, greatest, first, last, first_time, last_time) = Default::default();
        Self { spec, count: 0, sum: 0, least, greatest, first, last, first_time, last_time }
    }

    /// Takes in one event of the profile, if it matches.
    pub(crate) fn add(&mut self, event: &Object<'_>, time: Timestamp, now: Timestamp) {
        let name_matches = match &self.spec.events {
            EventFilter::Any => true,
            EventFilter::Named(name) => event_name(event) == Some(name),
        };
        let matches = name_matches
            && self.spec.window.is_none_or(|window| is_inside(window, time, now))
            && self.spec.condition.as_ref().is_none_or(|condition| holds(condition, &Fields(event)));
        if !matches {
            return;
        }
        match &self.spec.aggregate {
            Aggregate::Count | Aggregate::FirstTime | Aggregate::LastTime => self.add_time(time),
            Aggregate::Sum(path) | Aggregate::Min(path) | Aggregate::Max(path) | Aggregate::Avg(path) => {
                if let Some(number) = number(event.at(path.steps())) {
                    self.add_number(number);
                }
            }
            Aggregate::First(path) | Aggregate::Last(path) => {
                if let Some(scalar) = scalar(event.at(path.steps())) {
                    self.add_scalar(time, scalar);
                }
            }
        }
    }

    /// Takes in what is left of events before a cut.
    pub(crate) fn add_partial(&mut self, partial: &Partial) {
        match partial {
            Partial::Count(count) => self.count += *count as i64,
            Partial::Sum(sum) => self.sum += sum,
            Partial::Number(number) => self.add_number(*number),
            Partial::Mean { sum, count } => {
                self.sum += sum;
                self.count += *count as i64;
            }
            Partial::Scalar { value, at } => self.add_scalar(*at, value.clone()),
            Partial::Time(time) => self.add_time(*time),
        }
    }

    /// Takes in what is left of events at one time before a cut, if its window still holds it; `up` is rounded up.
    pub(crate) fn add_pane(&mut self, up: Timestamp, partial: &Partial, now: Timestamp) {
        let length = self.spec.window.map_or(0, |window| i128::from(window.length.0));
        if i128::from(up.0) + length > i128::from(now.0) {
            self.add_partial(partial);
        }
    }

    /// Takes in what is left of an event before a cut whose time had not come by then.
    pub(crate) fn add_waiting(&mut self, time: Timestamp, partial: &Partial, now: Timestamp) {
        if self.spec.window.is_none_or(|window| is_inside(window, time, now)) {
            self.add_partial(partial);
        }
    }

    fn add_time(&mut self, time: Timestamp) {
        self.count += 1;
        self.first_time = Some(self.first_time.map_or(time, |first| first.min(time)));
        self.last_time = Some(self.last_time.map_or(time, |last| last.max(time)));
    }

    fn add_number(&mut self, number: Decimal) {
        self.count += 1;
        // 2^127 units are more than 10^11 times the largest number.
        self.sum += number.0;
        self.least = Some(self.least.map_or(number, |least| least.min(number)));
        self.greatest = Some(self.greatest.map_or(number, |greatest| greatest.max(number)));
    }

    /// Ties at one time go to the greater scalar, for the first as for the last.
    fn add_scalar(&mut self, time: Timestamp, scalar: Scalar) {
        let is_first = match &self.first {
            None => true,
            Some((first, kept)) => time < *first || (time == *first && scalar > *kept),
        };
        let is_last = match &self.last {
            None => true,
            Some((last, kept)) => time > *last || (time == *last && scalar > *kept),
        };
        if is_first {
            self.first = Some((time, scalar.clone()));
        }
        if is_last {
            self.last = Some((time, scalar));
        }
    }

    /// The trait's value. count and sum of nothing are 0, everything else of nothing is null.
    pub(crate) fn value(&self) -> Value {
        let number = |number: Option<Decimal>| number.map_or(Value::Null, Value::Number);
        let scalar = |kept: &Option<(Timestamp, Scalar)>| {
            kept.as_ref().map_or(Value::Null, |(_, scalar)| scalar.clone().into())
        };
        let time = |time: Option<Timestamp>| time.map_or(Value::Null, Value::Time);
        match self.spec.aggregate {
            Aggregate::Count => Value::Number(Decimal::from_int(self.count)),
            Aggregate::Sum(_) => Value::Number(Decimal(self.sum)),
            Aggregate::Min(_) => number(self.least),
            Aggregate::Max(_) => number(self.greatest),
            Aggregate::Avg(_) => number(mean(self.sum, self.count)),
            Aggregate::First(_) => scalar(&self.first),
            Aggregate::Last(_) => scalar(&self.last),
            Aggregate::FirstTime => time(self.first_time),
            Aggregate::LastTime => time(self.last_time),
        }
    }
}

/// `t <= now and up(t) + length > now`
fn is_inside(window: Window, time: Timestamp, now: Timestamp) -> bool {
    // In 128 bits, so that no time and no length overflows.
    let (time, now) = (i128::from(time.0), i128::from(now.0));
    let (length, resolution) = (i128::from(window.length.0), i128::from(window.resolution.0));
    let rounded_up = time + (-time).rem_euclid(resolution);
    time <= now && rounded_up + length > now
}

/// `sum / count`, half to even; `None` of nothing.
fn mean(sum: i128, count: i64) -> Option<Decimal> {
    let count = i128::from(count);
    if count == 0 {
        return None;
    }
    let (below, rest) = (sum.div_euclid(count), sum.rem_euclid(count));
    let up = 2 * rest > count || (2 * rest == count && below % 2 != 0);
    Some(Decimal(below + i128::from(up)))
}

/// A number, or a string that is a JSON number; `None` for anything else and for what is too large.
fn number(value: &Json<'_>) -> Option<Decimal> {
    match value {
        Json::Number(text) => Decimal::parse(text.as_bytes()),
        Json::String(text) => Decimal::parse(text.as_bytes()),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// A scalar as it stands, strings as strings; `None` for anything else and for a number that is too large.
fn scalar(value: &Json<'_>) -> Option<Scalar> {
    match value {
        Json::Bool(value) => Some(Scalar::Bool(*value)),
        Json::Number(text) => Decimal::parse(text.as_bytes()).map(Scalar::Number),
        Json::String(text) => Some(Scalar::String(text.as_ref().into())),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// An event's own fields, as a `where` condition sees them.
struct Fields<'a, 'j>(&'a Object<'j>);

impl Scope for Fields<'_, '_> {
    fn look_up(&self, name: &Term) -> Value {
        match name {
            Term::Field(path) => scalar(self.0.at(path.steps())).map_or(Value::Null, Value::from),
            _ => Value::Null,
        }
    }
}
