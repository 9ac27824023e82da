//! The sequencer thread: everything that happens to the engine gets its order here, and epochs are cut.
//!
//! An epoch is cut as soon as nothing waits and the dataflow has room, when it is full, or when a timer is due: small
//! ones while the engine is idle, large ones while it catches up. An idle engine cuts none.

pub(crate) mod assembler;
mod checkpoints;
mod cut;
pub(crate) mod intake;
pub(crate) mod message;
mod replay;
mod room;
mod take;
mod wait;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use tidewater_connector_api::{Clock, SendError};
use tidewater_model::{ClockKind, Timestamp};
use tidewater_operators::{Plan, ingest::DecodeStats};
use tidewater_storage::{LogReader, Manifest, StateReader};
use tokio::sync::{oneshot, watch};

use self::{
    assembler::Assembler,
    intake::Intake,
    message::{Computed, Message, Question},
    take::Pass,
    wait::Next,
};
use crate::{
    assembly::Common,
    checkpoint::trigger::Trigger,
    error::Error,
    lifecycle::Lifecycle,
    logger::{Positions, ToLog},
    metrics::Metrics,
    progress::Progress,
    quarantine::Ring,
    settings::Settings,
    status::ReplayProgress,
    threads::{Receiver, Sender},
    worker::ToWorker,
};

/// Where accepted events go besides the workers.
pub(crate) enum LogEnd {
    /// To the log thread.
    Thread(Sender<ToLog>),
    /// Nowhere; refused ones are kept for a while.
    Memory(Arc<Ring>),
}

/// The sequencer's state.
pub(crate) struct Sequencer {
    receiver: Receiver<Message>,
    assembler: Assembler,
    workers: Vec<Sender<ToWorker>>,
    log: LogEnd,
    /// What is to be read first.
    restore: Option<(StateReader, Manifest)>,
    /// What is to be replayed then.
    replay: Option<LogReader>,
    /// `None` without a state directory.
    checkpoints: Option<Trigger>,
    replay_progress: watch::Sender<ReplayProgress>,
    positions: Positions,
    clock_kind: ClockKind,
    clock: Arc<dyn Clock>,
    intake: Arc<Intake>,
    lifecycle: Arc<Lifecycle>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    settings: Settings,
    flow: Flow,
    /// What of the decoder's counts has been told.
    decoded: DecodeStats,
    acceptance: Arc<AcceptanceBytes>,
}

/// Bytes of memory that acceptance takes, as of the last measurement.
#[derive(Debug, Default)]
pub(crate) struct AcceptanceBytes {
    pub(crate) dedup: AtomicU64,
    pub(crate) aliases: AtomicU64,
}

/// What the sequencer knows of the dataflow.
#[derive(Default)]
struct Flow {
    /// The last epoch that all workers have computed.
    computed: u64,
    /// When time alone next changes something, as of that epoch.
    next_timer: Option<Timestamp>,
    /// Messages that came up while others were being worked off.
    postponed: VecDeque<Message>,
    /// When memory was last measured.
    measured_at: Option<Instant>,
}

impl Sequencer {
    #[expect(clippy::too_many_arguments, reason = "called once, where all of it has just been made")]
    pub(crate) fn new(
        receiver: Receiver<Message>,
        plan: &Arc<Plan>,
        workers: Vec<Sender<ToWorker>>,
        log: LogEnd,
        (restore, replay): (Option<(StateReader, Manifest)>, Option<LogReader>),
        checkpoints: Option<Trigger>,
        replay_progress: watch::Sender<ReplayProgress>,
        clock: Arc<dyn Clock>,
        acceptance: Arc<AcceptanceBytes>,
        common: &Common,
    ) -> Self {
        let mut assembler = Assembler::new(plan, workers.len());
        if checkpoints.is_some() {
            assembler.note_changes();
        }
        Self {
            receiver,
            assembler,
            workers,
            log,
            restore,
            replay,
            checkpoints,
            replay_progress,
            positions: Arc::clone(&common.positions),
            clock_kind: plan.spec().clock,
            clock,
            intake: Arc::clone(&common.intake),
            lifecycle: Arc::clone(&common.lifecycle),
            progress: Arc::clone(&common.progress),
            metrics: Arc::clone(&common.metrics),
            settings: common.settings.clone(),
            flow: Flow::default(),
            decoded: DecodeStats::default(),
            acceptance,
        }
    }

