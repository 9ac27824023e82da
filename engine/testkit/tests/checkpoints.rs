//! Lives that are interrupted, with checkpoints anywhere in them, are the same as one that is not: the same deltas to
//! the letter, the same members since the same time, the same profiles and identities.
//!
//! `TIDEWATER_CASES` sets how many cases each property is tried on.
#![allow(clippy::unwrap_used)]

mod lives;

use proptest::{prelude::*, test_runner::FileFailurePersistence};
use tidewater_testkit::{drive::describe, generate::scenarios};

use lives::{EPOCHS, Happens, happens, live};

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
    ) {
        let expected = live(&scenario, &[Happens::Nothing; EPOCHS]);
        let found = live(&scenario, &happens);
        prop_assert_eq!(&found.lines, &expected.lines, "{}\n{:?}", describe(&scenario), &happens);
        prop_assert_eq!(&found, &expected, "{}\n{:?}", describe(&scenario), &happens);
    }
}
