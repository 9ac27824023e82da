//! A queue on disk for what a slow sink has not taken yet: bounded, in order, and gone at the next start.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use tidewater_model::HashKey;

use crate::error::StorageError;
use crate::files::{Files, Mode, write_full};
use crate::frame::{FILE_HEADER_LEN, FRAME_HEADER_LEN, FileHeader, FrameReader, FrameWriter, Kind, Step};
use crate::state::Claim;

/// How much an outbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxOptions {
    /// At most this many bytes wait in it. One batch always fits. The files may hold `file_bytes` more.
    pub max_bytes: u64,
    /// A file of at least this many bytes is ended and a new one begun; a file is removed once all of it is read.
    pub file_bytes: u64,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, file_bytes: 16 << 20 }
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

/// Batches of bytes, first in, first out. Nothing is synced: deltas are made again from the log.
///
/// After any error the outbox is of no more use: open it again, empty, and make its contents anew.
pub struct Outbox {
    files: Arc<dyn Files>,
    directory: PathBuf,
    key: HashKey,
    options: OutboxOptions,
    /// The files that hold unread batches, oldest first; the last is the one written to.
    numbers: VecDeque<u64>,
    next_number: u64,
    writer: Option<FrameWriter>,
    reader: Option<FrameReader>,
    batches: u64,
    bytes: u64,
    _claim: Option<Claim>,
}

impl Outbox {
    pub(crate) fn open(
        files: Arc<dyn Files>,
        directory: PathBuf,
        key: HashKey,
        options: OutboxOptions,
        claim: Option<Claim>,
    ) -> Result<Self, StorageError> {
        files.create_dir(&directory).map_err(|error| StorageError::io("create", &directory, error))?;
        let names = files.list(&directory).map_err(|error| StorageError::io("list", &directory, error))?;
        for name in names {
            let path = directory.join(name);
            files.remove(&path).map_err(|error| StorageError::io("remove", &path, error))?;
        }
        Ok(Self {
            files,
            directory,
            key,
            options,
            numbers: VecDeque::new(),
            next_number: 0,
            writer: None,
            reader: None,
            batches: 0,
            bytes: 0,
            _claim: claim,
        })
    }

    /// How many batches wait.
    pub fn len(&self) -> u64 {
        self.batches
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.batches == 0
    }

    /// How many bytes wait, with what is stored around them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts a batch behind the others.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`], [`StorageError::Refused`] above [`MAX_PAYLOAD`](crate::MAX_PAYLOAD): it was not
    /// taken. Others: see [`Outbox`].
    pub fn push(&mut self, batch: &[u8]) -> Result<Pushed, StorageError> {
        let size = (FRAME_HEADER_LEN + batch.len()) as u64;
        if self.batches > 0 && self.bytes + size > self.options.max_bytes {
            return Ok(Pushed::Full);
        }
        let current = self.writer.take().filter(|writer| writer.len() < self.options.file_bytes);
        let writer = match current {
            Some(writer) => self.writer.insert(writer),
            None => {
                let writer = self.create_file()?;
                self.writer.insert(writer)
            }
        };
        writer.append(batch, &[])?;
        self.batches += 1;
        self.bytes += size;
        Ok(Pushed::Queued)
    }

    /// Takes the oldest batch out of the queue.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`] if the disk gave back something else than was written; see [`Outbox`].
    pub fn pop(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        let mut batch = Vec::new();
        while self.batches > 0 {
            let Some(&number) = self.numbers.front() else { break };
            if self.reader.is_none() {
                let path = self.path(number);
                self.reader = Some(FrameReader::open(&*self.files, &path, Kind::Outbox)?);
            }
            let Some(reader) = &mut self.reader else { break };
            let mut step = reader.next(&mut batch, 0)?;
            if matches!(step, Step::End) {
                reader.refresh()?;
                step = reader.next(&mut batch, 0)?;
            }
            match step {
                Step::Frame(frame) => {
                    self.batches -= 1;
                    self.bytes -= frame.end - frame.offset;
                    if self.batches == 0 {
                        self.writer = None;
                        while !self.numbers.is_empty() {
                            self.drop_oldest()?;
                        }
                    }
                    return Ok(Some(batch));
                }
                Step::End if self.numbers.len() > 1 => self.drop_oldest()?,
                Step::End => return Err(reader.damaged("a batch that was written is missing")),
                Step::Bad(detail) => return Err(reader.damaged(detail)),
            }
        }
        Ok(None)
    }

    fn drop_oldest(&mut self) -> Result<(), StorageError> {
        self.reader = None;
        if let Some(number) = self.numbers.pop_front() {
            let path = self.path(number);
            self.files.remove(&path).map_err(|error| StorageError::io("remove", &path, error))?;
        }
        Ok(())
    }

    fn create_file(&mut self) -> Result<FrameWriter, StorageError> {
        let number = self.next_number;
        let path = self.path(number);
        let header = FileHeader::new(Kind::Outbox, self.key, number);
        let mut blob =
            self.files.open(&path, Mode::Create).map_err(|error| StorageError::io("create", &path, error))?;
        write_full(&mut *blob, &mut [std::io::IoSlice::new(&header.encode())], 0)
            .map_err(|error| StorageError::io("write", &path, error))?;
        self.numbers.push_back(number);
        self.next_number += 1;
        Ok(FrameWriter::new(blob, &path, header, FILE_HEADER_LEN))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}"))
    }
}
