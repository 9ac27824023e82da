//! A batch: the memberships that began or ended in a stretch of time.

use differential_dataflow::trace::{Navigable, implementations::spine_fueled::SpineBatch};

use crate::{
    activation::memberships::{
        cursor::MembershipCursor,
        merger::MembershipMerger,
        pages::{Pages, Row, Rows},
    },
    graph::Time,
};

/// Rows ordered by segment, profile and time, none twice and none without effect.
#[derive(Debug)]
pub struct MembershipBatch {
    /// Those that have rows, in order.
    pub(super) segments: Vec<u32>,
    /// For each of them the number of rows up to and with its last.
    pub(super) ends: Vec<usize>,
    pub(super) rows: Pages,
}

impl SpineBatch for MembershipBatch {
    type Time = Time;
    type Merger = MembershipMerger;

    fn len(&self) -> usize {
        self.rows.len()
    }
}

impl Navigable for MembershipBatch {
    type Cursor = MembershipCursor;

    fn cursor(&self) -> MembershipCursor {
        MembershipCursor::default()
    }
}

/// Builds a batch from rows in order.
#[derive(Debug)]
pub(super) struct MembershipBuilder {
    batch: MembershipBatch,
    /// The row before, to which the next may add: it is not in the batch yet.
    last: Row,
    /// The segment of that row.
    segment: u32,
}

impl MembershipBuilder {
    /// For at most `rows` rows.
    pub(super) fn with_capacity(rows: usize) -> Self {
        let rows = Pages::with_capacity(rows);
        let batch = MembershipBatch { segments: Vec::new(), ends: Vec::new(), rows };
        Self { batch, last: (0, 0, 0), segment: 0 }
    }

    /// Adds rows of a segment, none less than the one before.
    #[inline]
    pub(super) fn extend(&mut self, segment: u32, rows: impl Iterator<Item = Row>) {
        self.turn_to(segment);
        // A copy, so that it is not read from memory and written there for every row.
        let mut last = self.last;
        for row in rows {
            if (row.0, row.1) == (last.0, last.1) {
                last.2 += row.2;
            } else {
                self.write(last);
                last = row;
            }
        }
        self.last = last;
    }

    /// Adds rows of two pages, or of one, as far as it goes without a look at each row's time. Returns how many of each were read:
    /// none if it does not go at all, and then [`extend`](Self::extend) must do.
    pub(super) fn extend_at_once(
        &mut self,
        segment: u32,
        (a, b): (Rows<'_>, Option<Rows<'_>>),
        since: Time,
    ) -> [usize; 2] {
        let Some(time) = a.time(since).filter(|time| b.is_none_or(|b| b.time(since) == Some(*time))) else {
            return [0, 0];
        };
        self.turn_to(segment);
        // A row before of the same profile must be added to.
        let is_behind = |rows: &Rows<'_>| rows.first().is_some_and(|profile| profile > self.last.0);
        if self.last.2 != 0 && !(is_behind(&a) && b.iter().all(is_behind)) {
            return [0, 0];
        }
        self.write(self.last);
        self.last.2 = 0;
        let rows = &mut self.batch.rows;
        let before = rows.len();
        let read = match b {
            Some(b) => rows.merge(a, b, time),
            None => [rows.copy(a, time), 0],
        };
        // Else the last one is another segment's.
        if rows.len() > before
            && let Some(last) = rows.pop()
        {
            self.last = last;
        }
        read
    }

    fn turn_to(&mut self, segment: u32) {
        if segment != self.segment {
            self.end_segment();
            self.segment = segment;
        }
    }

    /// The batch, if there is anything in it.
    pub(super) fn done(mut self) -> Option<MembershipBatch> {
        self.end_segment();
        (self.batch.len() > 0).then_some(self.batch)
    }

    fn end_segment(&mut self) {
        self.write(self.last);
        self.last.2 = 0;
        let batch = &mut self.batch;
        if batch.rows.len() > batch.ends.last().copied().unwrap_or_default() {
            batch.segments.push(self.segment);
            batch.ends.push(batch.rows.len());
        }
    }

    #[inline]
    fn write(&mut self, row: Row) {
        if row.2 != 0 {
            self.batch.rows.push(row);
        }
    }
}
