//! The workload CDP-1 in small: the evaluator against a calculation that knows only this workload, in whole cents
//! and plain maps.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use common::*;
use tidewater_model::{Aggregate, ClockKind, Decimal, PipelineSpec, Profile, Value};

/// The pipeline of CDP-1.
fn spec() -> PipelineSpec {
    let mut pipeline = Pipeline::empty()
        .identifier("anon", &["anonymousId"])
        .identifier("user", &["userId"])
        .identifier("email", &["email"])
        .any("events", Aggregate::Count)
        .named("orders", Aggregate::Count, "Order Completed")
        .named("revenue", Aggregate::Sum(path("properties.revenue")), "Order Completed")
        .named("adds", Aggregate::Count, "Product Added")
        .any("first_seen", Aggregate::FirstTime)
        .any("last_seen", Aggregate::LastTime)
        .named("views_7d", Aggregate::Count, "Page Viewed")
        .window(7 * DAY, 1)
        .segment("S1", "orders >= 3")
        .segment("S2", "revenue >= 500")
        .segment("S3", "has(email) and orders == 0")
        .segment("S4", "adds >= 1 and orders == 0")
        .segment("S5", "views_7d >= 5");
    pipeline.spec.clock = ClockKind::Event;
    pipeline.build()
}

/// One event of the workload before it is JSON.
struct Click {
    person: u64,
    device: u64,
    time: i64,
    name: &'static str,
    cents: u64,
    is_signed_in: bool,
    has_email: bool,
}

/// A seeded stream in the manner of CDP-1: skewed persons with one to four devices, some of whom sign in.
fn clicks(count: u64, persons: u64) -> Vec<Click> {
    let mut state = 7u64;
    // SplitMix64.
    let mut random = move |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % below
    };
    let devices: Vec<u64> = (0..persons).map(|_| [1, 1, 1, 2, 2, 3, 4][random(7) as usize]).collect();
    let is_known: Vec<bool> = (0..persons).map(|_| random(100) < 40).collect();
    let names = ["Page Viewed", "Product Viewed", "Product Added", "Checkout Started", "Order Completed"];
    (0..count)
        .map(|at| {
            let skew = random(persons) * random(persons) / persons;
            let name = match random(100) {
                0..70 => 0,
                70..85 => 1,
                85..93 => 2,
                93..96 => 3,
                _ => 4,
            };
            let is_signed_in = is_known[skew as usize] && random(100) < 8;
            Click {
                person: skew,
                device: random(devices[skew as usize]),
                time: T0 + (30 * DAY as u64 * at / count) as i64,
                name: names[name],
                cents: if name == 4 { 500 + random(60_000) } else { 0 },
                is_signed_in,
                has_email: is_signed_in && random(2) == 0,
            }
        })
        .collect()
}

fn json(click: &Click) -> String {
    let Click { person, device, time, name, cents, .. } = click;
    let revenue = match cents {
        0 => String::new(),
        cents => format!(r#","revenue":{}.{:02}"#, cents / 100, cents % 100),
    };
    let user = if click.is_signed_in { format!(r#","userId":"u{person}""#) } else { String::new() };
    let email = if click.has_email { format!(r#","email":"p{person}@example.com""#) } else { String::new() };
    format!(
        r#"{{"type":"track","timestamp":{time},"anonymousId":"a{person}-{device}","event":"{name}","properties":{{"path":"/p/1"{revenue}}}{user}{email}}}"#
    )
}

/// What the workload's own calculation knows of a cluster.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    members: BTreeSet<String>,
    events: u64,
    orders: u64,
    cents: u64,
    adds: u64,
    first: i64,
    last: i64,
    views_7d: u64,
}

/// Devices of one person belong together once both were seen with their userId; there is no other link.
fn expected(clicks: &[Click]) -> Vec<Expected> {
    let linked: BTreeSet<(u64, u64)> =
        clicks.iter().filter(|click| click.is_signed_in).map(|click| (click.person, click.device)).collect();
    let newest = clicks.iter().map(|click| click.time).max().unwrap();
    let mut clusters: BTreeMap<String, Expected> = BTreeMap::new();
    for click in clicks {
        let device = format!("anon:a{}-{}", click.person, click.device);
        let is_linked = linked.contains(&(click.person, click.device));
        let name = if is_linked { format!("user:u{}", click.person) } else { device.clone() };
        let nothing = Expected { first: i64::MAX, ..Expected::default() };
        let cluster = clusters.entry(name.clone()).or_insert(nothing);
        cluster.members.extend([device, name]);
        if click.has_email {
            cluster.members.insert(format!("email:p{}@example.com", click.person));
        }
        cluster.events += 1;
        cluster.orders += u64::from(click.name == "Order Completed");
        cluster.cents += click.cents;
        cluster.adds += u64::from(click.name == "Product Added");
        cluster.first = cluster.first.min(click.time);
        cluster.last = cluster.last.max(click.time);
        cluster.views_7d += u64::from(click.name == "Page Viewed" && click.time > newest - 7 * DAY);
    }
    clusters.into_values().collect()
}

fn found(spec: &PipelineSpec, profile: &Profile) -> Expected {
    let name = |(identifier, values): (usize, &Vec<String>)| {
        let name = &spec.identifiers[identifier].name;
        values.iter().map(|value| format!("{name}:{value}")).collect::<Vec<_>>()
    };
    let units = |at: usize| match profile.traits[at] {
        Value::Number(Decimal(units)) => units,
        ref other => panic!("{other:?}"),
    };
    let whole = |at: usize| (units(at) / 1_000_000_000) as u64;
    let time = |at: usize| match profile.traits[at] {
        Value::Time(time) => time.0,
        ref other => panic!("{other:?}"),
    };
    Expected {
        members: profile.identifiers.iter().enumerate().flat_map(name).collect(),
        events: whole(0),
        orders: whole(1),
        cents: (units(2) / 10_000_000) as u64,
        adds: whole(3),
        first: time(4),
        last: time(5),
        views_7d: whole(6),
    }
}

#[test]
fn agrees_with_the_workloads_own_calculation() {
    let clicks = clicks(5_000, 250);
    let spec = spec();
    let events: Vec<String> = clicks.iter().map(json).collect();
    let newest = clicks.iter().map(|click| click.time).max().unwrap();
    let result = run(&spec, &events, newest - T0);

    let by_members = |clusters: Vec<Expected>| -> HashMap<BTreeSet<String>, Expected> {
        clusters.into_iter().map(|cluster| (cluster.members.clone(), cluster)).collect()
    };
    let expected = by_members(expected(&clicks));
    let profiles = result.outcome.profiles.iter();
    assert_eq!(by_members(profiles.clone().map(|profile| found(&spec, profile)).collect()), expected);

    let mut sizes = [0; 5];
    for profile in profiles {
        let cluster = &expected[&found(&spec, profile).members];
        let has_email = cluster.members.iter().any(|member| member.starts_with("email:"));
        let answers = [
            cluster.orders >= 3,
            cluster.cents >= 50_000,
            has_email && cluster.orders == 0,
            cluster.adds >= 1 && cluster.orders == 0,
            cluster.views_7d >= 5,
        ];
        let segments: Vec<usize> = (0..5).filter(|segment| answers[*segment]).collect();
        assert_eq!(profile.segments, segments, "{cluster:?}");
        segments.into_iter().for_each(|segment| sizes[segment] += 1);
    }
    // A stream in which a segment stays empty would prove nothing about it.
    assert!(sizes.iter().all(|size| *size >= 5), "{sizes:?}");
}
