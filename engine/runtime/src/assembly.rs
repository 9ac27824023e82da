//! Connects the parts of an engine and starts its threads and tasks.
//!
//! ```text
//! handles, sources -> inbox -> sequencer -> workers -> publisher -> sinks, subscribers
//!                                   \-> log ------------/
//! ```
//! Every arrow is bounded. What goes back (buffers, timers) goes through the inbox, which never makes anyone wait;
//! so nothing waits in a circle.

mod checkpoints;
mod log;
mod sinks;
mod tasks;
mod threads;

use std::sync::Arc;

use tidewater_connector_api::{BoxSink, BoxSource, Clock};
use tidewater_model::delta::DeltaNames;
use tidewater_operators::{Plan, Texts, extension::Extension};
use tokio::sync::watch;

use self::{
    checkpoints::checkpoint_threads, log::log_parts, sinks::sink_parts, tasks::tasks, threads::Threads,
};
use crate::{
    checkpoint::collect::PieceSender,
    clock::Random,
    engine::{Engine, Shared},
    error::Error,
    lifecycle::Lifecycle,
    logger::{Positions, trouble::Trouble},
    metrics::Metrics,
    monitor::Rates,
    opening::OpenState,
    progress::Progress,
    publisher::{Publisher, ToPublisher},
    quarantine::QuarantineView,
    sequencer::{AcceptanceBytes, Sequencer, intake::Intake, message::Message},
    settings::Settings,
    sources::SourceHandle,
    threads::{Receiver, Sender, bounded, unbounded},
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
