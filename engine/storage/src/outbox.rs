//! What a sink has not acknowledged, on disk: bounded, in order, and after a crash as much of it as was synced or more.
//!
//! Every entry says which epoch it follows. So whatever a crash has taken, and whatever was delivered without ever having
//! stood here, shows as a gap: what stands behind one counts only if the sink has acknowledged everything before it.

mod entry;
mod reader;
mod recovery;
mod sync;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewater_model::HashKey;

use crate::error::StorageError;
use crate::files::{Files, Mode, write_full};
use crate::frame::{
    FILE_HEADER_LEN, FRAME_HEADER_LEN, FileHeader, FrameWriter, Kind, MAX_PAYLOAD, Recovered,
};
use crate::state::Claim;

use entry::{Entry, encode};
use reader::Reader;

pub use entry::{NewBatch, StoredBatch};
pub use sync::{Synced, Unsynced};

/// How much an outbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxOptions {
    /// At most this many bytes wait in it to be read. One batch always fits. The files may hold more: what was read and is
    /// not acknowledged, and `file_bytes`.
    pub max_bytes: u64,
    /// A file of at least this many bytes is ended and a new one begun; a file is removed once all of it is acknowledged.
    pub file_bytes: u64,
    /// A batch of more bytes is written in pieces: an epoch in which millions exit at once is more than one entry may hold. At
    /// most half of [`MAX_PAYLOAD`](crate::MAX_PAYLOAD).
    pub piece_bytes: usize,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, file_bytes: 16 << 20, piece_bytes: MAX_PAYLOAD / 2 }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pushed {
    /// It waits behind the others.
    Queued,
    /// There is no room; it was not taken. The log still has it.
    Full,
}

/// From which epoch on an outbox has everything, and how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// It counts once the sink has acknowledged this epoch.
    pub after: u64,
    /// It has everything behind `after` up to this epoch.
    pub through: u64,
}

/// Batches of bytes, first in, first out; they stay on disk until they are acknowledged.
///
/// After any error but [`StorageError::NoSpace`] and [`StorageError::Refused`] it is of no more use in this process; what is
/// on disk stays.
pub struct Outbox {
    files: Arc<dyn Files>,
    directory: PathBuf,
    key: HashKey,
    options: OutboxOptions,
    /// Oldest first; the last may be the one that is written to.
    kept: VecDeque<Kept>,
    next_number: u64,
    writer: Option<FrameWriter>,
    context: Vec<u8>,
    /// Ended and not synced yet.
    ended: Vec<FrameWriter>,
    durable_before: u64,
    reader: Option<Reader>,
    span: Span,
    /// Of what waits to be read.
    batches: u64,
    bytes: u64,
    _claim: Option<Claim>,
}

/// A file.
#[derive(Clone, Copy, Debug)]
struct Kept {
    number: u64,
    /// The last epoch it says anything about.
    last: u64,
}

/// Up to which epoch an outbox has everything for a sink that has acknowledged this one. Changes nothing.
pub(crate) fn through(files: &dyn Files, directory: &Path, acknowledged: u64) -> Result<u64, StorageError> {
    recovery::through(files, directory, acknowledged)
}

impl Outbox {
    /// Opens what is there for a sink that has acknowledged this epoch; says what it cut off.
    pub(crate) fn open(
        files: Arc<dyn Files>,
        directory: PathBuf,
        key: HashKey,
        options: OutboxOptions,
        acknowledged: u64,
        claim: Option<Claim>,
    ) -> Result<(Self, Option<Recovered>), StorageError> {
        files.create_dir(&directory).map_err(|error| StorageError::io("create", &directory, error))?;
        // Nothing in it is durable before its name is.
        let parent = directory.parent().unwrap_or(Path::new(""));
        files.sync_dir(parent).map_err(|error| StorageError::io("sync", parent, error))?;
        let found = recovery::recover(&*files, &directory, acknowledged)?;
        let outbox = Self {
            files,
            directory,
            key,
            options,
            next_number: found.next_number,
            durable_before: found.next_number,
            kept: found.kept,
            writer: None,
            context: Vec::new(),
            ended: Vec::new(),
            reader: None,
            span: Span { after: acknowledged, through: found.through },
            batches: found.batches,
            bytes: found.bytes,
            _claim: claim,
        };
        Ok((outbox, found.recovered))
    }

    /// How many batches wait to be read.
    pub fn len(&self) -> u64 {
        self.batches
    }

    /// Whether none waits to be read.
    pub fn is_empty(&self) -> bool {
        self.batches == 0
    }

