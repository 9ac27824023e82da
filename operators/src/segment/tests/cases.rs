//! Timers and answers that have to be just so, by name.

use std::cell::Cell;

use tidewater_model::{
    Aggregate, Decimal, HashKey, Millis, PipelineSpec, Timestamp, Value, Window,
    expr::{Names, parse_segment},
};

use super::{
    generate::{START, definition, identifier, path, segment},
    world::{Harness, World},
};
use crate::segment::{Evaluation, Evaluator, Scratch, Subject};

const DAY: i64 = 86_400_000;

const ORDERS: usize = 0;
const REVENUE: usize = 1;
const VIEWS: usize = 2;
const SPENT: usize = 3;
const LAST_SEEN: usize = 4;
const PLAN: usize = 5;

/// A shop's traits with these segments, `s0` and so on.
pub(super) fn shop(segments: &[&str]) -> PipelineSpec {
    let week = Some(Window { length: Millis(7 * DAY), resolution: Millis(1) });
    let traits = vec![
        definition("orders", Aggregate::Count, None),
        definition("revenue", Aggregate::Sum(path()), None),
        definition("views_7d", Aggregate::Count, week),
        definition("spent_7d", Aggregate::Sum(path()), week),
        definition("last_seen", Aggregate::LastTime, None),
        definition("plan", Aggregate::Last(path()), None),
    ];
    let identifiers = vec![identifier("email"), identifier("phone")];
    let names = |count: usize| (0..count).map(|index| format!("s{index}")).collect::<Vec<_>>();
    let trait_names: Vec<String> = traits.iter().map(|definition| definition.name.clone()).collect();
    let known = Names {
        identifiers: &["email".to_owned(), "phone".to_owned()],
        traits: &trait_names,
        time_traits: &[false, false, false, false, true, false],
        segments: &names(segments.len()),
    };
    let parsed = segments.iter().enumerate().map(|(index, text)| {
        segment(&format!("s{index}"), parse_segment(text, &known).unwrap_or_else(|error| panic!("{error:?}")))
    });
    PipelineSpec { identifiers, segments: parsed.collect(), traits, ..PipelineSpec::default() }
}

fn harness(segments: &[&str]) -> Harness {
    Harness::new(World::new(shop(segments), START))
}

fn number(value: i64) -> Value {
    Value::Number(Decimal::from_int(value))
}

/// A harness that has seen `count` views, 1 ms apart, the newest at [`START`].
fn viewed(segments: &[&str], count: i64) -> Harness {
    let mut harness = harness(segments);
    (0..count).for_each(|age| harness.world.see(VIEWS, START - age, Value::Null));
    harness
}

#[test]
fn a_windowed_count_is_due_when_the_deciding_event_leaves() {
    // Of six views the fifth newest decides about "at least 5": it is 4 ms old.
    for text in ["views_7d >= 5", "views_7d < 5", "views_7d > 4", "views_7d <= 4.5", "5 > views_7d"] {
        let timer = viewed(&[text], 6).evaluate(false).unwrap();
        assert_eq!(timer, Some(START - 4 + 7 * DAY), "{text}");
    }
    // "Equal 5" changes twice: when the sixth newest leaves and when the fifth does.
    for text in ["views_7d == 5", "views_7d != 5"] {
        let mut harness = viewed(&[text], 8);
        let first = START - 5 + 7 * DAY;
        assert_eq!(harness.evaluate(false).unwrap(), Some(first), "{text}");
        harness.world.now = first;
        assert_eq!(harness.evaluate(false).unwrap(), Some(first + 1), "{text}");
        harness.world.now = first + 1;
        assert_eq!(harness.evaluate(false).unwrap(), None, "{text}");
    }
    for text in ["views_7d >= 7", "views_7d == 2.5", "views_7d >= 0"] {
        assert_eq!(viewed(&[text], 6).evaluate(false).unwrap(), None, "{text}");
    }
}

#[test]
fn the_first_of_all_due_instants_counts() {
    let timer = viewed(&["views_7d >= 2", "views_7d >= 5", "views_7d >= 9"], 6).evaluate(false).unwrap();
    assert_eq!(timer, Some(START - 4 + 7 * DAY));
}

#[test]
fn a_window_that_decides_nothing_has_no_timer() {
    let text = "views_7d >= 5 and orders == 0 or spent_7d > 3 and orders == 0";
    let mut harness = viewed(&[text], 6);
    harness.world.see(SPENT, START, number(5));
    assert_eq!(harness.evaluate(false).unwrap(), Some(START - 4 + 7 * DAY));
    harness.world.see(ORDERS, START, Value::Null);
    assert_eq!(harness.evaluate(false).unwrap(), None);
}

