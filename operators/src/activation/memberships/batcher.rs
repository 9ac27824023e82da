//! Sorts membership changes for the arrangement that keeps them.
//!
//! Differential's own batcher sorts pages of 170 such rows and merges them two by two: with many segments that is nine
//! passes over an epoch of 10,000 events. All rows come before any is asked for, so here the profiles are sorted, and then
//! their rows laid out by segment in one pass.

use differential_dataflow::batcher::{Batcher, Extract};
use serde::{Deserialize, Serialize};
use tidewater_model::order;
use timely::progress::{Antichain, frontier::AntichainRef};

use crate::{
    activation::memberships::batch::{MembershipBatch, MembershipBuilder},
    graph::Time,
};

/// A membership that begins or ends, in the 32 bytes that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct MembershipRow {
    segment: u32,
    /// Most significant half first.
    profile: (u64, u64),
    time: Time,
    /// 1 or -1.
    diff: i32,
}

impl MembershipRow {
    pub(crate) fn new(segment: u32, profile: u128, time: Time, entered: bool) -> Self {
        let diff = if entered { 1 } else { -1 };
        Self { segment, profile: ((profile >> 64) as u64, profile as u64), time, diff }
    }

    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    fn profile(&self) -> u128 {
        u128::from(self.profile.0) << 64 | u128::from(self.profile.1)
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.segment, self.profile, self.time) == (other.segment, other.profile, other.time)
    }
}

/// The rows that are not in a batch yet.
#[derive(Debug)]
pub(crate) struct MembershipBatcher {
    rows: Vec<MembershipRow>,
    /// The least time of those that do not cancel out.
    frontier: Antichain<Time>,
}

impl MembershipBatcher {
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new(), frontier: Antichain::new() }
    }
}

impl Batcher<Vec<MembershipRow>> for MembershipBatcher {
    fn insert(&mut self, rows: &mut Vec<MembershipRow>) {
        match self.rows.is_empty() {
            true => std::mem::swap(&mut self.rows, rows),
            false => self.rows.append(rows),
        }
    }
}

impl Extract for MembershipBatcher {
    type Time = Time;
    type Output = MembershipBatch;

    fn extract<'a>(
        &'a mut self,
        upper: AntichainRef<'_, Time>,
    ) -> (Option<Self::Output>, AntichainRef<'a, Time>) {
        // There are none as long as the epochs are fed one by one.
        let mut later: Vec<_> = self.rows.extract_if(.., |row| upper.less_equal(&row.time)).collect();
        later.sort_unstable();
        let same = later.chunk_by(MembershipRow::is_same);
        let is_net = |rows: &&[MembershipRow]| rows.iter().map(|row| row.diff).sum::<i32>() != 0;
        self.frontier = same.filter(is_net).map(|rows| rows[0].time).collect();
        let ready = std::mem::replace(&mut self.rows, later);
        (build(&by_segment(&ready)), self.frontier.borrow())
    }
}

/// The rows ordered by segment, profile and time.
fn by_segment(rows: &[MembershipRow]) -> Vec<MembershipRow> {
    // A profile changes in many segments at once, so whole runs of rows are sorted, not rows.
    let of_profiles = rows.chunk_by(|a, b| a.profile == b.profile);
    let mut runs: Vec<_> = of_profiles.map(|rows| (rows[0].profile, rows)).collect();
    runs.sort_unstable_by_key(|run| run.0);
    let by_profile = runs.iter().flat_map(|run| run.1);
    let segments = rows.iter().map(|row| row.segment as usize + 1).max().unwrap_or(0);
    let mut sorted = order::by_place(by_profile, rows.len(), segments, |row| row.segment as usize);
    for rows in sorted.chunk_by_mut(|a, b| a.segment == b.segment) {
        let key = |row: &MembershipRow| (row.profile, row.time);
        // Only what is of several epochs can be in disorder now.
        if !rows.is_sorted_by_key(key) {
            rows.sort_unstable_by_key(key);
        }
    }
    sorted
}

fn build(rows: &[MembershipRow]) -> Option<MembershipBatch> {
    let mut builder = MembershipBuilder::with_capacity(rows.len());
    for rows in rows.chunk_by(|a, b| a.segment == b.segment) {
        builder.extend(rows[0].segment, rows.iter().map(|row| (row.profile(), row.time, row.diff)));
    }
    builder.done()
}
