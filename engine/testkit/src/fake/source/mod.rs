//! Sources that misbehave.

mod basic;
mod duplicating;
mod failing;
mod panicking;
mod slow;
mod stuck;

pub use basic::BasicSource;
pub use duplicating::DuplicatingSource;
pub use failing::FailingSource;
pub use panicking::PanickingSource;
pub use slow::SlowSource;
pub use stuck::StuckSource;