#[test]
fn other_windows_are_due_when_their_oldest_event_leaves() {
    let mut harness = harness(&["spent_7d >= 10", "views_7d > spent_7d"]);
    harness.world.see(SPENT, START - 3, number(1));
    harness.world.see(SPENT, START, number(11));
    assert_eq!(harness.evaluate(false).unwrap(), Some(START - 3 + 7 * DAY));
}

#[test]
fn the_clock_is_due_to_the_millisecond() {
    let due = START + 30 * DAY;
    for (text, wanted) in [
        ("now - last_seen > 30d", due + 1),
        ("now - last_seen >= 30d", due),
        ("last_seen < now - 30d", due + 1),
        ("last_seen + 30d <= now", due),
        ("last_seen - now <= -30d", due),
        ("(now - last_seen) / 1d >= 30", due),
        ("(now - last_seen) * 2 > 60d", due + 1),
        ("now - last_seen == 30d", due),
        ("not (now - last_seen != 30d)", due),
        ("now - last_seen > orders * 1d + 30d", due + 1),
        ("(now - last_seen) + (now - last_seen) > 60d", due + 1),
    ] {
        let mut harness = harness(&[text]);
        assert_eq!(harness.evaluate(false).unwrap(), None, "{text} without an event");
        harness.world.see(LAST_SEEN, START, Value::Null);
        assert_eq!(harness.evaluate(false).unwrap(), Some(wanted), "{text}");
        harness.world.now = wanted;
        harness.evaluate(false).unwrap();
    }
}

#[test]
fn a_clock_that_decides_nothing_has_no_timer() {
    let mut harness = harness(&["now - last_seen > 30d and orders >= 1"]);
    harness.world.see(LAST_SEEN, START, Value::Null);
    assert_eq!(harness.evaluate(false).unwrap(), None);
    harness.world.see(ORDERS, START, Value::Null);
    assert_eq!(harness.evaluate(false).unwrap(), Some(START + 30 * DAY + 1));
}

#[test]
fn nothing_is_due_after_the_year_9999() {
    let mut harness = harness(&["now - last_seen > 30d", "now > last_seen + 1d"]);
    harness.world.now = Timestamp::MAX.0 - 1_000;
    harness.world.see(LAST_SEEN, harness.world.now, Value::Null);
    assert_eq!(harness.evaluate(false).unwrap(), None);
}

#[test]
fn a_sum_beyond_all_readable_numbers_still_compares() {
    let mut harness = harness(&["revenue > 999999999999999999", "revenue < 0", "revenue * 1 > 5"]);
    for _ in 0..3 {
        harness.world.see(REVENUE, START, Value::Number(Decimal::MAX));
    }
    harness.evaluate(false).unwrap();
    assert_eq!(harness.bits, [0b001]);
}

#[test]
fn references_are_followed_in_any_order_of_the_file() {
    let mut harness = harness(&[
        "in_segment(s1) and not in_segment(s3)",
        "in_segment(s4) or in_segment(s2)",
        "orders >= 2",
        "in_segment(s2) and orders >= 3",
        "has(email)",
    ]);
    harness.evaluate(false).unwrap();
    for (orders, wanted) in [(1, 0b00000), (2, 0b00111), (3, 0b01110)] {
        harness.world.see(ORDERS, START, Value::Null);
        harness.evaluate(false).unwrap();
        assert_eq!(harness.bits, [wanted], "{orders} orders");
    }
    harness.world.seen[ORDERS].clear();
    harness.world.identifiers[0].push("a@b".to_owned());
    harness.evaluate(true).unwrap();
    assert_eq!(harness.bits, [0b10011]);
}

/// Counts what is asked.
#[derive(Default)]
struct Asked {
    values: Cell<usize>,
    texts: Cell<usize>,
}

impl Subject for Asked {
    fn has_value(&self, _: usize, _: u128) -> bool {
        self.values.set(self.values.get() + 1);
        false
    }

    fn text(&self, _: u64, _: u32) -> &[u8] {
        self.texts.set(self.texts.get() + 1);
        b"gold"
    }

    fn next_expiry(&self, _: usize) -> Option<i64> {
        None
    }

    fn falls_below(&self, _: usize, _: u64) -> Option<i64> {
        None
    }
}

