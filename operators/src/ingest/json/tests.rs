//! The scanner against serde_json: what is accepted, and what is found.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::Value;
use tidewater_model::Path;

use super::*;

/// A scanner for these paths, and their nodes.
fn scanner(paths: &[&str]) -> (Scanner, Vec<Node>) {
    let mut tree = PathTree::default();
    let nodes = paths.iter().map(|path| tree.want(&Path::parse(path).unwrap())).collect();
    (Scanner::new(tree), nodes)
}

fn accepts(scanner: &mut Scanner, text: &[u8]) -> bool {
    let mut scratch = Vec::new();
    let alone = scanner.scan(PaddedEvent::copied(text, &mut scratch)).is_ok();
    // What stands behind an event must not matter.
    for behind in [&br#""}]}}1 "x":2}"#[..], b"   \n  {", b"999999"] {
        let mut buffer = [text, behind].concat();
        buffer.resize(buffer.len() + PaddedEvent::PADDING, b'}');
        assert_eq!(scanner.scan(PaddedEvent::new(&buffer, text.len()).unwrap()).is_ok(), alone);
    }
    alone
}

/// Whether serde_json takes the text as an object. It refuses numbers beyond f64, which JSON itself does not; `None`
/// then.
fn reference_accepts(text: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<Value>(text) {
        Ok(value) => Some(value.is_object()),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(_) => Some(false),
    }
}

/// A found value in serde_json's terms; arrays by their elements.
fn to_value(field: Field<'_>) -> Value {
    let string = |raw: &[u8], escaped: bool| {
        let mut text = Vec::new();
        if escaped {
            unescape(raw, &mut text);
        } else {
            text.extend_from_slice(raw);
        }
        Value::String(String::from_utf8(text).unwrap())
    };
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::Bool(value),
        Field::Number(text) => serde_json::from_slice(text).unwrap(),
        Field::Text(raw) => string(raw, false),
        Field::Escaped(raw) => string(raw, true),
        Field::Array(text) => {
            let nested = |field| match field {
                Field::Array(text) => serde_json::from_slice(text).unwrap(),
                Field::Object => Value::Object(serde_json::Map::new()),
                scalar => to_value(scalar),
            };
            Value::Array(elements(text).map(nested).collect())
        }
        Field::Object => Value::Object(serde_json::Map::new()),
    }
}

/// The same of a value that serde_json read: objects without their members.
fn expected(value: &Value, steps: &[String]) -> Value {
    let mut at = value;
    for step in steps {
        at = match at.as_object().and_then(|object| object.get(step)) {
            Some(next) => next,
            None => return Value::Null,
        };
    }
    let empty =
        |value: &Value| if value.is_object() { Value::Object(serde_json::Map::new()) } else { value.clone() };
    match at {
        Value::Array(items) => Value::Array(items.iter().map(empty).collect()),
        other => empty(other),
    }
}

const PATHS: [&str; 9] =
    ["a", "b", "b.a", "b.c", "b.c.d", "c.a.b.d", "key number 17", "properties.x", "\u{e4}"];

fn assert_same_values(scanner: &Scanner, nodes: &[Node], text: &[u8]) {
    let value: Value = serde_json::from_slice(text).unwrap();
    let mut scratch = Vec::new();
    let mut scanner = scanner.clone();
    let event = PaddedEvent::copied(text, &mut scratch);
    scanner.scan(event).unwrap();
    let fields = scanner.fields(event);
    for (path, node) in PATHS.iter().zip(nodes) {
        let wanted = expected(&value, Path::parse(path).unwrap().steps());
        assert_eq!(to_value(fields.get(*node)), wanted, "{path} in {}", String::from_utf8_lossy(text));
    }
}

/// A key that is likely to be wanted, in one of its spellings.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => prop::sample::select(vec!["a", "b", "c", "d", "x", "properties", "key number 17", "\u{e4}", ""])
            .prop_map(|key| serde_json::to_string(key).unwrap()),
        1 => Just(r#""\u0061""#.to_owned()),
        1 => Just(r#""propert\u0069es""#.to_owned()),
        1 => Just(r#""\u00E4""#.to_owned()),
        1 => "\"[a-z ]{0,40}\"",
    ]
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "\"[ -!#-\\[\\]-~]{0,50}\"",
        Just(r#""\ud83d\ude00\n\t\"\\\/\b\f\r\u20ac""#.to_owned()),
    ]
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 1 => "[ \t\r\n]{0,3}"]
}

