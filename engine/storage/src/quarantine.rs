//! Refused events: every one that finds room is kept with its reason until it has been redriven or dropped.

mod marks;
mod reader;
mod record;
mod scan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewater_model::HashKey;

use crate::error::StorageError;
use crate::files::{Blob, Files, Mode};
use crate::frame::{
    FRAME_HEADER_LEN, FileHeader, FrameReader, FrameWriter, Kind, MAX_PAYLOAD, Recovered, create_file,
};
use crate::state::Claim;

use record::{Entry, encode};
use scan::Scan;

pub use reader::{Filter, QuarantineReader};
pub use record::{NewRecord, Record};

/// While events are being marked in parts their room is given back once it is this share of the limit: then the copies of the
/// file that a redrive of everything takes are together about four times the limit, however small the parts are.
const WORTH_COMPACTING: u64 = 8;

/// No more of an event is kept whatever the options say: its entry must be one that can be written and read.
const LARGEST_RECORD: usize = MAX_PAYLOAD / 2;

/// How much a quarantine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineOptions {
    /// About how many bytes there may be on disk; then [`Appended::Full`]. What [`Quarantine::append_again`] takes may go
    /// beyond it, by an eighth and what is appended before the next mark.
    pub max_bytes: u64,
    /// Of a larger event only so many bytes are kept. Who redrives needs whole ones, so this should be the largest event
    /// that can be accepted; at most half of [`MAX_PAYLOAD`](crate::MAX_PAYLOAD) is kept.
    pub record_bytes: usize,
}

impl Default for QuarantineOptions {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, record_bytes: 1 << 20 }
    }
}

/// What became of a refused event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Appended {
    /// It is in the quarantine under this id; durable after [`Quarantine::sync`].
    Stored(u64),
    /// There is no room, and it was not taken. There will be some once events have been redriven or dropped.
    Full,
}

/// The writing end of the quarantine; there is one at a time.
///
/// To redrive: [`read`](Self::read), feed the events, wait until they are durable in the log or, by
/// [`append_again`](Self::append_again), here, then [`mark_read`](Self::mark_read) their ids. A crash in between feeds them
/// twice, which the engine's deduplication undoes; the other order would lose them.
pub struct Quarantine {
    files: Arc<dyn Files>,
    options: QuarantineOptions,
    frames: FrameWriter,
    next_id: u64,
    live: u64,
    redriven: BTreeSet<u64>,
    /// About how many bytes of the file are of no use: events that are redriven, and the marks that say so.
    redriven_bytes: u64,
    /// Marks are being made in parts, and more will follow.
    marking: bool,
    /// An event has found no room, and the file has not shrunk since.
    full: bool,
    head: Vec<u8>,
    _claim: Claim,
}

impl Quarantine {
    pub(crate) fn open(
        files: Arc<dyn Files>,
        path: PathBuf,
        key: HashKey,
        options: QuarantineOptions,
        claim: Claim,
    ) -> Result<(Self, Option<Recovered>), StorageError> {
        let directory = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let names = files.list(directory).map_err(|error| StorageError::io("list", directory, error))?;
        let (frames, scan, recovered) = if names.iter().any(|other| *other == name) {
            let mut reader = FrameReader::open(&*files, &path, Kind::Quarantine)?;
            let (scan, end) = Scan::run(&mut reader)?;
            let blob =
                files.open(&path, Mode::Write).map_err(|error| StorageError::io("open", &path, error))?;
            let header = *reader.header();
            (FrameWriter::resume(blob, &path, header, end.synced, end.offset)?, scan, end.cut)
        } else {
            let header = FileHeader::new(Kind::Quarantine, key, 1);
            (create_file(&*files, &path, header)?, Scan::empty(1), None)
        };
        let Scan { next_id, live, redriven } = scan;
        // How much of it is theirs is not known; it matters only if there is no room to compact it here.
        let redriven_bytes = if redriven.is_empty() { 0 } else { frames.len() };
        let (marking, full, head) = (false, false, Vec::new());
        let mut quarantine = Self {
            files,
            options,
            frames,
            next_id,
            live,
            redriven,
            redriven_bytes,
            marking,
            full,
            head,
            _claim: claim,
        };
        match quarantine.compact() {
            // Without room for a smaller copy the file stays as it is.
            Ok(()) | Err(StorageError::NoSpace { .. }) => Ok((quarantine, recovered)),
            Err(error) => Err(error),
        }
    }

    /// How many events are in quarantine.
    pub fn len(&self) -> u64 {
        self.live
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The file's length in bytes, redriven events included until the next [`compact`](Self::compact).
    pub fn bytes(&self) -> u64 {
        self.frames.len()
    }

    /// Whether an event has found no room, and none was made since. A smaller one may find some all the same.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Stores a refused event.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`]: it was not taken, the call may be repeated. [`StorageError::Poisoned`].
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<Appended, StorageError> {
        self.put(record, true)
    }

    /// Stores an event that was read here, has been fed once more and was refused again: also when there is no room for
    /// others, since it is to take the place of the one that is marked next. What is in it stays.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn append_again(&mut self, record: &NewRecord<'_>) -> Result<Appended, StorageError> {
        self.put(record, false)
    }

    fn put(&mut self, record: &NewRecord<'_>, is_new: bool) -> Result<Appended, StorageError> {
        let kept = self.options.record_bytes.min(LARGEST_RECORD);
        let bytes = &record.bytes[..record.bytes.len().min(kept)];
        let entry = Entry::Rejected {
            id: self.next_id,
            reason: record.reason.to_owned(),
            source: record.source.to_owned(),
            received_at: record.received_at,
            original_len: record.original_len.max(record.bytes.len() as u64),
        };
        encode(&mut self.head, &entry)?;
        let size = (FRAME_HEADER_LEN + self.head.len() + bytes.len()) as u64;
        let limit = self.options.max_bytes;
        // Not for every event that finds no room: a copy of the file costs seconds, in which the caller's log waits.
        let worth = if self.marking { limit / WORTH_COMPACTING } else { 0 };
        if self.frames.len() + size > limit && self.redriven_bytes > worth {
            match self.compact() {
                // Where the disk has no room for a copy the event may still find some; tried again once as much is redriven.
                Err(StorageError::NoSpace { .. }) => self.redriven_bytes = 0,
                other => other?,
            }
        }
        if is_new && self.frames.len() + size > limit {
            self.full = true;
            return Ok(Appended::Full);
        }
        self.frames.append(&self.head, bytes)?;
        self.next_id += 1;
        self.live += 1;
        Ok(Appended::Stored(self.next_id - 1))
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    ///
    /// [`StorageError::Poisoned`].
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.frames.sync()
    }

    /// The file as it is now, also should it be replaced later, and how many bytes of it are durable.
    pub(crate) fn durable(&self) -> Result<(Box<dyn Blob>, u64), StorageError> {
        let path = self.frames.path();
        let blob =
            self.files.open(path, Mode::Read).map_err(|error| StorageError::io("open", path, error))?;
        Ok((blob, self.frames.synced()))
    }

    /// The events that `filter` lets through, by id. It reads on its own; the quarantine can be written meanwhile.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`], [`StorageError::Io`].
    pub fn read(&self, filter: Filter) -> Result<QuarantineReader, StorageError> {
        let reader = self.frames.reader(&*self.files)?;
        Ok(QuarantineReader::new(reader, self.redriven.clone(), self.next_id.saturating_sub(1), filter))
    }
}
