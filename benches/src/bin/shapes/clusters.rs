//! One cluster of 100,000 identifiers that comes about in an awkward order.

use serde_json::{Value, json};
use tidewater::RawEvents;
use tidewater_benches::{Failure, clickstream::Random, figures::round, stepper::Stepper};

use super::events::{EVENTS, Made, START_MS, count, expect, fresh, warm};

/// Identifiers of the cluster.
const SIZE: usize = 100_000;
/// Events in an epoch.
const EPOCH: usize = 1_000;

/// A path `a0 - u0 - a1 - u1 ...`: grown from one end; put together at random, where clusters of all sizes meet; and in
/// rounds that join neighbors of equal size.
pub(crate) fn chain(divide: usize) -> Result<Value, Failure> {
    let links: Vec<usize> = (0..SIZE / divide - 1).collect();
    let mut shuffled = links.clone();
    Random::new(1).shuffle(&mut shuffled);
    let mut doubling = links.clone();
    // Link n joins blocks of 2^k where k is how often 2 divides n + 1.
    doubling.sort_by_key(|link| (link + 1).trailing_zeros());
    let mut report = json!({ "identifiers": links.len() + 1 });
    for (order, links) in [("grown", links), ("shuffled", shuffled), ("doubling", doubling)] {
        let mut made = Made::new("c");
        for link in links {
            let (device, user) = (format!("a{}", link.div_ceil(2)), format!("u{}", link / 2));
            made.add("Product Viewed", START_MS, &device, Some(&user));
        }
        report[order] = measure(made.events())?;
    }
    Ok(report)
}

/// One user with all devices, in order; and one device with all users, as a kiosk has.
pub(crate) fn star(divide: usize) -> Result<Value, Failure> {
    let leaves = SIZE / divide - 1;
    let mut report = json!({ "identifiers": leaves + 1 });
    let (mut devices, mut kiosk) = (Made::new("s"), Made::new("s"));
    for leaf in 0..leaves {
        devices.add("Product Viewed", START_MS, &format!("a{leaf}"), Some("hub"));
        kiosk.add("Product Viewed", START_MS, "hub", Some(&format!("u{leaf}")));
    }
    report["user_with_devices"] = measure(devices.events())?;
    report["device_with_users"] = measure(kiosk.events())?;
    Ok(report)
}

/// Feeds the events to an engine that has nothing else, beside as many ordinary ones.
fn measure(events: &RawEvents) -> Result<Value, Failure> {
    let mut engine = fresh()?;
    let shape = engine.epochs(events, EPOCH)?;
    check(&mut engine, events.len())?;
    let (mut ordinary, mut stream) = warm(events.len(), events.len())?;
    let baseline = ordinary.epochs(&stream.next_batch(events.len()), EPOCH)?;
    let per_event = |mean: f64| round(mean / EPOCH as f64);
    Ok(json!({
        "us_per_event": per_event(shape.mean()),
        "ordinary_us_per_event": per_event(baseline.mean()),
        "ratio": round(shape.mean() / baseline.mean()),
        "epoch": shape.to_json(),
    }))
}

/// One cluster with everything, and no event lost.
fn check(engine: &mut Stepper, events: usize) -> Result<(), Failure> {
    expect("clusters", engine.cluster_sizes()?, vec![events + 1])?;
    let device = if engine.profile("anon", "hub").is_ok() { "hub" } else { "a0" };
    expect("events of the profile", engine.profile("anon", device)?.traits[EVENTS].clone(), count(events))
}
