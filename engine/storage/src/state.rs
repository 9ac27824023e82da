//! The state directory: one process writes to it, and it always knows what it was made with.

mod create;
mod reader;

use std::any::Any;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::acks::AckFile;
use crate::checkpoint::Checkpoints;
use crate::copy::check_finished;
use crate::dead_letters::{DeadLetterOptions, DeadLetters};
use crate::error::StorageError;
use crate::files::{DiskFiles, Files, Locking, encode_name};
use crate::frame::Recovered;
use crate::log::{LogArchive, LogOptions, LogWriter};
use crate::meta::Meta;
use crate::outbox::{Outbox, OutboxOptions};
use crate::quarantine::{Quarantine, QuarantineOptions};
use crate::store::Store;

use create::{create, remove_leftovers};

pub use create::NewState;
pub use reader::StateReader;

pub(crate) const META: &str = "meta";
pub(crate) const LOCK: &str = "lock";
pub(crate) const LOG: &str = "log";
pub(crate) const QUARANTINE: &str = "quarantine";
pub(crate) const QUARANTINE_RECORDS: &str = "records";
pub(crate) const ACKS: &str = "acks";
pub(crate) const OUTBOX: &str = "outbox";
pub(crate) const DEAD_LETTERS: &str = "dead_letters";
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// A state directory to run on. Other processes are locked out until it and all that was opened from it are dropped.
pub struct StateDir {
    reader: StateReader,
    lock: Arc<dyn Any + Send + Sync>,
    claimed: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl StateDir {
    /// Opens a state directory, or makes one of `new` where there is none.
    ///
    /// What `new` says of an existing directory is ignored: compare it with [`meta`](StateReader::meta).
    ///
    /// # Errors
    ///
    /// [`StorageError::Locked`] if a process runs on it; [`StorageError::Unfinished`], [`StorageError::Newer`],
    /// [`StorageError::Damaged`], [`StorageError::NoSpace`], [`StorageError::Io`].
    pub fn open(path: impl AsRef<Path>, new: &NewState) -> Result<Self, StorageError> {
        Self::open_with(Arc::new(DiskFiles), path, new)
    }

    /// As [`open`](Self::open), on another file system.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(
        files: Arc<dyn Files>,
        path: impl AsRef<Path>,
        new: &NewState,
    ) -> Result<Self, StorageError> {
        let path = path.as_ref();
        files.create_dir(path).map_err(|error| StorageError::io("create", path, error))?;
        let lock_path = path.join(LOCK);
        let lock: Arc<dyn Any + Send + Sync> = match files.lock(&lock_path) {
            Ok(Locking::Held(lock)) => Arc::from(lock),
            Ok(Locking::Busy { holder }) => {
                return Err(StorageError::Locked { directory: path.to_owned(), holder });
            }
            Err(error) => return Err(StorageError::io("lock", &lock_path, error)),
        };
        check_finished(&*files, path)?;
        if !list(&*files, path)?.iter().any(|name| name == META) {
            create(&files, path, new)?;
        }
        let reader = StateReader::open_with(files, path)?;
        // A directory made by an earlier release has none yet.
        let later = [OUTBOX, CHECKPOINTS, DEAD_LETTERS].map(|name| path.join(name));
        for directory in &later {
            let files = &reader.files;
            files.create_dir(directory).map_err(|error| StorageError::io("create", directory, error))?;
        }
        let [outbox, checkpoints, dead_letters] = later;
        for directory in [
            path.join(LOG),
            path.join(QUARANTINE),
            path.join(ACKS),
            outbox,
            checkpoints,
            dead_letters,
            path.to_owned(),
        ] {
            remove_leftovers(&*reader.files, &directory)?;
            // The last process may have died of a failed fsync: names that can be read are not all durable.
            reader.files.sync_dir(&directory).map_err(|error| StorageError::io("sync", &directory, error))?;
        }
        Ok(Self { reader, lock, claimed: Arc::default() })
    }

    /// The reading side. It keeps nothing locked.
    pub fn reader(&self) -> &StateReader {
        &self.reader
    }

    /// What the directory was made with.
    pub fn meta(&self) -> &Meta {
        self.reader.meta()
    }

    /// Replaces the definitions, durably and all at once.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`] and [`StorageError::Io`]: nothing has changed. [`StorageError::Poisoned`]: a crash
    /// may bring the old ones back.
    pub fn set_definitions(&mut self, definitions: Vec<u8>) -> Result<(), StorageError> {
        self.reader.meta = self.reader.meta_file().change(|meta| meta.definitions = definitions)?;
        Ok(())
    }

    /// Has log files that are sealed from now on go to `store`, which is called `address` in `meta`; durably. Those that are
    /// sealed already stay where they are. Call it before the log is opened.
    ///
    /// # Errors
    ///
    /// [`StorageError::Refused`] if sealed files go to another store already, or the store is not empty; those of
    /// [`set_definitions`](Self::set_definitions).
    pub fn set_log_store(&mut self, address: &str, store: Arc<dyn Store>) -> Result<(), StorageError> {
        match &self.reader.meta.log_store {
            Some(known) if known != address => {
                return Err(StorageError::refused(format!(
                    "sealed log files are in {known}, not in {address}"
                )));
            }
            Some(_) => {}
            None => {
                let names = store.list();
                let names = names.map_err(|error| StorageError::io("list", &store.path_of(""), error))?;
                if !names.is_empty() {
                    return Err(StorageError::refused(format!(
                        "{address} holds something already: each state directory needs a store of its own"
                    )));
                }
                let address = address.to_owned();
                self.reader.meta = self.reader.meta_file().change(|meta| meta.log_store = Some(address))?;
            }
        }
        self.reader.store = Some(store);
        Ok(())
    }

