//! What the `type` of a source or sink stands for: an explicit list, so that adding a connector is adding a line.

mod webhook;

use std::path::Path;

use tidewater::pipeline::{ConnectorRole, ConnectorSpec, Pipeline, PipelineError, PipelineErrors};
use tidewater_connector_api::{BoxSink, BoxSource};
use tidewater_connectors::{
    ConnectorConfig,
    file::{FileSink, FileSource},
    http::HttpSource,
    stdout::StdoutSink,
};

use self::webhook::DeployedWebhook;

/// The types of sources in this build.
pub const SOURCES: &[&str] = &["file", "http"];
/// The types of sinks in this build.
pub const SINKS: &[&str] = &["file", "stdout", "webhook"];
/// Types that are planned: an error names them as not built yet.
const PLANNED_SOURCES: &[&str] = &["kafka", "fluvio"];
const PLANNED_SINKS: &[&str] = &["kafka", "fluvio", "meta_custom_audience"];

/// A connector is not what the pipeline file wants.
type Mistakes = Vec<PipelineError>;

/// Everything that is wrong with a connector's entry; nothing is opened.
pub fn check(spec: &ConnectorSpec) -> Vec<PipelineError> {
    let checked = match spec.role() {
        ConnectorRole::Source => source(spec).map(|_| ()),
        ConnectorRole::Sink => sink(spec, None).map(|_| ()),
    };
    checked.err().unwrap_or_default()
}

/// The pipeline's sources and sinks by their names, ready to be given to an engine.
pub type Connectors = (Vec<(String, BoxSource)>, Vec<(String, BoxSink)>);

/// Builds all sources and sinks of a pipeline.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn connectors(pipeline: &Pipeline) -> Result<Connectors, PipelineErrors> {
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
    match PipelineErrors::from_errors(errors) {
        Some(errors) => Err(errors),
        None => Ok((sources, sinks)),
    }
}

fn source(spec: &ConnectorSpec) -> Result<BoxSource, Mistakes> {
    match spec.kind() {
        "file" => Ok(BoxSource::new(FileSource::new(config(spec)?))),
        "http" => Ok(BoxSource::new(HttpSource::new(config(spec)?))),
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
