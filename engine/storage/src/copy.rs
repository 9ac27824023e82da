//! Copies of a state directory: complete as of one epoch, or refused by whoever opens them.
//!
//! While an engine runs nothing stands still, so parts are copied in an order in which what is copied later covers what
//! was copied before: checkpoints, outboxes, of each sink its acknowledgement and dead letters as of one moment, then log
//! and quarantine as of one moment ([`Extent`]). An outbox has what a checkpoint counts on, and an acknowledgement covers
//! what has gone from an outbox meanwhile; the log has every epoch that one of them is of, the quarantine every refused
//! event that a source's position in the log lies behind, and of those that were redriven only what the log has. `meta` comes
//! last.
//!
//! Until then a file says that the copy is unfinished. What never changes is linked where the file system can.

mod copying;
mod holds;

use std::path::{Path, PathBuf};

use crate::error::StorageError;
use crate::files::{Blob, Files};
use crate::log::LogWriter;
use crate::quarantine::Quarantine;
use crate::state::{META, StateReader};

use copying::Copying;

pub(crate) use holds::Holds;

/// Stands in a directory until the copy in it is complete.
const UNFINISHED: &str = "unfinished-copy";

/// What has been copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// The last epoch in the copy's log.
    pub epoch: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of those that are linked, and so take no room of their own until the original is removed.
    pub linked_bytes: u64,
}

/// How much of log and quarantine belongs to a copy.
pub struct Extent {
    epoch: u64,
    log_file: PathBuf,
    log_bytes: u64,
    quarantine: Box<dyn Blob>,
    quarantine_bytes: u64,
}

impl Extent {
    /// All that is durable now.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`].
    pub fn of(log: &LogWriter, quarantine: &Quarantine) -> Result<Self, StorageError> {
        let (log_file, log_bytes) = log.durable_file();
        let (quarantine, quarantine_bytes) = quarantine.durable()?;
        let (epoch, log_file) = (log.durable_epoch(), log_file.to_owned());
        Ok(Self { epoch, log_file, log_bytes, quarantine, quarantine_bytes })
    }
}

impl StateReader {
    /// Copies the state directory to `to`, which must be empty or not there. `extent` is asked once, when checkpoints and
    /// what there is of sinks have been copied.
    ///
    /// The caller must have the directory to itself, or be the process that runs on it; files that this process would
    /// remove meanwhile stay until the copy is made.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotEmpty`] or [`StorageError::Unfinished`] if there is something in `to`; whatever `extent` answers; [`StorageError::NoSpace`],
    /// [`StorageError::Io`], [`StorageError::Damaged`]. What has been copied by then is left, and nobody opens it.
    pub fn copy_to<E: From<StorageError>>(
        &self,
        to: &Path,
        extent: impl FnOnce() -> Result<Extent, E>,
    ) -> Result<Copied, E> {
        let _hold = self.holds().hold();
        let mut copy = Copying::begin(self.files(), self.path(), to)?;
        // With the hold it stays true: the log begins no later than it says.
        let meta = self.read_meta()?;
        if let Some(address) = &meta.log_store {
            let detail = format!("log files are in {address}, which two state directories can't share");
            return Err(StorageError::Refused { detail }.into());
        }
        copy.checkpoints()?;
        copy.sinks(self.holds())?;
        let extent = extent()?;
        copy.log(&self.log_place()?, &extent)?;
        copy.done.epoch = extent.epoch;
        copy.quarantine(extent)?;
        meta.write(self.files(), &to.join(META))?;
        copy.finish().map_err(E::from)
    }
}

/// Refuses a directory with a copy that was never finished.
pub(crate) fn check_finished(files: &dyn Files, directory: &Path) -> Result<(), StorageError> {
    match files.list(directory) {
        Ok(names) if names.iter().any(|name| name == UNFINISHED) => {
            Err(StorageError::Unfinished { directory: directory.to_owned() })
        }
        // Whoever opens it says what is wrong.
        _ => Ok(()),
    }
}
