//! Delivers, and then can't say whether it has: everything reaches the destination twice.

use std::sync::Arc;

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, Sink};
use tidewater_model::DeltaBatch;

/// A sink that says "perhaps" to every first delivery.
#[derive(Clone, Debug)]
pub struct DuplicatingSink<S> {
    inner: S,
    last: Option<u64>,
}

impl<S: Sink> DuplicatingSink<S> {
    /// Delivers to `inner` twice.
    pub fn new(inner: S) -> Self {
        Self { inner, last: None }
    }
}

impl<S: Sink + Sync> Sink for DuplicatingSink<S> {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        self.inner.open(acknowledged).await
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        let position = self.inner.deliver(batches).await?;
        let epoch = batches.last().map(|batch| batch.epoch());
        if self.last == epoch {
            return Ok(position);
        }
        self.last = epoch;
        Err(DeliveryError::maybe_applied("no answer, as it was told"))
    }
}
