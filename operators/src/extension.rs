//! For people who write their own operators: the engine's collections, and a way in and out of the dataflow.
//!
//! The one module whose interface shows timely and differential types. What an [`Extension`] builds runs in the
//! engine's own dataflow, at the engine's own times (epochs), on every worker; an epoch is complete only when the
//! extension is done with it too.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use differential_dataflow::{
    VecCollection,
    input::InputSession,
    operators::arrange::{Arranged, TraceAgent},
    trace::implementations::ValSpine,
};
use tidewater_model::IdentifierSeed;
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        Scope,
        channels::pact::Pipeline,
        operators::{
            generic::Operator,
            probe::{Handle as ProbeHandle, Probe},
        },
    },
};

pub use crate::graph::Time;
use crate::{activation::MembershipSpine, plan::Plan};

/// The arranged collection of (segment, profile): who is a member of what, by index of the segment.
pub type Memberships<'scope> = Arranged<'scope, TraceAgent<MembershipSpine>>;

/// The arranged collection of (identifier, profile): which profile or cluster an identifier belongs to, by the
/// identifier's keyed hash (see [`Context::identifier`]).
pub type Assignments<'scope> = Arranged<'scope, TraceAgent<ValSpine<u128, u128, Time, isize>>>;

/// Operators of one's own on the engine's collections.
pub trait Extension: Send + Sync + 'static {
    /// Builds the operators, once on every worker and in the same way on each.
    fn build<'scope>(&self, context: &mut Context<'_, 'scope>);
}

/// What an extension builds with.
pub struct Context<'a, 'scope> {
    pub(crate) scope: Scope<'scope, Time>,
    pub(crate) plan: &'a Plan,
    pub(crate) worker: usize,
    pub(crate) memberships: Memberships<'scope>,
    pub(crate) assignments: Assignments<'scope>,
    pub(crate) probe: &'a ProbeHandle<Time>,
    pub(crate) inputs: &'a mut Vec<Box<dyn RelationInput>>,
}

impl<'scope> Context<'_, 'scope> {
    /// The scope of the engine's dataflow.
    pub fn scope(&self) -> Scope<'scope, Time> {
        self.scope
    }

    /// Who is a member of what.
    pub fn memberships(&self) -> Memberships<'scope> {
        self.memberships.clone()
    }

    /// Which profile an identifier belongs to.
    pub fn assignments(&self) -> Assignments<'scope> {
        self.assignments.clone()
    }

    /// The index of a segment, as it stands in [`memberships`](Self::memberships).
    pub fn segment(&self, name: &str) -> Option<u32> {
        let place = self.plan.spec().segments.iter().position(|segment| segment.name == name);
        place.map(|place| place as u32)
    }

    /// The hash of a normalized value of an identifier, as it stands in [`assignments`](Self::assignments).
    pub fn identifier(&self, name: &str, value: &str) -> Option<u128> {
        let place = self.plan.spec().identifiers.iter().position(|identifier| identifier.name == name);
        place.map(|place| self.plan.hash(place, value))
    }

    /// Makes the hashes of an identifier's normalized values, also inside operators.
    pub fn identifier_seed(&self, name: &str) -> Option<IdentifierSeed> {
        let place = self.plan.spec().identifiers.iter().position(|identifier| identifier.name == name);
        place.map(|place| self.plan.seeds[place])
    }

    /// Brings a relation of one's own into the dataflow.
    pub fn relation<D: Row>(&mut self, relation: &Relation<D>) -> VecCollection<'scope, Time, D, isize> {
        let mut session = InputSession::new();
        let collection = session.to_collection(self.scope);
        // Updates enter on one worker and are exchanged from there; the others only let time pass.
        let queue = (self.worker == 0).then(|| Arc::clone(&relation.queue));
        self.inputs.push(Box::new(Input { session, queue }));
        collection
    }

    /// Takes a collection's changes out of the dataflow. Each worker puts its own share into the same output.
    pub fn output<D: Row>(&mut self, collection: VecCollection<'scope, Time, D, isize>, output: &Output<D>) {
        let updates = Arc::clone(&output.updates);
        collection
            .consolidate()
            .inner
            .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "Output", move |_, _| {
                move |input, _output| {
                    input.for_each(|_, changes: &mut Vec<(D, Time, isize)>| {
                        let mut updates = updates.lock().unwrap_or_else(PoisonError::into_inner);
                        updates.append(changes);
                    });
                }
            })
            .probe_with(self.probe);
    }
}

