//! Lives that are interrupted, with checkpoints anywhere in them, are the same as one that is not: the same deltas to
//! the letter, the same members since the same time, the same profiles and identities. Where the pipeline is another one for a
//! while, sinks are told so; the end is the same.
//!
//! `TIDEWATER_CASES` sets how many cases each property is tried on.
#![allow(clippy::unwrap_used)]

mod lives;

use proptest::{prelude::*, test_runner::FileFailurePersistence};
use tidewater_testkit::{
    drive::describe,
    generate::{scenario, scenarios},
};

use lives::{EPOCHS, Happens, happens, happens_with_rebuilds, live, live_with};

fn config() -> ProptestConfig {
    let cases = std::env::var("TIDEWATER_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200.0);
    let kept = FileFailurePersistence::Direct("tests/checkpoints.regressions");
    ProptestConfig {
        cases: (cases * 0.3) as u32,
        max_shrink_iters: 400,
        failure_persistence: Some(Box::new(kept)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn interruptions_change_nothing(
        scenario in scenarios(EPOCHS, 10),
        happens in prop::collection::vec(happens(), EPOCHS),
        log_bytes in prop::sample::select(vec![u64::MAX, u64::MAX, 2_000, 200]),
    ) {
        let expected = live(&scenario, &[Happens::Nothing; EPOCHS]);
        let found = live_with(&scenario, &happens, log_bytes);
        prop_assert_eq!(&found.lines, &expected.lines, "{}\n{:?}", describe(&scenario), &happens);
        prop_assert_eq!(&found, &expected, "{}\n{:?}", describe(&scenario), &happens);
    }

    #[test]
    fn after_rebuilds_and_failures_the_end_is_the_same_and_sinks_know_it(
        scenario in scenarios(EPOCHS, 10),
        happens in prop::collection::vec(happens_with_rebuilds(), EPOCHS),
        log_bytes in prop::sample::select(vec![u64::MAX, 500]),
    ) {
        let expected = live(&scenario, &[Happens::Nothing; EPOCHS]);
        let found = live_with(&scenario, &happens, log_bytes);
        prop_assert_eq!(found.state(), expected.state(), "{}\n{:?}", describe(&scenario), &happens);
        prop_assert_eq!(found.folded(), expected.folded(), "{}\n{:?}", describe(&scenario), &happens);
    }
}

/// With the first half of its events retired a life goes on the same: late events, merges, windows, restarts, and what the
/// batch evaluator makes of the base and the events since.
#[test]
fn a_life_without_the_first_half_of_its_log_goes_on_the_same() {
    let mut retired = 0;
    for seed in 0..40 {
        let scenario = scenario(EPOCHS, 16, seed);
        let expected = live(&scenario, &[Happens::Nothing; EPOCHS]);
        let mut happens = [Happens::Nothing; EPOCHS];
        let half = (scenario.epochs.len() / 2).max(1);
        happens[half - 1] = Happens::Retired;
        if half + 1 < EPOCHS {
            happens[half + 1] =
                if seed % 2 == 0 { Happens::Leave(1 + seed as usize % 3) } else { Happens::Stop(2) };
        }
        let found = live(&scenario, &happens);
        assert_eq!(found, expected, "seed {seed}: {}", describe(&scenario));
        retired += u32::from(found.retired);
    }
    println!("{retired} of 40 lives had events retired");
    assert!(retired >= 20, "{retired} of 40 lives had events retired");
}
