//! "Clusters, traits and memberships are a pure function of (pipeline file, accepted events, now), whatever the
//! arrival order": over random events, duplicates, late events and aliases among them.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use common::*;
use proptest::prelude::*;
use tidewater_model::{Aggregate, Decimal, HashKey, PipelineSpec, ProfileId, Timestamp, Value};
use tidewater_oracle::{Event, Oracle, Outcome, Pushed, Unlinked, evaluate, evaluate_with};

fn spec() -> PipelineSpec {
    let value = || path("properties.v");
    Pipeline::people()
        .any("events", Aggregate::Count)
        .named("sum", Aggregate::Sum(value()), "x")
        .named("avg", Aggregate::Avg(value()), "x")
        .filter("properties.v > 1")
        .named("max", Aggregate::Max(value()), "x")
        .any("min_2h", Aggregate::Min(value()))
        .window(2 * HOUR, MINUTE)
        .any("first", Aggregate::First(value()))
        .any("last", Aggregate::Last(value()))
        .any("first_time", Aggregate::FirstTime)
        .any("last_time_1h", Aggregate::LastTime)
        .window(HOUR, SECOND)
        .named("x_1h", Aggregate::Count, "x")
        .window(HOUR, 1)
        .segment("busy", "events >= 4 and not in_segment(rich)")
        .segment("rich", "sum > 3 or max >= 2.5")
        .segment("mailed", "has(email) and x_1h >= 1")
        .segment("gone", "now - last_time_1h > 10m or not has(last_time_1h)")
        .build()
}

