//! Segments: which profile is a member, decided from what changed.
//!
//! [`Evaluator`] is a pipeline's predicates compiled once: every predicate is a little branching program over
//! yes/no tests (`tree`, `compile`), every number a segment compares is a line with the thresholds on it (`lines`).
//! [`Evaluator::evaluate`] looks at which values crossed which thresholds, runs the programs of the segments that
//! can have changed their answer, and says when time alone would change one (`timers`, `horizon`).

mod chain;
mod compare;
mod compile;
mod evaluate;
mod horizon;
mod lines;
mod reason;
mod term;
mod timers;
mod tree;

pub(crate) use compile::Evaluator;
pub(crate) use evaluate::{Evaluation, Scratch};
pub(crate) use reason::Cause;

/// What evaluation reads of one profile besides its value words.
pub(crate) trait Subject {
    /// Whether the profile has this value (by its keyed hash) of the identifier with this rank.
    fn has_value(&self, identifier: usize, hash: u128) -> bool;

    /// The text of a string scalar of this profile (a place in the worker's trait texts). Reasons also ask for
    /// strings that stood in the old values.
    fn text(&self, start: u64, len: u32) -> &[u8];

    /// When the value of a windowed trait may next change because an event leaves the window, as an instant after
    /// `now`; `None` when its window is empty. Exact for the oldest pane: the first instant at which that pane is
    /// outside.
    ///
    /// Events dated in the future enter a window when their time comes; the caller wakes the profile for that.
    fn next_expiry(&self, trait_index: usize) -> Option<i64>;

    /// For a windowed count that is at least `k` (`k >= 1`): the first instant at which time alone brings it
    /// below `k`, that is when the k-th newest event leaves the window.
    fn falls_below(&self, trait_index: usize, k: u64) -> Option<i64>;
}

#[cfg(test)]
mod tests;
