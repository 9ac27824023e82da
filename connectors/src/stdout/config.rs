//! Settings of the stdout sink: there are none.

use serde_json::{Map, Value};

use crate::config::{ConfigError, ConfigKey, ConnectorConfig, Reader};

/// Settings of a [`StdoutSink`](super::StdoutSink).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StdoutSinkConfig {}

impl ConnectorConfig for StdoutSinkConfig {
    const TYPE: &'static str = "stdout";
    const KEYS: &'static [ConfigKey] = &[];

    fn from_map(map: &Map<String, Value>) -> Result<Self, Vec<ConfigError>> {
        Reader::new(map, Self::KEYS).finish(Self {})
    }
}
