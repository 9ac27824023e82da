//! What stands in the files of an outbox: batches, and between which epochs there is none.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::StorageError;
use crate::frame::FrameReader;

/// A batch to be put in.
#[derive(Clone, Copy, Debug)]
pub struct NewBatch<'a> {
    /// The sink has been given, or finds here, everything up to this epoch; between it and `epoch` there is nothing.
    pub after: u64,
    /// Its epoch.
    pub epoch: u64,
    /// What it takes to read it, in the caller's own encoding; the same for many batches.
    pub context: &'a [u8],
    /// The batch.
    pub bytes: &'a [u8],
}

/// A batch as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// Its epoch.
    pub epoch: u64,
    /// What it was written with.
    pub context: Arc<[u8]>,
    /// The batch.
    pub bytes: Vec<u8>,
}

/// What an entry says; of a context and of a batch the bytes follow.
#[derive(Serialize, Deserialize)]
pub(super) enum Entry {
    /// What the batches behind it in this file were written with. Files of lower numbers than this are durable.
    Context {
        durable_before: u64,
    },
    Batch {
        after: u64,
        epoch: u64,
    },
    /// There is nothing behind `after` up to `through`.
    Quiet {
        after: u64,
        through: u64,
    },
    /// A piece of the batch that follows, which is too large for one entry. One that is followed by piece 0 is of no use: there
    /// was no room for the rest.
    Piece {
        number: u32,
    },
    /// A batch behind its first `pieces`.
    Rest {
        after: u64,
        epoch: u64,
        pieces: u32,
    },
}

/// The pieces of a batch, in order.
#[derive(Default)]
pub(super) struct Pieces {
    pub(super) bytes: Vec<u8>,
    count: u32,
    /// What they take in the file.
    pub(super) size: u64,
}

impl Pieces {
    /// Takes the next one. False if it is not the next.
    pub(super) fn add(&mut self, number: u32, bytes: &[u8], size: u64) -> bool {
        if number == 0 {
            *self = Self::default();
        }
        let is_next = number == self.count;
        self.bytes.extend_from_slice(bytes);
        (self.count, self.size) = (self.count.saturating_add(1), self.size + size);
        is_next
    }

    /// All of them, if they are as many as that.
    pub(super) fn take(&mut self, count: u32) -> Option<Self> {
        Some(std::mem::take(self)).filter(|pieces| pieces.count == count)
    }
}

pub(super) fn encode(entry: &Entry) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::new();
    codec::encode_into(&mut bytes, entry).map_err(|error| StorageError::refused(error.to_string()))?;
    Ok(bytes)
}

pub(super) fn decode(reader: &FrameReader, payload: &[u8]) -> Result<(Entry, usize), StorageError> {
    codec::decode_prefix(payload).map_err(|_| reader.damaged("an entry cannot be decoded"))
}
