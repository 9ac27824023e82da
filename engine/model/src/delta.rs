//! Membership deltas: who entered and who left which segment in one epoch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use builder::DeltaBatchBuilder;

use crate::{profile::ProfileId, time::Timestamp};

mod builder;

/// The most values of one identifier that a delta lists; the rest is counted.
pub const MAX_LISTED_VALUES: usize = 100;

/// What happened to a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The profile is a member from this epoch on.
    Entered,
    /// The profile is no member any more.
    Exited,
}

impl Change {
    /// `"entered"` or `"exited"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entered => "entered",
            Self::Exited => "exited",
        }
    }
}

/// The net membership changes of one epoch, sorted by (segment, profile, change).
///
/// Texts of all deltas lie in one buffer, so a batch of 10,000 deltas is four allocations. Read it with
/// [`iter`](Self::iter); make one with [`DeltaBatchBuilder`].
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaBatch {
    epoch: u64,
    now: Timestamp,
    names: Arc<DeltaNames>,
    /// How many deltas of the epoch stand before these.
    offset: usize,
    rows: Vec<Row>,
    values: Vec<ValueRow>,
    text: String,
    details: u32,
}

/// The names that the indices in a batch stand for; shared by all batches of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeltaNames {
    segments: Vec<String>,
    identifiers: Vec<String>,
    /// Per segment: its place among all, sorted by name.
    order: Vec<u32>,
}

impl DeltaNames {
    /// Names of the segments in the order of the file, and of the identifiers in rank order.
    pub fn new(segments: Vec<String>, identifiers: Vec<String>) -> Self {
        let mut sorted: Vec<usize> = (0..segments.len()).collect();
        sorted.sort_unstable_by_key(|segment| &segments[*segment]);
        let mut order = vec![0; segments.len()];
        for (place, segment) in sorted.into_iter().enumerate() {
            order[segment] = place as u32;
        }
        Self { segments, identifiers, order }
    }

    /// Names of the segments, in the order of the file.
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// Names of the identifiers, in rank order.
    pub fn identifiers(&self) -> &[String] {
        &self.identifiers
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    segment: u32,
    profile: ProfileId,
    change: Change,
    reason: Span,
    values: (u32, u32),
    /// Rows of one detail have the same reason and values.
    detail: u32,
}

/// One value, or, with an empty text and `more` > 0, how many values of this identifier are not listed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ValueRow {
    identifier: u16,
    more: u32,
    text: Span,
}

/// A piece of the text of a batch, which is more than 4 GiB when millions of profiles exit at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Span {
    start: u64,
    len: u32,
}

/// One delta of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Delta<'a> {
    batch: &'a DeltaBatch,
    row: &'a Row,
}

impl DeltaBatch {
    /// The epoch whose changes these are.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The epoch's `now`.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The names behind the indices.
    pub fn names(&self) -> &Arc<DeltaNames> {
        &self.names
    }

    /// How many deltas of the epoch stand before the first of these: 0, but for a [`part`](Self::part).
    ///
    /// A sink that names deltas by their place in the epoch adds this to it, so that a part has its own name.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Some of these deltas, as a batch of the same epoch. `range` must lie within [`len`](Self::len).
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        let mut part =
            DeltaBatchBuilder::part(self.epoch, self.now, Arc::clone(&self.names), self.offset + range.start);
        for delta in self.iter().skip(range.start).take(range.len()) {
            part.delta(delta.segment_index(), delta.profile(), delta.change());
            part.reason(delta.reason());
            delta.identifiers().for_each(|(identifier, value)| part.identifier(identifier, value));
            delta.more().for_each(|(identifier, count)| part.more(identifier, count));
        }
        part.finish()
    }

    /// How many deltas there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the epoch changed no membership.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The delta at `index`, which must be less than [`len`](Self::len).
    pub fn get(&self, index: usize) -> Delta<'_> {
        Delta { batch: self, row: &self.rows[index] }
    }

    /// The deltas in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Delta<'_>> {
        self.rows.iter().map(|row| Delta { batch: self, row })
    }

    /// How many details there are: see [`Delta::detail`].
    pub fn details(&self) -> usize {
        self.details as usize
    }

    /// About how many bytes of memory the batch holds.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.rows.capacity() * size_of::<Row>()
            + self.values.capacity() * size_of::<ValueRow>()
            + self.text.capacity()
    }

    fn slice(&self, Span { start, len }: Span) -> &str {
        &self.text[start as usize..][..len as usize]
    }
}

impl<'a> Delta<'a> {
    /// The names behind the indices.
    pub fn names(&self) -> &'a DeltaNames {
        &self.batch.names
    }

    /// Index of the segment.
    pub fn segment_index(&self) -> usize {
        self.row.segment as usize
    }

    /// Name of the segment.
    pub fn segment(&self) -> &'a str {
        &self.batch.names.segments[self.row.segment as usize]
    }

    /// The profile's id.
    pub fn profile(&self) -> ProfileId {
        self.row.profile
    }

    /// Whether it entered or exited.
    pub fn change(&self) -> Change {
        self.row.change
    }

    /// Why, for people: `orders 2 -> 3`. The wording may change between versions.
    pub fn reason(&self) -> &'a str {
        self.batch.slice(self.row.reason)
    }

    /// The profile's identifiers as (index of the identifier, value), sorted, at most [`MAX_LISTED_VALUES`] each.
    pub fn identifiers(&self) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
        let batch = self.batch;
        self.value_rows()
            .filter(|value| value.more == 0)
            .map(move |value| (value.identifier as usize, batch.slice(value.text)))
    }

    /// How many values are not listed, as (index of the identifier, count).
    pub fn more(&self) -> impl Iterator<Item = (usize, u32)> + use<'a> {
        self.value_rows().filter(|value| value.more > 0).map(|value| (value.identifier as usize, value.more))
    }

    /// A number less than [`DeltaBatch::details`]: deltas of a batch that have it in common have the same reason and the same
    /// identifiers, so that what is made of those need not be made again.
    pub fn detail(&self) -> usize {
        self.row.detail as usize
    }

    fn value_rows(&self) -> impl Iterator<Item = &'a ValueRow> + use<'a> {
        self.batch.values[self.row.values.0 as usize..self.row.values.1 as usize].iter()
    }
}
