//! Settings of the HTTP source.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Map, Value};

use crate::config::{ConfigError, ConfigKey, ConnectorConfig, KeyKind, Reader, Secret};

/// Settings of an [`HttpSource`](super::HttpSource). The limits are those of the original API where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSourceConfig {
    /// Where to listen; port 0 takes a free one. Plain HTTP: what faces the internet is a proxy that speaks TLS.
    pub listen: SocketAddr,
    /// The keys that clients may use.
    pub write_keys: Vec<Secret>,
    /// Largest request body, as sent.
    pub max_body_bytes: usize,
    /// Largest request body, decompressed.
    pub max_inflated_bytes: usize,
    /// A larger event goes to quarantine as `too_large`.
    pub max_event_bytes: usize,
    /// Most events in one batch.
    pub max_batch_events: usize,
    /// Most requests at a time; more are answered 429.
    pub max_requests: usize,
    /// Most open connections; more wait to be accepted.
    pub max_connections: usize,
    /// Longest wait for a request to begin and its headers to be complete; also how long an idle connection lives.
    pub header_timeout: Duration,
    /// Longest wait for the whole body.
    pub body_timeout: Duration,
}

impl HttpSourceConfig {
    /// Listens at an address for clients with one key.
    pub fn new(listen: SocketAddr, write_key: &str) -> Self {
        Self {
            listen,
            write_keys: vec![Secret::new(write_key)],
            max_body_bytes: 500_000,
            max_inflated_bytes: 8_000_000,
            max_event_bytes: 32 << 10,
            max_batch_events: 2_500,
            max_requests: 512,
            max_connections: 4_096,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
        }
    }
}

const fn key(
    name: &'static str,
    kind: KeyKind,
    default: Option<&'static str>,
    help: &'static str,
) -> ConfigKey {
    ConfigKey { name, kind, default, help }
}

impl ConnectorConfig for HttpSourceConfig {
    const TYPE: &'static str = "http";
    const KEYS: &'static [ConfigKey] = &[
        key("listen", KeyKind::Address, Some("127.0.0.1:8000"), "address and port to listen at"),
        key(
            "write_keys",
            KeyKind::Texts,
            None,
            "keys that clients may use, as the user name of Basic authorization",
        ),
        key("max_body_bytes", KeyKind::Bytes, Some("500KB"), "largest request body as sent; 400 above"),
        key(
            "max_inflated_bytes",
            KeyKind::Bytes,
            Some("8MB"),
            "largest request body, decompressed; 400 above",
        ),
        key("max_event_bytes", KeyKind::Bytes, Some("32KiB"), "a larger event goes to quarantine"),
        key("max_batch_events", KeyKind::Count, Some("2500"), "most events in one batch; 400 above"),
        key("max_requests", KeyKind::Count, Some("512"), "most requests at a time; 429 above"),
        key(
            "max_connections",
            KeyKind::Count,
            Some("4096"),
            "most open connections; more wait to be accepted",
        ),
        key(
            "header_timeout",
            KeyKind::Duration,
            Some("30s"),
            "how long a client may take to begin a request",
        ),
        key(
            "body_timeout",
            KeyKind::Duration,
            Some("30s"),
            "how long a client may take to send a body; 408 above",
        ),
    ];

    fn from_map(map: &Map<String, Value>) -> Result<Self, Vec<ConfigError>> {
        let mut reader = Reader::new(map, Self::KEYS);
        let base = Self::new(SocketAddr::from(([127, 0, 0, 1], 8000)), "");
        let seconds = |seconds| Duration::from_secs(seconds);
        let config = Self {
            listen: reader.address("listen", base.listen),
            write_keys: reader.texts("write_keys").into_iter().map(Secret::new).collect(),
            max_body_bytes: reader.bytes("max_body_bytes", base.max_body_bytes, 1..=1 << 30),
            max_inflated_bytes: reader.bytes("max_inflated_bytes", base.max_inflated_bytes, 1..=1 << 30),
            max_event_bytes: reader.bytes("max_event_bytes", base.max_event_bytes, 16..=crate::LARGEST_EVENT),
            max_batch_events: reader.count("max_batch_events", base.max_batch_events, 1..=1_000_000),
            max_requests: reader.count("max_requests", base.max_requests, 1..=1_000_000),
            max_connections: reader.count("max_connections", base.max_connections, 1..=1_000_000),
            header_timeout: reader.duration(
                "header_timeout",
                base.header_timeout,
                Duration::from_millis(1)..=seconds(3_600),
            ),
            body_timeout: reader.duration(
                "body_timeout",
                base.body_timeout,
                Duration::from_millis(1)..=seconds(3_600),
            ),
        };
        for (place, key) in config.write_keys.iter().enumerate() {
            if key.reveal().contains(':') || key.reveal().chars().any(char::is_control) {
                // The place, never the key.
                reader.error(
                    "write_keys",
                    format!("key number {place} has a colon or a control character in it"),
                );
            }
        }
        reader.finish(config)
    }
}