/// Valid JSON text, with duplicate keys and white space.
fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            (prop::collection::vec((space(), inner.clone(), space()), 0..5)).prop_map(|items| {
                let items: Vec<_> = items.iter().map(|(a, item, b)| format!("{a}{item}{b}")).collect();
                format!("[{}]", items.join(","))
            }),
            object(inner),
        ]
    })
}

fn object(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::collection::vec((space(), key(), space(), space(), inner, space()), 0..7).prop_map(|members| {
        let member = |(a, key, b, c, value, d): &(String, String, String, String, String, String)| {
            format!("{a}{key}{b}:{c}{value}{d}")
        };
        format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Several events with one scanner: what it has learned from one must not show in the next.
    #[test]
    fn finds_what_serde_json_finds(events in prop::collection::vec(object(value()), 1..5)) {
        let (mut scanner, nodes) = scanner(&PATHS);
        for event in &events {
            if reference_accepts(event.as_bytes()).is_none() {
                continue;
            }
            prop_assert!(accepts(&mut scanner, event.as_bytes()), "{}", event);
            assert_same_values(&scanner, &nodes, event.as_bytes());
        }
    }

    #[test]
    fn accepts_what_serde_json_accepts(
        event in object(value()),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<bool>(), prop::sample::select(
                b"\"\\{}[]:,0129.eE+-tfnul \n\t\r\x00\x1f\x7f\x80\xc3\xa9\xff\xed\xa0ud8".to_vec())),
            1..4),
    ) {
        let (mut scanner, nodes) = scanner(&PATHS);
        accepts(&mut scanner, event.as_bytes());
        let mut text = event.into_bytes();
        for (at, insert, byte) in changes {
            let at = at.index(text.len());
            if insert { text.insert(at, byte) } else { text[at] = byte }
            if let Some(expected) = reference_accepts(&text) {
                prop_assert_eq!(accepts(&mut scanner, &text), expected, "{}", String::from_utf8_lossy(&text));
                if expected {
                    assert_same_values(&scanner, &nodes, &text);
                }
            }
        }
    }

    #[test]
    fn accepts_no_noise(text in prop::collection::vec(any::<u8>(), 0..60)) {
        let (mut scanner, _) = scanner(&PATHS);
        if let Some(expected) = reference_accepts(&text) {
            prop_assert_eq!(accepts(&mut scanner, &text), expected);
        }
    }

    #[test]
    fn elements_of_unchecked_text_end(text in "[\\[\\]{}\",\\\\ 1a]{0,40}") {
        prop_assert!(elements(text.as_bytes()).count() <= text.len());
    }
}

