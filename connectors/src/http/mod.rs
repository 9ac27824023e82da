//! The Segment tracking API: any of its clients, and whoever speaks like them, sends events here.

mod auth;
mod body;
mod config;
mod envelope;
mod json;
mod reply;
mod routes;
mod source;

pub use config::HttpSourceConfig;
pub use source::HttpSource;

#[cfg(test)]
mod tests;
