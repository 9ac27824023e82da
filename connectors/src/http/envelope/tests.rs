#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn config() -> HttpSourceConfig {
    HttpSourceConfig::new(([127, 0, 0, 1], 0).into(), "wk")
}

fn read(body: &str) -> Vec<String> {
    let envelope = batch(body.as_bytes(), RawEvents::new(), &config()).unwrap();
    envelope.events.iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect()
}

#[test]
fn what_a_batch_shares_goes_to_the_events_that_lack_it() {
    let body = r#" {"batch" : [ {"type":"track" , "sentAt":"own"},{ }, {"context":null}
        ], "context":{"ip":"1.1.1.1"},"sentAt": "2026-01-05T10:15:00Z" , "integrations":null,"writeKey":"wk"} "#;
    assert_eq!(
        read(body),
        [
            r#"{"type":"track" , "sentAt":"own","context":{"ip":"1.1.1.1"}}"#,
            r#"{ "context":{"ip":"1.1.1.1"},"sentAt":"2026-01-05T10:15:00Z"}"#,
            r#"{"context":null,"sentAt":"2026-01-05T10:15:00Z"}"#,
        ]
    );
}

#[test]
fn bad_elements_go_on_as_they_are_and_leave_the_others_alone() {
    let body = r#"{"context":{},"batch":[7,{"a":01},"}]",{"a" 1},null,[{}],{"b":[1}],{"ok":"\"]"}]}"#;
    assert_eq!(
        read(body),
        [
            "7",
            r#"{"a":01,"context":{}}"#,
            "\"}]\"",
            r#"{"a" 1}"#,
            "null",
            "[{}]",
            // Its brackets don't pair, but they close.
            r#"{"b":[1}]"#,
            r#"{"ok":"\"]","context":{}}"#,
        ]
    );
}

#[test]
fn a_deep_event_costs_no_stack() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let envelope =
        batch(format!("{{\"batch\":[{deep},{{}}]}}").as_bytes(), RawEvents::new(), &config()).unwrap();
    assert_eq!((envelope.events.len(), envelope.events.get(1)), (2, &b"{}"[..]));
    assert_eq!(envelope.events.oversized(0), Some(deep.len() as u64));
}

#[test]
fn what_is_no_batch_is_refused() {
    for body in [
        "",
        "hello",
        "[]",
        "{\"batch\":[{}]",
        "{\"batch\":[{} {}]}",
        "{\"batch\":[{},]}",
        "{\"batch\":[,{}]}",
        "{\"batch\":{}}",
        "{\"batch\":null}",
        "{}",
        "{\"batch\":[]} x",
        "{\"batch\":[\"]}",
        "{\"batch\":[\"\\",
        "{\"batch\"",
        "{batch:[]}",
    ] {
        assert!(batch(body.as_bytes(), RawEvents::new(), &config()).is_err(), "{body}");
    }
}

#[test]
fn a_single_event_gets_its_type_from_the_path() {
    let read = |body: &str| {
        let envelope = single(body.as_bytes(), "track", RawEvents::new(), &config()).unwrap();
        (String::from_utf8(envelope.events.get(0).to_vec()).unwrap(), envelope.write_key)
    };
    let key = Some(b"w\"k".to_vec());
    assert_eq!(read(r#"{"writeKey":"w\"k"}"#), (r#"{"writeKey":"w\"k","type":"track"}"#.to_owned(), key));
    assert_eq!(read(r#" {"type":"page"} "#), (r#"{"type":"page"}"#.to_owned(), None));
    assert!(single(b"[]", "track", RawEvents::new(), &config()).is_err());
}

#[test]
fn sharing_does_not_make_a_small_body_large() {
    let small = HttpSourceConfig { max_inflated_bytes: 10_000, ..config() };
    let context = "x".repeat(1_000);
    let body = |events: usize| {
        format!("{{\"context\":{{\"a\":\"{context}\"}},\"batch\":[{}]}}", vec!["{}"; events].join(","))
    };
    assert!(batch(body(5).as_bytes(), RawEvents::new(), &small).is_ok());
    assert!(batch(body(50).as_bytes(), RawEvents::new(), &small).is_err());
}

#[test]
fn what_is_too_large_is_kept_as_it_would_have_been_sent_on() {
    let small = HttpSourceConfig { max_event_bytes: 40, ..config() };
    let large = format!(r#"{{"userId":"{}"}}"#, "u".repeat(40));
    let one = |events: &RawEvents, place| {
        let event = String::from_utf8(events.get(place).to_vec()).unwrap();
        assert_eq!(events.oversized(place), Some(event.len() as u64), "all of it is there");
        event
    };
    let envelope = single(large.as_bytes(), "track", RawEvents::new(), &small).unwrap();
    let open = large.strip_suffix('}').unwrap();
    assert_eq!(one(&envelope.events, 0), format!(r#"{open},"type":"track"}}"#));

    let context = r#""context":{"traits":{"email":"a@b.c"}}"#;
    let body = format!(r#"{{"batch":[{{}},{large},[{large}]],"sentAt":2,{context}}}"#);
    let envelope = batch(body.as_bytes(), RawEvents::new(), &small).unwrap();
    assert_eq!(envelope.events.get(0), format!(r#"{{{context},"sentAt":2}}"#).as_bytes());
    assert_eq!(envelope.events.oversized(0), None, "the limit is on what the client wrote");
    assert_eq!(one(&envelope.events, 1), format!(r#"{open},{context},"sentAt":2}}"#));
    assert_eq!(one(&envelope.events, 2), format!("[{large}]"), "no object, and as it was");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        "[\\x00-\\x7f\u{e9}\u{1f30a}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z\"\\\\]{1,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn event() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![Just("context"), Just("sentAt"), Just("integrations"), Just("type"), Just("x")];
    proptest::collection::btree_map(keys.prop_map(str::to_owned), value(), 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>()))
}

proptest! {
    /// Splicing gives what merging the parsed objects gives, however the body is written.
    #[test]
    fn like_merging_objects(
        events in proptest::collection::vec(event(), 0..5),
        shared in proptest::collection::btree_map(
            prop_oneof![Just("context"), Just("sentAt"), Just("integrations")], value(), 0..3),
        pretty: bool,
    ) {
        let mut body = json!({ "batch": events });
        for (key, value) in &shared {
            body[*key] = value.clone();
        }
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let got: Vec<Value> =
            read(&text.unwrap()).iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let expected: Vec<Value> = events.into_iter().map(|mut event| {
            for (key, value) in &shared {
                if !value.is_null() && event.get(*key).is_none() {
                    event[*key] = value.clone();
                }
            }
            event
        }).collect();
        prop_assert_eq!(got, expected);
    }

    /// No bytes, however odd, do more than refuse the body.
    #[test]
    fn never_panics(body in proptest::collection::vec(
        prop_oneof![Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b'\\'), Just(b','), Just(b':'), Just(b'1'), any::<u8>()], 0..60)) {
        let _ = batch(&body, RawEvents::new(), &config());
        let _ = single(&body, "track", RawEvents::new(), &config());
        let wrapped = [&b"{\"batch\":["[..], &body, b"]}"].concat();
        let _ = batch(&wrapped, RawEvents::new(), &config());
    }
}
