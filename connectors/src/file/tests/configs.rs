use serde_json::json;

use super::super::*;
use crate::ConnectorConfig;

#[test]
fn the_contract_s_example_reads() {
    let config = FileSourceConfig::from_value(&json!({"type": "file", "path": "events/*.ndjson"})).unwrap();
    assert_eq!(config, FileSourceConfig::new("events/*.ndjson"));
    let config =
        FileSourceConfig::from_value(&json!({"path": "a", "follow": true, "max_event_bytes": "32KiB"}));
    let config = config.unwrap();
    assert!(config.follow && config.max_event_bytes == 32 << 10);
    let config = FileSinkConfig::from_value(&json!({"type": "file", "path": "deltas.ndjson"}));
    assert_eq!(config.unwrap(), FileSinkConfig::new("deltas.ndjson"));
}

#[test]
fn every_mistake_is_reported() {
    let errors = FileSourceConfig::from_value(&json!({"path": ["-", "a["], "folow": 1, "follow": true}));
    let errors: Vec<String> = errors.unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "folow: unknown key `folow`; did you mean `follow`?",
            "path: `a[` (number 1) is no glob: invalid range pattern",
            "follow: standard input can't be followed: it ends when its writer does",
        ]
    );
    let errors = FileSinkConfig::from_value(&json!({"path": "-"})).unwrap_err();
    assert_eq!(errors[0].path, ["path"]);
}
