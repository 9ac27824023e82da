//! Reads a state directory without running on it, for `export` and `verify`: its newest checkpoint, and the log behind
//! that through the same dataflow.
//!
//! It takes no lock and changes nothing; while an engine runs on the directory it answers as of the last whole epoch.

use std::{collections::HashMap, path::Path, sync::Arc};

use tidewater_model::{PipelineSpec, Profile, Timestamp, base::BaseFacts, delta::DeltaNames};
use tidewater_operators::{Plan, dataflow::WorkerStats};
use tidewater_storage::{Copied, EpochEntry, LogReader, StateReader};

use crate::{
    checkpoint::restore,
    copy::copy_stopped,
    error::Error,
    history::History,
    lockstep::Lockstep,
    pipeline::{Definitions, Pipeline},
    quarantine::{QuarantineFilter, QuarantinedEvents},
    rebuild::Stored,
    retention::RetiredLog,
    status::ReplayProgress,
};

mod facts;

pub use crate::change_plan::{ChangePlan, plan_change, plan_change_of};
pub use crate::{
    dead_letters::{drop_for_good as drop_dead_letters, read as dead_letters, retry as retry_dead_letters},
    lockstep::{Identity, Membership},
    quarantine::drop_for_good as drop_quarantined,
};

/// A state directory as of its last epoch.
pub struct OfflineState {
    reader: StateReader,
    definitions: Definitions,
    pipeline: Pipeline,
    plan: Arc<Plan>,
    lockstep: Lockstep,
}

/// Reads a state directory and computes what it holds. Blocks for as long as that takes.
///
/// # Errors
/// [`Error::Storage`] if it can't be read or is damaged, [`Error::Config`] if its definitions can't be run.
pub fn open_state(path: impl AsRef<Path>) -> Result<OfflineState, Error> {
    open_state_with(path, 1, &mut |_| {})
}

/// The same on this many workers; `progress` is told after every epoch.
///
/// # Errors
/// As [`open_state`].
pub fn open_state_with(
    path: impl AsRef<Path>,
    workers: usize,
    progress: &mut dyn FnMut(ReplayProgress),
) -> Result<OfflineState, Error> {
    open_reader(StateReader::open(&path)?, workers, progress)
}

/// The same of a directory that has been opened to be read, with a log store for example.
///
/// # Errors
/// As [`open_state`].
pub fn open_reader(
    reader: StateReader,
    workers: usize,
    progress: &mut dyn FnMut(ReplayProgress),
) -> Result<OfflineState, Error> {
    let stored = Stored::decode(&reader.meta().definitions)?;
    let pipeline = pipeline_of(&stored)?;
    let key = reader.meta().key;
    let mut point = History { state: &reader, stored: &stored, key, workers: workers.max(1) }.newest()?;
    if let Some(retired) = RetiredLog::of(&reader)?
        && point.lockstep.assembler.epoch() + 1 < retired.starts
    {
        return Err(retired.no_checkpoint(reader.path(), Vec::new(), false));
    }
    let total_bytes = reader.log_bytes(point.lockstep.assembler.epoch() + 1)?;
    let mut done = ReplayProgress { total_bytes, ..ReplayProgress::default() };
    point.replay(&reader, u64::MAX, &mut |entry| {
        done.epochs += 1;
        done.events += entry.events.len() as u64;
        done.bytes += entry.events.bytes().len() as u64;
        progress(done);
    })?;
    done.done = true;
    progress(done);
    let (plan, lockstep) = (Arc::clone(&point.lockstep.plan), point.lockstep);
    Ok(OfflineState { reader, definitions: stored.definitions, pipeline, plan, lockstep })
}

