//! Random pipelines: two to five identifiers in any rank order, traits of every kind, segments that depend on each other.

use proptest::{collection::vec, option, prelude::*, sample::select};
use tidewater_model::{
    Aggregate, BlockRule, ClockKind, Dedup, EventFilter, IdentifierSpec, Millis, Normalize, Path,
    PipelineSpec, SegmentSpec, TraitSpec, Window,
    expr::{Predicate, parse_condition},
};

use super::predicate::{self, Subjects};

/// Where numbers and scalars stand in generated events.
const PATHS: [&str; 5] = ["properties.amount", "traits.plan", "properties.category", "score", "context.flag"];

const EVENT_NAMES: [&str; 3] = ["Page Viewed", "Order Completed", "Screen Viewed"];

const CONDITIONS: [&str; 10] = [
    "properties.amount >= 2",
    "properties.category == \"gold\"",
    "has(traits.plan)",
    "not has(properties.amount)",
    "properties.amount != 1 and properties.category != \"x\"",
    "context.flag == true",
    "properties.amount / 2 > 1",
    "score < 5 or properties.amount > 1",
    "properties.amount > score",
    "not (properties.amount * 2 <= 3)",
];

/// Often of the size of the gaps between events.
const LENGTHS_MS: [i64; 10] = [1_000, 2_500, 5_000, 500, 10_000, 1_500, 1, 2, 60_000, 3_600_000];
const RESOLUTIONS_MS: [i64; 8] = [1, 1, 1_000, 500, 700, 3_000, 60_000, 3_600_000];

/// Segments are sorted by name in a batch, so the order of names must not be the order of indices.
const SEGMENT_NAMES: [&str; 6] = ["mid", "late", "zeta", "alpha", "beta", "core"];

/// Random pipelines.
pub fn pipelines() -> impl Strategy<Value = PipelineSpec> {
    let segments = vec(predicate::drafts(), 1..=SEGMENT_NAMES.len());
    (identifiers(), vec(traits(), 1..7), segments, any::<bool>(), settings()).prop_map(
        |(identifiers, traits, segments, down, mut spec)| {
            let named = (0..).zip(traits).map(|(at, part)| TraitSpec { name: format!("t{at}"), ..part });
            spec.identifiers = identifiers;
            spec.traits = named.collect();
            spec.segments = self::segments(&spec, &segments, down);
            spec
        },
    )
}

fn segments(spec: &PipelineSpec, drafts: &[predicate::Draft], down: bool) -> Vec<SegmentSpec> {
    let is_time =
        |index: &usize| matches!(spec.traits[*index].aggregate, Aggregate::FirstTime | Aggregate::LastTime);
    let (times, scalars) = (0..spec.traits.len()).partition(is_time);
    let mut subjects = Subjects { identifiers: spec.identifiers.len(), scalars, times, segments: Vec::new() };
    let build = |(at, draft): (usize, &predicate::Draft)| {
        // Segments may stand above or below those they ask for, as long as there is no cycle.
        subjects.segments = if down { (at + 1..drafts.len()).collect() } else { (0..at).collect() };
        let predicate = draft.build(&subjects);
        SegmentSpec { name: SEGMENT_NAMES[at].to_owned(), predicate, description: None }
    };
    drafts.iter().enumerate().map(build).collect()
}

fn settings() -> impl Strategy<Value = PipelineSpec> {
    // Under `clock: event` nothing happens by time alone, so it is the rarer one.
    let clocks = select(vec![ClockKind::Wall, ClockKind::Wall, ClockKind::Event]);
    let dedups = select(vec![
        Dedup::For(Millis(604_800_000)),
        Dedup::Forever,
        Dedup::For(Millis(1_000)),
        Dedup::For(Millis(1)),
    ]);
    let futures = prop_oneof![
        4 => Just(Millis(86_400_000)),
        1 => Just(Millis(20_000)),
        1 => Just(Millis(0)),
    ];
    (clocks, dedups, futures).prop_map(|(clock, dedup, max_future)| {
        // An hour before the stream begins, so that some late events are too late.
        let min_time = tidewater_model::Timestamp(super::START - 5_400_000);
        PipelineSpec { clock, dedup, max_future, min_time, ..PipelineSpec::default() }
    })
}