/// One event; the pools are small, so that everything meets everything.
fn event() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec!["track", "track", "track", "identify", "page", "alias"]);
    let id = |name: &'static str, values: &'static [&'static str]| {
        prop::option::weighted(0.5, prop::sample::select(values))
            .prop_map(move |value| value.map_or(String::new(), |value| format!(r#","{name}":{value}"#)))
    };
    let user = id("userId", &[r#""1""#, "1", "2", r#"["3","4"]"#, "5", r#""null""#]);
    let email = id("email", &[r#""A@x""#, r#""a@x ""#, r#""b@x""#, r#""c@x""#, r#""no""#]);
    let anonymous = id("anonymousId", &[r#""a""#, r#""b""#, r#""c""#, r#""2""#, r#""d""#, r#""e""#]);
    let previous = id("previousId", &[r#""1""#, r#""2""#, r#""7""#, r#""a""#]);
    let value =
        prop::sample::select(vec!["0.1", "1", "2.5", r#""2.5""#, "null", "true", r#""s""#, "-3", "{}"]);
    // Few times, so that ties are frequent; some late, some in the future.
    let time = (-9..3i64).prop_map(|step| T0 + step * 17 * MINUTE + step % 3);
    let name = prop::sample::select(vec!["x", "y"]);
    (kind, user, email, anonymous, previous, value, time, name).prop_map(
        |(kind, user, email, anonymous, previous, value, time, name)| {
            let ids = format!("{user}{email}{anonymous}{previous}");
            let rest = format!(r#""event":"{name}","timestamp":{time},"properties":{{"v":{value}}}"#);
            format!(r#"{{"type":"{kind}",{rest}{ids}}}"#)
        },
    )
}

/// Links between identifiers of the pools, taken back.
fn unlinked() -> impl Strategy<Value = Unlinked> {
    let id = prop::sample::select(vec![(0, "1"), (0, "2"), (1, "a@x"), (1, "b@x"), (2, "a"), (2, "2")]);
    prop::collection::vec((id.clone(), id), 0..5).prop_map(|pairs| {
        let mut unlinked = Unlinked::default();
        pairs.into_iter().for_each(|(a, b)| unlinked.insert(a, b));
        unlinked
    })
}

fn log(events: &[String]) -> Vec<Event<'_>> {
    (0..)
        .zip(events)
        .map(|(place, event)| Event { place, accepted_at: Timestamp(T0), bytes: event.as_bytes() })
        .collect()
}

type Members = BTreeSet<(usize, String)>;
type TraitsAndSegments = (Vec<Value>, Vec<usize>);

/// What an outcome says when nobody looks at profile ids: clusters, each with its traits and segments if it is a
/// profile.
fn without_ids(outcome: &Outcome) -> BTreeMap<Members, Option<TraitsAndSegments>> {
    let mut members: HashMap<ProfileId, Members> = HashMap::new();
    for (identifier, value, id) in &outcome.identities {
        members.entry(*id).or_default().insert((*identifier, value.clone()));
    }
    let profile = |id: ProfileId| {
        let profile = outcome.profiles.iter().find(|profile| profile.id == id)?;
        Some((profile.traits.clone(), profile.segments.clone()))
    };
    members.into_iter().map(|(id, members)| (members, profile(id))).collect()
}

proptest! {
    #[test]
    fn the_arrival_order_changes_nothing_but_ids(
        (events, shuffled) in prop::collection::vec(event(), 0..24)
            .prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
        unlinked in unlinked(),
        now in 0..HOUR,
    ) {
        let (spec, now) = (spec(), Timestamp(T0 + now));
        let one = evaluate_with(&spec, HashKey::FIXED, &log(&events), now, &unlinked);
        let other = evaluate_with(&spec, HashKey::FIXED, &log(&shuffled), now, &unlinked);
        prop_assert_eq!(without_ids(&one), without_ids(&other));
        prop_assert_eq!(one.unusable.len(), other.unusable.len());
    }

    #[test]
    fn the_same_places_give_the_same_ids(
        events in prop::collection::vec(event(), 0..24),
        turn in any::<prop::sample::Index>(),
        now in 0..HOUR,
    ) {
        let (spec, now) = (spec(), Timestamp(T0 + now));
        let mut turned = log(&events);
        let outcome = evaluate(&spec, HashKey::FIXED, &turned, now);
        turned.reverse();
        if !turned.is_empty() {
            let at = turn.index(turned.len());
            turned.rotate_left(at);
        }
        prop_assert_eq!(outcome, evaluate(&spec, HashKey::FIXED, &turned, now));
    }

    #[test]
    fn every_event_counts_once_and_every_list_is_sound(
        events in prop::collection::vec(event(), 0..24),
        unlinked in unlinked(),
    ) {
        let (spec, log) = (spec(), log(&events));
        let outcome = evaluate_with(&spec, HashKey::FIXED, &log, Timestamp(T0), &unlinked);
        let counted: i128 = outcome.profiles.iter().map(|profile| match profile.traits[0] {
            Value::Number(Decimal(units)) => units / 1_000_000_000,
            _ => panic!("count is no number"),
        }).sum();
        prop_assert_eq!(counted as usize + outcome.unusable.len(), events.len());
        for profile in &outcome.profiles {
            let own = outcome.identities.iter().filter(|(.., id)| *id == profile.id).count();
            prop_assert!(own > 0);
            prop_assert_eq!(own, profile.identifiers.iter().map(Vec::len).sum::<usize>());
            let segments = outcome.memberships.iter().filter(|(_, id)| *id == profile.id).count();
            prop_assert_eq!(segments, profile.segments.len());
        }
        prop_assert!(outcome.profiles.windows(2).all(|pair| pair[0].id < pair[1].id));
        prop_assert!(outcome.identities.windows(2).all(|pair| pair[0] < pair[1]));
    }

    // What was taken in one event at a time, duplicates dropped and bad ones rejected, evaluates like the list of
    // what was accepted, wherever the epochs were cut.
    #[test]
    fn taking_events_in_one_by_one_is_the_same(
        events in prop::collection::vec((event(), any::<bool>()), 0..24),
    ) {
        let mut oracle = Oracle::new(spec(), HashKey::FIXED);
        let mut accepted: Vec<String> = Vec::new();
        for (event, seals) in &events {
            match oracle.push(event.as_bytes(), Timestamp(T0)) {
                Pushed::Accepted { place, .. } => {
                    prop_assert_eq!(place as usize, accepted.len());
                    accepted.push(event.clone());
                }
                // Without a messageId the content stands for it.
                Pushed::Duplicate => prop_assert!(accepted.contains(event)),
                Pushed::Rejected(_) => {}
            }
            if *seals {
                let now = oracle.seal(Timestamp(T0));
                let expected = evaluate(oracle.spec(), HashKey::FIXED, &log(&accepted), now);
                prop_assert!(expected.unusable.is_empty());
                prop_assert_eq!(oracle.outcome(), expected);
            }
        }
        let kept = oracle.events().count() + oracle.rejected().len() + oracle.duplicates() as usize;
        prop_assert_eq!(kept, events.len());
    }
}