/// Copies a state directory on which no engine runs to one that must be empty or not there; of a running engine it is
/// [`Engine::copy_to`](crate::Engine::copy_to). What a crash left unfinished at the ends of its files is cut off, as by a
/// start. Blocks for as long as that takes.
///
/// # Errors
/// [`Error::Storage`] if it can't be read or is damaged, an engine runs on it, or the copy can't be written.
pub fn copy_state(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Copied, Error> {
    copy_stopped(from.as_ref(), to.as_ref())
}

/// The pipeline that a state directory was run with, without its sources, sinks and settings. Computes nothing.
///
/// # Errors
/// [`Error::Storage`] if the directory can't be read, [`Error::Config`] if its definitions can't be run.
pub fn stored_pipeline(path: impl AsRef<Path>) -> Result<Pipeline, Error> {
    pipeline_of(&Stored::decode(&StateReader::open(path)?.meta().definitions)?)
}

pub(crate) fn pipeline_of(stored: &Stored) -> Result<Pipeline, Error> {
    Pipeline::from_definitions(&stored.definitions).map_err(|errors| Error::config(errors.to_string()))
}

impl OfflineState {
    fn log(&self) -> Result<LogReader, Error> {
        Ok(self.reader.log(self.reader.log_starts()?)?)
    }

    /// The last epoch; 0 if there is none.
    pub fn epoch(&self) -> u64 {
        self.lockstep.assembler.epoch()
    }

    /// The last epoch's `now`: everything here is as of then.
    pub fn now(&self) -> Timestamp {
        self.lockstep.assembler.now()
    }

    /// What is computed.
    pub fn spec(&self) -> &PipelineSpec {
        self.plan.spec()
    }

    /// The pipeline that the directory was run with, without its sources, sinks and settings.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The definitions as they are stored.
    pub fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// The key that ids are hashed with.
    pub fn key(&self) -> tidewater_model::HashKey {
        self.plan.key()
    }

    /// The names behind indices.
    pub fn names(&self) -> &Arc<DeltaNames> {
        self.lockstep.names()
    }

    /// All profiles, by id.
    ///
    /// # Errors
    /// [`Error::Failed`] if a worker panics.
    pub fn profiles(&mut self) -> Result<Vec<Profile>, Error> {
        self.lockstep.profiles()
    }

    /// The profile that holds a value of an identifier.
    ///
    /// # Errors
    /// [`Error::Unknown`] if there is no such identifier; [`Error::Failed`] if a worker panics.
    pub fn profile(&mut self, identifier: &str, value: &str) -> Result<Option<Profile>, Error> {
        let names = self.lockstep.names().identifiers();
        let Some(index) = names.iter().position(|name| name == identifier) else {
            return Err(Error::unknown("identifier", identifier, names.iter().map(String::as_str)));
        };
        match self.plan.hash_as_received(index, value) {
            Some(hash) => self.lockstep.profile(hash),
            None => Ok(None),
        }
    }

    /// All members of all segments, by (segment's index, profile), from the arrangement.
    ///
    /// # Errors
    /// [`Error::Failed`] if a worker panics.
    pub fn memberships(&mut self) -> Result<Vec<Membership>, Error> {
        self.lockstep.memberships()
    }

    /// All identifiers with the clusters they belong to, by (identifier's index, value).
    ///
    /// # Errors
    /// [`Error::Failed`] if a worker panics.
    pub fn identities(&mut self) -> Result<Vec<Identity>, Error> {
        self.lockstep.identities()
    }

    /// How much state there is.
    ///
    /// # Errors
    /// [`Error::Failed`] if a worker panics.
    pub fn stats(&mut self) -> Result<WorkerStats, Error> {
        self.lockstep.stats()
    }

    /// From when on the log is complete: its first epoch and when that was accepted; `None` if it begins with the first
    /// event.
    ///
    /// # Errors
    /// [`Error::Storage`] if the log can't be read.
    pub fn log_complete_from(&self) -> Result<Option<(u64, Timestamp)>, Error> {
        Ok(RetiredLog::of(&self.reader)?.map(|retired| (retired.starts, retired.at)))
    }

    /// What is left of the events that were retired: the state as of an epoch from which on the log is whole, as plain
    /// facts. `None` if no event was retired.
    ///
    /// # Errors
    /// [`Error::Storage`] if it can't be read.
    pub fn base(&self) -> Result<Option<Base>, Error> {
        if RetiredLog::of(&self.reader)?.is_none() {
            return Ok(None);
        }
        let found = restore::find(&self.reader, &self.definitions, |_| true, &HashMap::new())?;
        // The oldest one that is whole: the most events stand behind it.
        let manifest = found.all.iter().rev().find(|manifest| {
            let checked = restore::check(&self.reader, manifest);
            checked.inspect_err(|error| tracing::warn!(%error, "a base is passed over")).is_ok()
        });
        let manifest =
            manifest.ok_or_else(|| Error::failed("the base of the log has been removed meanwhile"))?;
        let facts = facts::read(&self.reader, manifest, &self.plan)?;
        Ok(Some(Base { epoch: manifest.epoch, now: manifest.now, next_place: manifest.next_place, facts }))
    }

    /// As [`events`](Self::events), of the epochs behind `epoch`.
    ///
    /// # Errors
    /// As [`events`](Self::events); also if they are not in the log any more.
    pub fn events_since(&self, epoch: u64) -> Result<LoggedEvents, Error> {
        let log = self.reader.log(epoch + 1)?;
        Ok(LoggedEvents { log, last: self.epoch(), entry: EpochEntry::default(), next: 0 })
    }

    /// The events in the log, one after the other, each as received. Epochs that were logged since the directory was
    /// opened are left out, so that they agree with everything else here.
    ///
    /// # Errors
    /// [`Error::Storage`] if the log can't be read.
    pub fn events(&self) -> Result<LoggedEvents, Error> {
        Ok(LoggedEvents { log: self.log()?, last: self.epoch(), entry: EpochEntry::default(), next: 0 })
    }

    /// The refused events that `filter` lets through, oldest first.
    ///
    /// # Errors
    /// [`Error::Storage`] if the quarantine can't be read.
    pub fn quarantine(&self, filter: QuarantineFilter) -> Result<QuarantinedEvents, Error> {
        let events = self.reader.quarantine(filter)?;
        Ok(Box::new(events.map(|event| event.map_err(Error::from))))
    }

    /// What a sink has acknowledged: the last epoch.
    ///
    /// # Errors
    /// [`Error::Storage`] if it can't be read.
    pub fn acknowledged(&self, sink: &str) -> Result<Option<u64>, Error> {
        Ok(self.reader.ack(sink)?.map(|ack| ack.epoch))
    }
}

impl std::fmt::Debug for OfflineState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfflineState").field("epoch", &self.epoch()).field("now", &self.now()).finish()
    }
}

