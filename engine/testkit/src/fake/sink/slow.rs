//! Takes its time over every delivery.

use std::{sync::Arc, time::Duration};

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, Sink};
use tidewater_model::DeltaBatch;

/// A sink that can't keep up.
#[derive(Clone, Debug)]
pub struct SlowSink<S> {
    inner: S,
    wait: Duration,
}

impl<S: Sink> SlowSink<S> {
    /// Waits this long before every delivery to `inner`, one epoch at a time.
    pub fn new(inner: S, wait: Duration) -> Self {
        Self { inner, wait }
    }
}

impl<S: Sink + Sync> Sink for SlowSink<S> {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        self.inner.open(acknowledged).await
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        tokio::time::sleep(self.wait).await;
        self.inner.deliver(batches).await
    }

    fn max_batches(&self) -> usize {
        1
    }
}
