//! What handles, subscriptions, tasks and threads of one engine have in common.

use std::sync::Arc;

use tidewater_model::delta::DeltaNames;
use tidewater_operators::Plan;
use tidewater_storage::StateReader;
use tokio::sync::{oneshot, watch};

use crate::{
    checkpoint::control::Control,
    delivery::SinkHandle,
    error::Error,
    lifecycle::Lifecycle,
    logger::trouble::Trouble,
    metrics::Metrics,
    monitor::Rates,
    progress::Progress,
    quarantine::QuarantineView,
    sequencer::{AcceptanceBytes, intake::Intake, message::Message},
    settings::Settings,
    sources::SourceHandle,
    status::ReplayProgress,
};

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
