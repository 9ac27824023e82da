//! NDJSON files: a source that never loses or repeats a line, and a sink that never writes one twice.

mod config;
mod discover;
mod input;
mod lines;
mod position;
mod reader;
mod recognize;
mod sink;
mod source;

pub use config::{FileSinkConfig, FileSourceConfig};
pub use sink::FileSink;
pub use source::FileSource;

#[cfg(test)]
mod tests;
