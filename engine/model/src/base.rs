//! The state at a cut of the log as plain facts: what everything before the cut still means for results.
//!
//! Once old events are retired, this and the events since are what results are a function of. The dataflow hands the facts
//! out, and the batch evaluator goes on from them.

use crate::{Decimal, Scalar, Timestamp};

/// Everything that the events before a cut still say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseFacts {
    /// Every identifier they mention.
    pub identifiers: Vec<BaseIdentifier>,
    /// Alias events whose `previousId` may yet turn out to be a user id.
    pub aliases: Vec<BaseAlias>,
    /// Links that were taken back by command: two places in `identifiers` each.
    pub unlinked: Vec<(usize, usize)>,
}

/// An identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseIdentifier {
    /// Index of its definition.
    pub identifier: usize,
    /// Its normalized value.
    pub value: String,
    /// The lowest place of an event that mentions it; `None` if none does but aliases of [`BaseFacts::aliases`].
    pub first_place: Option<u64>,
    /// Whether an event carries it at one of its paths.
    pub is_carried: bool,
    /// Whether it owns an event.
    pub owns: bool,
    /// What the events that it owns link it with.
    pub links: Vec<BaseLink>,
    /// Traits without a window, by their indices: what the events that it owns have given.
    pub totals: Vec<(usize, Partial)>,
    /// Traits with a window, each with an event time rounded up to the window's resolution. The time had come.
    pub panes: Vec<(usize, Timestamp, Partial)>,
    /// Traits with a window, each with the exact time of one event whose time had not come.
    pub waiting: Vec<(usize, Timestamp, Partial)>,
}

/// A link from an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseLink {
    /// The place in [`BaseFacts::identifiers`] of the other end.
    pub other: usize,
    /// The time of the first event that asserts it.
    pub first: Timestamp,
    /// The time of the last one.
    pub last: Timestamp,
}

/// An alias event that is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseAlias {
    /// The place in [`BaseFacts::identifiers`] of its owner.
    pub owner: usize,
    /// Its place in the log.
    pub place: u64,
    /// `previousId` as a user id, which no other event carries: index of the identifier, and value.
    pub as_user: (usize, String),
    /// `previousId` as what it stands for as long as none does.
    pub as_anonymous: Option<(usize, String)>,
}

/// What a trait has of some events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partial {
    /// Of a count: how many.
    Count(u64),
    /// Of a sum, in units of 10^-9.
    Sum(i128),
    /// Of a least or greatest number.
    Number(Decimal),
    /// Of an average.
    Mean {
        /// The sum, in units of 10^-9.
        sum: i128,
        /// Of how many numbers.
        count: u64,
    },
    /// Of the first or last value.
    Scalar {
        /// The value.
        value: Scalar,
        /// The time of its event.
        at: Timestamp,
    },
    /// Of the first or last time.
    Time(Timestamp),
}
