//! What an engine says about itself: plain data, a moment's view.

use std::time::Duration;

use tidewater_model::RejectReason;

use crate::{checkpoint::control::CheckpointStatus, lifecycle::EngineState, progress::Epochs};

/// A moment's view of an engine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// What it is doing.
    pub state: EngineState,
    /// How far each stage has come.
    pub epochs: Epochs,
    /// The replay at start, as far as it has come.
    pub replay: ReplayProgress,
    /// Events since the start, without those replayed.
    pub counts: Counts,
    /// Accepted events in the last second.
    pub events_per_second: f64,
    /// Deltas in the last second.
    pub deltas_per_second: f64,
    /// Bytes of events that wait to be taken into an epoch.
    pub ingest_queue_bytes: u64,
    /// Memory in use as the limit counts it, and whether it is above the limit.
    pub memory_bytes: u64,
    /// New events are turned away until memory is below its limit.
    pub over_memory_limit: bool,
    /// The log can't be written, as when the disk is full; what is wrong. Events wait meanwhile.
    pub log_trouble: Option<String>,
    /// The quarantine is full, which stops nothing; what is to be done. [`Counts::quarantine_lost`] says what it costs.
    pub quarantine_trouble: Option<String>,
    /// The last checkpoint; `None` without a state directory.
    pub checkpoint: Option<CheckpointStatus>,
    /// In the order they were added.
    pub sources: Vec<SourceStatus>,
    /// In the order they were added.
    pub sinks: Vec<SinkStatus>,
}

/// Counts since the engine was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Events accepted.
    pub events: u64,
    /// Events dropped as duplicates.
    pub duplicates: u64,
    /// Events refused, by reason; every reason stands here. They are in quarantine, but for those lost.
    pub quarantined: Vec<(RejectReason, u64)>,
    /// Of these, events that found no room in the quarantine and are not kept.
    pub quarantine_lost: u64,
    /// Values that read as null because they are no number or too large for one.
    pub bad_numbers: u64,
    /// Identifier values that were too long to be used.
    pub long_identifiers: u64,
    /// Epochs cut.
    pub epochs: u64,
    /// Deltas published.
    pub deltas: u64,
}

/// How far the replay of the log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayProgress {
    /// Epochs read.
    pub epochs: u64,
    /// Events read.
    pub events: u64,
    /// Bytes of events read.
    pub bytes: u64,
    /// About how many bytes there are; 0 where there is no log.
    pub total_bytes: u64,
    /// Whether all of it has been read and computed.
    pub done: bool,
}

/// A source.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Whether it is still reading.
    pub state: SourceState,
    /// Whether it ends by itself.
    pub finite: bool,
    /// Bytes of its input it has read, and how many there are where it knows.
    pub read_bytes: (u64, Option<u64>),
}

/// What a source is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceState {
    /// It waits for the replay.
    Waiting,
    /// It reads.
    Running,
    /// Its input can't be reached at present; it is tried again.
    Retrying(String),
    /// It has read everything, or was told to stop.
    Finished,
    /// It stopped with an error, which someone has to look at.
    Failed(String),
}

impl SourceState {
    /// Whether it will not read any more.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Finished | Self::Failed(_))
    }

    /// Whether someone has to act, and start the engine again, before it reads on.
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// A sink.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Whether it takes deltas.
    pub state: SinkState,
    /// The last epoch it has acknowledged (or that held nothing for it).
    pub acknowledged_epoch: u64,
    /// Epochs with deltas that wait for it.
    pub queued_epochs: u64,
    /// Bytes of them in memory.
    pub queued_bytes: u64,
    /// Bytes of them on disk.
    pub spilled_bytes: u64,
    /// Deltas it has acknowledged since the start.
    pub deltas: u64,
    /// Attempts that failed since the start.
    pub failures: u64,
    /// Deltas that its destination would not take and that are kept until someone has them tried again or drops them.
    pub dead_letters: u64,
    /// Bytes of them.
    pub dead_letter_bytes: u64,
    /// Without a state directory: dead letters that had to make room for later ones since the start.
    pub dropped_letters: u64,
}

/// What a sink is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkState {
    /// It is being opened.
    Opening,
    /// It takes what it is given.
    Running,
    /// Its last attempt failed; the same deltas are tried again.
    Retrying {
        /// Why it failed.
        reason: String,
        /// Failed attempts in a row.
        attempts: u32,
        /// How long the engine waits before the next.
        wait: Duration,
    },
    /// It refuses everything, or its dead letters have no more room. Deltas are kept for it as long as there is room; it is
    /// asked again from time to time.
    Parked(String),
    /// It is given nothing any more; what it missed is made again from the log when the engine is restarted.
    Failed(String),
    /// The engine has stopped, or is stopping, and it has everything.
    Closed,
}

impl SinkState {
    /// Whether someone has to act before it takes deltas again.
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Parked(_) | Self::Failed(_))
    }
}

/// What a shutdown left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The last published epoch.
    pub epoch: u64,
    /// Sources that had not stopped by the deadline.
    pub unfinished_sources: Vec<String>,
    /// Sinks that have not acknowledged everything. With a state directory they get the rest after the next start;
    /// without, it is lost.
    pub undelivered_sinks: Vec<String>,
}

/// What a flush reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// The epoch: everything accepted before the call is in it or before it.
    pub epoch: u64,
    /// Sinks that have not acknowledged it, because they are parked, failed, being retried, or did not answer
    /// within the flush deadline.
    pub undelivered_sinks: Vec<String>,
}
