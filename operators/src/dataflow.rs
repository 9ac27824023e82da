//! One worker's share of the dataflow: built once, fed epoch by epoch, read at epoch boundaries.

use std::sync::Arc;

use tidewater_model::{DeltaBatch, Profile, ProfileId, Timestamp, delta::DeltaNames};
use timely::worker::Worker;

use crate::{ingest::EventBatch, plan::Plan};

/// What one worker is fed for one epoch.
#[derive(Debug, Default)]
pub struct EpochInput {
    /// Its number; epochs are fed in ascending order, each to every worker.
    pub epoch: u64,
    /// The engine's clock, the same on every worker, never less than the epoch's before.
    pub now: Timestamp,
    /// The decoded events whose owners belong to this worker.
    pub events: EventBatch,
    /// Links to take back: pairs of identifier hashes, whichever of the two is the owner. The same list on every worker.
    pub unlinks: Vec<(u128, u128)>,
}

/// What one worker found in one epoch.
#[derive(Debug)]
pub struct EpochOutput {
    /// The epoch.
    pub epoch: u64,
    /// Its `now`.
    pub now: Timestamp,
    /// This worker's share of the net membership changes.
    pub changes: Changes,
    /// When time alone next changes a membership on this worker, if ever.
    pub next_timer: Option<Timestamp>,
    /// The input's buffers, emptied, to be used again.
    pub events: EventBatch,
}

/// One worker's share of an epoch's net membership changes; [`merge`] makes the batch that leaves the engine.
#[derive(Debug, Default)]
pub struct Changes {}

/// Puts the shares of all workers together.
pub fn merge(names: &Arc<DeltaNames>, parts: &[EpochOutput]) -> DeltaBatch {
    let _ = (names, parts);
    unimplemented!()
}

/// Where a profile is kept: answered by the worker of the identifier, understood by [`Location::worker`].
#[derive(Clone, Copy, Debug)]
pub struct Location {
    /// The worker to ask.
    pub worker: usize,
    #[expect(dead_code)]
    label: u32,
}

/// How much state a worker holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Identifiers known.
    pub identifiers: u64,
    /// Profiles: clusters that own an event.
    pub profiles: u64,
    /// Merges of two clusters so far.
    pub merges: u64,
    /// Members per segment, in the order of the pipeline.
    pub members: Vec<u64>,
    /// Bytes of state by part, such as `records`, `panes`, `texts`, `links`, `index`.
    pub bytes: Vec<(&'static str, u64)>,
}

/// One worker's share of the dataflow. Lives on the timely worker's thread.
pub struct WorkerDataflow {}

impl WorkerDataflow {
    /// Builds the dataflow on `worker`. Every worker builds the same one; `texts` is shared by all of them.
    pub fn build(worker: &mut Worker, plan: Arc<Plan>, texts: Arc<Texts>) -> Self {
        let _ = (worker, plan, texts);
        unimplemented!()
    }

    /// Feeds one epoch. The one before must be complete and [`finish`](Self::finish)ed.
    pub fn feed(&mut self, input: EpochInput) {
        let _ = input;
    }

    /// Whether the epoch fed last is complete on all workers. Step the worker until it is.
    pub fn is_complete(&self) -> bool {
        unimplemented!()
    }

    /// The results of the epoch fed last. Call it once it [`is_complete`](Self::is_complete).
    pub fn finish(&mut self) -> EpochOutput {
        unimplemented!()
    }

    /// Where the profile of an identifier is kept. Ask the worker that [`worker_of`](crate::worker_of) names.
    pub fn locate(&self, identifier: u128) -> Option<Location> {
        let _ = identifier;
        unimplemented!()
    }

    /// The profile at `location`, if `identifier` is still in it; `None` when it moved since (locate it again) or
    /// the cluster owns no event.
    pub fn profile(&self, location: Location, identifier: u128) -> Option<Profile> {
        let _ = (location, identifier);
        unimplemented!()
    }

    /// This worker's share of a segment's members with the `now` of the epoch each last entered in, from the
    /// `memberships` arrangement.
    pub fn members(&mut self, segment: usize) -> Vec<ProfileId> {
        let _ = segment;
        unimplemented!()
    }

    /// This worker's share of all profiles, in no particular order.
    pub fn profiles(&self, found: &mut dyn FnMut(Profile)) {
        let _ = found;
    }

    /// This worker's share of all identifiers as (index of the identifier, value, cluster's id), from the
    /// clusters that have their home here, in no particular order.
    pub fn identities(&self, found: &mut dyn FnMut(usize, &str, ProfileId)) {
        let _ = found;
    }

    /// How much state there is.
    pub fn stats(&self) -> WorkerStats {
        WorkerStats::default()
    }
}

/// The texts of all identifiers, process-wide and append-only, one part a worker.
#[derive(Debug, Default)]
pub struct Texts {}

impl Texts {
    /// Texts for this many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        let _ = workers;
        Arc::new(Self::default())
    }
}
