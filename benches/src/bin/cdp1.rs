//! CDP-1 through a whole engine: a file source, all threads, a file sink; the phases are those of the hand-written
//! loop. Nine tenths of the events come from the file as fast as they are taken, in epochs of at most 10,000; then
//! batches of 1,000 and of 10 are handed in one after the other, each when the deltas of the one before are out.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Parser;
use serde_json::{Value, json};
use tidewater::{Engine, RawEvents, Subscription, Update};
use tidewater_benches::{
    Failure,
    figures::{Durations, per_second, round},
    handwritten,
    pipeline::{self, Segments},
    process,
};
use tidewater_connectors::file::{FileSink, FileSinkConfig, FileSource, FileSourceConfig};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs CDP-1 through the engine and prints its figures as JSON.
#[derive(Parser)]
struct Args {
    /// The events, one JSON object a line, in the order of their times.
    input: PathBuf,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Keeps the event log, fsync included, in a new directory inside this one.
    #[arg(long)]
    state: Option<PathBuf>,
    /// So many segments instead of S1 to S5.
    #[arg(long)]
    segments: Option<usize>,
    /// The members that the hand-written loop found; the run fails if others are found here.
    #[arg(long)]
    members: Option<PathBuf>,
    /// Where to keep the part of the input that is read from a file, and the deltas.
    #[arg(long)]
    work: Option<PathBuf>,
}

/// The input, cut as the hand-written loop cuts it.
struct Input {
    /// A file with the first nine tenths.
    load: PathBuf,
    load_events: usize,
    /// The rest.
    rest: Vec<u8>,
    rest_events: usize,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let scratch = tempfile::tempdir()?;
    let work = args.work.clone().unwrap_or_else(|| scratch.path().to_owned());
    fs::create_dir_all(&work)?;
    let input = prepare(&args.input, &work)?;
    let deltas = tempfile::Builder::new().prefix("deltas").tempdir_in(&work)?;
    let state = args.state.as_ref().map(tempfile::tempdir_in).transpose()?;

    let segments = args.segments.map_or(Segments::Five, Segments::Many);
    let pipeline = pipeline::cdp1(segments)?;
    let source = FileSource::new(FileSourceConfig::new(text(&input.load)?));
    let sink = FileSink::new(FileSinkConfig::new(text(&deltas.path().join("deltas.ndjson"))?));
    let mut engine = Engine::builder(&pipeline).workers(args.workers).sink("deltas", sink);
    engine = match &state {
        Some(state) => engine.state(state.path().join("state")),
        None => engine.in_memory(),
    };

    let (started, cpu_before) = (Instant::now(), process::cpu_seconds());
    let engine = engine.source("events", source).start().await?;
    engine.sources_ended().await?;
    engine.flush().await?;
    let load_time = started.elapsed();
    let mut phases = vec![json!({
        "name": "load",
        "events": input.load_events,
        "seconds": round(load_time.as_secs_f64()),
        "events_per_second": per_second(input.load_events, load_time),
        "epochs": engine.status().counts.epochs,
    })];
    let (small, small_time) = small_batches(&engine, &input).await?;
    phases.extend(small);
    let cpu_seconds = process::cpu_seconds() - cpu_before;
    let events = input.load_events + input.rest_events;
    let time = load_time + small_time;

    let mut report = json!({
        "bench": "cdp1",
        "workers": args.workers,
        "log": args.state.is_some(),
        "segments": pipeline.spec().segments.len(),
        "events": events,
        "seconds": round(time.as_secs_f64()),
        "cpu_seconds": round(cpu_seconds),
        "events_per_second": per_second(events, time),
        "phases": phases,
        "peak_bytes": process::peak_bytes(),
        "resident_bytes": process::resident_bytes(),
    });
    describe(&engine, &mut report, events, args.members.as_deref()).await?;
    engine.shutdown(Duration::from_secs(60)).await?;
    println!("{report}");
    Ok(())
}

/// Cuts the input. The file with the first part is kept for the next run, and is on disk before the clock starts, so
/// that writing it back disturbs nothing. Only the rest is held in memory: room that the whole of it took and gave back
/// would be there for the engine to take again, which no engine that reads a file finds.
fn prepare(input: &Path, work: &Path) -> Result<Input, Failure> {
    let mut file = BufReader::new(File::open(input)?);
    let (events, _) = skip_lines(&mut file, usize::MAX)?;
    let load_events = events * 9 / 10;
    file.rewind()?;
    let (_, cut) = skip_lines(&mut file, load_events)?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;

    let load = work.join("load.ndjson");
    if !fs::metadata(&load).is_ok_and(|found| found.len() == cut) {
        let mut kept = File::create(&load)?;
        file.rewind()?;
        io::copy(&mut file.take(cut), &mut kept)?;
        kept.sync_all()?;
    }
    Ok(Input { load, load_events, rest, rest_events: events - load_events })
}

