use std::time::Duration;

use tidewater_model::{ClockKind, Millis, Normalize, Timestamp};

use super::{super::*, load};

fn builder() -> PipelineBuilder {
    Pipeline::builder().identifier(Identifier::from_path("user_id", "userId"))
}

#[test]
fn what_is_built_equals_what_is_read() {
    let built = Pipeline::builder()
        .name("shop")
        .state("./state")
        .workers(2)
        .clock(ClockKind::Event)
        .dedup(Duration::from_secs(3_600))
        .max_future(Millis(1_500))
        .min_time(Timestamp(946_684_800_000))
        .id_key(Secret::new("0123456789"))
        .identifier(Identifier::from_path("user_id", "userId").block(["test", "/^dev-/"]))
        .identifier(Identifier::from_path("email", "traits.email").path("email").normalize(Normalize::Email))
        .trait_(Trait::count("orders", "Order Completed").filter("properties.revenue >= 100"))
        .trait_(Trait::sum("revenue", "properties.revenue").event("Order Completed").window("7d"))
        .trait_(Trait::min("a", "x.y").window(Duration::from_millis(1_500)).resolution("1ms"))
        .trait_(Trait::max("b", "x.y"))
        .trait_(Trait::avg("c", "x.y"))
        .trait_(Trait::first("d", "x.y"))
        .trait_(Trait::last("e", "x.y"))
        .trait_(Trait::first_time("f", "*"))
        .trait_(Trait::last_time("g", "Order Completed"))
        .segment("loyal", "orders >= 3 and now - g < 30d")
        .segment("top", "in_segment(loyal) and revenue > 5")
        .description("Loyal and spending")
        .build()
        .unwrap();
    let read = load(
        "state: ./state
workers: 2
clock: event
dedup: 1h
max_future: 1500ms
min_time: 2000-01-01
id_key: '0123456789'
identifiers:
  user_id: { from: userId, block: [test, /^dev-/] }
  email: { from: [traits.email, email], normalize: email }
traits:
  orders: { count: Order Completed, where: properties.revenue >= 100 }
  revenue: { sum: properties.revenue, event: Order Completed, window: 7d }
  a: { min: x.y, window: 1500ms, resolution: 1ms }
  b: { max: x.y }
  c: { avg: x.y }
  d: { first: x.y }
  e: { last: x.y }
  f: { first_time: '*' }
  g: { last_time: Order Completed }
segments:
  loyal: orders >= 3 and now - g < 30d
  top: { where: in_segment(loyal) and revenue > 5, description: Loyal and spending }
",
    );
    assert_eq!(built.spec(), read.spec());
    assert_eq!(built.definitions(), read.definitions());
    assert_eq!(
        (built.state(), built.workers(), built.id_key()),
        (read.state(), read.workers(), read.id_key())
    );
    assert_eq!(built.name(), "shop");
}

#[test]
fn mistakes_have_key_paths() {
    let errors = builder()
        .workers(0)
        .dedup("soon")
        .identifier(Identifier::from_path("user_id", "a..b"))
        .trait_(Trait::count("orders", "X").event("Y"))
        .trait_(Trait::sum("revenue", "a").window(Duration::from_micros(10)).filter("a >"))
        .segment("loyal", "oders > 3")
        .segment("loop", "in_segment(loop)")
        .build()
        .unwrap_err();
    let mut paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    paths.sort_unstable();
    let expected = [
        "dedup",
        "identifiers.user_id",
        "identifiers.user_id.from[0]",
        "segments.loop",
        "segments.loyal.where",
        "traits.orders.event",
        "traits.revenue.where",
        "traits.revenue.window",
        "workers",
    ];
    assert_eq!(paths, expected, "\n{errors}");
    assert!(errors.iter().all(|error| error.position.is_none() && error.file.is_none()));
    assert!(errors.to_string().contains("segments.loyal.where: "), "{errors}");
}

#[test]
fn an_empty_value_is_blocked_anyway_and_a_text_is_never_null() {
    let block =
        |rule: &str| Pipeline::builder().identifier(Identifier::from_path("a", "b").block([rule])).build();
    let message = "identifiers.a.block[0]: expected a value or a `/regular expression/`, found an empty text";
    assert_eq!(block("").unwrap_err().to_string(), message);
    assert_eq!(block("null").unwrap().definitions().identifiers[0].block, ["null"]);
}

#[test]
fn nothing_is_substituted_in_rust() {
    let pipeline = builder().trait_(Trait::count("a", "${HOME} $$")).state("$$x").build().unwrap();
    assert_eq!(pipeline.definitions().traits[0].of, "${HOME} $$");
    assert_eq!(pipeline.state(), Some(Path::new("$$x")));
    assert!(!format!("{:?}", builder().id_key(Secret::new("hidden-key"))).contains("hidden-key"));
}
