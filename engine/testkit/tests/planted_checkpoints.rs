//! Every planted bug of checkpoints is found by interrupted lives, within some cases of fixed seeds.
//!
//! Engines compute on threads of their own, so a bug is planted for the whole process and all are tried in one test.
#![allow(clippy::unwrap_used)]

mod lives;

use std::panic::AssertUnwindSafe;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tidewater_operators::planted::{Bug, plant_everywhere};
use tidewater_testkit::generate::scenario;

use lives::{EPOCHS, End, Happens, happens, live};

/// How many seeds are tried, from 0 on.
const CASES: u64 = 150;

#[test]
fn every_planted_bug_of_checkpoints_is_found() {
    let mut wanted = Bug::OF_CHECKPOINTS.to_vec();
    for seed in 0..CASES {
        if wanted.is_empty() {
            break;
        }
        let (scenario, happens) = (scenario(EPOCHS, 10, seed), story(seed));
        let expected = live(&scenario, &[Happens::Nothing; EPOCHS]);
        assert_eq!(live(&scenario, &happens), expected, "seed {seed} without a bug");
        wanted.retain(|bug| {
            let _planted = plant_everywhere(*bug);
            // A panic counts as found: it would be one in production, too.
            let lived: Option<End> =
                std::panic::catch_unwind(AssertUnwindSafe(|| live(&scenario, &happens))).ok();
            let found = lived.as_ref() != Some(&expected);
            if found {
                println!("{bug:?}: seed {seed}");
            }
            !found
        });
    }
    assert!(wanted.is_empty(), "not found within {CASES} cases: {wanted:?}");
}

/// What happens behind the epochs in the case of a seed.
fn story(seed: u64) -> Vec<Happens> {
    let mut bytes = [1; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    prop::collection::vec(happens(), EPOCHS).new_tree(&mut runner).unwrap().current()
}
