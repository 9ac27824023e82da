//! Makes a state directory, and clears what a crash left in one.

use std::path::Path;
use std::sync::Arc;

use tidewater_model::HashKey;

use super::{ACKS, LOG, META, OUTBOX, QUARANTINE, list};
use crate::error::StorageError;
use crate::files::{Files, TEMPORARY_SUFFIX};
use crate::frame::{FileHeader, FrameReader, Kind, create_file};
use crate::log::FIRST_EPOCH;
use crate::log::place::LogPlace;
use crate::meta::Meta;

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

/// Makes the directory's parts. `meta` comes last: a directory without it was never used.
pub(super) fn create(shared: &Arc<dyn Files>, path: &Path, new: &NewState) -> Result<(), StorageError> {
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
pub(super) fn remove_leftovers(files: &dyn Files, directory: &Path) -> Result<(), StorageError> {
    for name in list(files, directory)?.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX)) {
        let path = directory.join(name);
        files.remove(&path).map_err(|error| StorageError::io("remove", &path, error))?;
    }
    Ok(())
}
