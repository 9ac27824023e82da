//! A refused event, as it is stored and read back.

use serde::{Deserialize, Serialize};
use tidewater_model::Timestamp;

use crate::codec;
use crate::error::StorageError;
use crate::frame::{FRAME_HEADER_LEN, FrameReader};

/// A refused event to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// The stable name of the reason.
    pub reason: &'a str,
    /// The source it came from.
    pub source: &'a str,
    /// The wall clock at which it was refused.
    pub received_at: Timestamp,
    /// The event, or as much of it as was read.
    pub bytes: &'a [u8],
    /// The length of the whole event in bytes.
    pub original_len: u64,
}

/// A refused event as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number: given in order, never again.
    pub id: u64,
    /// The stable name of the reason.
    pub reason: String,
    /// The source it came from.
    pub source: String,
    /// The wall clock at which it was refused.
    pub received_at: Timestamp,
    /// The event, or its beginning.
    pub bytes: Vec<u8>,
    /// The length of the whole event in bytes.
    pub original_len: u64,
}

impl Record {
    /// Whether all of the event is there. A part can be looked at but not redriven.
    pub fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.original_len
    }

    /// About how many bytes it takes on disk.
    pub fn size(&self) -> u64 {
        /// What its numbers and lengths take, about.
        const NUMBERS: usize = 20;
        (FRAME_HEADER_LEN + NUMBERS + self.reason.len() + self.source.len() + self.bytes.len()) as u64
    }
}

/// What an entry says; of a rejected event its bytes follow.
#[derive(Serialize, Deserialize)]
pub(super) enum Entry {
    Rejected { id: u64, reason: String, source: String, received_at: Timestamp, original_len: u64 },
    Redriven(Vec<u64>),
}

pub(super) fn encode(out: &mut Vec<u8>, entry: &Entry) -> Result<(), StorageError> {
    out.clear();
    codec::encode_into(out, entry).map_err(|error| StorageError::refused(error.to_string()))
}

pub(super) fn decode(reader: &FrameReader, payload: &[u8]) -> Result<(Entry, usize), StorageError> {
    codec::decode_prefix(payload).map_err(|_| reader.damaged("a record cannot be decoded"))
}
