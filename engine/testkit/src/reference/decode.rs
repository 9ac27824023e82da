//! What an accepted event says: who, when, and what it contributes to which trait.

use regex::Regex;
use tidewater_model::{
    Aggregate, BlockRule, Decimal, EventFilter, EventKind, IdentifierSpec, Normalize, PipelineSpec,
    Timestamp, TraitSpec, Value,
    expr::Term,
    identifier::{DEFAULT_BLOCKED, MAX_IDENTIFIER_BYTES},
};
use tidewater_oracle::Event;

use super::{
    collection::Identifier,
    json::{self, Members},
    partials::{Candidate, Tally},
    predicate::{Subject, holds},
};

/// What one event says.
#[derive(Clone, Debug)]
pub(super) struct Decoded {
    pub(super) time: Timestamp,
    pub(super) owner: Identifier,
    /// Everything it carries at the identifiers' paths, the owner included, each once.
    pub(super) carries: Vec<Identifier>,
    /// Of an alias: the two readings of each `previousId`.
    pub(super) previous: Vec<Reading>,
    /// What it adds to the traits it matches, by index of the trait.
    pub(super) contributions: Vec<(usize, Contribution)>,
}

/// What a `previousId` can stand for.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) user: Option<Identifier>,
    pub(super) anonymous: Option<Identifier>,
}

/// What one event adds to one trait.
#[derive(Clone, Debug)]
pub(super) enum Contribution {
    /// To a count, a sum or a mean: can be subtracted again.
    Tally(Tally),
    /// To the least, greatest, first or last of something: can't.
    Candidate(Candidate),
}

/// Reads the events of one pipeline.
#[derive(Debug)]
pub(super) struct Decoder {
    spec: PipelineSpec,
    /// Per identifier.
    patterns: Vec<Vec<Regex>>,
}

impl Decoder {
    pub(super) fn new(spec: &PipelineSpec) -> Self {
        let pattern = |rule: &BlockRule| match rule {
            BlockRule::Pattern(pattern) => Regex::new(pattern).ok(),
            BlockRule::Exact(_) => None,
        };
        let patterns = |spec: &IdentifierSpec| spec.block.iter().filter_map(pattern).collect();
        Self { spec: spec.clone(), patterns: spec.identifiers.iter().map(patterns).collect() }
    }

    /// Reads an event; `None` if it can't be used, which no accepted event is.
    pub(super) fn decode(&self, event: &Event<'_>) -> Option<Decoded> {
        let members = json::members(str::from_utf8(event.bytes).ok()?);
        let top = |key: &str| members.get(key).map(|value| value.get());
        let kind = EventKind::from_name(&json::string(top("type")?)?)?;
        let time = self.time(&members)?.unwrap_or(event.accepted_at);

        let mut carries = Vec::new();
        for (rank, spec) in self.spec.identifiers.iter().enumerate() {
            for found in spec.from.iter().filter_map(|path| json::at(&members, path)) {
                carries.extend(self.identifiers(rank, found));
            }
        }
        carries.sort();
        carries.dedup();
        let (owner, previous) = match kind {
            EventKind::Alias => {
                let user = self.fed_by("userId")?;
                let owner = self.identifiers(user, top("userId")?).into_iter().min()?;
                (owner, top("previousId").map(|text| self.readings(text)).unwrap_or_default())
            }
            _ => (carries.first()?.clone(), Vec::new()),
        };

        let contributions = (0..).zip(&self.spec.traits);
        let contributions = contributions
            .filter(|(_, part)| matches(part, kind, &members))
            .filter_map(|(at, part)| Some((at, contribution(part, time, &members)?)))
            .collect();
        Some(Decoded { time, owner, carries, previous, contributions })
    }

    /// The event's own time; `Some(None)` if it has none.
    fn time(&self, members: &Members<'_>) -> Option<Option<Timestamp>> {
        let written = |key: &str| members.get(key).map(|value| value.get()).filter(|text| *text != "null");
        let Some(text) = written("timestamp").or_else(|| written("originalTimestamp")) else {
            return Some(None);
        };
        let time = match text.starts_with('"') {
            true => Timestamp::parse(json::string(text)?.as_bytes()).ok()?,
            // To 9 digits, which is finer than what streams are made with.
            false => Timestamp(Decimal::parse(text.as_bytes())?.0.div_euclid(1_000_000_000).try_into().ok()?),
        };
        (time >= self.spec.min_time && time <= Timestamp::MAX).then_some(Some(time))
    }

