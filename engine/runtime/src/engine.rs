//! The handle of a running engine. Clones are the same engine; when the last one goes, the engine stops.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tidewater_connector_api::{Accepted, RawEvents, Receipt, TrySendError};
use tidewater_model::{PipelineSpec, delta::DeltaNames};
use tidewater_operators::{Plan, dataflow::WorkerStats};
use tidewater_storage::StateReader;
use tokio::sync::{oneshot, watch};

use crate::{
    builder::Builder,
    checkpoint::control::Control,
    delivery::SinkHandle,
    error::Error,
    event::{IntoEvent, batch_of},
    lifecycle::{EngineState, Lifecycle},
    logger::trouble::Trouble,
    metrics::Metrics,
    monitor::Rates,
    pipeline::Pipeline,
    progress::Progress,
    quarantine::QuarantineView,
    query::{MembershipsQuery, ProfileQuery},
    sequencer::{AcceptanceBytes, intake::Intake, message::Message},
    settings::Settings,
    shutdown::Tasks,
    sources::SourceHandle,
    status::{Counts, Flushed, ReplayProgress, ShutdownReport, SourceState, Status},
    subscription::Subscription,
};

/// A running engine: events in, exact membership deltas out.
///
/// ```
/// use tidewater::{Engine, Pipeline, Update, pipeline::FixedEnvironment};
///
/// # #[tokio::main(flavor = "multi_thread", worker_threads = 1)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pipeline = Pipeline::from_yaml(
///     "
///     workers: 1
///     identifiers: { user_id: { from: userId } }
///     traits:      { orders: { count: Order Completed } }
///     segments:    { loyal: orders >= 3 }
///     ",
///     &FixedEnvironment::new(),
/// )?;
/// let engine = Engine::builder(&pipeline).start().await?;
/// let mut loyal = engine.subscribe("loyal")?;
/// for order in 1..=3 {
///     let event = format!(
///         r#"{{"type":"track","event":"Order Completed","messageId":"m{order}","userId":"u42"}}"#
///     );
///     engine.ingest(event).await?;
/// }
/// let entered = loop {
///     match loyal.next().await? {
///         Some(Update::Delta(delta)) => break delta,
///         Some(_) => {}
///         None => return Err("the engine stopped".into()),
///     }
/// };
/// assert_eq!(entered.get().segment(), "loyal");
/// assert_eq!(entered.get().change().name(), "entered");
/// let profile = engine.profile("user_id", "u42").at_least(entered.epoch()).await?;
/// assert_eq!(profile.map(|profile| profile.id), Some(entered.get().profile()));
/// engine.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    _last: Arc<StopWhenDropped>,
}

/// What handles, subscriptions, tasks and threads of one engine have in common.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) plan: Arc<Plan>,
    pub(crate) names: Arc<DeltaNames>,
    pub(crate) workers: usize,
    pub(crate) settings: Settings,
    pub(crate) intake: Arc<Intake>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rates: Rates,
    pub(crate) acceptance: Arc<AcceptanceBytes>,
    pub(crate) quarantine: QuarantineView,
    /// `None` without one.
    pub(crate) state: Option<StateReader>,
    /// `None` without a state directory.
    pub(crate) checkpoints: Option<Arc<Control>>,
    pub(crate) replay: watch::Receiver<ReplayProgress>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) sources: Vec<Arc<SourceHandle>>,
    pub(crate) sinks: Vec<Arc<SinkHandle>>,
}

/// Stops the engine when the last handle is dropped.
struct StopWhenDropped {
    shared: Arc<Shared>,
    /// Taken by the first shutdown.
    tasks: Mutex<Option<Tasks>>,
}

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.shared.lifecycle.abandon();
        if self.shared.lifecycle.drain() {
            self.shared.intake.close();
            self.shared.intake.post(Message::Finish);
            // Nobody is left to set a deadline for those that fail.
            self.shared.sinks.iter().for_each(|sink| sink.abandon());
        }
    }
}

