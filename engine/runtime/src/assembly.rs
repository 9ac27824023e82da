//! Connects the parts of an engine and starts its threads and tasks.
//!
//! ```text
//! handles, sources -> inbox -> sequencer -> workers -> publisher -> sinks, subscribers
//!                                   \-> log ------------/
//! ```
//! Every arrow is bounded. What goes back (buffers, timers) goes through the inbox, which never makes anyone wait;
//! so nothing waits in a circle.

use std::{sync::Arc, time::Duration};

use tidewater_connector_api::{Acknowledged, BoxSink, BoxSource, Clock, Position};
use tidewater_model::delta::DeltaNames;
use tidewater_operators::{Plan, Texts, extension::Extension};
use tidewater_storage::{AckFile, Checkpoints, LogArchive, LogReader, Manifest, StateReader};
use tokio::sync::watch;

use crate::{
    absent::Absent,
    checkpoint::{
        collect::{self, Collector, PieceReceiver, PieceSender},
        control::Control,
        pieces::{MemberChanges, Messages},
        restore::Found,
        trigger::Trigger,
    },
    clock::Random,
    delivery::{
        SinkHandle, acks,
        letters::Letters,
        queue::SinkQueue,
        task::{self, Delivery},
    },
    engine::{Engine, Shared},
    error::Error,
    lifecycle::{Lifecycle, guarded},
    logger::{Logger, Positions, ToLog, refused::Refused, trouble::Trouble},
    metrics::Metrics,
    monitor::{self, Rates},
    opening::{OpenSink, OpenState},
    progress::Progress,
    publisher::{Publisher, ToPublisher},
    quarantine::{Place, QuarantineView, Ring},
    retention::{
        Retention,
        seal::{self, Sealer},
    },
    sequencer::{AcceptanceBytes, LogEnd, Sequencer, intake::Intake, message::Message},
    settings::Settings,
    shutdown::{SinkTask, Tasks},
    sources::{self, SourceHandle},
    status::ReplayProgress,
    threads::{self, Entry, Receiver, Sender, Thread, bounded, unbounded},
    worker::{ToWorker, WorkerThread, allocators},
};

/// How many messages wait for the publisher. It never waits for anyone, so this only evens out its pace.
const PUBLISHER_QUEUE: usize = 64;

/// What an engine is made of.
pub(crate) struct Components {
    pub(crate) name: String,
    pub(crate) plan: Arc<Plan>,
    pub(crate) workers: usize,
    pub(crate) sources: Vec<(String, BoxSource)>,
    pub(crate) sinks: Vec<(String, BoxSink)>,
    pub(crate) extensions: Arc<[Arc<dyn Extension>]>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) settings: Settings,
}

/// What several threads have in common.
pub(crate) struct Common {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) positions: Positions,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) settings: Settings,
}

/// A sink and what its task needs.
struct SinkParts {
    sink: BoxSink,
    handle: Arc<SinkHandle>,
    acknowledged: Option<Acknowledged>,
    acks: Option<AckFile>,
}

/// Where the log ends, and what of it is to be replayed.
struct LogParts {
    end: LogEnd,
    logger: Option<Logger>,
    quarantine: Place,
    state: Option<StateReader>,
    progress: ReplayProgress,
    restore: Option<(StateReader, Manifest)>,
    replay: Option<LogReader>,
    durable: u64,
    sealer: Option<Sealer>,
    /// Only with a state directory.
    checkpoints: Option<CheckpointParts>,
}

/// What checkpoints are made with.
struct CheckpointParts {
    sender: PieceSender,
    receiver: PieceReceiver,
    store: Checkpoints,
    definitions: Vec<u8>,
    control: Arc<Control>,
    found: Found,
    absent: Absent,
    archive: Arc<LogArchive>,
    /// The epoch with which the present definitions began.
    changeover: u64,
}

