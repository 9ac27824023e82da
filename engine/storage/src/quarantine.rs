//! Refused events: every one that finds room is kept with its reason until it has been redriven or dropped.

mod reader;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewater_model::{HashKey, Timestamp};

use crate::codec;
use crate::error::StorageError;
use crate::files::{Blob, Files, Mode};
use crate::frame::{
    FRAME_HEADER_LEN, FileHeader, FrameReader, FrameWriter, Kind, MAX_PAYLOAD, Recovered, create_file,
    replace_file,
};
use crate::state::Claim;

use reader::Scan;

pub use reader::QuarantineReader;

/// How many ids one entry marks as redriven at most, far below the limit on an entry.
const IDS_PER_ENTRY: usize = 1 << 20;

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

/// A refused event to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// The stable name of the reason.
    pub reason: &'a str,
    /// The source it came from.
    pub source: &'a str,
    /// The wall clock at which it was refused.
    pub received_at: Timestamp,
    /// The event, or as much of it as was read.
    pub bytes: &'a [u8],
    /// The length of the whole event in bytes.
    pub original_len: u64,
}

/// A refused event as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number: given in order, never again.
    pub id: u64,
    /// The stable name of the reason.
    pub reason: String,
    /// The source it came from.
    pub source: String,
    /// The wall clock at which it was refused.
    pub received_at: Timestamp,
    /// The event, or its beginning.
    pub bytes: Vec<u8>,
    /// The length of the whole event in bytes.
    pub original_len: u64,
}

impl Record {
    /// Whether all of the event is there. A part can be looked at but not redriven.
    pub fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.original_len
    }

    /// About how many bytes it takes on disk.
    pub fn size(&self) -> u64 {
        /// What its numbers and lengths take, about.
        const NUMBERS: usize = 20;
        (FRAME_HEADER_LEN + NUMBERS + self.reason.len() + self.source.len() + self.bytes.len()) as u64
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

/// What an entry says; of a rejected event its bytes follow.
#[derive(Serialize, Deserialize)]
enum Entry {
    Rejected { id: u64, reason: String, source: String, received_at: Timestamp, original_len: u64 },
    Redriven(Vec<u64>),
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

    /// Marks the events that `filter` lets through as redriven (or dropped), durably; returns how many they are. Reads all
    /// of the file.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`]: none or some are marked, the call may be repeated. [`StorageError::Poisoned`],
    /// [`StorageError::Damaged`], [`StorageError::Io`].
    pub fn mark_redriven(&mut self, filter: &Filter) -> Result<u64, StorageError> {
        let (mut ids, mut bytes) = (Vec::new(), 0);
        for record in self.read(filter.clone())? {
            let record = record?;
            bytes += record.size();
            ids.push(record.id);
        }
        self.mark(&ids, bytes)
    }

    /// Marks events that the caller has read here, without looking for them again: their ids, and their
    /// [sizes](Record::size) in all. Returns how many were not marked before. Behind the last part call
    /// [`end_marks`](Self::end_marks).
    ///
    /// # Errors
    ///
    /// As [`mark_redriven`](Self::mark_redriven).
    pub fn mark_read(&mut self, ids: &BTreeSet<u64>, bytes: u64) -> Result<u64, StorageError> {
        let is_new = |id: &u64| *id < self.next_id && !self.redriven.contains(id);
        let ids: Vec<u64> = ids.iter().copied().filter(is_new).collect();
        self.marking = true;
        self.mark(&ids, bytes)
    }

    fn mark(&mut self, ids: &[u64], bytes: u64) -> Result<u64, StorageError> {
        for chunk in ids.chunks(IDS_PER_ENTRY) {
            encode(&mut self.head, &Entry::Redriven(chunk.to_vec()))?;
            self.redriven_bytes += self.frames.append(&self.head, &[])?;
            self.live = self.live.saturating_sub(chunk.len() as u64);
            self.redriven.extend(chunk);
        }
        if !ids.is_empty() {
            self.redriven_bytes += bytes;
        }
        self.frames.sync()?;
        Ok(ids.len() as u64)
    }

    /// Nothing more of what was read will be marked: its space is given back now if an event has found none, else as soon
    /// as one would find none.
    ///
    /// # Errors
    ///
    /// As [`compact`](Self::compact).
    pub fn end_marks(&mut self) -> Result<(), StorageError> {
        self.marking = false;
        if self.full { self.compact() } else { Ok(()) }
    }

    /// Gives back the space of redriven events, by a copy of the rest; done by itself on opening and before the quarantine
    /// is full.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`], [`StorageError::Io`], [`StorageError::Damaged`]: nothing has changed.
    /// [`StorageError::Poisoned`].
    pub fn compact(&mut self) -> Result<(), StorageError> {
        self.frames.usable()?;
        if self.redriven.is_empty() {
            return Ok(());
        }
        let path = self.frames.path().to_owned();
        let header = FileHeader { base: self.next_id, ..*self.frames.header() };
        let mut source = self.frames.reader(&*self.files)?;
        let redriven = &self.redriven;
        let replaced = replace_file(&*self.files, &path, header, |writer| {
            let mut payload = Vec::new();
            while source.next_live(&mut payload, 0)?.is_some() {
                match decode(&source, &payload)? {
                    (Entry::Rejected { id, .. }, _) if !redriven.contains(&id) => {
                        writer.append(&payload, &[])?;
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        match replaced {
            Ok(frames) => self.frames = frames,
            Err(error @ StorageError::Poisoned { .. }) => return Err(self.frames.poison(error)),
            Err(error) => return Err(error),
        }
        self.redriven.clear();
        (self.redriven_bytes, self.full) = (0, false);
        Ok(())
    }
}

fn encode(out: &mut Vec<u8>, entry: &Entry) -> Result<(), StorageError> {
    out.clear();
    codec::encode_into(out, entry).map_err(|error| StorageError::refused(error.to_string()))
}

fn decode(reader: &FrameReader, payload: &[u8]) -> Result<(Entry, usize), StorageError> {
    codec::decode_prefix(payload).map_err(|_| reader.damaged("a record cannot be decoded"))
}
