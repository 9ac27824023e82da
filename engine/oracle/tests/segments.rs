//! Section 3 of the contract: segments.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use tidewater_model::Aggregate;

/// A profile with orders = 3, revenue = 120.5, plan = "pro", missing = null, vip = true, last_seen = T0.
fn pipeline() -> Pipeline {
    Pipeline::people()
        .named("orders", Aggregate::Count, "Order Completed")
        .named("revenue", Aggregate::Sum(path("properties.revenue")), "Order Completed")
        .any("plan", Aggregate::Last(path("traits.plan")))
        .any("missing", Aggregate::Last(path("traits.missing")))
        .any("vip", Aggregate::Last(path("traits.vip")))
        .any("last_seen", Aggregate::LastTime)
}

fn events() -> Vec<String> {
    let order = |revenue: &str| {
        track("Order Completed", -DAY, &format!(r#""userId":"u","properties":{{"revenue":{revenue}}}"#))
    };
    vec![
        order("100"),
        order("20"),
        order("0.5"),
        identify(0, r#""userId":"u","email":"e@x.org","traits":{"plan":"pro","vip":true}"#),
        track("Looked", 0, r#""anonymousId":"other""#),
    ]
}

fn is_member_at(predicate: &str, now: i64) -> bool {
    let spec = pipeline().segment("s", predicate).build();
    run(&spec, &events(), now).segments("user_id:u") == ["s"]
}

fn is_member(predicate: &str) -> bool {
    is_member_at(predicate, 0)
}

#[test]
fn comparisons_and_and_or_not() {
    let yes = [
        "orders >= 3",
        "orders == 3 and revenue > 120",
        "orders < 3 or revenue == 120.5",
        "not (orders < 3)",
        "orders != 4",
        "plan == \"pro\"",
        "plan < \"q\"",
        "vip == true",
        "not orders > 3 and orders > 2",
    ];
    let no = [
        "orders > 3",
        "orders >= 3 and revenue > 120.5",
        "plan == \"Pro\"",
        "vip == false",
        "not (orders == 3)",
    ];
    yes.iter().for_each(|text| assert!(is_member(text), "{text}"));
    no.iter().for_each(|text| assert!(!is_member(text), "{text}"));
}

#[test]
fn a_comparison_with_null_or_across_types_is_false_also_not_equal() {
    for text in ["missing == 1", "missing != 1", "missing >= 0", "plan != 1", "vip != 1", "vip == \"true\""] {
        assert!(!is_member(text), "{text}");
        assert!(is_member(&format!("not ({text})")), "{text}");
    }
    assert!(!is_member("missing == missing"));
}

#[test]
fn arithmetic_with_null_is_null() {
    assert!(!is_member("missing + 1 >= 0"));
    assert!(is_member("not (missing + 1 >= 0)"));
    assert!(is_member("revenue / orders > 40"));
    assert!(is_member("revenue - 100 * 1.2 == 0.5"));
    assert!(!is_member("orders / (orders - 3) != 0"));
}

#[test]
fn has_an_identifier_is_one_or_more_values() {
    assert!(is_member("has(email) and has(user_id)"));
    assert!(!is_member("has(anonymous_id)"));
}

#[test]
fn has_a_trait_is_not_null() {
    assert!(is_member("has(plan) and has(vip) and has(orders) and has(last_seen)"));
    assert!(!is_member("has(missing)"));
}

#[test]
fn an_identifier_equals_any_of_its_values() {
    assert!(is_member("email == \"e@x.org\""));
    assert!(!is_member("email == \"E@x.org\""));
    assert!(!is_member("anonymous_id == \"other\""));
    let spec = pipeline().segment("s", "email == \"f@x.org\"").build();
    let events = [identify(0, r#""userId":"u","email":["e@x.org","f@x.org"]"#)];
    assert_eq!(run(&spec, &events, 0).segments("user_id:u"), ["s"]);
}

#[test]
fn time_alone_moves_members() {
    let lapsed = "now - last_seen > 30d";
    assert!(!is_member_at(lapsed, 30 * DAY));
    assert!(is_member_at(lapsed, 30 * DAY + 1));
    let fresh =
        Pipeline::people().any("n", Aggregate::Count).window(DAY, 1).segment("fresh", "n >= 1").build();
    assert_eq!(run(&fresh, &events(), DAY - 1).segments("user_id:u"), ["fresh"]);
    assert_eq!(run(&fresh, &events(), DAY).segments("user_id:u"), [""; 0]);
}

#[test]
fn segments_may_ask_for_segments_in_any_order() {
    let spec = pipeline()
        .segment("top", "in_segment(loyal) and not in_segment(poor)")
        .segment("poor", "in_segment(loyal) and revenue < 100")
        .segment("loyal", "orders >= 3")
        .build();
    let result = run(&spec, &events(), 0);
    assert_eq!(result.segments("user_id:u"), ["top", "loyal"]);
    assert_eq!(result.segments("anonymous_id:other"), [""; 0]);
}

#[test]
fn memberships_are_sorted_by_the_segments_name_and_the_profile() {
    let spec = pipeline().segment("z", "orders >= 0").segment("a", "orders >= 0").build();
    let result = run(&spec, &events(), 0);
    let mut ids = [result.id("user_id:u"), result.id("anonymous_id:other")];
    ids.sort();
    assert_eq!(result.outcome.memberships, [(1, ids[0]), (1, ids[1]), (0, ids[0]), (0, ids[1])]);
}
