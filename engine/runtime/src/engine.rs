//! The handle of a running engine. Clones are the same engine; when the last one goes, the engine stops.

mod ingest;
mod shared;
mod waits;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tidewater_model::PipelineSpec;
use tidewater_operators::dataflow::WorkerStats;
use tokio::sync::watch;

pub(crate) use self::shared::Shared;
use crate::{
    builder::Builder,
    error::Error,
    lifecycle::EngineState,
    pipeline::Pipeline,
    quarantine::QuarantineView,
    query::{MembershipsQuery, ProfileQuery},
    sequencer::message::Message,
    shutdown::Tasks,
    status::{Counts, ReplayProgress, ShutdownReport, Status},
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
        }
        // Nobody is left to set a deadline for those that fail, nor if the engine has failed before: they would hold their files,
        // and with them the state directory.
        self.shared.sinks.iter().for_each(|sink| sink.abandon());
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

    /// What the engine is doing.
    pub fn state(&self) -> EngineState {
        self.shared.lifecycle.state()
    }

    /// Tells every change of [`state`](Self::state).
    pub fn watch_state(&self) -> watch::Receiver<EngineState> {
        self.shared.lifecycle.watch()
    }

    /// How far the replay has come; tells every step.
    pub fn watch_replay(&self) -> watch::Receiver<ReplayProgress> {
        self.shared.replay.clone()
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

#[cfg(test)]
mod tests;
