//! Standard output: deltas as people and pipes read them. Whatever was printed before a crash is printed again.

mod config;
mod sink;

pub use config::StdoutSinkConfig;
pub use sink::StdoutSink;

#[cfg(test)]
mod tests;
