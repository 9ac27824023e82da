//! Where components meet settings, and an engine comes to life: everything is checked and opened before any thread
//! starts.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use tidewater_connector_api::{BoxSink, BoxSource, Clock, Sink, Source, SystemClock};
use tidewater_model::HashKey;
use tidewater_operators::Plan;
use tidewater_storage::{DiskFiles, Files, LogOptions, QuarantineOptions, Store};

use crate::{
    assembly::{self, Components},
    clock::{Random, SystemRandom},
    dataflow::Extension,
    engine::Engine,
    error::Error,
    opening::{OpenState, Opening},
    pipeline::{MAX_WORKERS, Pipeline},
    settings::Settings,
};

/// Builds an [`Engine`]; made by [`Engine::builder`].
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    pipeline: Pipeline,
    sources: Vec<(String, BoxSource)>,
    sinks: Vec<(String, BoxSink)>,
    extensions: Vec<Arc<dyn Extension>>,
    state: Option<PathBuf>,
    workers: Option<usize>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    settings: Settings,
    files: Arc<dyn Files>,
    log_store: Option<(String, Arc<dyn Store>)>,
    rebuild: bool,
}

impl Builder {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        Self {
            state: pipeline.state().map(Path::to_owned),
            pipeline: pipeline.clone(),
            sources: Vec::new(),
            sinks: Vec::new(),
            extensions: Vec::new(),
            workers: None,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            settings: Settings::default(),
            files: Arc::new(DiskFiles),
            log_store: None,
            rebuild: false,
        }
    }

    /// Adds a source. Its name is what its position is kept under.
    pub fn source(mut self, name: impl Into<String>, source: impl Source) -> Self {
        self.sources.push((name.into(), BoxSource::new(source)));
        self
    }

    /// Adds a sink. Its name is what its acknowledgements are kept under.
    pub fn sink(mut self, name: impl Into<String>, sink: impl Sink) -> Self {
        self.sinks.push((name.into(), BoxSink::new(sink)));
        self
    }

    /// Adds operators of one's own to the dataflow; see [`dataflow`](crate::dataflow). Like sources and sinks they are
    /// no part of the pipeline: they change none of its results, and no stored state is bound to them.
    pub fn extension(mut self, extension: impl Extension) -> Self {
        self.extensions.push(Arc::new(extension));
        self
    }

    /// Keeps the event log and everything else in this directory, instead of what the pipeline says.
    pub fn state(mut self, path: impl Into<PathBuf>) -> Self {
        self.state = Some(path.into());
        self
    }

    /// Keeps nothing, whatever the pipeline says: all is lost when the engine stops.
    pub fn in_memory(mut self) -> Self {
        self.state = None;
        self
    }

    /// Keeps full, compressed files of the log in this store instead of the state directory. The directory remembers the
    /// address, which must say nothing secret, and from then on needs the store; it must be of this directory alone.
    pub fn log_store(mut self, address: impl Into<String>, store: Arc<dyn Store>) -> Self {
        self.log_store = Some((address.into(), store));
        self
    }

    /// Runs this many worker threads, 1 to 64, instead of what the pipeline says. Results don't depend on it.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Runs on this clock instead of the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Draws random numbers here instead of from the operating system.
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    /// Runs with these settings instead of the default ones.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Keeps the state directory on another file system.
    #[cfg(any(test, feature = "testing"))]
    pub fn files(mut self, files: Arc<dyn Files>) -> Self {
        self.files = files;
        self
    }

    /// Accepts that the state directory was made with other definitions: everything is computed again from its log.
    pub fn rebuild(mut self, rebuild: bool) -> Self {
        self.rebuild = rebuild;
        self
    }

    /// Starts the engine. It replays its log in the background: events and queries wait until
    /// [`ready`](Engine::ready).
    ///
    /// Must be called within a tokio runtime with time enabled, whose tasks then drive sources and sinks.
    ///
    /// # Errors
    /// [`Error::Config`] if settings, names or definitions can't be run; [`Error::DefinitionChanged`] if the state
    /// directory was made with others; [`Error::Storage`] if it can't be used.
    pub async fn start(self) -> Result<Engine, Error> {
        self.settings.check()?;
        check_names("source", self.sources.iter().map(|(name, _)| name))?;
        check_names("sink", self.sinks.iter().map(|(name, _)| name))?;
        let workers = self.workers.unwrap_or_else(|| self.pipeline.workers());
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(Error::config(format!("{workers} workers: from 1 to {MAX_WORKERS} are possible")));
        }
        let opened = self.open().await?;
        let plan = match &opened {
            Some(state) => Arc::clone(&state.plan),
            None => {
                let key = self.pipeline.id_key().unwrap_or(HashKey::FIXED);
                Plan::compile(self.pipeline.spec().clone(), key)?
            }
        };
        let components = Components {
            name: self.pipeline.name().to_owned(),
            plan,
            workers,
            sources: self.sources,
            sinks: self.sinks,
            extensions: self.extensions.into(),
            clock: self.clock,
            random: self.random,
            settings: self.settings,
        };
        assembly::launch(components, opened)
    }

    /// Opens the state directory away from the threads that must not block.
    async fn open(&self) -> Result<Option<OpenState>, Error> {
        let Some(path) = self.state.clone() else { return Ok(None) };
        let opening = Opening {
            files: Arc::clone(&self.files),
            path,
            pipeline: self.pipeline.clone(),
            random: Arc::clone(&self.random),
            rebuild: self.rebuild,
            sinks: self.sinks.iter().map(|(name, _)| name.clone()).collect(),
            spill_bytes: self.settings.sink_spill_bytes,
            log_store: self.log_store.clone(),
            log: LogOptions { file_bytes: self.settings.log_file_bytes },
            letter_bytes: self.settings.dead_letter_bytes,
            quarantine: QuarantineOptions {
                max_bytes: self.settings.quarantine_bytes,
                // Whatever could be accepted is kept whole: it may be refused for another reason than its size.
                record_bytes: self.settings.max_event_bytes,
            },
        };
        let opening = crate::threads::blocking(move || opening.open());
        opening.await.map_err(|_| Error::failed("opening the state directory panicked"))?.map(Some)
    }
}

fn check_names<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for name in names {
        if name.is_empty() {
            return Err(Error::config(format!("a {what} without a name")));
        }
        if !seen.insert(name) {
            return Err(Error::config(format!("two {what}s are called `{name}`")));
        }
    }
    Ok(())
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |list: Vec<&str>| list.join(", ");
        f.debug_struct("Builder")
            .field("pipeline", &self.pipeline.name())
            .field("sources", &names(self.sources.iter().map(|(name, _)| name.as_str()).collect()))
            .field("sinks", &names(self.sinks.iter().map(|(name, _)| name.as_str()).collect()))
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