impl Engine {
    /// Starts to build an engine that computes `pipeline`.
    ///
    /// The pipeline's `sources` and `sinks` sections are not looked at: connectors go to the builder.
    pub fn builder(pipeline: &Pipeline) -> Builder {
        Builder::new(pipeline)
    }

    pub(crate) fn new(shared: Arc<Shared>, tasks: Tasks) -> Self {
        let last = StopWhenDropped { shared: Arc::clone(&shared), tasks: Mutex::new(Some(tasks)) };
        Self { shared, _last: Arc::new(last) }
    }

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What is computed. What indices of traits and segments point into: on an existing state directory these stand in the order
    /// in which it came to know them, which need not be the file's.
    pub fn spec(&self) -> &PipelineSpec {
        self.shared.plan.spec()
    }

    /// Hands in one event and waits until it is in the log (without a state directory: in an epoch).
    ///
    /// An event that can't be used is no error: it is counted in [`Accepted::quarantined`]. While the engine replays
    /// its log, events wait.
    ///
    /// # Errors
    /// [`Error::Closed`] once the engine stops; the event is not in the log then. [`Error::Failed`]: it may be.
    pub async fn ingest(&self, event: impl IntoEvent) -> Result<Accepted, Error> {
        self.ingest_batch(batch_of(event)).await
    }

    /// Hands in events and waits until they are in the log (without a state directory: in an epoch).
    ///
    /// # Errors
    /// As [`ingest`](Self::ingest).
    pub async fn ingest_batch(&self, events: RawEvents) -> Result<Accepted, Error> {
        Ok(self.submit(events).await?.await?)
    }

    /// Hands in events, waiting only for room; the receipt resolves when they are in the log. So a caller can have
    /// many batches under way.
    ///
    /// # Errors
    /// As [`ingest`](Self::ingest).
    pub async fn submit(&self, events: RawEvents) -> Result<Receipt, Error> {
        self.check_open()?;
        Ok(self.shared.intake.send(None, events, None).await?)
    }

    /// As [`submit`](Self::submit), of events that come from the quarantine.
    pub(crate) async fn submit_again(&self, events: RawEvents) -> Result<Receipt, Error> {
        self.check_open()?;
        Ok(self.shared.intake.send_again(events).await?)
    }

    /// Hands in one event if there is room at once.
    ///
    /// # Errors
    /// [`TrySendError::Full`] when the engine lags or is over its memory limit; [`TrySendError::Closed`] and
    /// [`TrySendError::Failed`] once it has ended.
    pub fn try_ingest(&self, event: impl IntoEvent) -> Result<Receipt, TrySendError> {
        self.try_ingest_batch(batch_of(event))
    }

