//! What the `type` of a source or sink stands for: an explicit list, so that adding a connector is adding a line.

mod webhook;

use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tidewater::pipeline::{ConnectorRole, ConnectorSpec, Pipeline, PipelineError, PipelineErrors};
use tidewater_connector_api::{BoxSink, BoxSource};
use tidewater_connectors::{
    ConnectorConfig,
    file::{FileSink, FileSinkConfig, FileSource},
    http::{HttpSource, HttpSourceConfig},
    stdout::StdoutSink,
};

use self::webhook::DeployedWebhook;
use crate::{
    exit::{Exit, Failure},
    paths::resolved,
};

/// The types of sources in this build.
pub const SOURCES: &[&str] = &["file", "http"];
/// The types of sinks in this build.
pub const SINKS: &[&str] = &["file", "stdout", "webhook"];
/// Types that are planned: an error names them as not built yet.
const PLANNED_SOURCES: &[&str] = &["kafka", "fluvio"];
const PLANNED_SINKS: &[&str] = &["kafka", "fluvio", "meta_custom_audience"];

/// A connector is not what the pipeline file wants.
type Mistakes = Vec<PipelineError>;

/// Checks the entries of one pipeline file, each by itself and against those before it.
#[derive(Debug, Default)]
pub struct Checks {
    /// The sinks by the file that they write.
    files: RefCell<HashMap<PathBuf, String>>,
    /// The sources by the address that they listen at.
    listeners: RefCell<Vec<(SocketAddr, String)>>,
}

impl Checks {
    /// Everything that is wrong with a connector's entry; nothing is opened.
    pub fn check(&self, spec: &ConnectorSpec) -> Vec<PipelineError> {
        let checked = match spec.role() {
            ConnectorRole::Source => source(spec).map(|_| ()),
            ConnectorRole::Sink => sink(spec, None).map(|_| ()),
        };
        match checked {
            Err(mistakes) => mistakes,
            Ok(()) => self.written_twice(spec).into_iter().chain(self.listened_at_twice(spec)).collect(),
        }
    }

    /// Of two listeners at one address the second can't be opened.
    fn listened_at_twice(&self, spec: &ConnectorSpec) -> Option<PipelineError> {
        let address = listens_at(spec)?;
        let mut listeners = self.listeners.borrow_mut();
        let other = listeners.iter().find(|(other, _)| overlap(*other, address));
        let error = other.map(|(_, other)| taken(spec, &format!("source `{other}`")));
        listeners.push((address, spec.name().to_owned()));
        error
    }

    /// Of two sinks on one file each would cut off what the other wrote: it is behind all that it knows of.
    fn written_twice(&self, spec: &ConnectorSpec) -> Option<PipelineError> {
        if (spec.role(), spec.kind()) != (ConnectorRole::Sink, "file") {
            return None;
        }
        let config: FileSinkConfig = config(spec).ok()?;
        let mut files = self.files.borrow_mut();
        let name = spec.name().to_owned();
        let other = files.insert(resolved(Path::new(&config.path)), name)?;
        let message = format!("sink `{}` writes the same file as sink `{other}`", spec.name());
        let error = spec.value_error("path", message);
        Some(error.with_hint("give each sink a file of its own"))
    }
}

/// Checks the sources of a file that has no other mistake against `admin`, which is no connector.
///
/// # Errors
/// Those that listen where `admin` does.
pub fn check_admin(pipeline: &Pipeline) -> Result<(), PipelineErrors> {
    // A host's name is looked up when it is needed, not before.
    let admin = pipeline.admin_listen().and_then(|address| address.parse::<SocketAddr>().ok());
    let is_taken = |spec: &&ConnectorSpec| {
        admin.zip(listens_at(spec)).is_some_and(|(admin, address)| overlap(admin, address))
    };
    let errors = pipeline.sources().iter().filter(is_taken).map(|spec| taken(spec, "`admin`")).collect();
    PipelineErrors::from_errors(errors).map_or(Ok(()), Err)
}

/// The address that a source listens at, if it is one that listens.
fn listens_at(spec: &ConnectorSpec) -> Option<SocketAddr> {
    match (spec.role(), spec.kind()) {
        (ConnectorRole::Source, "http") => config(spec).ok().map(|config: HttpSourceConfig| config.listen),
        _ => None,
    }
}

