//! A tenth of the events twice, all shuffled by up to a thousand places, one in twenty a minute to a week late, one in a
//! thousand unusable: in the end everything is as if they had come in order, once.
#![allow(clippy::unwrap_used)]

use tidewater::testing::{Acceptance, TestEngine};
use tidewater_model::Timestamp;
use tidewater_testkit::{
    drive::{FinalState, final_state},
    generate::{Cdp1, START, cdp1_pipeline},
    random::Random,
};

const SEEDS: u64 = 20;
const EVENTS: u64 = 10_000;
const PEOPLE: u64 = 1_000;
/// How far an event may come from its place.
const SHUFFLE: u64 = 1_000;
/// A week of 30 days, in events.
const WEEK: u64 = EVENTS * 7 / 30;

/// What became of a stream.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    accepted: u64,
    duplicates: u64,
    refused: u64,
}

fn run(events: &[String], random: &mut Random, workers: usize) -> (FinalState, Counts) {
    let mut engine = TestEngine::from_spec(cdp1_pipeline(), workers).unwrap();
    engine.set_wall(Timestamp(START + 40 * 86_400_000));
    let mut counts = Counts::default();
    for event in events {
        match engine.accept(event.as_bytes()) {
            Ok(Acceptance::Accepted) => counts.accepted += 1,
            Ok(Acceptance::Duplicate) => counts.duplicates += 1,
            Err(_) => counts.refused += 1,
        }
        if random.chance(0.002) {
            engine.seal().unwrap();
        }
    }
    engine.seal().unwrap();
    (final_state(&mut engine).unwrap(), counts)
}

/// Events with the places at which they come: mostly about their own, some much later, some a second time.
fn disordered(events: &[String], random: &mut Random) -> (Vec<String>, Counts) {
    let mut arrivals: Vec<(u64, String)> = Vec::new();
    let mut counts = Counts::default();
    for (place, event) in (0..).zip(events) {
        let late = if random.chance(0.05) { random.below(WEEK) } else { 0 };
        arrivals.push((place + late + random.below(SHUFFLE), event.clone()));
        counts.accepted += 1;
        if random.chance(0.1) {
            arrivals.push((place + random.below(2 * SHUFFLE), event.clone()));
            counts.duplicates += 1;
        }
        if random.chance(0.001) {
            // Nobody did it.
            arrivals.push((place, r#"{"type":"track","event":"Page Viewed"}"#.to_owned()));
            counts.refused += 1;
        }
    }
    arrivals.sort_by_key(|(place, _)| *place);
    (arrivals.into_iter().map(|(_, event)| event).collect(), counts)
}

#[test]
fn disorder_changes_nothing_in_the_end() {
    for seed in 0..SEEDS {
        let events: Vec<String> = Cdp1::new(EVENTS, PEOPLE, seed).collect();
        let mut random = Random::new(seed);
        let (arrivals, sent) = disordered(&events, &mut random);
        let (expected, _) = run(&events, &mut random, 1);
        let (found, counts) = run(&arrivals, &mut random, 1 + seed as usize % 2);
        assert_eq!(counts, sent, "seed {seed}");
        assert!(sent.duplicates > 500 && sent.refused > 0, "{sent:?}");
        assert!(found == expected, "seed {seed}: the end differs");
    }
}
