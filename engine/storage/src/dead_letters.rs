//! What a sink's destination would not take: every one is kept with its reason until someone has it tried again or drops it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewater_model::{HashKey, Timestamp};

use crate::codec;
use crate::copy::Holds;
use crate::error::StorageError;
use crate::files::{Files, Mode};
use crate::frame::{
    FILE_HEADER_LEN, FRAME_HEADER_LEN, FileHeader, FrameReader, FrameWriter, Kind, Recovered, create_file,
    find_end, replace_file,
};
use crate::quarantine::Appended;
use crate::state::Claim;

/// What nobody needs any more, letters that have gone and notes that later ones have replaced, is left in the file until it is
/// more than this, and more than all the rest. So a file has twice the bytes that it needs at most, or these; and what is written
/// again to give them back is never more than what was written since the last time.
const SUPERFLUOUS_BYTES: u64 = 64 << 10;

/// How much the dead letters of one sink may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterOptions {
    /// With a new letter at most this many bytes on disk, of what is needed; then [`Appended::Full`]. What is noted of letters
    /// later is always taken.
    pub max_bytes: u64,
}

impl Default for DeadLetterOptions {
    fn default() -> Self {
        Self { max_bytes: 256 << 20 }
    }
}

/// A dead letter to store.
#[derive(Clone, Copy, Debug)]
pub struct NewDeadLetter<'a> {
    /// The epoch of what it holds.
    pub epoch: u64,
    /// Whether it was refused, or went on failing: a word.
    pub cause: &'a str,
    /// What the destination said last.
    pub reason: &'a str,
    /// How often it was tried.
    pub attempts: u32,
    /// When it first failed, by the wall clock.
    pub first_failed_at: Timestamp,
    /// When it last failed, by the wall clock.
    pub last_failed_at: Timestamp,
    /// What it takes to read `bytes`, in the caller's own encoding.
    pub context: &'a [u8],
    /// What was to be delivered.
    pub bytes: &'a [u8],
}

/// A dead letter as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Its number: given in order, never again for this sink.
    pub id: u64,
    /// The epoch of what it holds.
    pub epoch: u64,
    /// Whether it was refused, or went on failing.
    pub cause: String,
    /// What the destination said last.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it first failed.
    pub first_failed_at: Timestamp,
    /// When it last failed.
    pub last_failed_at: Timestamp,
    /// The epoch of something later that took its place.
    pub superseded_by: Option<u64>,
    /// It is to be tried again.
    pub is_marked: bool,
    /// What it takes to read `bytes`.
    pub context: Vec<u8>,
    /// What was to be delivered.
    pub bytes: Vec<u8>,
}

/// What an entry says; of a letter its context and its bytes follow.
#[derive(Serialize, Deserialize)]
enum Entry {
    Letter {
        id: u64,
        epoch: u64,
        cause: String,
        reason: String,
        attempts: u32,
        first_failed_at: Timestamp,
        last_failed_at: Timestamp,
        context_len: u64,
    },
    /// They are to be tried again.
    Marked(Vec<u64>),
    /// Tried again, and failed.
    Failed { id: u64, reason: String, attempts: u32, at: Timestamp },
    /// Something of this later epoch took their place.
    Superseded(Vec<u64>, u64),
    /// Delivered or dropped.
    Gone(Vec<u64>),
}

/// What is known of a letter besides what it was stored with.
#[derive(Clone, Debug, Default)]
struct Note {
    is_marked: bool,
    superseded_by: Option<u64>,
    failed: Option<(String, u32, Timestamp)>,
}

/// The letters of a file, without their contents.
#[derive(Debug, Default)]
struct Index {
    next_id: u64,
    /// With the bytes of each in the file.
    live: BTreeMap<u64, u64>,
    notes: BTreeMap<u64, Note>,
    /// Bytes of these letters and notes in a file that has nothing else.
    needed: u64,
}

impl Index {
    /// Adds an entry that takes so many bytes.
    fn add(&mut self, entry: Entry, bytes: u64) {
        match entry {
            Entry::Letter { id, .. } => {
                self.next_id = self.next_id.max(id.saturating_add(1));
                self.needed += bytes;
                self.live.insert(id, bytes);
            }
            Entry::Marked(ids) => ids.iter().for_each(|id| self.note(*id, |note| note.is_marked = true)),
            Entry::Failed { id, reason, attempts, at } => self.note(id, |note| {
                note.is_marked = false;
                note.failed = Some((reason, attempts, at));
            }),
            Entry::Superseded(ids, epoch) => {
                ids.iter().for_each(|id| self.note(*id, |note| note.superseded_by = Some(epoch)));
            }
            Entry::Gone(ids) => {
                for id in ids {
                    if let Some(bytes) = self.live.remove(&id) {
                        self.needed -= bytes + self.notes.remove(&id).map_or(0, |note| note.bytes(id));
                    }
                }
            }
        }
    }

