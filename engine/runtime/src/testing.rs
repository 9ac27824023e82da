//! [`TestEngine`]: the same acceptance and the same dataflow as a running engine, one call at a time.

mod replay;

use std::sync::Arc;

use tidewater_connector_api::RawEvents;
use tidewater_model::{
    DeltaBatch, HashKey, PipelineSpec, Profile, RejectReason, Timestamp, delta::DeltaNames,
};
use tidewater_operators::{Plan, dataflow::WorkerStats, ingest::PaddedEvent};

use crate::{
    error::Error,
    lockstep::Lockstep,
    pipeline::Pipeline,
    sequencer::assembler::{BLOCK, Outcome},
};

pub use self::replay::{Replayed, ReplayedEpoch, replay};
pub use crate::{
    lockstep::{Identity, Membership},
    threads::{Turns, take_turns},
};

/// What became of an event that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is in the epoch.
    Accepted,
    /// It was accepted before.
    Duplicate,
}

/// What became of the events of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the epoch.
    pub accepted: u64,
    /// Accepted before.
    pub duplicates: u64,
    /// Not usable.
    pub refused: u64,
}

/// An engine without log, threads or clock, for tests: events in, an epoch cut, deltas out, all synchronous.
///
/// The wall clock stands at 2026-01-01T00:00:00Z until it is set. Ids are hashed with [`HashKey::FIXED`].
///
/// ```
/// use tidewater::{Pipeline, Timestamp, pipeline::FixedEnvironment, testing::TestEngine};
///
/// let pipeline = Pipeline::from_yaml(
///     "
///     identifiers: { user_id: { from: userId } }
///     traits:      { views: { count: Page Viewed, window: 1h } }
///     segments:    { active: views >= 1 }
///     ",
///     &FixedEnvironment::new(),
/// )?;
/// let mut engine = TestEngine::new(&pipeline, 1)?;
/// let page = br#"{"type":"page","userId":"u1","timestamp":"2026-01-01T00:00:00Z"}"#;
/// engine.accept(page).expect("it has an identifier and a time");
/// assert_eq!(engine.seal()?.len(), 1);
/// let timer = engine.next_timer().expect("the view leaves its window");
/// assert_eq!(timer, Timestamp::parse(b"2026-01-01T01:00:00Z")?);
/// let left = engine.advance(timer)?;
/// assert_eq!(left.get(0).change().name(), "exited");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TestEngine {
    lockstep: Lockstep,
    wall: Timestamp,
    unlinks: Vec<(u128, u128)>,
    scratch: Vec<u8>,
}

/// 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp(1_767_225_600_000);

impl TestEngine {
    /// An engine that computes `pipeline` on this many workers.
    ///
    /// # Errors
    /// [`Error::Config`] if the pipeline can't be run.
    pub fn new(pipeline: &Pipeline, workers: usize) -> Result<Self, Error> {
        Self::from_spec(pipeline.spec().clone(), workers)
    }

    /// The same for definitions that were made by other means than a [`Pipeline`].
    ///
    /// # Errors
    /// [`Error::Config`] if they can't be run.
    pub fn from_spec(spec: PipelineSpec, workers: usize) -> Result<Self, Error> {
        let plan = Plan::compile(spec, HashKey::FIXED)?;
        Self::from_plan(plan, workers)
    }

    /// The same for definitions that were compiled before: cheaper by far where thousands of engines are made.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no workers.
    pub fn from_plan(plan: Arc<Plan>, workers: usize) -> Result<Self, Error> {
        if workers == 0 {
            return Err(Error::config("an engine needs a worker"));
        }
        let lockstep = Lockstep::new(plan, workers)?;
        Ok(Self { lockstep, wall: START, unlinks: Vec::new(), scratch: Vec::new() })
    }

    /// Sets the wall clock.
    pub fn set_wall(&mut self, wall: Timestamp) {
        self.wall = wall;
    }

    /// Offers an event, as the bytes of a JSON object.
    ///
    /// # Errors
    /// Why it would be put in quarantine.
    pub fn accept(&mut self, event: &[u8]) -> Result<Acceptance, RejectReason> {
        let padded = PaddedEvent::copied(event, &mut self.scratch);
        let mut decided = Ok(Acceptance::Duplicate);
        self.lockstep.assembler.take(self.wall, std::iter::once((0, padded)), |_, outcome| {
            decided = match outcome {
                Outcome::Accepted => Ok(Acceptance::Accepted),
                Outcome::Duplicate => Ok(Acceptance::Duplicate),
                Outcome::Refused(reason) => Err(reason),
            };
        });
        decided
    }

