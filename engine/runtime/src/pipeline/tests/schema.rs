//! The schema and the loader describe the same files: checked key by key against the tables, and by a small
//! evaluator of JSON Schema on files that load and files that do not.

use regex::Regex;
use serde_json::{Value, json};

use super::{super::*, EXAMPLE, environment};
use crate::pipeline::{
    connector::to_json,
    error::Report,
    keys::{self, Keys},
    source::SourceText,
    tree,
};

fn schema() -> Value {
    serde_json::from_str(&Pipeline::json_schema()).unwrap()
}

#[test]
fn its_keys_are_those_that_are_built() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let same_keys = |object: &Value, keys: &Keys| {
        let mut described: Vec<&str> =
            object["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut built = keys.built.to_vec();
        described.sort_unstable();
        built.sort_unstable();
        assert_eq!(described, built, "{}", keys.of);
        assert_eq!(object["additionalProperties"], false, "{}", keys.of);
    };
    let parts = &schema["$defs"];
    same_keys(&schema, &keys::PIPELINE);
    same_keys(&parts["admin"], &keys::ADMIN);
    same_keys(&parts["identifier"], &keys::IDENTIFIER);
    same_keys(&parts["trait"], &keys::TRAIT);
    same_keys(&parts["segment"], &keys::SEGMENT);
    assert_eq!(parts["identifier"]["properties"]["normalize"]["enum"], json!(keys::NORMALIZE));
    assert_eq!(schema["properties"]["clock"]["anyOf"][0]["enum"], json!(keys::CLOCKS));
    assert_eq!(parts["name"]["not"]["enum"], json!(keys::RESERVED));
    let one_of: Vec<&Value> =
        parts["trait"]["oneOf"].as_array().unwrap().iter().map(|case| &case["required"][0]).collect();
    assert_eq!(json!(one_of), json!(keys::AGGREGATES));
    assert_eq!(parts["connector"]["required"], json!(["type"]));
    assert!(parts["connector"].get("additionalProperties").is_none(), "open");
}

#[test]
fn it_agrees_with_the_loader() {
    let base = "identifiers: { user_id: { from: userId } }\n";
    let mut files: Vec<(String, bool)> = vec![(EXAMPLE.to_owned(), true), ("state: x".to_owned(), false)];
    for (text, valid) in [
        ("workers: 65", false),
        ("workers: ${N:-2}", true),
        ("clock: sundial", false),
        ("dedup: forever", true),
        ("dedup: 7 days", false),
        ("min_time: 0", true),
        ("admin: {}", false),
        ("id_key: short", false),
        ("id_key: long enough", true),
        ("id_key: ${K}", true),
        ("id_key: 1234567890", true),
        ("state: [x]", false),
        ("identity: { prefer: newest }", false),
        ("sources: { a: { path: x } }", false),
        ("sources: { a: { type: x, anything: [1] } }", true),
        ("sinks:", true),
        ("sinks: { a/b: { type: x } }", false),
        ("traits: { a: { count: x, window: 1h, resolution: 1ms } }", true),
        ("traits: { a: { count: x, resolution: 1ms } }", false),
        ("traits: { a: { count: x, sum: y } }", false),
        ("traits: { a: { count: x, event: y } }", false),
        ("traits: { a: { sum: x, event: y, where: z > 1 } }", true),
        ("traits: { a: { sum: x..y } }", false),
        ("traits: { a: { window: 1h } }", false),
        ("traits: { a: { most_frequent: x } }", false),
        ("traits: { and: { count: x } }", false),
        ("segments: { a: has(user_id) }", true),
        ("segments: { a: { where: has(user_id), description: x } }", true),
        ("segments: { a: { description: x } }", false),
        ("segments: { 1a: has(user_id) }", false),
        ("segments: { a: [x] }", false),
    ] {
        files.push((format!("{base}{text}"), valid));
    }
    for (text, valid) in [
        ("{ from: [a, b.c], normalize: trim, block: [1, x] }", true),
        ("{ from: a, limit: 1 }", false),
        ("{ from: [] }", false),
        ("{ from: a, normalize: { phone: US } }", false),
    ] {
        files.push((format!("identifiers: {{ a: {text} }}"), valid));
    }
    let schema = schema();
    let environment = environment().variable("K", "of eight and more");
    for (text, valid) in files {
        let source = std::sync::Arc::new(SourceText::new("x", &text));
        let tree = tree::parse(&text, &source, &mut Report::default()).unwrap();
        assert_eq!(Pipeline::from_yaml(&text, &environment).is_ok(), valid, "the loader on\n{text}");
        assert_eq!(is_valid(&schema, &schema, &to_json(&tree)), valid, "the schema on\n{text}");
    }
}

/// As much of JSON Schema as the schema uses; panics on a keyword that it does not know.
fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let valid = |schema: &Value, value: &Value| is_valid(root, schema, value);
    let has_type = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    };
    let list = |value: &Value| value.as_array().unwrap().clone();
    let fields = value.as_object();
    let all_fields = |check: &dyn Fn(&String, &Value) -> bool| {
        fields.is_none_or(|fields| fields.iter().all(|(key, value)| check(key, value)))
    };
    schema.as_object().unwrap().iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "title" | "description" | "default" | "examples" | "$defs" => true,
        "type" => {
            if rule.is_array() {
                list(rule).iter().any(has_type)
            } else {
                has_type(rule)
            }
        }
        "$ref" => valid(&root["$defs"][rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap()], value),
        "enum" => list(rule).contains(value),
        "const" => rule == value,
        "anyOf" => list(rule).iter().any(|rule| valid(rule, value)),
        "oneOf" => list(rule).iter().filter(|rule| valid(rule, value)).count() == 1,
        "not" => !valid(rule, value),
        "required" => fields
            .is_none_or(|fields| list(rule).iter().all(|key| fields.contains_key(key.as_str().unwrap()))),
        "dependentRequired" => all_fields(&|key, _| {
            rule.get(key).is_none_or(|needs| {
                list(needs).iter().all(|key| fields.unwrap().contains_key(key.as_str().unwrap()))
            })
        }),
        "properties" => all_fields(&|key, value| rule.get(key).is_none_or(|rule| valid(rule, value))),
        "additionalProperties" => all_fields(&|key, value| {
            schema.get("properties").is_some_and(|known| known.get(key).is_some())
                || *rule != json!(false) && valid(rule, value)
        }),
        "propertyNames" => all_fields(&|key, _| valid(rule, &json!(key))),
        "minProperties" => fields.is_none_or(|fields| fields.len() as u64 >= rule.as_u64().unwrap()),
        "maxProperties" => fields.is_none_or(|fields| fields.len() as u64 <= rule.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| valid(rule, item))),
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
        "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
        "maxLength" => value.as_str().is_none_or(|text| text.len() as u64 <= rule.as_u64().unwrap()),
        "pattern" => {
            value.as_str().is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text))
        }
        "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
        "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap()),
        other => panic!("keyword {other}"),
    })
}
