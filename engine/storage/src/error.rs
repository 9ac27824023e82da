//! Every failure says what the caller has to do: wait, free space, stop, upgrade or restore.

use std::io;
use std::path::{Path, PathBuf};

/// Why a state directory or one of its files could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process runs on the directory. Stop it, or use another directory.
    #[error("state directory {} is in use by another process{}", directory.display(), holder_text(*holder))]
    Locked {
        /// The state directory.
        directory: PathBuf,
        /// The process that holds it, where it left its number.
        holder: Option<u32>,
    },
    /// Bytes that were durable are no longer what was written, or a file is missing. Nothing was changed.
    #[error(
        "{} is damaged at byte {offset}: {detail}; nothing was changed: restore it from a copy, \
         or start again on an empty state directory",
        file.display()
    )]
    Damaged {
        /// The damaged or missing file.
        file: PathBuf,
        /// Where in the file the first damage is, in bytes.
        offset: u64,
        /// What was expected there.
        detail: String,
    },
    /// Written by a later release. Upgrade this program; nothing was changed.
    #[error(
        "{} has format version {version}, this release reads up to {supported}: use the release that wrote it",
        file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format version.
        version: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// The disk or quota is full; nothing of the refused call is left behind. Try again once there is room.
    #[error("no space left to write {}", path.display())]
    NoSpace {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// A write or fsync failed: what the file holds beyond the last good [`sync`](crate::LogWriter::sync) is
    /// unknown. Acknowledge nothing more, stop, and start again: opening reads what is really there.
    #[error("{} can no longer be written: {reason}", file.display())]
    Poisoned {
        /// The file.
        file: PathBuf,
        /// The first failure.
        reason: String,
    },
    /// The call breaks a rule of its contract (an epoch out of order, too large, a file opened twice).
    #[error("{detail}")]
    Refused {
        /// Which rule.
        detail: String,
    },
    /// The path holds no state directory.
    #[error("{} is not a state directory: it has no `meta` file", directory.display())]
    NotFound {
        /// The path that was looked at.
        directory: PathBuf,
    },
    /// The path holds a copy of a state directory that was never finished. Remove it, and copy once more.
    #[error(
        "{} holds an unfinished copy of a state directory: remove it and copy once more",
        directory.display()
    )]
    Unfinished {
        /// The path that was looked at.
        directory: PathBuf,
    },
    /// A copy was to be made where something stands already. Nothing was changed.
    #[error("{} is not empty: a copy needs a directory of its own", directory.display())]
    NotEmpty {
        /// The path that was looked at.
        directory: PathBuf,
    },
    /// Any other answer of the operating system.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl StorageError {
    /// Wraps the operating system's answer; a full disk keeps its own variant.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        if is_no_space(&source) {
            return Self::NoSpace { path: path.to_owned() };
        }
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(file: &Path, offset: u64, detail: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), offset, detail: detail.into() }
    }

    pub(crate) fn refused(detail: impl Into<String>) -> Self {
        Self::Refused { detail: detail.into() }
    }
}

pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map(|id| format!(" (process {id})")).unwrap_or_default()
}
