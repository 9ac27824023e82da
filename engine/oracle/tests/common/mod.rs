//! What the tests of the contract are written in: pipelines, events, and outcomes by name instead of by index.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeSet;

use tidewater_model::{
    Aggregate, BlockRule, Decimal, EventFilter, HashKey, IdentifierSpec, Millis, Normalize, Path,
    PipelineSpec, Profile, ProfileId, SegmentSpec, Timestamp, TraitSpec, Value, Window,
    expr::{Names, parse_condition, parse_segment},
};
use tidewater_oracle::{Event, Outcome, Unlinked, evaluate_with};

/// 2023-11-14T22:13:20Z, when everything in these tests begins.
pub const T0: i64 = 1_700_000_000_000;
pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60_000;
pub const HOUR: i64 = 3_600_000;
pub const DAY: i64 = 86_400_000;

/// A pipeline in the making.
#[derive(Clone, Default)]
pub struct Pipeline {
    pub spec: PipelineSpec,
    segments: Vec<(String, String)>,
}

impl Pipeline {
    /// No identifiers, traits or segments yet.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Identifiers user_id, email and anonymous_id, in this order of rank.
    pub fn people() -> Self {
        Self::empty()
            .identifier("user_id", &["userId"])
            .normalized("email", &["traits.email", "email"], Normalize::Email)
            .identifier("anonymous_id", &["anonymousId"])
    }

    pub fn identifier(self, name: &str, from: &[&str]) -> Self {
        self.normalized(name, from, Normalize::None)
    }

    pub fn normalized(mut self, name: &str, from: &[&str], normalize: Normalize) -> Self {
        let from = from.iter().map(|path| Path::parse(path).unwrap()).collect();
        let spec = IdentifierSpec { name: name.into(), from, normalize, block: Vec::new() };
        self.spec.identifiers.push(spec);
        self
    }

    /// Blocks values of the last identifier: `exact`, or `/pattern/`.
    pub fn block(mut self, rule: &str) -> Self {
        let rule = match rule.strip_prefix('/').and_then(|rule| rule.strip_suffix('/')) {
            Some(pattern) => BlockRule::Pattern(pattern.into()),
            None => BlockRule::Exact(rule.into()),
        };
        self.spec.identifiers.last_mut().unwrap().block.push(rule);
        self
    }

    pub fn any(self, name: &str, aggregate: Aggregate) -> Self {
        self.add_trait(name, aggregate, EventFilter::Any)
    }

    pub fn named(self, name: &str, aggregate: Aggregate, event: &str) -> Self {
        self.add_trait(name, aggregate, EventFilter::Named(event.into()))
    }

    fn add_trait(mut self, name: &str, aggregate: Aggregate, events: EventFilter) -> Self {
        let spec = TraitSpec { name: name.into(), aggregate, events, condition: None, window: None };
        self.spec.traits.push(spec);
        self
    }

    /// Gives the last trait a condition.
    pub fn filter(mut self, condition: &str) -> Self {
        let condition = parse_condition(condition).unwrap();
        self.spec.traits.last_mut().unwrap().condition = Some(condition);
        self
    }

    /// Gives the last trait a window; both in milliseconds.
    pub fn window(mut self, length: i64, resolution: i64) -> Self {
        let window = Window { length: Millis(length), resolution: Millis(resolution) };
        self.spec.traits.last_mut().unwrap().window = Some(window);
        self
    }

    pub fn segment(mut self, name: &str, predicate: &str) -> Self {
        self.segments.push((name.into(), predicate.into()));
        self
    }

    /// The definitions. Segments may ask for segments that stand below them.
    pub fn build(mut self) -> PipelineSpec {
        let identifiers: Vec<String> = self.spec.identifiers.iter().map(|spec| spec.name.clone()).collect();
        let traits: Vec<String> = self.spec.traits.iter().map(|spec| spec.name.clone()).collect();
        let is_time = |spec: &TraitSpec| matches!(spec.aggregate, Aggregate::FirstTime | Aggregate::LastTime);
        let time_traits: Vec<bool> = self.spec.traits.iter().map(is_time).collect();
        let segments: Vec<String> = self.segments.iter().map(|(name, _)| name.clone()).collect();
        let names = Names {
            identifiers: &identifiers,
            traits: &traits,
            time_traits: &time_traits,
            segments: &segments,
        };
        for (name, text) in &self.segments {
            let predicate = parse_segment(text, &names).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
            self.spec.segments.push(SegmentSpec { name: name.clone(), predicate, description: None });
        }
        self.spec
    }
}

