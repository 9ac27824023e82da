//! What reaches the sequencer. One channel for all of it, so that the order of the calls is the order of the work.

use std::sync::Arc;

use tidewater_connector_api::{Position, RawEvents, ReceiptSender};
use tidewater_model::Timestamp;
use tidewater_operators::{dataflow::WorkerDataflow, ingest::EventBatch};
use tidewater_storage::Extent;
use tokio::sync::oneshot;

use super::room::Permits;
use crate::{checkpoint::control::Asker, error::Error, logger::refused::Removal, subscription::Opening};

/// A message to the sequencer.
pub(crate) enum Message {
    /// Events to take in.
    Submit(Submission),
    /// The workers are done with an epoch.
    Computed(Computed),
    /// A question to workers, to be asked between two epochs.
    Ask(Question),
    /// Open a subscription between two epochs.
    Subscribe {
        /// Index of the segment.
        segment: usize,
        /// Where its updates go.
        mailbox: Opening,
    },
    /// Cut an epoch of what has been taken in, and answer with the number of the last one.
    Flush(oneshot::Sender<u64>),
    /// Cut an epoch, with or without events, and answer with its number.
    Seal(oneshot::Sender<u64>),
    /// Make a checkpoint, and answer with its epoch once it counts.
    Checkpoint(Asker),
    /// Take these events out of quarantine; answers how many they were.
    Remove(Removal, oneshot::Sender<Result<u64, Error>>),
    /// Say how much of log and quarantine is durable, both as of one moment.
    Extent(oneshot::Sender<Result<Extent, Error>>),
    /// Something outside the channel changed: the clock, or the engine's state.
    Wake,
    /// Nothing more is to come: work off what is there and end.
    Finish,
}

/// Events of one source or caller.
pub(crate) struct Submission {
    /// Who sent them; `None` for a caller of the handle.
    pub(crate) source: Option<Arc<str>>,
    pub(crate) events: RawEvents,
    pub(crate) position: Option<Position>,
    /// They come from the quarantine: one that is refused again is kept also when there is no room for others.
    pub(crate) is_again: bool,
    pub(crate) receipt: ReceiptSender,
    /// Its share of the ingest queue, given back when the events are taken in.
    pub(crate) permits: Permits,
}

/// What the workers report about an epoch besides its deltas.
pub(crate) struct Computed {
    pub(crate) epoch: u64,
    /// The earliest timer of all workers.
    pub(crate) next_timer: Option<Timestamp>,
    /// The buffers of the epoch's input, emptied.
    pub(crate) buffers: Vec<EventBatch>,
}

/// Between which epochs something was read: behind this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) epoch: u64,
    pub(crate) now: Timestamp,
}

/// Reads the state of a worker; called on its thread between two epochs.
pub(crate) type Job = Box<dyn FnOnce(&mut WorkerDataflow, At) + Send>;

/// Jobs for workers, all to be done at the same epoch.
pub(crate) struct Question {
    /// Worker and job.
    pub(crate) jobs: Vec<(usize, Job)>,
}
