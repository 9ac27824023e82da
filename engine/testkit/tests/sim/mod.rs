//! Seeded simulation of a whole engine: its own code and its own threads, of which one runs at a time and a seed says
//! which; a clock that passes only when everybody waits; a disk that fails, fills up and loses power; destinations that
//! apply without saying so, turn away and hang; clients that send again.
//!
//! A run has lives that end in every way, then one without faults, in which everything must come to its end. What was
//! answered and delivered on the way is then held against the log, and what follows from that against the oracle.
//!
//! | simulated | as in production |
//! |---|---|
//! | the order of threads, time, the disk, sources, sinks | sequencer, log, workers, publisher, checkpoints, delivery, recovery |
//!
//! Within an epoch several workers are stepped in a random order; how timely moves their messages is its own affair.

mod check;
mod disk;
mod events;
mod run;
mod sinks;
mod sources;
mod time;
mod turns;
mod world;

use disk::DiskCounts;
use world::DeliveryCounts;

/// What a run has seen, so that a test can tell that it saw something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Its seed.
    pub(crate) seed: u64,
    /// Engines that were started, or tried to.
    pub(crate) lives: u32,
    /// Starts that a fault has ended.
    pub(crate) failed_starts: u32,
    /// Lives that did not end in order.
    pub(crate) abrupt_ends: u32,
    /// Lives of engines that failed, and said so.
    pub(crate) failed_lives: u32,
    /// What went wrong with the disk.
    pub(crate) disk: DiskCounts,
    /// What became of deliveries.
    pub(crate) deliveries: DeliveryCounts,
    /// Epochs in the log at the end.
    pub(crate) epochs: u64,
    /// Events in the log at the end.
    pub(crate) events: u64,
    /// Deltas that follow from it.
    pub(crate) deltas: u64,
    /// How long it took, in its own time.
    pub(crate) virtual_ms: u64,
    /// Which threads went on, as a number: the same for the same seed.
    pub(crate) trace: u64,
}

/// Runs the simulation of a seed. `around` is called with the run, and may plant a bug for its time.
///
/// # Errors
/// What is wrong.
pub(crate) fn simulate(seed: u64, around: impl FnOnce(&mut dyn FnMut())) -> Result<Summary, String> {
    let mut evidence = Err("it never ran".to_owned());
    around(&mut || evidence = run::run(seed));
    check::check(evidence?)
}
