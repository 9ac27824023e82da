//! The sequencer thread: everything that happens to the engine gets its order here, and epochs are cut.
//!
//! An epoch is cut as soon as nothing waits and the dataflow has room, when it is full, or when a timer is due: small
//! ones while the engine is idle, large ones while it catches up. An idle engine cuts none.

pub(crate) mod assembler;
pub(crate) mod intake;
pub(crate) mod message;
mod replay;
mod room;
mod take;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
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
};
use crate::{
    assembly::Common,
    checkpoint::trigger::Trigger,
    error::Error,
    lifecycle::Lifecycle,
    logger::{LogEntry, Positions, ToLog, note_positions},
    metrics::Metrics,
    progress::Progress,
    quarantine::Ring,
    settings::Settings,
    status::ReplayProgress,
    threads::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    worker::ToWorker,
};

/// While a timer is due later than this, the wall clock is looked at in between: it may be set, and a machine that
/// slept wakes up late.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How often memory is measured at most.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

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

/// Why the sequencer stops waiting.
enum Next {
    Message(Message),
    TimerDue,
    /// No handle, source or worker is left.
    Gone,
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

    /// Waits for a message or for the next timer.
    fn next(&mut self) -> Next {
        if let Some(message) = self.flow.postponed.pop_front() {
            return Next::Message(message);
        }
        match self.until_timer() {
            None => self.receiver.recv().map_or(Next::Gone, Next::Message),
            Some(Duration::ZERO) => match self.receiver.try_recv() {
                Ok(message) => Next::Message(message),
                Err(TryRecvError::Empty) => Next::TimerDue,
                Err(TryRecvError::Disconnected) => Next::Gone,
            },
            Some(wait) => match self.receiver.recv_timeout(wait.min(LONGEST_WAIT)) {
                Ok(message) => Next::Message(message),
                Err(RecvTimeoutError::Timeout) => Next::Message(Message::Wake),
                Err(RecvTimeoutError::Disconnected) => Next::Gone,
            },
        }
    }

    /// How long until an epoch is due by time alone. Under `clock: event` time passes with events only. While epochs
    /// are being computed nobody knows yet; their completion is a message.
    fn until_timer(&self) -> Option<Duration> {
        if self.clock_kind == ClockKind::Event || self.in_flight() > 0 {
            return None;
        }
        let timer = self.flow.next_timer?;
        let wait = timer.0.saturating_sub(self.clock.now().0);
        Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
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

    /// Cuts an epoch and sends it on; waits while log or dataflow are behind.
    fn cut(&mut self, pass: Pass) -> Result<(), Error> {
        let sealed_at = Instant::now();
        let mut cut = self.assembler.cut(self.clock.now());
        let epoch = cut.header.epoch;
        cut.header.positions = pass.positions;
        self.progress.sealed(epoch);
        self.metrics.epochs.add(1);
        self.measure(sealed_at);
        for (worker, input) in self.workers.iter().zip(cut.inputs) {
            send(worker, ToWorker::Feed { input, sealed_at })?;
        }
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.logged(&cut.header, pass.bytes as u64);
        }
        self.log(LogEntry { header: Some(cut.header), ..pass.entry }, epoch)?;
        self.serve_checkpoints()
    }

    /// Begins a checkpoint of the epoch cut last, if one is due or asked for. Call it between epochs.
    fn serve_checkpoints(&mut self) -> Result<(), Error> {
        let epoch = self.assembler.epoch();
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        if !checkpoints.is_due(epoch, threads::now()) {
            checkpoints.answer_known(epoch);
            if checkpoints.is_lost() {
                self.assembler.forget_messages();
            }
            return Ok(());
        }
        let all = checkpoints.is_all_next();
        checkpoints.begin(self.assembler.snapshot(all), all);
        self.workers.iter().try_for_each(|worker| send(worker, ToWorker::Snapshot { all }))
    }

    /// Before the end: a checkpoint of everything, so that the next start has nothing to replay.
    fn last_checkpoint(&mut self) -> Result<(), Error> {
        loop {
            if self.lifecycle.is_failed() || self.lifecycle.is_abandoned() {
                return Ok(());
            }
            if let Some(checkpoints) = &mut self.checkpoints {
                // It is the engine itself that asks, and waits for no answer.
                checkpoints.ask(oneshot::channel().0);
            }
            self.serve_checkpoints()?;
            let epoch = self.assembler.epoch();
            if self.checkpoints.as_ref().is_none_or(|checkpoints| !checkpoints.has_news(epoch)) {
                return Ok(());
            }
            // One is under way, which says when it is done.
            match self.receiver.recv_timeout(LONGEST_WAIT) {
                Ok(Message::Computed(computed)) => self.note_computed(computed),
                Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => {}
                // Whatever raced with the end is answered there.
                Ok(message) => self.flow.postponed.push_back(message),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Measures memory, now and then: it takes longer than a small epoch.
    fn measure(&mut self, now: Instant) {
        if self.flow.measured_at.is_none_or(|at| now.duration_since(at) >= MEASURE_EVERY) {
            self.flow.measured_at = Some(now);
            let (dedup, aliases) = self.assembler.bytes();
            self.acceptance.dedup.store(dedup, Ordering::Relaxed);
            self.acceptance.aliases.store(aliases, Ordering::Relaxed);
        }
    }

    /// Makes what a pass has taken in durable.
    fn log(&self, mut entry: LogEntry, epoch: u64) -> Result<(), Error> {
        for (_, accepted) in &mut entry.receipts {
            accepted.epoch = epoch;
        }
        match &self.log {
            LogEnd::Thread(log) => send(log, ToLog::Entry(entry)),
            LogEnd::Memory(ring) => {
                for reject in &entry.rejects {
                    ring.add(&entry.record(reject));
                }
                if let Some(header) = &entry.header {
                    note_positions(&self.positions, header);
                }
                self.progress.durable(epoch);
                entry.done(&self.intake);
                Ok(())
            }
        }
    }
}

/// Sends on, waiting for room. Whoever is gone has failed the engine, with a better reason than is known here.
pub(crate) fn send<T>(to: &Sender<T>, message: T) -> Result<(), Error> {
    to.send(message).map_err(|_| Error::failed("a thread of the engine has ended"))
}