/// Reads past so many lines, or to the end; how many there were, and their bytes.
fn skip_lines(file: &mut impl BufRead, limit: usize) -> io::Result<(usize, u64)> {
    let (mut lines, mut bytes) = (0, 0);
    while lines < limit {
        let skipped = file.skip_until(b'\n')?;
        if skipped == 0 {
            break;
        }
        lines += 1;
        bytes += skipped as u64;
    }
    Ok((lines, bytes))
}

/// Hands in the rest by 1,000 and, its last tenth, by 10; the figures of both phases and the time of both together.
async fn small_batches(engine: &Engine, input: &Input) -> Result<(Vec<Value>, Duration), Failure> {
    let lines: Vec<&[u8]> = input.rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let (thousands, tens) = lines.split_at(lines.len() * 9 / 10);
    let mut updates = engine.subscribe("S1").or_else(|_| engine.subscribe("orders_1"))?;
    let mut phases = Vec::new();
    let mut total = Duration::ZERO;
    for (name, lines, size) in [("by 1,000", thousands, 1_000), ("by 10", tens, 10)] {
        let (mut epochs, started) = (Durations::default(), Instant::now());
        for chunk in lines.chunks(size) {
            let handed_in = Instant::now();
            let accepted = engine.ingest_batch(chunk.iter().collect::<RawEvents>()).await?;
            until_published(&mut updates, accepted.epoch).await?;
            epochs.push(handed_in.elapsed());
        }
        let time = started.elapsed();
        total += time;
        phases.push(json!({
            "name": name,
            "events": lines.len(),
            "seconds": round(time.as_secs_f64()),
            "events_per_second": per_second(lines.len(), time),
            "epoch": epochs.to_json(),
        }));
    }
    let flushing = Instant::now();
    engine.flush().await?;
    Ok((phases, total + flushing.elapsed()))
}

async fn until_published(updates: &mut Subscription, epoch: u64) -> Result<(), Failure> {
    loop {
        match updates.next().await? {
            Some(Update::EpochComplete { epoch: complete, .. }) if complete >= epoch => return Ok(()),
            Some(_) => {}
            None => return Err("the engine stopped".into()),
        }
    }
}

/// Adds what came out, and fails if it is not what the hand-written loop found.
async fn describe(
    engine: &Engine,
    report: &mut Value,
    events: usize,
    expected: Option<&Path>,
) -> Result<(), Failure> {
    let counts = engine.status().counts;
    if counts.events != events as u64 {
        return Err(format!("{} of {events} events were accepted", counts.events).into());
    }
    let stats = engine.stats().await?;
    let names = engine.spec().segments.iter().map(|segment| segment.name.clone());
    let sizes: BTreeMap<String, u64> = names.zip(stats.members).collect();
    report["deltas"] = json!(counts.deltas);
    report["identifiers"] = json!(stats.identifiers);
    report["profiles"] = json!(stats.profiles);
    report["state_bytes"] =
        stats.bytes.iter().map(|(part, bytes)| (part.to_string(), json!(bytes))).collect();
    report["members"] = json!(sizes);
    if let Some(expected) = expected {
        check(engine, expected).await?;
        report["members_match"] = json!(true);
    }
    Ok(())
}

/// Compares all members with those that the hand-written loop found.
async fn check(engine: &Engine, expected: &Path) -> Result<(), Failure> {
    for (segment, clusters) in handwritten::members(expected)? {
        let members = engine.memberships(&segment).await?.members;
        if members.len() != clusters.len() {
            return Err(format!("{segment}: {} members, expected {}", members.len(), clusters.len()).into());
        }
        for cluster in clusters {
            let (identifier, value) = cluster.split_once(':').ok_or("a cluster without a name")?;
            let profile = engine.profile(identifier, value).await?.ok_or("an unknown cluster")?;
            if members.binary_search(&profile.id).is_err() {
                return Err(format!("{segment}: {cluster} is missing").into());
            }
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str, Failure> {
    Ok(path.to_str().ok_or("a path that is no text")?)
}
