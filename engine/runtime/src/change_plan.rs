//! What a start of a changed pipeline on a state directory would do, worked out without doing it, and as far as that goes
//! without computing it.

use std::path::Path;

use tidewater_model::Timestamp;
use tidewater_operators::{Plan, snapshot::Conversion};
use tidewater_storage::{EpochEntry, StateReader};

use crate::{
    era::{begins_era, lost},
    error::Error,
    history::History,
    opening::check_key,
    pipeline::{DefinitionChange, Definitions, Pipeline, diff},
    rebuild::{Rebuild, Stored, follows},
    retention::RetiredLog,
};

/// What becomes of a state directory when a pipeline is started on it. Names are those of the new pipeline, in the order in which
/// the directory has them, and behind those what is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangePlan {
    /// Everything that differs.
    pub changes: Vec<DefinitionChange>,
    /// Why a start is refused, whatever is asked for: another `id_key`, or what the log lacks by now. That is said of the sinks
    /// that the pipeline names.
    pub refused: Option<String>,
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
    /// Sources under names that the directory was not run with last. Positions belong to a name, so each begins at its start, also
    /// where another one has read the same before; but for one that ran here earlier, which goes on.
    pub new_sources: Vec<String>,
    /// Earlier events are no longer in the log: filled traits are complete from then on. `None` if it has all.
    pub log_from: Option<Timestamp>,
}

/// Works out what a start of this pipeline would do to a state directory. Changes nothing. Computes nothing either, but where old
/// events were retired, traits come or go, and events wait for their time: then the new state, to see whether they are there.
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
    let stored = Stored::decode(&reader.meta().definitions)?;
    let before = &stored.definitions;
    let after = pipeline.definitions().in_order_of(before);
    let changes = diff(before, &after);
    let key = reader.meta().key;
    let compile = |definitions: &Definitions| {
        let pipeline =
            Pipeline::from_definitions(definitions).map_err(|errors| Error::config(errors.to_string()))?;
        Ok::<_, Error>(Plan::compile(pipeline.spec().clone(), key)?)
    };
    let (old, new) = (compile(before)?, compile(&after)?);
    let retired = RetiredLog::of(reader)?;
    let other_key = check_key(key, pipeline).err();
    let conversion = Conversion::between(&old, &new);
    let lost = lost(&changes, before, &after, retired.is_none());
    let refused = match (retired, &conversion) {
        _ if other_key.is_some() => other_key,
        (None, _) => None,
        (Some(retired), _) if !lost.is_empty() => Some(retired.lacks_for_changes(&lost)),
        (Some(_), _) if !begins_era(&changes, before, &after) => None,
        (Some(retired), None) => Some(retired.lacks("a changed pipeline")),
        (Some(retired), Some(conversion)) => {
            let is_kept = conversion.is_complete() && conversion.keeps_events();
            let history = History { state: reader, stored: &stored, key, workers: 1 };
            refusal(&history, retired, &after, is_kept)?
        }
    };
    let mut plan = ChangePlan {
        refused: refused.map(|error| error.to_string()),
        needs_rebuild: lost,
        computes_everything: conversion.is_none(),
        new_sources: new_sources(before, &after),
        log_from: if retired.is_some() { first_logged(reader)? } else { None },
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

fn new_sources(before: &Definitions, after: &Definitions) -> Vec<String> {
    let is_new = |name: &String| before.sources.iter().all(|source| source.name != *name);
    after.sources.iter().map(|source| source.name.clone()).filter(is_new).collect()
}

/// Why a change that loses nothing can't be made on a log whose oldest events were retired. `is_kept`: it takes the same from
/// events.
fn refusal(
    history: &History<'_>,
    retired: RetiredLog,
    after: &Definitions,
    is_kept: bool,
) -> Result<Option<Error>, Error> {
    for sink in &after.sinks {
        if let Some(epoch) = follows(history.state, &sink.name, u64::MAX)?
            && !history.can_be_at(epoch)?
        {
            return Ok(Some(retired.lacks_for_sink(&sink.name)));
        }
    }
    if is_kept || !history.may_lack_waiting()? {
        return Ok(None);
    }
    // As if it were made behind all there is.
    let change = Rebuild { epoch: u64::MAX, before: history.stored.definitions.clone() };
    let mut stored = Stored { definitions: after.clone(), rebuilds: history.stored.rebuilds.clone() };
    stored.rebuilds.push(change);
    match (History { stored: &stored, ..*history }).converted() {
        Err(error @ Error::LogRetired { .. }) => Ok(Some(error)),
        converted => converted.map(|_| None),
    }
}

/// The engine's time at the first epoch in the log.
fn first_logged(reader: &StateReader) -> Result<Option<Timestamp>, Error> {
    let mut entry = EpochEntry::default();
    let is_there = reader.log(reader.meta().log_starts)?.read(&mut entry)?;
    Ok(is_there.then_some(entry.header.now))
}
