//! Message ids and contents.

use proptest::prelude::*;

use super::*;

fn key(run: &mut Run, members: &[&str]) -> Option<MessageKey> {
    let event = format!("{{{}}}", members.join(","));
    let scanned = run.scan(event.as_bytes()).unwrap();
    let key = scanned.message;
    run.decoder.discard(scanned);
    key
}

const BASE: [&str; 3] = [r#""type":"track""#, r#""userId":"u""#, r#""timestamp":1600000000000"#];

fn with(extra: &[&'static str]) -> Vec<&'static str> {
    [&BASE[..], extra].concat()
}

#[test]
fn an_id_is_a_string_or_a_number() {
    let run = &mut Run::new(spec(), 1);
    let mut id = |text: &'static str| key(run, &with(&[text])).unwrap().id;
    let seven = id(r#""messageId":"7""#);
    assert_eq!(id(r#""messageId":7"#), seven);
    assert_eq!(id(r#""messageId":"\u0037""#), seven);
    assert_eq!(id(r#""\u006dessageId":"7""#), seven);
    assert_eq!(id(r#""messageId":"8","messageId":"7""#), seven);
    assert_ne!(id(r#""messageId":"7 ""#), seven);
    assert_ne!(id(r#""messageId":7.0"#), seven);
}

#[test]
fn without_an_id_the_content_stands_for_it() {
    let run = &mut Run::new(spec(), 1);
    let of = |run: &mut Run, extra: &[&'static str]| key(run, &with(extra)).unwrap();
    for no_id in [r#""messageId":null"#, r#""messageId":"""#, r#""messageId":true"#, r#""messageId":["a"]"#] {
        let (one, other) = (of(run, &[no_id, r#""x":1"#]), of(run, &[no_id, r#""x":2"#]));
        assert_eq!(of(run, &[r#""x":1"#, no_id]), one);
        assert!(one.id != other.id && one.content != other.content);
        assert_ne!((one.id >> 64) as u64, one.id as u64);
    }
    assert_eq!(key(run, &BASE[..2]), None);
    assert_eq!(key(run, &[BASE[0], BASE[1], r#""timestamp":null"#]), None);
    assert!(key(run, &[BASE[0], BASE[1], r#""originalTimestamp":1600000000000"#]).is_some());
    assert!(key(run, &[BASE[0], BASE[1], r#""messageId":"m""#]).is_some());
}

#[test]
fn how_an_event_travelled_is_no_content() {
    let run = &mut Run::new(spec(), 1);
    let plain = key(run, &with(&[r#""messageId":"m""#]));
    let travelled =
        [r#""sentAt":1"#, r#""receivedAt":{"x":[1]}"#, r#""_metadata":"y""#, r#""sent\u0041t":2"#];
    for extra in travelled {
        assert_eq!(key(run, &with(&[r#""messageId":"m""#, extra])), plain, "{extra}");
    }
    for extra in [r#""sentat":1"#, r#""x":{"sentAt":1}"#, r#""":1"#] {
        assert_ne!(key(run, &with(&[r#""messageId":"m""#, extra])), plain, "{extra}");
    }
}

#[test]
fn keys_are_content_however_they_are_spelled() {
    let run = &mut Run::new(spec(), 1);
    let plain = key(run, &with(&[r#""a long key with many words":"v""#]));
    for spelled in [
        r#""a long key with many words" : "v""#,
        r#""\u0061 long key with many words":"v""#,
        r#""a long key with many words":0,"a long key with many words":"v""#,
        r#""\u0061 long key with many words":0,"a long key with many words":"v""#,
    ] {
        assert_eq!(key(run, &with(&[spelled])), plain, "{spelled}");
    }
    let short = key(run, &with(&[r#""a":1"#]));
    for spelled in [
        r#""a": 1"#,
        r#""a" :1"#,
        r#""a":2,"a":1"#,
        r#""a": 2,"a":1"#,
        r#""a":2, "\u0061" :1"#,
        "\n\"a\":1\n",
    ] {
        assert_eq!(key(run, &with(&[spelled])), short, "{spelled}");
    }
    assert_ne!(key(run, &with(&[r#""a":1.0"#])), short);
    let long_value: &'static str = Box::leak(format!(r#""a":"{}""#, "x".repeat(600)).into_boxed_str());
    let spaced: &'static str = Box::leak(format!(r#""a": "{}""#, "x".repeat(600)).into_boxed_str());
    assert_eq!(key(run, &with(&[long_value])), key(run, &with(&[spaced])));
}

proptest! {
    /// Two events have the same content exactly if they have the same last value at every key.
    #[test]
    fn content_is_the_last_value_of_every_key(
        one in prop::collection::vec(("[a-d]|key with 22 letters[ab]", 0..3u8, " ?"), 0..6),
        other in prop::collection::vec(("[a-d]|key with 22 letters[ab]", 0..3u8, " ?"), 0..6),
        warm_up in prop::collection::vec("[a-f]", 0..6),
    ) {
        let run = &mut Run::new(spec(), 1);
        let mut content = |members: &[(String, u8, String)]| {
            let written = members.iter().map(|(key, value, space)| format!("\"{key}\":{space}{value}"));
            let members: Vec<String> = BASE.iter().map(|base| (*base).to_owned()).chain(written).collect();
            key(run, &members.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
        };
        let last = |members: &[(String, u8, String)]| {
            members.iter().map(|(key, value, _)| (key.clone(), *value)).collect::<std::collections::BTreeMap<_, _>>()
        };
        // Other keys in other orders, so that guesses go wrong.
        content(&warm_up.iter().map(|key| (key.clone(), 0, String::new())).collect::<Vec<_>>());
        prop_assert_eq!(content(&one) == content(&other), last(&one) == last(&other));
    }
}
