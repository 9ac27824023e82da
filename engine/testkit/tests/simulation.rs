//! A whole engine in turns, on a disk that fails, with destinations that misbehave: whatever happens, nothing that was answered
//! is lost, nothing is told that did not happen, and in the end everything is exact.
//!
//! `TIDEWATER_SEEDS` sets how many seeds are tried, `TIDEWATER_SEED` from which one on.
#![allow(clippy::unwrap_used)]

mod sim;

use sim::{Summary, simulate};

/// How many seeds are tried when nobody says.
const SEEDS: u64 = 50;

/// Later seeds that have found something: that a state file which is there was written anew, one that could not be read at the
/// start (781), or any (152, 256).
const KEPT: [u64; 3] = [152, 256, 781];

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("TIDEWATER_SEED").unwrap_or(0);
    first..first + number("TIDEWATER_SEEDS").unwrap_or(SEEDS)
}

/// What was tested, for whoever has to run it again.
fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[test]
fn what_a_seed_has_found_is_not_there_any_more() {
    for seed in KEPT {
        let found = simulate(seed, |run| run());
        assert!(found.is_ok(), "TIDEWATER_SEED={seed}: {:?}", found.err());
    }
}

#[test]
fn whatever_happens_is_exact_in_the_end() {
    let (mut wrong, mut seen) = (Vec::new(), Vec::new());
    for seed in seeds() {
        match simulate(seed, |run| run()) {
            Ok(summary) => seen.push(summary),
            Err(what) => {
                wrong.push(format!("TIDEWATER_SEED={seed} TIDEWATER_SEEDS=1, commit {}: {what}", commit()))
            }
        }
    }
    let sum = |of: fn(&Summary) -> u64| seen.iter().map(of).sum::<u64>();
    println!(
        "{} seeds: {} lives, {} failed starts, {} abrupt ends, {} engines failed; {} calls of the disk failed ({} syncs), \
         {} short writes, {} power cuts within a call; deliveries: {} applied, {} timed out, {} turned away, {} hung, \
         {} deltas again; {} epochs, {} events, {} deltas, {} s of simulated time",
        seen.len(),
        sum(|seen| seen.lives.into()),
        sum(|seen| seen.failed_starts.into()),
        sum(|seen| seen.abrupt_ends.into()),
        sum(|seen| seen.failed_lives.into()),
        sum(|seen| seen.disk.failed),
        sum(|seen| seen.disk.syncs),
        sum(|seen| seen.disk.short),
        sum(|seen| seen.disk.cuts),
        sum(|seen| seen.deliveries.applied),
        sum(|seen| seen.deliveries.timed_out),
        sum(|seen| seen.deliveries.refused),
        sum(|seen| seen.deliveries.hung),
        sum(|seen| seen.deliveries.again),
        sum(|seen| seen.epochs),
        sum(|seen| seen.events),
        sum(|seen| seen.deltas),
        sum(|seen| seen.virtual_ms) / 1_000,
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in [1, 2, 3] {
        let again = || simulate(seed, |run| run()).unwrap();
        assert_eq!(again(), again());
    }
}
