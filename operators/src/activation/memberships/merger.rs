//! Merges two batches, at most a page of each at a time.

use std::iter;

use differential_dataflow::trace::implementations::spine_fueled::{Merger, SpineBatch};
use timely::progress::frontier::AntichainRef;

use crate::{
    activation::memberships::{
        batch::{MembershipBatch, MembershipBuilder},
        pages::Rows,
    },
    graph::Time,
};

/// A merge under way.
#[derive(Debug)]
pub struct MembershipMerger {
    merged: MembershipBuilder,
    /// How far each of the two has been read.
    read: [Position; 2],
    /// Times before this one need not be told apart any more.
    since: Time,
}

/// A row that comes next, and the place of its segment.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    place: usize,
    row: usize,
}

impl Position {
    /// The rows that come next, if they are of this segment.
    fn rows<'a>(&self, batch: &'a MembershipBatch, segment: u32) -> Option<Rows<'a>> {
        (batch.segments.get(self.place) == Some(&segment))
            .then(|| batch.rows.rows(self.row, batch.ends[self.place]))
    }

    fn advance(&mut self, batch: &MembershipBatch, rows: usize) {
        self.row += rows;
        if rows > 0 && self.row == batch.ends[self.place] {
            self.place += 1;
        }
    }
}

impl Merger<MembershipBatch> for MembershipMerger {
    fn new(first: &MembershipBatch, second: &MembershipBatch, since: AntichainRef<'_, Time>) -> Self {
        let merged = MembershipBuilder::with_capacity(first.len() + second.len());
        // Epochs are in a row, so there is one such time at most.
        Self { merged, read: [Position::default(); 2], since: since.first().copied().unwrap_or(0) }
    }

    fn work(&mut self, first: &MembershipBatch, second: &MembershipBatch, fuel: &mut isize) {
        while *fuel > 0 {
            let segments = [first.segments.get(self.read[0].place), second.segments.get(self.read[1].place)];
            let Some(segment) = segments.into_iter().flatten().copied().min() else { return };
            let read = match (self.read[0].rows(first, segment), self.read[1].rows(second, segment)) {
                (Some(a), b) => self.merge(segment, a, b),
                (None, Some(b)) => {
                    let [read, none] = self.merge(segment, b, None);
                    [none, read]
                }
                (None, None) => return,
            };
            self.read[0].advance(first, read[0]);
            self.read[1].advance(second, read[1]);
            *fuel -= (read[0] + read[1]) as isize;
        }
    }

    fn done(self) -> Option<MembershipBatch> {
        self.merged.done()
    }
}

impl MembershipMerger {
    /// Adds rows of one or both until one is at its end, or before. Returns how many were read of each, at least one in all.
    fn merge(&mut self, segment: u32, a: Rows<'_>, b: Option<Rows<'_>>) -> [usize; 2] {
        let read = self.merged.extend_at_once(segment, (a, b), self.since);
        match b {
            _ if read != [0, 0] => read,
            Some(b) => self.merge_by_time(segment, a, b),
            None => {
                self.merged.extend(segment, (0..a.len()).map(|row| a.row(row, self.since)));
                [a.len(), 0]
            }
        }
    }

    fn merge_by_time(&mut self, segment: u32, a: Rows<'_>, b: Rows<'_>) -> [usize; 2] {
        let (mut i, mut j, since) = (0, 0, self.since);
        let next = || {
            if i == a.len() || j == b.len() {
                return None;
            }
            let (left, right) = (a.row(i, since), b.row(j, since));
            let is_left = (left.0, left.1) <= (right.0, right.1);
            i += usize::from(is_left);
            j += usize::from(!is_left);
            Some(if is_left { left } else { right })
        };
        self.merged.extend(segment, iter::from_fn(next));
        [i, j]
    }
}
