//! Panics in the middle of its deliveries.

use std::sync::Arc;

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, Sink};
use tidewater_model::DeltaBatch;

/// A sink with a bug.
#[derive(Clone, Debug)]
pub struct PanickingSink<S> {
    inner: S,
    after: usize,
}

impl<S: Sink> PanickingSink<S> {
    /// Delivers to `inner` `after` times, then panics.
    pub fn new(inner: S, after: usize) -> Self {
        Self { inner, after }
    }
}

impl<S: Sink + Sync> Sink for PanickingSink<S> {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        self.inner.open(acknowledged).await
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        match self.after.checked_sub(1) {
            Some(after) => self.after = after,
            None => panic!("a sink that panics, as it was told to"),
        }
        self.inner.deliver(batches).await
    }
}
