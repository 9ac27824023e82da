//! Waits for the disk on behalf of an outbox, which others go on using meanwhile.

use std::path::PathBuf;
use std::sync::Arc;

use super::Span;
use crate::error::StorageError;
use crate::files::Files;
use crate::frame::FrameWriter;

/// What is to be synced, away from the outbox, so that nobody has to wait for the disk to push.
pub struct Unsynced {
    pub(super) files: Arc<dyn Files>,
    pub(super) directory: PathBuf,
    pub(super) writers: Vec<FrameWriter>,
    pub(super) span: Span,
    pub(super) before: u64,
}

/// What has been synced.
pub struct Synced {
    pub(super) span: Span,
    pub(super) before: u64,
}

impl Unsynced {
    /// Waits for the disk.
    ///
    /// # Errors
    ///
    /// [`StorageError::Poisoned`], [`StorageError::Io`]: the outbox must not be written to any more.
    pub fn sync(mut self) -> Result<Synced, StorageError> {
        self.writers.iter_mut().try_for_each(FrameWriter::sync)?;
        let io = |error| StorageError::io("sync", &self.directory, error);
        self.files.sync_dir(&self.directory).map_err(io)?;
        Ok(Synced { span: self.span, before: self.before })
    }
}
