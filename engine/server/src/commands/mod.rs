//! One module a command: its arguments, and the function that does it.

pub mod checkpoint;
pub mod demo;
pub mod dlq;
pub mod export;
pub mod generate;
pub mod plan;
pub mod redrive;
pub mod run;
pub mod schema;
pub mod validate;
pub mod verify;

use std::path::Path;

use tidewater::pipeline::{ConnectorSpec, Pipeline, PipelineErrors, PipelineLoader, SystemEnvironment};

use crate::{
    exit::{Exit, Failure},
    registry,
};

/// The pipeline file that is meant when none is named.
const DEFAULT_FILE: &str = "tidewater.yaml";

/// Reads a pipeline file and checks all of it, connectors too.
fn load(path: &Path) -> Result<Pipeline, PipelineErrors> {
    let checks = registry::Checks::default();
    let check = |spec: &ConnectorSpec| checks.check(spec);
    let pipeline = PipelineLoader::new(&SystemEnvironment).check_connectors(&check).load_file(path)?;
    registry::check_admin(&pipeline)?;
    Ok(pipeline)
}

/// The threads that sources, sinks and the admin listener run on.
fn tokio_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("tidewater-io")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("cannot start threads: {error}")))
}
