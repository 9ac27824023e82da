//! One profile with its events in the open, and a harness that evaluates it as time passes.

use tidewater_model::{Aggregate, Decimal, HashKey, PipelineSpec, Timestamp, TraitSpec, Value};

use super::naive::Facts;
use crate::{
    profile::layout::Layout,
    scalar::Scalar128,
    segment::{Evaluation, Evaluator, Scratch, Subject},
};

/// An event as one trait sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) time: i64,
    pub(super) value: Value,
    /// Where the text of a string value lies.
    place: (u64, u32),
}

/// A profile.
pub(super) struct World {
    pub(super) spec: PipelineSpec,
    pub(super) layout: Layout,
    pub(super) now: i64,
    /// Per identifier.
    pub(super) identifiers: Vec<Vec<String>>,
    /// Per trait, in order of arrival.
    pub(super) seen: Vec<Vec<Seen>>,
    texts: Vec<u8>,
}

impl World {
    pub(super) fn new(spec: PipelineSpec, now: i64) -> Self {
        let layout = Layout::new(&spec);
        let identifiers = vec![Vec::new(); spec.identifiers.len()];
        let seen = vec![Vec::new(); spec.traits.len()];
        Self { spec, layout, now, identifiers, seen, texts: Vec::new() }
    }

    pub(super) fn see(&mut self, trait_index: usize, time: i64, value: Value) {
        let mut place = (0, 0);
        if let Value::String(text) = &value {
            place = (self.texts.len() as u64, text.len() as u32);
            self.texts.extend_from_slice(text.as_bytes());
        }
        self.seen[trait_index].push(Seen { time, value, place });
    }

    /// When an event leaves a trait's window.
    fn leaves(definition: &TraitSpec, time: i64) -> i64 {
        let window = definition.window.unwrap();
        Timestamp(time).round_up(window.resolution).0 + window.length.0
    }

    /// The events that count at `now`.
    fn inside(&self, trait_index: usize, now: i64) -> Vec<&Seen> {
        let definition = &self.spec.traits[trait_index];
        let counts = |seen: &&Seen| {
            let is_inside = definition.window.is_none()
                || (seen.time <= now && Self::leaves(definition, seen.time) > now);
            let is_usable = match definition.aggregate {
                Aggregate::Count | Aggregate::FirstTime | Aggregate::LastTime => true,
                Aggregate::First(_) | Aggregate::Last(_) => seen.value != Value::Null,
                _ => matches!(seen.value, Value::Number(_)),
            };
            is_inside && is_usable
        };
        self.seen[trait_index].iter().filter(counts).collect()
    }

    /// The event that `first` or `last` keeps.
    fn chosen<'a>(inside: &[&'a Seen], last: bool) -> Option<&'a Seen> {
        let rank = |value: &Value| match value {
            Value::Bool(_) => 0,
            Value::Number(_) => 1,
            _ => 2,
        };
        inside.iter().copied().max_by(|a, b| {
            let by_time = if last { a.time.cmp(&b.time) } else { b.time.cmp(&a.time) };
            by_time
                .then(rank(&a.value).cmp(&rank(&b.value)))
                .then(a.value.compare(&b.value).unwrap_or(std::cmp::Ordering::Equal))
        })
    }

    /// A trait's value by its definition.
    pub(super) fn value(&self, trait_index: usize, now: i64) -> Value {
        let inside = self.inside(trait_index, now);
        let numbers: Vec<i128> = inside.iter().filter_map(|seen| units(&seen.value)).collect();
        let number = |units: Option<i128>| units.map_or(Value::Null, |units| Value::Number(Decimal(units)));
        let time = |ms: Option<i64>| ms.map_or(Value::Null, |ms| Value::Time(Timestamp(ms)));
        let times = inside.iter().map(|seen| seen.time);
        match &self.spec.traits[trait_index].aggregate {
            Aggregate::Count => Value::Number(Decimal::from_int(inside.len() as i64)),
            Aggregate::Sum(_) => number(Some(numbers.iter().sum())),
            Aggregate::Min(_) => number(numbers.iter().min().copied()),
            Aggregate::Max(_) => number(numbers.iter().max().copied()),
            Aggregate::Avg(_) => {
                number(Decimal::div_int(numbers.iter().sum(), numbers.len() as u64).map(|mean| mean.0))
            }
            Aggregate::First(_) => {
                Self::chosen(&inside, false).map_or(Value::Null, |seen| seen.value.clone())
            }
            Aggregate::Last(_) => Self::chosen(&inside, true).map_or(Value::Null, |seen| seen.value.clone()),
            Aggregate::FirstTime => time(times.min()),
            Aggregate::LastTime => time(times.max()),
        }
    }

    /// The profile's value words.
    pub(super) fn words(&self, now: i64) -> Vec<u64> {
        let mut words = vec![0; self.layout.value_words];
        for (index, place) in self.layout.traits.iter().enumerate() {
            let inside = self.inside(index, now);
            let own = &mut words[usize::from(place.word)..usize::from(place.word) + place.kind.words()];
            place.kind.clear(own);
            let put = |own: &mut [u64], units: i128| {
                own[0] = units as u64;
                own[1] = (units >> 64) as u64;
            };
            match &self.spec.traits[index].aggregate {
                Aggregate::Count => own[0] = inside.len() as u64,
                Aggregate::Avg(_) => {
                    put(own, inside.iter().filter_map(|seen| units(&seen.value)).sum());
                    own[2] = inside.len() as u64;
                }
                Aggregate::First(_) | Aggregate::Last(_) => {
                    let last = matches!(self.spec.traits[index].aggregate, Aggregate::Last(_));
                    if let Some(seen) = Self::chosen(&inside, last) {
                        let scalar = match &seen.value {
                            Value::Bool(false) => Scalar128::FALSE,
                            Value::Bool(true) => Scalar128::TRUE,
                            Value::Number(number) => Scalar128::number(*number),
                            _ => Scalar128::string(seen.place.0, seen.place.1),
                        };
                        own[..2].copy_from_slice(&scalar.words());
                        own[2] = seen.time as u64;
                    }
                }
                _ => match self.value(index, now) {
                    Value::Number(number) => put(own, number.0),
                    Value::Time(time) => own[0] = time.0 as u64,
                    _ => {}
                },
            }
        }
        for (index, counter) in self.layout.identifier_counters.iter().enumerate() {
            if let Some(word) = counter {
                words[usize::from(*word)] = self.identifiers[index].len() as u64;
            }
        }
        words
    }

    /// The answers by the definitions.
    pub(super) fn answers(&self, now: i64) -> Vec<bool> {
        let traits = (0..self.spec.traits.len()).map(|index| self.value(index, now)).collect();
        Facts { spec: &self.spec, traits, identifiers: &self.identifiers, now }.answers()
    }
}

