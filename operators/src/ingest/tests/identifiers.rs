//! Which values are identifiers, and who owns an event.

use proptest::prelude::*;
use serde_json::{Value, json};
use tidewater_model::identifier::DEFAULT_BLOCKED;

use super::*;

fn many() -> PipelineSpec {
    let exact = |text: &str| BlockRule::Exact(text.to_owned());
    let pattern = |text: &str| BlockRule::Pattern(text.to_owned());
    PipelineSpec {
        identifiers: vec![
            identifier(
                "user",
                &["userId", "properties.uid"],
                Normalize::None,
                &[exact("test"), pattern("^dev-")],
            ),
            identifier(
                "mail",
                &["traits.email", "email"],
                Normalize::Email,
                &[pattern("(?i)@EXAMPLE\\.org$")],
            ),
            identifier("name", &["traits.name"], Normalize::Lowercase, &[exact("b\u{f6}b")]),
            identifier("device", &["context.device.id", "anonymousId", "userId"], Normalize::Trim, &[]),
        ],
        ..PipelineSpec::default()
    }
}

/// The contract's rules, spelled out.
fn usable(spec: &IdentifierSpec, raw: &str) -> Option<String> {
    let value = match spec.normalize {
        Normalize::None => raw.to_owned(),
        Normalize::Trim => raw.trim().to_owned(),
        Normalize::Lowercase | Normalize::Email => raw.trim().to_lowercase(),
    };
    if spec.normalize == Normalize::Email {
        let sides: Vec<&str> = value.split('@').collect();
        let clean = !value.chars().any(|c| c.is_whitespace() || c.is_control());
        if sides.len() != 2 || sides.iter().any(|side| side.is_empty()) || !clean {
            return None;
        }
    }
    let trimmed = value.trim();
    let junk = trimmed.chars().all(|c| c == '0' || c == '-')
        || DEFAULT_BLOCKED.iter().any(|word| word.eq_ignore_ascii_case(trimmed));
    let blocked = spec.block.iter().any(|rule| match rule {
        BlockRule::Exact(exact) => value == *exact,
        BlockRule::Pattern(pattern) => regex::Regex::new(pattern).unwrap().is_match(&value),
    });
    (!junk && !blocked && value.len() <= 512).then_some(value)
}

fn expected(spec: &PipelineSpec, event: &Value) -> BTreeSet<Id> {
    let mut found = BTreeSet::new();
    for (rank, identifier) in spec.identifiers.iter().enumerate() {
        for path in &identifier.from {
            let value = path
                .steps()
                .iter()
                .fold(event, |at, step| if at.is_object() { &at[step] } else { &Value::Null });
            let scalars = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for scalar in scalars {
                let raw = match scalar {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    Value::Bool(value) => value.to_string(),
                    Value::Null | Value::Array(_) | Value::Object(_) => continue,
                };
                found.extend(usable(identifier, &raw).map(|value| (rank as u8, value)));
            }
        }
    }
    found
}

fn raw() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => "[ab]{1,3}",
        2 => "[ \t\u{a0}\u{2003}\n]{0,2}[a-cA-C\u{c4}\u{df}\u{3a3}\u{130}]{0,3}[ \u{a0}]{0,2}",
        3 => "[ ]?[aB\u{c4} ]{0,2}@{0,2}(example.org|EXAMPLE.ORG|b.c)?[\u{85} ]?",
        2 => prop::sample::select(DEFAULT_BLOCKED.to_vec()).prop_map(str::to_uppercase),
        1 => prop::sample::select(vec!["00-00", "0", "-", "", " ", "0a", "dev-1", "test", "Test ", " B\u{d6}B", "\u{a0}NULL "])
            .prop_map(str::to_owned),
        1 => (508..516usize).prop_map(|len| "x".repeat(len)),
        1 => (250..260usize).prop_map(|len| "\u{c4}".repeat(len)),
        1 => any::<String>(),
    ]
    .prop_map(Value::from)
    .boxed()
    .prop_union(prop_oneof![(-20..20i64).prop_map(Value::from), any::<bool>().prop_map(Value::from), Just(Value::Null)].boxed())
}

