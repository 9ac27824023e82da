//! The same events with some of them late: 1 % and 10 %, by up to two days.

use serde_json::{Value, json};
use tidewater::RawEvents;
use tidewater_benches::{
    Failure,
    clickstream::{Clickstream, Random},
    figures::spread,
};

use super::events::{expect, fresh};

const EVENTS: usize = 500_000;
/// Runs of each, alternating; the first of them warms up.
const ROUNDS: usize = 4;
/// Of the 30 days that the events take.
const LATEST: usize = 15;

/// Every share of late events ends with the same members as none.
pub(crate) fn late(divide: usize) -> Result<Value, Failure> {
    let events = EVENTS / divide;
    let batches = [0, 1, 10].map(|percent| (percent, delayed(events, percent)));
    let mut rates = [const { Vec::new() }; 3];
    let mut expected = None;
    for round in 0..ROUNDS {
        for ((percent, batch), rates) in batches.iter().zip(&mut rates) {
            let mut engine = fresh()?;
            let epochs = engine.epochs(batch, 10_000)?;
            if round > 0 {
                rates.push(events as f64 / (epochs.mean() * epochs.len() as f64) * 1e6);
                continue;
            }
            let members = engine.members()?;
            let expected = expected.get_or_insert_with(|| members.clone());
            expect(&format!("{percent} % late: members"), &members == expected, true)?;
        }
    }
    let told = batches.iter().zip(&rates).map(|((percent, _), own)| {
        let ratios: Vec<f64> = own.iter().zip(&rates[0]).map(|(own, in_order)| own / in_order).collect();
        json!({ "percent": percent, "events_per_second": spread(own), "ratio_to_in_order": spread(&ratios) })
    });
    Ok(json!({ "events": events, "shares": told.collect::<Vec<_>>() }))
}

/// A clickstream of which some events arrive late.
fn delayed(events: usize, percent: u64) -> RawEvents {
    let mut stream = Clickstream::new(events as u64, events as u64 * 3 / 20, 7);
    let batch = stream.next_batch(events);
    let mut random = Random::new(3);
    let mut arrivals: Vec<(usize, &[u8])> = Vec::with_capacity(events);
    for (place, event) in batch.iter().enumerate() {
        let delay =
            if random.below(100) < percent { random.below((events / LATEST) as u64) as usize } else { 0 };
        arrivals.push((place + delay, event));
    }
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    arrivals.iter().map(|(_, event)| event).collect()
}
