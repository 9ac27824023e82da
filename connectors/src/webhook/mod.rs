//! Webhooks: deltas by POST, signed, in order, each request under an id that a retry repeats.

mod config;
mod signature;
mod sink;

pub use config::WebhookConfig;
pub use sink::WebhookSink;

#[cfg(test)]
mod tests;
