//! Tidewater, embeddable: identity clusters, profile traits and segment memberships kept exact in real time.

pub mod pipeline;

pub use pipeline::{Pipeline, PipelineError, PipelineErrors};
