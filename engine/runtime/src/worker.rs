//! A worker thread: one timely worker, one epoch at a time inside its dataflow, questions answered in between.

use std::{sync::Arc, time::Instant};

use tidewater_model::Timestamp;
use tidewater_operators::{
    Plan, Texts,
    dataflow::{EpochInput, WorkerDataflow},
    extension::Extension,
};
use timely::{
    WorkerConfig,
    communication::{Allocator, AllocatorBuilder, allocator::Thread},
    worker::Worker,
};

use crate::{
    checkpoint::{
        collect::PieceSender,
        pieces::kind,
        restore::unreadable,
        take::{ROOM_WAIT, Snapshots},
    },
    error::Error,
    lifecycle::Lifecycle,
    publisher::ToPublisher,
    sequencer::message::{At, Job},
    subscription::Mailbox,
    threads::{self, Receiver, Sender, TryRecvError},
};

/// A message to a worker.
pub(crate) enum ToWorker {
    /// Compute an epoch.
    Feed { input: EpochInput, sealed_at: Instant },
    /// Read the state.
    Ask(Job),
    /// Give the publisher this worker's members of a segment, in the order of the epochs.
    Subscribe { segment: usize, mailbox: Arc<Mailbox> },
    /// Take a snapshot of the epoch computed last, of all state or of what has changed.
    Snapshot { all: bool },
    /// Read a piece of a checkpoint made when the engine's clock showed `now`.
    Read { now: Timestamp, kind: u8, piece: Arc<[u8]> },
}

/// What a worker thread works with.
pub(crate) struct WorkerThread {
    pub(crate) index: usize,
    pub(crate) allocator: AllocatorBuilder,
    pub(crate) plan: Arc<Plan>,
    pub(crate) texts: Arc<Texts>,
    pub(crate) extensions: Arc<[Arc<dyn Extension>]>,
    pub(crate) receiver: Receiver<ToWorker>,
    pub(crate) publisher: Sender<ToPublisher>,
    /// `None` without a state directory.
    pub(crate) checkpoints: Option<PieceSender>,
    pub(crate) lifecycle: Arc<Lifecycle>,
}

impl WorkerThread {
    /// Works until the sequencer has gone or the engine has failed.
    pub(crate) fn run(self) -> Result<(), Error> {
        self.lifecycle.unpark_on_failure(std::thread::current());
        let mut worker = new_worker(self.allocator);
        threads::enter();
        let mut dataflow = WorkerDataflow::build_with(&mut worker, self.plan, self.texts, &self.extensions);
        if self.checkpoints.is_some() {
            dataflow.track_changes();
        }
        let mut at = At::default();
        let mut snapshot = self.checkpoints.map(Snapshots::new);
        let is_over = || self.lifecycle.is_failed() || self.lifecycle.is_given_up();
        while let Some(message) = next(&self.receiver, &mut dataflow, snapshot.as_mut(), is_over) {
            match message {
                ToWorker::Feed { input, sealed_at } => {
                    at = At { epoch: input.epoch, now: input.now };
                    dataflow.feed(input);
                    while !dataflow.is_complete() {
                        // Parks only while other workers are busy; a failure of one of them unparks it.
                        threads::step(&mut worker);
                        if self.lifecycle.is_failed() {
                            return Ok(());
                        }
                    }
                    let output = dataflow.finish();
                    let part = ToPublisher::Part { worker: self.index, output, sealed_at };
                    if self.publisher.send(part).is_err() {
                        return Ok(());
                    }
                    dataflow.collect_after_epoch();
                    // Also when the next epoch waits already, or a checkpoint would never get on.
                    if let Some(snapshot) = &mut snapshot {
                        snapshot.write(&mut dataflow);
                    }
                }
                ToWorker::Ask(job) => job(&mut dataflow, at),
                ToWorker::Subscribe { segment, mailbox } => {
                    let members = dataflow.members(segment);
                    let part = ToPublisher::Members { worker: self.index, at, members, mailbox };
                    if self.publisher.send(part).is_err() {
                        return Ok(());
                    }
                }
                ToWorker::Snapshot { all } => {
                    if let Some(snapshot) = &mut snapshot {
                        snapshot.begin(&mut dataflow, at.epoch, all);
                    }
                    let part = ToPublisher::Snapshot { worker: self.index, epoch: at.epoch };
                    if self.publisher.send(part).is_err() {
                        return Ok(());
                    }
                }
                ToWorker::Read { now, kind, piece } => read(&mut dataflow, now, kind, &piece)?,
            }
        }
        Ok(())
    }
}

/// The next message. While a snapshot is being taken, or texts are given back, nobody is waited for: an engine that is over
/// its memory limit gets no events, and so no epochs, until it is below.
fn next(
    receiver: &Receiver<ToWorker>,
    dataflow: &mut WorkerDataflow,
    mut snapshot: Option<&mut Snapshots>,
    is_over: impl Fn() -> bool,
) -> Option<ToWorker> {
    loop {
        let mut open = snapshot.as_deref_mut().filter(|snapshot| snapshot.is_open());
        if open.is_none() && !dataflow.is_collecting() {
            return receiver.recv().ok();
        }
        match receiver.try_recv() {
            Ok(message) => return Some(message),
            Err(TryRecvError::Empty) => {
                let has_written = open.as_mut().is_some_and(|snapshot| snapshot.write(dataflow));
                if !has_written
                    && !dataflow.collect()
                    && let Ok(message) = receiver.recv_timeout(ROOM_WAIT)
                {
                    return Some(message);
                }
            }
            Err(TryRecvError::Disconnected) => {
                if let Some(snapshot) = open {
                    snapshot.finish(dataflow, is_over);
                }
                return None;
            }
        }
    }
}

/// Reads a piece of a checkpoint, if it is one for workers.
fn read(dataflow: &mut WorkerDataflow, now: Timestamp, kind: u8, piece: &[u8]) -> Result<(), Error> {
    let read = match kind {
        kind::NODES => dataflow.read_nodes(now, piece),
        kind::REST => dataflow.read_rest(piece),
        _ => Ok(()),
    };
    read.map_err(unreadable)
}

/// A timely worker on this thread. Those of one engine must be made at the same time, each on its own thread.
pub(crate) fn new_worker(allocator: AllocatorBuilder) -> Worker {
    let allocator = match allocator {
        AllocatorBuilder::Process(builder) => Allocator::Process(builder.build()),
        // There is one worker, which reaches only itself.
        _ => Allocator::Thread(Thread::default()),
    };
    Worker::new(WorkerConfig::default(), allocator, Some(Instant::now()))
}

/// The means by which `workers` timely workers reach each other.
pub(crate) fn allocators(workers: usize) -> Result<Vec<AllocatorBuilder>, Error> {
    let config = match workers {
        1 => timely::CommunicationConfig::Thread,
        _ => timely::CommunicationConfig::Process(workers),
    };
    config.try_build().map(|(builders, _)| builders).map_err(Error::failed)
}
