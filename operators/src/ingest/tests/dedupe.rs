//! The dedup window against a map with times.

use std::collections::HashMap;

use proptest::prelude::*;
use tidewater_model::{Dedup as Remember, Millis};

use super::*;

/// Ids as they come in: hashes. Numbers in a row would not spread over the table's segments as these do.
fn message(number: u64, content: u64) -> MessageKey {
    MessageKey { id: xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes()), content }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Within the window an id is always known, after one and a half never; in between it may be either.
    #[test]
    fn remembers_for_a_window_and_forgets_after_one_and_a_half(
        window in 1..200i64,
        start in -1_000..1_000i64,
        steps in prop::collection::vec((0..30u64, 0..2u64, prop_oneof![5 => 0..20i64, 1 => 0..500i64]), 1..400),
    ) {
        let mut dedup = Dedup::new(Remember::For(Millis(window)));
        let mut accepted: HashMap<u64, (i64, u64)> = HashMap::new();
        let mut now = start;
        for (number, content, step) in steps {
            now += step;
            let key = message(number, content);
            dedup.prefetch(key);
            let verdict = dedup.check(Timestamp(now), key);
            let before = accepted.get(&number).copied();
            match (verdict, before) {
                (Verdict::New, Some((at, _))) => prop_assert!(now - at > window, "forgotten after {} of {}", now - at, window),
                (Verdict::New, None) => {}
                (_, None) => prop_assert!(false, "never seen"),
                (seen, Some((at, first))) => {
                    prop_assert!(now - at <= window * 3 / 2 + 3, "remembered for {} of {}", now - at, window);
                    let expected = if first == content { Verdict::Duplicate } else { Verdict::Conflict };
                    prop_assert_eq!(seen, expected);
                }
            }
            if verdict == Verdict::New {
                accepted.insert(number, (now, content));
            }
        }
    }
}

fn windows() -> impl Strategy<Value = Remember> {
    prop_oneof![6 => (1..200i64).prop_map(|window| Remember::For(Millis(window))), 1 => Just(Remember::Forever)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the old window has not forgotten the new one remembers for its own length, counted from when it was accepted.
    #[test]
    fn another_window_goes_on_with_what_is_known(
        (old, new) in (windows(), windows()),
        start in -1_000..1_000i64,
        steps in prop::collection::vec((0..30u64, 0..20i64), 1..100),
        later in 0..300i64,
    ) {
        let is_within = |window: Remember, passed: i64| match window {
            Remember::For(window) => passed <= window.0,
            Remember::Forever => true,
        };
        let mut before = Dedup::new(old);
        let (mut accepted, mut stored) = (HashMap::new(), Vec::new());
        let mut now = start;
        for (number, step) in steps {
            now += step;
            if before.check(Timestamp(now), message(number, number)) == Verdict::New {
                accepted.insert(number, now);
                stored.push(before.stored(message(number, number)));
            }
        }
        let refile = Refile::new((old, before.current_half()), new, Timestamp(now));
        let mut after = Dedup::new(new);
        after.resume(refile.current_half());
        for (half, entry) in stored {
            if let Some(half) = refile.half(half) {
                after.read(half, Refile::entry(half, entry));
            }
        }
        let then = now + later;
        for number in 0..30 {
            let found = after.clone().check(Timestamp(then), message(number, number));
            let Some(at) = accepted.get(&number) else {
                prop_assert_eq!(found, Verdict::New);
                continue;
            };
            if is_within(old, now - at) && is_within(new, then - at) {
                prop_assert_eq!(found, Verdict::Duplicate, "{} of {:?} after {:?}", then - at, new, old);
                let changed = after.clone().check(Timestamp(then), message(number, number + 1));
                prop_assert_eq!(changed, Verdict::Conflict);
            }
            if let Remember::For(window) = new && then - now > window.0 * 3 / 2 + 3 {
                prop_assert_eq!(found, Verdict::New, "still known {} after the change", then - now);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A replay knows of each message no more than when its epoch ended. What was accepted twice counts from the second time.
    #[test]
    fn a_replay_remembers_each_message_for_at_least_a_window(
        (window, replayed) in (1..200i64, prop_oneof![Just(0), 0..200i64]),
        start in -1_000..1_000i64,
        epochs in prop::collection::vec(
            (prop::collection::vec((0..8u64, 0..2u64, 0..60i64), 1..6), 0..60i64), 1..20,
        ),
        later in 0..300i64,
    ) {
        let replayed = window + replayed;
        let (mut life, mut replay) = (
            Dedup::new(Remember::For(Millis(window))),
            Dedup::new(Remember::For(Millis(replayed))),
        );
        let mut accepted: HashMap<u64, (i64, u64)> = HashMap::new();
        let mut now = start;
        for (events, sealed) in epochs {
            let mut log = Vec::new();
            for (number, content, step) in events {
                now += step;
                if life.check(Timestamp(now), message(number, content)) == Verdict::New {
                    accepted.insert(number, (now, content));
                    log.push(message(number, content));
                }
            }
            now += sealed;
            log.into_iter().for_each(|key| replay.restore(Timestamp(now), key));
        }
        let then = now + later;
        for (number, (at, content)) in accepted {
            if then - at <= replayed {
                let found = replay.clone().check(Timestamp(then), message(number, content));
                prop_assert_eq!(found, Verdict::Duplicate, "{} of {} after it was accepted", then - at, replayed);
            }
        }
    }
}

#[test]
fn forever_is_forever() {
    let mut dedup = Dedup::new(Remember::Forever);
    for number in 0..10_000 {
        assert_eq!(dedup.check(Timestamp(number as i64), message(number, 1)), Verdict::New);
    }
    for number in 0..10_000 {
        assert_eq!(dedup.check(Timestamp::MAX, message(number, 1)), Verdict::Duplicate);
        assert_eq!(dedup.check(Timestamp::MAX, message(number, 2)), Verdict::Conflict);
    }
    assert!(dedup.bytes() < 10_000 * 40);
}

#[test]
fn memory_follows_the_window() {
    let mut dedup = Dedup::new(Remember::For(Millis(1_000)));
    let mut peak = 0;
    for number in 0..200_000u64 {
        dedup.check(Timestamp(number as i64), message(number, number));
        peak = peak.max(dedup.bytes());
    }
    // 2,000 messages at most: those of three halves, and what the fourth has not swept out yet.
    assert!(peak < 2_000 * 40, "{peak} bytes");
    // After a long pause nothing is left, and at once.
    assert_eq!(dedup.check(Timestamp(1 << 40), message(199_999, 199_999)), Verdict::New);
    assert!(dedup.bytes() < 10_000, "{} bytes", dedup.bytes());
}

#[test]
fn extreme_keys_windows_and_times_are_harmless() {
    for window in [Millis(0), Millis(1), Millis(-5), Millis(i64::MAX)] {
        let mut dedup = Dedup::new(Remember::For(window));
        for now in [i64::MIN, -1, 0, i64::MAX] {
            for key in [MessageKey { id: 0, content: 0 }, MessageKey { id: u128::MAX, content: u64::MAX }] {
                dedup.restore(Timestamp(now), key);
                assert_eq!(dedup.check(Timestamp(now), key), Verdict::Duplicate, "{window:?} {now}");
            }
        }
    }
}
