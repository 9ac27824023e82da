//! Traits: a profile's computed values and how they are computed from its events.

use serde::{Deserialize, Serialize};

use crate::{event::Path, expr::Predicate, time::Millis};

/// One entry of the pipeline's `traits`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraitSpec {
    /// The name, unique among identifiers, traits and segments.
    pub name: String,
    /// What is kept of the matching events.
    pub aggregate: Aggregate,
    /// Which events match, by name.
    pub events: EventFilter,
    /// A further condition on the event's own fields; never uses `now`.
    pub condition: Option<Predicate>,
    /// Only events inside this window count.
    pub window: Option<Window>,
}

/// What a trait keeps of its matching events. Paths that give null or a wrong type contribute nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Aggregate {
    /// How many events; 0 of nothing.
    Count,
    /// The sum of a number; 0 of nothing.
    Sum(Path),
    /// The least number; null of nothing.
    Min(Path),
    /// The greatest number; null of nothing.
    Max(Path),
    /// The mean of a number, half to even to 9 digits; null of nothing.
    Avg(Path),
    /// The scalar of the earliest event that has one; at the same time the greatest scalar.
    First(Path),
    /// The scalar of the latest event that has one; at the same time the greatest scalar.
    Last(Path),
    /// The time of the earliest event.
    FirstTime,
    /// The time of the latest event.
    LastTime,
}

impl Aggregate {
    /// The path it reads, if it reads one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Count | Self::FirstTime | Self::LastTime => None,
            Self::Sum(path)
            | Self::Min(path)
            | Self::Max(path)
            | Self::Avg(path)
            | Self::First(path)
            | Self::Last(path) => Some(path),
        }
    }
}

/// Which events a trait looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventFilter {
    /// Every event of every kind (`"*"`, or no `event` key where one is optional).
    Any,
    /// Track, page and screen events of this name.
    Named(String),
}

/// A sliding window: an event at `t` is inside at `now` when `t <= now` and `up(t) + length > now`, where `up`
/// rounds up to a multiple of `resolution` since 1970-01-01T00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// How long an event stays inside; greater than zero.
    pub length: Millis,
    /// What event times are rounded up to; greater than zero.
    pub resolution: Millis,
}

impl Window {
    /// The resolution that a window of `length` has when the pipeline names none: 1 s up to 1 h, 1 m up to 2 d,
    /// 1 h above.
    pub fn default_resolution(length: Millis) -> Millis {
        if length <= Millis::HOUR {
            Millis::SECOND
        } else if length.0 <= 2 * Millis::DAY.0 {
            Millis::MINUTE
        } else {
            Millis::HOUR
        }
    }
}
