//! Checkpoints of a large state: how large they are, how long they take, what they cost meanwhile, and how long a start
//! takes that begins with one.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use clap::Parser;
use serde_json::{Value, json};
use tidewater::{Engine, Settings, Subscription, Update};
use tidewater_benches::{
    Failure,
    clickstream::Clickstream,
    figures::{Durations, per_second, round},
    pipeline::{self, Segments},
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Events handed in at a time while state is built.
const BATCH: usize = 1_000;

/// Events of an epoch whose latency is measured.
const SMALL: usize = 10;

/// Measures checkpoints and prints figures as JSON.
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
    /// Where the state directory goes; on a disk, not in memory. Left out: the temporary directory.
    #[arg(long)]
    state: Option<std::path::PathBuf>,
    /// Keeps the state directory, for `--start`.
    #[arg(long)]
    keep: bool,
    /// Only starts, with what an earlier run kept in this directory: in a process that has no memory yet.
    #[arg(long)]
    start: Option<std::path::PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (starting, args) = (Instant::now(), Args::parse());
    if let Some(kept) = &args.start {
        let (started, engine) = started(&args, kept, starting).await?;
        let identifiers = engine.stats().await?.identifiers;
        println!("{}", json!({ "start_seconds": round(started.as_secs_f64()), "identifiers": identifiers }));
        engine.shutdown(Duration::from_secs(60)).await?;
        return Ok(());
    }
    let parent = args.state.clone().unwrap_or_else(std::env::temp_dir);
    let mut directory = tempfile::tempdir_in(parent)?;
    directory.disable_cleanup(args.keep);
    let people = args.people.unwrap_or(args.events / 5);
    // A hundredth more than what is loaded changes a hundredth of it.
    let more = args.events / 100;
    let mut stream = Clickstream::new(args.events + 3 * more, people, 7);

    let engine = start(&args, directory.path()).await?;
    let (load, loaded) = (Instant::now(), args.events as usize / BATCH);
    for _ in 0..loaded {
        engine.ingest_batch(stream.next_batch(BATCH)).await?;
    }
    engine.flush().await?;
    let load = load.elapsed();
    let quiet = epochs(&engine, &mut stream, more as usize / SMALL).await?;
    let (full, during) = checkpoint_beside(&engine, &mut stream).await?;
    let identifiers = engine.stats().await?.identifiers;
    let rest = (more as usize).saturating_sub(during.len() * SMALL);
    for _ in 0..rest / BATCH {
        engine.ingest_batch(stream.next_batch(BATCH)).await?;
    }
    let (incremental, _) = checkpoint_beside(&engine, &mut stream).await?;
    engine.shutdown(Duration::from_secs(60)).await?;
    drop(engine);

    let (started, engine) = started(&args, directory.path(), Instant::now()).await?;
    let replayed = engine.status().replay.epochs;
    engine.shutdown(Duration::from_secs(60)).await?;

    let bytes = |report: &Value| report["bytes"].as_f64().unwrap_or(0.0);
    let report = json!({
        "bench": "checkpoint",
        "events": args.events,
        "workers": args.workers,
        "identifiers": identifiers,
        "load_events_per_second": per_second(loaded * BATCH, load),
        "full": full,
        "full_bytes_per_identifier": round(bytes(&full) / identifiers as f64),
        "one_percent_more": incremental,
        "one_percent_to_full_bytes": round(bytes(&incremental) / bytes(&full)),
        "epoch_quiet": quiet.to_json(),
        "epoch_during_full": during.to_json(),
        "start_seconds": round(started.as_secs_f64()),
        "start_us_per_identifier": round(started.as_secs_f64() * 1e6 / identifiers as f64),
        "start_replayed_epochs": replayed,
    });
    println!("{report}");
    Ok(())
}

async fn start(args: &Args, directory: &Path) -> Result<Engine, Failure> {
    // Checkpoints are made here on demand alone.
    let settings =
        Settings { checkpoint_every_ms: u64::MAX, checkpoint_log_bytes: u64::MAX, ..Settings::default() };
    let pipeline = pipeline::cdp1(Segments::Five)?;
    let builder = Engine::builder(&pipeline).workers(args.workers).settings(settings);
    Ok(builder.state(directory.join("state")).start().await?)
}

/// Starts, and waits until what is stored is there again.
async fn started(args: &Args, directory: &Path, from: Instant) -> Result<(Duration, Engine), Failure> {
    let engine = start(args, directory).await?;
    engine.ready().await?;
    Ok((from.elapsed(), engine))
}

/// Small epochs, one after the other, each timed until its deltas are out.
async fn epochs(engine: &Engine, stream: &mut Clickstream, count: usize) -> Result<Durations, Failure> {
    let mut updates = engine.subscribe("S1")?;
    let mut durations = Durations::default();
    for _ in 0..count {
        durations.push(epoch(engine, stream, &mut updates).await?);
    }
    Ok(durations)
}

async fn epoch(
    engine: &Engine,
    stream: &mut Clickstream,
    updates: &mut Subscription,
) -> Result<Duration, Failure> {
    let handed_in = Instant::now();
    let accepted = engine.ingest_batch(stream.next_batch(SMALL)).await?;
    loop {
        match updates.next().await? {
            Some(Update::EpochComplete { epoch, .. }) if epoch >= accepted.epoch => {
                return Ok(handed_in.elapsed());
            }
            Some(_) => {}
            None => return Err("the engine stopped".into()),
        }
    }
}

/// Makes a checkpoint; meanwhile small epochs go on, and are timed.
async fn checkpoint_beside(engine: &Engine, stream: &mut Clickstream) -> Result<(Value, Durations), Failure> {
    let mut updates = engine.subscribe("S1")?;
    let mut durations = Durations::default();
    let making = tokio::spawn({
        let engine = engine.clone();
        async move { engine.checkpoint().await }
    });
    while !making.is_finished() {
        durations.push(epoch(engine, stream, &mut updates).await?);
    }
    making.await??;
    let made = engine.status().checkpoint.ok_or("no checkpoint")?;
    let report = json!({ "seconds": round(made.took.as_secs_f64()), "bytes": made.written_bytes });
    Ok((report, durations))
}
