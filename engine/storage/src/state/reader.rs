//! The reading side of a state directory: needs no lock, and sees what is whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ACKS, CHECKPOINTS, DEAD_LETTERS, LOG, META, OUTBOX, QUARANTINE, QUARANTINE_RECORDS, list};
use crate::acks::{self, Ack};
use crate::checkpoint::{self, Manifest, StateFile, StateFileReader};
use crate::copy::{Holds, check_finished};
use crate::dead_letters::DeadLetterReader;
use crate::error::StorageError;
use crate::files::{DiskFiles, Files, decode_name, encode_name};
use crate::log::place::{LogFile, LogPlace};
use crate::log::{LogReader, Witness};
use crate::meta::{Meta, MetaFile};
use crate::outbox;
use crate::quarantine::{Filter, QuarantineReader};
use crate::store::Store;

/// A state directory to read, without a lock: for `export` and `verify`, also while a process runs on it.
///
/// Every read stops at the last whole entry and changes nothing.
#[derive(Clone, Debug)]
pub struct StateReader {
    pub(super) files: Arc<dyn Files>,
    pub(super) path: PathBuf,
    pub(super) meta: Meta,
    pub(super) holds: Arc<Holds>,
    /// Where sealed log files are besides the directory.
    pub(super) store: Option<Arc<dyn Store>>,
}

