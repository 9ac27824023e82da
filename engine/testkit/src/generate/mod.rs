//! Random pipelines and event streams in which everything that can go wrong happens often: few identifiers, few
//! values, times on a coarse grid, so that collisions, merges, ties and window edges are the rule.
//!
//! Everything is a proptest strategy, so a failing case shrinks. [`scenario`] gives one case of a seed without
//! a test runner. [`shapes`] makes clusters too large for chance to make. [`Cdp1`] is the workload of the benches.

mod cdp1;
mod edges;
mod event;
mod pipeline;
mod predicate;
mod scenario;
mod shape;
mod yaml;

pub use cdp1::{Cdp1, cdp1_pipeline};
pub use edges::edges;
pub use pipeline::pipelines;
pub use scenario::{Epoch, Scenario, Unlink, scenario, scenarios};
pub use shape::shapes;
pub use yaml::yaml;

/// 2023-11-14T22:13:20Z, when everything in generated streams begins; in milliseconds since 1970.
pub const START: i64 = 1_700_000_000_000;