fn units(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => Some(number.0),
        _ => None,
    }
}

impl Subject for World {
    fn has_value(&self, identifier: usize, hash: u128) -> bool {
        let seed = HashKey::FIXED.seed(&self.spec.identifiers[identifier].name);
        self.identifiers[identifier].iter().any(|value| seed.hash(value.as_bytes()) == hash)
    }

    fn text(&self, start: u64, len: u32) -> &[u8] {
        &self.texts[start as usize..][..len as usize]
    }

    fn next_expiry(&self, trait_index: usize) -> Option<i64> {
        let definition = &self.spec.traits[trait_index];
        self.inside(trait_index, self.now).iter().map(|seen| Self::leaves(definition, seen.time)).min()
    }

    fn falls_below(&self, trait_index: usize, k: u64) -> Option<i64> {
        let definition = &self.spec.traits[trait_index];
        let inside = self.inside(trait_index, self.now);
        let mut ends: Vec<i64> = inside.iter().map(|seen| Self::leaves(definition, seen.time)).collect();
        ends.sort_unstable();
        assert!(k >= 1 && k <= ends.len() as u64, "asked when {} events fall below {k}", ends.len());
        Some(ends[ends.len() - k as usize])
    }
}

/// Evaluates a world as the engine would, and holds every answer and timer against the definitions.
pub(super) struct Harness {
    pub(super) world: World,
    pub(super) evaluator: Evaluator,
    pub(super) bits: Vec<u64>,
    pub(super) old: Option<Vec<u64>>,
    scratch: Scratch,
}

/// How many milliseconds after each evaluation are checked one by one.
const CHECKED_MS: i64 = 130;

impl Harness {
    pub(super) fn new(world: World) -> Self {
        let evaluator = Evaluator::new(&world.spec, &world.layout, HashKey::FIXED);
        let bits = vec![0xdead_beef_dead_beef; world.layout.segment_words];
        Self { world, evaluator, bits, old: None, scratch: Scratch::default() }
    }

    /// Evaluates at the world's `now` and checks the answers, then that they hold at every instant before the timer.
    pub(super) fn evaluate(&mut self, identifiers_changed: bool) -> Result<Option<i64>, String> {
        let now = self.world.now;
        let new = self.world.words(now);
        let call = Evaluation { old: self.old.as_deref(), new: &new, identifiers_changed, now };
        let timer = self.evaluator.evaluate(&call, &self.world, &mut self.bits, &mut self.scratch);
        self.old = Some(new);
        self.compare(now)?;
        if timer.is_some_and(|timer| timer <= now) {
            return Err(format!("timer {timer:?} is not after now {now}"));
        }
        let until = timer.unwrap_or(i64::MAX).min(now + CHECKED_MS);
        for instant in now + 1..until {
            self.compare(instant).map_err(|error| format!("{error}, evaluated at {now}, timer {timer:?}"))?;
        }
        // Where nothing is due soon, nothing may happen later either.
        for later in [1_000, 86_400_000, 90_000_000_000, 9_000_000_000_000] {
            if timer.is_none_or(|timer| timer > now + later) && now + later <= Timestamp::MAX.0 {
                self.compare(now + later)
                    .map_err(|error| format!("{error}, evaluated at {now}, timer {timer:?}"))?;
            }
        }
        Ok(timer)
    }

    fn compare(&self, now: i64) -> Result<(), String> {
        let wanted = self.world.answers(now);
        for (segment, wanted) in wanted.iter().enumerate() {
            let found = self.bits[segment / 64] >> (segment % 64) & 1 != 0;
            if found != *wanted {
                let predicate = &self.world.spec.segments[segment].predicate;
                return Err(format!("segment {segment} at {now}: {found}, not {wanted}: {predicate:?}"));
            }
        }
        Ok(())
    }
}
