//! What Tidewater is tested with.
//!
//! [`generate`] makes random pipelines and event streams; [`reference`] computes a pipeline a second time with
//! ordinary differential operators; [`drive`] runs a scenario through the engine, the batch oracle and the reference,
//! and compares them after every epoch; [`script`] reads scenarios with expected deltas from text files;
//! [`fake`] holds sources and sinks that misbehave in one named way each.

pub mod drive;
pub mod fake;
pub mod generate;
pub mod plain;
pub mod random;
pub mod reference;
pub mod script;
