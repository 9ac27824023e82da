//! What the tests of several connectors share.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "not every feature's tests need all of it")]

use serde_json::Value;
use tidewater_connector_api::conformance::sink::Arrival;

/// The delta of one JSON object as the contract writes it.
pub(crate) fn arrival(delta: &Value, key: Option<&str>) -> Arrival {
    let text = |name: &str| delta[name].as_str().unwrap().to_owned();
    Arrival {
        key: key.map(str::to_owned),
        epoch: delta["epoch"].as_u64().unwrap(),
        segment: text("segment"),
        profile: text("profile"),
        change: text("change"),
    }
}

/// The deltas of a text of lines; a torn line fails the test.
pub(crate) fn arrivals(lines: &[u8]) -> Vec<Arrival> {
    assert!(lines.is_empty() || lines.ends_with(b"\n"), "whole lines only");
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| arrival(&serde_json::from_slice(line).unwrap(), None))
        .collect()
}
