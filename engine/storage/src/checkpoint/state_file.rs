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

/// Bytes in front of a part of a piece: the piece's kind, and the part's length before it was compressed.
const HEAD: usize = 5;

/// Stands in the kind of a part that another one follows.
const CONTINUES: u8 = 0x80;

/// A part is no longer than this many bytes before it is compressed; a longer piece is several of them. What zstd makes of one
/// that can't be compressed still fits into a frame.
pub(super) const PART_BYTES: usize = MAX_PAYLOAD / 2;

/// Appends pieces to a state file.
pub struct StateFileWriter<'a> {
    frames: &'a mut FrameWriter,
    compressor: zstd::bulk::Compressor<'static>,
    part_bytes: usize,
}

impl StateFileWriter<'_> {
    /// The file's length in bytes so far.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.frames.len()
    }

    /// Appends a piece. Kinds are less than 128.
    ///
    /// # Errors
    ///
    /// [`StorageError::Refused`] if the kind is another; [`StorageError::NoSpace`], [`StorageError::Poisoned`].
    pub fn append(&mut self, kind: u8, piece: &[u8]) -> Result<(), StorageError> {
        if kind >= CONTINUES {
            return Err(StorageError::refused(format!("there is no kind {kind} of pieces")));
        }
        let mut rest = piece;
        loop {
            let (part, behind) = rest.split_at(rest.len().min(self.part_bytes));
            let continues = if behind.is_empty() { 0 } else { CONTINUES };
            self.append_part(kind | continues, part)?;
            if behind.is_empty() {
                return Ok(());
            }
            rest = behind;
        }
    }

    fn append_part(&mut self, kind: u8, part: &[u8]) -> Result<(), StorageError> {
        let compressed = self.compressor.compress(part).map_err(|error| self.frames.poison(error))?;
        let mut head = [kind; HEAD];
        head[1..].copy_from_slice(&(part.len() as u32).to_le_bytes());
        self.frames.append_beside(&head, &compressed)
    }
}

pub(super) fn write(
    files: &dyn Files,
    path: &Path,
    key: HashKey,
    (epoch, part_bytes): (u64, usize),
    fill: impl FnOnce(&mut StateFileWriter<'_>) -> Result<(), StorageError>,
) -> Result<StateFile, StorageError> {
    let header = FileHeader::new(Kind::State, key, epoch);
    let frames = replace_file(files, path, header, |frames| {
        let compressor =
            zstd::bulk::Compressor::new(LEVEL).map_err(|error| StorageError::io("compress", path, error))?;
        fill(&mut StateFileWriter { frames, compressor, part_bytes })
    })?;
    Ok(StateFile { epoch, bytes: frames.len() })
}

/// The reading end of a state file.
pub struct StateFileReader {
    frames: FrameReader,
    decompressor: zstd::bulk::Decompressor<'static>,
    payload: Vec<u8>,
    /// A piece that was looked for has been found.
    has_found: bool,
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
        Ok(Self { frames, decompressor, payload: Vec::new(), has_found: false })
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
        match self.next_frame()? {
            Some(offset) => self.take_piece(offset).map(Some),
            None => Ok(None),
        }
    }

    /// The next piece of these kinds, as [`read`](Self::read); those of others are not taken apart. Damage to them is
    /// passed over as long as it is certain that nothing else is damaged: in front of a piece of another kind, before the
    /// first one of these kinds.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn find(&mut self, kinds: &[u8]) -> Result<Option<(u8, Vec<u8>)>, StorageError> {
        let mut damage = None;
        loop {
            match self.frames.next(&mut self.payload, 0)? {
                Step::Frame(_)
                    if !self.payload.first().is_some_and(|kind| kinds.contains(&(kind & !CONTINUES))) =>
                {
                    damage = damage.filter(|_| self.has_found);
                }
                Step::Frame(frame) if damage.is_none() => {
                    self.has_found = true;
                    return self.take_piece(frame.offset).map(Some);
                }
                Step::Bad(detail) => {
                    damage = damage.or(Some(self.frames.damaged(detail)));
                    self.frames.skip_to_next()?;
                }
                Step::Frame(_) | Step::End => return damage.map_or(Ok(None), Err),
            }
        }
    }

    /// The piece that begins with the part just read, which stands there.
    fn take_piece(&mut self, offset: u64) -> Result<(u8, Vec<u8>), StorageError> {
        let (kind, mut piece) = self.take_part(offset)?;
        let mut last = kind;
        while last & CONTINUES != 0 {
            let offset =
                self.next_frame()?.ok_or_else(|| self.frames.damaged("a piece ends in its middle"))?;
            let (next, part) = self.take_part(offset)?;
            if next & !CONTINUES != kind & !CONTINUES {
                return Err(StorageError::damaged(self.frames.path(), offset, "a piece ends in its middle"));
            }
            piece.extend_from_slice(&part);
            last = next;
        }
        Ok((kind & !CONTINUES, piece))
    }

    fn take_part(&mut self, offset: u64) -> Result<(u8, Vec<u8>), StorageError> {
        let damaged = |detail: &str| StorageError::damaged(self.frames.path(), offset, detail);
        let Some((&[kind, a, b, c, d], compressed)) = self.payload.split_first_chunk::<HEAD>() else {
            return Err(damaged("a piece is too short"));
        };
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > PART_BYTES {
            return Err(damaged("a piece is too large"));
        }
        let part = self.decompressor.decompress(compressed, len);
        match part {
            Ok(part) if part.len() == len => Ok((kind, part)),
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
