//! Connectors: one folder and one Cargo feature a system, the same file names in each.
//!
//! | feature | source | sink |
//! |---|---|---|
//! | `file` | NDJSON files, plain or compressed, or standard input: [`file::FileSource`] | [`file::FileSink`] |
//! | `stdout` | | [`stdout::StdoutSink`] |
//! | `http` | the Segment tracking API: [`http::HttpSource`] | |
//! | `webhook` | | signed batches by POST: [`webhook::WebhookSink`] |
//!
//! Each is configured by a plain struct that reads itself from a map ([`ConnectorConfig`]), reporting every mistake
//! at once. A connector knows the contract crate and nothing of the engine.

pub mod config;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "webhook")]
mod http_client;
#[cfg(feature = "stdout")]
pub mod stdout;
#[cfg(feature = "webhook")]
pub mod webhook;

/// The largest event that a source can be told to take, in bytes: as much as one epoch holds. An engine that runs such
/// sources must take as much (`Settings::max_event_bytes`).
pub const LARGEST_EVENT: usize = 16 << 20;

pub use config::{ConfigError, ConfigKey, ConnectorConfig, Secret};

#[cfg(test)]
mod test_support;
