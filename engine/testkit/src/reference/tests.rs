#![allow(clippy::unwrap_used)]

use tidewater_oracle::Oracle;

use super::*;
use crate::generate::{Scenario, scenario};

/// The reference against the oracle after every epoch.
fn check(case: &Scenario) -> Result<(), String> {
    let mut oracle = Oracle::new(case.spec.clone(), HashKey::FIXED);
    let mut reference = Reference::new(&case.spec, HashKey::FIXED);
    let mut wall = crate::generate::START + 5_000;
    let mut logged = 0;
    for (number, epoch) in case.epochs.iter().enumerate() {
        wall += epoch.wait.0;
        for event in &epoch.events {
            oracle.push(event.as_bytes(), Timestamp(wall));
        }
        for ((a, x), (b, y)) in &epoch.unlinks {
            oracle.unlink((*a, x), (*b, y));
        }
        let now = oracle.seal(Timestamp(wall));
        let log: Vec<_> = oracle.events().skip(logged).collect();
        logged += log.len();
        reference.epoch(&log, &epoch.unlinks, now);
        let (expected, found) = (oracle.outcome(), reference.outcome());
        if expected != found {
            return Err(format!("epoch {number}\nexpected {expected:#?}\nfound {found:#?}"));
        }
    }
    Ok(())
}

#[test]
fn agrees_with_the_oracle() {
    for seed in 0..60 {
        let case = scenario(8, 8, seed);
        if let Err(difference) = check(&case) {
            panic!("seed {seed}\n{}\n{:#?}\n{difference}", crate::generate::yaml(&case.spec), case.epochs);
        }
    }
}
