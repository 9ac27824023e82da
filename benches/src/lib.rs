//! What the benchmarks share: the workload, its pipeline, the yardstick, and how figures are taken and told.
//!
//! Every program here prints one JSON object to standard output and what it is doing to standard error. Figures that
//! are compared are taken in the same run, alternating, because a shared machine is never the same twice.

pub mod clickstream;
pub mod clock;
pub mod figures;
pub mod handwritten;
pub mod pipeline;
pub mod process;
pub mod stepper;

/// Any error: a benchmark that fails says why and ends.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