/// What is left of retired events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Base {
    /// The epoch as of whose end the facts are.
    pub epoch: u64,
    /// That epoch's `now`.
    pub now: Timestamp,
    /// How many events there were before.
    pub next_place: u64,
    /// The facts.
    pub facts: BaseFacts,
}

/// An event in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggedEvent<'a> {
    /// Its epoch.
    pub epoch: u64,
    /// The epoch's `now`.
    pub now: Timestamp,
    /// Its place in the log.
    pub place: u64,
    /// Its time if it carries none: the wall clock at acceptance.
    pub accepted_at: Timestamp,
    /// The event as received.
    pub bytes: &'a [u8],
}

/// The events in a log, read one epoch at a time.
pub struct LoggedEvents {
    log: LogReader,
    /// The last epoch to be read.
    last: u64,
    entry: EpochEntry,
    next: usize,
}

impl LoggedEvents {
    /// The next event; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Storage`] if the log is damaged.
    #[expect(clippy::should_implement_trait, reason = "an event borrows the epoch it was read with")]
    pub fn next(&mut self) -> Result<Option<LoggedEvent<'_>>, Error> {
        while self.next == self.entry.events.len() {
            if self.entry.header.epoch >= self.last || !self.log.read(&mut self.entry)? {
                return Ok(None);
            }
            self.next = 0;
        }
        // One that was taken out is not there any more, but for its place.
        if self.entry.events.get(self.next).is_some_and(<[u8]>::is_empty) {
            self.next += 1;
            return self.next();
        }
        let index = self.next;
        self.next += 1;
        let header = &self.entry.header;
        Ok(self.entry.events.get(index).map(|bytes| LoggedEvent {
            epoch: header.epoch,
            now: header.now,
            place: header.first_place + index as u64,
            accepted_at: header.accepted_at,
            bytes,
        }))
    }
}

impl std::fmt::Debug for LoggedEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoggedEvents").field("epoch", &self.entry.header.epoch).finish_non_exhaustive()
    }
}
