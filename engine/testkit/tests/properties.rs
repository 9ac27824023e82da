//! Random pipelines over random streams: engine, batch oracle and reference operators agree after every epoch.
//!
//! `TIDEWATER_CASES` sets how many cases each property is tried on.
#![allow(clippy::unwrap_used)]

use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, TestCaseError},
};
use tidewater_testkit::{
    drive::{Setup, Summary, describe, drive, same_in_any_order, same_on_any_workers},
    generate::{Scenario, scenario, scenarios, shapes},
};

/// How many cases a property is tried on: a share of `TIDEWATER_CASES`, or of 200.
fn cases(share: f64) -> u32 {
    let all = std::env::var("TIDEWATER_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200.0);
    (all * share) as u32
}

fn config(share: f64) -> ProptestConfig {
    // Failures are kept beside this file and tried first from then on.
    let kept = FileFailurePersistence::Direct("tests/properties.regressions");
    ProptestConfig {
        cases: cases(share),
        max_shrink_iters: 4_000,
        failure_persistence: Some(Box::new(kept)),
        ..ProptestConfig::default()
    }
}

fn agrees(scenario: &Scenario, setup: &Setup) -> Result<(), TestCaseError> {
    match drive(scenario, setup) {
        Ok(_) => Ok(()),
        Err(difference) => Err(TestCaseError::fail(format!("{}\n{difference}", describe(scenario)))),
    }
}

proptest! {
    #![proptest_config(config(1.0))]

    #[test]
    fn one_worker_agrees_after_every_epoch(scenario in scenarios(14, 10)) {
        agrees(&scenario, &Setup::default())?;
    }
}

proptest! {
    #![proptest_config(config(0.2))]

    #[test]
    fn several_workers_agree_after_every_epoch(scenario in scenarios(14, 10), workers in 2..=4usize) {
        agrees(&scenario, &Setup { workers, reference: false, ..Setup::default() })?;
    }

    /// Clusters of more identifiers than a delta lists, on as many workers.
    #[test]
    fn large_clusters_agree_while_they_grow_and_split(scenario in shapes(260), workers in 1..=3usize) {
        agrees(&scenario, &Setup { workers, reference: false, probes: 0 })?;
    }

    #[test]
    fn any_number_of_workers_gives_the_same_batches(scenario in scenarios(14, 10), workers in 2..=4usize) {
        if let Err(difference) = same_on_any_workers(&scenario, workers) {
            prop_assert!(false, "{}\n{difference}", describe(&scenario));
        }
    }

    #[test]
    fn any_order_gives_the_same_state(scenario in scenarios(10, 10), seed in any::<u64>()) {
        if let Err(difference) = same_in_any_order(&scenario, 6, 3, seed) {
            prop_assert!(false, "{}\n{difference}", describe(&scenario));
        }
    }
}

/// The same cases on every run, so that what is caught here stays caught.
#[test]
fn fixed_seeds_agree_and_see_everything() {
    let mut seen = Summary::default();
    for seed in 0..u64::from(cases(0.5)) {
        let case = scenario(14, 10, seed);
        match drive(&case, &Setup::default()) {
            Ok(summary) => seen += summary,
            Err(difference) => panic!("seed {seed}\n{}\n{difference}", describe(&case)),
        }
    }
    println!("{seen:?}");
    // Streams in which nothing merges, leaves by time or is refused would prove nothing about it.
    let cases = cases(0.5) as usize;
    assert!(seen.accepted >= 10 * cases, "{seen:?}");
    assert!(seen.deltas >= 4 * cases && seen.deltas_by_time * 5 >= cases, "{seen:?}");
    assert!(seen.duplicates * 8 >= cases && seen.refused >= cases && seen.largest_cluster >= 5, "{seen:?}");
}
