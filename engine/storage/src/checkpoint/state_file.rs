//! A state file: compressed pieces of state, each with a kind that only the engine knows.

use std::path::Path;

use tidewater_model::HashKey;

use crate::checkpoint::StateFile;
use crate::error::StorageError;
use crate::files::Files;
use crate::frame::{FileHeader, FrameReader, FrameWriter, Kind, MAX_PAYLOAD, Step, replace_file};

/// zstd's fastest: on nodes it halves the bytes at about 500 MB/s, and slower levels gain little, since most of what is
/// stored are hashes.
const LEVEL: i32 = 1;

/// So much is written before it is synced: one fsync of a whole file would hold up those of the log for long.
const SYNC_BYTES: u64 = 8 << 20;

/// Bytes in front of a piece: its kind, and its length before it was compressed.
const HEAD: usize = 5;

/// Appends pieces to a state file.
pub struct StateFileWriter<'a> {
    frames: &'a mut FrameWriter,
    compressor: zstd::bulk::Compressor<'static>,
    unsynced: u64,
}

impl StateFileWriter<'_> {
    /// Appends a piece of at most [`MAX_PAYLOAD`](crate::MAX_PAYLOAD) / 2 bytes.
    ///
    /// # Errors
    ///
    /// [`StorageError::Refused`] if it is larger; [`StorageError::NoSpace`], [`StorageError::Poisoned`].
    pub fn append(&mut self, kind: u8, piece: &[u8]) -> Result<(), StorageError> {
        let len = u32::try_from(piece.len()).ok().filter(|len| *len as usize <= MAX_PAYLOAD / 2);
        let len = len.ok_or_else(|| StorageError::refused("a piece of state is too large"))?;
        let compressed = self.compressor.compress(piece).map_err(|error| self.frames.poison(error))?;
        let mut head = [kind; HEAD];
        head[1..].copy_from_slice(&len.to_le_bytes());
        self.unsynced += self.frames.append(&head, &compressed)?;
        if self.unsynced >= SYNC_BYTES {
            self.frames.sync()?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

pub(super) fn write(
    files: &dyn Files,
    path: &Path,
    key: HashKey,
    epoch: u64,
    fill: impl FnOnce(&mut StateFileWriter<'_>) -> Result<(), StorageError>,
) -> Result<StateFile, StorageError> {
    let header = FileHeader::new(Kind::State, key, epoch);
    let frames = replace_file(files, path, header, |frames| {
        let compressor =
            zstd::bulk::Compressor::new(LEVEL).map_err(|error| StorageError::io("compress", path, error))?;
        fill(&mut StateFileWriter { frames, compressor, unsynced: 0 })
    })?;
    Ok(StateFile { epoch, bytes: frames.len() })
}

/// The reading end of a state file.
pub struct StateFileReader {
    frames: FrameReader,
    decompressor: zstd::bulk::Decompressor<'static>,
    payload: Vec<u8>,
}

impl StateFileReader {
    pub(super) fn open(files: &dyn Files, path: &Path, file: &StateFile) -> Result<Self, StorageError> {
        let frames = FrameReader::open(files, path, Kind::State)?;
        if frames.header().base != file.epoch || frames.len() != file.bytes {
            let detail = format!(
                "it should be {} bytes of epoch {}, and is {} of epoch {}",
                file.bytes,
                file.epoch,
                frames.len(),
                frames.header().base
            );
            return Err(StorageError::damaged(path, 0, detail));
        }
        let decompressor =
            zstd::bulk::Decompressor::new().map_err(|error| StorageError::io("read", path, error))?;
        Ok(Self { frames, decompressor, payload: Vec::new() })
    }

    /// Checks every piece from here to the end of the file, without taking any apart.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn check(mut self) -> Result<(), StorageError> {
        while self.next_frame()?.is_some() {}
        Ok(())
    }

    /// The next piece and its kind; `None` behind the last.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`], [`StorageError::Io`].
    pub fn read(&mut self) -> Result<Option<(u8, Vec<u8>)>, StorageError> {
        let Some(offset) = self.next_frame()? else { return Ok(None) };
        let damaged = |detail: &str| StorageError::damaged(self.frames.path(), offset, detail);
        let Some((&[kind, a, b, c, d], compressed)) = self.payload.split_first_chunk::<HEAD>() else {
            return Err(damaged("a piece is too short"));
        };
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > MAX_PAYLOAD / 2 {
            return Err(damaged("a piece is too large"));
        }
        let piece = self.decompressor.decompress(compressed, len);
        match piece {
            Ok(piece) if piece.len() == len => Ok(Some((kind, piece))),
            _ => Err(damaged("a piece cannot be decompressed")),
        }
    }

    fn next_frame(&mut self) -> Result<Option<u64>, StorageError> {
        match self.frames.next(&mut self.payload, 0)? {
            Step::Frame(frame) => Ok(Some(frame.offset)),
            Step::End => Ok(None),
            // The file got its name when all of it was durable, so whatever is wrong with it is damage.
            Step::Bad(detail) => Err(self.frames.damaged(detail)),
        }
    }
}
