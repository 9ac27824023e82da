//! Tidewater's pure dataflow: events in, identity clusters, profile traits and segment memberships out.
//!
//! No files, no clocks, no async: time and events come in by argument. Modules in the order data flows:
//! [`ingest`], `identity`, `profile`, `segment`, `activation`; [`plan`] is the pipeline compiled for all of them.

mod activation;
pub mod dataflow;
mod epoch;
pub mod extension;
mod graph;
mod identity;
pub mod ingest;
pub mod plan;
#[cfg(feature = "planted-bugs")]
pub mod planted;

mod intrinsics;
mod profile;
mod scalar;
mod segment;
pub mod snapshot;
mod store;

pub use activation::{Changes, merge};
pub use plan::{Plan, PlanError, worker_of};
pub use store::Texts;
