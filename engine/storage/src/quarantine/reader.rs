//! Reading the quarantine: records by id, without those that were redriven.

use std::collections::BTreeSet;
use std::path::Path;

use super::record::{Entry, Record, decode};
use crate::error::StorageError;
use crate::files::Files;
use crate::frame::{FrameReader, Kind};

/// Which records are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every one.
    All,
    /// Those with these ids.
    Ids(BTreeSet<u64>),
    /// Those refused for this reason.
    Reason(String),
}

impl Filter {
    fn matches(&self, id: u64, reason: &str) -> bool {
        match self {
            Self::All => true,
            Self::Ids(ids) => ids.contains(&id),
            Self::Reason(wanted) => wanted == reason,
        }
    }
}

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
