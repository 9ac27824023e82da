//! What an identifier costs in memory: resident after many events, less what an idle engine takes, by identifier.
//!
//! The events are made by a source as they are needed, so that no input is resident.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use serde_json::{Map, json};
use tidewater::{Engine, SendError, Source, SourceContext};
use tidewater_benches::{
    Failure,
    clickstream::Clickstream,
    figures::round,
    pipeline::{self, Segments},
    process,
};
use tidewater_connector_api::{ReadError, SourceCapabilities};
use tidewater_connectors::file::{FileSink, FileSinkConfig};
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Events sent at a time: one epoch.
const BATCH: usize = 10_000;
/// How long the allocator is given to hand back what is free.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures the memory of a running engine and prints it as JSON.
#[derive(Parser)]
struct Args {
    /// How many events.
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    /// How many people they are of; left out, as many as make CDP-1's share of identifiers.
    #[arg(long)]
    people: Option<u64>,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Keeps the event log, fsync included, in a new directory inside this one.
    #[arg(long)]
    state: Option<PathBuf>,
}

/// Sends a clickstream once it is told to begin.
struct Generated {
    stream: Clickstream,
    begin: watch::Receiver<bool>,
}

impl Source for Generated {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { finite: true, replayable: true }
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let stopped = |error: SendError| ReadError::failed(error.to_string());
        self.begin.wait_for(|begin| *begin).await.map_err(|error| ReadError::failed(error.to_string()))?;
        loop {
            let mut batch = context.buffer();
            while batch.len() < BATCH
                && let Some(event) = self.stream.next_event()
            {
                batch.push(event);
            }
            if batch.is_empty() {
                return Ok(());
            }
            drop(context.send(batch, None).await.map_err(stopped)?);
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let scratch = tempfile::tempdir()?;
    let deltas = scratch.path().join("deltas.ndjson").to_string_lossy().into_owned();
    let state = args.state.as_ref().map(tempfile::tempdir_in).transpose()?;
    let pipeline = pipeline::cdp1(Segments::Five)?;
    let people = args.people.unwrap_or(args.events / 5);
    let (begin, begins) = watch::channel(false);
    let source = Generated { stream: Clickstream::new(args.events, people, 7), begin: begins };
    let mut engine = Engine::builder(&pipeline)
        .workers(args.workers)
        .source("clickstream", source)
        .sink("deltas", FileSink::new(FileSinkConfig::new(deltas)));
    engine = match &state {
        Some(state) => engine.state(state.path().join("state")),
        None => engine.in_memory(),
    };
    let engine = engine.start().await?;
    engine.ready().await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let idle = process::resident_bytes();

    begin.send(true)?;
    engine.sources_ended().await?;
    engine.flush().await?;
    tokio::time::sleep(SETTLE).await;
    let resident = process::resident_bytes();

    let stats = engine.stats().await?;
    let identifiers = stats.identifiers as f64;
    let each = |bytes: u64| json!(round(bytes as f64 / identifiers));
    let mut parts: Map<String, _> =
        stats.bytes.iter().map(|(part, bytes)| ((*part).to_owned(), each(*bytes))).collect();
    let known: u64 = stats.bytes.iter().map(|(_, bytes)| bytes).sum();
    let grown = resident.saturating_sub(idle);
    // The arrangements, buffers, and what the allocator holds back.
    parts.insert("everything else".to_owned(), each(grown.saturating_sub(known)));
    let report = json!({
        "bench": "state",
        "events": engine.status().counts.events,
        "workers": args.workers,
        "log": args.state.is_some(),
        "identifiers": stats.identifiers,
        "profiles": stats.profiles,
        "idle_bytes": idle,
        "resident_bytes": resident,
        "peak_bytes": process::peak_bytes(),
        "bytes_per_identifier": each(grown),
        "parts_per_identifier": parts,
    });
    println!("{report}");
    engine.shutdown(Duration::from_secs(60)).await?;
    Ok(())
}
