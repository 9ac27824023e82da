//! The state directory: one process writes to it, and it always knows what it was made with.

use std::any::Any;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tidewater_model::HashKey;

use crate::acks::{self, Ack, AckFile};
use crate::checkpoint::{self, Checkpoints, Manifest, StateFile, StateFileReader};
use crate::copy::{Holds, check_finished};
use crate::dead_letters::{DeadLetterOptions, DeadLetterReader, DeadLetters};
use crate::error::StorageError;
use crate::files::{DiskFiles, Files, Locking, TEMPORARY_SUFFIX, decode_name, encode_name};
use crate::frame::{FileHeader, FrameReader, Kind, Recovered, create_file};
use crate::log::place::{LogFile, LogPlace};
use crate::log::{FIRST_EPOCH, LogArchive, LogOptions, LogReader, LogWriter};
use crate::meta::{Meta, MetaFile};
use crate::outbox::{self, Outbox, OutboxOptions};
use crate::quarantine::{Filter, Quarantine, QuarantineOptions, QuarantineReader};
use crate::store::Store;

pub(crate) const META: &str = "meta";
pub(crate) const LOCK: &str = "lock";
pub(crate) const LOG: &str = "log";
pub(crate) const QUARANTINE: &str = "quarantine";
pub(crate) const QUARANTINE_RECORDS: &str = "records";
pub(crate) const ACKS: &str = "acks";
pub(crate) const OUTBOX: &str = "outbox";
pub(crate) const DEAD_LETTERS: &str = "dead_letters";
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// What a new state directory is made with. The caller draws the random numbers.
#[derive(Clone, Debug)]
pub struct NewState {
    /// The secret that profile ids depend on: random, or `id_key:`.
    pub key: HashKey,
    /// A random number that names this deployment.
    pub deployment: u128,
    /// The pipeline's definitions, in the runtime's own encoding.
    pub definitions: Vec<u8>,
}

/// A state directory to read, without a lock: for `export` and `verify`, also while a process runs on it.
///
/// Every read stops at the last whole entry and changes nothing.
#[derive(Clone, Debug)]
pub struct StateReader {
    files: Arc<dyn Files>,
    path: PathBuf,
    meta: Meta,
    holds: Arc<Holds>,
    /// Where sealed log files are besides the directory.
    store: Option<Arc<dyn Store>>,
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

    /// Shared with all that was opened from the same [`StateDir`].
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

    fn meta_file(&self) -> MetaFile {
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
        let later = [CHECKPOINTS, DEAD_LETTERS].map(|name| path.join(name));
        for directory in &later {
            let files = &reader.files;
            files.create_dir(directory).map_err(|error| StorageError::io("create", directory, error))?;
        }
        let [checkpoints, dead_letters] = later;
        for directory in [
            path.join(LOG),
            path.join(QUARANTINE),
            path.join(ACKS),
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
    /// [`StorageError::Damaged`], [`StorageError::Io`]; [`StorageError::Refused`] if it is open already.
    pub fn open_log(&self, options: LogOptions) -> Result<(LogWriter, Option<Recovered>), StorageError> {
        let directory = self.reader.path.join(LOG);
        let claim = self.claim(&directory)?;
        let meta = self.reader.meta_file().read()?;
        LogWriter::open(self.reader.log_place()?, meta.key, meta.log_starts, options, claim)
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

/// Makes the directory's parts. `meta` comes last: a directory without it was never used.
fn create(shared: &Arc<dyn Files>, path: &Path, new: &NewState) -> Result<(), StorageError> {
    let files = &**shared;
    let io = |action, path: &Path, error| StorageError::io(action, path, error);
    for name in [LOG, QUARANTINE, ACKS, OUTBOX] {
        let directory = path.join(name);
        files.create_dir(&directory).map_err(|error| io("create", &directory, error))?;
    }
    let place = LogPlace::new(Arc::clone(shared), path.join(LOG), None);
    let first = place.plain_path(FIRST_EPOCH);
    for (base, forms) in place.list()? {
        let is_empty = || {
            let reader = FrameReader::open(files, &place.plain_path(base), Kind::Log)?;
            Ok::<bool, StorageError>(reader.len() == reader.offset())
        };
        if forms.is_sealed || base != FIRST_EPOCH || !is_empty()? {
            let detail = "the file is missing, but the log holds events";
            return Err(StorageError::damaged(&path.join(META), 0, detail));
        }
    }
    create_file(files, &first, FileHeader::new(Kind::Log, new.key, FIRST_EPOCH))?;
    let meta = Meta {
        key: new.key,
        deployment: new.deployment,
        log_starts: FIRST_EPOCH,
        definitions: new.definitions.clone(),
        log_store: None,
    };
    meta.write(files, &path.join(META))?;
    let parent = path.parent().unwrap_or(Path::new(""));
    files.sync_dir(parent).map_err(|error| io("sync", parent, error))
}

/// Removes what a crash left of files that never got their name.
fn remove_leftovers(files: &dyn Files, directory: &Path) -> Result<(), StorageError> {
    for name in list(files, directory)?.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX)) {
        let path = directory.join(name);
        files.remove(&path).map_err(|error| StorageError::io("remove", &path, error))?;
    }
    Ok(())
}

fn list(files: &dyn Files, directory: &Path) -> Result<Vec<String>, StorageError> {
    files.list(directory).map_err(|error| StorageError::io("list", directory, error))
}