    /// Hands in events if there is room at once.
    ///
    /// # Errors
    /// As [`try_ingest`](Self::try_ingest).
    pub fn try_ingest_batch(&self, events: RawEvents) -> Result<Receipt, TrySendError> {
        match self.check_open() {
            Ok(()) => self.shared.intake.try_send(None, events, None),
            Err(Error::Failed { reason }) => {
                Err(TrySendError::Failed { reason: reason.to_string(), events: Box::new(events) })
            }
            Err(_) => Err(TrySendError::Closed { events: Box::new(events) }),
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        match self.shared.lifecycle.takes_events() {
            true => Ok(()),
            false => Err(self.shared.lifecycle.ended().unwrap_or(Error::Closed)),
        }
    }

    /// Subscribes to a segment: its members, then every change, without a gap.
    ///
    /// # Errors
    /// [`Error::Unknown`] if there is no such segment; [`Error::Closed`] and [`Error::Failed`] once the engine has
    /// ended.
    pub fn subscribe(&self, segment: &str) -> Result<Subscription, Error> {
        let segment = self.shared.segment(segment)?;
        Subscription::open(Arc::clone(&self.shared), segment)
    }

    /// Asks for the profile that holds a value of an identifier; the value is normalized as in events.
    ///
    /// `None`: nobody has the value, or its cluster owns no event.
    pub fn profile(&self, identifier: &str, value: &str) -> ProfileQuery {
        ProfileQuery::new(Arc::clone(&self.shared), identifier, value)
    }

    /// Asks for the members of a segment.
    pub fn memberships(&self, segment: &str) -> MembershipsQuery {
        MembershipsQuery::new(Arc::clone(&self.shared), segment)
    }

    /// Waits until everything that was accepted before the call has been computed, is durable, and has been handed
    /// to subscribers and acknowledged by every sink that is able to.
    ///
    /// A sink that is parked, failed, or between two attempts is not waited for but named in the result; one that
    /// neither answers nor fails is waited for until the flush deadline of the settings.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Failed`] once the engine has ended.
    pub async fn flush(&self) -> Result<Flushed, Error> {
        let shared = &self.shared;
        let epoch = shared.cut().await?;
        shared.until_published(epoch).await?;
        let deadline = Duration::from_millis(shared.settings.flush_deadline_ms);
        let deadline = tokio::time::Instant::now() + deadline;
        let mut undelivered_sinks = Vec::new();
        for sink in &shared.sinks {
            let delivered = shared.lifecycle.or_ended(sink.until_delivered(epoch));
            match tokio::time::timeout_at(deadline, delivered).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) | Err(_) => undelivered_sinks.push(sink.name().to_owned()),
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(Flushed { epoch, undelivered_sinks })
    }

    /// Seals an epoch now, also if no event waits and no timer is due; waits until it has been computed, is durable,
    /// and has been handed to subscribers. Returns its number.
    ///
    /// Events and time need no such call. It is for changes from outside that would otherwise wait for the next event,
    /// such as those of a [`Relation`](crate::dataflow::Relation). With a state directory the epoch is logged.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Failed`] once the engine has ended.
    pub async fn seal(&self) -> Result<u64, Error> {
        let epoch = self.shared.request(Message::Seal).await?;
        self.shared.until_published(epoch).await?;
        Ok(epoch)
    }

    /// Makes a checkpoint of everything that is logged by now, and waits until it counts; its epoch. Nothing else waits for
    /// it. They are also made by time and by bytes logged (see [`Settings`](crate::Settings)) and at the shutdown.
    ///
    /// # Errors
    /// [`Error::Config`] without a state directory; [`Error::Failed`] if it can't be written, which harms nothing but the
    /// time that a restart takes; [`Error::Closed`] once the engine has ended.
    pub async fn checkpoint(&self) -> Result<u64, Error> {
        if self.shared.checkpoints.is_none() {
            return Err(Error::config("without a state directory there are no checkpoints"));
        }
        self.shared.request(Message::Checkpoint).await?
    }

    /// What the engine is doing.
    pub fn state(&self) -> EngineState {
        self.shared.lifecycle.state()
    }

    /// Tells every change of [`state`](Self::state).
    pub fn watch_state(&self) -> watch::Receiver<EngineState> {
        self.shared.lifecycle.watch()
    }

    /// Waits until the log has been replayed.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Failed`] if the engine ends before.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut state = self.watch_state();
        let ready = state.wait_for(|state| *state != EngineState::Replaying);
        // The sender lives as long as the engine.
        let _ = self.shared.lifecycle.or_ended(ready).await?;
        match self.shared.lifecycle.ended() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// How far the replay has come; tells every step.
    pub fn watch_replay(&self) -> watch::Receiver<ReplayProgress> {
        self.shared.replay.clone()
    }

    /// Waits until every source has ended, by itself or with an error; the state of each, in the order they were
    /// added. Never resolves without sources.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Failed`] if the engine ends before.
    pub async fn sources_ended(&self) -> Result<Vec<(String, SourceState)>, Error> {
        if self.shared.sources.is_empty() {
            return self.shared.lifecycle.or_ended(std::future::pending()).await;
        }
        let mut ended = Vec::new();
        for source in &self.shared.sources {
            let state = self.shared.lifecycle.or_ended(source.until_ended()).await?;
            ended.push((source.name().to_owned(), state));
        }
        Ok(ended)
    }

    /// A moment's view of the engine; reads counters and asks no worker.
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let metrics = &shared.metrics;
        let counts = Counts {
            events: metrics.events.get(),
            duplicates: metrics.duplicates.get(),
            quarantined: metrics.quarantined_by_reason(),
            quarantine_lost: metrics.quarantine_lost.get(),
            bad_numbers: metrics.bad_numbers.get(),
            long_identifiers: metrics.long_identifiers.get(),
            epochs: metrics.epochs.get(),
            deltas: metrics.deltas.get(),
        };
        Status {
            state: shared.lifecycle.state(),
            epochs: shared.progress.epochs(),
            replay: *shared.replay.borrow(),
            counts,
            events_per_second: shared.rates.events(),
            deltas_per_second: shared.rates.deltas(),
            ingest_queue_bytes: shared.intake.queued_bytes(),
            memory_bytes: shared.rates.memory_bytes(),
            over_memory_limit: shared.intake.is_over_memory(),
            checkpoint: shared.checkpoints.as_ref().map(|control| control.status()),
            log_trouble: shared.trouble.log(),
            quarantine_trouble: shared.trouble.quarantine(),
            sources: shared.sources.iter().map(|source| source.status()).collect(),
            sinks: shared.sinks.iter().map(|sink| sink.status()).collect(),
        }
    }

