//! What one pass over the file finds, for the writing end.

use std::collections::BTreeSet;

use super::record::{Entry, decode};
use crate::error::StorageError;
use crate::frame::{End, FrameReader, find_end};

/// What one pass over the file finds.
pub(super) struct Scan {
    pub(super) next_id: u64,
    pub(super) live: u64,
    pub(super) redriven: BTreeSet<u64>,
}

impl Scan {
    pub(super) fn empty(next_id: u64) -> Self {
        Self { next_id, live: 0, redriven: BTreeSet::new() }
    }

    pub(super) fn run(reader: &mut FrameReader) -> Result<(Self, End), StorageError> {
        let mut scan = Self::empty(reader.header().base);
        let end = find_end(reader, 0, |reader, _, payload| {
            match decode(reader, payload)?.0 {
                Entry::Rejected { id, .. } => {
                    scan.next_id = scan.next_id.max(id.saturating_add(1));
                    scan.live += 1;
                }
                Entry::Redriven(ids) => scan.redriven.extend(ids),
            }
            Ok(())
        })?;
        // Every mark names an event that stands before it, once.
        scan.live = scan.live.saturating_sub(scan.redriven.len() as u64);
        Ok((scan, end))
    }
}
