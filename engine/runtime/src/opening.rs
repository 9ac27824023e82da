//! Opens a state directory for running: locked, recovered, and made with the definitions that are to run.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use tidewater_model::HashKey;
use tidewater_operators::Plan;
use tidewater_storage::{
    AckFile, Checkpoints, DeadLetterOptions, Files, LogArchive, LogOptions, LogReader, LogWriter, NewState,
    Outbox, OutboxOptions, Quarantine, QuarantineOptions, Recovered, StateDir, StateReader, StorageError,
    Store,
};

use crate::{
    absent::Absent,
    checkpoint::{
        choose,
        earlier::Earlier,
        restore::{self, Found},
    },
    clock::Random,
    delivery::{correction::Correction, letters::Letters},
    era::{Entered, Entering},
    error::Error,
    history::{History, Point},
    newcomers,
    pipeline::Pipeline,
    rebuild::{Stored, corrections, follows},
    retention::RetiredLog,
};

/// An opened state directory. The lock goes with the last of its parts.
pub(crate) struct OpenState {
    pub(crate) plan: Arc<Plan>,
    /// By the sink's name, of those that follow earlier definitions.
    pub(crate) corrections: HashMap<String, Correction>,
    pub(crate) reader: StateReader,
    pub(crate) log: LogWriter,
    /// Its housekeeping.
    pub(crate) archive: LogArchive,
    /// The epoch with which the present definitions began; 0 if they were never changed.
    pub(crate) changeover: u64,
    /// The checkpoints there are, and the one to begin with.
    pub(crate) found: Found,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) absent: Absent,
    pub(crate) earlier: Earlier,
    /// The definitions, as checkpoints keep them.
    pub(crate) definitions: Vec<u8>,
    /// The log, behind the checkpoint.
    pub(crate) log_reader: LogReader,
    /// About how large the log is.
    pub(crate) log_bytes: u64,
    pub(crate) quarantine: Quarantine,
    /// By the sink's name.
    pub(crate) sinks: HashMap<String, OpenSink>,
}

/// What there is of a sink.
pub(crate) struct OpenSink {
    pub(crate) acks: AckFile,
    pub(crate) outbox: Outbox,
    pub(crate) letters: Letters,
    /// It has acknowledged everything up to this epoch, or finds it in the outbox.
    pub(crate) has: u64,
}

impl OpenSink {
    /// Nothing was ever given to it.
    pub(crate) fn is_new(&self) -> bool {
        self.acks.last().is_none() && self.has == 0
    }
}

/// What is to be opened.
pub(crate) struct Opening {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) path: PathBuf,
    pub(crate) pipeline: Pipeline,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) rebuild: bool,
    /// Names of the sinks.
    pub(crate) sinks: Vec<String>,
    /// How much may be spilled for each.
    pub(crate) spill_bytes: u64,
    /// Where sealed files of the log go, with its address.
    pub(crate) log_store: Option<(String, Arc<dyn Store>)>,
    pub(crate) log: LogOptions,
    /// How much the dead letters of each may be.
    pub(crate) letter_bytes: u64,
    pub(crate) quarantine: QuarantineOptions,
}

