//! Section 2 of the contract: what an event is, when it was, and when it can't be used.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use tidewater_model::{Aggregate, ClockKind, Millis, RejectReason, Timestamp};
use tidewater_oracle::{EventInfo, check_event};

fn check(event: &str) -> Result<EventInfo, RejectReason> {
    check_at(&Pipeline::people(), event, T0)
}

fn check_at(pipeline: &Pipeline, event: &str, wall: i64) -> Result<EventInfo, RejectReason> {
    check_event(&pipeline.clone().build(), event.as_bytes(), Timestamp(wall), Timestamp(wall))
}

/// The time that the members `rest` give an event, in milliseconds.
fn time_of(rest: &str) -> Result<i64, RejectReason> {
    check(&format!(r#"{{"type":"track","userId":"u",{rest}}}"#)).map(|info| info.time.0)
}

#[test]
fn type_is_one_of_the_six_kinds() {
    for kind in ["track", "identify", "page", "screen", "group", "alias"] {
        assert!(check(&format!(r#"{{"type":"{kind}","userId":"u"}}"#)).is_ok(), "{kind}");
    }
    for kind in [r#""Track""#, r#""""#, r#""batch""#, "null", "1", "[\"track\"]"] {
        assert_eq!(
            check(&format!(r#"{{"type":{kind},"userId":"u"}}"#)),
            Err(RejectReason::BadType),
            "{kind}"
        );
    }
    assert_eq!(check(r#"{"userId":"u"}"#), Err(RejectReason::BadType));
}

#[test]
fn other_top_level_keys_can_be_reached_by_a_path() {
    let spec = Pipeline::empty().identifier("device", &["device.id"]).build();
    let result = run(&spec, &[track("x", 0, r#""device":{"id":"d1"}"#)], 0);
    assert_eq!(result.clusters(), ["device:d1"]);
}

#[test]
fn ids_may_be_numbers_and_become_strings() {
    let events = [
        track("x", 0, r#""userId":42"#),
        track("x", 0, r#""userId":"42""#),
        track("x", 0, r#""userId":1.50"#),
        track("x", 0, r#""userId":1.5"#),
    ];
    let result = run(&Pipeline::people().build(), &events, 0);
    assert_eq!(result.clusters(), ["user_id:1.5", "user_id:1.50", "user_id:42"]);
}

#[test]
fn page_and_screen_have_a_name_of_their_own_unless_event_is_given() {
    let spec = Pipeline::people()
        .named("pages", Aggregate::Count, "Page Viewed")
        .named("screens", Aggregate::Count, "Screen Viewed")
        .named("homes", Aggregate::Count, "Home")
        .build();
    let event =
        |kind: &str, rest: &str| format!(r#"{{"type":"{kind}","userId":"u","timestamp":{T0}{rest}}}"#);
    let events = [
        event("page", ""),
        event("page", r#","event":null"#),
        event("page", r#","event":"Home""#),
        event("screen", ""),
        event("screen", r#","event":"Home""#),
        event("track", r#","event":"Page Viewed""#),
        event("track", ""),
    ];
    let result = run(&spec, &events, 0);
    assert_eq!(result.value("user_id:u", "pages"), number("3"));
    assert_eq!(result.value("user_id:u", "screens"), number("1"));
    assert_eq!(result.value("user_id:u", "homes"), number("2"));
}

#[test]
fn a_name_matches_track_page_and_screen_and_a_star_everything() {
    let spec = Pipeline::people().named("named", Aggregate::Count, "X").any("all", Aggregate::Count).build();
    let kinds = ["track", "identify", "page", "screen", "group", "alias"];
    let events =
        kinds.map(|kind| format!(r#"{{"type":"{kind}","event":"X","userId":"u","timestamp":{T0}}}"#));
    let result = run(&spec, &events, 0);
    assert_eq!(result.value("user_id:u", "named"), number("3"));
    assert_eq!(result.value("user_id:u", "all"), number("6"));
}

#[test]
fn a_key_that_stands_twice_the_last() {
    let event = r#"{"type":"bad","userId":"a","userId":"b","type":"track"}"#;
    assert!(check(event).is_ok());
    let result = run(&Pipeline::people().build(), &[event.to_owned()], 0);
    assert_eq!(result.clusters(), ["user_id:b"]);
}

#[test]
fn event_time_is_timestamp_else_original_timestamp_else_acceptance() {
    assert_eq!(
        time_of(r#""timestamp":1600000000000,"originalTimestamp":1600000000001"#),
        Ok(1_600_000_000_000)
    );
    assert_eq!(time_of(r#""originalTimestamp":1600000000001"#), Ok(1_600_000_000_001));
    assert_eq!(time_of(r#""timestamp":null,"originalTimestamp":1600000000001"#), Ok(1_600_000_000_001));
    assert_eq!(time_of(r#""sentAt":1600000000001"#), Ok(T0));
    // A bad time is not made good by another one.
    assert_eq!(time_of(r#""timestamp":"","originalTimestamp":1600000000001"#), Err(RejectReason::BadTime));
}

#[test]
fn times_are_rfc_3339_or_epoch_milliseconds_and_finer_is_cut_off() {
    assert_eq!(time_of(r#""timestamp":"2023-11-14T22:13:20Z""#), Ok(T0));
    assert_eq!(time_of(r#""timestamp":"2023-11-14T23:13:20.0019+01:00""#), Ok(T0 + 1));
    assert_eq!(time_of(r#""timestamp":1700000000000"#), Ok(T0));
    let numbers =
        ["1700000000000.999", "1.7e12", "17E+11", "0.00017e16", "170000000000099e-2", "1700000000000.0"];
    for text in numbers {
        assert_eq!(time_of(&format!(r#""timestamp":{text}"#)), Ok(T0), "{text}");
    }
    let bad = [
        r#""2023-11-14T22:13:20""#,
        r#""2023-11-14""#,
        r#""1700000000000""#,
        r#""soon""#,
        "1e40",
        "1e99999999999999999999",
        "99999999999999999999",
        "true",
        "{}",
        "[1700000000000]",
    ];
    for text in bad {
        assert_eq!(time_of(&format!(r#""timestamp":{text}"#)), Err(RejectReason::BadTime), "{text}");
    }
}

#[test]
fn before_min_time_or_after_9999_is_a_bad_time() {
    assert_eq!(time_of(r#""timestamp":946684800000"#), Ok(946_684_800_000));
    assert_eq!(time_of(r#""timestamp":946684799999"#), Err(RejectReason::BadTime));
    assert_eq!(time_of(r#""timestamp":0"#), Err(RejectReason::BadTime));
    let mut pipeline = Pipeline::people();
    pipeline.spec.max_future = Millis(i64::MAX);
    pipeline.spec.min_time = Timestamp(-5);
    let time = |at: i64| {
        check_at(&pipeline, &format!(r#"{{"type":"track","userId":"u","timestamp":{at}}}"#), T0)
            .map(|info| info.time.0)
    };
    assert_eq!(time(253_402_300_799_999), Ok(253_402_300_799_999));
    assert_eq!(time(253_402_300_800_000), Err(RejectReason::BadTime));
    assert_eq!(time(-5), Ok(-5));
    assert_eq!(time(-6), Err(RejectReason::BadTime));
    // One offset takes the last day of the year 9999 beyond it.
    let late = r#"{"type":"track","userId":"u","timestamp":"9999-12-31T23:30:00-01:00"}"#;
    assert_eq!(check_at(&pipeline, late, T0), Err(RejectReason::BadTime));
}

#[test]
fn more_than_max_future_ahead_of_the_wall_clock_is_future_time_under_both_clocks() {
    for clock in [ClockKind::Wall, ClockKind::Event] {
        let mut pipeline = Pipeline::people();
        pipeline.spec.clock = clock;
        let event = |at: i64| check_at(&pipeline, &track("x", at, r#""userId":"u""#), T0);
        assert!(event(DAY).is_ok());
        assert_eq!(event(DAY + 1), Err(RejectReason::FutureTime));
    }
}

#[test]
fn under_clock_event_an_event_without_time_has_no_time() {
    let mut pipeline = Pipeline::people();
    pipeline.spec.clock = ClockKind::Event;
    assert_eq!(check_at(&pipeline, r#"{"type":"track","userId":"u"}"#, T0), Err(RejectReason::NoTime));
    assert!(
        check_at(&pipeline, r#"{"type":"track","userId":"u","originalTimestamp":1700000000000}"#, T0).is_ok()
    );
}

#[test]
fn bad_json_anywhere_in_it_goes_to_quarantine() {
    let deep = format!(r#"{{"type":"track","userId":"u","x":{}{}}}"#, "[".repeat(128), "]".repeat(128));
    let bad = [
        "",
        "[]",
        r#"{"type":"track","userId":"u""#,
        r#"{"type":"track","userId":"u"}{}"#,
        r#"{"type":"track","userId":"u","properties":{"a":[1,2,{"b":tru}]}}"#,
        &deep,
    ];
    for event in bad {
        assert_eq!(check(event), Err(RejectReason::BadJson), "{event}");
    }
    let spec = Pipeline::people().build();
    let invalid = b"{\"type\":\"track\",\"userId\":\"u\",\"x\":\"\xff\"}";
    assert_eq!(check_event(&spec, invalid, Timestamp(T0), Timestamp(T0)), Err(RejectReason::BadJson));
}

#[test]
fn an_event_without_a_usable_identifier_goes_to_quarantine() {
    assert_eq!(check(&track("x", 0, r#""other":1"#)), Err(RejectReason::NoIdentifier));
    assert_eq!(check(&track("x", 0, r#""userId":"null","email":"nobody""#)), Err(RejectReason::NoIdentifier));
}

#[test]
fn of_several_reasons_the_first_is_given() {
    assert_eq!(check(r#"{"type":"x","timestamp":"bad"}"#), Err(RejectReason::BadType));
    assert_eq!(check(r#"{"type":"track","timestamp":"bad"}"#), Err(RejectReason::NoIdentifier));
    assert_eq!(check(r#"{"type":"track","timestamp":"bad","userId":"u"}"#), Err(RejectReason::BadTime));
}

#[test]
fn a_message_id_is_a_string_or_a_number() {
    let id = |text: &str| {
        check(&track("x", 0, &format!(r#""userId":"u","messageId":{text}"#))).unwrap().message_id
    };
    assert_eq!(id(r#""m1""#).as_deref(), Some("m1"));
    assert_eq!(id("7").as_deref(), Some("7"));
    for none in [r#""""#, "null", "true", "[]", "{}"] {
        assert_eq!(id(none), None, "{none}");
    }
}

#[test]
fn events_that_cannot_be_used_stand_in_the_outcome() {
    let events = [track("x", 0, r#""userId":"u""#), "{".to_owned(), track("x", 0, r#""a":1"#)];
    let result = run(&Pipeline::people().build(), &events, 0);
    assert_eq!(result.outcome.unusable, [(1, RejectReason::BadJson), (2, RejectReason::NoIdentifier)]);
    assert_eq!(result.outcome.profiles.len(), 1);
}