#[test]
fn refuses_each_kind_of_mistake() {
    let (mut scanner, _) = scanner(&PATHS);
    let bad: [&[u8]; 44] = [
        b"",
        b" ",
        b"[]",
        b"1",
        b"\"a\"",
        b"null",
        b"{",
        b"}",
        b"{}}",
        b"{} {}",
        b"{}x",
        b"{,}",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\":1,}",
        b"{\"a\":1 \"b\":2}",
        b"{a:1}",
        b"{'a':1}",
        b"{\"a\":01}",
        b"{\"a\":1.}",
        b"{\"a\":.5}",
        b"{\"a\":+1}",
        b"{\"a\":-}",
        b"{\"a\":1e}",
        b"{\"a\":1e+}",
        b"{\"a\":NaN}",
        b"{\"a\":tru}",
        b"{\"a\":True}",
        b"{\"a\":[1,]}",
        b"{\"a\":[1 2]}",
        b"{\"a\":[}",
        b"{\"a\":\"\x01\"}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":\"\\x\"}",
        b"{\"a\":\"\\u12\"}",
        b"{\"a\":\"\\u12g4\"}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"a\":\"\\ud800\\u0041\"}",
        b"{\"a\":\"\\udc00\"}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"\xc3\":1}",
        b"{\"a\":1\x00}",
        b"\xef\xbb\xbf{}",
    ];
    for text in bad {
        assert!(!accepts(&mut scanner, text), "{}", String::from_utf8_lossy(text));
    }
    let good: [&[u8]; 8] = [
        b"{}",
        b" \t\r\n{ } \n",
        b"{\"a\":-0}",
        b"{\"a\":1e999}",
        b"{\"a\":\"\x7f\"}",
        b"{\"\":\"\"}",
        b"{\"a\":\"\\ud83d\\ude00\"}",
        b"{\"a\":0.1E-7}",
    ];
    for text in good {
        assert!(accepts(&mut scanner, text), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_later_value_hides_what_was_below_an_earlier_one() {
    let (mut scanner, nodes) = scanner(&["b.a", "b.c.d", "b"]);
    let mut find = |text: &str| {
        let mut scratch = Vec::new();
        let event = PaddedEvent::copied(text.as_bytes(), &mut scratch);
        scanner.scan(event).unwrap();
        let fields = scanner.fields(event);
        [0, 1].map(|node| to_value(fields.get(nodes[node])))
    };
    let (null, one) = (Value::Null, Value::from(1));
    assert_eq!(find(r#"{"b":{"a":1,"c":{"d":1}}}"#), [one.clone(), one.clone()]);
    assert_eq!(find(r#"{"b":{"a":1,"c":{"d":1}},"b":5}"#), [null.clone(), null.clone()]);
    assert_eq!(find(r#"{"b":{"a":1,"c":{"d":1}},"b":{"c":{}}}"#), [null.clone(), null.clone()]);
    assert_eq!(find(r#"{"b":{"c":{"d":1},"c":[1],"a":1}}"#), [one.clone(), null.clone()]);
    assert_eq!(find(r#"{"b":5,"b":{"c":{"d":1}}}"#), [null.clone(), one]);
    assert_eq!(find(r#"{"a":{"a":1}}"#), [null.clone(), null]);
}

#[test]
fn depth_is_limited_to_128() {
    let (mut scanner, _) = scanner(&PATHS);
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{{\"a\":{}1{}}}", open.repeat(depth - 1), close.repeat(depth - 1))
    };
    for (open, close) in [("[", "]"), ("{\"b\":", "}"), ("{\"unwanted key that is long\" : ", "}")] {
        assert!(accepts(&mut scanner, nested(open, close, 128).as_bytes()));
        assert!(!accepts(&mut scanner, nested(open, close, 129).as_bytes()));
        assert!(!accepts(&mut scanner, nested(open, close, 10_000).as_bytes()));
    }
    assert!(!accepts(&mut scanner, "[".repeat(100_000).as_bytes()));
}

#[test]
fn long_texts_are_read_whole() {
    let (mut scanner, nodes) = scanner(&["a", "b"]);
    let (long, digits) = ("x".repeat(1 << 20), "7".repeat(100_000));
    let text = format!("{{\"{long}\":1,\"a\":\"{long}\",\"b\":{digits}.{digits}e{digits}}}");
    let mut scratch = Vec::new();
    let event = PaddedEvent::copied(text.as_bytes(), &mut scratch);
    scanner.scan(event).unwrap();
    let fields = scanner.fields(event);
    assert_eq!(fields.get(nodes[0]), Field::Text(long.as_bytes()));
    assert_eq!(fields.get(nodes[1]), Field::Number(format!("{digits}.{digits}e{digits}").as_bytes()));
}

#[test]
fn many_keys_are_scanned_once() {
    let (mut scanner, nodes) = scanner(&PATHS);
    let mut text = String::from("{");
    for key in 0..200_000 {
        text.push_str(&format!("\"key number {key}\":{{\"a\":{key}}},"));
    }
    text.push_str("\"a\":7}");
    let mut scratch = Vec::new();
    let event = PaddedEvent::copied(text.as_bytes(), &mut scratch);
    scanner.scan(event).unwrap();
    assert_eq!(scanner.fields(event).get(nodes[0]), Field::Number(b"7"));
    assert_eq!(scanner.fields(event).get(nodes[6]), Field::Object);
    assert_eq!(scanner.members().len(), 200_001);
}

#[test]
fn object_numbers_start_again_in_time() {
    let (scanner, nodes) = scanner(&PATHS);
    let mut scanner = scanner.with_object_numbers_used_up();
    for text in [&br#"{"b":{"a":1}}"#[..], br#"{"b":{"c":1}}"#] {
        let mut scratch = Vec::new();
        let event = PaddedEvent::copied(text, &mut scratch);
        scanner.scan(event).unwrap();
        let found = scanner.fields(event).get(nodes[2]);
        assert_eq!(found == Field::Null, text[7] == b'c');
    }
}
