//! Segments: which profile is a member, decided from what changed.

/// What evaluation reads of one profile besides its value words.
pub(crate) trait Subject {
    /// Whether the profile has this value (by its keyed hash) of the identifier with this rank.
    fn has_value(&self, identifier: usize, hash: u128) -> bool;

    /// Appends the text of a string scalar of this profile (a place in the worker's trait texts).
    fn text(&self, start: u64, len: u32) -> &[u8];

    /// When the value of a windowed trait may next change by time alone, as an instant after `now`; `None` when
    /// its window is empty. Exact for the oldest pane: the first instant at which that pane is outside.
    fn next_expiry(&self, trait_index: usize) -> Option<i64>;

    /// For a windowed count that is at least `k` (`k >= 1`): the first instant at which time alone brings it
    /// below `k`, that is when the k-th newest event leaves the window.
    fn falls_below(&self, trait_index: usize, k: u64) -> Option<i64>;
}
