//! A worker thread: one timely worker, one epoch at a time inside its dataflow, questions answered in between.

use std::{sync::Arc, time::Instant};

use crossbeam::channel::{Receiver, Sender};
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
    error::Error,
    lifecycle::Lifecycle,
    publisher::ToPublisher,
    sequencer::message::{At, Job},
    subscription::Mailbox,
};

/// A message to a worker.
pub(crate) enum ToWorker {
    /// Compute an epoch.
    Feed { input: EpochInput, sealed_at: Instant },
    /// Read the state.
    Ask(Job),
    /// Give the publisher this worker's members of a segment, in the order of the epochs.
    Subscribe { segment: usize, mailbox: Arc<Mailbox> },
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
    pub(crate) lifecycle: Arc<Lifecycle>,
}

impl WorkerThread {
    /// Works until the sequencer has gone or the engine has failed.
    pub(crate) fn run(self) -> Result<(), Error> {
        self.lifecycle.unpark_on_failure(std::thread::current());
        let mut worker = new_worker(self.allocator);
        let mut dataflow = WorkerDataflow::build_with(&mut worker, self.plan, self.texts, &self.extensions);
        let mut at = At::default();
        while let Ok(message) = self.receiver.recv() {
            match message {
                ToWorker::Feed { input, sealed_at } => {
                    at = At { epoch: input.epoch, now: input.now };
                    dataflow.feed(input);
                    while !dataflow.is_complete() {
                        // Parks only while other workers are busy; a failure of one of them unparks it.
                        worker.step_or_park(None);
                        if self.lifecycle.is_failed() {
                            return Ok(());
                        }
                    }
                    let output = dataflow.finish();
                    let part = ToPublisher::Part { worker: self.index, output, sealed_at };
                    if self.publisher.send(part).is_err() {
                        return Ok(());
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
            }
        }
        Ok(())
    }
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