    /// Works until it is told to finish or the engine fails.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let result = self.work();
        let closed = SendError::Closed;
        let failed = result.as_ref().err().map(|error| SendError::Failed { reason: error.to_string() });
        // Whatever is left in the channel was never taken in.
        self.intake.close();
        let postponed = std::mem::take(&mut self.flow.postponed);
        for message in postponed.into_iter().chain(self.receiver.try_iter()) {
            if let Message::Submit(submission) = message {
                submission.receipt.resolve(Err(failed.clone().unwrap_or_else(|| closed.clone())));
            }
        }
        result
    }

    fn work(&mut self) -> Result<(), Error> {
        if !self.replay_log()? {
            return Ok(());
        }
        self.lifecycle.running();
        loop {
            if self.lifecycle.is_failed() {
                return Ok(());
            }
            match self.next() {
                Next::Message(Message::Finish) => return self.last_checkpoint(),
                Next::Gone => return Ok(()),
                Next::Message(Message::Submit(submission)) => self.take_in(submission)?,
                Next::Message(Message::Flush(done)) => self.answer_flush(done),
                Next::Message(Message::Seal(done)) => {
                    self.cut(Pass::default())?;
                    self.answer_flush(done);
                }
                Next::Message(Message::Computed(computed)) => self.note_computed(computed),
                Next::Message(Message::Ask(question)) => self.ask(question),
                Next::Message(Message::Subscribe { segment, mailbox }) => {
                    if let Some(mailbox) = mailbox.arrived() {
                        for worker in &self.workers {
                            send(worker, ToWorker::Subscribe { segment, mailbox: Arc::clone(&mailbox) })?;
                        }
                    }
                }
                Next::Message(Message::Remove(removal, done)) => {
                    if let LogEnd::Thread(log) = &self.log {
                        send(log, ToLog::Remove(removal, done))?;
                    }
                }
                Next::Message(Message::Extent(done)) => {
                    if let LogEnd::Thread(log) = &self.log {
                        send(log, ToLog::Extent(done))?;
                    }
                }
                Next::Message(Message::Checkpoint(asker)) => {
                    if let Some(checkpoints) = &mut self.checkpoints {
                        checkpoints.ask(asker);
                    }
                    self.serve_checkpoints()?;
                }
                Next::Message(Message::Wake) => self.serve_checkpoints()?,
                Next::TimerDue => self.cut(Pass::default())?,
            }
        }
    }

    /// Epochs that were cut and are not computed.
    fn in_flight(&self) -> u64 {
        self.assembler.epoch().saturating_sub(self.flow.computed)
    }

    fn note_computed(&mut self, computed: Computed) {
        self.flow.computed = computed.epoch;
        self.flow.next_timer = computed.next_timer;
        self.assembler.recycle(computed.buffers);
    }

    fn answer_flush(&mut self, done: oneshot::Sender<u64>) {
        // Whoever flushes and then asks for statistics expects them to be of now.
        self.flow.measured_at = None;
        self.measure(Instant::now());
        // Everything that came before has been cut: a pass never ends with events in hand. The asker may have gone.
        let _ = done.send(self.assembler.epoch());
    }

    fn ask(&self, question: Question) {
        for (worker, job) in question.jobs {
            // A worker that has gone failed the engine, which answers for it.
            let _ = self.workers[worker].send(ToWorker::Ask(job));
        }
    }
}

/// Sends on, waiting for room. Whoever is gone has failed the engine, with a better reason than is known here.
pub(crate) fn send<T>(to: &Sender<T>, message: T) -> Result<(), Error> {
    to.send(message).map_err(|_| Error::failed("a thread of the engine has ended"))
}
