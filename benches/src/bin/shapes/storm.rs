//! Two clusters of 50,000 identifiers are joined by one event, and the joining link is cut again.

use serde_json::{Value, json};
use tidewater::{ProfileId, RawEvents};
use tidewater_benches::{Failure, figures::Durations, stepper::Stepper};

use super::events::{EVENTS, Made, START_MS, count, expect, fresh};

/// Identifiers of each of the two.
const SIZE: usize = 50_000;
/// How often they are joined and cut.
const ROUNDS: usize = 5;

/// Two stars, and two chains.
pub(crate) fn storm(divide: usize) -> Result<Value, Failure> {
    let size = SIZE / divide;
    let (mut stars, mut chains) = (Made::new("s"), Made::new("c"));
    for side in ["left", "right"] {
        for leaf in 0..size - 1 {
            let (star, device) = (format!("{side}-0"), format!("{side}-{leaf}"));
            stars.add("Product Viewed", START_MS, &device, Some(&star));
            let (device, user) = (format!("{side}-{}", leaf.div_ceil(2)), format!("{side}-{}", leaf / 2));
            chains.add("Product Viewed", START_MS, &device, Some(&user));
        }
    }
    Ok(json!({
        "identifiers": 2 * size,
        "stars": measure(stars.events(), size)?,
        "chains": measure(chains.events(), size)?,
    }))
}

fn measure(events: &RawEvents, size: usize) -> Result<Value, Failure> {
    let mut engine = fresh()?;
    engine.epochs(events, 10_000)?;
    let before = sides(&mut engine)?;
    expect("clusters", engine.cluster_sizes()?, vec![size, size])?;
    expect("the two", (before[0].1.clone(), before[1].1.clone()), (count(size - 1), count(size - 1)))?;
    let (mut joined, mut cut) = (Durations::default(), Durations::default());
    for round in 1..=ROUNDS {
        let mut join = Made::new(["", "j1-", "j2-", "j3-", "j4-", "j5-"][round]);
        // Another link each time: one that was taken back stays so.
        let device = format!("left-{round}");
        join.add("Product Viewed", START_MS, &device, Some("right-0"));
        joined.push(engine.epoch(join.events().iter())?);
        expect("clusters", engine.cluster_sizes()?, vec![2 * size])?;
        let both = sides(&mut engine)?;
        expect("its id", (both[0].0, both[1].0), (before[0].0, before[0].0))?;
        expect("its events", both[1].1.clone(), count(2 * (size - 1) + round))?;

        let (took, _) = engine.unlink(("anon", &device), ("user", "right-0"))?;
        cut.push(took);
        expect("clusters", engine.cluster_sizes()?, vec![size, size])?;
        let after = sides(&mut engine)?;
        expect("their ids", (after[0].0, after[1].0), (before[0].0, before[1].0))?;
        // The joining event stays with the device that owns it.
        expect(
            "events",
            (after[0].1.clone(), after[1].1.clone()),
            (count(size - 1 + round), count(size - 1)),
        )?;
    }
    Ok(json!({ "joined": joined.to_json(), "cut": cut.to_json() }))
}

/// Id and events of the profiles at the two ends.
fn sides(engine: &mut Stepper) -> Result<[(ProfileId, tidewater::Value); 2], Failure> {
    let mut of = |device| -> Result<_, Failure> {
        let mut profile = engine.profile("anon", device)?;
        Ok((profile.id, profile.traits.swap_remove(EVENTS)))
    };
    Ok([of("left-0")?, of("right-0")?])
}
