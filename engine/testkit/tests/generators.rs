//! What the generators make is what a person could write: every pipeline is read back from its file, every stream is
//! the same for its seed.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tidewater::{Pipeline, pipeline::FixedEnvironment};
use tidewater_testkit::generate::{Cdp1, cdp1_pipeline, pipelines, scenario, yaml};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn pipelines_are_read_back_from_their_files(spec in pipelines()) {
        let text = yaml(&spec);
        match Pipeline::from_yaml(&text, &FixedEnvironment::new()) {
            Ok(pipeline) => prop_assert_eq!(pipeline.spec(), &spec, "{}", text),
            Err(errors) => prop_assert!(false, "{text}\n{errors}"),
        }
    }
}

#[test]
fn cdp1_is_read_back_from_its_file() {
    let pipeline = Pipeline::from_yaml(&yaml(&cdp1_pipeline()), &FixedEnvironment::new()).unwrap();
    assert_eq!(pipeline.spec(), &cdp1_pipeline());
}

#[test]
fn the_same_seed_gives_the_same_scenario() {
    let text = |seed| format!("{:?}", scenario(10, 10, seed));
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn cdp1_has_the_shape_that_its_figures_are_about() {
    let lines: Vec<String> = Cdp1::new(20_000, 4_000, 7).collect();
    let share = |part: &str| lines.iter().filter(|line| line.contains(part)).count() as f64 / 20_000.0;
    assert!((share("Page Viewed") - 0.70).abs() < 0.02, "{}", share("Page Viewed"));
    assert!((share("Order Completed") - 0.04).abs() < 0.01, "{}", share("Order Completed"));
    assert!((share("userId") - 0.032).abs() < 0.01, "{}", share("userId"));
    assert!((share("\"email\"") - 0.010).abs() < 0.005, "{}", share("\"email\""));
    assert_eq!(lines, Cdp1::new(20_000, 4_000, 7).collect::<Vec<_>>());
    assert_ne!(lines, Cdp1::new(20_000, 4_000, 8).collect::<Vec<_>>());
}
