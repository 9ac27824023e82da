//! Refused events: every one is kept with its reason until it has been redriven, or its source is told to wait.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewater_model::{HashKey, Timestamp};

use crate::codec;
use crate::error::StorageError;
use crate::files::{Blob, Files, Mode};
use crate::frame::{
    FILE_HEADER_LEN, FRAME_HEADER_LEN, FileHeader, FrameReader, FrameWriter, Kind, Step, Tail, create_file,
    replace_file,
};
use crate::log::Recovered;
use crate::state::Claim;

/// How many ids one entry marks as redriven at most, far below the limit on an entry.
const IDS_PER_ENTRY: usize = 1 << 20;

/// How much a quarantine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineOptions {
    /// At most this many bytes on disk; then [`Appended::Full`].
    pub max_bytes: u64,
    /// Of a larger event only so many bytes are kept.
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
}

/// What became of a refused event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Appended {
    /// It is in the quarantine under this id; durable after [`Quarantine::sync`].
    Stored(u64),
    /// There is no room; it was not taken and its source must wait until events have been redriven or dropped.
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
/// To redrive: [`read`](Self::read), feed the events, wait until they are durable in the log, then
/// [`mark_redriven`](Self::mark_redriven) their ids. A crash in between feeds them twice, which the engine's
/// deduplication undoes; the other order would lose them.
pub struct Quarantine {
    files: Arc<dyn Files>,
    options: QuarantineOptions,
    frames: FrameWriter,
    next_id: u64,
    live: u64,
    redriven: BTreeSet<u64>,
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
        let (frames, scan) = if names.iter().any(|other| *other == name) {
            let mut reader = FrameReader::open(&*files, &path, Kind::Quarantine)?;
            let scan = Scan::run(&mut reader)?;
            let blob =
                files.open(&path, Mode::Write).map_err(|error| StorageError::io("open", &path, error))?;
            let header = *reader.header();
            (FrameWriter::resume(blob, &path, header, scan.synced, scan.end)?, scan)
        } else {
            let header = FileHeader::new(Kind::Quarantine, key, 1);
            (create_file(&*files, &path, header)?, Scan::empty(1))
        };
        let Scan { next_id, live, redriven, recovered, .. } = scan;
        let head = Vec::new();
        let mut quarantine = Self { files, options, frames, next_id, live, redriven, head, _claim: claim };
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

    /// Stores a refused event.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`]: it was not taken, the call may be repeated. [`StorageError::Poisoned`].
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<Appended, StorageError> {
        let bytes = &record.bytes[..record.bytes.len().min(self.options.record_bytes)];
        let entry = Entry::Rejected {
            id: self.next_id,
            reason: record.reason.to_owned(),
            source: record.source.to_owned(),
            received_at: record.received_at,
            original_len: record.original_len.max(record.bytes.len() as u64),
        };
        encode(&mut self.head, &entry)?;
        let size = (FRAME_HEADER_LEN + self.head.len() + bytes.len()) as u64;
        if self.frames.len() + size > self.options.max_bytes {
            self.compact()?;
        }
        if self.frames.len() + size > self.options.max_bytes {
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
        let (reader, redriven) = (Some(reader), self.redriven.clone());
        Ok(QuarantineReader { reader, redriven, filter, payload: Vec::new() })
    }

    /// Marks the events that `filter` lets through as redriven (or dropped), durably; returns how many they are.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`]: none or some are marked, the call may be repeated. [`StorageError::Poisoned`],
    /// [`StorageError::Damaged`], [`StorageError::Io`].
    pub fn mark_redriven(&mut self, filter: &Filter) -> Result<u64, StorageError> {
        let mut ids = Vec::new();
        for record in self.read(filter.clone())? {
            ids.push(record?.id);
        }
        for chunk in ids.chunks(IDS_PER_ENTRY) {
            encode(&mut self.head, &Entry::Redriven(chunk.to_vec()))?;
            self.frames.append(&self.head, &[])?;
            self.live = self.live.saturating_sub(chunk.len() as u64);
            self.redriven.extend(chunk);
        }
        self.frames.sync()?;
        Ok(ids.len() as u64)
    }

    /// Gives back the space of redriven events; done by itself on opening and before the quarantine is full.
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
        Ok(())
    }
}

