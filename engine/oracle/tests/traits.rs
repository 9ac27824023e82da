//! Section 3 of the contract: traits, windows and numbers.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use tidewater_model::{Aggregate, Value};

const U: &str = "user_id:u";

/// An event "x" of the user at `at` whose `properties.v` is `json`.
fn event(at: i64, json: &str) -> String {
    track("x", at, &format!(r#""userId":"u","properties":{{"v":{json}}}"#))
}

fn v() -> tidewater_model::Path {
    path("properties.v")
}

/// All nine aggregates over the events "x".
fn all() -> Pipeline {
    Pipeline::people()
        .named("count", Aggregate::Count, "x")
        .named("sum", Aggregate::Sum(v()), "x")
        .named("min", Aggregate::Min(v()), "x")
        .named("max", Aggregate::Max(v()), "x")
        .named("avg", Aggregate::Avg(v()), "x")
        .named("first", Aggregate::First(v()), "x")
        .named("last", Aggregate::Last(v()), "x")
        .named("first_time", Aggregate::FirstTime, "x")
        .named("last_time", Aggregate::LastTime, "x")
}

/// The value of one of [`all`] over `events`.
fn value(name: &str, events: &[String]) -> Value {
    run(&all().build(), events, 0).value(U, name)
}

/// `name` over events at the same time whose values are `json`.
fn over(name: &str, json: &[&str]) -> Value {
    let events: Vec<String> = json.iter().map(|json| event(0, json)).collect();
    value(name, &events)
}

#[test]
fn count_and_sum_of_nothing_are_0_everything_else_of_nothing_is_null() {
    let nothing = [track("y", 0, r#""userId":"u""#)];
    for name in ["count", "sum"] {
        assert_eq!(value(name, &nothing), number("0"), "{name}");
    }
    for name in ["min", "max", "avg", "first", "last", "first_time", "last_time"] {
        assert_eq!(value(name, &nothing), Value::Null, "{name}");
    }
}

#[test]
fn traits_are_over_all_accepted_events_of_the_profile_late_ones_too() {
    let events = [
        event(10, "1"),
        track("x", 30, r#""anonymousId":"a","properties":{"v":5}"#),
        track("y", 20, r#""anonymousId":"a","userId":"u""#),
        event(-7 * DAY, "3"),
    ];
    let result = run(&all().build(), &events, 0);
    assert_eq!(result.value(U, "count"), number("3"));
    assert_eq!(result.value(U, "sum"), number("9"));
    assert_eq!(result.value(U, "min"), number("1"));
    assert_eq!(result.value(U, "max"), number("5"));
    assert_eq!(result.value(U, "avg"), number("3"));
    assert_eq!(result.value(U, "first"), number("3"));
    assert_eq!(result.value(U, "last"), number("5"));
    assert_eq!(result.value(U, "first_time"), time(-7 * DAY));
    assert_eq!(result.value(U, "last_time"), time(30));
}

#[test]
fn first_and_last_go_by_event_time_and_skip_null() {
    let events = [
        event(20, r#""b""#),
        event(10, r#""a""#),
        event(0, "null"),
        event(30, "{}"),
        event(40, "[1]"),
        event(50, "1e19"),
        track("x", 60, r#""userId":"u""#),
    ];
    assert_eq!(value("first", &events), string("a"));
    assert_eq!(value("last", &events), string("b"));
}

#[test]
fn ties_go_to_the_greater_of_false_true_numbers_strings() {
    let rising = ["false", "true", "-5", "10", r#""""#, r#""10""#, r#""9""#, r#""a""#, r#""é""#];
    for (at, lesser) in rising.iter().enumerate() {
        for greater in &rising[at + 1..] {
            for name in ["first", "last"] {
                let one = over(name, &[lesser, greater]);
                assert_eq!(one, over(name, &[greater]), "{lesser} {greater}");
                assert_eq!(one, over(name, &[greater, lesser]));
            }
        }
    }
}

#[test]
fn first_and_last_keep_a_string_as_a_string() {
    assert_eq!(over("last", &[r#""12""#]), string("12"));
    assert_eq!(over("last", &["12.0"]), number("12"));
    assert_eq!(over("first", &["true"]), Value::Bool(true));
}

#[test]
fn where_filters_by_the_events_own_fields() {
    let count = |condition: &str, json: &str| {
        let spec = Pipeline::people().named("n", Aggregate::Count, "x").filter(condition).build();
        run(&spec, &[event(0, json)], 0).value(U, "n") == number("1")
    };
    assert!(count("properties.v >= 100", "100"));
    assert!(!count("properties.v >= 100", "99.999999999"));
    assert!(count("properties.v == \"a\"", r#""a""#));
    assert!(!count("properties.v == \"a\"", r#""A""#));
    assert!(count("properties.v == true", "true"));
    assert!(count("has(properties.v)", "false"));
    assert!(!count("has(properties.v)", "null"));
    assert!(count("not has(properties.w)", "1"));
    assert!(count("properties.v * 2 > 5 and event == \"x\"", "3"));
}

#[test]
fn in_where_a_comparison_with_null_or_across_types_is_false() {
    let count = |condition: &str, json: &str| {
        let spec = Pipeline::people().named("n", Aggregate::Count, "x").filter(condition).build();
        run(&spec, &[event(0, json)], 0).value(U, "n") == number("1")
    };
    for json in ["null", "true", "{}", "[5]", "1e19", r#""a""#, r#"" 5""#] {
        assert!(!count("properties.v >= 0", json), "{json}");
        assert!(!count("properties.v != 0", json), "{json}");
        assert!(count("not (properties.v != 0)", json), "{json}");
    }
    // Objects, arrays and numbers that are too large read as null.
    for json in ["{}", "[5]", "1e19"] {
        assert!(!count("has(properties.v)", json), "{json}");
    }
}

#[test]
fn a_condition_and_a_name_both_have_to_match() {
    let spec = Pipeline::people().named("n", Aggregate::Sum(v()), "x").filter("properties.v < 10").build();
    let other = track("y", 0, r#""userId":"u","properties":{"v":2}"#);
    assert_eq!(run(&spec, &[event(0, "3"), event(0, "30"), other], 0).value(U, "n"), number("3"));
}

#[test]
fn an_event_dated_in_the_future_counts_at_once_but_in_a_window_from_its_time_on() {
    let spec = Pipeline::people()
        .any("all", Aggregate::Count)
        .any("recent", Aggregate::Count)
        .window(HOUR, 1)
        .any("last", Aggregate::LastTime)
        .build();
    let events = [event(5 * MINUTE, "1")];
    let at = |now: i64| run(&spec, &events, now);
    assert_eq!(at(0).value(U, "all"), number("1"));
    assert_eq!(at(0).value(U, "last"), time(5 * MINUTE));
    assert_eq!(at(0).value(U, "recent"), number("0"));
    assert_eq!(at(5 * MINUTE - 1).value(U, "recent"), number("0"));
    assert_eq!(at(5 * MINUTE).value(U, "recent"), number("1"));
}

#[test]
fn an_event_is_inside_a_window_until_its_time_rounded_up_plus_the_window_is_now() {
    let inside = |resolution: i64, at: i64, now: i64| {
        let spec = Pipeline::people().any("n", Aggregate::Count).window(HOUR, resolution).build();
        run(&spec, &[event(at, "1")], now).value(U, "n") == number("1")
    };
    // Exact: gone when now - W reaches the event.
    assert!(inside(1, 7, 7));
    assert!(!inside(1, 7, 6));
    assert!(inside(1, 7, 7 + HOUR - 1));
    assert!(!inside(1, 7, 7 + HOUR));
    // T0 is a whole second: 7 ms past it counts as the next second.
    assert!(inside(SECOND, 7, SECOND + HOUR - 1));
    assert!(!inside(SECOND, 7, SECOND + HOUR));
    // A time that is whole already stays.
    assert!(!inside(SECOND, 0, HOUR));
    assert!(inside(SECOND, 0, HOUR - 1));
    // Rounding up never lets an event in early.
    assert!(!inside(SECOND, 7, 6));
    // T0 is 20 s past a whole minute.
    assert!(inside(MINUTE, 0, 40 * SECOND + HOUR - 1));
    assert!(!inside(MINUTE, 0, 40 * SECOND + HOUR));
}

#[test]
fn rounding_up_counts_from_1970_also_before_it() {
    let mut pipeline = Pipeline::people().any("n", Aggregate::Count).window(1_000, 1_000);
    pipeline.spec.min_time = tidewater_model::Timestamp(-1_000_000);
    let spec = pipeline.build();
    let event = r#"{"type":"track","userId":"u","timestamp":-1500}"#.to_owned();
    let inside = |now: i64| run(&spec, std::slice::from_ref(&event), now - T0).value(U, "n") == number("1");
    assert!(inside(-1_500));
    assert!(inside(-1));
    assert!(!inside(0));
}

#[test]
fn every_aggregate_takes_a_window() {
    let mut pipeline = all();
    for spec in &mut pipeline.spec.traits {
        let (length, resolution) = (tidewater_model::Millis(100), tidewater_model::Millis(1));
        spec.window = Some(tidewater_model::Window { length, resolution });
    }
    let events = [event(0, "9"), event(50, "4"), event(80, "2"), event(300, "7")];
    let result = run(&pipeline.build(), &events, 149);
    let expected = [
        ("count", number("2")),
        ("sum", number("6")),
        ("min", number("2")),
        ("max", number("4")),
        ("avg", number("3")),
        ("first", number("4")),
        ("last", number("2")),
        ("first_time", time(50)),
        ("last_time", time(80)),
    ];
    for (name, value) in expected {
        assert_eq!(result.value(U, name), value, "{name}");
    }
}

#[test]
fn numbers_are_exact_decimals_with_9_digits_read_half_to_even() {
    assert_eq!(over("sum", &["0.1", "0.2"]), number("0.3"));
    assert_eq!(over("sum", &["0.0000000005"]), number("0"));
    assert_eq!(over("sum", &["0.0000000015"]), number("0.000000002"));
    assert_eq!(over("sum", &["1e3", "-0.5E+1"]), number("995"));
    assert_eq!(over("max", &["1000000000000000000"]), number("1000000000000000000"));
}

#[test]
fn a_sum_does_not_depend_on_the_order_and_may_exceed_what_one_number_can() {
    let huge = "1000000000000000000";
    let Value::Number(sum) = over("sum", &[huge, "0.000000001", huge]) else { panic!("no number") };
    assert_eq!(sum.0, 2_000_000_000_000_000_000_000_000_001);
    assert_eq!(over("sum", &[huge, "0.000000001", "-1000000000000000000"]), number("0.000000001"));
}

#[test]
fn a_string_that_is_a_json_number_counts_as_one() {
    for name in ["sum", "min", "max", "avg"] {
        assert_eq!(over(name, &[r#""12.50""#]), number("12.5"), "{name}");
    }
    for json in [r#"" 1""#, r#""+1""#, r#""01""#, r#""1,5""#, r#""0x1""#, r#""""#] {
        assert_eq!(over("max", &[json]), Value::Null, "{json}");
    }
}

#[test]
fn anything_else_or_larger_reads_as_null_and_the_event_stays() {
    for json in ["null", "true", "{}", "[1]", "1000000000000000001", "-1e19", "1e400", r#""1e19""#, r#""x""#]
    {
        assert_eq!(over("sum", &[json, "1"]), number("1"), "{json}");
        assert_eq!(over("avg", &[json, "3"]), number("3"), "{json}");
        assert_eq!(over("min", &[json]), Value::Null, "{json}");
        assert_eq!(over("count", &[json]), number("1"), "{json}");
    }
}

#[test]
fn avg_rounds_half_to_even_to_9_digits() {
    assert_eq!(over("avg", &["1", "1", "0"]), number("0.666666667"));
    assert_eq!(over("avg", &["-1", "-1", "0"]), number("-0.666666667"));
    assert_eq!(over("avg", &["0.000000001", "0"]), number("0"));
    assert_eq!(over("avg", &["0.000000003", "0"]), number("0.000000002"));
    assert_eq!(over("avg", &["-0.000000001", "0"]), number("0"));
    assert_eq!(over("avg", &["-0.000000003", "0"]), number("-0.000000002"));
}

#[test]
fn a_path_that_names_nothing_gives_null() {
    let spec = Pipeline::people().any("last", Aggregate::Last(path("a.b"))).build();
    let last =
        |rest: &str| run(&spec, &[track("x", 0, &format!(r#""userId":"u",{rest}"#))], 0).value(U, "last");
    assert_eq!(last(r#""a":{"b":1}"#), number("1"));
    for rest in [r#""a":{"c":1}"#, r#""a":1"#, r#""a":[{"b":1}]"#, r#""a.b":1"#] {
        assert_eq!(last(rest), Value::Null, "{rest}");
    }
}
