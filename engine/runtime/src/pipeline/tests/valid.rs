use tidewater_model::{
    Aggregate, BlockRule, ClockKind, Dedup, EventFilter, Millis, Normalize, Timestamp, Window,
    expr::{Names, Predicate},
};

use super::{super::*, EXAMPLE, IDENTIFIERS, load};

fn millis(text: &str) -> Millis {
    Millis::parse(text).unwrap()
}

#[test]
fn the_example_of_the_contract_loads() {
    let pipeline = load(EXAMPLE);
    let spec = pipeline.spec();
    assert_eq!(pipeline.name(), "pipeline");
    assert_eq!(pipeline.state(), Some(Path::new("./state")));
    assert_eq!(pipeline.workers(), 1);
    assert_eq!(pipeline.admin_listen(), Some("127.0.0.1:9000"));
    assert_eq!(spec.clock, ClockKind::Wall);
    assert_eq!(spec.dedup, Dedup::For(millis("7d")));
    assert_eq!(spec.max_future, millis("24h"));
    assert_eq!(spec.min_time, Timestamp(946_684_800_000));
    let names: Vec<&str> = spec.identifiers.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["user_id", "email", "phone", "anonymous_id"], "in rank order");
    assert_eq!(spec.identifiers[1].normalize, Normalize::Email);
    let from: Vec<String> = spec.identifiers[1].from.iter().map(ToString::to_string).collect();
    assert_eq!(from, ["traits.email", "context.traits.email", "properties.email"]);
    let rules = [BlockRule::Exact("test".into()), BlockRule::Pattern("^dev-".into())];
    assert_eq!(spec.identifiers[3].block, rules);
    assert_eq!(spec.traits.len(), 6);
    assert_eq!(spec.traits[2].events, EventFilter::Named("Order Completed".into()));
    assert!(spec.traits[3].condition.is_some());
    assert_eq!(spec.traits[4].window, Some(Window { length: millis("7d"), resolution: millis("1h") }));
    assert_eq!(spec.traits[5].events, EventFilter::Any);
    assert_eq!(spec.segments.len(), 5);
    assert_eq!(
        spec.segments[4].predicate,
        Predicate::And(vec![Predicate::InSegment(0), Predicate::InSegment(1)])
    );
    assert_eq!(spec.segments[4].description.as_deref(), Some("Loyal and spending"));
    assert_eq!(pipeline.segment_text(3), Some("orders >= 1 and now - last_seen > 30d"));
    assert_eq!(pipeline.segment_text(5), None);
    assert_eq!(pipeline.sources()[0].config()["write_keys"][0], "wk-5551");
    assert_eq!(pipeline.sinks()[1].config()["token"], "tok-7772");
    assert_eq!(pipeline.sinks()[1].config()["audiences"]["loyal"], "23851234567890");
}

#[test]
fn everything_that_is_built_loads() {
    let pipeline = load(
        r#"
        sinks:
        segments: { any: "has(id)" }
        traits:
          a: { count: 404 }
          b: { sum: properties.a, event: "*" }
          c: { min: properties.a }
          d: { max: properties.a, window: 1h }
          e: { avg: properties.a, window: 2d, resolution: 1ms }
          f: { first: a, window: 3h, where: "event == 'X' and has(context.page)" }
          g: { last: properties.Plan Name }
          h: { first_time: Signed Up }
          i: { last_time: Signed Up, where: true == properties.ok }
        identifiers:
          id: { from: userId, normalize: trim, block: [1, x, "/(?i)^Test/", "/"] }
          low: { from: [device.id], normalize: lowercase, block: y }
        id_key: "long enough"
        min_time: 1999-01-01T00:00:00+01:00
        max_future: 0s
        dedup: forever
        clock: event
        workers: 64
        "#,
    );
    let spec = pipeline.spec();
    assert_eq!((spec.clock, spec.dedup, spec.max_future), (ClockKind::Event, Dedup::Forever, Millis(0)));
    assert_eq!(spec.min_time, Timestamp::parse(b"1998-12-31T23:00:00Z").unwrap());
    assert_eq!(pipeline.workers(), 64);
    assert!(pipeline.id_key().is_some());
    assert_eq!(spec.identifiers[0].block.len(), 4);
    assert_eq!(spec.identifiers[0].block[3], BlockRule::Exact("/".into()));
    assert_eq!(spec.identifiers[1].block, [BlockRule::Exact("y".into())]);
    let path = |text| tidewater_model::Path::parse(text).unwrap();
    let aggregates: Vec<&Aggregate> = spec.traits.iter().map(|entry| &entry.aggregate).collect();
    let expected = [
        &Aggregate::Count,
        &Aggregate::Sum(path("properties.a")),
        &Aggregate::Min(path("properties.a")),
        &Aggregate::Max(path("properties.a")),
        &Aggregate::Avg(path("properties.a")),
        &Aggregate::First(path("a")),
        &Aggregate::Last(path("properties.Plan Name")),
        &Aggregate::FirstTime,
        &Aggregate::LastTime,
    ];
    assert_eq!(aggregates, expected);
    assert_eq!(spec.traits[0].events, EventFilter::Named("404".into()));
    assert_eq!(spec.traits[1].events, EventFilter::Any);
    assert_eq!(spec.traits[2].events, EventFilter::Any);
    let resolutions: Vec<Option<Millis>> =
        spec.traits.iter().map(|entry| entry.window.map(|window| window.resolution)).collect();
    assert_eq!(resolutions[3..6], [Some(millis("1s")), Some(Millis(1)), Some(millis("1m"))]);
    assert!(pipeline.sinks().is_empty() && pipeline.sources().is_empty());
}

