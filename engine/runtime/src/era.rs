//! A changed pipeline on a state directory: what it loses, whether it can be run there, and the era that it begins.
//!
//! Whatever can fail is tried before anything is stored. So where the new file is refused, the old one still runs.

use std::{collections::BTreeSet, sync::Arc};

use tidewater_operators::Plan;
use tidewater_storage::{EpochEntry, EpochHeader, LogWriter, StateDir, StateReader};

use crate::{
    error::Error,
    history::{History, Point},
    pipeline::{DefinitionChange, Definitions, Pipeline, diff},
    rebuild::{Rebuild, Stored, follows},
    retention::RetiredLog,
};

/// What decides about a change.
pub(crate) struct Entering<'a> {
    pub(crate) retired: Option<RetiredLog>,
    /// All of the log may be computed anew.
    pub(crate) rebuild: bool,
    /// Names of the sinks.
    pub(crate) sinks: &'a [String],
}

/// The definitions that are to run, now those of the state directory.
pub(crate) struct Entered {
    pub(crate) stored: Stored,
    pub(crate) plan: Arc<Plan>,
    /// Of an era that was begun: its first state, before its first epoch, if that is put together from the state there was.
    pub(crate) first: Option<Point>,
}

impl Entering<'_> {
    /// Compares the stored definitions with those that are to run, and stores these. What is stored by place keeps its
    /// place: nothing follows from the order in a file.
    pub(crate) fn enter(
        &self,
        state: &mut StateDir,
        log: &mut LogWriter,
        definitions: Definitions,
    ) -> Result<Entered, Error> {
        let (key, mut stored) = (state.meta().key, Stored::decode(&state.meta().definitions)?);
        let definitions = definitions.in_order_of(&stored.definitions);
        let plan = compile(&definitions, state.reader())?;
        if stored.definitions == definitions {
            return Ok(Entered { stored, plan, first: None });
        }
        let changes = diff(&stored.definitions, &definitions);
        let lost = lost(&changes, &stored.definitions, &definitions, self.retired.is_none());
        if let (false, Some(retired)) = (lost.is_empty(), self.retired) {
            return Err(retired.lacks_for_changes(&lost));
        }
        if !lost.is_empty() && !self.rebuild {
            return Err(Error::DefinitionChanged { changes: lost });
        }
        let last = log.durable_epoch();
        // Of an empty log nobody has seen a result.
        let begins = last > 0 && begins_era(&changes, &stored.definitions, &definitions);
        let before = std::mem::replace(&mut stored.definitions, definitions);
        let mut first = None;
        if begins {
            stored.rebuilds.push(Rebuild { epoch: log.next_epoch(), before });
            first =
                self.try_out(&History { state: state.reader(), stored: &stored, key, workers: 1 }, last)?;
        }
        for change in &changes {
            tracing::info!(%change, "definition changed");
        }
        if begins {
            log_first_epoch(state.reader(), log)?;
        }
        state.set_definitions(stored.encode()?)?;
        Ok(Entered { stored, plan, first })
    }

    /// Computes all that the era needs of what was before it; returns its first state.
    fn try_out(&self, history: &History<'_>, last: u64) -> Result<Option<Point>, Error> {
        let Some(retired) = self.retired else { return history.converted() };
        let mut tried = BTreeSet::new();
        for sink in self.sinks {
            let Some(epoch) = follows(history.state, sink, last)? else { continue };
            // State at the last epoch is what the first one is put together from.
            if epoch < last && tried.insert(epoch) {
                history.at(epoch).map_err(|error| match error {
                    Error::LogRetired { .. } => retired.lacks_for_sink(sink),
                    error => error,
                })?;
            }
        }
        history.converted()?.map(Some).ok_or_else(|| retired.lacks("a changed pipeline"))
    }
}

/// The plan of stored definitions.
fn compile(definitions: &Definitions, state: &StateReader) -> Result<Arc<Plan>, Error> {
    let pipeline =
        Pipeline::from_definitions(definitions).map_err(|errors| Error::config(errors.to_string()))?;
    Ok(Plan::compile(pipeline.spec().clone(), state.meta().key)?)
}

/// The changes that lose something: all of the log must be computed anew, or what is computed anew is no more in the log.
pub(crate) fn lost(
    changes: &[DefinitionChange],
    before: &Definitions,
    after: &Definitions,
    log_is_whole: bool,
) -> Vec<String> {
    let is_changed = |change: &DefinitionChange| {
        let is_named = |name: &str| change.what == format!("trait `{name}`");
        before.traits.iter().any(|entry| is_named(&entry.name))
            && after.traits.iter().any(|entry| is_named(&entry.name))
    };
    let is_lost = |change: &&DefinitionChange| change.needs_rebuild || !log_is_whole && is_changed(change);
    changes.iter().filter(is_lost).map(ToString::to_string).collect()
}

/// Whether state of the definitions before is not state of those after. Besides results that is what the dedup window
/// remembers, which is stored by halves of the window.
pub(crate) fn begins_era(changes: &[DefinitionChange], before: &Definitions, after: &Definitions) -> bool {
    changes.iter().any(|change| change.affects_results) || before.dedup != after.dedup
}

/// Logs the epoch with which other definitions begin: no events, no time passes.
fn log_first_epoch(state: &StateReader, log: &mut LogWriter) -> Result<(), Error> {
    let mut last = EpochEntry::default();
    state.log(log.durable_epoch())?.read(&mut last)?;
    let EpochHeader { now, accepted_at, .. } = last.header;
    let (epoch, first_place) = (log.next_epoch(), log.next_place());
    let header = EpochHeader { epoch, now, accepted_at, first_place, positions: Vec::new() };
    log.append_events(&header, [])?;
    log.sync()?;
    Ok(())
}
