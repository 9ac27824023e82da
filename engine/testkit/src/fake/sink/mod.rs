//! Sinks that misbehave.

mod basic;
mod duplicating;
mod failing;
mod panicking;
mod slow;
mod stuck;
mod uncertain;

pub use basic::{BasicSink, Delivered};
pub use duplicating::DuplicatingSink;
pub use failing::FailingSink;
pub use panicking::PanickingSink;
pub use slow::SlowSink;
pub use stuck::StuckSink;
pub use uncertain::{Applied, Shares, UncertainSink};
