//! Finds the end of the last log file: cuts an unfinished write, refuses damage.

use std::path::Path;

use crate::error::StorageError;
use crate::frame::{self, FrameReader, Recovered};
use crate::log::entry::{self, EventBytes};

/// The end of the valid part of the last file.
pub(super) struct LogEnd {
    pub(super) offset: u64,
    /// Up to where the file was durable when the last entry was written.
    pub(super) synced: u64,
    pub(super) next_epoch: u64,
    /// Place of the next event; `None` if the file has no entry.
    pub(super) next_place: Option<u64>,
    pub(super) cut: Option<Recovered>,
}

/// Who says that an epoch was durable: nobody gets to know of one before it is.
pub(crate) struct Witness {
    pub(crate) epoch: u64,
    /// Such as "a checkpoint is of".
    pub(crate) says: String,
}

impl Witness {
    /// The error for a log that ends before. What looks like a write that was never finished is damage then, and the epochs
    /// behind it would be given out again, to sinks that take them for delivered.
    pub(super) fn contradicts(&self, path: &Path, end: &LogEnd) -> StorageError {
        let why = end.cut.as_ref().map_or("nothing follows", |cut| &cut.detail);
        let Self { epoch, says } = self;
        let last = end.next_epoch.saturating_sub(1);
        let detail = format!("the log ends with epoch {last} here ({why}), but {says} epoch {epoch}");
        StorageError::damaged(path, end.offset, detail)
    }
}

/// Reads the last file from its first frame on.
pub(super) fn find_end(mut reader: FrameReader) -> Result<LogEnd, StorageError> {
    let (mut next_epoch, mut next_place) = (reader.header().base, None);
    // The end without the last entry, which may be durable without a later one that says so.
    #[cfg(feature = "planted-bugs")]
    let mut before = (0, 0, None);
    let end = frame::find_end(&mut reader, EventBytes::PADDING, |reader, frame, payload| {
        let damaged = |detail: &str| StorageError::damaged(reader.path(), frame.offset, detail);
        let mut entry = entry::decode(std::mem::take(payload)).map_err(damaged)?;
        if entry.header.epoch != next_epoch {
            return Err(damaged(&wrong_epoch(next_epoch, entry.header.epoch)));
        }
        #[cfg(feature = "planted-bugs")]
        if frame.synced < frame.end {
            before = (frame.offset, next_epoch, next_place);
        }
        next_epoch = next_epoch.saturating_add(1);
        next_place = Some(entry.header.first_place.saturating_add(entry.events.len() as u64));
        *payload = entry.events.take_buffer();
        Ok(())
    })?;
    let end = LogEnd { offset: end.offset, synced: end.synced, next_epoch, next_place, cut: end.cut };
    #[cfg(feature = "planted-bugs")]
    if crate::planted::active(crate::planted::Bug::LogCutTooEarly) && end.cut.is_none() && before.0 > 0 {
        let (offset, next_epoch, next_place) = before;
        return Ok(LogEnd { offset, next_epoch, next_place, ..end });
    }
    Ok(end)
}

pub(crate) fn wrong_epoch(expected: u64, found: u64) -> String {
    format!("epoch {expected} should stand here, not {found}")
}
