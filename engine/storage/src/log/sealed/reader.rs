//! Reads the entries of a sealed file, one block in memory at a time, from any epoch on.

use std::path::{Path, PathBuf};

use tidewater_model::Timestamp;

use super::{BLOCK_HEAD, END_LEN, Index, SealedFile};
use crate::codec;
use crate::error::StorageError;
use crate::files::Blob;
use crate::frame::{FILE_HEADER_LEN, Frame, FrameReader, Kind, MAX_PAYLOAD, Step, le_u32, le_u64};
use crate::log::entry;
use crate::log::recovery::wrong_epoch;

/// The reading end of a sealed file.
pub(crate) struct SealedReader {
    frames: FrameReader,
    index_offset: u64,
    index: Index,
    decompressor: zstd::bulk::Decompressor<'static>,
    /// The frame of the block that is being read.
    payload: Vec<u8>,
    /// Its entries, and how far they have been read.
    entries: Vec<u8>,
    at: usize,
    /// The block behind it.
    next_block: usize,
}

impl SealedReader {
    /// Opens a sealed file whose name says that its first epoch is `base`, and reads its index.
    pub(crate) fn open(blob: Box<dyn Blob>, path: PathBuf, base: u64) -> Result<Self, StorageError> {
        let mut frames = FrameReader::of_blob(blob, path, Kind::Sealed)?;
        let found = frames.header().base;
        if found != base {
            let detail = format!("the header says that its first epoch is {found}");
            return Err(StorageError::damaged(frames.path(), 24, detail));
        }
        let mut payload = Vec::new();
        let end_offset = frames.len().saturating_sub(END_LEN).max(FILE_HEADER_LEN);
        let end = frame_at(&mut frames, end_offset, &mut payload)?;
        if end.end != frames.len() || payload.len() != 8 {
            return Err(StorageError::damaged(
                frames.path(),
                end_offset,
                "the file does not end as it should",
            ));
        }
        let index_offset = le_u64(&payload);
        if !(FILE_HEADER_LEN..end_offset).contains(&index_offset) {
            return Err(StorageError::damaged(
                frames.path(),
                end_offset,
                "the index is not where it should be",
            ));
        }
        let damaged = |frames: &FrameReader, detail: &str| {
            Err(StorageError::damaged(frames.path(), index_offset, detail))
        };
        if frame_at(&mut frames, index_offset, &mut payload)?.end != end_offset {
            return damaged(&frames, "more follows than should");
        }
        let index = match codec::decode_prefix::<Index>(&payload) {
            Ok((index, used)) if used == payload.len() => index,
            _ => return damaged(&frames, "the index cannot be decoded"),
        };
        if !index.is_sound(base, FILE_HEADER_LEN, index_offset) {
            return damaged(&frames, "the index makes no sense");
        }
        let decompressor = zstd::bulk::Decompressor::new()
            .map_err(|error| StorageError::io("read", frames.path(), error))?;
        let (entries, at, next_block) = (Vec::new(), 0, 0);
        Ok(Self { frames, index_offset, index, decompressor, payload, entries, at, next_block })
    }

    pub(crate) fn path(&self) -> &Path {
        self.frames.path()
    }