/// Reads quarantined events by id, without those that were redriven.
pub struct QuarantineReader {
    reader: Option<FrameReader>,
    redriven: BTreeSet<u64>,
    filter: Filter,
    payload: Vec<u8>,
}

impl QuarantineReader {
    /// Reads a file that another process may be appending to.
    pub(crate) fn open(files: &dyn Files, path: &Path, filter: Filter) -> Result<Self, StorageError> {
        let mut reader = FrameReader::open(files, path, Kind::Quarantine)?;
        let mut redriven = BTreeSet::new();
        let mut payload = Vec::new();
        // What is redriven stands behind the events: once through for that, once for the events.
        while reader.next_live(&mut payload, 0)?.is_some() {
            if let (Entry::Redriven(ids), _) = decode(&reader, &payload)? {
                redriven.extend(ids);
            }
        }
        reader.rewind();
        Ok(Self { reader: Some(reader), redriven, filter, payload })
    }

    pub(crate) fn empty() -> Self {
        let redriven = BTreeSet::new();
        Self { reader: None, redriven, filter: Filter::All, payload: Vec::new() }
    }

    fn read(&mut self) -> Result<Option<Record>, StorageError> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        while reader.next_live(&mut self.payload, 0)?.is_some() {
            let (entry, used) = decode(reader, &self.payload)?;
            let Entry::Rejected { id, reason, source, received_at, original_len } = entry else {
                continue;
            };
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
struct Scan {
    next_id: u64,
    live: u64,
    redriven: BTreeSet<u64>,
    synced: u64,
    end: u64,
    recovered: Option<Recovered>,
}

impl Scan {
    fn empty(next_id: u64) -> Self {
        let (synced, end) = (FILE_HEADER_LEN, FILE_HEADER_LEN);
        Self { next_id, live: 0, redriven: BTreeSet::new(), synced, end, recovered: None }
    }

    fn run(reader: &mut FrameReader) -> Result<Self, StorageError> {
        let mut scan = Self::empty(reader.header().base);
        let mut payload = Vec::new();
        loop {
            match reader.next(&mut payload, 0)? {
                Step::End => break,
                Step::Frame(frame) => {
                    match decode(reader, &payload)?.0 {
                        Entry::Rejected { id, .. } => {
                            scan.next_id = scan.next_id.max(id.saturating_add(1));
                            scan.live += 1;
                        }
                        Entry::Redriven(ids) => scan.redriven.extend(ids),
                    }
                    (scan.synced, scan.end) = (frame.synced, frame.end);
                }
                Step::Bad(detail) => {
                    if reader.classify_tail()? == Tail::Damaged {
                        return Err(reader.damaged(detail));
                    }
                    scan.recovered = Some(Recovered {
                        file: reader.path().to_owned(),
                        offset: scan.end,
                        cut_bytes: reader.len() - scan.end,
                        detail: detail.to_owned(),
                    });
                    break;
                }
            }
        }
        // Every mark names an event that stands before it, once.
        scan.live = scan.live.saturating_sub(scan.redriven.len() as u64);
        Ok(scan)
    }
}

fn encode(out: &mut Vec<u8>, entry: &Entry) -> Result<(), StorageError> {
    out.clear();
    codec::encode_into(out, entry).map_err(|error| StorageError::refused(error.to_string()))
}

fn decode(reader: &FrameReader, payload: &[u8]) -> Result<(Entry, usize), StorageError> {
    codec::decode_prefix(payload).map_err(|_| reader.damaged("a record cannot be decoded"))
}