impl Opening {
    /// Opens the directory, or makes it where there is none. Blocks on the disk.
    pub(crate) fn open(self) -> Result<OpenState, Error> {
        let stored = Stored { definitions: self.pipeline.definitions(), rebuilds: Vec::new() };
        let new = NewState {
            key: self.pipeline.id_key().unwrap_or_else(|| HashKey(self.random.next())),
            deployment: u128::from(self.random.next()) << 64 | u128::from(self.random.next()),
            definitions: stored.encode()?,
        };
        let mut state = StateDir::open_with(Arc::clone(&self.files), &self.path, &new)?;
        set_log_store(&mut state, self.log_store.clone())?;
        check_key(state.meta().key, &self.pipeline)?;
        let (mut log, cut) = state.open_log(self.log)?;
        report("log", cut);
        let retired = RetiredLog::of(state.reader())?.inspect(RetiredLog::tell);
        let entering = Entering { retired, rebuild: self.rebuild, sinks: &self.sinks };
        let Entered { stored, plan, first } =
            entering.enter(&mut state, &mut log, self.pipeline.definitions())?;
        let (quarantine, cut) = state.open_quarantine(self.quarantine)?;
        report("quarantine", cut);
        let mut sinks = HashMap::new();
        for name in &self.sinks {
            sinks.insert(name.clone(), self.open_sink(&state, name)?);
        }
        let checkpoints = state.open_checkpoints()?;
        let changeover = stored.changeover();
        let last = log.durable_epoch();
        let (known, behind) = known(state.reader(), &stored, &sinks, last)?;
        let history = History { state: state.reader(), stored: &stored, key: state.meta().key, workers: 1 };
        let mut found = find(&history, &checkpoints, &known, last, first)?;
        let corrections = corrections(&history, behind.iter().cloned())?;
        if let Some(usable) = &found.usable {
            let is_there = |name: &String| usable.delivered.contains(name) && !corrections.contains_key(name);
            for (_, sink) in sinks.iter_mut().filter(|(name, _)| is_there(name)) {
                sink.has = sink.has.max(usable.epoch);
            }
            newcomers::give_members(state.reader(), &plan, usable, &mut sinks)?;
        }
        if let (None, Some(retired)) = (&found.usable, retired) {
            return Err(no_checkpoint(retired, &self.path, &sinks));
        }
        let from = found.usable.as_ref().map_or(state.meta().log_starts, |usable| usable.epoch + 1);
        #[cfg(feature = "planted-bugs")]
        let from = {
            use tidewater_operators::planted::{Bug, active};
            from + u64::from(found.usable.is_some() && active(Bug::TailBeginsTooLate))
        };
        let absent = Absent::find(&state, &self.sinks, &stored, &found.all)?;
        // Those of earlier definitions say what a sink that follows them has.
        let is_any_behind = (!corrections.is_empty(), absent.is_any_behind());
        let earlier = Earlier::find(state.reader(), changeover, is_any_behind)?;
        if found.is_certain && corrections.is_empty() && earlier.is_empty() {
            // Those that are of no use must not come to count again once the log has grown past them.
            checkpoints.keep(&found.all)?;
        }
        found.taken = checkpoints.state_epochs()?.into_iter().collect();
        for (name, has) in behind {
            if let (Some(sink), true) = (sinks.get(&name), corrections.contains_key(&name)) {
                sink.letters.corrected(has, changeover)?;
            }
        }
        // After the log was opened to be written, since that is what cuts an unfinished entry off.
        let log_reader = state.reader().log(from)?;
        Ok(OpenState {
            plan,
            corrections,
            reader: state.reader().clone(),
            log,
            found,
            checkpoints,
            absent,
            earlier,
            definitions: choose::encode(&stored.definitions)?,
            log_reader,
            log_bytes: state.reader().log_bytes(from)?,
            archive: state.open_log_archive()?,
            changeover,
            quarantine,
            sinks,
        })
    }
}

fn set_log_store(state: &mut StateDir, store: Option<(String, Arc<dyn Store>)>) -> Result<(), Error> {
    let Some((address, store)) = store else { return Ok(()) };
    state.set_log_store(&address, store).map_err(|error| match error {
        StorageError::Refused { detail } => Error::config(detail),
        error => error.into(),
    })
}

impl Opening {
    fn open_sink(&self, state: &StateDir, name: &str) -> Result<OpenSink, Error> {
        let (acks, cut) = state.open_acks(name)?;
        report("acknowledgements", cut);
        let options = OutboxOptions { max_bytes: self.spill_bytes, ..OutboxOptions::default() };
        let acknowledged = acks.last().map_or(0, |ack| ack.epoch);
        let (outbox, cut) = state.open_outbox(name, options, acknowledged)?;
        report("outbox", cut);
        let options = DeadLetterOptions { max_bytes: self.letter_bytes };
        let (letters, cut) = state.open_dead_letters(name, options)?;
        report("dead letters", cut);
        let has = outbox.span().through;
        Ok(OpenSink { acks, outbox, letters: Letters::on_disk(letters, acknowledged)?, has })
    }
}

