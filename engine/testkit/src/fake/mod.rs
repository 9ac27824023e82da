//! Sources and sinks that misbehave, each in one way that has a name: "what if the sink panics?" is one import.

pub mod sink;
pub mod source;
