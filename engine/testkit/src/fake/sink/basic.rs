//! Keeps what it is given, for tests to look at.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, Sink};
use tidewater_model::{Change, DeltaBatch, ProfileId};

/// What sinks were given. Clones see the same; it outlives the sink, as a destination does.
#[derive(Clone, Debug, Default)]
pub struct Delivered(Arc<Mutex<Vec<Arc<DeltaBatch>>>>);

impl Delivered {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<DeltaBatch>>> {
        // A test that panicked elsewhere leaves the list whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything delivered, in order, repeats included.
    pub fn batches(&self) -> Vec<Arc<DeltaBatch>> {
        self.lock().clone()
    }

    /// The epochs delivered, in order, repeats included.
    pub fn epochs(&self) -> Vec<u64> {
        self.lock().iter().map(|batch| batch.epoch()).collect()
    }

    /// The deltas added up: the members of every segment, as (segment's index, profile). Deltas that come again
    /// change nothing, as at a destination that is idempotent.
    pub fn members(&self) -> BTreeSet<(usize, ProfileId)> {
        let mut members = BTreeSet::new();
        for batch in self.lock().iter() {
            for delta in batch.iter() {
                let member = (delta.segment_index(), delta.profile());
                match delta.change() {
                    Change::Entered => members.insert(member),
                    Change::Exited => members.remove(&member),
                };
            }
        }
        members
    }
}

/// A sink that takes everything.
#[derive(Clone, Debug, Default)]
pub struct BasicSink {
    delivered: Delivered,
    opened_with: Option<Acknowledged>,
}

impl BasicSink {
    /// A sink that keeps everything in `delivered`.
    pub fn new(delivered: &Delivered) -> Self {
        Self { delivered: delivered.clone(), opened_with: None }
    }

    /// What the engine had recorded when it opened the sink.
    pub fn opened_with(&self) -> Option<&Acknowledged> {
        self.opened_with.as_ref()
    }
}

impl Sink for BasicSink {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        self.opened_with = acknowledged.cloned();
        Ok(acknowledged.map_or(Position::default(), |acknowledged| acknowledged.position.clone()))
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        self.delivered.lock().extend(batches.iter().cloned());
        let epoch = batches.last().map_or(0, |batch| batch.epoch());
        Ok(Position(epoch.to_le_bytes().to_vec()))
    }
}