    /// Offers a batch the way the running engine takes it in: without copies, and looking ahead at what dedup will
    /// be asked. Returns what became of each event.
    pub fn accept_batch(&mut self, events: &RawEvents) -> Counts {
        let mut counts = Counts::default();
        let mut first = 0;
        while first < events.len() {
            let end = events.len().min(first + BLOCK);
            let padded = (first..end).filter_map(|index| {
                let (buffer, len) = events.padded(index);
                Some((index, PaddedEvent::new(buffer, len)?))
            });
            self.lockstep.assembler.take(self.wall, padded, |_, outcome| match outcome {
                Outcome::Accepted => counts.accepted += 1,
                Outcome::Duplicate => counts.duplicates += 1,
                Outcome::Refused(_) => counts.refused += 1,
            });
            first = end;
        }
        counts
    }

    /// Takes the link between two identifiers back with the next epoch, each given as (name, value).
    ///
    /// # Errors
    /// [`Error::Unknown`] if there is no identifier of such a name; [`Error::Config`] if a value can't be one.
    pub fn unlink(&mut self, a: (&str, &str), b: (&str, &str)) -> Result<(), Error> {
        let link = (self.hash(a)?, self.hash(b)?);
        self.unlinks.push(link);
        Ok(())
    }

    fn hash(&self, (identifier, value): (&str, &str)) -> Result<u128, Error> {
        let names = self.lockstep.names().identifiers();
        let Some(index) = names.iter().position(|name| name == identifier) else {
            return Err(Error::unknown("identifier", identifier, names.iter().map(String::as_str)));
        };
        let hash = self.lockstep.plan.hash_as_received(index, value);
        hash.ok_or_else(|| Error::config(format!("`{value}` can't be a value of {identifier}")))
    }

    /// Cuts an epoch of what was accepted, with or without events.
    ///
    /// # Errors
    /// [`Error::Failed`] if a worker panics on a thread of its own.
    pub fn seal(&mut self) -> Result<DeltaBatch, Error> {
        let unlinks = std::mem::take(&mut self.unlinks);
        self.lockstep.cut(self.wall, &unlinks)
    }

    /// Sets the wall clock and cuts an epoch.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn seal_at(&mut self, wall: Timestamp) -> Result<DeltaBatch, Error> {
        self.wall = wall;
        self.seal()
    }

    /// Lets time pass: another name of [`seal_at`](Self::seal_at) for epochs without events.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn advance(&mut self, wall: Timestamp) -> Result<DeltaBatch, Error> {
        self.seal_at(wall)
    }

    /// The last epoch.
    pub fn epoch(&self) -> u64 {
        self.lockstep.assembler.epoch()
    }

    /// The last epoch's `now`.
    pub fn now(&self) -> Timestamp {
        self.lockstep.assembler.now()
    }

    /// When time alone next changes a membership, if ever.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.lockstep.next_timer()
    }

    /// The names behind indices.
    pub fn names(&self) -> &Arc<DeltaNames> {
        self.lockstep.names()
    }

    /// The profile that holds a value of an identifier.
    ///
    /// # Errors
    /// As [`unlink`](Self::unlink) and [`seal`](Self::seal).
    pub fn profile(&mut self, identifier: &str, value: &str) -> Result<Option<Profile>, Error> {
        let hash = self.hash((identifier, value))?;
        self.lockstep.profile(hash)
    }

    /// All profiles, by id.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn profiles(&mut self) -> Result<Vec<Profile>, Error> {
        self.lockstep.profiles()
    }

    /// All members of all segments, by (segment's index, profile), from the arrangement.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn memberships(&mut self) -> Result<Vec<Membership>, Error> {
        self.lockstep.memberships()
    }

    /// All identifiers with the clusters they belong to, by (identifier's index, value).
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn identities(&mut self) -> Result<Vec<Identity>, Error> {
        self.lockstep.identities()
    }

    /// How much state there is.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn stats(&mut self) -> Result<WorkerStats, Error> {
        self.lockstep.stats()
    }
}

impl std::fmt::Debug for TestEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestEngine").field("epoch", &self.epoch()).field("now", &self.now()).finish()
    }
}
