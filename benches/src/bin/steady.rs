//! A large state under load: what checkpoints every ten seconds cost of the throughput, and how long epochs take at half of it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use clap::Parser;
use serde_json::{Value, json};
use tidewater::{Engine, RawEvents, Settings, Update};
use tidewater_benches::{
    Failure,
    clickstream::Clickstream,
    figures::{Durations, median, per_second, round},
    pipeline::{self, Segments},
};
use tokio::sync::mpsc;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Events handed in at a time as fast as they are taken.
const BATCH: usize = 1_000;

/// At half load a batch is handed in so often, whatever has become of those before.
const TICK: Duration = Duration::from_millis(2);

/// Batches on their way at half load; beyond that they wait, which the report says.
const ON_THE_WAY: usize = 1_000;

/// Measures and prints figures as JSON.
#[derive(Parser)]
struct Args {
    /// Events that make the state.
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    /// Events of each measured load; it should take longer than a checkpoint's interval.
    #[arg(long, default_value_t = 4_000_000)]
    load: u64,
    /// Loads without and with checkpoints, in turn.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Seconds at half load.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Events a second instead of half of what was taken with checkpoints, so that runs can be compared.
    #[arg(long)]
    rate: Option<f64>,
    /// How often a checkpoint is made, in seconds.
    #[arg(long, default_value_t = 10)]
    every: u64,
    /// Full files of the log are so large, in MiB.
    #[arg(long, default_value_t = 256)]
    log_file: u64,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Where the state directory goes; on a disk, not in memory. Left out: the temporary directory.
    #[arg(long)]
    state: Option<std::path::PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let directory = tempfile::tempdir_in(args.state.clone().unwrap_or_else(std::env::temp_dir))?;
    let people = args.events / 5;
    // More than can be handed in at half load.
    let all = args.events + args.load * (2 * args.rounds as u64 + 1) + args.seconds * 1_000_000;
    let mut stream = Clickstream::new(all, people, 7);

    let engine = start(&args, directory.path(), u64::MAX).await?;
    for _ in 0..args.events as usize / BATCH {
        engine.ingest_batch(stream.next_batch(BATCH)).await?;
    }
    engine.shutdown(Duration::from_secs(60)).await?;

    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        without.push(load(&args, directory.path(), u64::MAX, &mut stream).await?);
        with.push(load(&args, directory.path(), args.every * 1_000, &mut stream).await?);
    }
    let rate = args.rate.unwrap_or(median(&with) / 2.0);
    let half = half_load(&args, directory.path(), rate, &mut stream).await?;
    let report = json!({
        "bench": "steady",
        "events": args.events,
        "workers": args.workers,
        "events_per_second_without_checkpoints": without,
        "events_per_second_with_checkpoints": with,
        "ratio": round(median(&with) / median(&without)),
        "half_load": half,
    });
    println!("{report}");
    Ok(())
}

async fn start(args: &Args, directory: &Path, checkpoint_every_ms: u64) -> Result<Engine, Failure> {
    let log_file_bytes = args.log_file << 20;
    let checkpoint_log_bytes = u64::MAX;
    let settings =
        Settings { checkpoint_every_ms, checkpoint_log_bytes, log_file_bytes, ..Settings::default() };
    let pipeline = pipeline::cdp1(Segments::Five)?;
    let builder = Engine::builder(&pipeline).workers(args.workers).settings(settings);
    let engine = builder.state(directory.join("state")).start().await?;
    engine.ready().await?;
    Ok(engine)
}

/// Hands events in as fast as they are taken; events a second. They are made before, so that the engine has the cores.
async fn load(
    args: &Args,
    directory: &Path,
    checkpoint_every_ms: u64,
    stream: &mut Clickstream,
) -> Result<f64, Failure> {
    let count = args.load as usize / BATCH;
    let batches: Vec<RawEvents> = (0..count).map(|_| stream.next_batch(BATCH)).collect();
    let engine = start(args, directory, checkpoint_every_ms).await?;
    let started = Instant::now();
    // Two on their way, so that one is there when the other has been taken.
    let mut before = None;
    for batch in batches {
        let (engine, own) = (engine.clone(), batch);
        let task = tokio::spawn(async move { engine.ingest_batch(own).await });
        if let Some(before) = before.replace(task) {
            before.await??;
        }
    }
    if let Some(last) = before {
        last.await??;
    }
    engine.flush().await?;
    let figure = per_second(count * BATCH, started.elapsed());
    engine.shutdown(Duration::from_secs(60)).await?;
    Ok(figure)
}

/// Hands events in at a rate, and times each batch from then until the epoch that holds it is complete: logged and synced,
/// computed, and its deltas out.
async fn half_load(
    args: &Args,
    directory: &Path,
    rate: f64,
    stream: &mut Clickstream,
) -> Result<Value, Failure> {
    let engine = start(args, directory, args.every * 1_000).await?;
    let size = (rate * TICK.as_secs_f64()) as usize;
    let ticks = (args.seconds * 1_000) as usize / TICK.as_millis() as usize;
    let (sender, mut taken) = mpsc::channel::<(Instant, Duration, u64)>(ON_THE_WAY);
    let mut updates = engine.subscribe("S1")?;
    let timing = tokio::spawn(async move {
        let (mut logged, mut durations, mut complete) = (Durations::default(), Durations::default(), 0);
        while let Some((handed_in, until_logged, epoch)) = taken.recv().await {
            logged.push(until_logged);
            while complete < epoch {
                match updates.next().await {
                    Ok(Some(Update::EpochComplete { epoch, .. })) => complete = epoch,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return (logged, durations),
                }
            }
            durations.push(handed_in.elapsed());
        }
        (logged, durations)
    });
    let started = Instant::now();
    let mut late = Durations::default();
    for tick in 0..ticks {
        let due = started + TICK * tick as u32;
        let batch = stream.next_batch(size);
        tokio::time::sleep_until(due.into()).await;
        late.push(due.elapsed());
        let (engine, place) = (engine.clone(), sender.clone().reserve_owned().await?);
        tokio::spawn(async move {
            let handed_in = Instant::now();
            // A failed engine ends the subscription, too.
            let accepted = engine.ingest_batch(batch).await;
            let epoch = accepted.map_or(u64::MAX, |accepted| accepted.epoch);
            place.send((handed_in, handed_in.elapsed(), epoch));
        });
    }
    drop(sender);
    let handed_in = per_second(ticks * size, started.elapsed());
    let (logged, durations) = timing.await?;
    let status = engine.status();
    engine.shutdown(Duration::from_secs(60)).await?;
    Ok(json!({
        "events_per_second": handed_in,
        "events_a_batch": size,
        "until_logged": logged.to_json(),
        "until_complete": durations.to_json(),
        "handed_in_late": late.to_json(),
        "checkpoint_seconds": status.checkpoint.map(|checkpoint| round(checkpoint.took.as_secs_f64())),
    }))
}
