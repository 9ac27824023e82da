//! The random lives catch each mistake planted in the evaluator.

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::random::{live, tapes};
use crate::planted::{Bug, plant_here};

fn is_caught(bug: Bug) {
    let config = Config { cases: 2_000, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let _planted = plant_here(bug);
    let result = runner.run(&tapes(), |tapes| live(&tapes).map_err(TestCaseError::fail));
    assert!(result.is_err(), "{bug:?} was not caught");
}

#[test]
fn a_late_timer_is_caught() {
    is_caught(Bug::WindowEdgeOffByOne);
}

#[test]
fn a_stale_reference_is_caught() {
    is_caught(Bug::NestedSegmentStale);
}

#[test]
fn a_skipped_threshold_is_caught() {
    is_caught(Bug::ThresholdSkipped);
}

#[test]
fn a_null_that_equals_is_caught() {
    is_caught(Bug::NullComparesEqual);
}