    fn fed_by(&self, key: &str) -> Option<usize> {
        let feeds = |spec: &IdentifierSpec| spec.from.iter().any(|path| path.to_string() == key);
        self.spec.identifiers.iter().position(feeds)
    }

    fn readings(&self, text: &str) -> Vec<Reading> {
        let read = |key: &str, item: &str| {
            let rank = self.fed_by(key)?;
            self.identifier(rank, &json::scalar_text(item)?)
        };
        let reading =
            |item: &str| Reading { user: read("userId", item), anonymous: read("anonymousId", item) };
        json::items(text).into_iter().map(reading).collect()
    }

    fn identifiers(&self, rank: usize, text: &str) -> Vec<Identifier> {
        let values = json::items(text).into_iter().filter_map(json::scalar_text);
        values.filter_map(|value| self.identifier(rank, &value)).collect()
    }

    /// The identifier that a raw value stands for, if it is usable.
    fn identifier(&self, rank: usize, raw: &str) -> Option<Identifier> {
        let spec = &self.spec.identifiers[rank];
        let value = match spec.normalize {
            Normalize::None => raw.to_owned(),
            Normalize::Trim => raw.trim().to_owned(),
            Normalize::Lowercase | Normalize::Email => raw.trim().to_lowercase(),
        };
        let is_email = || match value.split('@').collect::<Vec<_>>().as_slice() {
            [name, domain] => !name.is_empty() && !domain.is_empty(),
            _ => false,
        };
        let has_space = value.chars().any(|letter| letter.is_whitespace() || letter.is_control());
        if spec.normalize == Normalize::Email && (!is_email() || has_space) {
            return None;
        }
        let bare = value.trim().to_ascii_lowercase();
        let is_blocked = bare.trim_matches(['0', '-']).is_empty()
            || DEFAULT_BLOCKED.contains(&bare.as_str())
            || spec.block.contains(&BlockRule::Exact(value.clone()))
            || self.patterns[rank].iter().any(|pattern| pattern.is_match(&value));
        let usable = !is_blocked && value.len() <= MAX_IDENTIFIER_BYTES;
        usable.then_some(Identifier { rank, value })
    }
}

fn matches(part: &TraitSpec, kind: EventKind, members: &Members<'_>) -> bool {
    let named = match &part.events {
        EventFilter::Any => true,
        EventFilter::Named(wanted) => {
            let own = members.get("event").and_then(|text| json::string(text.get()));
            let name = own.or(kind.default_event_name().map(str::to_owned));
            kind.is_named() && name.as_ref() == Some(wanted)
        }
    };
    named && part.condition.as_ref().is_none_or(|condition| holds(condition, &Fields(members)))
}

fn contribution(part: &TraitSpec, time: Timestamp, members: &Members<'_>) -> Option<Contribution> {
    let found = part.aggregate.path().and_then(|path| json::at(members, path));
    let number = || json::number(found?);
    Some(match part.aggregate {
        Aggregate::Count => Contribution::Tally(Tally { count: 1, units: 0 }),
        Aggregate::Sum(_) | Aggregate::Avg(_) => Contribution::Tally(Tally { count: 1, units: number()?.0 }),
        Aggregate::Min(_) | Aggregate::Max(_) => Contribution::Candidate(Candidate::Number(number()?)),
        Aggregate::First(_) | Aggregate::Last(_) => {
            Contribution::Candidate(Candidate::Scalar(time, json::scalar(found?)?))
        }
        Aggregate::FirstTime | Aggregate::LastTime => Contribution::Candidate(Candidate::Time(time)),
    })
}

/// An event's own fields.
struct Fields<'a>(&'a Members<'a>);

impl Subject for Fields<'_> {
    fn value(&self, term: &Term) -> Value {
        let Term::Field(path) = term else { return Value::Null };
        json::at(self.0, path).and_then(json::scalar).map_or(Value::Null, Value::from)
    }

    fn identifiers(&self, _identifier: usize) -> Vec<&str> {
        Vec::new()
    }

    fn is_in(&self, _segment: usize) -> bool {
        false
    }
}
