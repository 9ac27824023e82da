//! Reading the quarantine: records by id without those that were redriven, and what one pass over the file finds.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Entry, Filter, Record, decode};
use crate::error::StorageError;
use crate::files::Files;
use crate::frame::{End, FrameReader, Kind, find_end};

/// Reads quarantined events by id, without those that were redriven; as of the moment it was made.
pub struct QuarantineReader {
    reader: Option<FrameReader>,
    redriven: BTreeSet<u64>,
    /// The last id there was. Ids only grow, so what is appended later has a larger one.
    last: u64,
    filter: Filter,
    payload: Vec<u8>,
}

impl QuarantineReader {
    /// Reads the writer's own file.
    pub(super) fn new(reader: FrameReader, redriven: BTreeSet<u64>, last: u64, filter: Filter) -> Self {
        Self { reader: Some(reader), redriven, last, filter, payload: Vec::new() }
    }

    /// Reads a file that another process may be appending to.
    pub(crate) fn open(files: &dyn Files, path: &Path, filter: Filter) -> Result<Self, StorageError> {
        let mut reader = FrameReader::open(files, path, Kind::Quarantine)?;
        let (mut redriven, mut last) = (BTreeSet::new(), 0);
        let mut payload = Vec::new();
        // What is redriven stands behind the events: once through for that, once for the events.
        while reader.next_live(&mut payload, 0)?.is_some() {
            match decode(&reader, &payload)?.0 {
                Entry::Rejected { id, .. } => last = last.max(id),
                Entry::Redriven(ids) => redriven.extend(ids),
            }
        }
        reader.rewind();
        Ok(Self { reader: Some(reader), redriven, last, filter, payload })
    }

    pub(crate) fn empty() -> Self {
        let redriven = BTreeSet::new();
        Self { reader: None, redriven, last: 0, filter: Filter::All, payload: Vec::new() }
    }

    fn read(&mut self) -> Result<Option<Record>, StorageError> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        while reader.next_live(&mut self.payload, 0)?.is_some() {
            let (entry, used) = decode(reader, &self.payload)?;
            let Entry::Rejected { id, reason, source, received_at, original_len } = entry else {
                continue;
            };
            if id > self.last {
                return Ok(None);
            }
            if !self.redriven.contains(&id) && self.filter.matches(id, &reason) {
                let bytes = self.payload[used..].to_vec();
                let record = Record { id, reason, source, received_at, bytes, original_len };
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl Iterator for QuarantineReader {
    type Item = Result<Record, StorageError>;

    /// The next record; ends after the first error.
    fn next(&mut self) -> Option<Self::Item> {
        let record = self.read();
        if record.is_err() {
            self.reader = None;
        }
        record.transpose()
    }
}

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
