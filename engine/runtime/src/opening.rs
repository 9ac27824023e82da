//! Opens a state directory for running: locked, recovered, and made with the definitions that are to run.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use tidewater_model::HashKey;
use tidewater_operators::Plan;
use tidewater_storage::{
    AckFile, Checkpoints, Files, LogOptions, LogReader, LogWriter, NewState, Outbox, OutboxOptions,
    Quarantine, QuarantineOptions, Recovered, StateDir, StateReader,
};

use crate::{
    checkpoint::{
        choose,
        restore::{self, Found},
    },
    clock::Random,
    delivery::correction::Correction,
    error::Error,
    pipeline::{Pipeline, diff},
    rebuild::{Rebuild, Stored},
};

/// An opened state directory. The lock goes with the last of its parts.
pub(crate) struct OpenState {
    pub(crate) plan: Arc<Plan>,
    /// The epoch at which sinks change over to the present definitions; 0 if these were never changed.
    pub(crate) changeover: u64,
    /// By the sink's name, of those that follow earlier definitions.
    pub(crate) corrections: HashMap<String, Correction>,
    pub(crate) reader: StateReader,
    pub(crate) log: LogWriter,
    /// The checkpoints there are, and the one to begin with.
    pub(crate) found: Found,
    pub(crate) checkpoints: Checkpoints,
    /// The definitions, as checkpoints keep them.
    pub(crate) definitions: Vec<u8>,
    /// The log, behind the checkpoint.
    pub(crate) log_reader: LogReader,
    /// About how large the log is.
    pub(crate) log_bytes: u64,
    pub(crate) quarantine: Quarantine,
    /// By the sink's name.
    pub(crate) sinks: HashMap<String, (AckFile, Outbox)>,
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
        check_key(&state, &self.pipeline)?;
        let (log, cut) = state.open_log(LogOptions::default())?;
        report("log", cut);
        let stored = check_definitions(&mut state, &self.pipeline, log.durable_epoch(), self.rebuild)?;
        let (quarantine, cut) = state.open_quarantine(QuarantineOptions::default())?;
        report("quarantine", cut);
        let plan = Plan::compile(self.pipeline.spec().clone(), state.meta().key)?;
        let mut sinks = HashMap::new();
        for sink in self.sinks {
            let (acks, cut) = state.open_acks(&sink)?;
            report("acknowledgements", cut);
            let options = OutboxOptions { max_bytes: self.spill_bytes, ..OutboxOptions::default() };
            let outbox = state.open_outbox(&sink, options)?;
            sinks.insert(sink, (acks, outbox));
        }
        let acknowledged = |(sink, (acks, _)): (&String, &(AckFile, Outbox))| {
            acks.last().map(|ack| (sink.clone(), ack.epoch))
        };
        let corrections = stored.corrections(state.reader(), &plan, sinks.iter().filter_map(acknowledged))?;
        // One that is to be corrected has by definition not everything: what it lacks is made from the log.
        let epoch = |sink: &String, acks: &AckFile| {
            acks.last().map(|ack| ack.epoch).filter(|_| !corrections.contains_key(sink))
        };
        let acknowledged = sinks.iter().map(|(sink, (acks, _))| (sink.clone(), epoch(sink, acks)));
        let acknowledged: HashMap<String, Option<u64>> = acknowledged.collect();
        let found = restore::find(
            state.reader(),
            &stored.definitions,
            |epoch| epoch <= log.durable_epoch(),
            &acknowledged,
        )?;
        let from = found.usable.as_ref().map_or(state.meta().log_starts, |usable| usable.epoch + 1);
        #[cfg(feature = "planted-bugs")]
        let from = {
            use tidewater_operators::planted::{Bug, active};
            from + u64::from(found.usable.is_some() && active(Bug::TailBeginsTooLate))
        };
        let checkpoints = state.open_checkpoints()?;
        if found.is_certain {
            // Those that are of no use must not come to count again once the log has grown past them.
            checkpoints.keep(&found.all)?;
        }
        // After the log was opened to be written, since that is what cuts an unfinished entry off.
        let log_reader = state.reader().log(from)?;
        Ok(OpenState {
            plan,
            changeover: stored.changeover(),
            corrections,
            reader: state.reader().clone(),
            log,
            found,
            checkpoints,
            definitions: choose::encode(&stored.definitions)?,
            log_reader,
            log_bytes: log_bytes(&self.path, from),
            quarantine,
            sinks,
        })
    }
}

fn check_key(state: &StateDir, pipeline: &Pipeline) -> Result<(), Error> {
    match pipeline.id_key() {
        Some(key) if key != state.meta().key => {
            Err(Error::config("`id_key` differs from the key that the state directory was made with"))
        }
        _ => Ok(()),
    }
}

/// Compares the stored definitions with those that are to run, and stores these.
fn check_definitions(
    state: &mut StateDir,
    pipeline: &Pipeline,
    last_epoch: u64,
    rebuild: bool,
) -> Result<Stored, Error> {
    let mut stored = Stored::decode(&state.meta().definitions)?;
    let definitions = pipeline.definitions();
    if stored.definitions == definitions {
        return Ok(stored);
    }
    let changes = diff(&stored.definitions, &definitions);
    let affecting: Vec<String> =
        changes.iter().filter(|change| change.affects_results).map(ToString::to_string).collect();
    if !affecting.is_empty() && !rebuild {
        return Err(Error::DefinitionChanged { changes: affecting });
    }
    for change in &changes {
        tracing::info!(%change, "definition changed");
    }
    let before = std::mem::replace(&mut stored.definitions, definitions);
    // Of an empty log nobody has seen a result.
    if !affecting.is_empty() && last_epoch > 0 {
        stored.rebuilds.push(Rebuild { epoch: last_epoch + 1, before });
    }
    state.set_definitions(stored.encode()?)?;
    Ok(stored)
}

pub(crate) fn report(part: &str, cut: Option<Recovered>) {
    if let Some(Recovered { file, offset, cut_bytes, detail }) = cut {
        let file = file.display().to_string();
        tracing::warn!(part, file, offset, cut_bytes, detail, "cut off an unfinished write");
    }
}

/// About how large the log of a state directory is from an epoch on: the files that hold it and later ones.
pub(crate) fn log_bytes(state: &Path, from: u64) -> u64 {
    let files = std::fs::read_dir(state.join("log")).into_iter().flatten().flatten();
    let mut sizes: Vec<(u64, u64)> = files
        .filter_map(|file| {
            let first = file.file_name().to_str()?.strip_suffix(".log")?.parse().ok()?;
            Some((first, file.metadata().ok()?.len()))
        })
        .collect();
    sizes.sort_unstable();
    let begins = sizes.iter().rposition(|(first, _)| *first <= from).unwrap_or(0);
    sizes[begins.min(sizes.len())..].iter().map(|(_, bytes)| bytes).sum()
}
