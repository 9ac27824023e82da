//! Every planted bug of durability is found by the simulation within 1,000 seeds.
//!
//! `TIDEWATER_BUG` names the only one that is looked for.
#![allow(clippy::unwrap_used)]

mod sim;

use std::fmt::Debug;

use sim::simulate;
use tidewater_operators::planted::{Bug as StateBug, plant_everywhere};
use tidewater_storage::planted::{Bug, plant};

/// How many seeds are tried, from 0 on.
const SEEDS: u64 = 1_000;

/// Mistakes of restarts that are planted elsewhere, and must show here, too.
const OF_RESTARTS: [StateBug; 5] = [
    StateBug::DedupLostOnRestart,
    StateBug::MessagesNotRestored,
    StateBug::TimersNotRestored,
    StateBug::TailBeginsTooLate,
    StateBug::CheckpointAheadOfSink,
];

#[test]
fn every_planted_bug_of_durability_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        look(bug, &mut missed, |run| {
            let _planted = plant(bug);
            run();
        });
    }
    for bug in OF_RESTARTS {
        look(bug, &mut missed, |run| {
            let _planted = plant_everywhere(bug);
            run();
        });
    }
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
}

/// Looks for a bug, and says with which seed it is found.
fn look(bug: impl Debug, missed: &mut Vec<String>, plant: impl Fn(&mut dyn FnMut())) {
    let name = format!("{bug:?}");
    if std::env::var("TIDEWATER_BUG").is_ok_and(|only| only != name) {
        return;
    }
    match (0..SEEDS).find_map(|seed| Some((seed, simulate(seed, &plant).err()?))) {
        Some((seed, what)) => {
            assert_eq!(simulate(seed, |run| run()).err(), None, "seed {seed} without a bug");
            println!("{name}: seed {seed}, {}", what.lines().next().unwrap_or_default());
        }
        None => missed.push(name),
    }
}