    /// How much state there is: identifiers, profiles, members by segment, bytes by part. Asks the workers.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Failed`] once the engine has ended.
    pub async fn stats(&self) -> Result<WorkerStats, Error> {
        self.shared.stats().await
    }

    /// The quarantine of this engine.
    pub fn quarantine(&self) -> &QuarantineView {
        &self.shared.quarantine
    }

    /// Stops: sources stop reading, what was taken in is computed, made durable and delivered, sinks are closed.
    ///
    /// Sources have half of the time until the deadline; one that goes on then is cut off, and named in the report.
    /// Whatever is not done by the deadline is left and named in the report; with a state directory nothing that was
    /// acknowledged is lost. The first call stops the engine; further ones wait for it.
    ///
    /// # Errors
    /// [`Error::Failed`] if the engine has failed or fails on the way.
    pub async fn shutdown(&self, deadline: Duration) -> Result<ShutdownReport, Error> {
        let tasks = self._last.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        match tasks {
            Some(tasks) => crate::shutdown::shutdown(&self.shared, tasks, deadline).await,
            None => {
                let mut state = self.watch_state();
                let ended =
                    |state: &EngineState| matches!(state, EngineState::Stopped | EngineState::Failed(_));
                // The sender lives as long as the engine.
                let _ = state.wait_for(ended).await;
                match self.shared.lifecycle.ended() {
                    Some(error @ Error::Failed { .. }) => Err(error),
                    _ => Ok(crate::shutdown::report(&self.shared, Vec::new())),
                }
            }
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("name", &self.shared.name).field("state", &self.state()).finish()
    }
}

impl Shared {
    /// Index of the segment of this name.
    pub(crate) fn segment(&self, name: &str) -> Result<usize, Error> {
        let names = self.names.segments();
        let found = names.iter().position(|known| known == name);
        found.ok_or_else(|| Error::unknown("segment", name, names.iter().map(String::as_str)))
    }

    /// Cuts an epoch of what has been taken in; the number of the last one.
    pub(crate) async fn cut(&self) -> Result<u64, Error> {
        self.request(Message::Flush).await
    }

    /// Sends the sequencer a message that is answered.
    pub(crate) async fn request<T>(&self, message: fn(oneshot::Sender<T>) -> Message) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        if !self.intake.post(message(sender)) {
            return Err(self.lifecycle.ended().unwrap_or(Error::Closed));
        }
        match self.lifecycle.or_ended(receiver).await? {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.lifecycle.why_lost().await),
        }
    }
}

#[cfg(test)]
mod tests;
