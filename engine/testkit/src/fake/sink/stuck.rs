//! Takes the first delivery and is never heard of again.

use std::sync::Arc;

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, Sink};
use tidewater_model::DeltaBatch;

/// A sink that hangs.
#[derive(Clone, Copy, Debug, Default)]
pub struct StuckSink;

impl Sink for StuckSink {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        Ok(acknowledged.map_or(Position::default(), |acknowledged| acknowledged.position.clone()))
    }

    async fn deliver(&mut self, _batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        std::future::pending().await
    }
}
