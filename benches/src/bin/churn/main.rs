//! Memory over a long time: the same people send events at a steady rate, so that whatever grows is what the engine
//! remembers of messages, or a leak.
//!
//! With a short dedup window memory must stay level. With one longer than the run it must grow by what an entry of the
//! dedup window takes, for each event.

mod load;
mod plot;
mod trend;

use std::{
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;
use serde_json::{Map, Value, json};
use tidewater::{
    Engine, Pipeline, Settings,
    pipeline::{Identifier, Trait},
};
use tidewater_benches::{Failure, clickstream::Random, figures::round, process};
use tidewater_connectors::file::{FileSink, FileSinkConfig};
use tidewater_model::ClockKind;

use self::load::{Slow, Steady};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_secs(10);
/// How long the slow sink takes for a delivery.
const SLOW: Duration = Duration::from_millis(250);

/// Runs an engine for a long time, samples its memory, and prints how that has changed as JSON.
#[derive(Parser)]
struct Args {
    /// How long it runs, in seconds.
    #[arg(long, default_value_t = 3_600)]
    seconds: u64,
    /// How much of it does not count, in seconds: until windows and the dedup window are full.
    #[arg(long, default_value_t = 900)]
    warm_up: u64,
    /// Events a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// How many people they are of.
    #[arg(long, default_value_t = 20_000)]
    people: u64,
    /// How long a messageId is remembered.
    #[arg(long, default_value = "10m")]
    dedup: String,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Where state directory and output go, in a new directory; on a disk, not in memory. Left out: the temporary
    /// directory.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Where the samples go, one JSON object a line, as they are taken.
    #[arg(long, default_value = "churn.ndjson")]
    samples: PathBuf,
    /// Runs nothing, but draws the samples of earlier runs into this file.
    #[arg(long, requires = "inputs")]
    plot: Option<PathBuf>,
    /// The samples to draw.
    inputs: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    if let Some(out) = &args.plot {
        return plot::plot(&args.inputs, out);
    }
    let directory = tempfile::tempdir_in(args.state.clone().unwrap_or_else(std::env::temp_dir))?;
    let deltas = directory.path().join("deltas.ndjson").to_string_lossy().into_owned();
    let source = Steady {
        people: args.people,
        per_second: args.rate,
        lasts: Duration::from_secs(args.seconds),
        random: Random::new(7),
    };
    let settings = Settings { checkpoint_every_ms: 10_000, ..Settings::default() };
    let engine = Engine::builder(&pipeline(&args.dedup)?)
        .workers(args.workers)
        .settings(settings)
        .source("steady", source)
        .sink("deltas", FileSink::new(FileSinkConfig::new(deltas)))
        .sink("slow", Slow(SLOW))
        .state(directory.path().join("state"))
        .start()
        .await?;
    engine.ready().await?;
    let samples = sample(&args, &engine).await?;
    engine.sources_ended().await?;
    engine.flush().await?;
    let status = engine.status();
    let mut report = json!({
        "bench": "churn",
        "seconds": args.seconds,
        "rate": args.rate,
        "people": args.people,
        "dedup": args.dedup,
        "workers": args.workers,
        "events": status.counts.events,
        "epochs": status.counts.epochs,
        "deltas": status.counts.deltas,
        "checkpoint_epoch": status.checkpoint.map(|checkpoint| checkpoint.epoch),
        "peak_bytes": process::peak_bytes(),
        "cpu_seconds": round(process::cpu_seconds()),
    });
    let counted: Vec<_> = samples.into_iter().filter(|sample| sample.second >= args.warm_up as f64).collect();
    if let Value::Object(report) = &mut report {
        report.extend(trends(&counted));
    }
    println!("{report}");
    engine.shutdown(Duration::from_secs(60)).await?;
    Ok(())
}

/// Windows of minutes, so that they are full soon after the start, and one that time alone empties.
fn pipeline(dedup: &str) -> Result<Pipeline, Failure> {
    let pipeline = Pipeline::builder()
        .name("churn")
        .clock(ClockKind::Wall)
        .dedup(dedup)
        .identifier(Identifier::from_path("user", "userId"))
        .identifier(Identifier::from_path("anon", "anonymousId"))
        .trait_(Trait::count("events", "*"))
        .trait_(Trait::sum("revenue", "properties.revenue").event("Order Completed"))
        .trait_(Trait::last_time("last_seen", "*"))
        .trait_(Trait::count("views_2m", "Page Viewed").window("2m"))
        .trait_(Trait::sum("spent_5m", "properties.revenue").event("Order Completed").window("5m"))
        .segment("busy", "views_2m >= 14")
        .segment("spender", "spent_5m >= 200")
        .segment("away", "now - last_seen > 20s")
        .build()?;
    Ok(pipeline)
}

/// Looks at memory and counters until the run is over.
async fn sample(args: &Args, engine: &Engine) -> Result<Vec<Point>, Failure> {
    let mut file = std::fs::File::create(&args.samples)?;
    let (started, mut samples) = (Instant::now(), Vec::new());
    while started.elapsed() < Duration::from_secs(args.seconds) {
        tokio::time::sleep(SAMPLE).await;
        let sample = look(engine, started.elapsed()).await?;
        writeln!(file, "{sample}")?;
        // A whole sample takes kilobytes, and this process is what is measured.
        samples.push(Point::of(&sample));
    }
    Ok(samples)
}

async fn look(engine: &Engine, elapsed: Duration) -> Result<Value, Failure> {
    let stats = engine.stats().await?;
    let status = engine.status();
    let parts: Map<String, Value> =
        stats.bytes.iter().map(|(part, bytes)| ((*part).to_owned(), json!(bytes))).collect();
    let sinks: Map<String, Value> = status
        .sinks
        .iter()
        .map(|sink| (sink.name.clone(), json!([sink.queued_epochs, sink.queued_bytes, sink.spilled_bytes])))
        .collect();
    Ok(json!({
        "second": round(elapsed.as_secs_f64()),
        "resident_bytes": process::resident_bytes(),
        "active_bytes": process::active_bytes(),
        "allocated_bytes": process::allocated_bytes(),
        "events": status.counts.events,
        "deltas": status.counts.deltas,
        "epochs": status.counts.epochs,
        "ingest_queue_bytes": status.ingest_queue_bytes,
        "checkpoint_epoch": status.checkpoint.map(|checkpoint| checkpoint.epoch),
        "identifiers": stats.identifiers,
        "profiles": stats.profiles,
        "known_bytes": stats.bytes.iter().map(|(_, bytes)| bytes).sum::<u64>(),
        "parts": parts,
        "sinks": sinks,
    }))
}

/// What is kept of a sample.
#[derive(Clone, Copy, Debug)]
struct Point {
    second: f64,
    events: f64,
    resident: f64,
    active: f64,
    allocated: f64,
    known: f64,
}

impl Point {
    fn of(sample: &Value) -> Self {
        let at = |name: &str| sample[name].as_f64().unwrap_or(0.0);
        Self {
            second: at("second"),
            events: at("events"),
            resident: at("resident_bytes"),
            active: at("active_bytes"),
            allocated: at("allocated_bytes"),
            known: at("known_bytes"),
        }
    }
}

/// How memory went, by time and by event: of the process, and of the parts that the engine knows.
fn trends(samples: &[Point]) -> Map<String, Value> {
    type Bytes = fn(&Point) -> f64;
    let of = |x: Bytes, y: Bytes| {
        let points: Vec<_> = samples.iter().map(|sample| (x(sample), y(sample))).collect();
        trend::line(&points)
    };
    let kinds: [(&str, Bytes); 4] = [
        ("resident", |point| point.resident),
        ("active", |point| point.active),
        ("allocated", |point| point.allocated),
        ("known", |point| point.known),
    ];
    let mut trends = Map::new();
    for (kind, bytes) in kinds {
        let by_second = of(|point| point.second, bytes);
        let mut put = |what: &str, figure: f64| trends.insert(format!("{kind}_{what}"), json!(round(figure)));
        put("mean_bytes", by_second.mean);
        put("percent_per_hour", by_second.slope * 3_600.0 / by_second.mean * 100.0);
        put("bytes_per_event", of(|point| point.events, bytes).slope);
    }
    trends
}
