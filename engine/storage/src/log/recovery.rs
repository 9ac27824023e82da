//! Finds the end of the last log file: cuts an unfinished write, refuses damage.

use std::path::PathBuf;

use crate::error::StorageError;
use crate::frame::{FILE_HEADER_LEN, FrameReader, Step, Tail};
use crate::log::entry::{self, EventBytes};

/// What opening cut off: bytes of a write that was never finished and never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The file that was cut.
    pub file: PathBuf,
    /// Its length now, in bytes.
    pub offset: u64,
    /// How many bytes were cut off.
    pub cut_bytes: u64,
    /// What was wrong with them.
    pub detail: String,
}

/// The end of the valid part of the last file.
pub(super) struct LogEnd {
    pub(super) offset: u64,
    /// Up to where the file was durable when the last entry was written.
    pub(super) synced: u64,
    pub(super) next_epoch: u64,
    /// Place of the next event; `None` if the file has no entry.
    pub(super) next_place: Option<u64>,
    pub(super) cut: Option<Recovered>,
    /// The end without the last entry, which may be durable without a later one that says so.
    #[cfg(feature = "planted-bugs")]
    before: (u64, u64, Option<u64>),
}

/// Reads the last file from its first frame on.
pub(super) fn find_end(mut reader: FrameReader) -> Result<LogEnd, StorageError> {
    let mut end = LogEnd {
        offset: FILE_HEADER_LEN,
        synced: FILE_HEADER_LEN,
        next_epoch: reader.header().base,
        next_place: None,
        cut: None,
        #[cfg(feature = "planted-bugs")]
        before: (0, 0, None),
    };
    let mut payload = Vec::new();
    loop {
        match reader.next(&mut payload, EventBytes::PADDING)? {
            Step::End => {
                #[cfg(feature = "planted-bugs")]
                if crate::planted::active(crate::planted::Bug::LogCutTooEarly) && end.before.0 > 0 {
                    (end.offset, end.next_epoch, end.next_place) = end.before;
                }
                return Ok(end);
            }
            Step::Frame(frame) => {
                let damaged = |detail: &str| StorageError::damaged(reader.path(), frame.offset, detail);
                let mut entry = entry::decode(payload).map_err(damaged)?;
                if entry.header.epoch != end.next_epoch {
                    return Err(damaged(&wrong_epoch(end.next_epoch, entry.header.epoch)));
                }
                #[cfg(feature = "planted-bugs")]
                if frame.synced < frame.end {
                    end.before = (end.offset, end.next_epoch, end.next_place);
                }
                end.offset = frame.end;
                end.synced = frame.synced;
                end.next_epoch = end.next_epoch.saturating_add(1);
                end.next_place = Some(entry.header.first_place.saturating_add(entry.events.len() as u64));
                payload = entry.events.take_buffer();
            }
            Step::Bad(detail) => {
                if reader.classify_tail()? == Tail::Damaged {
                    return Err(reader.damaged(detail));
                }
                end.cut = Some(Recovered {
                    file: reader.path().to_owned(),
                    offset: end.offset,
                    cut_bytes: reader.len() - end.offset,
                    detail: detail.to_owned(),
                });
                return Ok(end);
            }
        }
    }
}

pub(crate) fn wrong_epoch(expected: u64, found: u64) -> String {
    format!("epoch {expected} should stand here, not {found}")
}
