//! The webhook sink under the name of its deployment, which stands in the state directory and so is known only once
//! the engine has opened that.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tidewater::{DeltaBatch, Random, Sink, SystemRandom};
use tidewater_connector_api::{Acknowledged, DeliveryError, Position, SinkCapabilities};
use tidewater_connectors::webhook::{WebhookConfig, WebhookSink};
use tidewater_storage::StateReader;

/// A [`WebhookSink`] that learns where it is when it is opened.
pub(super) struct DeployedWebhook {
    config: WebhookConfig,
    name: String,
    state: Option<PathBuf>,
    sink: WebhookSink,
}

impl DeployedWebhook {
    pub(super) fn new(config: WebhookConfig, name: &str, state: Option<&Path>) -> Self {
        let sink = WebhookSink::new(config.clone(), "", name);
        Self { config, name: name.to_owned(), state: state.map(Path::to_owned), sink }
    }

    fn deployment(&self) -> Result<String, DeliveryError> {
        match &self.state {
            Some(state) => match StateReader::open(state) {
                Ok(reader) => Ok(format!("{:032x}", reader.meta().deployment)),
                Err(error) => Err(DeliveryError::not_applied(error.to_string())),
            },
            // Without a state epochs begin anew each time: so must the ids of requests.
            None => Ok(format!("{:016x}{:016x}", SystemRandom.next(), SystemRandom.next())),
        }
    }
}

impl Sink for DeployedWebhook {
    fn capabilities(&self) -> SinkCapabilities {
        self.sink.capabilities()
    }

    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        self.sink = WebhookSink::new(self.config.clone(), &self.deployment()?, &self.name);
        self.sink.open(acknowledged).await
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        self.sink.deliver(batches).await
    }

    fn max_batches(&self) -> usize {
        self.sink.max_batches()
    }
}
