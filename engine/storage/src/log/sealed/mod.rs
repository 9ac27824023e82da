//! A sealed log file: whole epochs in compressed blocks, and an index that finds one by epoch or by time.
//!
//! ```text
//! block    length before compression u32 | zstd of (length u32, entry)*     one frame each; entries as in a plain file
//! index    bincode of `Index`                                              one frame
//! end      offset of the index u64                                         one frame, always the last 28 bytes
//! ```
//! It is written once and gets its name when all of it is durable; whatever is wrong with it is damage. Two epochs never
//! share an entry and two entries never share a byte, so a block can be written anew without one person's events: an
//! event that is taken out leaves a length of 0, and every other one keeps its place (ADR 4).

mod reader;
mod writer;

use serde::{Deserialize, Serialize};
use tidewater_model::Timestamp;

use crate::frame::FRAME_HEADER_LEN;

pub(crate) use reader::SealedReader;
pub(crate) use writer::write;

/// Entries are put into one block until it has so many bytes: large enough to compress well, small enough that a reader
/// which looks for one epoch reads little else.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// The last frame: its header and an offset.
const END_LEN: u64 = FRAME_HEADER_LEN as u64 + 8;

/// Bytes of a block in front of the compressed ones.
const BLOCK_HEAD: usize = 4;

/// What a sealed file holds, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// In order.
    pub(crate) blocks: Vec<Block>,
    /// The epoch behind the last one.
    pub(crate) next_epoch: u64,
    /// The place behind the last event.
    pub(crate) next_place: u64,
    /// Bytes of all blocks before compression.
    pub(crate) raw_bytes: u64,
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    /// Where its frame begins.
    pub(crate) offset: u64,
    pub(crate) first_epoch: u64,
    pub(crate) first_place: u64,
    /// The least and the greatest `now` of its epochs.
    pub(crate) now: (Timestamp, Timestamp),
    /// The least and the greatest time at which its epochs were accepted.
    pub(crate) accepted_at: (Timestamp, Timestamp),
}

impl Index {
    /// The place in `blocks` of the block that holds an epoch.
    pub(crate) fn block_of(&self, epoch: u64) -> usize {
        self.blocks.partition_point(|block| block.first_epoch <= epoch).saturating_sub(1)
    }

    /// The epoch behind the last one of a block.
    fn end_of(&self, block: usize) -> u64 {
        self.blocks.get(block + 1).map_or(self.next_epoch, |next| next.first_epoch)
    }

    /// Whether the blocks of a file whose first epoch is `base` stand in order between its header and its index.
    fn is_sound(&self, base: u64, first_offset: u64, index_offset: u64) -> bool {
        let Some((first, last)) = self.blocks.first().zip(self.blocks.last()) else { return false };
        first.offset == first_offset
            && first.first_epoch == base
            && last.offset < index_offset
            && last.first_epoch < self.next_epoch
            && self.blocks.is_sorted_by(|a, b| a.offset < b.offset && a.first_epoch < b.first_epoch)
    }
}

/// A sealed file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedFile {
    /// Its first epoch.
    pub first_epoch: u64,
    /// The epoch behind its last one.
    pub next_epoch: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// How many bytes its epochs have before compression.
    pub raw_bytes: u64,
    /// The greatest time at which one of its epochs was accepted.
    pub accepted_until: Timestamp,
}

impl SealedFile {
    fn new(base: u64, bytes: u64, index: &Index) -> Self {
        let accepted = index.blocks.iter().map(|block| block.accepted_at.1);
        Self {
            first_epoch: base,
            next_epoch: index.next_epoch,
            bytes,
            raw_bytes: index.raw_bytes,
            accepted_until: accepted.max().unwrap_or_default(),
        }
    }
}
