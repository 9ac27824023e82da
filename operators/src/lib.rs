//! Tidewater's pure dataflow: events in, identity clusters, profile traits and segment memberships out.
//!
//! No files, no clocks, no async: time and events come in by argument. Modules in the order data flows:
//! [`ingest`], `identity`, `profile`, `segment`, `activation`; [`plan`] is the pipeline compiled for all of them.

pub mod dataflow;
pub mod ingest;
pub mod plan;

mod profile;
mod scalar;

pub use plan::{Plan, PlanError, worker_of};
