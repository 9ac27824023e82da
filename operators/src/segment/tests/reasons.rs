//! What reasons say.

use tidewater_model::{Decimal, HashKey, Value};

use super::{cases::shop, generate::START, world::World};
use crate::segment::{Cause, Evaluator};

/// The reason for a change of segment `s0` after `happens`.
fn reason(
    segments: &[&str],
    by_time: bool,
    identifiers_changed: bool,
    happens: impl FnOnce(&mut World),
) -> String {
    let mut world = World::new(shop(segments), START);
    world.see(0, START, Value::Null);
    world.see(5, START, Value::String("gold".into()));
    let old = world.words(START);
    happens(&mut world);
    let new = world.words(START);
    let evaluator = Evaluator::new(&world.spec, &world.layout, HashKey::FIXED);
    let mut out = String::new();
    let cause = Cause { old: Some(&old), new: &new, identifiers_changed, by_time };
    evaluator.reason(0, &cause, &world, &mut out);
    out
}

fn order(world: &mut World) {
    world.see(0, START, Value::Null);
    world.see(1, START, Value::Number(Decimal(12_500_000_000)));
}

#[test]
fn names_what_the_segment_reads_and_nothing_else() {
    assert_eq!(reason(&["orders >= 2"], false, false, order), "orders 1 -> 2");
    assert_eq!(
        reason(&["revenue > 5 and orders >= 2"], false, false, order),
        "revenue 0 -> 12.5, orders 1 -> 2"
    );
    assert_eq!(
        reason(&["in_segment(s1)", "in_segment(s2)", "orders >= 2"], false, false, order),
        "orders 1 -> 2",
        "through the segments it refers to"
    );
    assert_eq!(
        reason(&["views_7d < 1"], true, false, |world| world.see(2, START, Value::Null)),
        "views_7d 0 -> 1 (time)"
    );
}

#[test]
fn names_at_most_three() {
    let text =
        "orders >= 2 or revenue > 5 or has(email) or views_7d > 1 or last_seen > \"2020-01-01T00:00:00Z\"";
    let all = |world: &mut World| {
        order(world);
        world.see(2, START, Value::Null);
        world.see(4, START, Value::Null);
        world.identifiers[0].push("a".into());
    };
    let text = reason(&[text], false, true, all);
    assert!(text.ends_with(", …") && text.matches(", ").count() == 3, "{text}");
}

#[test]
fn says_what_became_of_identifiers() {
    let adds = |world: &mut World| world.identifiers[0].push("a".into());
    assert_eq!(reason(&["has(email)"], false, true, adds), "email added");
    assert_eq!(reason(&["has(email)"], false, true, |_| {}), "now");
    assert_eq!(reason(&["email == \"a\""], false, true, adds), "email changed");
}

#[test]
fn cuts_long_strings() {
    let long = "é".repeat(50);
    let text =
        reason(&["has(plan)"], false, false, |world| world.see(5, START + 1, Value::String(long.into())));
    assert_eq!(text, format!("plan \"gold\" -> \"{}…\"", "é".repeat(40)));
}

#[test]
fn without_a_change_it_is_the_clock_or_a_new_profile() {
    assert_eq!(reason(&["now - last_seen > 30d"], true, false, |_| {}), "now (time)");
    let world = World::new(shop(&["orders == 0"]), START);
    let evaluator = Evaluator::new(&world.spec, &world.layout, HashKey::FIXED);
    let new = world.words(START);
    let mut out = String::new();
    let cause = Cause { old: None, new: &new, identifiers_changed: true, by_time: false };
    evaluator.reason(0, &cause, &world, &mut out);
    assert_eq!(out, "new profile");
}
