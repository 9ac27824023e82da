//! What a start of a changed pipeline on a state directory would do, worked out without doing it.

use std::path::Path;

use tidewater_model::Timestamp;
use tidewater_operators::{Plan, snapshot::Conversion};
use tidewater_storage::{EpochEntry, FIRST_EPOCH, StateReader};

use crate::{
    error::Error,
    opening::lost,
    pipeline::{DefinitionChange, Pipeline, diff},
    rebuild::Stored,
};

/// What becomes of a state directory when a pipeline is started on it. Names are those of the new pipeline, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangePlan {
    /// Everything that differs.
    pub changes: Vec<DefinitionChange>,
    /// Why [`rebuild`](crate::Builder::rebuild) must be asked for: what is lost or computed anew. Empty if it need not.
    pub needs_rebuild: Vec<String>,
    /// Everything is computed again from the log; otherwise what follows says what of it.
    pub computes_everything: bool,
    /// Traits that keep their values.
    pub kept_traits: Vec<String>,
    /// Traits that are filled from the log.
    pub filled_traits: Vec<String>,
    /// Segments whose definition is as before.
    pub kept_segments: Vec<String>,
    /// Segments that are new or have another definition: worked out from the traits, at once.
    pub computed_segments: Vec<String>,
    /// Earlier events are no longer in the log: filled traits are complete from then on. `None` if it has all.
    pub log_from: Option<Timestamp>,
}

/// Works out what a start of this pipeline would do to a state directory. Computes and changes nothing.
///
/// # Errors
/// [`Error::Storage`] if the directory can't be read, [`Error::Config`] if its definitions can't be run.
pub fn plan_change(path: impl AsRef<Path>, pipeline: &Pipeline) -> Result<ChangePlan, Error> {
    plan_change_of(&StateReader::open(path)?, pipeline)
}

/// The same of a directory that has been opened to be read, with a log store for example.
///
/// # Errors
/// As [`plan_change`].
pub fn plan_change_of(reader: &StateReader, pipeline: &Pipeline) -> Result<ChangePlan, Error> {
    let before = Stored::decode(&reader.meta().definitions)?.definitions;
    let after = pipeline.definitions();
    let changes = diff(&before, &after);
    let old = Pipeline::from_definitions(&before).map_err(|errors| Error::config(errors.to_string()))?;
    let key = reader.meta().key;
    let (old, new) = (Plan::compile(old.spec().clone(), key)?, Plan::compile(pipeline.spec().clone(), key)?);
    let is_whole = reader.meta().log_starts == FIRST_EPOCH;
    let conversion = Conversion::between(&old, &new).filter(|_| before.dedup == after.dedup);
    let mut plan = ChangePlan {
        needs_rebuild: lost(&changes, &before, &after, is_whole),
        computes_everything: conversion.is_none(),
        log_from: if is_whole { None } else { first_logged(reader)? },
        changes,
        ..ChangePlan::default()
    };
    let missing: Vec<usize> = match &conversion {
        Some(conversion) => conversion.missing().collect(),
        None => (0..after.traits.len()).collect(),
    };
    for (index, entry) in after.traits.iter().enumerate() {
        let list = if missing.contains(&index) { &mut plan.filled_traits } else { &mut plan.kept_traits };
        list.push(entry.name.clone());
    }
    for entry in &after.segments {
        let is_same =
            before.segments.iter().any(|old| old.name == entry.name && old.condition == entry.condition);
        let is_kept = is_same && conversion.is_some();
        let list = if is_kept { &mut plan.kept_segments } else { &mut plan.computed_segments };
        list.push(entry.name.clone());
    }
    Ok(plan)
}

/// The engine's time at the first epoch in the log.
fn first_logged(reader: &StateReader) -> Result<Option<Timestamp>, Error> {
    let mut entry = EpochEntry::default();
    let is_there = reader.log(reader.meta().log_starts)?.read(&mut entry)?;
    Ok(is_there.then_some(entry.header.now))
}
