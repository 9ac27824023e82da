//! The operators against the batch oracle after every epoch, on random events, cuts and clocks, by 1 to 4 workers.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tidewater_model::{
    Aggregate, EventFilter, HashKey, IdentifierSpec, Normalize, Path, PipelineSpec, SegmentSpec, TraitSpec,
    Window,
    delta::DeltaNames,
    expr::{Names, parse_segment},
    time::Millis,
};
use tidewater_oracle::{Event, Outcome, Unlinked, evaluate_with};

mod snapshot;
mod texts;

use super::*;
use crate::{
    ingest::{Decoder, PaddedEvent},
    merge,
};

const IDENTIFIERS: [(&str, &str); 3] = [("user", "userId"), ("email", "email"), ("anon", "anonymousId")];

fn spec() -> PipelineSpec {
    let path = |text: &str| Path::parse(text).unwrap();
    let identifier = |(name, from): &(&str, &str)| IdentifierSpec {
        name: (*name).into(),
        from: vec![path(from)],
        normalize: Normalize::None,
        block: Vec::new(),
    };
    let with = |name: &str, aggregate, event: &str, window: Option<(i64, i64)>| TraitSpec {
        name: name.into(),
        aggregate,
        events: if event == "*" { EventFilter::Any } else { EventFilter::Named(event.into()) },
        condition: None,
        window: window
            .map(|(length, resolution)| Window { length: Millis(length), resolution: Millis(resolution) }),
    };
    let traits = vec![
        with("a_count", Aggregate::Count, "a", None),
        with("b_sum", Aggregate::Sum(path("v")), "b", None),
        with("plan", Aggregate::Last(path("s")), "*", None),
        with("a_recent", Aggregate::Count, "a", Some((20, 1))),
        with("v_max", Aggregate::Max(path("v")), "*", Some((30, 4))),
        with("seen", Aggregate::LastTime, "*", None),
        with("s_first", Aggregate::First(path("s")), "b", Some((25, 3))),
    ];
    let names: Vec<String> = traits.iter().map(|t: &TraitSpec| t.name.clone()).collect();
    let identifiers: Vec<IdentifierSpec> = IDENTIFIERS.iter().map(identifier).collect();
    let identifier_names: Vec<String> = identifiers.iter().map(|i| i.name.clone()).collect();
    let time_traits: Vec<bool> = names.iter().map(|name| name == "seen").collect();
    let texts = [
        ("many", "a_count >= 3"),
        ("rich", "b_sum >= 40 and a_recent >= 2"),
        ("mailed", "has(email) and a_count == 0"),
        ("hot", "v_max > 30"),
        ("quiet", "now - seen > 15ms"),
        ("both", "in_segment(many) or in_segment(hot)"),
        ("gold", "plan == 'x'"),
        ("firsts", "s_first == 'y' or user == 'u1'"),
    ];
    let segment_names: Vec<String> = texts.iter().map(|(name, _)| (*name).to_owned()).collect();
    let known = Names {
        identifiers: &identifier_names,
        traits: &names,
        time_traits: &time_traits,
        segments: &segment_names,
    };
    let segments = texts.iter().map(|(name, text)| SegmentSpec {
        name: (*name).into(),
        predicate: parse_segment(text, &known).unwrap(),
        description: None,
    });
    let segments = segments.collect();
    PipelineSpec { identifiers, traits, segments, ..PipelineSpec::default() }
}

#[derive(Clone, Debug)]
struct Step {
    events: Vec<Json>,
    advance: i64,
    unlink: Option<((usize, String), (usize, String))>,
}

const START: i64 = 1_700_000_000_000;

fn event() -> impl Strategy<Value = Json> {
    prop_oneof![5 => track(), 1 => alias()]
}

fn track() -> impl Strategy<Value = Json> {
    let id = |prefix: &'static str, n: usize| prop_oneof![3 => Just(None), 2 => (0..n).prop_map(move |i| Some(format!("{prefix}{i}")))];
    // A few that segments ask for, and more that come and go.
    let text = prop_oneof![
        Just(None),
        Just(Some("x".to_owned())),
        Just(Some("y".to_owned())),
        (0..30).prop_map(|n| Some(format!("text {n}"))),
    ];
    // Now and then a text that is a user id, too, so that an alias may mean either.
    let anonymous = prop_oneof![4 => id("a", 12), 1 => id("u", 5)];
    (id("u", 5), id("e", 6), anonymous, 0i64..80, prop_oneof![Just("a"), Just("b")], 0i64..50, text).prop_map(
        |(user, email, anonymous, time, name, v, s)| {
            let anonymous =
                anonymous.or_else(|| (user.is_none() && email.is_none()).then(|| "a0".to_owned()));
            json!({"type": "track", "event": name, "userId": user, "email": email, "anonymousId": anonymous,
                "timestamp": START + time, "v": v, "s": s})
        },
    )
}

