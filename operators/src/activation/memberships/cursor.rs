//! A cursor over a batch, as differential's operators and the queries read it.

use differential_dataflow::trace::Cursor;

use crate::{activation::memberships::batch::MembershipBatch, graph::Time};

/// Walks over a batch from segment to segment, and over the profiles of each.
#[derive(Debug, Default)]
pub struct MembershipCursor {
    /// The place of the segment in the batch.
    place: usize,
    row: usize,
}

impl MembershipCursor {
    fn end(&self, batch: &MembershipBatch) -> usize {
        batch.ends.get(self.place).copied().unwrap_or_default()
    }
}

impl Cursor for MembershipCursor {
    type Storage = MembershipBatch;
    type Key<'a> = &'a u32;
    type ValOwn = u128;
    type Val<'a> = &'a u128;
    type Time = Time;
    type TimeGat<'a> = &'a Time;
    type Diff = isize;
    type DiffGat<'a> = &'a isize;
    type KeyContainer = Vec<u32>;
    type ValContainer = Vec<u128>;
    type TimeContainer = Vec<Time>;
    type DiffContainer = Vec<isize>;

    fn key_valid(&self, batch: &MembershipBatch) -> bool {
        self.place < batch.segments.len()
    }

    fn val_valid(&self, batch: &MembershipBatch) -> bool {
        self.row < self.end(batch)
    }

    fn key<'a>(&self, batch: &'a MembershipBatch) -> &'a u32 {
        &batch.segments[self.place]
    }

    fn val<'a>(&self, batch: &'a MembershipBatch) -> &'a u128 {
        batch.rows.profile(self.row)
    }

    fn get_key<'a>(&self, batch: &'a MembershipBatch) -> Option<&'a u32> {
        batch.segments.get(self.place)
    }

    fn get_val<'a>(&self, batch: &'a MembershipBatch) -> Option<&'a u128> {
        self.val_valid(batch).then(|| self.val(batch))
    }

    fn map_times<L: FnMut(&Time, &isize)>(&mut self, batch: &MembershipBatch, mut logic: L) {
        let (mut row, profile) = (self.row, self.get_val(batch));
        while row < self.end(batch) && Some(batch.rows.profile(row)) == profile {
            logic(batch.rows.time(row), &(batch.rows.diff(row) as isize));
            row += 1;
        }
    }

    fn step_key(&mut self, batch: &MembershipBatch) {
        self.place = batch.segments.len().min(self.place + 1);
        self.rewind_vals(batch);
    }

    fn seek_key(&mut self, batch: &MembershipBatch, segment: &u32) {
        self.place += batch.segments[self.place..].partition_point(|place| place < segment);
        self.rewind_vals(batch);
    }

    fn step_val(&mut self, batch: &MembershipBatch) {
        let Some(profile) = self.get_val(batch) else { return };
        self.row += 1;
        while self.get_val(batch) == Some(profile) {
            self.row += 1;
        }
    }

    fn seek_val(&mut self, batch: &MembershipBatch, profile: &u128) {
        let (mut low, mut high) = (self.row, self.end(batch));
        while low < high {
            let middle = low.midpoint(high);
            match batch.rows.profile(middle) < profile {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        self.row = low;
    }

    fn rewind_keys(&mut self, batch: &MembershipBatch) {
        self.place = 0;
        self.rewind_vals(batch);
    }

    fn rewind_vals(&mut self, batch: &MembershipBatch) {
        self.row = if self.place == 0 { 0 } else { batch.ends[self.place - 1] };
    }
}
