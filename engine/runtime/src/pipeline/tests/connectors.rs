use serde_json::json;

use super::{super::*, IDENTIFIERS, environment, load};

const TEXT: &str = "sources:
  web:
    type: http
    listen: 127.0.0.1:8000
    write_keys:
      - one
      - two
    limits: { body.max: 5, body: { max: 6 } }
";

#[test]
fn plain_values_have_the_types_of_json() {
    let text = format!(
        "{IDENTIFIERS}sources:\n  s: {{ type: x, a: 1, b: -2.5, c: 1e3, d: true, e: ~, f: null, g: '1', h: 0123, i: 23851234567890123456789, \
         j: 7d, k: [1, x], l: {{ m: false }}, n: , o: 18446744073709551615, p: .5, q: yes, r: +1 }}\n"
    );
    let expected = json!({
        "a": 1, "b": -2.5, "c": 1000.0, "d": true, "e": null, "f": null, "g": "1", "h": "0123",
        "i": "23851234567890123456789", "j": "7d", "k": [1, "x"], "l": { "m": false }, "n": null,
        "o": 18_446_744_073_709_551_615_u64, "p": ".5", "q": "yes", "r": "+1",
    });
    assert_eq!(serde_json::Value::Object(load(&text).sources()[0].config().clone()), expected);
}

#[test]
fn a_connectors_errors_point_at_its_keys_and_values() {
    let pipeline = load(&format!("{IDENTIFIERS}{TEXT}"));
    let source = &pipeline.sources()[0];
    assert_eq!((source.role(), source.name(), source.kind()), (ConnectorRole::Source, "web", "http"));
    let at = |error: PipelineError| (error.position.unwrap(), error.path);
    let path = |text: &str| format!("sources.web{text}");
    assert_eq!(at(source.value_error("listen", "x")), ((5, 13), path(".listen")));
    assert_eq!(at(source.key_error("listen", "x")), ((5, 5), path(".listen")));
    assert_eq!(at(source.value_error("write_keys[1]", "x")), ((8, 9), path(".write_keys[1]")));
    assert_eq!(at(source.value_error("write_keys.1", "x")), ((8, 9), path(".write_keys.1")));
    assert_eq!(at(source.value_error("limits.body.max", "x")), ((9, 25), path(".limits.body.max")));
    assert_eq!(at(source.value_error("limits.body", "x")), ((9, 34), path(".limits.body")));
    assert_eq!(at(source.key_error("type", "x")), ((4, 5), path(".type")));
    // What is not there: the nearest place above it.
    assert_eq!(at(source.value_error("", "x")), ((3, 3), path("")));
    assert_eq!(at(source.value_error("missing.deep", "x")), ((3, 3), path(".missing.deep")));
    assert_eq!(at(source.value_error("write_keys[9]", "x")).0, (7, 7));
    assert_eq!(at(source.value_error("limits.other", "x")).0, (9, 13));
}

#[test]
fn mistakes_of_connectors_are_reported_with_all_others() {
    let check = |connector: &ConnectorSpec| match connector.config().get("listen") {
        Some(listen) if listen == "127.0.0.1:8000" => vec![connector.value_error("listen", "taken")],
        _ => Vec::new(),
    };
    let environment = environment();
    let loader = || PipelineLoader::new(&environment).file_name("shop.yaml").check_connectors(&check);
    let errors = loader().load_text(&format!("{IDENTIFIERS}{TEXT}workrs: 1\n")).unwrap_err();
    let lines: Vec<Option<usize>> = errors.iter().map(PipelineError::line).collect();
    assert_eq!(lines, [Some(5), Some(10)]);
    assert!(errors.to_string().starts_with("shop.yaml:5:13: taken\n"), "{errors}");
    // One that can't be complete is not checked: its mistakes would only be about what is missing.
    let broken = format!("{IDENTIFIERS}{TEXT}").replace("- one", "- ${NOT_SET}");
    assert_eq!(loader().load_text(&broken).unwrap_err().len(), 1);
    assert!(loader().load_text(&format!("{IDENTIFIERS}{TEXT}").replace("8000", "8001")).is_ok());
}

#[test]
fn connectors_made_in_rust_have_key_paths() {
    let sink = ConnectorSpec::new(ConnectorRole::Sink, "out", "file", serde_json::Map::new());
    assert_eq!(sink.value_error("path", "missing").to_string(), "sinks.out.path: missing");
    assert_eq!(sink.value_error("", "no `path`").to_string(), "sinks.out: no `path`");
}
