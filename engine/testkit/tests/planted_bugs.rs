//! Every planted bug is found by the property harness, within a few cases of fixed seeds.
//!
//! A harness that agrees with everything would pass every other test; this one shows that it does not. Bugs are
//! planted for this thread alone, but for the one that needs an engine with threads of its own; so all of them are
//! tried in one test, one after the other.
#![allow(clippy::unwrap_used)]

use std::{panic::AssertUnwindSafe, time::Duration};

use tidewater::{Engine, Pipeline, pipeline::FixedEnvironment};
use tidewater_operators::planted::{Bug, plant_everywhere, plant_here};
use tidewater_testkit::{
    drive::{Setup, drive},
    generate::{Scenario, scenario},
};

/// How many seeds are tried, from 0 on.
const CASES: u64 = 400;

/// What the engine alone gets wrong is enough: the reference would only cost time.
const SETUP: Setup = Setup { workers: 1, reference: false, probes: 6 };

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let found = match bug {
            Bug::DedupLostOnRestart => after_a_restart(bug),
            _ => (0..CASES).find_map(|seed| found_by(bug, seed).map(|what| (seed, what))),
        };
        match found {
            Some((seed, what)) => {
                println!("{bug:?}: seed {seed}, {}", what.lines().next().unwrap_or_default())
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found within {CASES} cases: {missed:?}");
}

/// What differs when `bug` is planted in the case of `seed`, if anything.
fn found_by(bug: Bug, seed: u64) -> Option<String> {
    let case = scenario(14, 10, seed);
    assert_eq!(run(&case), None, "seed {seed} without a bug");
    let _planted = plant_here(bug);
    run(&case)
}

/// A panic counts as found: it would be one in production, too.
fn run(case: &Scenario) -> Option<String> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| drive(case, &SETUP))) {
        Ok(Ok(_)) => None,
        Ok(Err(difference)) => Some(difference.to_string()),
        Err(_) => Some("a panic".to_owned()),
    }
}

/// The same event before and after a restart counts once; returns (0, what differs).
fn after_a_restart(bug: Bug) -> Option<(u64, String)> {
    assert_eq!(counted_over_a_restart(), 1, "without a bug");
    let _planted = plant_everywhere(bug);
    let counted = counted_over_a_restart();
    (counted != 1).then(|| (0, format!("an event sent before and after a restart counts {counted} times")))
}

fn counted_over_a_restart() -> u64 {
    let pipeline = "
workers: 1
identifiers: { user_id: { from: userId } }
traits: { orders: { count: Order Completed } }
segments: { twice: orders >= 2 }
";
    let pipeline = Pipeline::from_yaml(pipeline, &FixedEnvironment::new()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut counted = 0;
        for _ in 0..2 {
            let engine = Engine::builder(&pipeline).state(directory.path()).start().await.unwrap();
            let order = r#"{"type":"track","event":"Order Completed","messageId":"m1","userId":"u1"}"#;
            counted += engine.ingest(order).await.unwrap().events;
            engine.shutdown(Duration::from_secs(60)).await.unwrap();
        }
        counted
    })
}
