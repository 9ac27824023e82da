//! What stands in a file of dead letters: the letters, as they are stored and read back, and what became of them.

use serde::{Deserialize, Serialize};
use tidewater_model::Timestamp;

use crate::codec;
use crate::error::StorageError;
use crate::frame::FrameReader;

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
pub(super) enum Entry {
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
    /// What was to take their place will not come.
    Restored(Vec<u64>),
}

pub(super) fn encode(entry: &Entry) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::new();
    codec::encode_into(&mut bytes, entry).map_err(|error| StorageError::refused(error.to_string()))?;
    Ok(bytes)
}

pub(super) fn decode(reader: &FrameReader, payload: &[u8]) -> Result<(Entry, usize), StorageError> {
    codec::decode_prefix(payload).map_err(|_| reader.damaged("a record cannot be decoded"))
}
