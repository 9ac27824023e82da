//! Finds where the whole frames of a file end: an unfinished write behind them is to be cut off, damage is refused.

use std::path::PathBuf;

use crate::error::StorageError;
use crate::frame::{FILE_HEADER_LEN, Frame, FrameReader, Step, Tail};

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

/// The end of the whole frames of a file.
pub(crate) struct End {
    pub(crate) offset: u64,
    /// Up to where the file was durable when the last of them was written.
    pub(crate) synced: u64,
    pub(crate) cut: Option<Recovered>,
}

/// Reads a file from its first frame to its last whole one. `each` gets every frame with its payload, which may be taken, followed
/// by `padding` zero bytes; the reader then stands behind it.
pub(crate) fn find_end(
    reader: &mut FrameReader,
    padding: usize,
    mut each: impl FnMut(&FrameReader, Frame, &mut Vec<u8>) -> Result<(), StorageError>,
) -> Result<End, StorageError> {
    let mut end = End { offset: FILE_HEADER_LEN, synced: FILE_HEADER_LEN, cut: None };
    let mut payload = Vec::new();
    loop {
        match reader.next(&mut payload, padding)? {
            Step::End => return Ok(end),
            Step::Frame(frame) => {
                each(reader, frame, &mut payload)?;
                (end.offset, end.synced) = (frame.end, frame.synced);
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
