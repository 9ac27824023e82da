//! Fails for a while, or for good.

use std::sync::Arc;

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, Sink};
use tidewater_model::DeltaBatch;

/// A sink whose next deliveries fail.
#[derive(Clone, Debug)]
pub struct FailingSink<S> {
    inner: S,
    error: DeliveryError,
    after: usize,
    failures: usize,
}

impl<S: Sink> FailingSink<S> {
    /// Delivers to `inner` `after` times, then fails `failures` times with `error`, then delivers again.
    pub fn new(inner: S, error: DeliveryError, after: usize, failures: usize) -> Self {
        Self { inner, error, after, failures }
    }
}

impl<S: Sink + Sync> Sink for FailingSink<S> {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        self.inner.open(acknowledged).await
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        if self.after == 0 && self.failures > 0 {
            self.failures -= 1;
            return Err(self.error.clone());
        }
        self.after = self.after.saturating_sub(1);
        self.inner.deliver(batches).await
    }
}