impl StateReader {
    /// Opens an existing state directory.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`] if there is none, [`StorageError::Unfinished`], [`StorageError::Newer`],
    /// [`StorageError::Damaged`], [`StorageError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        Self::open_with(Arc::new(DiskFiles), path)
    }

    /// As [`open`](Self::open), on another file system.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(files: Arc<dyn Files>, path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let path = path.as_ref().to_owned();
        check_finished(&*files, &path)?;
        let meta =
            MetaFile::new(Arc::clone(&files), path.join(META)).read().map_err(|error| match error {
                StorageError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                    StorageError::NotFound { directory: path.clone() }
                }
                error => error,
            })?;
        Ok(Self { files, path, meta, holds: Arc::default(), store: None })
    }

    /// Looks for sealed log files in `store` besides the directory: the one that [`Meta::log_store`] names.
    #[must_use]
    pub fn with_log_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was made with. A reader keeps what it read when it was opened.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// What it says of itself now.
    pub(crate) fn read_meta(&self) -> Result<Meta, StorageError> {
        self.meta_file().read()
    }

    pub(crate) fn files(&self) -> &dyn Files {
        &*self.files
    }

    /// Shared with all that was opened from the same [`StateDir`](super::StateDir).
    pub(crate) fn holds(&self) -> &Arc<Holds> {
        &self.holds
    }

    /// The log's entries from `epoch` on. All of them: `meta().log_starts`.
    ///
    /// # Errors
    ///
    /// [`StorageError::Refused`] if `epoch` is no longer in the log, and those of [`LogReader::read`].
    pub fn log(&self, epoch: u64) -> Result<LogReader, StorageError> {
        LogReader::open(self.log_place()?, self.meta_file(), epoch)
    }

    /// The first epoch still in the log, as it is now: [`meta`](Self::meta) says what it was.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn log_starts(&self) -> Result<u64, StorageError> {
        Ok(self.meta_file().read()?.log_starts)
    }

    /// About how many bytes of events the log has from an epoch on: those of the file that holds it and of later ones.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`], [`StorageError::Io`].
    pub fn log_bytes(&self, epoch: u64) -> Result<u64, StorageError> {
        let place = self.log_place()?;
        let all = place.list()?;
        let first = all.range(..=epoch).next_back().map_or(0, |(base, _)| *base);
        let mut bytes = 0;
        for base in all.range(first..).map(|(base, _)| *base) {
            bytes += match place.open(base)? {
                LogFile::Plain(plain) => plain.len(),
                LogFile::Sealed(sealed) => sealed.info().raw_bytes,
            };
        }
        Ok(bytes)
    }

    pub(crate) fn log_place(&self) -> Result<LogPlace, StorageError> {
        if let (Some(address), None) = (&self.meta.log_store, &self.store) {
            return Err(StorageError::refused(format!(
                "sealed files of the log are in {address}, which was not opened"
            )));
        }
        Ok(LogPlace::new(Arc::clone(&self.files), self.path.join(LOG), self.store.clone()))
    }

    pub(super) fn meta_file(&self) -> MetaFile {
        MetaFile::new(Arc::clone(&self.files), self.path.join(META))
    }

    /// The quarantined events that `filter` lets through and that have not been redriven, by id.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`], [`StorageError::Io`]. No quarantine is an empty one.
    pub fn quarantine(&self, filter: Filter) -> Result<QuarantineReader, StorageError> {
        let directory = self.path.join(QUARANTINE);
        if !list(&*self.files, &directory)?.iter().any(|name| name == QUARANTINE_RECORDS) {
            return Ok(QuarantineReader::empty());
        }
        QuarantineReader::open(&*self.files, &directory.join(QUARANTINE_RECORDS), filter)
    }

    /// The checkpoints, newest first, each as it could be read.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`]; in the list also [`StorageError::Damaged`] and [`StorageError::Newer`].
    pub fn checkpoints(&self) -> Result<Vec<Result<Manifest, StorageError>>, StorageError> {
        checkpoint::manifests(&*self.files, &self.path.join(CHECKPOINTS))
    }

    /// Opens a state file of a checkpoint.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`], [`StorageError::Newer`], [`StorageError::Io`].
    pub fn state_file(&self, file: &StateFile) -> Result<StateFileReader, StorageError> {
        checkpoint::read_state(&*self.files, &self.path.join(CHECKPOINTS), file)
    }

    /// The dead letters of `sink`, in order. Of a sink that has none, nothing.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`], [`StorageError::Io`].
    pub fn dead_letters(&self, sink: &str) -> Result<DeadLetterReader, StorageError> {
        DeadLetterReader::open(&*self.files, &self.path.join(DEAD_LETTERS).join(encode_name(sink)))
    }

    /// The names of the sinks that have ever been opened, sorted.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`].
    pub fn sinks(&self) -> Result<Vec<String>, StorageError> {
        let names = list(&*self.files, &self.path.join(ACKS))?;
        let mut sinks: Vec<String> = names.iter().filter_map(|name| decode_name(name)).collect();
        sinks.sort_unstable();
        Ok(sinks)
    }

    /// What `sink` has last acknowledged.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`], [`StorageError::Io`].
    pub fn ack(&self, sink: &str) -> Result<Option<Ack>, StorageError> {
        acks::read_last(&*self.files, &self.path.join(ACKS), sink)
    }

    /// The last epoch that a checkpoint or a sink knows of. What can't be read says nothing here; whoever needs it is told.
    pub(crate) fn witness(&self) -> Result<Option<Witness>, StorageError> {
        let checkpoints = self.checkpoints()?.into_iter().flatten();
        let checkpoint = checkpoints
            .map(|manifest| Witness { epoch: manifest.epoch, says: "a checkpoint is of".to_owned() });
        let acks = self.sinks()?.into_iter().filter_map(|sink| {
            let epoch = self.ack(&sink).ok()??.epoch;
            Some(Witness { epoch, says: format!("sink `{sink}` has acknowledged") })
        });
        Ok(checkpoint.chain(acks).max_by_key(|witness| witness.epoch))
    }

    /// Up to which epoch the outbox of `sink`, which has acknowledged this one, has everything; what a start would find there.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`], [`StorageError::Newer`].
    pub fn outbox_through(&self, sink: &str, acknowledged: u64) -> Result<u64, StorageError> {
        let directory = self.path.join(OUTBOX).join(encode_name(sink));
        outbox::through(&*self.files, &directory, acknowledged)
    }
}