/// A row of a relation or an output.
pub trait Row: differential_dataflow::ExchangeData + differential_dataflow::Hashable {}

impl<D: differential_dataflow::ExchangeData + differential_dataflow::Hashable> Row for D {}

/// Changes of a relation that no epoch has taken in yet.
type Queue<D> = Arc<Mutex<VecDeque<(D, isize)>>>;

/// A relation of one's own, changed from any thread. Changes take effect together, with the next epoch.
///
/// It is not in the event log: after a restart its rows must be inserted again.
#[derive(Debug)]
pub struct Relation<D> {
    queue: Queue<D>,
    capacity: usize,
}

impl<D> Clone for Relation<D> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), capacity: self.capacity }
    }
}

/// A relation's queue is full: no epoch has taken its changes in yet. Holds the row that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the relation's queue is full")]
pub struct RelationFull<D>(pub D);

impl<D> Relation<D> {
    /// An empty relation that holds at most `capacity` changes until an epoch takes them in.
    pub fn new(capacity: usize) -> Self {
        Self { queue: Arc::default(), capacity }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Gives the row back if as many changes wait as may.
    pub fn insert(&self, row: D) -> Result<(), RelationFull<D>> {
        self.update(row, 1)
    }

    /// Takes a row back.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove(&self, row: D) -> Result<(), RelationFull<D>> {
        self.update(row, -1)
    }

    /// Changes how often a row is there.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn update(&self, row: D, diff: isize) -> Result<(), RelationFull<D>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= self.capacity {
            return Err(RelationFull(row));
        }
        queue.push_back((row, diff));
        Ok(())
    }
}

/// The changes of a collection, epoch by epoch.
#[derive(Debug)]
pub struct Output<D> {
    updates: Arc<Mutex<Vec<(D, Time, isize)>>>,
}

impl<D> Clone for Output<D> {
    fn clone(&self) -> Self {
        Self { updates: Arc::clone(&self.updates) }
    }
}

impl<D> Default for Output<D> {
    fn default() -> Self {
        Self { updates: Arc::default() }
    }
}

impl<D> Output<D> {
    /// An output without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the changes (row, epoch, +1 or -1) since the last call. Those of an epoch are complete once the
    /// engine says that the epoch is; the caller takes them often enough to bound them.
    pub fn take(&self) -> Vec<(D, Time, isize)> {
        std::mem::take(&mut *self.updates.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the changes of all epochs up to and including `epoch`, sorted by epoch, and leaves later ones.
    pub fn take_through(&self, epoch: Time) -> Vec<(D, Time, isize)> {
        let mut updates = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken: Vec<_> = updates.extract_if(.., |(_, time, _)| *time <= epoch).collect();
        taken.sort_by_key(|(_, time, _)| *time);
        taken
    }
}

/// A relation's way into the dataflow, whatever its rows.
pub(crate) trait RelationInput {
    /// Takes the waiting changes in at `epoch` and closes the epoch.
    fn feed(&mut self, epoch: Time);
}

struct Input<D: Row> {
    session: InputSession<Time, D, isize>,
    queue: Option<Queue<D>>,
}

impl<D: Row> RelationInput for Input<D> {
    fn feed(&mut self, epoch: Time) {
        self.session.advance_to(epoch);
        if let Some(queue) = &self.queue {
            let waiting = std::mem::take(&mut *queue.lock().unwrap_or_else(PoisonError::into_inner));
            for (row, diff) in waiting {
                self.session.update(row, diff);
            }
        }
        self.session.advance_to(epoch + 1);
        self.session.flush();
    }
}
