//! A pipeline's definitions: what is computed, without where events come from or deltas go.

use serde::{Deserialize, Serialize};

use crate::{
    identifier::IdentifierSpec,
    segment::SegmentSpec,
    time::{Millis, Timestamp},
    traits::TraitSpec,
};

/// Everything that results are a function of, besides the events and `now`.
///
/// Indices in [`Predicate`](crate::expr::Predicate)s point into these lists. Segments may stand in any order;
/// their `in_segment()` references form no cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineSpec {
    /// Where `now` comes from.
    pub clock: ClockKind,
    /// How long a messageId is remembered.
    pub dedup: Dedup,
    /// An event dated further ahead of the wall clock goes to quarantine.
    pub max_future: Millis,
    /// An event dated before this goes to quarantine.
    pub min_time: Timestamp,
    /// Highest rank first.
    pub identifiers: Vec<IdentifierSpec>,
    /// In the order of the file.
    pub traits: Vec<TraitSpec>,
    /// In the order of the file.
    pub segments: Vec<SegmentSpec>,
}

impl Default for PipelineSpec {
    fn default() -> Self {
        Self {
            clock: ClockKind::Wall,
            dedup: Dedup::For(Millis(7 * 86_400_000)),
            max_future: Millis(86_400_000),
            min_time: Timestamp(946_684_800_000),
            identifiers: Vec::new(),
            traits: Vec::new(),
            segments: Vec::new(),
        }
    }
}

/// Where `now` comes from. It never goes back under either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockKind {
    /// Time passes by itself.
    #[default]
    Wall,
    /// The greatest accepted event time up to and including the epoch.
    Event,
}

/// How long a messageId is remembered, on the engine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dedup {
    /// At least this long.
    For(Millis),
    /// As long as there is state.
    Forever,
}
