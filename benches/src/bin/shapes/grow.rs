//! One cluster grows to 100,000 identifiers while others go on; what it costs, and what the others notice.

use serde_json::{Value, json};
use tidewater::RawEvents;
use tidewater_benches::{
    Failure,
    clickstream::Clickstream,
    figures::{Durations, round},
    stepper::Stepper,
};

use super::events::{EVENTS, Made, START_MS, count, expect, warm};

/// Identifiers that the cluster grows to.
const SIZE: usize = 100_000;
/// Ordinary events before anything is measured.
const WARM: usize = 200_000;
/// So many growing epochs to one ordinary one.
const BETWEEN: usize = 5;

/// One event an epoch, where every step is a merge with the big cluster; and 1,000 an epoch.
pub(crate) fn grow(divide: usize) -> Result<Value, Failure> {
    let size = SIZE / divide;
    Ok(json!({
        "identifiers": size,
        "one_event_an_epoch": measure(size, WARM / divide, 1)?,
        "1000_events_an_epoch": measure(size, WARM / divide, 1_000)?,
    }))
}

fn measure(size: usize, warmed: usize, epoch: usize) -> Result<Value, Failure> {
    let others = (size / BETWEEN).div_ceil(epoch) * epoch;
    let (mut engine, mut stream) = warm(warmed, 2 * others)?;
    let baseline = engine.epochs(&stream.next_batch(others), epoch)?;
    let mut made = Made::new("g");
    for device in 0..size - 1 {
        // Dated as the present, so that time stands still.
        made.add("Product Viewed", START_MS, &format!("g{device}"), Some("growing"));
    }
    let (growing, beside) = alternate(&mut engine, made.events(), &mut stream, epoch)?;
    let profile = engine.profile("user", "growing")?;
    expect("identifiers", profile.identifiers.iter().map(Vec::len).sum(), size)?;
    expect("events", profile.traits[EVENTS].clone(), count(size - 1))?;
    let per_event = |durations: &Durations| round(durations.mean() / epoch as f64);
    Ok(json!({
        "us_per_event": per_event(&growing),
        "ordinary_us_per_event": per_event(&baseline),
        "ratio": round(growing.mean() / baseline.mean()),
        "growing": growing.to_json(),
        "others_before": baseline.to_json(),
        "others_meanwhile": beside.to_json(),
        "others_p99_ratio": round(beside.percentile(0.99) / baseline.percentile(0.99)),
    }))
}

/// Feeds growing and ordinary epochs in turn.
fn alternate(
    engine: &mut Stepper,
    growing: &RawEvents,
    others: &mut Clickstream,
    epoch: usize,
) -> Result<(Durations, Durations), Failure> {
    let (mut grown, mut beside) = (Durations::default(), Durations::default());
    let events: Vec<&[u8]> = growing.iter().collect();
    for (number, chunk) in events.chunks(epoch).enumerate() {
        grown.push(engine.epoch(chunk.iter().copied())?);
        if number % BETWEEN == BETWEEN - 1 {
            beside.push(engine.epoch(others.next_batch(epoch).iter())?);
        }
    }
    Ok((grown, beside))
}