fn identifiers() -> impl Strategy<Value = Vec<IdentifierSpec>> {
    let user = identifier("user_id", &["userId"], Normalize::None);
    let user = IdentifierSpec {
        block: vec![BlockRule::Exact("test".into()), BlockRule::Pattern("^dev-".into())],
        ..user
    };
    // Often user and anonymous ids are two identifiers; now and then one is fed by both paths.
    let both = prop_oneof![
        5 => Just(vec![user.clone(), identifier("anonymous_id", &["anonymousId"], Normalize::None)]),
        2 => Just(vec![user.clone(), identifier("anonymous_id", &["anonymousId"], Normalize::Lowercase)]),
        1 => Just(vec![IdentifierSpec {
            from: ["userId", "anonymousId"].into_iter().filter_map(Path::parse).collect(),
            ..user
        }]),
    ];
    let more = [
        identifier("email", &["traits.email", "email", "context.traits.email"], Normalize::Email),
        identifier("device", &["device.id", "properties.device"], Normalize::Trim),
        // A second identifier fed by `userId`: an alias means the first in rank order.
        identifier("login", &["userId", "traits.login"], Normalize::Lowercase),
    ];
    (both, proptest::array::uniform3(prop::bool::weighted(0.6))).prop_flat_map(move |(both, wanted)| {
        let chosen = more.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(spec, _)| spec.clone());
        Just(both.into_iter().chain(chosen).collect::<Vec<_>>()).prop_shuffle()
    })
}

fn identifier(name: &str, from: &[&str], normalize: Normalize) -> IdentifierSpec {
    let from = from.iter().filter_map(|path| Path::parse(path)).collect();
    IdentifierSpec { name: name.to_owned(), from, normalize, block: Vec::new() }
}

fn traits() -> impl Strategy<Value = TraitSpec> {
    let windows = (select(LENGTHS_MS.to_vec()), option::of(select(RESOLUTIONS_MS.to_vec())));
    (aggregates(), events(), option::weighted(0.25, conditions()), option::weighted(0.6, windows)).prop_map(
        |(aggregate, events, condition, window)| TraitSpec {
            name: String::new(),
            aggregate,
            events,
            condition,
            window: window.map(|(length, resolution)| Window {
                length: Millis(length),
                resolution: resolution.map_or(Window::default_resolution(Millis(length)), Millis),
            }),
        },
    )
}

fn aggregates() -> impl Strategy<Value = Aggregate> {
    let kinds = prop_oneof![
        4 => Just(Aggregate::Count),
        2 => Just(Aggregate::LastTime),
        1 => Just(Aggregate::FirstTime),
    ];
    let of_path: Vec<fn(Path) -> Aggregate> = vec![
        Aggregate::Sum,
        Aggregate::Last,
        Aggregate::First,
        Aggregate::Min,
        Aggregate::Max,
        Aggregate::Avg,
    ];
    let with_path = (select(of_path), select(PATHS.to_vec()))
        .prop_map(|(make, path)| Path::parse(path).map_or(Aggregate::Count, make));
    prop_oneof![kinds, with_path]
}

fn events() -> impl Strategy<Value = EventFilter> {
    prop_oneof![
        2 => Just(EventFilter::Any),
        1 => select(EVENT_NAMES.to_vec()).prop_map(|name| EventFilter::Named(name.to_owned())),
    ]
}

fn conditions() -> impl Strategy<Value = Predicate> {
    select(CONDITIONS.to_vec())
        .prop_map(|text| parse_condition(text).unwrap_or_else(|_| Predicate::And(Vec::new())))
}
