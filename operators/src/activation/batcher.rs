//! Sorts membership changes for the arrangement that keeps them.
//!
//! Differential's own batcher sorts pages of 170 such rows and merges them two by two: with many segments that is nine
//! passes over an epoch of 10,000 events. All rows come before any is asked for, so here they are laid out by segment in
//! one pass, and sorted within each.

use differential_dataflow::{
    batcher::{Batcher, Extract},
    trace::{Builder as _, implementations::ValBuilder},
};
use serde::{Deserialize, Serialize};
use tidewater_model::order;
use timely::progress::{Antichain, frontier::AntichainRef};

use crate::graph::Time;

type Builder = ValBuilder<u32, u128, Time, isize>;

/// Rows that are handed to the builder at a time.
const PAGE: usize = if cfg!(test) { 8 } else { 1 << 10 };

/// A membership that begins or ends, in the 32 bytes that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct MembershipRow {
    segment: u32,
    /// Most significant half first.
    profile: (u64, u64),
    pub(crate) time: Time,
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

    pub(crate) fn profile(&self) -> u128 {
        u128::from(self.profile.0) << 64 | u128::from(self.profile.1)
    }

    pub(crate) fn diff(&self) -> isize {
        self.diff as isize
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
    type Output = <Builder as differential_dataflow::trace::Builder>::Output;

    fn extract<'a>(
        &'a mut self,
        upper: AntichainRef<'_, Time>,
    ) -> (Option<Self::Output>, AntichainRef<'a, Time>) {
        // None, as long as the epochs are fed one by one.
        let mut later: Vec<_> = self.rows.extract_if(.., |row| upper.less_equal(&row.time)).collect();
        later.sort_unstable();
        self.frontier = net(&later).map(|(row, _)| row.time).collect();
        let ready = by_segment(std::mem::replace(&mut self.rows, later));
        (build(&ready), self.frontier.borrow())
    }
}

/// The rows ordered by segment, profile and time.
fn by_segment(rows: Vec<MembershipRow>) -> Vec<MembershipRow> {
    let segments = rows.iter().map(|row| row.segment as usize + 1).max().unwrap_or(0);
    let mut sorted = order::by_place(&rows, segments, |row| row.segment as usize);
    for rows in sorted.chunk_by_mut(|a, b| a.segment == b.segment) {
        rows.sort_unstable_by_key(|row| (row.profile, row.time));
    }
    sorted
}

/// Of sorted rows those that do not cancel out, with what they come to.
fn net(rows: &[MembershipRow]) -> impl Iterator<Item = (MembershipRow, isize)> {
    let same = rows.chunk_by(MembershipRow::is_same);
    same.map(|rows| (rows[0], rows.iter().map(MembershipRow::diff).sum())).filter(|(_, diff)| *diff != 0)
}

fn build(rows: &[MembershipRow]) -> Option<<MembershipBatcher as Extract>::Output> {
    let segments = rows.chunk_by(|a, b| a.segment == b.segment).count();
    // Nearly all rows have the time and the difference of the one before, which takes no room of its own.
    let mut builder = Builder::with_capacity(segments, rows.len(), 0);
    let mut page = Vec::with_capacity(PAGE.min(rows.len()));
    for (row, diff) in net(rows) {
        page.push(((row.segment, row.profile()), row.time, diff));
        if page.len() == PAGE {
            builder.push(&mut page);
        }
    }
    builder.push(&mut page);
    builder.done()
}

#[cfg(test)]
mod tests {
    use differential_dataflow::trace::{Cursor, Navigable, implementations::ValBatcher};
    use proptest::prelude::*;

    use super::*;

    type Batch = <MembershipBatcher as Extract>::Output;
    type Update = ((u32, u128), Time, isize);

    fn extract(
        batcher: &mut impl Extract<Time = Time, Output = Batch>,
        upper: Time,
    ) -> (Vec<Update>, Vec<Time>) {
        let upper = Antichain::from_elem(upper);
        let (batch, frontier) = batcher.extract(upper.borrow());
        let mut rows = Vec::new();
        if let Some(batch) = batch {
            let mut cursor = batch.cursor();
            while let Some(segment) = cursor.get_key(&batch).copied() {
                while let Some(profile) = cursor.get_val(&batch).copied() {
                    cursor.map_times(&batch, |time, diff| rows.push(((segment, profile), *time, *diff)));
                    cursor.step_val(&batch);
                }
                cursor.step_key(&batch);
            }
        }
        (rows, frontier.to_vec())
    }

    fn pages() -> impl Strategy<Value = Vec<Vec<(u32, u128, u64, bool)>>> {
        let profile = prop_oneof![0..5_u128, (0..5_u128).prop_map(|low| low << 90 | 7)];
        let row = (0..40_u32, profile, 0..4_u64, any::<bool>());
        prop::collection::vec(prop::collection::vec(row, 0..60), 0..4)
    }

    proptest! {
        /// Batches and frontiers are those of differential's own batcher, with rows that cancel out and many times, too.
        #[test]
        fn does_what_differentials_own_does(
            segments in 1..40_u32,
            rounds in prop::collection::vec((pages(), 0..3_u64), 1..8),
        ) {
            let (mut own, mut theirs) = (MembershipBatcher::new(), ValBatcher::new(None, 0));
            let mut now = 0;
            for (pages, step) in rounds {
                for page in pages {
                    let row = |(segment, profile, ahead, entered): (u32, u128, u64, bool)| {
                        MembershipRow::new(segment % segments, profile, now + ahead, entered)
                    };
                    let mut page: Vec<MembershipRow> = page.into_iter().map(row).collect();
                    let mut same: Vec<Update> =
                        page.iter().map(|row| ((row.segment(), row.profile()), row.time, row.diff())).collect();
                    theirs.insert(&mut same);
                    own.insert(&mut page);
                }
                now += step;
                prop_assert_eq!(extract(&mut own, now), extract(&mut theirs, now));
            }
        }
    }
}
