#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

const KEYS: &[ConfigKey] = &[
    ConfigKey { name: "path", kind: KeyKind::Texts, default: None, help: "what to read" },
    ConfigKey { name: "follow", kind: KeyKind::Flag, default: Some("false"), help: "go on" },
    ConfigKey { name: "batch", kind: KeyKind::Count, default: Some("5"), help: "how many" },
    ConfigKey { name: "size", kind: KeyKind::Bytes, default: Some("1KB"), help: "how large" },
    ConfigKey { name: "timeout", kind: KeyKind::Duration, default: Some("1s"), help: "how long" },
    ConfigKey { name: "listen", kind: KeyKind::Address, default: Some("…"), help: "where" },
    ConfigKey { name: "headers", kind: KeyKind::TextMap, default: Some("{}"), help: "which" },
];

type Settings = (Vec<String>, bool, usize, usize, Duration, SocketAddr, Vec<(String, String)>);

fn read(value: Value) -> Result<Settings, Vec<String>> {
    let map = value.as_object().unwrap();
    let mut reader = Reader::new(map, KEYS);
    let settings = (
        reader.texts("path"),
        reader.flag("follow", false),
        reader.count("batch", 5, 1..=10),
        reader.bytes("size", 1_000, 1..=1 << 20),
        reader.duration(
            "timeout",
            Duration::from_secs(1),
            Duration::from_millis(1)..=Duration::from_secs(60),
        ),
        reader.address("listen", ([127, 0, 0, 1], 0).into()),
        reader.text_map("headers"),
    );
    reader.finish(settings).map_err(|errors| errors.iter().map(ConfigError::to_string).collect())
}

#[test]
fn every_kind_reads() {
    let settings = read(json!({
        "type": "x", "path": ["a", "b"], "follow": true, "batch": "7", "size": "2KiB", "timeout": "500ms",
        "listen": "[::1]:80", "headers": {"a": "b"}
    }));
    let expected = (
        vec!["a".to_owned(), "b".to_owned()],
        true,
        7,
        2_048,
        Duration::from_millis(500),
        "[::1]:80".parse().unwrap(),
        vec![("a".to_owned(), "b".to_owned())],
    );
    assert_eq!(settings, Ok(expected));
    assert_eq!(read(json!({"path": "a"})).unwrap().0, ["a"]);
    for (text, flag) in [("true", true), ("false", false)] {
        assert_eq!(read(json!({"path": "a", "follow": text})).unwrap().1, flag);
    }
    let map = json!({"on": "false"});
    assert!(!Reader::new(map.as_object().unwrap(), &[]).flag("on", true), "not the default");
}

#[test]
fn every_mistake_is_reported_with_its_key() {
    let errors = read(json!({
        "pth": "x", "zzzzzz": 1, "follow": "yes", "batch": 11, "size": "2 parsecs", "timeout": 5,
        "listen": "localhost", "headers": {"a": 1}
    }));
    assert_eq!(
        errors.unwrap_err(),
        [
            "pth: unknown key `pth`; did you mean `path`?",
            "zzzzzz: unknown key `zzzzzz`; known are path, follow, batch, size, timeout, listen, headers",
            "missing key `path`: what to read",
            "follow: expected `true` or `false`, found a text",
            "batch: expected a whole number from 1 to 10, found 11",
            "size: expected a size such as `500KB`, found \"2 parsecs\"",
            "timeout: expected a length of time such as `10s`, found 5",
            "listen: expected an address and port such as `127.0.0.1:8000`, found `localhost`",
            "headers.a: expected a text, found a number (put it in quotes)",
        ]
    );
    let errors = read(json!({"path": ["a", 7, ""]})).unwrap_err();
    assert_eq!(
        errors,
        [
            "path.1: expected a text, found a number (put it in quotes)",
            "path.2: expected a text, found an empty text",
        ]
    );
}

#[test]
fn where_no_key_is_known_none_are_listed() {
    let map = json!({"type": "stdout", "path": "x"});
    let mut reader = Reader::new(map.as_object().unwrap(), &[]);
    reader.error("other", "is read on");
    let errors = reader.finish(()).unwrap_err();
    assert_eq!(errors[0].to_string(), "path: unknown key `path`; it takes none");
}

#[test]
fn a_secret_is_not_shown() {
    assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
}
