//! The event log: every accepted event, in epochs, exactly as received. What is not in it did not happen.
//!
//! Files are named after their first epoch. Only the last one is written to; the others are *sealed*: durable to
//! their last byte before the next one was made, so anything wrong in them is damage, never a torn tail.

mod entry;
mod reader;
mod recovery;
mod writer;

use std::path::{Path, PathBuf};

use crate::error::StorageError;
use crate::files::Files;

pub use entry::{EpochEntry, EpochHeader, EventBytes};
pub use reader::LogReader;
pub use recovery::Recovered;
pub use writer::{LogOptions, LogWriter};

/// The number of a log's first epoch. 0 means "before anything", as in an acknowledgement of nothing.
pub const FIRST_EPOCH: u64 = 1;

const SUFFIX: &str = ".log";

/// The path of the log file whose first epoch is `base`.
pub(crate) fn file_path(directory: &Path, base: u64) -> PathBuf {
    directory.join(format!("{base:020}{SUFFIX}"))
}

/// The first epochs of the log files in `directory`, in order.
pub(crate) fn list_files(files: &dyn Files, directory: &Path) -> Result<Vec<u64>, StorageError> {
    let names = files.list(directory).map_err(|error| StorageError::io("list", directory, error))?;
    let mut bases: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20))
        .filter_map(|digits| digits.parse().ok())
        .collect();
    bases.sort_unstable();
    Ok(bases)
}

/// The names of the files that are written to no more, given the path of the one that is.
pub(crate) fn sealed_files(
    files: &dyn Files,
    directory: &Path,
    last: &Path,
) -> Result<Vec<PathBuf>, StorageError> {
    let names = list_files(files, directory)?.into_iter().map(|base| file_path(Path::new(""), base));
    Ok(names.filter(|name| directory.join(name).as_path() < last).collect())
}
