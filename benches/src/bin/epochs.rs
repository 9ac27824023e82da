//! How long one epoch takes after many events, without any thread in between: events in, deltas out.

use std::path::PathBuf;

use clap::Parser;
use serde_json::json;
use tidewater::RawEvents;
use tidewater_benches::{
    Failure,
    figures::{per_second, round},
    pipeline::{self, Segments},
    stepper::Stepper,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Epochs of so many events, after this share of all events (in thousandths).
const PHASES: [(usize, usize); 4] = [(10_000, 900), (1_000, 90), (10, 9), (1, 1)];

/// Feeds CDP-1 epoch by epoch on one thread and prints how long epochs take as JSON.
#[derive(Parser)]
struct Args {
    /// The events, one JSON object a line, in the order of their times.
    input: PathBuf,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let bytes = std::fs::read(&args.input)?;
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut engine = Stepper::new(&pipeline::cdp1(Segments::Five)?)?;
    let mut phases = Vec::new();
    let mut from = 0;
    for (size, share) in PHASES {
        let to = from + lines.len() * share / 1_000;
        let events: RawEvents = lines[from..to].iter().collect();
        let epochs = engine.epochs(&events, size)?;
        let time = std::time::Duration::from_secs_f64(epochs.mean() * epochs.len() as f64 / 1e6);
        phases.push(json!({
            "events_per_epoch": size,
            "events": to - from,
            "events_per_second": per_second(to - from, time),
            "us_per_event": round(epochs.mean() / size as f64),
            "epoch": epochs.to_json(),
        }));
        from = to;
    }
    println!("{}", json!({ "bench": "epochs", "deltas": engine.deltas(), "phases": phases }));
    Ok(())
}
