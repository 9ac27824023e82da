//! Finds the checkpoint that a start begins with, and reads it piece by piece.

use std::collections::{BTreeSet, HashMap};

use tidewater_operators::snapshot::Damaged;
use tidewater_storage::{Manifest, StateReader, StorageError};

use super::{
    choose::{fits, is_delivered},
    pieces::kind,
};
use crate::{error::Error, pipeline::Definitions};

/// The checkpoints of a state directory.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// All that can be read, newest first.
    pub(crate) all: Vec<Manifest>,
    /// The one to begin with.
    pub(crate) usable: Option<Manifest>,
    /// The others were seen to be of no use; not so if one could not be read for another reason than damage.
    pub(crate) is_certain: bool,
    /// Epochs of which there is a state file. One that could not be read just now may be whole, so none is written anew.
    pub(crate) taken: BTreeSet<u64>,
}

/// Looks for the newest checkpoint that is whole, is of this pipeline since it was changed last, and that every sink,
/// given with what it has acknowledged, has all deltas of. A damaged one is told of and passed over.
pub(crate) fn find(
    state: &StateReader,
    definitions: &Definitions,
    is_of_era: impl Fn(u64) -> bool,
    acknowledged: &HashMap<String, Option<u64>>,
) -> Result<Found, Error> {
    let mut found = Found { is_certain: true, ..Found::default() };
    let log_starts = state.log_starts()?;
    for manifest in state.checkpoints()? {
        match manifest {
            Ok(manifest) if !fits(&manifest, definitions) => {}
            Ok(manifest) if !is_of_era(manifest.epoch) => {}
            // Between it and the log events are missing.
            Ok(manifest) if manifest.epoch + 1 < log_starts => {}
            Ok(manifest) => found.all.push(manifest),
            Err(error) => found.pass_over(&error),
        }
    }
    while let Some(place) = found.all.iter().position(|manifest| is_delivered(manifest, acknowledged)) {
        match check(state, &found.all[place]) {
            Ok(()) => {
                found.usable = Some(found.all[place].clone());
                break;
            }
            Err(error) => {
                found.pass_over(&error);
                found.all.remove(place);
            }
        }
    }
    Ok(found)
}

impl Found {
    fn pass_over(&mut self, error: &StorageError) {
        tracing::warn!(%error, "a checkpoint is passed over: an earlier one or the log is used instead");
        self.is_certain &= matches!(error, StorageError::Damaged { .. });
    }
}

/// Reads all files of a checkpoint once: that something is wrong must be known before anything is computed from it.
pub(crate) fn check(state: &StateReader, manifest: &Manifest) -> Result<(), StorageError> {
    manifest.files.iter().try_for_each(|file| state.state_file(file)?.check())
}

/// Calls `each` with the pieces of a checkpoint as they are to be read: nodes, aliases, messages and members newest first,
/// then what stands only in the newest file.
pub(crate) fn read(
    state: &StateReader,
    manifest: &Manifest,
    mut each: impl FnMut(u8, Vec<u8>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut last = Vec::new();
    let mut files: Vec<_> = manifest.files.iter().enumerate().collect();
    #[cfg(feature = "planted-bugs")]
    if tidewater_operators::planted::active(tidewater_operators::planted::Bug::OldestNodeCounts) {
        files.reverse();
    }
    for (number, file) in files.drain(..) {
        let mut pieces = state.state_file(file)?;
        while let Some((kind, piece)) = pieces.read()? {
            match kind {
                kind::REST if number == 0 => last.push((kind, piece)),
                kind::REST => {}
                _ => each(kind, piece)?,
            }
        }
    }
    last.into_iter().try_for_each(|(kind, piece)| each(kind, piece))
}

/// A checkpoint whose checksums are right and whose contents make no sense.
pub(crate) fn unreadable(_: Damaged) -> Error {
    Error::failed(
        "the checkpoint can't be read, although it is whole: remove the directory `checkpoints` from the state \
         directory to start from the log",
    )
}
