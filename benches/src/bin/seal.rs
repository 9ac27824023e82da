//! Full log files compressed: how small they get, how fast, and how fast they are read again.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Parser;
use serde_json::json;
use tidewater_benches::{
    Failure,
    figures::{median, round},
};
use tidewater_model::{HashKey, Timestamp};
use tidewater_storage::{EpochEntry, EpochHeader, LogOptions, LogWriter, NewState, StateDir, StateReader};

/// Events of an epoch, as many as one has under load.
const EPOCH: usize = 10_000;

/// How often each log is read.
const RUNS: usize = 5;

/// Measures sealed log files and prints figures as JSON.
#[derive(Parser)]
struct Args {
    /// Events, one JSON object a line.
    input: PathBuf,
    /// Where the state directories go; on a disk, not in memory. Left out: the temporary directory.
    #[arg(long)]
    state: Option<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let parent = args.state.clone().unwrap_or_else(std::env::temp_dir);
    let directory = tempfile::tempdir_in(parent)?;
    let input = std::fs::read(&args.input)?;
    let paths = ["plain", "sealed"].map(|name| directory.path().join(name));
    for path in &paths {
        write_log(path, &input)?;
    }
    let (raw, bytes, seconds) = seal(&paths[1])?;
    let mut reads = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        for (path, reads) in paths.iter().zip(&mut reads) {
            let started = Instant::now();
            let events = read(path, 1)?;
            reads.push(events as f64 / 1e6 / started.elapsed().as_secs_f64());
        }
    }
    let report = json!({
        "bench": "seal",
        "raw_bytes": raw,
        "sealed_bytes": bytes,
        "ratio": round(raw as f64 / bytes as f64),
        "seal_megabytes_per_second": round(raw as f64 / 1e6 / seconds),
        "read_plain_megabytes_per_second": round(median(&reads[0])),
        "read_sealed_megabytes_per_second": round(median(&reads[1])),
    });
    println!("{report}");
    Ok(())
}

fn open(path: &Path) -> Result<StateDir, Failure> {
    let new = NewState { key: HashKey(7), deployment: 7, definitions: Vec::new() };
    Ok(StateDir::open(path, &new)?)
}

/// A log whose files are full, but for a last one with nothing in it.
fn write_log(path: &Path, input: &[u8]) -> Result<(), Failure> {
    let state = open(path)?;
    let (mut log, _) = state.open_log(LogOptions::default())?;
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    for events in lines.chunks(EPOCH) {
        append(&mut log, events)?;
    }
    drop(log);
    let (mut log, _) = state.open_log(LogOptions { file_bytes: 1 })?;
    append(&mut log, &[])
}

fn append(log: &mut LogWriter, events: &[&[u8]]) -> Result<(), Failure> {
    let (epoch, first_place) = (log.next_epoch(), log.next_place());
    let at = Timestamp(i64::try_from(epoch)?);
    let header = EpochHeader { epoch, now: at, accepted_at: at, first_place, positions: Vec::new() };
    log.append_events(&header, events.iter().copied())?;
    Ok(log.sync()?)
}

/// Bytes before and after, and the seconds it took.
fn seal(path: &Path) -> Result<(u64, u64, f64), Failure> {
    let archive = open(path)?.open_log_archive()?;
    let started = Instant::now();
    let (mut raw, mut bytes) = (0, 0);
    for first_epoch in archive.unsealed()? {
        if let Some(file) = archive.seal(first_epoch, &mut || true)? {
            raw += file.raw_bytes;
            bytes += file.bytes;
        }
    }
    Ok((raw, bytes, started.elapsed().as_secs_f64()))
}

/// Bytes of events from an epoch on.
fn read(path: &Path, epoch: u64) -> Result<u64, Failure> {
    let mut log = StateReader::open(path)?.log(epoch)?;
    let (mut entry, mut bytes) = (EpochEntry::default(), 0);
    while log.read(&mut entry)? {
        bytes += entry.events.bytes().len() as u64;
    }
    Ok(bytes)
}
