//! Rewrites a plain log file, which nobody appends to any more, as a sealed one.

use std::path::Path;

use tidewater_model::HashKey;

use super::{BLOCK_BYTES, Block, Index, SealedFile};
use crate::codec;
use crate::error::StorageError;
use crate::files::Files;
use crate::frame::{FileHeader, FrameReader, FrameWriter, Kind, Step, write_temporary};
use crate::log::entry::{self, EpochHeader};
use crate::log::recovery::wrong_epoch;

/// Of the levels measured on customer events this one makes the smallest files that are still written several times
/// faster than events come in.
const LEVEL: i32 = 3;

/// Writes the sealed form of `plain` to the file `to`, all of it durable. `go_on` is asked before each block; once it says
/// no, nothing is left and `None` is returned.
pub(crate) fn write(
    files: &dyn Files,
    to: &Path,
    key: HashKey,
    mut plain: FrameReader,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<SealedFile>, StorageError> {
    let base = plain.header().base;
    let header = FileHeader::new(Kind::Sealed, key, base);
    let mut index = Index { next_epoch: base, ..Index::default() };
    let mut was_stopped = false;
    let written = write_temporary(files, to, header, |frames| {
        let mut blocks = BlockWriter::new(frames, &mut index)?;
        let mut payload = Vec::new();
        loop {
            match plain.next(&mut payload, 0)? {
                Step::Frame(frame) => {
                    let damaged = |detail: &str| StorageError::damaged(plain.path(), frame.offset, detail);
                    let (header, events) = entry::decode_head(&payload).map_err(damaged)?;
                    blocks.check(&header).map_err(|detail| damaged(&detail))?;
                    if blocks.is_full(payload.len()) {
                        was_stopped = !go_on();
                        if was_stopped {
                            return Err(StorageError::refused("stopped"));
                        }
                        blocks.end_block()?;
                    }
                    blocks.add(&header, events, &payload);
                }
                Step::End => break,
                // Files that are not the last one are durable to their end.
                Step::Bad(detail) => return Err(plain.damaged(detail)),
            }
        }
        if blocks.index.next_epoch == base {
            return Err(plain.damaged("the file ends behind its header"));
        }
        blocks.finish()
    });
    match written {
        Ok(frames) => Ok(Some(SealedFile::new(base, frames.len(), &index))),
        Err(_) if was_stopped => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts entries into blocks and blocks into frames.
struct BlockWriter<'a> {
    frames: &'a mut FrameWriter,
    index: &'a mut Index,
    compressor: zstd::bulk::Compressor<'static>,
    /// The entries of the block that is being put together.
    raw: Vec<u8>,
}

impl<'a> BlockWriter<'a> {
    fn new(frames: &'a mut FrameWriter, index: &'a mut Index) -> Result<Self, StorageError> {
        let compressor = zstd::bulk::Compressor::new(LEVEL)
            .map_err(|error| StorageError::io("compress", frames.path(), error))?;
        Ok(Self { frames, index, compressor, raw: Vec::new() })
    }

    /// Whether an entry follows the one before.
    fn check(&self, header: &EpochHeader) -> Result<(), String> {
        if header.epoch != self.index.next_epoch {
            return Err(wrong_epoch(self.index.next_epoch, header.epoch));
        }
        let is_first = self.index.blocks.is_empty();
        if !is_first && header.first_place != self.index.next_place {
            let expected = self.index.next_place;
            return Err(format!("place {expected} should stand here, not {}", header.first_place));
        }
        Ok(())
    }

    fn is_full(&self, entry_len: usize) -> bool {
        !self.raw.is_empty() && self.raw.len() + entry_len > BLOCK_BYTES
    }

    fn add(&mut self, header: &EpochHeader, events: u64, entry: &[u8]) {
        let offset = self.frames.len();
        let (now, accepted_at) = (header.now, header.accepted_at);
        if self.raw.is_empty() {
            self.index.blocks.push(Block {
                offset,
                first_epoch: header.epoch,
                first_place: header.first_place,
                now: (now, now),
                accepted_at: (accepted_at, accepted_at),
            });
        }
        if let Some(block) = self.index.blocks.last_mut() {
            block.now = (block.now.0.min(now), block.now.1.max(now));
            block.accepted_at = (block.accepted_at.0.min(accepted_at), block.accepted_at.1.max(accepted_at));
        }
        self.raw.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        self.raw.extend_from_slice(entry);
        self.index.next_epoch = header.epoch + 1;
        self.index.next_place = header.first_place + events;
    }

    fn end_block(&mut self) -> Result<(), StorageError> {
        let compressed = self.compressor.compress(&self.raw).map_err(|error| self.frames.poison(error))?;
        self.frames.append_beside(&(self.raw.len() as u32).to_le_bytes(), &compressed)?;
        self.index.raw_bytes += self.raw.len() as u64;
        self.raw.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(), StorageError> {
        self.end_block()?;
        let offset = self.frames.len();
        let mut bytes = Vec::new();
        codec::encode_into(&mut bytes, &*self.index)
            .map_err(|error| StorageError::refused(error.to_string()))?;
        self.frames.append(&bytes, &[])?;
        self.frames.append(&offset.to_le_bytes(), &[])?;
        Ok(())
    }
}
