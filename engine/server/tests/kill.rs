//! The real command, killed again and again at random moments: what is left in the end is what one undisturbed run
//! leaves, and no line stands twice.
//!
//! `TIDEWATER_KILLS` sets how many times it is killed, `TIDEWATER_KILL_EVENTS` how many events there are and
//! `TIDEWATER_KILL_SEED` when; the seed is printed.
#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::HashSet, time::Duration};

use common::*;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

/// Random numbers that are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

/// How a life ended.
#[derive(Default, Debug)]
struct Lives {
    killed: u64,
    /// Of those, how many began with a checkpoint.
    from_checkpoint: u64,
    /// And how many were killed before they were ready.
    while_starting: u64,
    ended: bool,
}

#[test]
fn kills_lose_nothing_and_repeat_nothing() {
    let (kills, events) = (number("TIDEWATER_KILLS", 10), number("TIDEWATER_KILL_EVENTS", 300_000));
    let seed = number("TIDEWATER_KILL_SEED", 1);
    println!("seed {seed}");
    let place = Place::with_shop(events);
    let mut random = Random(seed);
    let mut lives = Lives::default();
    while lives.killed < kills && !lives.ended {
        let workers = 1 + random.below(2);
        place.write("tidewater.yaml", &format!("workers: {workers}\n{PIPELINE}"));
        let mut life = place.start(&["run", "--checkpoint-every", "40ms"]);
        let lives_until_ready = random.below(5) > 0;
        let mut checkpoint = false;
        if lives_until_ready {
            let ready = life.until("ready");
            checkpoint = !ready.contains("checkpoint=0 ");
        }
        std::thread::sleep(Duration::from_millis(random.below(250)));
        life.signal("KILL");
        match life.end() {
            (None, _) => {}
            // It was faster.
            (Some(0), _) => {
                lives.ended = true;
                break;
            }
            (Some(code), said) => panic!("it ended by itself with {code}:\n{said}"),
        }
        lives.killed += 1;
        lives.from_checkpoint += u64::from(checkpoint);
        lives.while_starting += u64::from(!lives_until_ready);
    }
    println!("{lives:?}");

    let last = place.run(&["run"]);
    assert_success(&last);
    let deltas = place.read("deltas.ndjson");
    let mut lines = HashSet::new();
    assert!(deltas.lines().all(|line| lines.insert(line)), "a line stands twice");
    assert_eq!(place.folded(), place.memberships());
    let verified = place.run(&["verify"]);
    assert_success(&verified);

    // The undisturbed run: epochs are cut elsewhere, so ids and times may differ, but not who is where.
    let whole = Place::new();
    whole.write("tidewater.yaml", PIPELINE);
    std::fs::copy(place.path("events.ndjson"), whole.path("events.ndjson")).unwrap();
    assert_success(&whole.run(&["run"]));
    let events = |place: &Place| stdout(&place.run(&["export", "events"]));
    assert_eq!(events(&place), events(&whole), "the same events were accepted, each once, in the same order");
    let members = |place: &Place| -> Vec<(serde_json::Value, serde_json::Value)> {
        let row = |row: &serde_json::Value| (row["segment"].clone(), row["identifiers"].clone());
        let mut members: Vec<_> = place.export("memberships").iter().map(row).collect();
        members.sort_by_key(|member| format!("{member:?}"));
        members
    };
    assert_eq!(members(&place), members(&whole));
}
