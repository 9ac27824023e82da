//! Checkpoints: state as of an epoch, so that a start need not read the log from its beginning.
//!
//! A checkpoint is a *manifest*, which is small and names everything, and a chain of *state files*: the oldest holds all
//! state, each later one what has changed since the one before. Files are named after their epochs, get their names
//! only when they are durable, and are never changed. The manifest comes last: what it names is on the disk before it.
//!
//! What state files hold is the engine's own business: pieces of bytes, each with a kind. Here they are compressed,
//! framed and checked.

mod manifest;
mod state_file;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewater_model::HashKey;

use crate::copy::Holds;
use crate::error::StorageError;
use crate::files::Files;
use crate::state::Claim;

pub use manifest::{Manifest, StateFile};
pub use state_file::{StateFileReader, StateFileWriter};

const MANIFEST_SUFFIX: &str = ".manifest";
const STATE_SUFFIX: &str = ".state";

/// The writing end of a directory's checkpoints; there is one at a time.
pub struct Checkpoints {
    files: Arc<dyn Files>,
    directory: PathBuf,
    key: HashKey,
    holds: Arc<Holds>,
    /// Tests have smaller ones.
    pub(crate) part_bytes: usize,
    _claim: Claim,
}

impl Checkpoints {
    pub(crate) fn open(
        files: Arc<dyn Files>,
        directory: PathBuf,
        key: HashKey,
        holds: Arc<Holds>,
        claim: Claim,
    ) -> Self {
        Self { files, directory, key, holds, part_bytes: state_file::PART_BYTES, _claim: claim }
    }

    /// Writes the state file of an epoch; `fill` appends its pieces. Once it returns the file is durable, and part of
    /// nothing until a manifest names it.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`], [`StorageError::Io`], [`StorageError::Poisoned`], and whatever `fill` answers: nothing
    /// has changed.
    pub fn write_state(
        &self,
        epoch: u64,
        fill: impl FnOnce(&mut StateFileWriter<'_>) -> Result<(), StorageError>,
    ) -> Result<StateFile, StorageError> {
        let how = (epoch, self.part_bytes);
        state_file::write(&*self.files, &state_path(&self.directory, epoch), self.key, how, fill)
    }

    /// Makes a checkpoint of state files that are durable.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSpace`], [`StorageError::Io`]: nothing has changed. [`StorageError::Poisoned`]: after a crash
    /// it may be there or not.
    pub fn commit(&self, manifest: &Manifest) -> Result<(), StorageError> {
        manifest.write(&*self.files, &manifest_path(&self.directory, manifest.epoch), self.key)
    }

    /// Removes all checkpoints but those of the given epochs, and the state files that these do not name; none while the
    /// directory is copied, which a later call makes up for.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`]: some of them may be left, which a later call removes.
    pub fn keep(&self, kept: &[Manifest]) -> Result<(), StorageError> {
        let Some(_removing) = self.holds.removing() else { return Ok(()) };
        let epochs = |suffix| list(&*self.files, &self.directory, suffix);
        let is_kept = |epoch: &u64| kept.iter().any(|manifest| manifest.epoch == *epoch);
        // Manifests first: one must not name a file that is gone.
        for epoch in epochs(MANIFEST_SUFFIX)?.iter().filter(|epoch| !is_kept(epoch)) {
            self.remove(&manifest_path(&self.directory, *epoch))?;
        }
        let is_named =
            |epoch: &u64| kept.iter().flat_map(|manifest| &manifest.files).any(|file| file.epoch == *epoch);
        #[cfg(feature = "planted-bugs")]
        let is_named = |epoch: &u64| {
            let is_planted = crate::planted::active(crate::planted::Bug::StateFileRemovedTooEarly);
            if is_planted { is_kept(epoch) } else { is_named(epoch) }
        };
        for epoch in epochs(STATE_SUFFIX)?.iter().filter(|epoch| !is_named(epoch)) {
            self.remove(&state_path(&self.directory, *epoch))?;
        }
        Ok(())
    }

    /// The epochs of the state files there are, whether or not a manifest that can be read just now names them.
    ///
    /// # Errors
    ///
    /// [`StorageError::Io`].
    pub fn state_epochs(&self) -> Result<Vec<u64>, StorageError> {
        list(&*self.files, &self.directory, STATE_SUFFIX)
    }

    /// Reads a state file of a manifest.
    ///
    /// # Errors
    ///
    /// As [`StateFileReader::read`].
    pub fn read(&self, file: &StateFile) -> Result<StateFileReader, StorageError> {
        read_state(&*self.files, &self.directory, file)
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.files.remove(path).map_err(|error| StorageError::io("remove", path, error))
    }
}

/// The checkpoints in a directory, newest first, each as it could be read.
pub(crate) fn manifests(
    files: &dyn Files,
    directory: &Path,
) -> Result<Vec<Result<Manifest, StorageError>>, StorageError> {
    let mut epochs = list(files, directory, MANIFEST_SUFFIX)?;
    epochs.reverse();
    Ok(epochs
        .into_iter()
        .map(|epoch| Manifest::read(files, &manifest_path(directory, epoch), epoch))
        .collect())
}

pub(crate) fn read_state(
    files: &dyn Files,
    directory: &Path,
    file: &StateFile,
) -> Result<StateFileReader, StorageError> {
    StateFileReader::open(files, &state_path(directory, file.epoch), file)
}

pub(crate) fn manifest_path(directory: &Path, epoch: u64) -> PathBuf {
    directory.join(format!("{epoch:020}{MANIFEST_SUFFIX}"))
}

pub(crate) fn state_path(directory: &Path, epoch: u64) -> PathBuf {
    directory.join(format!("{epoch:020}{STATE_SUFFIX}"))
}

/// The epochs of the files with this suffix, in order.
fn list(files: &dyn Files, directory: &Path, suffix: &str) -> Result<Vec<u64>, StorageError> {
    let names = match files.list(directory) {
        // A directory made by an earlier release has none.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|error| StorageError::io("list", directory, error))?,
    };
    let mut epochs: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_suffix(suffix).filter(|digits| digits.len() == 20))
        .filter_map(|digits| digits.parse().ok())
        .collect();
    epochs.sort_unstable();
    Ok(epochs)
}
