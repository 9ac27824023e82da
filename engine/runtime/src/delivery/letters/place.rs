//! Where letters are: on disk, in memory, or closed.

use tidewater_storage::{Appended, DeadLetters, NewDeadLetter, StorageError};

use super::{LetterCounts, Refusal, ring::Ring};
use crate::delivery::codec;

/// Where they are.
pub(super) enum Place {
    Disk(Box<DeadLetters>),
    Memory(Ring),
    /// The engine has ended, with so many.
    Closed(LetterCounts),
}

impl Place {
    pub(super) fn counts(&self) -> LetterCounts {
        match self {
            Self::Disk(letters) => {
                LetterCounts { letters: letters.len(), bytes: letters.bytes(), dropped: 0 }
            }
            Self::Memory(ring) => LetterCounts {
                letters: ring.letters.len() as u64,
                bytes: ring.bytes as u64,
                dropped: ring.dropped,
            },
            Self::Closed(counts) => *counts,
        }
    }

    /// The letter's number; `None` if there is no room.
    pub(super) fn append(&mut self, refusal: &Refusal) -> Result<Option<u64>, StorageError> {
        let mut bytes = Vec::new();
        codec::encode(&refusal.delta, &mut bytes);
        let context = codec::encode_names(refusal.delta.names());
        let letter = NewDeadLetter {
            epoch: refusal.delta.epoch(),
            cause: refusal.cause,
            reason: &refusal.reason,
            attempts: refusal.attempts,
            first_failed_at: refusal.first_failed_at,
            last_failed_at: refusal.last_failed_at,
            context: &context,
            bytes: &bytes,
        };
        match self {
            Self::Disk(letters) => match letters.append(&letter)? {
                Appended::Stored(id) => Ok(Some(id)),
                Appended::Full => Ok(None),
            },
            Self::Memory(ring) => Ok(Some(ring.add(&letter))),
            Self::Closed(_) => Err(closed()),
        }
    }

    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        match self {
            Self::Disk(letters) => letters.sync(),
            Self::Memory(_) => Ok(()),
            Self::Closed(_) => Err(closed()),
        }
    }
}

pub(super) fn closed() -> StorageError {
    StorageError::Refused { detail: "the engine has ended, and its dead letters are closed".to_owned() }
}