/// Refuses a pipeline with another key than the state directory was made with (`key`).
pub(crate) fn check_key(key: HashKey, pipeline: &Pipeline) -> Result<(), Error> {
    match pipeline.id_key() {
        Some(other) if other != key => Err(Error::config(
            "`id_key` differs from the key that the state directory was made with, on which all profile ids depend: put the \
             old key back (or take `id_key` out, if there was none), or start on an empty state directory",
        )),
        _ => Ok(()),
    }
}

/// By sink, up to which epoch no deltas need be made again for it.
type Known = HashMap<String, Option<u64>>;

/// Of each sink that is not new, up to which epoch no deltas need be made again for it: one that is to be corrected gets, at the
/// changeover, all that it lacks by then. Those that are, with what they have now. One that is new needs nothing of what came
/// before.
fn known(
    state: &StateReader,
    stored: &Stored,
    sinks: &HashMap<String, OpenSink>,
    last: u64,
) -> Result<(Known, Vec<(String, u64)>), Error> {
    let (mut known, mut behind) = (HashMap::new(), Vec::new());
    for (name, sink) in sinks.iter().filter(|(_, sink)| !sink.is_new()) {
        let mut has = sink.has;
        if stored.is_behind(has) {
            has = has.max(follows(state, name, last)?.unwrap_or(0));
        }
        if stored.is_behind(has) {
            behind.push((name.clone(), has));
        }
        known.insert(name.clone(), Some(has.max(stored.changeover())));
    }
    Ok((known, behind))
}

/// The checkpoints of the present definitions, and the one to begin with. If there is none yet because the pipeline was
/// changed, and most of the state can be kept, it is made here, of the era's first state if that is there already.
fn find(
    history: &History<'_>,
    checkpoints: &Checkpoints,
    acknowledged: &HashMap<String, Option<u64>>,
    last_epoch: u64,
    first: Option<Point>,
) -> Result<Found, Error> {
    let Stored { definitions, .. } = history.stored;
    let changeover = history.stored.changeover();
    let is_of_era = |epoch| (changeover..=last_epoch).contains(&epoch);
    let mut found = restore::find(history.state, definitions, is_of_era, acknowledged)?;
    if found.usable.is_none()
        && let Some(mut point) = first.map_or_else(|| history.converted(), |point| Ok(Some(point)))?
    {
        let begun = std::time::Instant::now();
        point.replay(history.state, changeover, &mut |_| {})?;
        let manifest = point.write(checkpoints, choose::encode(definitions)?)?;
        tracing::info!(epoch = changeover, took = ?begun.elapsed(), "state converted to the changed pipeline");
        found.all.retain(|other| other.epoch != changeover);
        found.all.push(manifest.clone());
        found.usable = Some(manifest);
    }
    Ok(found)
}

pub(crate) fn report(part: &str, cut: Option<Recovered>) {
    if let Some(Recovered { file, offset, cut_bytes, detail }) = cut {
        let file = file.display().to_string();
        tracing::warn!(part, file, offset, cut_bytes, detail, "cut off an unfinished write");
    }
}

/// The error when no checkpoint is of use and the log does not begin with the first event.
fn no_checkpoint(retired: RetiredLog, path: &Path, sinks: &HashMap<String, OpenSink>) -> Error {
    let new = sinks.iter().filter(|(_, sink)| sink.is_new()).map(|(name, _)| name.clone());
    let mut new: Vec<String> = new.collect();
    new.sort_unstable();
    retired.no_checkpoint(path, new, !sinks.is_empty())
}