pub fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

/// A track event at `T0 + at`; `rest` is the inside of an object.
pub fn track(name: &str, at: i64, rest: &str) -> String {
    format!(r#"{{"type":"track","event":"{name}","timestamp":{},{rest}}}"#, T0 + at)
}

/// An identify event at `T0 + at`.
pub fn identify(at: i64, rest: &str) -> String {
    format!(r#"{{"type":"identify","timestamp":{},{rest}}}"#, T0 + at)
}

/// An alias event at `T0 + at`.
pub fn alias(at: i64, user: &str, previous: &str) -> String {
    format!(r#"{{"type":"alias","timestamp":{},"userId":"{user}","previousId":"{previous}"}}"#, T0 + at)
}

/// The outcome of a log whose places are the order of `events`, as of `T0 + now`.
pub fn run(spec: &PipelineSpec, events: &[String], now: i64) -> Answer {
    run_without(spec, events, now, &Unlinked::default())
}

/// The same without some links.
pub fn run_without(spec: &PipelineSpec, events: &[String], now: i64, unlinked: &Unlinked) -> Answer {
    let log: Vec<Event<'_>> = (0..)
        .zip(events)
        .map(|(place, event)| Event { place, accepted_at: Timestamp(T0), bytes: event.as_bytes() })
        .collect();
    let outcome = evaluate_with(spec, HashKey::FIXED, &log, Timestamp(T0 + now), unlinked);
    Answer { spec: spec.clone(), outcome }
}

/// An outcome that can be asked by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub spec: PipelineSpec,
    pub outcome: Outcome,
}

impl Answer {
    /// The clusters, each as the sorted list of its `name:value`, joined with blanks.
    pub fn clusters(&self) -> Vec<String> {
        let mut ids: Vec<ProfileId> = self.outcome.identities.iter().map(|(_, _, id)| *id).collect();
        ids.sort();
        ids.dedup();
        let members = |id: ProfileId| {
            let of_cluster = self.outcome.identities.iter().filter(move |(_, _, own)| *own == id);
            let names = of_cluster
                .map(|(identifier, value, _)| format!("{}:{value}", self.spec.identifiers[*identifier].name));
            names.collect::<Vec<_>>().join(" ")
        };
        let clusters: BTreeSet<String> = ids.into_iter().map(members).collect();
        clusters.into_iter().collect()
    }

    /// The id of the cluster that `name:value` is in.
    pub fn id(&self, identifier: &str) -> ProfileId {
        let (name, value) = identifier.split_once(':').unwrap();
        let found = self
            .outcome
            .identities
            .iter()
            .find(|(identifier, own, _)| self.spec.identifiers[*identifier].name == name && own == value);
        found.unwrap_or_else(|| panic!("no {identifier} in {:?}", self.clusters())).2
    }

    /// The profile that `name:value` is in, if its cluster is one.
    pub fn find(&self, identifier: &str) -> Option<&Profile> {
        let id = self.id(identifier);
        self.outcome.profiles.iter().find(|profile| profile.id == id)
    }

    /// A trait of the profile that `name:value` is in.
    pub fn value(&self, identifier: &str, name: &str) -> Value {
        let index = self.spec.traits.iter().position(|spec| spec.name == name).unwrap();
        self.find(identifier).unwrap().traits[index].clone()
    }

    /// Names of the segments that the profile of `name:value` is in.
    pub fn segments(&self, identifier: &str) -> Vec<&str> {
        let profile = self.find(identifier).unwrap();
        profile.segments.iter().map(|segment| self.spec.segments[*segment].name.as_str()).collect()
    }
}

/// The id of a profile whose first identifier is `value` of the identifier `name`.
pub fn id_of(name: &str, value: &str) -> ProfileId {
    ProfileId(HashKey::FIXED.seed(name).hash(value.as_bytes()))
}

pub fn number(text: &str) -> Value {
    Value::Number(Decimal::parse(text.as_bytes()).unwrap())
}

pub fn string(text: &str) -> Value {
    Value::String(text.into())
}

/// `T0 + at`.
pub fn time(at: i64) -> Value {
    Value::Time(Timestamp(T0 + at))
}