    /// Opens the log to append to it; says what it cut off.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`], also if it ends before the epoch of a checkpoint or of an acknowledgement: then nothing is cut
    /// off. [`StorageError::Io`]; [`StorageError::Refused`] if it is open already.
    pub fn open_log(&self, options: LogOptions) -> Result<(LogWriter, Option<Recovered>), StorageError> {
        let directory = self.reader.path.join(LOG);
        let claim = self.claim(&directory)?;
        let meta = self.reader.meta_file().read()?;
        let (place, witness) = (self.reader.log_place()?, self.reader.witness()?);
        LogWriter::open(place, meta.key, meta.log_starts, options, witness.as_ref(), claim)
    }

    /// Opens the housekeeping of the log. What was set or opened before must not be set any more.
    ///
    /// # Errors
    ///
    /// [`StorageError::Refused`] if it is open already.
    pub fn open_log_archive(&self) -> Result<LogArchive, StorageError> {
        let claim = self.claim(&self.reader.path.join(META))?;
        let (place, meta) = (self.reader.log_place()?, self.reader.meta_file());
        let holds = Arc::clone(&self.reader.holds);
        Ok(LogArchive::new(place, meta, self.reader.meta.key, holds, claim))
    }

    /// Opens the quarantine; says what it cut off.
    ///
    /// # Errors
    ///
    /// As [`open_log`](Self::open_log).
    pub fn open_quarantine(
        &self,
        options: QuarantineOptions,
    ) -> Result<(Quarantine, Option<Recovered>), StorageError> {
        let path = self.reader.path.join(QUARANTINE).join(QUARANTINE_RECORDS);
        let claim = self.claim(&path)?;
        Quarantine::open(self.files(), path, self.reader.meta.key, options, claim)
    }

    /// Opens what `sink` has acknowledged; says what it cut off.
    ///
    /// # Errors
    ///
    /// As [`open_log`](Self::open_log).
    pub fn open_acks(&self, sink: &str) -> Result<(AckFile, Option<Recovered>), StorageError> {
        let path = self.reader.path.join(ACKS).join(encode_name(sink));
        let claim = self.claim(&path)?;
        AckFile::open(self.files(), path, self.reader.meta.key, claim)
    }

    /// Opens the outbox of `sink`, which has acknowledged this epoch, with all that counts of what an earlier process left
    /// in it; says what it cut off, whatever the reason: the log still has it.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`], [`StorageError::Newer`]; [`StorageError::Refused`] if it is open already.
    pub fn open_outbox(
        &self,
        sink: &str,
        options: OutboxOptions,
        acknowledged: u64,
    ) -> Result<(Outbox, Option<Recovered>), StorageError> {
        let directory = self.reader.path.join(OUTBOX).join(encode_name(sink));
        let claim = self.claim(&directory)?;
        let key = self.reader.meta.key;
        Outbox::open(self.files(), directory, key, options, acknowledged, Some(claim))
    }

    /// Opens the dead letters of `sink`; says what it cut off.
    ///
    /// # Errors
    ///
    /// As [`open_log`](Self::open_log).
    pub fn open_dead_letters(
        &self,
        sink: &str,
        options: DeadLetterOptions,
    ) -> Result<(DeadLetters, Option<Recovered>), StorageError> {
        let path = self.reader.path.join(DEAD_LETTERS).join(encode_name(sink));
        let claim = self.claim(&path)?;
        let holds = Arc::clone(&self.reader.holds);
        DeadLetters::open(self.files(), path, self.reader.meta.key, options, (holds, claim))
    }

    /// Opens the writing end of the checkpoints.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`]; [`StorageError::Refused`] if it is open already.
    pub fn open_checkpoints(&self) -> Result<Checkpoints, StorageError> {
        let directory = self.reader.path.join(CHECKPOINTS);
        let claim = self.claim(&directory)?;
        let holds = Arc::clone(&self.reader.holds);
        Ok(Checkpoints::open(self.files(), directory, self.reader.meta.key, holds, claim))
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::clone(&self.reader.files)
    }

    fn claim(&self, path: &Path) -> Result<Claim, StorageError> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if !claimed.insert(path.to_owned()) {
            return Err(StorageError::refused(format!("{} is open already", path.display())));
        }
        let (claimed, path) = (Arc::clone(&self.claimed), path.to_owned());
        Ok(Claim { _lock: Arc::clone(&self.lock), claimed, path })
    }
}

/// The right to write one file of a locked directory: two writers would overwrite each other.
pub(crate) struct Claim {
    _lock: Arc<dyn Any + Send + Sync>,
    claimed: Arc<Mutex<BTreeSet<PathBuf>>>,
    path: PathBuf,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

fn list(files: &dyn Files, directory: &Path) -> Result<Vec<String>, StorageError> {
    files.list(directory).map_err(|error| StorageError::io("list", directory, error))
}
