//! How long the log is kept: full files are sealed on a thread of their own, and old ones are retired behind a checkpoint.
//!
//! A log that begins later than the first event is only worth something together with a *base*: a checkpoint of an
//! epoch from which on the log is whole. So nothing is retired before its base is read back and marked as one, durably; a
//! base is kept until a later one takes its place. [`plan`] decides, [`seal`] is the thread.

mod plan;
pub(crate) mod seal;

use std::{collections::BTreeSet, sync::Arc};

use tidewater_connector_api::Clock;
use tidewater_model::Timestamp;
use tidewater_storage::{
    Checkpoints, EpochEntry, LogArchive, Manifest, StateFile, StateFileReader, StateReader, StorageError,
};

use self::plan::{Limits, Retirement};
use crate::{checkpoint::choose::is_delivered, delivery::SinkHandle, error::Error, settings::Settings};

/// Retires log files; on the checkpoint thread, since every checkpoint may be what it waited for.
pub(crate) struct Retention {
    archive: Arc<LogArchive>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    /// Sinks that have not come so far follow earlier definitions, and are corrected from the log.
    changeover: u64,
    /// State files that have been read to their ends, and whether they are whole. They never change.
    read: Vec<(StateFile, bool)>,
}

impl Retention {
    pub(crate) fn new(
        archive: Arc<LogArchive>,
        settings: &Settings,
        clock: Arc<dyn Clock>,
        changeover: u64,
    ) -> Self {
        let limits = Limits { keep_ms: settings.log_keep_ms, keep_bytes: settings.log_keep_bytes };
        Self { archive, limits, clock, changeover, read: Vec::new() }
    }

    /// The epochs of checkpoints, given newest first, that are kept so that the log can be retired behind them.
    pub(crate) fn pinned(&self, all: &[Manifest]) -> BTreeSet<u64> {
        plan::pinned(all, self.limits.is_any())
    }

    /// Retires what is over the limits and not needed. `all` are the checkpoints, newest first, each with everything that
    /// belongs to it; the one that becomes the base is marked, and those before the log are left out.
    pub(crate) fn retire(
        &mut self,
        store: &Checkpoints,
        all: &mut Vec<Manifest>,
        sinks: &[Arc<SinkHandle>],
    ) -> Result<(), StorageError> {
        if !self.limits.is_any() {
            return Ok(());
        }
        // One that is behind the change is corrected at the next start.
        if sinks.iter().any(|sink| sink.kept_epoch() < self.changeover) {
            return Ok(());
        }
        let Some(Retirement { log_starts, base }) = self.plan(store, all, sinks)? else { return Ok(()) };
        if !all[base].is_base {
            // Only what is durably marked counts as marked, also after a failure here.
            let marked = Manifest { is_base: true, ..all[base].clone() };
            store.commit(&marked)?;
            all[base] = marked;
        }
        if !self.archive.retire(log_starts)? {
            // A copy is being made; the next checkpoint tries again.
            return Ok(());
        }
        tracing::info!(log_starts, base = all[base].epoch, "old log files were retired");
        all.retain(|manifest| manifest.epoch + 1 >= log_starts);
        Ok(())
    }

    /// Plans with a base that is whole: without the log nothing makes up for what is damaged in it.
    fn plan(
        &mut self,
        store: &Checkpoints,
        all: &[Manifest],
        sinks: &[Arc<SinkHandle>],
    ) -> Result<Option<Retirement>, StorageError> {
        let acknowledged = crate::checkpoint::collect::acknowledged(sinks);
        let (sealed, bytes) = self.archive.sealed()?;
        self.read.retain(|(file, _)| all.iter().any(|manifest| manifest.files.contains(file)));
        loop {
            let is_damaged = |file: &StateFile| self.read.contains(&(*file, false));
            let is_of_use = |manifest: &Manifest| {
                is_delivered(manifest, &acknowledged) && !manifest.files.iter().any(is_damaged)
            };
            let planned = plan::plan(&self.limits, (&sealed, bytes), all, is_of_use, self.clock.now());
            let Some(planned) = planned else { return Ok(None) };
            if self.is_whole(store, &all[planned.base])? {
                return Ok(Some(planned));
            }
        }
    }

    /// Reads the state files of a checkpoint that have not been read yet.
    fn is_whole(&mut self, store: &Checkpoints, manifest: &Manifest) -> Result<bool, StorageError> {
        for file in &manifest.files {
            if self.read.contains(&(*file, true)) {
                continue;
            }
            match store.read(file).and_then(StateFileReader::check) {
                Ok(()) => self.read.push((*file, true)),
                Err(error) if is_for_good(&error) => {
                    let epoch = manifest.epoch;
                    tracing::error!(epoch, %error, "the log is not retired behind a checkpoint that is damaged");
                    self.read.push((*file, false));
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Whether it will be the same every time that a file is read.
fn is_for_good(error: &StorageError) -> bool {
    match error {
        StorageError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        error => matches!(error, StorageError::Damaged { .. }),
    }
}

/// A log whose oldest files have been retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetiredLog {
    /// Its first epoch.
    pub(crate) starts: u64,
    /// When that was accepted.
    pub(crate) at: Timestamp,
}

impl RetiredLog {
    /// `None` if the log is whole.
    pub(crate) fn of(reader: &StateReader) -> Result<Option<Self>, Error> {
        let starts = reader.log_starts()?;
        if starts == tidewater_storage::FIRST_EPOCH {
            return Ok(None);
        }
        let mut entry = EpochEntry::default();
        reader.log(starts)?.read(&mut entry)?;
        Ok(Some(Self { starts, at: entry.header.accepted_at }))
    }

    /// Says at the start from when on things are complete.
    pub(crate) fn tell(&self) {
        let Self { starts, at } = self;
        tracing::info!(epoch = starts, accepted_at = %at, "old events were retired: the log is complete from here on");
    }

    /// The error for something that needs more than there is.
    pub(crate) fn lacks(self, what: impl Into<String>) -> Error {
        Error::LogRetired { what: what.into(), from_epoch: self.starts, from: self.at }
    }

    /// The error for changes of the pipeline that lose something for good.
    pub(crate) fn lacks_for_changes(self, lost: &[String]) -> Error {
        self.lacks(format!("a changed pipeline ({})", lost.join("; ")))
    }

    /// The error for a sink whose members as of what it has can't be computed any more, so that it can't be told what changes.
    pub(crate) fn lacks_for_sink(self, sink: &str) -> Error {
        self.lacks(format!(
            "a changed pipeline with the sink `{sink}`, which lags or was not stopped in good order,"
        ))
    }

    /// The error for a start for which no checkpoint is of use, given the sinks that have acknowledged nothing, and those
    /// that have acknowledged something.
    pub(crate) fn no_checkpoint(self, path: &std::path::Path, new: Vec<String>, is_any: bool) -> Error {
        if !new.is_empty() {
            return self.lacks(format!("a new sink (`{}`)", new.join("`, `")));
        }
        if is_any {
            return self.lacks("a sink that lacks deltas of earlier epochs");
        }
        let detail = format!(
            "none of the checkpoints can be used, and the log begins only at epoch {} ({})",
            self.starts, self.at
        );
        StorageError::Damaged { file: path.join("checkpoints"), offset: 0, detail }.into()
    }
}
