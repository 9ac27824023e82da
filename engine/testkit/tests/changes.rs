//! A pipeline that changes on the way, any number of times: in the end everything is as if the last one had run from the
//! beginning, sinks have been told exactly the difference, and since when who is a member does not depend on checkpoints.
//!
//! `TIDEWATER_CASES` sets how many cases each property is tried on.
#![allow(clippy::unwrap_used)]

mod lives;

use proptest::{collection::vec, prelude::*, test_runner::FileFailurePersistence};
use tidewater::{
    Pipeline,
    pipeline::{Definitions, FixedEnvironment, Segment},
};
use tidewater_testkit::{
    drive::describe,
    generate::{pipelines, scenarios, yaml},
};

use lives::{EPOCHS, Happens, happens, live, live_changing};

fn config() -> ProptestConfig {
    let cases = std::env::var("TIDEWATER_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200.0);
    let kept = FileFailurePersistence::Direct("tests/changes.regressions");
    ProptestConfig {
        // Each case is three lives.
        cases: (cases * 0.1) as u32,
        max_shrink_iters: 400,
        failure_persistence: Some(Box::new(kept)),
        ..ProptestConfig::default()
    }
}

/// What one pipeline differs in from another: each bit decides about one thing.
#[derive(Clone, Copy, Debug)]
struct Choice {
    redefined_traits: u8,
    added_traits: u8,
    turned: usize,
    negated_segments: u8,
    turned_segments: usize,
    with_one_more: bool,
}

fn choices() -> impl Strategy<Value = Choice> {
    // Some changes only move lines.
    let bits = || prop_oneof![1 => Just(0), 2 => any::<u8>()];
    (bits(), bits(), 0..6usize, bits(), 0..6usize, any::<bool>()).prop_map(
        |(redefined_traits, added_traits, turned, negated_segments, turned_segments, with_one_more)| Choice {
            redefined_traits,
            added_traits,
            turned,
            negated_segments,
            turned_segments,
            with_one_more,
        },
    )
}

fn definitions(spec: &tidewater::PipelineSpec) -> Definitions {
    Pipeline::from_yaml(&yaml(spec), &FixedEnvironment::new()).unwrap().definitions()
}

/// Another pipeline with the same identifiers: traits with other definitions, others besides, in another order; segments
/// turned into their opposite, in another order, or one more.
fn other(own: &Definitions, pool: &Definitions, choice: Choice) -> Pipeline {
    let mut changed = own.clone();
    let is_time = |compute: &str| compute.ends_with("_time");
    let has = |bits: u8, at: usize| bits >> (at % 8) & 1 == 1;
    for (at, entry) in
        changed.traits.iter_mut().enumerate().filter(|(at, _)| has(choice.redefined_traits, *at))
    {
        // A segment that compares it with a time must go on doing so.
        let alike = pool.traits.iter().filter(|pooled| is_time(&pooled.compute) == is_time(&entry.compute));
        if let Some(pooled) = alike.cycle().take(8).nth(at) {
            *entry = tidewater::pipeline::Trait { name: entry.name.clone(), ..pooled.clone() };
        }
    }
    for (at, pooled) in pool.traits.iter().enumerate().filter(|(at, _)| has(choice.added_traits, *at)) {
        changed.traits.push(tidewater::pipeline::Trait { name: format!("x{at}"), ..pooled.clone() });
    }
    let turned = choice.turned % changed.traits.len();
    changed.traits.rotate_left(turned);
    for (at, segment) in changed.segments.iter_mut().enumerate() {
        if has(choice.negated_segments, at) {
            segment.condition = format!("not ({})", segment.condition);
        }
    }
    if choice.with_one_more {
        let condition = format!("has({})", changed.identifiers[0].name);
        changed.segments.insert(0, Segment { name: "one_more".to_owned(), condition, description: None });
    }
    let turned = choice.turned_segments % changed.segments.len().max(1);
    changed.segments.rotate_left(turned);
    Pipeline::from_definitions(&changed).unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_changed_pipeline_ends_as_if_it_had_always_been_this_one(
        scenario in scenarios(EPOCHS, 10),
        pool in pipelines(),
        choices in vec(choices(), 1..3),
        mut at in vec(0..EPOCHS, 2),
        happens in vec(happens(), EPOCHS),
    ) {
        let own = definitions(&scenario.spec);
        let pool = definitions(&pool);
        let mut pipelines: Vec<Pipeline> = choices.iter().map(|choice| other(&own, &pool, *choice)).collect();
        pipelines.push(Pipeline::from_definitions(&own).unwrap());
        at.sort_unstable();
        let calm = live_changing(&scenario, &[Happens::Nothing; EPOCHS], &pipelines, &at);
        let found = live_changing(&scenario, &happens, &pipelines, &at);
        let expected = live(&scenario, &[Happens::Nothing; EPOCHS]);
        let told = format!("{}\n{choices:?} {at:?} {happens:?}", describe(&scenario));
        prop_assert_eq!(found.without_since(), expected.without_since(), "{}", &told);
        prop_assert_eq!(found.folded(), found.members(), "{}", &told);
        prop_assert_eq!(found.state(), calm.state(), "{}", &told);
    }
}
