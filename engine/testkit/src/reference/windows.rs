//! Windows as explicit updates of the input: a list of instants at which contributions enter and leave.
//!
//! Retractions dated into the future would do the same inside the dataflow, but every epoch would merge all pending
//! ones again. So time is kept outside: before an epoch is sealed, whatever is due at its `now` is fed.

use std::collections::BTreeMap;

use tidewater_model::{Timestamp, Window};

use super::{collection::Identifier, decode::Contribution};

/// A contribution of one identifier to one trait.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) owner: Identifier,
    pub(super) part: usize,
    pub(super) contribution: Contribution,
}

/// Contributions that are yet to enter or leave their windows.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// By the instant from which it holds, in 128 bits, so that no sum overflows: +1 enters, -1 leaves.
    pending: BTreeMap<i128, Vec<(Fact, isize)>>,
}

impl Schedule {
    /// Puts a contribution dated `time` on the list of its window.
    pub(super) fn add(&mut self, fact: Fact, time: Timestamp, window: Window) {
        let (time, resolution) = (i128::from(time.0), i128::from(window.resolution.0));
        let rounded_up = -(-time).div_euclid(resolution) * resolution;
        let leaves = rounded_up + i128::from(window.length.0);
        self.pending.entry(time).or_default().push((fact.clone(), 1));
        self.pending.entry(leaves).or_default().push((fact, -1));
    }

    /// What enters and leaves up to and including `now`.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<(Fact, isize)> {
        let later = self.pending.split_off(&(i128::from(now.0) + 1));
        std::mem::replace(&mut self.pending, later).into_values().flatten().collect()
    }
}
