//! Settings of the webhook sink.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::signature::Signer;
use crate::{
    config::{ConfigError, ConfigKey, ConnectorConfig, KeyKind, Reader, Secret},
    http_client::Endpoint,
};

/// Settings of a [`WebhookSink`](super::WebhookSink).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Where to send: `https://…` or `http://…`. Secret, since many services put a token into it.
    pub url: Secret,
    /// What requests are signed with, as `whsec_` and base64, or the bytes as they are. Several while one is being
    /// replaced by another; none: requests are not signed.
    pub secret: Vec<Secret>,
    /// Further headers, such as `Authorization`.
    pub headers: Vec<(String, Secret)>,
    /// Longest wait for an answer, connecting included.
    pub timeout: Duration,
    /// Most deltas in one request; a request never holds those of two epochs.
    pub batch: usize,
    /// Largest body; a single delta that is larger still is sent alone.
    pub max_bytes: usize,
    /// A PEM file with the certificates to trust instead of the public ones.
    pub ca_file: Option<String>,
}

impl WebhookConfig {
    /// Sends to `url` without a signature.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            secret: Vec::new(),
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            batch: 500,
            max_bytes: 1 << 20,
            ca_file: None,
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

impl ConnectorConfig for WebhookConfig {
    const TYPE: &'static str = "webhook";
    const KEYS: &'static [ConfigKey] = &[
        key("url", KeyKind::Text, None, "where to send deltas, `https://…`"),
        key(
            "secret",
            KeyKind::Texts,
            Some("none"),
            "signs requests (Standard Webhooks): `whsec_…`, or any text",
        ),
        key("headers", KeyKind::TextMap, Some("none"), "further headers of every request"),
        key("timeout", KeyKind::Duration, Some("10s"), "longest wait for an answer"),
        key("batch", KeyKind::Count, Some("500"), "most deltas in one request"),
        key("max_bytes", KeyKind::Bytes, Some("1MiB"), "largest body of a request"),
        key(
            "ca_file",
            KeyKind::Text,
            Some("none"),
            "PEM file with the certificates to trust, not the public ones",
        ),
    ];

    fn from_map(map: &Map<String, Value>) -> Result<Self, Vec<ConfigError>> {
        let mut reader = Reader::new(map, Self::KEYS);
        let base = Self::new("");
        let url = reader.text("url");
        if let Some(Err(message)) = url.as_deref().map(Endpoint::parse) {
            reader.error("url", message);
        }
        let config = Self {
            url: Secret::new(url.unwrap_or_default()),
            secret: reader.texts("secret").into_iter().map(Secret::new).collect(),
            headers: reader
                .text_map("headers")
                .into_iter()
                .map(|(name, value)| (name, Secret::new(value)))
                .collect(),
            timeout: reader.duration(
                "timeout",
                base.timeout,
                Duration::from_millis(1)..=Duration::from_secs(3_600),
            ),
            batch: reader.count("batch", base.batch, 1..=1_000_000),
            max_bytes: reader.bytes("max_bytes", base.max_bytes, 1..=1 << 30),
            ca_file: reader.text("ca_file"),
        };
        if let Err(message) = Signer::new(&config.secret) {
            reader.error("secret", message);
        }
        for (name, value) in &config.headers {
            if let Err(message) = header(name, value) {
                reader.error("headers", message);
            }
        }
        reader.finish(config)
    }
}

/// Headers that are the sink's own.
const RESERVED: [&str; 6] =
    ["host", "content-length", "content-type", "connection", "transfer-encoding", "expect"];

/// A configured header, checked. The message never holds the value.
pub(super) fn header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), String> {
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.starts_with("webhook-") {
        return Err(format!("`{name}` is set by the sink itself"));
    }
    let header =
        HeaderName::from_bytes(lower.as_bytes()).map_err(|_| format!("`{name}` is no header name"))?;
    let mut value = HeaderValue::from_str(value.reveal())
        .map_err(|_| format!("the value of `{name}` has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok((header, value))
}