fn found_at_a_path() -> impl Strategy<Value = Value> {
    let nested = prop_oneof![Just(json!(["a"])), Just(json!({"a": "b"})), Just(json!([]))];
    prop_oneof![
        5 => raw(),
        1 => prop::collection::vec(prop_oneof![5 => raw(), 1 => nested], 0..6).prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn are_found_as_the_contract_says(
        user in found_at_a_path(), uid in found_at_a_path(), email in found_at_a_path(), mail in found_at_a_path(),
        name in found_at_a_path(), device in found_at_a_path(), anonymous in found_at_a_path(), escape in any::<bool>(),
    ) {
        let spec = many();
        let event = json!({
            "type": "track", "userId": user, "properties": {"uid": uid, "x": {"uid": "no"}}, "email": mail,
            "traits": {"email": email, "name": name}, "context": {"device": {"id": device}}, "anonymousId": anonymous,
        });
        let mut text = event.to_string();
        if escape {
            text = text.replace('x', "\\u0078").replace('@', "\\u0040");
        }
        let mut run = Run::new(spec.clone(), 2);
        let mut all = expected(&spec, &event);
        match run.push(&text) {
            Ok(event) => {
                prop_assert_eq!(Some(&event.owner), all.first());
                all.remove(&event.owner);
                prop_assert_eq!(event.others, all);
            }
            Err(reason) => prop_assert_eq!((reason, all.len()), (RejectReason::NoIdentifier, 0)),
        }
    }
}

#[test]
fn every_default_is_blocked_whatever_its_case_and_what_surrounds_it() {
    let mut run = Run::new(spec(), 1);
    let words = DEFAULT_BLOCKED.iter().copied().chain([
        "",
        "0",
        "-",
        "0000-00",
        "00000000-0000-0000-0000-000000000000",
    ]);
    for word in words {
        for spelled in [word.to_owned(), word.to_uppercase(), format!(" {word}\\t"), format!("\u{a0}{word}")]
        {
            let event = format!(r#"{{"type":"track","userId":"{spelled}"}}"#);
            assert_eq!(run.push(&event), Err(RejectReason::NoIdentifier), "{event}");
        }
        if !word.is_empty() {
            let event = run.push(&format!(r#"{{"type":"track","userId":"{word}x"}}"#));
            assert_eq!(event.unwrap().owner.1, format!("{word}x"));
        }
    }
}

#[test]
fn numbers_are_taken_as_written() {
    let mut run = Run::new(spec(), 1);
    for number in ["42", "-7", "1.50", "1E+3", "123456789012345678901234567890"] {
        let event = run.push(&format!(r#"{{"type":"track","userId":{number}}}"#)).unwrap();
        assert_eq!(event.owner, (0, number.to_owned()));
    }
    assert_eq!(run.push(r#"{"type":"track","userId":-1}"#), Err(RejectReason::NoIdentifier));
    assert_eq!(run.push(r#"{"type":"track","userId":true}"#), Err(RejectReason::NoIdentifier));
}

#[test]
fn long_values_are_counted_once_they_are_accepted_or_refused_for_them() {
    let mut run = Run::new(spec(), 1);
    let long = "x".repeat(513);
    run.push(&format!(r#"{{"type":"track","userId":["{long}","u"],"anonymousId":"{long}"}}"#)).unwrap();
    assert_eq!(run.decoder.stats().oversized_identifiers, 2);
    let refused = run.push(&format!(r#"{{"type":"track","userId":"{long}"}}"#));
    assert_eq!((refused, run.decoder.stats().oversized_identifiers), (Err(RejectReason::NoIdentifier), 3));
    let scanned =
        run.scan(format!(r#"{{"type":"track","userId":"u","anonymousId":"{long}"}}"#).as_bytes()).unwrap();
    run.decoder.discard(scanned);
    assert_eq!(run.decoder.stats().oversized_identifiers, 3);
    // What the limit is held against is the normalized value.
    let email = format!("{}{}@b", " ".repeat(600), "x".repeat(510));
    let event = run.push(&format!(r#"{{"type":"track","traits":{{"email":"{email}"}}}}"#)).unwrap();
    assert_eq!(event.owner.1.len(), 512);
}

#[test]
fn an_array_of_many_values_is_read_once() {
    let mut run = Run::new(spec(), 1);
    let list = |count: usize| {
        let values: Vec<String> = (0..count).map(|value| format!("\"v{}\"", value % (count / 2))).collect();
        format!(r#"{{"type":"track","userId":[{}]}}"#, values.join(","))
    };
    let event = run.push(&list(60_000)).unwrap();
    assert_eq!((event.owner, event.others.len()), ((0, "v0".to_owned()), 29_999));
    assert_eq!(run.push(&list(140_000)), Err(RejectReason::TooLarge));
}
