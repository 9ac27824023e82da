//! A file that is open, and how far it has been read.

use std::{path::Path, time::Instant};

use tidewater_connector_api::ReadError;

use super::{Stop, WAYS_OUT};
use crate::file::{
    input::{Input, describe, inode},
    lines::Lines,
    position::Mark,
};

/// A file that is open.
pub(super) struct OpenFile {
    pub(super) name: String,
    pub(super) inode: u64,
    pub(super) input: Input,
    pub(super) lines: Lines,
    /// Followed, and not under its name any more: since when, or when its last line was read.
    pub(super) rotated: Option<Instant>,
}

impl OpenFile {
    pub(super) fn mark(&self) -> Mark {
        self.input.mark(self.lines.offset())
    }
}

pub(super) fn open(path: &Path, name: &str) -> Result<OpenFile, ReadError> {
    let input = Input::open(path)?;
    let metadata = input.metadata().map_err(|error| ReadError::failed(describe(name, &error)))?;
    let inode = metadata.map_or(0, |metadata| inode(&metadata, name));
    Ok(OpenFile { name: name.to_owned(), inode, input, lines: Lines::new(0), rotated: None })
}

pub(super) fn resume(file: &mut OpenFile, mark: Mark) -> Result<(), ReadError> {
    let found = file.input.skip_to(mark.offset).map_err(|error| failed_at(file, 0, &error))?;
    if !found {
        let reason =
            format!("{} was read up to byte {} and is shorter now; {WAYS_OUT}", file.name, mark.offset);
        return Err(ReadError::BadPosition { reason });
    }
    file.lines = Lines::new(mark.offset);
    Ok(())
}

pub(super) fn file_len(input: &Input) -> u64 {
    input.metadata().ok().flatten().map_or(0, |metadata| metadata.len())
}

pub(super) fn failed(file: &OpenFile, error: &std::io::Error) -> Stop {
    Stop::Failed(failed_at(file, file.lines.offset(), error))
}

fn failed_at(file: &OpenFile, offset: u64, error: &std::io::Error) -> ReadError {
    ReadError::failed(format!("cannot read {} behind byte {offset}: {error}", file.name))
}
