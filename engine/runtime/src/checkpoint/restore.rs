//! Finds the checkpoint that a start begins with, and reads it piece by piece.

use std::collections::HashMap;

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
}

/// Looks for the newest checkpoint that is whole, is of this pipeline and of an epoch that the log has, and that every
/// sink, given with what it has acknowledged, has all deltas of. A damaged one is told of and passed over.
pub(crate) fn find(
    state: &StateReader,
    definitions: &Definitions,
    is_logged: impl Fn(u64) -> bool,
    acknowledged: &HashMap<String, Option<u64>>,
) -> Result<Found, Error> {
    let mut found = Found::default();
    for manifest in state.checkpoints()? {
        match manifest {
            Ok(manifest) if !fits(&manifest, definitions) => {}
            // What is not in the log did not happen.
            Ok(manifest) if !is_logged(manifest.epoch) => {
                let epoch = manifest.epoch;
                tracing::warn!(epoch, "a checkpoint is passed over: the log ends before its epoch");
            }
            Ok(manifest) => found.all.push(manifest),
            Err(error) => pass_over(&error),
        }
    }
    for manifest in found.all.iter().filter(|manifest| is_delivered(manifest, acknowledged)) {
        match check(state, manifest) {
            Ok(()) => {
                found.usable = Some(manifest.clone());
                break;
            }
            Err(error) => pass_over(&error),
        }
    }
    Ok(found)
}

fn pass_over(error: &StorageError) {
    tracing::warn!(%error, "a checkpoint is passed over: an earlier one or the log is used instead");
}

/// Reads all files of a checkpoint once: that something is wrong must be known before anything is computed from it.
fn check(state: &StateReader, manifest: &Manifest) -> Result<(), StorageError> {
    manifest.files.iter().try_for_each(|file| state.state_file(file)?.check())
}

/// Calls `each` with the pieces of a checkpoint as they are to be read: nodes, messages and members newest first, then
/// what stands only in the newest file.
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
                kind::REST | kind::ALIASES if number == 0 => last.push((kind, piece)),
                kind::REST | kind::ALIASES => {}
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