/// Starts an engine on the opened state directory, if it is to have one.
pub(crate) fn launch(components: Components, mut opened: Option<OpenState>) -> Result<Engine, Error> {
    let Components { name, plan, workers, sources, sinks, extensions, clock, random, settings } = components;
    let names = delta_names(&plan);
    let (common, inbox) = common(&name, &clock, settings);
    let sinks = sink_parts(sinks, opened.as_mut(), &common);
    let sink_handles: Vec<_> = sinks.iter().map(|sink| Arc::clone(&sink.handle)).collect();
    let source_handle = |(name, source): &(String, BoxSource)| {
        Arc::new(SourceHandle::new(name, source, common.metrics.source_down(name)))
    };
    let source_handles: Vec<_> = sources.iter().map(source_handle).collect();
    let (to_publisher, from_all) = bounded(PUBLISHER_QUEUE);
    let log = log_parts(opened, &to_publisher, &common);
    let (replay_progress, replay) = watch::channel(log.progress);
    let texts = Texts::new(workers);
    let pieces = log.checkpoints.as_ref().map(|parts| (parts.sender.clone(), Arc::clone(&parts.control)));
    let to_collector = pieces.as_ref().map(|(sender, _)| sender.clone());
    let (to_workers, worker_threads) =
        worker_parts(workers, &plan, &texts, &extensions, (&to_publisher, to_collector), &common)?;
    drop(to_publisher);
    let acceptance = Arc::new(AcceptanceBytes::default());
    let publisher = Publisher::new(
        from_all,
        Arc::clone(&names),
        texts,
        sink_handles.clone(),
        workers,
        log.durable,
        pieces,
        &common,
    );
    let shared = Arc::new(Shared {
        name,
        plan: Arc::clone(&plan),
        names,
        workers,
        settings: common.settings.clone(),
        intake: Arc::clone(&common.intake),
        lifecycle: Arc::clone(&common.lifecycle),
        progress: Arc::clone(&common.progress),
        metrics: Arc::clone(&common.metrics),
        rates: Rates::default(),
        acceptance: Arc::clone(&acceptance),
        quarantine: QuarantineView::new(log.quarantine),
        state: log.state,
        checkpoints: log.checkpoints.as_ref().map(|parts| Arc::clone(&parts.control)),
        replay,
        trouble: Arc::clone(&common.trouble),
        sources: source_handles,
        sinks: sink_handles,
    });
    let (trigger, collector) =
        log.checkpoints.map(|parts| checkpoint_threads(parts, workers, &clock, &shared, &common)).unzip();
    let sequencer = Sequencer::new(
        inbox,
        &plan,
        to_workers,
        log.end,
        (log.restore, log.replay),
        trigger,
        replay_progress,
        Arc::clone(&clock),
        acceptance,
        &common,
    );
    let threads = Threads {
        workers: worker_threads,
        publisher,
        collector,
        sealer: log.sealer,
        logger: log.logger,
        sequencer,
    };
    let threads = threads.start(&common)?;
    let sources = sources.into_iter().map(|(_, source)| source).collect();
    let tasks = tasks(&shared, threads, sources, sinks, (&clock, &random), &common);
    Ok(Engine::new(shared, tasks))
}

/// What runs on threads of its own.
struct Threads {
    workers: Vec<WorkerThread>,
    publisher: Publisher,
    collector: Option<Collector>,
    sealer: Option<Sealer>,
    logger: Option<Logger>,
    sequencer: Sequencer,
}

impl Threads {
    /// Starts all of them; the sequencer last, since it begins the work.
    fn start(self, common: &Common) -> Result<Vec<Thread>, Error> {
        let Self { workers, publisher, collector, sealer, logger, sequencer } = self;
        let mut threads = Vec::new();
        for worker in workers {
            let keep = worker.receiver.clone();
            let part = format!("worker {}", worker.index);
            threads.push(spawn(&part, common, keep, move || worker.run())?);
        }
        let keep = publisher.receiver.clone();
        let lifecycle = Arc::clone(&common.lifecycle);
        threads.push(spawn("publisher", common, keep, move || {
            publisher.run();
            lifecycle.published_all();
            Ok(())
        })?);
        if let Some(collector) = collector {
            threads.push(spawn("checkpoint", common, (), move || collector.run())?);
        }
        if let Some(sealer) = sealer {
            threads.push(spawn("seal", common, (), move || sealer.run())?);
        }
        if let Some(logger) = logger {
            let keep = logger.receiver.clone();
            threads.push(spawn("log", common, keep, move || logger.run())?);
        }
        threads.push(spawn("sequencer", common, (), move || sequencer.run())?);
        Ok(threads)
    }
}

