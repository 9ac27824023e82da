//! The workload CDP-1: a clickstream of shoppers with one to four devices each, some of whom sign in. Any size, the
//! same for the same seed.

use std::fmt::Write;

use tidewater_model::{
    Aggregate, ClockKind, Dedup, EventFilter, IdentifierSpec, Millis, Normalize, Path, PipelineSpec,
    SegmentSpec, TraitSpec, Window,
    expr::{Names, Predicate, parse_segment},
};

use super::START;
use crate::random::Random;

const NAMES: [(&str, u64); 5] = [
    ("Page Viewed", 70),
    ("Product Viewed", 15),
    ("Product Added", 8),
    ("Checkout Started", 3),
    ("Order Completed", 4),
];
const CATEGORIES: [&str; 8] = ["shoes", "hats", "books", "toys", "garden", "audio", "sport", "food"];
const SPAN_MS: u64 = 30 * 86_400_000;

/// A stream of CDP-1 events: one NDJSON line each, without the line feed, in the order of their times over 30 days.
#[derive(Clone, Debug)]
pub struct Cdp1 {
    random: Random,
    events: u64,
    next: u64,
    people: Vec<Person>,
}

#[derive(Clone, Copy, Debug)]
struct Person {
    devices: u64,
    signs_in: bool,
    has_email: bool,
}

impl Cdp1 {
    /// `events` events of `people` people, at least one.
    pub fn new(events: u64, people: u64, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let person = |_| {
            let devices = *random.pick(&[1, 1, 1, 2, 2, 3, 4]);
            let signs_in = random.chance(0.4);
            Person { devices, signs_in, has_email: signs_in && random.chance(0.62) }
        };
        let people = (0..people.max(1)).map(person).collect();
        Self { random, events, next: 0, people }
    }

    fn line(&mut self) -> String {
        let number = self.next;
        let random = &mut self.random;
        // Skewed: some people are here all the time.
        let place = (self.people.len() as f64 * random.unit().powf(2.2)) as usize;
        let person = self.people[place];
        let time = START + (u128::from(SPAN_MS) * u128::from(number) / u128::from(self.events)) as i64;
        let mut pick = random.below(100);
        let name = NAMES.iter().find(|(_, weight)| {
            let found = pick < *weight;
            pick = pick.saturating_sub(*weight);
            found
        });
        let name = name.map_or("Page Viewed", |(name, _)| name);
        let device = random.below(person.devices);
        let path = random.below(5_000);
        let category = random.pick(&CATEGORIES);
        let mut line = String::with_capacity(240);
        // Writing to a string can't fail.
        let _ = write!(
            line,
            r#"{{"messageId":"m{number}","type":"track","timestamp":{time},"anonymousId":"a{place}-{device}","event":"{name}","properties":{{"path":"/p/{path}","category":"{category}""#
        );
        if name == "Order Completed" {
            let cents = ((5.0 - 60.0 * (1.0 - random.unit()).ln()) * 100.0).round() as u64;
            let _ = write!(line, r#","revenue":{}.{:02}"#, cents / 100, cents % 100);
        }
        line.push('}');
        if person.signs_in && random.chance(0.08) {
            let _ = write!(line, r#","userId":"u{place}""#);
            if person.has_email && random.chance(0.5) {
                let _ = write!(line, r#","email":"p{place}@example.com""#);
            }
        }
        line.push('}');
        line
    }
}

impl Iterator for Cdp1 {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        (self.next < self.events).then(|| {
            let line = self.line();
            self.next += 1;
            line
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.events - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Cdp1 {}

/// The pipeline of CDP-1: three identifiers, seven traits, segments S1 to S5; `clock: event`, a window of exactly 7 days.
pub fn cdp1_pipeline() -> PipelineSpec {
    let identifier = |name: &str, from: &str| IdentifierSpec {
        name: name.to_owned(),
        from: Path::parse(from).into_iter().collect(),
        normalize: Normalize::None,
        block: Vec::new(),
    };
    let part = |name: &str, aggregate: Aggregate, event: Option<&str>| TraitSpec {
        name: name.to_owned(),
        aggregate,
        events: event.map_or(EventFilter::Any, |event| EventFilter::Named(event.to_owned())),
        condition: None,
        window: None,
    };
    let revenue = Path::parse("properties.revenue").map_or(Aggregate::Count, Aggregate::Sum);
    let week = Window { length: Millis(7 * Millis::DAY.0), resolution: Millis(1) };
    let traits = vec![
        part("events", Aggregate::Count, None),
        part("orders", Aggregate::Count, Some("Order Completed")),
        part("revenue", revenue, Some("Order Completed")),
        part("adds", Aggregate::Count, Some("Product Added")),
        part("first_seen", Aggregate::FirstTime, None),
        part("last_seen", Aggregate::LastTime, None),
        TraitSpec { window: Some(week), ..part("views_7d", Aggregate::Count, Some("Page Viewed")) },
    ];
    let mut spec = PipelineSpec {
        clock: ClockKind::Event,
        dedup: Dedup::Forever,
        // The stream is dated by itself, whatever the wall clock of the test says.
        max_future: Millis(100 * 365 * Millis::DAY.0),
        identifiers: vec![
            identifier("user_id", "userId"),
            identifier("email", "email"),
            identifier("anonymous_id", "anonymousId"),
        ],
        traits,
        ..PipelineSpec::default()
    };
    spec.segments = cdp1_segments(&spec);
    spec
}

fn cdp1_segments(spec: &PipelineSpec) -> Vec<SegmentSpec> {
    const SEGMENTS: [(&str, &str); 5] = [
        ("S1", "orders >= 3"),
        ("S2", "revenue >= 500"),
        ("S3", "has(email) and orders == 0"),
        ("S4", "adds >= 1 and orders == 0"),
        ("S5", "views_7d >= 5"),
    ];
    let identifiers: Vec<String> = spec.identifiers.iter().map(|part| part.name.clone()).collect();
    let traits: Vec<String> = spec.traits.iter().map(|part| part.name.clone()).collect();
    let segments: Vec<String> = SEGMENTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let is_time = |part: &TraitSpec| matches!(part.aggregate, Aggregate::FirstTime | Aggregate::LastTime);
    let time_traits: Vec<bool> = spec.traits.iter().map(is_time).collect();
    let names =
        Names { identifiers: &identifiers, traits: &traits, time_traits: &time_traits, segments: &segments };
    let segment = |(name, text): &(&str, &str)| SegmentSpec {
        name: (*name).to_owned(),
        // The texts above are right: a test holds the sizes of all five segments against a calculation by hand.
        predicate: parse_segment(text, &names).unwrap_or_else(|_| Predicate::Or(Vec::new())),
        description: None,
    };
    SEGMENTS.iter().map(segment).collect()
}