    /// How many bytes wait to be read, with what is stored around them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it has, synced or not.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Puts a batch behind the others. One that is held in memory meanwhile need not be read back.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`]: it was not taken. Others: see [`Outbox`].
    pub fn push(&mut self, batch: NewBatch<'_>, is_held: bool) -> Result<Pushed, StorageError> {
        let NewBatch { after, epoch, context, bytes } = batch;
        let most = self.options.piece_bytes.clamp(1, MAX_PAYLOAD / 2);
        let pieces = bytes.len().div_ceil(most).saturating_sub(1);
        let (first, rest) = bytes.split_at(pieces * most);
        let mut entries = Vec::new();
        for (number, piece) in (0..).zip(first.chunks(most)) {
            entries.push((encode(&Entry::Piece { number })?, piece));
        }
        let last = match pieces {
            0 => Entry::Batch { after, epoch },
            _ => Entry::Rest { after, epoch, pieces: pieces as u32 },
        };
        entries.push((encode(&last)?, rest));
        let size_of = |(entry, bytes): &(Vec<u8>, &[u8])| FRAME_HEADER_LEN + entry.len() + bytes.len();
        let size = entries.iter().map(size_of).sum::<usize>() as u64;
        if !is_held && self.batches > 0 && self.bytes + size > self.options.max_bytes {
            return Ok(Pushed::Full);
        }
        if context != self.context {
            self.end_file();
            self.context = context.to_vec();
        }
        self.append(epoch, &entries)?;
        self.extend(after, epoch);
        if !is_held {
            self.batches += 1;
            self.bytes += size;
        }
        Ok(Pushed::Queued)
    }

    /// Says that there is nothing for the sink behind `after` up to `through`.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn quiet(&mut self, after: u64, through: u64) -> Result<(), StorageError> {
        self.append(through, &[(encode(&Entry::Quiet { after, through })?, &[])])?;
        self.extend(after, through);
        Ok(())
    }

    /// What has to be synced for all of it to be durable; pass the result on to [`synced`](Self::synced).
    pub fn unsynced(&mut self) -> Unsynced {
        self.end_file();
        Unsynced {
            files: Arc::clone(&self.files),
            directory: self.directory.clone(),
            writers: std::mem::take(&mut self.ended),
            span: self.span,
            before: self.next_number,
        }
    }

    /// Takes note of what is durable; says what is.
    pub fn synced(&mut self, synced: Synced) -> Span {
        self.durable_before = self.durable_before.max(synced.before);
        synced.span
    }

    /// Gives back the space of what the sink has acknowledged, durably, and is not to be read again.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`]: a later call tries again.
    pub fn forget(&mut self, acknowledged: u64) -> Result<(), StorageError> {
        while let Some(oldest) = self.kept.front().copied().filter(|kept| kept.last <= acknowledged) {
            let path = self.path(oldest.number);
            if self.kept.len() == 1 {
                self.writer = None;
            }
            self.ended.retain(|writer| writer.path() != path);
            self.reader.take_if(|reader| reader.number == oldest.number);
            self.files.remove(&path).map_err(|error| StorageError::io("remove", &path, error))?;
            self.kept.pop_front();
        }
        Ok(())
    }

    fn extend(&mut self, after: u64, through: u64) {
        if after > self.span.through {
            self.span.after = after;
        }
        self.span.through = self.span.through.max(through);
    }

    /// Appends entries that belong together, so they come into one file.
    fn append(&mut self, epoch: u64, entries: &[(Vec<u8>, &[u8])]) -> Result<(), StorageError> {
        if self.writer.as_ref().is_some_and(|writer| writer.len() >= self.options.file_bytes) {
            self.end_file();
        }
        let writer = match self.writer.take() {
            Some(writer) => self.writer.insert(writer),
            None => {
                let writer = self.create_file()?;
                self.writer.insert(writer)
            }
        };
        for (entry, bytes) in entries {
            writer.append(entry, bytes)?;
        }
        if let Some(kept) = self.kept.back_mut() {
            kept.last = epoch;
        }
        Ok(())
    }

    fn end_file(&mut self) {
        self.ended.extend(self.writer.take());
    }

    fn create_file(&mut self) -> Result<FrameWriter, StorageError> {
        let number = self.next_number;
        let path = self.path(number);
        let header = FileHeader::new(Kind::Outbox, self.key, number);
        let mut blob =
            self.files.open(&path, Mode::Create).map_err(|error| StorageError::io("create", &path, error))?;
        write_full(&mut *blob, &mut [std::io::IoSlice::new(&header.encode())], 0)
            .map_err(|error| StorageError::io("write", &path, error))?;
        let mut writer = FrameWriter::new(blob, &path, header, FILE_HEADER_LEN);
        let entry = encode(&Entry::Context { durable_before: self.durable_before })?;
        writer.append(&entry, &self.context)?;
        self.kept.push_back(Kept { number, last: 0 });
        self.next_number += 1;
        Ok(writer)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(file_name(number))
    }
}

fn file_name(number: u64) -> String {
    format!("{number:020}")
}
