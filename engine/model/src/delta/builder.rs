//! Puts the deltas of an epoch together.

use std::sync::Arc;

use crate::{
    delta::{Change, DeltaBatch, DeltaNames, Row, Span, ValueRow},
    order,
    profile::ProfileId,
    time::Timestamp,
};

/// Puts a [`DeltaBatch`] together.
#[derive(Debug)]
pub struct DeltaBatchBuilder {
    batch: DeltaBatch,
}

impl DeltaBatchBuilder {
    /// Starts an empty batch.
    pub fn new(epoch: u64, now: Timestamp, names: Arc<DeltaNames>) -> Self {
        Self::part(epoch, now, names, 0)
    }

    /// Starts a batch of deltas before which so many others of their epoch stand.
    pub fn part(epoch: u64, now: Timestamp, names: Arc<DeltaNames>, offset: usize) -> Self {
        let (rows, values, text) = (Vec::new(), Vec::new(), String::new());
        Self { batch: DeltaBatch { epoch, now, names, offset, rows, values, text, details: 0 } }
    }

    /// Makes room for so many more deltas.
    pub fn reserve(&mut self, deltas: usize) {
        self.batch.rows.reserve(deltas);
    }

    /// Adds a delta whose reason and identifiers follow with [`reason`](Self::reason) and
    /// [`identifier`](Self::identifier).
    pub fn delta(&mut self, segment: usize, profile: ProfileId, change: Change) {
        let batch = &mut self.batch;
        let reason = Span { start: batch.text.len() as u64, len: 0 };
        let values = batch.values.len() as u32;
        batch.rows.push(Row {
            segment: segment as u32,
            profile,
            change,
            reason,
            values: (values, values),
            detail: batch.details,
        });
        batch.details += 1;
    }

    /// Appends to the reason of the last delta. Call it before [`identifier`](Self::identifier).
    pub fn reason(&mut self, text: &str) {
        self.own_detail();
        self.batch.text.push_str(text);
        if let Some(row) = self.batch.rows.last_mut() {
            row.reason.len += text.len() as u32;
        }
    }

    /// Gives the last delta the reason of the delta before it, which costs nothing.
    pub fn same_reason(&mut self) {
        if let [.., before, last] = self.batch.rows.as_mut_slice() {
            last.reason = before.reason;
        }
    }

    /// Adds a value to the last delta; values come sorted by (identifier, value), at most [`MAX_LISTED_VALUES`]
    /// of one identifier.
    pub fn identifier(&mut self, identifier: usize, value: &str) {
        let text = Span { start: self.batch.text.len() as u64, len: value.len() as u32 };
        self.batch.text.push_str(value);
        self.value_row(ValueRow { identifier: identifier as u16, more: 0, text });
    }

    /// Gives the last delta the identifiers of the delta before it, which costs nothing. Call it after
    /// [`same_reason`](Self::same_reason).
    pub fn same_identifiers(&mut self) {
        if let [.., before, last] = self.batch.rows.as_mut_slice() {
            last.values = before.values;
            if last.reason == before.reason {
                last.detail = before.detail;
                self.batch.details = last.detail + 1;
            }
        }
    }

    /// Says that `count` further values of an identifier are not listed.
    pub fn more(&mut self, identifier: usize, count: u32) {
        self.value_row(ValueRow { identifier: identifier as u16, more: count, text: Span::default() });
    }

    /// The batch, sorted by (segment name, profile, change).
    ///
    /// Cheapest if the deltas were added by (profile, change): an epoch may have a hundred thousand.
    pub fn finish(mut self) -> DeltaBatch {
        let DeltaBatch { rows, names, .. } = &mut self.batch;
        let by_profile = |row: &Row| (row.profile, row.change);
        if !rows.is_sorted_by_key(by_profile) {
            rows.sort_unstable_by_key(by_profile);
        }
        let place = |row: &Row| names.order[row.segment as usize] as usize;
        *rows = order::by_place(rows.iter(), rows.len(), names.order.len(), place);
        self.batch
    }

    /// The last delta will differ from the one before.
    fn own_detail(&mut self) {
        if let [.., before, last] = self.batch.rows.as_mut_slice()
            && last.detail == before.detail
        {
            last.detail += 1;
            self.batch.details = last.detail + 1;
        }
    }

    fn value_row(&mut self, value: ValueRow) {
        self.own_detail();
        self.batch.values.push(value);
        let end = self.batch.values.len() as u32;
        if let Some(row) = self.batch.rows.last_mut() {
            row.values.1 = end;
        }
    }
}
