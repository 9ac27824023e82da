//! Reading dead letters, each with what became of it since it was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::entry::{Entry, StoredDeadLetter, decode};
use super::exists;
use super::index::{Index, Note};
use crate::error::StorageError;
use crate::files::Files;
use crate::frame::{FrameReader, Kind};

/// Reads the dead letters of a sink in order.
pub struct DeadLetterReader {
    reader: Option<FrameReader>,
    live: BTreeMap<u64, u64>,
    notes: BTreeMap<u64, Note>,
    ids: Option<BTreeSet<u64>>,
}

impl DeadLetterReader {
    /// Reads the writer's own file.
    pub(super) fn new(reader: FrameReader, index: &Index, ids: Option<BTreeSet<u64>>) -> Self {
        let (live, notes) = (index.live.clone(), index.notes.clone());
        Self { reader: Some(reader), live, notes, ids }
    }

    /// Reads a file that another process may be appending to.
    pub(crate) fn open(files: &dyn Files, path: &Path) -> Result<Self, StorageError> {
        if !exists(files, path)? {
            let (live, notes) = (BTreeMap::new(), BTreeMap::new());
            return Ok(Self { reader: None, live, notes, ids: None });
        }
        let mut reader = FrameReader::open(files, path, Kind::DeadLetters)?;
        let (mut index, mut payload) = (Index::default(), Vec::new());
        // What became of letters stands behind them: once through for that, once for the letters.
        while let Some(frame) = reader.next_live(&mut payload, 0)? {
            index.add(decode(&reader, &payload)?.0, frame.end - frame.offset);
        }
        reader.rewind();
        Ok(Self { reader: Some(reader), live: index.live, notes: index.notes, ids: None })
    }

    fn read(&mut self) -> Result<Option<StoredDeadLetter>, StorageError> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let mut payload = Vec::new();
        while reader.next_live(&mut payload, 0)?.is_some() {
            let (entry, used) = decode(reader, &payload)?;
            let Entry::Letter {
                id,
                epoch,
                cause,
                reason,
                attempts,
                first_failed_at,
                last_failed_at,
                context_len,
            } = entry
            else {
                continue;
            };
            let is_wanted = self.ids.as_ref().is_none_or(|ids| ids.contains(&id));
            if !is_wanted || !self.live.contains_key(&id) {
                continue;
            }
            let rest = payload.split_off(used);
            let context_len = usize::try_from(context_len).unwrap_or(usize::MAX);
            let Some((context, bytes)) = rest.split_at_checked(context_len) else {
                return Err(reader.damaged("a letter is too short"));
            };
            let Note { is_marked, superseded_by, failed } = self.notes.remove(&id).unwrap_or_default();
            let (reason, attempts, last_failed_at) = failed.unwrap_or((reason, attempts, last_failed_at));
            return Ok(Some(StoredDeadLetter {
                id,
                epoch,
                cause,
                reason,
                attempts,
                first_failed_at,
                last_failed_at,
                superseded_by,
                is_marked,
                context: context.to_vec(),
                bytes: bytes.to_vec(),
            }));
        }
        Ok(None)
    }
}

impl Iterator for DeadLetterReader {
    type Item = Result<StoredDeadLetter, StorageError>;

    /// The next letter; ends after the first error.
    fn next(&mut self) -> Option<Self::Item> {
        let letter = self.read();
        if letter.is_err() {
            self.reader = None;
        }
        letter.transpose()
    }
}