#[test]
fn only_what_changed_is_asked_again() {
    let segments = ["plan == \"gold\" and orders >= 1", "email == \"a@b\" and orders >= 1", "orders >= 2"];
    let mut world = World::new(shop(&segments), START);
    world.see(PLAN, START, Value::String("gold".into()));
    world.see(ORDERS, START, Value::Null);
    let old = world.words(START);
    world.see(ORDERS, START, Value::Null);
    let new = world.words(START);
    let evaluator = Evaluator::new(&world.spec, &world.layout, HashKey::FIXED);
    let (mut bits, mut scratch, asked) = (vec![0], Scratch::default(), Asked::default());
    let mut evaluate = |old, new, identifiers_changed| {
        let call = Evaluation { old, new, identifiers_changed, now: START };
        evaluator.evaluate(&call, &asked, &mut bits, &mut scratch);
        (asked.texts.take(), asked.values.take())
    };
    assert_eq!(evaluate(None, &old, false), (1, 1));
    assert_eq!(evaluate(Some(&old), &new, false), (0, 0), "orders 1 -> 2 crosses only the third's threshold");
    assert_eq!(evaluate(Some(&new), &new, true), (0, 1));
    assert_eq!(evaluate(Some(&new), &old, false), (0, 0));
}

#[test]
fn a_value_that_passes_through_no_division_is_due_at_once() {
    // Null while it divides by zero, then huge, then below 1.
    let mut harness = harness(&["5d / (now - last_seen) >= 1"]);
    harness.world.see(LAST_SEEN, START, Value::Null);
    assert_eq!(harness.evaluate(false).unwrap(), Some(START + 1));
    harness.world.now = START + 1;
    assert_eq!(harness.evaluate(false).unwrap(), Some(START + 5 * DAY + 1));
    assert_eq!(harness.bits, [1]);
}

#[test]
fn a_timer_is_found_behind_many_segments_that_need_none() {
    let dead = |text: &str| (1..=40).map(|k| format!("{text} {k} and orders == 0")).collect::<Vec<_>>();
    for (read, live) in [("views_7d >=", "views_7d >= 1"), ("spent_7d >=", "spent_7d >= 1")] {
        let mut segments = dead(read);
        segments.push(live.to_owned());
        let mut harness = harness(&segments.iter().map(String::as_str).collect::<Vec<_>>());
        harness.world.see(ORDERS, START, Value::Null);
        for age in 0..50 {
            harness.world.see(VIEWS, START - age, Value::Null);
        }
        harness.world.see(SPENT, START, number(60));
        // It may be early, but each one brings it closer.
        let mut wakes = 0;
        while let Some(timer) = harness.evaluate(false).unwrap() {
            harness.world.now = timer;
            wakes += 1;
        }
        assert!(harness.world.now == START + 7 * DAY && wakes <= 50, "{live}: {wakes} wakes");
        assert_eq!(harness.bits, [0], "{live}");
    }
}

#[test]
fn a_division_that_jumps_is_not_taken_for_a_steady_one() {
    let mut harness = harness(&["5d / (now - last_seen - 50ms) < 1"]);
    harness.world.see(LAST_SEEN, START, Value::Null);
    for wanted in [START + 50, START + 5 * DAY + 51] {
        while harness.world.now < wanted {
            let timer = harness.evaluate(false).unwrap().unwrap();
            assert!(timer <= wanted, "{timer} is after {wanted}");
            harness.world.now = timer;
        }
    }
}

#[test]
fn an_overflow_on_both_sides_of_zero_leaves_room_between() {
    // Out of range but for 9 ms before and after the event, which is dated ahead.
    let mut harness = harness(&["(now - last_seen) * 1000000000000000 <= orders * 1s"]);
    harness.world.see(LAST_SEEN, START + 100, Value::Null);
    assert!(harness.evaluate(false).unwrap().is_some_and(|timer| timer <= START + 91));
}

#[test]
fn a_quotient_of_two_spans_that_grow_is_followed_exactly() {
    let mut harness = harness(&["(now - last_seen) / (now - last_seen) < 1"]);
    harness.world.see(LAST_SEEN, START, Value::Null);
    // 0 / 0 is null, and from then on it is 1.
    assert_eq!(harness.evaluate(false).unwrap(), Some(START + 1));
    harness.world.now = START + 1;
    assert_eq!(harness.evaluate(false).unwrap(), None);

    let mut harness = self::harness(&["(now - last_seen + 1ms) / (now - last_seen + 2d) >= 0.5"]);
    harness.world.see(LAST_SEEN, START, Value::Null);
    assert_eq!(harness.evaluate(false).unwrap(), Some(START + 2 * DAY - 2));
}

#[test]
fn a_time_that_stays_out_of_range_is_not_looked_at_all_the_time() {
    for text in ["now - 800000d > last_seen", "now + 3000000d > last_seen", "now - 800000d - last_seen > 1d"]
    {
        let mut harness = harness(&[text]);
        harness.world.see(LAST_SEEN, START, Value::Null);
        let timer = harness.evaluate(false).unwrap();
        assert!(timer.is_none_or(|timer| timer > START + 1_000 * DAY), "{text}: {timer:?}");
    }
}