    pub(crate) fn base(&self) -> u64 {
        self.frames.header().base
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn info(&self) -> SealedFile {
        SealedFile::new(self.base(), self.frames.len(), &self.index)
    }

    /// Goes to the block that holds an epoch; returns the epoch that comes next.
    pub(crate) fn seek(&mut self, epoch: u64) -> u64 {
        self.go_to(self.index.block_of(epoch))
    }

    /// Passes over blocks none of whose epochs was accepted from `from` to `to`, if a block comes next; returns the epoch
    /// that comes next then.
    pub(crate) fn skip_to(&mut self, (from, to): (Timestamp, Timestamp)) -> Option<u64> {
        if self.at < self.entries.len() {
            return None;
        }
        let rest = self.index.blocks.get(self.next_block..)?;
        let skipped = rest.iter().take_while(|block| block.accepted_at.1 < from || block.accepted_at.0 > to);
        Some(self.go_to(self.next_block + skipped.count()))
    }

    fn go_to(&mut self, block: usize) -> u64 {
        self.entries.clear();
        (self.at, self.next_block) = (0, block);
        self.index.blocks.get(block).map_or(self.index.next_epoch, |block| block.first_epoch)
    }

    /// Reads the next entry, followed by `padding` zero bytes; returns the offset of its block, `None` behind the last.
    pub(crate) fn next(&mut self, entry: &mut Vec<u8>, padding: usize) -> Result<Option<u64>, StorageError> {
        if self.at == self.entries.len() && !self.read_block()? {
            return Ok(None);
        }
        let offset = self.index.blocks[self.next_block - 1].offset;
        let rest = &self.entries[self.at..];
        let split = rest
            .split_first_chunk::<4>()
            .and_then(|(len, rest)| rest.get(..u32::from_le_bytes(*len) as usize));
        let Some(bytes) = split else {
            return Err(StorageError::damaged(self.path(), offset, "an entry of the block is too short"));
        };
        entry.clear();
        entry.extend_from_slice(bytes);
        entry.resize(bytes.len() + padding, 0);
        self.at += 4 + bytes.len();
        Ok(Some(offset))
    }

    /// Reads everything once, and checks that it is what the index says.
    pub(crate) fn check(mut self) -> Result<(), StorageError> {
        let (mut entry, mut epoch) = (Vec::new(), self.seek(0));
        while let Some(offset) = self.next(&mut entry, 0)? {
            let damaged = |detail: &str| StorageError::damaged(self.path(), offset, detail);
            let (header, _) = entry::decode_head(&entry).map_err(damaged)?;
            let is_last = self.at == self.entries.len();
            let ends = !is_last || self.index.end_of(self.next_block - 1) == header.epoch + 1;
            if header.epoch != epoch || !ends {
                return Err(damaged(&wrong_epoch(epoch, header.epoch)));
            }
            epoch += 1;
        }
        Ok(())
    }

    /// False behind the last block.
    fn read_block(&mut self) -> Result<bool, StorageError> {
        let Some(block) = self.index.blocks.get(self.next_block) else { return Ok(false) };
        let offset = block.offset;
        let end = self.index.blocks.get(self.next_block + 1).map_or(self.index_offset, |next| next.offset);
        let frame = frame_at(&mut self.frames, offset, &mut self.payload)?;
        let damaged = |detail: &str| StorageError::damaged(self.frames.path(), offset, detail);
        if frame.end != end {
            return Err(damaged("the block does not end where the index says"));
        }
        let Some((len, compressed)) = self.payload.split_first_chunk::<BLOCK_HEAD>() else {
            return Err(damaged("a block is too short"));
        };
        let len = le_u32(len) as usize;
        if len > MAX_PAYLOAD + BLOCK_HEAD {
            return Err(damaged("a block is too large"));
        }
        self.entries.clear();
        self.entries.reserve(len);
        match self.decompressor.decompress_to_buffer(compressed, &mut self.entries) {
            Ok(count) if count == len && len > 0 => {}
            _ => return Err(damaged("a block cannot be decompressed")),
        }
        (self.at, self.next_block) = (0, self.next_block + 1);
        Ok(true)
    }
}

/// The frame at `offset`. All of the file was durable when it got its name, so no frame there is damage.
fn frame_at(frames: &mut FrameReader, offset: u64, payload: &mut Vec<u8>) -> Result<Frame, StorageError> {
    frames.seek(offset);
    match frames.next(payload, 0)? {
        Step::Frame(frame) => Ok(frame),
        Step::End => Err(frames.damaged("the file ends here")),
        Step::Bad(detail) => Err(frames.damaged(detail)),
    }
}
