//! Results are a function of the accepted events and `now` alone: not of the order of arrival, the epoch cuts or the
//! number of workers. And deltas are a function of the log: the same log gives the same batches.

use std::collections::{BTreeMap, BTreeSet};

use tidewater::testing::{Acceptance, TestEngine};
use tidewater_model::{Dedup, DeltaBatch, HashKey, PipelineSpec, ProfileId, Timestamp, Value};
use tidewater_oracle::{Oracle, Pushed};

use super::Difference;
use crate::{
    generate::{START, Scenario, Unlink},
    random::Random,
};

/// The traits and the segments of one profile.
type Answers = (Vec<Value>, Vec<usize>);

/// What is the same in any order of arrival: everything but the ids of profiles, which go by place in the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FinalState {
    /// The members of every cluster, each as (identifier, value).
    pub clusters: BTreeSet<Vec<(usize, String)>>,
    /// By identifiers: traits and segments of every profile.
    pub profiles: BTreeMap<Vec<Vec<String>>, Answers>,
}

/// The state of an engine, without the ids.
///
/// # Errors
/// If the engine has failed.
pub fn final_state(engine: &mut TestEngine) -> Result<FinalState, tidewater::Error> {
    let mut clusters: BTreeMap<ProfileId, Vec<(usize, String)>> = BTreeMap::new();
    for identity in engine.identities()? {
        clusters.entry(identity.profile).or_default().push((identity.identifier, identity.value));
    }
    let profiles = engine.profiles()?.into_iter();
    let profiles =
        profiles.map(|profile| (profile.identifiers, (profile.traits, profile.segments))).collect();
    Ok(FinalState { clusters: clusters.into_values().collect(), profiles })
}

/// Runs the accepted events of a scenario in `orders` orders of chance, with other cuts and up to `workers` workers,
/// and compares the final states.
///
/// # Errors
/// The first difference.
pub fn same_in_any_order(
    scenario: &Scenario,
    orders: u64,
    workers: usize,
    seed: u64,
) -> Result<(), Difference> {
    let failed = |error: tidewater::Error| Difference { epoch: 0, what: error.to_string() };
    let (spec, mut events, wall) = orderless(scenario);
    let unlinks: Vec<&Unlink> = scenario.epochs.iter().flat_map(|epoch| &epoch.unlinks).collect();
    let mut random = Random::new(seed);
    let mut expected: Option<FinalState> = None;
    for order in 0..orders {
        let workers = 1 + order as usize % workers;
        let mut engine = TestEngine::from_spec(spec.clone(), workers).map_err(failed)?;
        engine.set_wall(wall);
        for event in &events {
            let decided = engine.accept(event.as_bytes());
            if decided != Ok(Acceptance::Accepted) {
                return Err(Difference { epoch: 0, what: format!("{decided:?} in another order: {event}") });
            }
            if random.chance(0.2) {
                engine.seal().map_err(failed)?;
            }
        }
        for ((a, x), (b, y)) in &unlinks {
            let (a, b) = (&spec.identifiers[*a].name, &spec.identifiers[*b].name);
            engine.unlink((a, x), (b, y)).map_err(failed)?;
        }
        let epoch = engine.seal().map_err(failed)?.epoch();
        let state = final_state(&mut engine).map_err(failed)?;
        match &expected {
            None => expected = Some(state),
            Some(expected) if *expected != state => {
                let what = format!(
                    "order {order} on {workers} workers\nevents {events:#?}\nexpected {expected:#?}\nfound {state:#?}"
                );
                return Err(Difference { epoch, what });
            }
            Some(_) => {}
        }
        random.shuffle(&mut events);
    }
    Ok(())
}

/// The events of a scenario that are accepted whatever their order is, and a wall clock at which they are.
fn orderless(scenario: &Scenario) -> (PipelineSpec, Vec<String>, Timestamp) {
    let waits: i64 = scenario.epochs.iter().map(|epoch| epoch.wait.0).sum();
    let wall = Timestamp(START + 5_000 + waits);
    // Two events with one messageId would stand for each other: with all of them remembered, the first of each stays.
    let spec = PipelineSpec { dedup: Dedup::Forever, ..scenario.spec.clone() };
    let mut oracle = Oracle::new(spec.clone(), HashKey::FIXED);
    let mut is_accepted =
        |event: &&String| matches!(oracle.push(event.as_bytes(), wall), Pushed::Accepted { .. });
    let all = scenario.epochs.iter().flat_map(|epoch| &epoch.events);
    let events = all.filter(&mut is_accepted).cloned().collect();
    (spec, events, wall)
}

/// Runs a scenario on 1 and on `workers` workers: every batch must be the same, reasons included.
///
/// # Errors
/// The first epoch whose batches differ.
pub fn same_on_any_workers(scenario: &Scenario, workers: usize) -> Result<(), Difference> {
    let failed = |error: tidewater::Error| Difference { epoch: 0, what: error.to_string() };
    let one = batches(scenario, 1).map_err(failed)?;
    let many = batches(scenario, workers).map_err(failed)?;
    for (one, many) in one.iter().zip(&many) {
        let [one_row, many_row] = [one, many].map(rows);
        if one_row != many_row {
            let what = format!("deltas on 1 worker {one_row:#?}\non {workers} workers {many_row:#?}");
            return Err(Difference { epoch: one.epoch(), what });
        }
    }
    Ok(())
}

fn batches(scenario: &Scenario, workers: usize) -> Result<Vec<DeltaBatch>, tidewater::Error> {
    let mut engine = TestEngine::from_spec(scenario.spec.clone(), workers)?;
    let mut wall = START + 5_000;
    let mut batches = Vec::new();
    for epoch in &scenario.epochs {
        wall += epoch.wait.0;
        engine.set_wall(Timestamp(wall));
        for event in &epoch.events {
            // Refused ones are refused on any number of workers: that is decided before.
            let _ = engine.accept(event.as_bytes());
        }
        for ((a, x), (b, y)) in &epoch.unlinks {
            let name = |index: &usize| scenario.spec.identifiers[*index].name.as_str();
            engine.unlink((name(a), x), (name(b), y))?;
        }
        batches.push(engine.seal()?);
    }
    Ok(batches)
}

/// A batch as lines, as the file sink writes them.
fn rows(batch: &DeltaBatch) -> Vec<String> {
    let line = |delta| {
        let mut line = Vec::new();
        tidewater_connector_api::json::write_delta(&mut line, batch.epoch(), batch.now(), &delta);
        String::from_utf8_lossy(&line).into_owned()
    };
    batch.iter().map(line).collect()
}
