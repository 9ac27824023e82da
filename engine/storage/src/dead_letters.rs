//! What a sink's destination would not take: every one is kept with its reason until someone has it tried again or drops it.

mod entry;
mod index;
mod reader;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewater_model::{HashKey, Timestamp};

use crate::copy::Holds;
use crate::error::StorageError;
use crate::files::{Files, Mode};
use crate::frame::{
    FILE_HEADER_LEN, FRAME_HEADER_LEN, FileHeader, FrameReader, FrameWriter, Kind, Recovered, create_file,
    find_end, replace_file,
};
use crate::quarantine::Appended;
use crate::state::Claim;

use entry::{Entry, decode, encode};
use index::Index;

pub use entry::{NewDeadLetter, StoredDeadLetter};
pub use reader::DeadLetterReader;

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

    /// Notes, durably, that what was to take the place of these letters will not come.
    ///
    /// # Errors
    ///
    /// As [`mark`](Self::mark).
    pub fn restore(&mut self, ids: &BTreeSet<u64>) -> Result<(), StorageError> {
        self.write(Entry::Restored(ids.iter().copied().collect()))
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
        Ok(DeadLetterReader::new(self.frames.reader(&*self.files)?, &self.index, ids))
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

fn exists(files: &dyn Files, path: &Path) -> Result<bool, StorageError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let names = match files.list(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        names => names.map_err(|error| StorageError::io("list", directory, error))?,
    };
    Ok(path.file_name().is_some_and(|name| names.iter().any(|other| name == other.as_str())))
}