fn alias() -> impl Strategy<Value = Json> {
    let previous =
        prop_oneof![3 => (0..5).prop_map(|n| format!("u{n}")), 1 => (0..12).prop_map(|n| format!("a{n}"))];
    (0..5, prop::collection::vec(previous, 1..3), 0i64..80).prop_map(|(user, previous, time)| {
        json!({"type": "alias", "userId": format!("u{user}"), "previousId": previous, "timestamp": START + time})
    })
}

fn step() -> impl Strategy<Value = Step> {
    let id = (0usize..3, 0usize..12).prop_map(|(rank, n)| {
        let (prefix, count) = [("u", 5), ("e", 6), ("a", 12)][rank];
        (rank, format!("{prefix}{}", n % count))
    });
    let unlink = prop_oneof![4 => Just(None), 1 => (id.clone(), id).prop_map(Some)];
    (prop::collection::vec(event(), 0..8), 0i64..25, unlink).prop_map(|(events, advance, unlink)| Step {
        events,
        advance,
        unlink,
    })
}

/// What one worker saw at the end of an epoch.
#[derive(Default)]
struct Seen {
    changes: Changes,
    timer: Option<Timestamp>,
    profiles: Vec<Profile>,
    identities: Vec<(usize, String, ProfileId)>,
    members: Vec<(usize, ProfileId)>,
    assignments: Vec<(u128, ProfileId)>,
}

/// What each worker is fed in each epoch.
fn inputs(plan: &Arc<Plan>, steps: &[Step], workers: usize) -> Vec<Vec<EpochInput>> {
    let (mut now, mut place) = (START, 0);
    let mut decoder = Decoder::new(Arc::clone(plan), workers);
    let inputs = steps.iter().zip(1..).map(|(step, epoch)| {
        now += step.advance;
        let mut batches = vec![EventBatch::default(); workers];
        for event in &step.events {
            let mut bytes = event.to_string().into_bytes();
            let len = bytes.len();
            bytes.resize(len + PaddedEvent::PADDING, 0);
            let event = PaddedEvent::new(&bytes, len).unwrap();
            let scanned = decoder.scan(event, Timestamp(START), Timestamp::MAX).unwrap();
            decoder.append(scanned, place, &mut batches);
            place += 1;
        }
        let hash = |(rank, value): &(usize, String)| plan.hash(*rank, value);
        let unlinks: Vec<_> = step.unlink.iter().map(|(a, b)| (hash(a), hash(b))).collect();
        let of = |events| EpochInput {
            epoch,
            now: Timestamp(now),
            events,
            unlinks: unlinks.clone(),
            is_restored: false,
        };
        batches.into_iter().map(of).collect()
    });
    inputs.collect()
}

/// Computes an epoch, and looks at everything.
fn compute(worker: &mut Worker, dataflow: &mut WorkerDataflow, input: EpochInput, segments: usize) -> Seen {
    dataflow.feed(input);
    while !dataflow.is_complete() {
        worker.step_or_park(Some(std::time::Duration::from_millis(1)));
    }
    let output = dataflow.finish();
    dataflow.collect_after_epoch();
    let mut seen = Seen { changes: output.changes, timer: output.next_timer, ..Seen::default() };
    dataflow.profiles(&mut |profile| seen.profiles.push(profile));
    dataflow.identities(&mut |rank, value, id| seen.identities.push((rank, value.to_owned(), id)));
    for segment in 0..segments {
        seen.members.extend(dataflow.members(segment).into_iter().map(|id| (segment, id)));
    }
    seen.assignments = dataflow.assignments();
    seen
}

/// Puts what the workers saw together by epoch.
fn by_epoch(per_worker: Vec<Vec<Seen>>) -> Vec<Vec<Seen>> {
    let mut epochs: Vec<Vec<Seen>> = Vec::new();
    for all in per_worker {
        epochs.resize_with(all.len(), Vec::new);
        epochs.iter_mut().zip(all).for_each(|(epoch, seen)| epoch.push(seen));
    }
    epochs
}

fn run(plan: &Arc<Plan>, steps: &[Step], workers: usize) -> (Vec<Vec<Seen>>, Arc<Texts>) {
    let texts = Texts::new(workers);
    let inputs = inputs(plan, steps, workers);
    let (shared, for_plan) = (Arc::clone(&texts), Arc::clone(plan));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let segments = for_plan.spec().segments.len();
        let mut dataflow = WorkerDataflow::build(worker, Arc::clone(&for_plan), Arc::clone(&shared));
        let index = worker.index();
        let epochs = inputs.iter().map(|input| input[index].clone());
        epochs.map(|input| compute(worker, &mut dataflow, input, segments)).collect::<Vec<_>>()
    });
    (by_epoch(guards.unwrap().join().into_iter().map(Result::unwrap).collect()), texts)
}

/// What the oracle says after each step.
fn expected(spec: &PipelineSpec, steps: &[Step]) -> Vec<Outcome> {
    expected_from(spec, steps, 0)
}

/// What the oracle says after the last step.
fn expected_at_end(spec: &PipelineSpec, steps: &[Step]) -> Outcome {
    expected_from(spec, steps, steps.len() - 1).remove(0)
}

