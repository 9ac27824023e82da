//! Reads epochs in order, one in memory at a time; every epoch from the first asked for on, or an error.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::StorageError;
use crate::files::Files;
use crate::frame::{FrameReader, Step, Tail};
use crate::log::entry::{self, EpochEntry, EventBytes};
use crate::log::recovery::wrong_epoch;
use crate::log::writer::open_file;
use crate::log::{file_path, list_files};

/// Streams the log's entries; also while a process appends to it.
///
/// It ends at the last whole entry. When the log has grown, [`read`](Self::read) goes on.
pub struct LogReader {
    files: Arc<dyn Files>,
    directory: PathBuf,
    from: u64,
    current: FrameReader,
    /// The epoch of the next entry in the file.
    expected: u64,
    failed: bool,
}

impl LogReader {
    pub(crate) fn open(
        files: Arc<dyn Files>,
        directory: PathBuf,
        log_starts: u64,
        from: u64,
    ) -> Result<Self, StorageError> {
        if from < log_starts {
            return Err(StorageError::refused(format!(
                "the log begins at epoch {log_starts}, epoch {from} is no longer in it"
            )));
        }
        let bases = list_files(&*files, &directory)?;
        let first = bases.iter().copied().rfind(|&base| base <= from);
        let Some(base) = first.filter(|_| bases[0] == log_starts) else {
            let missing = file_path(&directory, log_starts);
            return Err(StorageError::damaged(&missing, 0, "the first file of the log is missing"));
        };
        let current = open_file(&*files, &file_path(&directory, base), base)?;
        Ok(Self { files, directory, from, current, expected: base, failed: false })
    }

    /// Reads the next entry into `entry`, whose memory is used again. False at the end of what is written so far;
    /// `entry` then holds nothing of use.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`] where an entry or a file that was durable is not what it was.
    pub fn read(&mut self, entry: &mut EpochEntry) -> Result<bool, StorageError> {
        let mut payload = entry.events.take_buffer();
        loop {
            let Some(offset) = self.next_frame(&mut payload)? else {
                return Ok(false);
            };
            let damaged = |detail: &str| StorageError::damaged(self.current.path(), offset, detail);
            *entry = entry::decode(payload).map_err(damaged)?;
            if entry.header.epoch != self.expected {
                return Err(damaged(&wrong_epoch(self.expected, entry.header.epoch)));
            }
            self.expected = self.expected.saturating_add(1);
            if entry.header.epoch >= self.from {
                return Ok(true);
            }
            payload = entry.events.take_buffer();
        }
    }

    /// Reads the next frame, going to the next file where one ends; returns its offset.
    fn next_frame(&mut self, payload: &mut Vec<u8>) -> Result<Option<u64>, StorageError> {
        loop {
            let step = self.current.next(payload, EventBytes::PADDING)?;
            if let Step::Frame(frame) = step {
                return Ok(Some(frame.offset));
            }
            // A running engine may have finished this entry, and a file, since the bytes were read. Whatever is to be
            // concluded from what follows must be looked at first, and the entry then once more.
            let next = self.next_file()?;
            let tail = match (&step, next) {
                (Step::Bad(_), None) => self.current.classify_tail()?,
                _ => Tail::Torn,
            };
            self.current.refresh()?;
            match (self.current.next(payload, EventBytes::PADDING)?, next) {
                (Step::Frame(frame), _) => return Ok(Some(frame.offset)),
                (Step::Bad(detail), Some(_)) => return Err(self.current.damaged(detail)),
                (Step::Bad(detail), None) if tail == Tail::Damaged => {
                    return Err(self.current.damaged(detail));
                }
                (Step::Bad(_) | Step::End, None) => return Ok(None),
                (Step::End, Some(base)) => self.open_next(base)?,
            }
        }
    }

    /// The first epoch of the file behind the current one.
    fn next_file(&self) -> Result<Option<u64>, StorageError> {
        let base = self.current.header().base;
        Ok(list_files(&*self.files, &self.directory)?.into_iter().find(|&other| other > base))
    }

    fn open_next(&mut self, base: u64) -> Result<(), StorageError> {
        if base != self.expected {
            return Err(self.current.damaged(&format!(
                "epoch {} should stand here, but the next file begins with {base}",
                self.expected
            )));
        }
        self.current = open_file(&*self.files, &file_path(&self.directory, base), base)?;
        Ok(())
    }
}

impl Iterator for LogReader {
    type Item = Result<EpochEntry, StorageError>;

    /// As [`read`](LogReader::read), with a new entry each time; ends after the first error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let mut entry = EpochEntry::default();
        match self.read(&mut entry) {
            Ok(true) => Some(Ok(entry)),
            Ok(false) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
