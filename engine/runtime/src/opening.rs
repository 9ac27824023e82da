//! Opens a state directory for running: locked, recovered, and made with the definitions that are to run.

use std::{collections::HashMap, path::Path};

use tidewater_model::HashKey;
use tidewater_storage::{
    AckFile, LogOptions, LogReader, LogWriter, NewState, Outbox, OutboxOptions, Quarantine,
    QuarantineOptions, Recovered, StateDir, StateReader,
};

use crate::{
    clock::Random,
    error::Error,
    pipeline::{Definitions, Pipeline, diff},
};

/// An opened state directory. The lock goes with the last of its parts.
pub(crate) struct OpenState {
    pub(crate) key: HashKey,
    pub(crate) reader: StateReader,
    pub(crate) log: LogWriter,
    /// All of the log.
    pub(crate) log_reader: LogReader,
    /// About how large the log is.
    pub(crate) log_bytes: u64,
    pub(crate) quarantine: Quarantine,
    /// By the sink's name.
    pub(crate) sinks: HashMap<String, (AckFile, Outbox)>,
}

/// Opens the directory, or makes it where there is none. Blocks on the disk.
pub(crate) fn open_state_dir(
    path: &Path,
    pipeline: &Pipeline,
    random: &dyn Random,
    rebuild: bool,
    sinks: &[String],
    spill_bytes: u64,
) -> Result<OpenState, Error> {
    let definitions = encode(&pipeline.definitions())?;
    let new = NewState {
        key: pipeline.id_key().unwrap_or_else(|| HashKey(random.next())),
        deployment: u128::from(random.next()) << 64 | u128::from(random.next()),
        definitions: definitions.clone(),
    };
    let mut state = StateDir::open(path, &new)?;
    check_key(&state, pipeline)?;
    check_definitions(&mut state, pipeline, definitions, rebuild)?;
    let (log, cut) = state.open_log(LogOptions::default())?;
    report("log", cut);
    let (quarantine, cut) = state.open_quarantine(QuarantineOptions::default())?;
    report("quarantine", cut);
    let mut opened = HashMap::new();
    for sink in sinks {
        let (acks, cut) = state.open_acks(sink)?;
        report("acknowledgements", cut);
        let options = OutboxOptions { max_bytes: spill_bytes, ..OutboxOptions::default() };
        opened.insert(sink.clone(), (acks, state.open_outbox(sink, options)?));
    }
    // After the log was opened to be written, since that is what cuts an unfinished entry off.
    let log_reader = state.reader().log(state.meta().log_starts)?;
    Ok(OpenState {
        key: state.meta().key,
        reader: state.reader().clone(),
        log,
        log_reader,
        log_bytes: log_bytes(path),
        quarantine,
        sinks: opened,
    })
}

/// The stored form of definitions.
fn encode(definitions: &Definitions) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(definitions).map_err(|error| Error::config(error.to_string()))
}

/// Reads the stored form of definitions.
pub(crate) fn decode(definitions: &[u8]) -> Result<Definitions, Error> {
    serde_json::from_slice(definitions).map_err(|error| {
        Error::config(format!("the definitions in the state directory can't be read: {error}"))
    })
}

fn check_key(state: &StateDir, pipeline: &Pipeline) -> Result<(), Error> {
    match pipeline.id_key() {
        Some(key) if key != state.meta().key => {
            Err(Error::config("`id_key` differs from the key that the state directory was made with"))
        }
        _ => Ok(()),
    }
}

fn check_definitions(
    state: &mut StateDir,
    pipeline: &Pipeline,
    definitions: Vec<u8>,
    rebuild: bool,
) -> Result<(), Error> {
    if state.meta().definitions == definitions {
        return Ok(());
    }
    let changes = diff(&decode(&state.meta().definitions)?, &pipeline.definitions());
    let affecting: Vec<String> =
        changes.iter().filter(|change| change.affects_results).map(ToString::to_string).collect();
    if !affecting.is_empty() && !rebuild {
        return Err(Error::DefinitionChanged { changes: affecting });
    }
    for change in &changes {
        tracing::info!(%change, "definition changed");
    }
    Ok(state.set_definitions(definitions)?)
}

fn report(part: &str, cut: Option<Recovered>) {
    if let Some(Recovered { file, offset, cut_bytes, detail }) = cut {
        let file = file.display().to_string();
        tracing::warn!(part, file, offset, cut_bytes, detail, "cut off an unfinished write");
    }
}

/// About how large the log of a state directory is.
pub(crate) fn log_bytes(state: &Path) -> u64 {
    let files = std::fs::read_dir(state.join("log")).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}