fn expected_from(spec: &PipelineSpec, steps: &[Step], from: usize) -> Vec<Outcome> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let (mut now, mut unlinked, mut outcomes) = (START, Unlinked::default(), Vec::new());
    for (at, step) in steps.iter().enumerate() {
        now += step.advance;
        lines.extend(step.events.iter().map(|event| event.to_string().into_bytes()));
        if let Some((a, b)) = &step.unlink {
            unlinked.insert((a.0, &a.1), (b.0, &b.1));
        }
        if at < from {
            continue;
        }
        let event = |(place, bytes): (usize, &Vec<u8>)| (place as u64, bytes.clone());
        let events: Vec<(u64, Vec<u8>)> = lines.iter().enumerate().map(event).collect();
        let events: Vec<Event<'_>> = events
            .iter()
            .map(|(place, bytes)| Event { place: *place, accepted_at: Timestamp(START), bytes })
            .collect();
        outcomes.push(evaluate_with(spec, HashKey::FIXED, &events, Timestamp(now), &unlinked));
    }
    outcomes
}

fn names(spec: &PipelineSpec) -> Arc<DeltaNames> {
    let segments = spec.segments.iter().map(|segment| segment.name.clone());
    let identifiers = spec.identifiers.iter().map(|identifier| identifier.name.clone());
    Arc::new(DeltaNames::new(segments.collect(), identifiers.collect()))
}

fn check(steps: &[Step], workers: usize) -> Result<(), TestCaseError> {
    let spec = spec();
    let plan = Plan::compile(spec.clone(), HashKey::FIXED).unwrap();
    let names = names(&spec);
    let (epochs, texts) = run(&plan, steps, workers);
    let mut folded: BTreeSet<(usize, ProfileId)> = BTreeSet::new();
    let mut now = START;
    let mut before: Option<Outcome> = None;
    for ((epoch, outcome), step) in epochs.into_iter().zip(expected(&spec, steps)).zip(steps) {
        now += step.advance;
        let sorted = |mut rows: Vec<_>| {
            rows.sort();
            rows
        };
        let members: Vec<_> = epoch.iter().flat_map(|seen| seen.members.clone()).collect();
        prop_assert_eq!(sorted(members), sorted(outcome.memberships.clone()), "arranged members");
        let mut profiles: Vec<Profile> = epoch.iter().flat_map(|seen| seen.profiles.clone()).collect();
        profiles.sort_by_key(|profile| profile.id);
        prop_assert_eq!(&profiles, &outcome.profiles);
        let mut identities: Vec<_> = epoch.iter().flat_map(|seen| seen.identities.clone()).collect();
        identities.sort();
        let mut wanted = outcome.identities.clone();
        wanted.sort();
        prop_assert_eq!(&identities, &wanted);
        let mut assignments: Vec<_> = epoch.iter().flat_map(|seen| seen.assignments.clone()).collect();
        assignments.sort();
        let mut hashed: Vec<_> =
            wanted.iter().map(|(rank, value, id)| (plan.hash(*rank, value), *id)).collect();
        hashed.sort();
        prop_assert_eq!(assignments, hashed, "arranged assignments");

        let timer = epoch.iter().filter_map(|seen| seen.timer).min();
        prop_assert!(timer.is_none_or(|timer| timer.0 > now), "a timer is due already");
        let changes: Vec<Changes> = epoch.into_iter().map(|seen| seen.changes).collect();
        let batch = merge((1, Timestamp(now)), &names, &texts, &changes);
        for delta in batch.iter() {
            let key = (delta.segment_index(), delta.profile());
            let fits = match delta.change() {
                tidewater_model::Change::Entered => folded.insert(key),
                tidewater_model::Change::Exited => folded.remove(&key),
            };
            prop_assert!(fits, "not net: {:?} {:?}", delta.change(), key);
            let lookup = |outcome: &Outcome| {
                outcome.profiles.iter().find(|p| p.id == delta.profile()).map(|p| p.identifiers.clone())
            };
            let own = lookup(&outcome).or_else(|| before.as_ref().and_then(lookup)).unwrap();
            let own: Vec<_> =
                own.into_iter().enumerate().flat_map(|(r, v)| v.into_iter().map(move |v| (r, v))).collect();
            let listed: Vec<_> = delta.identifiers().map(|(rank, value)| (rank, value.to_owned())).collect();
            prop_assert_eq!(listed, own, "identifiers of {:?} {:?}", delta.change(), delta.reason());
            prop_assert!(!delta.reason().is_empty());
        }
        let wanted: BTreeSet<_> = outcome.memberships.iter().copied().collect();
        prop_assert_eq!(&folded, &wanted, "folded deltas");
        before = Some(outcome);
    }
    Ok(())
}

proptest! {
    #[test]
    fn equals_the_oracle_after_every_epoch(
        steps in prop::collection::vec(step(), 1..12),
        workers in 1usize..=4,
    ) {
        check(&steps, workers)?;
    }
}
