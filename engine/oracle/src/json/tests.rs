#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn steps(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

fn nested(depth: usize) -> String {
    format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1))
}

#[test]
fn finds_values_by_path_through_objects_only() {
    let event = Object::parse(br#" {"a":{"b":{"c":1.50}},"l":[{"x":1}],"a.b":2} "#).unwrap();
    assert_eq!(event.at(&steps("a.b.c")), &Json::Number("1.50"));
    assert_eq!(event.at(&steps("a.b.c.d")), &Json::Null);
    assert_eq!(event.at(&steps("a.x")), &Json::Null);
    assert_eq!(event.at(&steps("l.0")), &Json::Null);
    assert_eq!(event.at(&steps("l.x")), &Json::Null);
}

#[test]
fn a_key_that_stands_twice_the_last() {
    let event = Object::parse(br#"{"a":{"x":1},"a":{"y":2},"\u0061":{"z":3}}"#).unwrap();
    assert_eq!(event.at(&steps("a.z")), &Json::Number("3"));
    // The last as a whole: objects are not merged.
    assert_eq!(event.at(&steps("a.x")), &Json::Null);
}

#[test]
fn unescapes_strings() {
    let event = Object::parse(r#"{"s":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é"}"#.as_bytes()).unwrap();
    assert_eq!(event.get("s"), &Json::String("a\"\\/\u{8}\u{c}\n\r\té😀é".into()));
}

#[test]
fn nests_128_levels_and_not_one_more() {
    assert!(Object::parse(nested(128).as_bytes()).is_some());
    assert!(Object::parse(nested(129).as_bytes()).is_none());
    // Deep enough to overflow the stack of a reader that does not count.
    assert!(Object::parse(nested(1_000_000).as_bytes()).is_none());
    assert!(Object::parse("[".repeat(1_000_000).as_bytes()).is_none());
}

#[test]
fn refuses_what_is_not_one_object() {
    let bad: [&[u8]; 25] = [
        b"",
        b" ",
        b"1",
        b"[]",
        b"\"a\"",
        b"{",
        b"{}}",
        b"{} {}",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\":1,}",
        b"{a:1}",
        b"{'a':1}",
        b"{\"a\":01}",
        b"{\"a\":1.}",
        b"{\"a\":.5}",
        b"{\"a\":+1}",
        b"{\"a\":1e}",
        b"{\"a\":NaN}",
        b"{\"a\":tru}",
        b"{\"a\":\"\x00\"}",
        b"{\"a\":\"\xff\"}",
        b"\xef\xbb\xbf{}",
        br#"{"a":"\ud800"}"#,
        br#"{"a":"\ud800\u0041"}"#,
    ];
    for text in bad {
        assert!(Object::parse(text).is_none(), "{}", String::from_utf8_lossy(text));
    }
    assert!(Object::parse(br#"{"a":"\udc00"}"#).is_none());
    assert!(Object::parse(br#"{"a":"\u+123"}"#).is_none());
    assert!(Object::parse(b"{\"a\":[1,]}").is_none());
}

fn same(ours: &Json<'_>, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Json::Null, serde_json::Value::Null) => true,
        (Json::Bool(a), serde_json::Value::Bool(b)) => a == b,
        (Json::Number(a), serde_json::Value::Number(b)) => a.parse::<f64>().ok() == b.as_f64(),
        (Json::String(a), serde_json::Value::String(b)) => a == b,
        (Json::Array(a), serde_json::Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Object(a), serde_json::Value::Object(b)) => {
            a.members.iter().all(|member| b.contains_key(&*member.key))
                && b.iter().all(|(key, value)| same(a.get(key), value))
        }
        _ => false,
    }
}

/// JSON values a few levels deep.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        (-99..99).prop_map(serde_json::Value::from),
        (-99..99).prop_map(|tenths| serde_json::Value::from(f64::from(tenths) / 10.0)),
        "[a\"\\\\/\n\u{1}é😀]{0,3}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[ab]{0,2}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    // Two readers that share nothing agree on what is JSON and on what it says; one character changed at random
    // makes near misses of every sort.
    #[test]
    fn agrees_with_an_independent_reader(
        value in prop::collection::btree_map("[ab]{0,2}", json(), 0..4),
        is_pretty in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3, r#"[\[\]{},:"\\ 0-9.eE+\-nua\n\t]"#), 0..3),
    ) {
        let written = match is_pretty {
            true => serde_json::to_string_pretty(&value),
            false => serde_json::to_string(&value),
        };
        let mut text: Vec<char> = written.unwrap().chars().collect();
        for (at, what, new) in changes {
            let at = at.index(text.len());
            let new = new.chars().next().unwrap();
            match what {
                0 => text[at] = new,
                1 => text.insert(at, new),
                _ if text.len() > 1 => drop(text.remove(at)),
                _ => {}
            }
        }
        let text: String = text.into_iter().collect();
        let theirs: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let theirs = theirs.filter(serde_json::Value::is_object);
        let ours = Object::parse(text.as_bytes()).map(Json::Object);
        match (&ours, &theirs) {
            (Some(ours), Some(theirs)) => prop_assert!(same(ours, theirs), "{text}"),
            _ => prop_assert_eq!(ours.is_some(), theirs.is_some(), "{}", text),
        }
    }
}
