//! Reads epochs in order, one in memory at a time; every epoch from the first asked for on, or an error.

use tidewater_model::Timestamp;

use crate::error::StorageError;
use crate::frame::{FrameReader, Step, Tail};
use crate::log::entry::{self, EpochEntry, EventBytes};
use crate::log::place::{LogFile, LogPlace};
use crate::log::recovery::wrong_epoch;
use crate::log::writer::first_is_missing;
use crate::meta::MetaFile;

/// Streams the log's entries, from plain and sealed files; also while a process appends to it.
///
/// It ends at the last whole entry. When the log has grown, [`read`](Self::read) goes on.
pub struct LogReader {
    place: LogPlace,
    meta: MetaFile,
    from: u64,
    /// Entries accepted at other times are left out.
    accepted: (Timestamp, Timestamp),
    current: LogFile,
    /// The first epoch of the current file.
    base: u64,
    /// The epoch of the next entry in the file.
    expected: u64,
    failed: bool,
}

impl LogReader {
    pub(crate) fn open(place: LogPlace, meta: MetaFile, from: u64) -> Result<Self, StorageError> {
        // As it is now: files may have been retired since whoever asks has looked.
        let log_starts = meta.read()?.log_starts;
        if from < log_starts {
            return Err(retired(log_starts, from));
        }
        let all = place.list()?;
        let first = all.range(log_starts..=from).next_back();
        let Some((&base, _)) = first.filter(|_| all.contains_key(&log_starts)) else {
            return Err(first_is_missing(&place, log_starts));
        };
        let mut current = place.open(base)?;
        let mut expected = base;
        if let LogFile::Sealed(sealed) = &mut current {
            expected = sealed.seek(from);
        }
        let accepted = (Timestamp(i64::MIN), Timestamp(i64::MAX));
        Ok(Self { place, meta, from, accepted, current, base, expected, failed: false })
    }

    /// Leaves out epochs that were accepted before `from` or after `to`. Of sealed files it reads hardly more than the rest.
    #[must_use]
    pub fn accepted(mut self, from: Timestamp, to: Timestamp) -> Self {
        self.accepted = (from, to);
        self
    }

    /// Reads the next entry into `entry`, whose memory is used again. False at the end of what is written so far;
    /// `entry` then holds nothing of use.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`] where an entry or a file that was durable is not what it was;
    /// [`StorageError::Refused`] if files were retired before they were read.
    pub fn read(&mut self, entry: &mut EpochEntry) -> Result<bool, StorageError> {
        let mut payload = entry.events.take_buffer();
        loop {
            let Some(offset) = self.next_payload(&mut payload)? else {
                return Ok(false);
            };
            let path = match &self.current {
                LogFile::Plain(plain) => plain.path(),
                LogFile::Sealed(sealed) => sealed.path(),
            };
            let damaged = |detail: &str| StorageError::damaged(path, offset, detail);
            *entry = entry::decode(payload).map_err(damaged)?;
            if entry.header.epoch != self.expected {
                return Err(damaged(&wrong_epoch(self.expected, entry.header.epoch)));
            }
            self.expected = self.expected.saturating_add(1);
            let accepted_at = entry.header.accepted_at;
            if entry.header.epoch >= self.from
                && self.accepted.0 <= accepted_at
                && accepted_at <= self.accepted.1
            {
                return Ok(true);
            }
            payload = entry.events.take_buffer();
        }
    }

    /// Reads the next entry, going to the next file where one ends; returns its offset, or that of its block.
    fn next_payload(&mut self, payload: &mut Vec<u8>) -> Result<Option<u64>, StorageError> {
        loop {
            let next = match &mut self.current {
                LogFile::Plain(plain) => {
                    let step = plain.next(payload, EventBytes::PADDING)?;
                    if let Step::Frame(frame) = step {
                        return Ok(Some(frame.offset));
                    }
                    // A running engine may have finished this entry, and a file, since the bytes were read. Whatever is to
                    // be concluded from what follows must be looked at first, and the entry then once more.
                    let next = next_file(&self.place, self.base, self.expected)?;
                    match end_of_plain(plain, step, next.is_some(), payload)? {
                        Some(offset) => return Ok(Some(offset)),
                        None => next,
                    }
                }
                LogFile::Sealed(sealed) => {
                    if let Some(epoch) = sealed.skip_to(self.accepted) {
                        self.expected = epoch;
                    }
                    if let Some(offset) = sealed.next(payload, EventBytes::PADDING)? {
                        return Ok(Some(offset));
                    }
                    next_file(&self.place, self.base, self.expected)?
                }
            };
            match (next, &self.current) {
                (Some(base), _) => self.open_next(base)?,
                (None, LogFile::Plain(_)) => return Ok(None),
                (None, LogFile::Sealed(sealed)) => {
                    return Err(StorageError::damaged(
                        sealed.path(),
                        0,
                        "the file behind this one is missing",
                    ));
                }
            }
        }
    }

    fn open_next(&mut self, base: u64) -> Result<(), StorageError> {
        if base != self.expected {
            let log_starts = self.meta.read()?.log_starts;
            if log_starts > self.expected {
                return Err(retired(log_starts, self.expected));
            }
            let detail =
                format!("epoch {} should stand here, but the next file begins with {base}", self.expected);
            return Err(match &self.current {
                LogFile::Plain(plain) => plain.damaged(&detail),
                LogFile::Sealed(sealed) => StorageError::damaged(sealed.path(), 0, detail),
            });
        }
        (self.current, self.base) = (self.place.open(base)?, base);
        Ok(())
    }
}

/// What a plain file that has no whole entry at `step` has by now: an entry, at this offset, or its end.
fn end_of_plain(
    plain: &mut FrameReader,
    step: Step,
    has_next: bool,
    payload: &mut Vec<u8>,
) -> Result<Option<u64>, StorageError> {
    let tail = match step {
        Step::Bad(_) if !has_next => plain.classify_tail()?,
        _ => Tail::Torn,
    };
    plain.refresh()?;
    match plain.next(payload, EventBytes::PADDING)? {
        Step::Frame(frame) => Ok(Some(frame.offset)),
        Step::Bad(detail) if has_next || tail == Tail::Damaged => Err(plain.damaged(detail)),
        Step::Bad(_) | Step::End => Ok(None),
    }
}

/// The first epoch of the file behind the one that begins with `base` and, if it is whole, ends before `expected`.
fn next_file(place: &LogPlace, base: u64, expected: u64) -> Result<Option<u64>, StorageError> {
    // The file that is written to is always here, so without a later one here there is none anywhere.
    match place.list_here()?.range(base + 1..).next() {
        None => Ok(None),
        Some((next, _)) if *next == expected => Ok(Some(expected)),
        Some(_) => Ok(place.list()?.range(base + 1..).next().map(|(next, _)| *next)),
    }
}

fn retired(log_starts: u64, wanted: u64) -> StorageError {
    StorageError::refused(format!("the log begins at epoch {log_starts}, epoch {wanted} is no longer in it"))
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
