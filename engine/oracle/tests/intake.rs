//! Duplicates, epochs and `now`, as section 2 and 3 of the contract have them.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use tidewater_model::{Aggregate, ClockKind, Dedup, HashKey, Millis, RejectReason, Timestamp};
use tidewater_oracle::{Oracle, Pushed};

fn oracle(pipeline: Pipeline) -> Oracle {
    Oracle::new(pipeline.any("events", Aggregate::Count).build(), HashKey::FIXED)
}

fn push(oracle: &mut Oracle, event: &str, wall: i64) -> Pushed {
    oracle.push(event.as_bytes(), Timestamp(T0 + wall))
}

fn is_accepted(pushed: Pushed) -> bool {
    matches!(pushed, Pushed::Accepted { .. })
}

const CONFLICT: Pushed = Pushed::Rejected(RejectReason::DuplicateConflict);

#[test]
fn a_message_id_accepted_before_is_counted_and_not_logged_again() {
    let mut oracle = oracle(Pipeline::people());
    let event = track("x", 0, r#""userId":"u","messageId":"m""#);
    assert_eq!(push(&mut oracle, &event, 0), Pushed::Accepted { place: 0, time: Timestamp(T0) });
    assert_eq!(push(&mut oracle, &event, 0), Pushed::Duplicate);
    assert_eq!(oracle.duplicates(), 1);
    assert_eq!(oracle.events().count(), 1);
}

#[test]
fn other_content_under_the_same_message_id_is_a_conflict_and_the_first_stands() {
    let mut oracle = oracle(Pipeline::people());
    let event = |rest: &str| track("x", 0, &format!(r#""userId":"u","messageId":"m"{rest}"#));
    assert!(is_accepted(push(&mut oracle, &event(""), 0)));
    assert_eq!(push(&mut oracle, &event(r#","a":1"#), 0), CONFLICT);
    assert_eq!(
        push(&mut oracle, &event(r#","sentAt":1,"receivedAt":2,"_metadata":{"x":1}"#), 0),
        Pushed::Duplicate
    );
    assert_eq!(push(&mut oracle, &event(r#","properties":{"sentAt":1}"#), 0), CONFLICT);
    assert_eq!(oracle.rejected().len(), 2);
    assert_eq!(oracle.events().count(), 1);
}

#[test]
fn the_order_of_the_keys_is_no_content() {
    let mut oracle = oracle(Pipeline::people());
    let first = format!(r#"{{"type":"track","userId":"u","messageId":"m","timestamp":{T0}}}"#);
    let again = format!(r#"{{ "timestamp" : {T0}, "messageId":"m","type":"track","userId":"u"}}"#);
    assert!(is_accepted(push(&mut oracle, &first, 0)));
    assert_eq!(push(&mut oracle, &again, 0), Pushed::Duplicate);
}

#[test]
fn a_missing_message_id_is_derived_from_the_content_if_the_event_has_its_own_time() {
    let mut oracle = oracle(Pipeline::people());
    let timed = track("x", 0, r#""userId":"u""#);
    assert!(is_accepted(push(&mut oracle, &timed, 0)));
    assert_eq!(push(&mut oracle, &timed, 0), Pushed::Duplicate);
    assert!(is_accepted(push(&mut oracle, &track("x", 1, r#""userId":"u""#), 0)));
}

#[test]
fn an_event_with_neither_is_always_new() {
    let mut oracle = oracle(Pipeline::people());
    let event = r#"{"type":"track","userId":"u"}"#;
    assert!(is_accepted(push(&mut oracle, event, 0)));
    assert!(is_accepted(push(&mut oracle, event, 0)));
}

#[test]
fn a_message_id_is_remembered_for_dedup_on_the_wall_clock() {
    let mut oracle = oracle(Pipeline::people());
    let event = track("x", 0, r#""userId":"u","messageId":"m""#);
    assert!(is_accepted(push(&mut oracle, &event, 0)));
    assert_eq!(push(&mut oracle, &event, 7 * DAY), Pushed::Duplicate);
    // The duplicate has not renewed it.
    assert!(is_accepted(push(&mut oracle, &event, 7 * DAY + 1)));
}

#[test]
fn a_message_id_is_remembered_for_dedup_on_the_event_clock() {
    let mut pipeline = Pipeline::people();
    pipeline.spec.clock = ClockKind::Event;
    pipeline.spec.dedup = Dedup::For(Millis(HOUR));
    let mut oracle = oracle(pipeline);
    let event = track("x", 0, r#""userId":"u","messageId":"m""#);
    assert!(is_accepted(push(&mut oracle, &event, 0)));
    assert_eq!(push(&mut oracle, &event, 30 * DAY), Pushed::Duplicate);
    assert!(is_accepted(push(&mut oracle, &track("x", HOUR, r#""userId":"u""#), 30 * DAY)));
    assert_eq!(push(&mut oracle, &event, 30 * DAY), Pushed::Duplicate);
    assert!(is_accepted(push(&mut oracle, &track("x", HOUR + 1, r#""userId":"u""#), 30 * DAY)));
    assert!(is_accepted(push(&mut oracle, &event, 30 * DAY)));
}

#[test]
fn dedup_can_be_forever() {
    let mut pipeline = Pipeline::people();
    pipeline.spec.dedup = Dedup::Forever;
    let mut oracle = oracle(pipeline);
    let event = track("x", 0, r#""userId":"u","messageId":"m""#);
    assert!(is_accepted(push(&mut oracle, &event, 0)));
    assert_eq!(push(&mut oracle, &event, 10_000 * DAY), Pushed::Duplicate);
}

#[test]
fn a_rejected_event_is_not_remembered() {
    let mut oracle = oracle(Pipeline::people());
    let event = track("x", 2 * DAY, r#""userId":"u","messageId":"m""#);
    assert_eq!(push(&mut oracle, &event, 0), Pushed::Rejected(RejectReason::FutureTime));
    assert!(is_accepted(push(&mut oracle, &event, DAY)));
}

#[test]
fn now_is_the_wall_clock_and_never_goes_back() {
    let mut oracle = oracle(Pipeline::people());
    assert_eq!(oracle.seal(Timestamp(T0)), Timestamp(T0));
    assert_eq!(oracle.seal(Timestamp(T0 - 5)), Timestamp(T0));
    assert_eq!(oracle.seal(Timestamp(T0 + 5)), Timestamp(T0 + 5));
}

#[test]
fn under_clock_event_now_is_the_greatest_accepted_event_time() {
    let mut pipeline = Pipeline::people();
    pipeline.spec.clock = ClockKind::Event;
    let mut oracle = oracle(pipeline);
    push(&mut oracle, &track("x", 20, r#""userId":"u""#), 100);
    push(&mut oracle, &track("x", 10, r#""userId":"u""#), 100);
    push(&mut oracle, &track("x", 2 * DAY, r#""userId":"u""#), 100);
    assert_eq!(oracle.seal(Timestamp(T0 + 100)), Timestamp(T0 + 20));
    push(&mut oracle, &track("x", 15, r#""userId":"u""#), 100);
    assert_eq!(oracle.seal(Timestamp(T0 + 100)), Timestamp(T0 + 20));
}

#[test]
fn an_outcome_is_as_of_the_last_sealed_epoch() {
    let mut oracle = oracle(Pipeline::people());
    push(&mut oracle, &track("x", 0, r#""userId":"u""#), 0);
    assert!(oracle.outcome().profiles.is_empty());
    oracle.seal(Timestamp(T0));
    assert_eq!(oracle.outcome().profiles[0].traits, [number("1")]);
    push(&mut oracle, &track("y", 0, r#""userId":"u""#), 0);
    assert_eq!(oracle.outcome().profiles[0].traits, [number("1")]);
    oracle.seal(Timestamp(T0));
    assert_eq!(oracle.outcome().profiles[0].traits, [number("2")]);
}

#[test]
fn a_link_taken_back_splits_the_profile() {
    let mut oracle = oracle(Pipeline::people());
    push(&mut oracle, &track("x", 0, r#""userId":"u","anonymousId":"a""#), 0);
    push(&mut oracle, &track("x", 0, r#""anonymousId":"a""#), 0);
    oracle.seal(Timestamp(T0));
    assert_eq!(oracle.outcome().profiles.len(), 1);
    oracle.unlink((2, "a"), (0, "u"));
    assert_eq!(oracle.outcome().profiles.len(), 2);
}