/// Whether only one can listen: whoever listens at all of a machine's addresses is at each of them. Port 0 is any that is free.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = |address: SocketAddr| address.ip().is_unspecified();
    one.port() != 0
        && one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || everywhere(one) || everywhere(other))
}

fn taken(spec: &ConnectorSpec, by: &str) -> PipelineError {
    let message = format!("source `{}` listens at the same address as {by}", spec.name());
    spec.value_error("listen", message).with_hint("give each a port of its own")
}

/// The pipeline's sources and sinks by their names, ready to be given to an engine.
pub type Connectors = (Vec<(String, BoxSource)>, Vec<(String, BoxSink)>);

/// A source as its entry asks for it.
enum Planned {
    Ready(BoxSource),
    /// One that listens, but not before all entries are known to be right.
    Listener(HttpSourceConfig),
}

/// Builds all sources and sinks of a pipeline. Those that listen do from now on: an address that is taken is to end the start,
/// not a source of a run that goes on without it.
///
/// # Errors
/// Everything that is wrong with any of them, or the first address that can't be listened at.
pub async fn connectors(pipeline: &Pipeline) -> Result<Connectors, Failure> {
    let mut errors = Vec::new();
    let mut sources = Vec::new();
    for spec in pipeline.sources() {
        match source(spec) {
            Ok(source) => sources.push((spec.name().to_owned(), source)),
            Err(mistakes) => errors.extend(mistakes),
        }
    }
    let mut sinks = Vec::new();
    for spec in pipeline.sinks() {
        match sink(spec, pipeline.state()) {
            Ok(sink) => sinks.push((spec.name().to_owned(), sink)),
            Err(mistakes) => errors.extend(mistakes),
        }
    }
    if let Some(errors) = PipelineErrors::from_errors(errors) {
        return Err(errors.into());
    }
    let mut open = Vec::new();
    for (name, source) in sources {
        let source = source.open(&name).await?;
        open.push((name, source));
    }
    Ok((open, sinks))
}

impl Planned {
    async fn open(self, name: &str) -> Result<BoxSource, Failure> {
        let config = match self {
            Self::Ready(source) => return Ok(source),
            Self::Listener(config) => config,
        };
        let source = HttpSource::bind(config).await.map_err(|error| {
            Failure::new(Exit::Unavailable, format!("source `{name}` cannot start: {error}"))
        })?;
        if let Some(address) = source.local_addr() {
            tracing::info!(source = name, %address, "listening");
        }
        Ok(BoxSource::new(source))
    }
}

fn source(spec: &ConnectorSpec) -> Result<Planned, Mistakes> {
    match spec.kind() {
        "file" => Ok(Planned::Ready(BoxSource::new(FileSource::new(config(spec)?)))),
        "http" => Ok(Planned::Listener(config(spec)?)),
        _ => Err(vec![spec.unknown_kind(SOURCES, PLANNED_SOURCES)]),
    }
}

/// `state` is the directory that the engine keeps, which tells its deployment from all others.
fn sink(spec: &ConnectorSpec, state: Option<&Path>) -> Result<BoxSink, Mistakes> {
    match spec.kind() {
        "file" => Ok(BoxSink::new(FileSink::new(config(spec)?))),
        "stdout" => Ok(BoxSink::new(StdoutSink::new(config(spec)?))),
        "webhook" => Ok(BoxSink::new(DeployedWebhook::new(config(spec)?, spec.name(), state))),
        _ => Err(vec![spec.unknown_kind(SINKS, PLANNED_SINKS)]),
    }
}

/// Reads a connector's settings, with its mistakes at their places in the pipeline file.
fn config<C: ConnectorConfig>(spec: &ConnectorSpec) -> Result<C, Mistakes> {
    C::from_map(spec.config()).map_err(|errors| {
        let place = |error: tidewater_connectors::ConfigError| {
            let path = error.path.join(".");
            let is_unknown_key = error.path.len() == 1 && C::KEYS.iter().all(|key| key.name != error.path[0]);
            match is_unknown_key {
                true => spec.key_error(&path, error.message),
                false => spec.value_error(&path, error.message),
            }
        };
        errors.into_iter().map(place).collect()
    })
}
