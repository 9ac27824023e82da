//! Each planted bug of this stage shows in what this stage gives out.

use tidewater_model::{Dedup as Remember, Millis};

use super::*;
use crate::planted::{Bug, plant_here};

#[test]
fn a_duplicate_counts() {
    let mut dedup = Dedup::new(Remember::For(Millis(1_000)));
    let key = MessageKey { id: 1 << 100, content: 7 };
    dedup.restore(WALL, key);
    assert_eq!(dedup.check(WALL, key), Verdict::Duplicate);
    let planted = plant_here(Bug::DuplicateCounted);
    assert_eq!(dedup.check(WALL, key), Verdict::New);
    drop(planted);
    assert_eq!(dedup.check(WALL, key), Verdict::Duplicate);
}

#[test]
fn a_late_event_is_lost() {
    let _planted = plant_here(Bug::LateEventIgnored);
    let mut run = Run::new(spec(), 1);
    for (minutes, kept) in [(0, 1), (60, 2), (61, 2)] {
        let event = format!(r#"{{"type":"track","userId":"u","timestamp":{}}}"#, WALL.0 - minutes * 60_000);
        let scanned = run.scan(event.as_bytes()).unwrap();
        run.decoder.append(scanned, 0, &mut run.batches);
        assert_eq!(run.batches[0].len(), kept);
    }
}

#[test]
fn the_first_in_the_text_owns() {
    let event = r#"{"type":"track","anonymousId":"a","userId":"u"}"#;
    assert_eq!(Run::new(spec(), 1).push(event).unwrap().owner.1, "u");
    let _planted = plant_here(Bug::OwnerByArrival);
    assert_eq!(Run::new(spec(), 1).push(event).unwrap().owner.1, "a");
}

#[test]
fn the_first_of_two_keys_counts() {
    let event = r#"{"type":"track","userId":"u","userId":"v"}"#;
    assert_eq!(Run::new(spec(), 1).push(event).unwrap().owner.1, "v");
    let _planted = plant_here(Bug::DuplicateKeyFirst);
    assert_eq!(Run::new(spec(), 1).push(event).unwrap().owner.1, "u");
}

#[test]
fn numbers_lose_digits() {
    let sum = feature("n", Aggregate::Sum(path("n")), EventFilter::Any, None);
    let spec = PipelineSpec { traits: vec![sum], ..spec() };
    let event = r#"{"type":"track","userId":"u","n":100000000000000000.1}"#;
    let exact = Run::new(spec.clone(), 1).push(event).unwrap().values;
    let _planted = plant_here(Bug::NumberAsFloat);
    assert_ne!(Run::new(spec, 1).push(event).unwrap().values, exact);
}
