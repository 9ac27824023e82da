//! Section 1 of the contract: every key of it either loads or is an error that says it is not built yet.

use super::{super::ErrorKind, super::*, errors, load};

/// Every key and kind of value that section 1 of the contract has, by where it stands; `true`: built.
const CONTRACT: &[(&str, &str, bool)] = &[
    ("pipeline", "state: ./state", true),
    ("pipeline", "workers: 1", true),
    ("pipeline", "clock: wall", true),
    ("pipeline", "clock: event", true),
    ("pipeline", "dedup: 7d", true),
    ("pipeline", "dedup: forever", true),
    ("pipeline", "max_future: 24h", true),
    ("pipeline", "min_time: 2000-01-01", true),
    ("pipeline", "admin: { listen: 127.0.0.1:9000 }", true),
    ("pipeline", "id_key: 0123456789abcdef", true),
    ("pipeline", "sources: { web: { type: http, listen: 127.0.0.1:8000 } }", true),
    ("pipeline", "traits: { orders: { count: X } }", true),
    ("pipeline", "segments: { known: has(user_id) }", true),
    ("pipeline", "sinks: { updates: { type: file, path: deltas.ndjson } }", true),
    ("pipeline", "identity: { prefer: newest }", false),
    ("identifier", "from: [a, b.c]", true),
    ("identifier", "normalize: email", true),
    ("identifier", "normalize: lowercase", true),
    ("identifier", "normalize: trim", true),
    ("identifier", "normalize: { phone: US }", false),
    ("identifier", "block: [test, '/^dev-/']", true),
    ("identifier", "limit: 1", false),
    ("identifier", "limit: { n: 5, per: 7d }", false),
    ("identifier", "prefer: newest", false),
    ("identifier", "owners: 1", false),
    ("identifier", "shared: session", false),
    ("identifier", "isolate: [kiosk]", false),
    ("identifier", "suspicious: 10", false),
    ("trait", "count: X", true),
    ("trait", "sum: a", true),
    ("trait", "min: a", true),
    ("trait", "max: a", true),
    ("trait", "avg: a", true),
    ("trait", "first: a", true),
    ("trait", "last: a", true),
    ("trait", "first_time: X", true),
    ("trait", "last_time: '*'", true),
    ("trait", "most_frequent: properties.category", false),
    ("trait", "sum: a, event: X", true),
    ("trait", "sum: a, where: b >= 100", true),
    ("trait", "sum: a, window: 7d", true),
    ("trait", "sum: a, window: 7d, resolution: 1ms", true),
    ("segment", "where: has(user_id)", true),
    ("segment", "where: has(user_id), description: Known", true),
    ("segment", "where: '\"Checkout Started\" then not \"Order Completed\" within 30m'", false),
    ("segment", "where: '\"Checkout Started\" within 30m'", false),
];

fn file(place: &str, text: &str) -> String {
    let identifiers = "identifiers: { user_id: { from: userId } }\n";
    match place {
        "pipeline" => format!("{identifiers}{text}"),
        "identifier" if text.starts_with("from") => format!("identifiers: {{ i: {{ {text} }} }}"),
        "identifier" => format!("identifiers: {{ i: {{ from: x, {text} }} }}"),
        "trait" => format!("{identifiers}traits: {{ t: {{ {text} }} }}"),
        _ => format!("{identifiers}segments: {{ s: {{ {text} }} }}"),
    }
}

#[test]
fn every_key_of_the_contract_is_built_or_says_that_it_is_not() {
    for (place, text, built) in CONTRACT {
        let file = file(place, text);
        if *built {
            load(&file);
            continue;
        }
        let errors = errors(&file);
        assert_eq!(errors.len(), 1, "{file}");
        assert_eq!(errors[0].kind, ErrorKind::NotBuilt, "{}", errors[0]);
        // The error names it.
        let (key, value) = text.split_once(':').unwrap();
        let named = match key {
            "normalize" => "normalize: phone",
            "where" if value.contains("then") => "then",
            "where" => "within",
            key => key,
        };
        assert!(errors[0].message.contains(&format!("`{named}`")), "{}", errors[0]);
        assert!(errors[0].message.contains("not built yet"), "{}", errors[0]);
        assert!(errors[0].position.is_some());
    }
}

#[test]
fn the_key_tables_and_the_contract_name_the_same_keys() {
    use super::super::keys;

    for (place, table) in [
        ("pipeline", keys::PIPELINE),
        ("identifier", keys::IDENTIFIER),
        ("trait", keys::TRAIT),
        ("segment", keys::SEGMENT),
    ] {
        let in_contract = |key: &str, built: Option<bool>| {
            CONTRACT.iter().any(|(at, text, is_built)| {
                let keys = text.split(", ").filter_map(|part| part.split_once(": ")).map(|(name, _)| name);
                *at == place
                    && built.is_none_or(|built| built == *is_built)
                    && keys.into_iter().any(|name| name == key)
            }) || (place == "pipeline" && key == "identifiers")
        };
        for key in table.built {
            assert!(in_contract(key, Some(true)), "{place}: {key}");
        }
        for key in table.not_built {
            assert!(in_contract(key, Some(false)) && !table.built.contains(key), "{place}: {key}");
        }
    }
    assert!(keys::AGGREGATES.iter().all(|key| keys::TRAIT.built.contains(key)));
}

#[test]
fn connector_types_that_do_not_exist_are_named() {
    let text = "identifiers: { user_id: { from: userId } }\nsinks:\n  ads: { type: meta_custom_audience }\n  \
                out: { type: fiel, path: x }\n  odd: { type: quux }\n";
    let known = ["file", "stdout", "webhook"];
    let check = |connector: &ConnectorSpec| match known.contains(&connector.kind()) {
        true => Vec::new(),
        false => vec![connector.unknown_kind(&known, &["meta_custom_audience"])],
    };
    let environment = FixedEnvironment::new();
    let errors = PipelineLoader::new(&environment).check_connectors(&check).load_text(text).unwrap_err();
    let errors: Vec<PipelineError> = errors.into_iter().collect();
    assert_eq!(errors.len(), 3);
    assert_eq!((errors[0].kind, errors[0].position), (ErrorKind::NotBuilt, Some((3, 16))));
    assert_eq!(errors[0].message, "the sink type `meta_custom_audience` is not built yet");
    assert_eq!(errors[1].message, "unknown sink type `fiel`");
    assert_eq!(errors[1].hint.as_deref(), Some("did you mean `file`?"));
    assert_eq!(errors[2].hint.as_deref(), Some("the types are `file`, `stdout` and `webhook`"));
    assert_eq!(errors[2].position, Some((5, 16)));
}