    fn note(&mut self, id: u64, change: impl FnOnce(&mut Note)) {
        if self.live.contains_key(&id) {
            let note = self.notes.entry(id).or_default();
            self.needed -= note.bytes(id);
            change(note);
            self.needed += note.bytes(id);
        }
    }
}

/// The writing end of one sink's dead letters; there is one at a time.
pub struct DeadLetters {
    files: Arc<dyn Files>,
    options: DeadLetterOptions,
    frames: FrameWriter,
    index: Index,
    holds: Arc<Holds>,
    _claim: Claim,
}

impl DeadLetters {
    pub(crate) fn open(
        files: Arc<dyn Files>,
        path: PathBuf,
        key: HashKey,
        options: DeadLetterOptions,
        (holds, claim): (Arc<Holds>, Claim),
    ) -> Result<(Self, Option<Recovered>), StorageError> {
        let directory = path.parent().unwrap_or(Path::new(""));
        files.create_dir(directory).map_err(|error| StorageError::io("create", directory, error))?;
        let (frames, index, recovered) = if exists(&*files, &path)? {
            let mut reader = FrameReader::open(&*files, &path, Kind::DeadLetters)?;
            let mut index = Index { next_id: reader.header().base, ..Index::default() };
            let end = find_end(&mut reader, 0, |reader, frame, payload| {
                index.add(decode(reader, payload)?.0, frame.end - frame.offset);
                Ok(())
            })?;
            let blob =
                files.open(&path, Mode::Write).map_err(|error| StorageError::io("open", &path, error))?;
            let header = *reader.header();
            (FrameWriter::resume(blob, &path, header, end.synced, end.offset)?, index, end.cut)
        } else {
            let header = FileHeader::new(Kind::DeadLetters, key, 1);
            (create_file(&*files, &path, header)?, Index { next_id: 1, ..Index::default() }, None)
        };
        let mut letters = Self { files, options, frames, index, holds, _claim: claim };
        match letters.compact() {
            // Without room for a smaller copy the file stays as it is.
            Ok(()) | Err(StorageError::NoSpace { .. }) => Ok((letters, recovered)),
            Err(error) => Err(error),
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.index.live.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.live.is_empty()
    }

    /// The file's length in bytes.
    pub fn bytes(&self) -> u64 {
        self.frames.len()
    }

    /// Stores a letter; durable after [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`]: it was not taken, the call may be repeated. [`StorageError::Poisoned`].
    pub fn append(&mut self, letter: &NewDeadLetter<'_>) -> Result<Appended, StorageError> {
        let id = self.index.next_id;
        let entry = Entry::Letter {
            id,
            epoch: letter.epoch,
            cause: letter.cause.to_owned(),
            reason: letter.reason.to_owned(),
            attempts: letter.attempts,
            first_failed_at: letter.first_failed_at,
            last_failed_at: letter.last_failed_at,
            context_len: letter.context.len() as u64,
        };
        let mut head = encode(&entry)?;
        head.extend_from_slice(letter.context);
        let size = (FRAME_HEADER_LEN + head.len() + letter.bytes.len()) as u64;
        // Not for nothing: while there is no room this is asked again and again.
        if self.frames.len() + size > self.options.max_bytes
            && self.needed_bytes() + size <= self.options.max_bytes
        {
            self.compact()?;
        }
        if self.frames.len() + size > self.options.max_bytes {
            return Ok(Appended::Full);
        }
        let bytes = self.frames.append(&head, letter.bytes)?;
        self.index.add(entry, bytes);
        Ok(Appended::Stored(id))
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    ///
    /// [`StorageError::Poisoned`].
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.frames.sync()
    }

    /// Marks letters, durably: they are to be tried again.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`]: nothing has changed. [`StorageError::Poisoned`].
    pub fn mark(&mut self, ids: &BTreeSet<u64>) -> Result<(), StorageError> {
        self.write(Entry::Marked(ids.iter().copied().collect()))
    }

    /// Takes the mark off a letter that failed again, durably.
    ///
    /// # Errors
    ///
    /// As [`mark`](Self::mark).
    pub fn failed(
        &mut self,
        id: u64,
        reason: &str,
        attempts: u32,
        at: Timestamp,
    ) -> Result<(), StorageError> {
        self.write(Entry::Failed { id, reason: reason.to_owned(), attempts, at })
    }

    /// Notes, durably, that something of a later epoch took the place of these letters.
    ///
    /// # Errors
    ///
    /// As [`mark`](Self::mark).
    pub fn superseded(&mut self, ids: &BTreeSet<u64>, epoch: u64) -> Result<(), StorageError> {
        self.write(Entry::Superseded(ids.iter().copied().collect(), epoch))
    }

    /// Takes letters out, durably: they have been delivered, or are to be dropped.
    ///
    /// # Errors
    ///
    /// As [`mark`](Self::mark).
    pub fn remove(&mut self, ids: &BTreeSet<u64>) -> Result<(), StorageError> {
        self.write(Entry::Gone(ids.iter().copied().collect()))
    }

    /// The letters of these numbers, or all, in order. Reads on its own.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`], [`StorageError::Io`].
    pub fn read(&self, ids: Option<BTreeSet<u64>>) -> Result<DeadLetterReader, StorageError> {
        let reader = Some(self.frames.reader(&*self.files)?);
        let (live, notes) = (self.index.live.clone(), self.index.notes.clone());
        Ok(DeadLetterReader { reader, live, notes, ids })
    }

    fn write(&mut self, entry: Entry) -> Result<(), StorageError> {
        if self.superfluous_bytes() > SUPERFLUOUS_BYTES.max(self.needed_bytes()) {
            match self.compact() {
                // There may be room for this note all the same.
                Ok(()) | Err(StorageError::NoSpace { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let bytes = self.frames.append(&encode(&entry)?, &[])?;
        self.frames.sync()?;
        self.index.add(entry, bytes);
        Ok(())
    }

    /// The length of a file without what is superfluous.
    fn needed_bytes(&self) -> u64 {
        FILE_HEADER_LEN + self.index.needed
    }

    fn superfluous_bytes(&self) -> u64 {
        self.frames.len().saturating_sub(self.needed_bytes())
    }

    /// Gives back the space of letters that have gone, and of notes that later ones have replaced.
    fn compact(&mut self) -> Result<(), StorageError> {
        self.frames.usable()?;
        if self.superfluous_bytes() == 0 {
            return Ok(());
        }
        let path = self.frames.path().to_owned();
        let header = FileHeader { base: self.index.next_id, ..*self.frames.header() };
        let mut source = self.frames.reader(&*self.files)?;
        let index = &self.index;
        let replaced = replace_file(&*self.files, &path, header, |writer| {
            let mut payload = Vec::new();
            while source.next_live(&mut payload, 0)?.is_some() {
                match decode(&source, &payload)?.0 {
                    Entry::Letter { id, .. } if index.live.contains_key(&id) => {
                        writer.append(&payload, &[])?;
                    }
                    _ => {}
                }
            }
            for (id, note) in &index.notes {
                for entry in note.entries(*id) {
                    writer.append(&encode(&entry)?, &[])?;
                }
            }
            Ok(())
        });
        match replaced {
            Ok(frames) => self.frames = frames,
            Err(error @ StorageError::Poisoned { .. }) => return Err(self.frames.poison(error)),
            Err(error) => return Err(error),
        }
        self.holds.replaced();
        Ok(())
    }
}

impl Note {
    fn entries(&self, id: u64) -> Vec<Entry> {
        let mut entries = Vec::new();
        if let Some((reason, attempts, at)) = self.failed.clone() {
            entries.push(Entry::Failed { id, reason, attempts, at });
        }
        // A failure takes the mark off, so the mark comes behind it.
        entries.extend(self.is_marked.then(|| Entry::Marked(vec![id])));
        entries.extend(self.superseded_by.map(|epoch| Entry::Superseded(vec![id], epoch)));
        entries
    }

    /// Bytes of these entries in a file. What can't be encoded is not written either.
    fn bytes(&self, id: u64) -> u64 {
        let size = |entry: &Entry| encode(entry).map_or(0, |bytes| FRAME_HEADER_LEN + bytes.len());
        self.entries(id).iter().map(size).sum::<usize>() as u64
    }
}

/// Reads the dead letters of a sink in order.
pub struct DeadLetterReader {
    reader: Option<FrameReader>,
    live: BTreeMap<u64, u64>,
    notes: BTreeMap<u64, Note>,
    ids: Option<BTreeSet<u64>>,
}

impl DeadLetterReader {
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

fn exists(files: &dyn Files, path: &Path) -> Result<bool, StorageError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let names = match files.list(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        names => names.map_err(|error| StorageError::io("list", directory, error))?,
    };
    Ok(path.file_name().is_some_and(|name| names.iter().any(|other| name == other.as_str())))
}

fn encode(entry: &Entry) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::new();
    codec::encode_into(&mut bytes, entry).map_err(|error| StorageError::refused(error.to_string()))?;
    Ok(bytes)
}

fn decode(reader: &FrameReader, payload: &[u8]) -> Result<(Entry, usize), StorageError> {
    codec::decode_prefix(payload).map_err(|_| reader.damaged("a record cannot be decoded"))
}