/// Starts a thread. When it fails, the engine does; `keep` keeps its channel open until that is known, so that no
/// other thread fails first with less to tell.
fn spawn(
    part: &str,
    common: &Common,
    keep: impl Send + 'static,
    run: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<Thread, Error> {
    let (lifecycle, intake) = (Arc::clone(&common.lifecycle), Arc::clone(&common.intake));
    let part = part.to_owned();
    let name = format!("tidewater {part}");
    // Workers meet before they take turns: each waits for all others while its channels to them are made.
    let entry = if part.starts_with("worker") { Entry::Later } else { Entry::AtOnce };
    let spawned = threads::spawn(name, entry, move || {
        guarded(&lifecycle, &part, run);
        if lifecycle.is_failed() {
            intake.close();
            intake.post(Message::Wake);
        }
        drop(keep);
    });
    spawned.map_err(|error| {
        // Those that run already end when their channels close.
        common.lifecycle.fail("a thread could not be started");
        Error::failed(format!("a thread could not be started: {error}"))
    })
}

/// The two ends of checkpoints: who begins them, and who makes them.
fn checkpoint_threads(
    parts: CheckpointParts,
    workers: usize,
    clock: &Arc<dyn Clock>,
    shared: &Arc<Shared>,
    common: &Common,
) -> (Trigger, Collector) {
    let CheckpointParts { sender, receiver, store, definitions, control, found, absent, archive, changeover } =
        parts;
    let trigger = Trigger::new(sender, Arc::clone(&control), &found, &common.settings);
    let collector = Collector {
        receiver,
        store,
        definitions,
        workers,
        sinks: shared.sinks.clone(),
        absent,
        control,
        every: Duration::from_millis(common.settings.checkpoint_every_ms),
        lifecycle: Arc::clone(&common.lifecycle),
        intake: Arc::clone(&common.intake),
        metrics: Arc::clone(&common.metrics),
        all: found.all,
        base: found.usable,
        messages: Messages::new(),
        members: MemberChanges::new(),
        is_lost: false,
        retention: Retention::new(archive, &common.settings, Arc::clone(clock), changeover),
    };
    (trigger, collector)
}

fn tasks(
    shared: &Arc<Shared>,
    threads: Vec<Thread>,
    sources: Vec<BoxSource>,
    sinks: Vec<SinkParts>,
    (clock, random): (&Arc<dyn Clock>, &Arc<dyn Random>),
    common: &Common,
) -> Tasks {
    let deliver = |parts: SinkParts| {
        let queue = || Arc::clone(parts.handle.queue());
        let writer = parts.acks.map(|file| acks::spawn(parts.handle.name(), file, queue()));
        let (sender, acks) = writer.unzip();
        if let Some(sender) = &sender {
            parts.handle.watch_acks(sender.watch());
        }
        let delivery = tokio::spawn(task::run(Delivery {
            sink: parts.sink,
            handle: parts.handle,
            acknowledged: parts.acknowledged,
            acks: sender,
            retry: shared.settings.retry.clone(),
            give_up_after: Duration::from_millis(shared.settings.sink_give_up_after_ms),
            clock: Arc::clone(clock),
            random: Arc::clone(random),
            partial: None,
        }));
        SinkTask { delivery, acks }
    };
    let read = |(source, handle): (BoxSource, &Arc<SourceHandle>)| {
        let (handle, positions) = (Arc::clone(handle), Arc::clone(&common.positions));
        tokio::spawn(sources::run(Arc::clone(shared), handle, source, positions, Arc::clone(random)))
    };
    let every = Duration::from_millis(shared.settings.sample_every_ms);
    Tasks {
        threads,
        sinks: sinks.into_iter().map(deliver).collect(),
        sources: sources.into_iter().zip(&shared.sources).map(read).collect(),
        monitor: tokio::spawn(monitor::run(Arc::downgrade(shared), every)),
    }
}

fn common(name: &str, clock: &Arc<dyn Clock>, settings: Settings) -> (Common, Receiver<Message>) {
    let lifecycle = Arc::new(Lifecycle::new());
    // The channel has no bound of its own: events in it are bounded in bytes by the intake.
    let (sender, inbox) = unbounded();
    let intake = Intake::new(sender, Arc::clone(&lifecycle), Arc::clone(clock), &settings);
    let intake = Arc::new(intake);
    let woken = Arc::downgrade(&intake);
    clock.watch(Box::new(move || {
        if let Some(intake) = woken.upgrade() {
            intake.post(Message::Wake);
        }
    }));
    let common = Common {
        lifecycle,
        progress: Arc::new(Progress::new()),
        metrics: Arc::new(Metrics::new(name)),
        intake,
        positions: Positions::default(),
        trouble: Arc::default(),
        settings,
    };
    (common, inbox)
}

fn sink_parts(
    sinks: Vec<(String, BoxSink)>,
    mut opened: Option<&mut OpenState>,
    common: &Common,
) -> Vec<SinkParts> {
    let mut parts = Vec::new();
    for (name, sink) in sinks {
        let state = opened.as_mut().and_then(|opened| opened.sinks.remove(&name));
        let correction = opened.as_mut().and_then(|opened| opened.corrections.remove(&name));
        let (acks, outbox, letters, has) = match state {
            Some(OpenSink { acks, outbox, letters, has }) => (Some(acks), Some(outbox), letters, has),
            None => (None, None, Letters::in_memory(common.settings.dead_letter_memory_bytes), 0),
        };
        let acknowledged = acks
            .as_ref()
            .and_then(|acks| acks.last())
            .map(|ack| Acknowledged { epoch: ack.epoch, position: Position(ack.position.clone()) });
        let epoch = acknowledged.as_ref().map_or(0, |acknowledged| acknowledged.epoch);
        let queue = SinkQueue::new((epoch, has), common.settings.sink_memory_bytes, outbox, correction);
        let handle = SinkHandle::new(&name, epoch, Arc::new(queue), letters, common.metrics.sink(&name));
        parts.push(SinkParts { sink, handle: Arc::new(handle), acknowledged, acks });
    }
    parts
}

fn log_parts(opened: Option<OpenState>, publisher: &Sender<ToPublisher>, common: &Common) -> LogParts {
    let Some(opened) = opened else {
        let ring = Arc::new(Ring::new(common.settings.quarantine_ring));
        let end = LogEnd::Memory(Arc::clone(&ring));
        return LogParts {
            end,
            logger: None,
            quarantine: Place::Memory(ring),
            state: None,
            progress: ReplayProgress::default(),
            restore: None,
            replay: None,
            durable: u64::MAX,
            sealer: None,
            checkpoints: None,
        };
    };
    let (sender, receiver) = bounded::<ToLog>(common.settings.log_queue_epochs);
    let durable = opened.log.durable_epoch();
    let archive = Arc::new(opened.archive);
    let (seal_sender, to_seal) = seal::channel();
    let logger = Logger {
        receiver,
        publisher: publisher.clone(),
        log: opened.log,
        refused: Refused::new(opened.quarantine, &common.metrics, &common.trouble),
        positions: Arc::clone(&common.positions),
        intake: Arc::clone(&common.intake),
        lifecycle: Arc::clone(&common.lifecycle),
        progress: Arc::clone(&common.progress),
        metrics: Arc::clone(&common.metrics),
        trouble: Arc::clone(&common.trouble),
        sealer: seal_sender,
    };
    let sealer =
        Sealer { archive: Arc::clone(&archive), receiver: to_seal, lifecycle: Arc::clone(&common.lifecycle) };
    let restore = opened.found.usable.clone().map(|manifest| (opened.reader.clone(), manifest));
    let control = Arc::new(Control::default());
    control.start(&opened.found);
    let (pieces, receiver) = collect::channel();
    LogParts {
        end: LogEnd::Thread(sender),
        logger: Some(logger),
        state: Some(opened.reader.clone()),
        progress: ReplayProgress { total_bytes: opened.log_bytes, ..ReplayProgress::default() },
        quarantine: Place::Disk { reader: opened.reader, intake: Arc::clone(&common.intake) },
        restore,
        replay: Some(opened.log_reader),
        durable,
        sealer: Some(sealer),
        checkpoints: Some(CheckpointParts {
            sender: pieces,
            receiver,
            store: opened.checkpoints,
            definitions: opened.definitions,
            control,
            found: opened.found,
            absent: opened.absent,
            archive,
            changeover: opened.changeover,
        }),
    }
}

fn worker_parts(
    workers: usize,
    plan: &Arc<Plan>,
    texts: &Arc<Texts>,
    extensions: &Arc<[Arc<dyn Extension>]>,
    (publisher, checkpoints): (&Sender<ToPublisher>, Option<PieceSender>),
    common: &Common,
) -> Result<(Vec<Sender<ToWorker>>, Vec<WorkerThread>), Error> {
    let thread = |(index, allocator)| {
        let (sender, receiver) = bounded::<ToWorker>(common.settings.queued_epochs);
        let thread = WorkerThread {
            index,
            allocator,
            plan: Arc::clone(plan),
            texts: Arc::clone(texts),
            extensions: Arc::clone(extensions),
            receiver,
            publisher: publisher.clone(),
            checkpoints: checkpoints.clone(),
            lifecycle: Arc::clone(&common.lifecycle),
        };
        (sender, thread)
    };
    Ok(allocators(workers)?.into_iter().enumerate().map(thread).unzip())
}

/// The names that the indices of a plan's deltas stand for.
pub(crate) fn delta_names(plan: &Plan) -> Arc<DeltaNames> {
    let spec = plan.spec();
    Arc::new(DeltaNames::new(
        spec.segments.iter().map(|segment| segment.name.clone()).collect(),
        spec.identifiers.iter().map(|identifier| identifier.name.clone()).collect(),
    ))
}