#[test]
fn what_is_left_out_has_its_default() {
    let pipeline = load(IDENTIFIERS);
    assert_eq!(pipeline.spec().clock, ClockKind::Wall);
    assert_eq!(pipeline.spec().dedup, Dedup::For(millis("7d")));
    assert_eq!((pipeline.state(), pipeline.admin_listen(), pipeline.id_key()), (None, None, None));
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    assert!((1..=most).contains(&pipeline.workers()));
}

#[test]
fn times_may_be_dates_and_milliseconds() {
    for (text, time) in [
        ("2000-01-01", 946_684_800_000),
        ("946684800001", 946_684_800_001),
        ("'2000-01-01T00:00:00.5Z'", 946_684_800_500),
    ] {
        assert_eq!(
            load(&format!("{IDENTIFIERS}min_time: {text}")).spec().min_time,
            Timestamp(time),
            "{text}"
        );
    }
}

#[test]
fn quoting_anchors_and_blocks_change_nothing() {
    let plain = load(
        "identifiers: {user_id: {from: userId}}\ntraits: {orders: {count: Order}, buys: {count: Order}}\n\
         segments: {a: orders >= 3 and buys >= 1}",
    );
    let fancy = load(
        "\u{feff}%YAML 1.2\n---\n? \"segments\"\n: a: |\n    orders >= 3\n      and buys >= 1\n'identifiers': {user_id: {\"from\": !!str \
         userId}}\ntraits:\r\n  orders: &t\r\n    count: \"Or\\x64er\"\r\n  buys: *t\r\n",
    );
    assert_eq!(plain.definitions(), fancy.definitions());
}

#[test]
fn dollars_are_escaped_by_doubling() {
    let pipeline = load(
        "identifiers: { user_id: { from: userId, block: ['/^dev$$/', '/x$/', '$$', '$${NAME}'] } }\n\
         traits: { cash: { count: 'Paid $5' } }",
    );
    let rules = [
        BlockRule::Pattern("^dev$".into()),
        BlockRule::Pattern("x$".into()),
        BlockRule::Exact("$".into()),
        BlockRule::Exact("${NAME}".into()),
    ];
    assert_eq!(pipeline.spec().identifiers[0].block, rules);
    assert_eq!(pipeline.spec().traits[0].events, EventFilter::Named("Paid $5".into()));
}

#[test]
fn a_file_is_named_after_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.prod.yaml");
    std::fs::write(&path, IDENTIFIERS).unwrap();
    assert_eq!(Pipeline::from_file(&path).unwrap().name(), "shop.prod");
    std::fs::write(&path, "workrs: 1").unwrap();
    let errors = Pipeline::from_file(&path).unwrap_err();
    assert!(errors.to_string().contains("shop.prod.yaml:1:1: unknown key `workrs`"), "{errors}");
}

#[test]
fn definitions_come_back_as_the_same_pipeline() {
    let pipeline =
        load(&EXAMPLE.replace("clock: wall", "clock: event").replace("dedup: 7d", "dedup: forever"));
    let definitions = pipeline.definitions();
    let stored = Definitions::from_json(&definitions.to_json().unwrap()).unwrap();
    assert_eq!(stored, definitions);
    let again = Pipeline::from_definitions(&stored).unwrap();
    assert_eq!(again.spec(), pipeline.spec());
    // Which names the connectors, but does not make them again.
    assert_eq!(stored.sinks[1], Connector { name: "ads".into(), kind: "meta_custom_audience".into() });
    assert!(again.sinks().is_empty());

    let newer = Definitions { format: DEFINITIONS_FORMAT + 1, ..stored };
    assert!(Pipeline::from_definitions(&newer).unwrap_err().to_string().contains("format 2, expected 1"));
    assert!(Definitions::from_json("{}").is_err());
}

#[test]
fn what_was_stored_before_a_rule_came_still_opens() {
    let mut stored = load(EXAMPLE).definitions();
    stored.segments[0].condition = "email == \"Ada@Example.com\"".to_owned();
    let again = Pipeline::from_definitions(&stored).unwrap();
    assert_eq!(again.definitions().segments, stored.segments);
}

#[test]
fn stored_conditions_are_canonical() {
    let definitions =
        load(&format!("{IDENTIFIERS}segments: {{ a: '(has( email ))and 1<2.50' }}")).definitions();
    let names: Vec<String> = ["user_id", "email"].map(str::to_owned).to_vec();
    let names = Names { identifiers: &names, ..Names::default() };
    let spec = load(&format!("{IDENTIFIERS}segments: {{ a: has(email) and 1 < 2.5 }}"));
    assert_eq!(
        definitions.segments[0].condition,
        spec.spec().segments[0].predicate.display(&names).to_string()
    );
    assert_eq!(definitions.segments[0].condition, "has(email) and 1 < 2.5");
}
