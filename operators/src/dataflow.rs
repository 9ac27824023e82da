//! One worker's share of the dataflow: built once, fed epoch by epoch, read at epoch boundaries.
//!
//! `assignments` and `memberships` are arranged and kept: queries, the snapshots that open subscriptions and
//! people's own joins read them there.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use differential_dataflow::{
    Hashable,
    operators::arrange::{TraceAgent, arrangement::arrange_core},
    trace::{Cursor, TraceReader, cursor::cursor_list, implementations::ValSpine},
};
use tidewater_model::{Profile, ProfileId, Timestamp};
use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        InputHandle,
        channels::pact::Exchange,
        operators::probe::{Handle as ProbeHandle, Probe},
    },
    progress::Antichain,
    worker::Worker,
};

use crate::{
    activation::{Changes, MembershipBatcher, MembershipRow, MembershipSpine},
    epoch::Inbox,
    extension::{Context, Extension, RelationInput},
    graph::{self, AssignmentUpdate, Time},
    identity::{AssignmentBatcher, State, state::EpochWork},
    ingest::EventBatch,
    plan::Plan,
    profile::record::{CLUSTER, GONE, Header, Label},
    snapshot::Damaged,
    store::Texts,
};

/// What one worker is fed for one epoch.
#[derive(Clone, Debug, Default)]
pub struct EpochInput {
    /// Its number, greater than 0; epochs are fed in ascending order, each to every worker.
    pub epoch: u64,
    /// The engine's clock, the same on every worker, never less than the epoch's before.
    pub now: Timestamp,
    /// The decoded events whose owners belong to this worker.
    pub events: EventBatch,
    /// Links to take back for good: pairs of identifier hashes, whichever of the two is the owner. The same list
    /// on every worker.
    pub unlinks: Vec<(u128, u128)>,
    /// The epoch of a snapshot that was just read: nothing but the links in it, and no changes come of it.
    pub is_restored: bool,
}

/// What one worker found in one epoch.
#[derive(Debug)]
pub struct EpochOutput {
    /// The epoch.
    pub epoch: u64,
    /// Its `now`.
    pub now: Timestamp,
    /// This worker's share of the membership changes; [`merge`](crate::merge) puts the shares together.
    pub changes: Changes,
    /// When time alone next changes a membership on this worker, if ever.
    pub next_timer: Option<Timestamp>,
    /// The input's buffers, emptied, to be used again.
    pub events: EventBatch,
}

/// Where a profile is kept: answered by the worker of the identifier, understood by [`Location::worker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The worker to ask.
    pub worker: usize,
    record: u32,
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
    /// Bytes of state by part, such as `records`, `panes`, `texts` (of identifiers), `trait_texts`, `links`, `index`.
    pub bytes: Vec<(&'static str, u64)>,
}

type AssignmentSpine = ValSpine<u128, u128, Time, isize>;

/// One worker's share of the dataflow. Lives on the timely worker's thread.
pub struct WorkerDataflow {
    input: InputHandle<Time, CapacityContainerBuilder<Vec<EpochInput>>>,
    relations: Vec<Box<dyn RelationInput>>,
    probe: ProbeHandle<Time>,
    worker: Rc<RefCell<graph::Worker>>,
    memberships: TraceAgent<MembershipSpine>,
    assignments: TraceAgent<AssignmentSpine>,
    epoch: u64,
    now: Timestamp,
}

impl WorkerDataflow {
    /// Builds the dataflow on `worker`. Every worker builds the same one; `texts` is shared by all of them.
    pub fn build(worker: &mut Worker, plan: Arc<Plan>, texts: Arc<Texts>) -> Self {
        Self::build_with(worker, plan, texts, &[])
    }

    /// Like [`build`](Self::build), with further operators on the collections it keeps.
    pub fn build_with(
        worker: &mut Worker,
        plan: Arc<Plan>,
        texts: Arc<Texts>,
        extensions: &[Arc<dyn Extension>],
    ) -> Self {
        let (index, workers) = (worker.index(), worker.peers());
        let shared = Rc::new(RefCell::new(graph::Worker {
            state: State::new(Arc::clone(&plan), texts, index, workers),
            inbox: Inbox::default(),
            epoch: None,
            recycled: None,
        }));
        let mut input = InputHandle::new();
        let probe = ProbeHandle::new();
        let mut relations = Vec::new();
        let (memberships, assignments) = worker.dataflow_named::<Time, _, _>("Tidewater", |scope| {
            let events = input.to_stream(scope);
            let published = if workers == 1 {
                graph::single(events, Rc::clone(&shared))
            } else {
                graph::sharded(events, &shared)
            };
            let by_segment = Exchange::new(|row: &MembershipRow| row.segment().hashed());
            let batcher = |_, _| MembershipBatcher::new();
            let memberships = arrange_core::<_, _, _, MembershipSpine>(
                published.memberships,
                by_segment,
                "Memberships",
                batcher,
            );
            let by_identifier = Exchange::new(|((identifier, _), ..): &AssignmentUpdate| identifier.hashed());
            let batcher = |_, _| AssignmentBatcher::new();
            let assignments = arrange_core::<_, _, _, AssignmentSpine>(
                published.assignments,
                by_identifier,
                "Assignments",
                batcher,
            );
            memberships.stream.clone().probe_with(&probe);
            assignments.stream.clone().probe_with(&probe);
            let mut context = Context {
                scope,
                plan: &plan,
                worker: index,
                memberships: memberships.clone(),
                assignments: assignments.clone(),
                probe: &probe,
                inputs: &mut relations,
            };
            extensions.iter().for_each(|extension| extension.build(&mut context));
            (memberships.trace, assignments.trace)
        });
        let (epoch, now) = (0, Timestamp(i64::MIN));
        Self { input, relations, probe, worker: shared, memberships, assignments, epoch, now }
    }

    /// Feeds one epoch. The one before must be complete and [`finish`](Self::finish)ed.
    pub fn feed(&mut self, input: EpochInput) {
        (self.epoch, self.now) = (input.epoch, input.now);
        {
            let mut worker = self.worker.borrow_mut();
            worker.epoch = Some(input.epoch);
            if input.is_restored {
                worker.state.rejoin();
            }
        }
        self.relations.iter_mut().for_each(|relation| relation.feed(input.epoch));
        self.input.advance_to(input.epoch);
        self.input.send(input);
        self.input.advance_to(self.epoch + 1);
        self.input.flush();
    }

    /// Whether the epoch fed last is complete on all workers. Step the worker until it is.
    pub fn is_complete(&self) -> bool {
        !self.probe.less_than(&(self.epoch + 1))
    }

    /// The results of the epoch fed last. Call it once it [`is_complete`](Self::is_complete).
    pub fn finish(&mut self) -> EpochOutput {
        // History is never read, so the arrangements may forget everything before the next epoch.
        let next = Antichain::from_elem(self.epoch + 1);
        self.memberships.set_logical_compaction(next.borrow());
        self.memberships.set_physical_compaction(next.borrow());
        self.assignments.set_logical_compaction(next.borrow());
        self.assignments.set_physical_compaction(next.borrow());
        let mut worker = self.worker.borrow_mut();
        worker.epoch = None;
        let mut events = worker.recycled.take().unwrap_or_default();
        events.clear();
        if worker.state.epoch.is_restored {
            // Everyone has heard of these members in an earlier life. And no other epoch's lists are as long.
            worker.state.epoch = EpochWork::default();
            worker.state.trait_texts.settle();
        }
        let epoch = &mut worker.state.epoch;
        let room = Changes::with_room_of(&epoch.changes);
        let changes = std::mem::replace(&mut epoch.changes, room);
        EpochOutput {
            epoch: self.epoch,
            now: self.now,
            changes,
            next_timer: worker.state.next_timer().map(Timestamp),
            events,
        }
    }

    /// Where the profile of an identifier is kept. Ask the worker that [`worker_of`](crate::worker_of) names.
    pub fn locate(&self, identifier: u128) -> Option<Location> {
        let state = &self.worker.borrow().state;
        let node = state.slab.get(state.node(identifier)?);
        let Label { worker, record } = node.label();
        (!node.has(GONE)).then_some(Location { worker: worker.into(), record })
    }

    /// The profile at `location`, if `identifier` is still in it; `None` when it moved since (locate it again) or
    /// the cluster owns no event.
    pub fn profile(&self, location: Location, identifier: u128) -> Option<Profile> {
        let state = &self.worker.borrow().state;
        if !state.slab.numbers().contains(&location.record) {
            return None;
        }
        let is_member = || state.members(location.record).iter().any(|member| member.hash == identifier);
        let record = state.slab.get(location.record);
        let alone = !record.has(CLUSTER) && record.label().record != location.record;
        if record.has(GONE) || alone || !is_member() { None } else { state.read_profile(location.record) }
    }

    /// This worker's share of a segment's members, from the `memberships` arrangement.
    pub fn members(&mut self, segment: usize) -> Vec<ProfileId> {
        let segment = segment as u32;
        let mut members = Vec::new();
        let batches = self.memberships.batches_through(Antichain::new().borrow()).unwrap_or_default();
        let (mut cursor, storage) = cursor_list(batches);
        cursor.seek_key(&storage, &segment);
        if cursor.get_key(&storage) == Some(&segment) {
            while let Some(profile) = cursor.get_val(&storage).copied() {
                let mut count = 0;
                cursor.map_times(&storage, |_, diff| count += diff);
                if count > 0 {
                    members.push(ProfileId(profile));
                }
                cursor.step_val(&storage);
            }
        }
        members
    }

    /// This worker's share of the identifiers and the profiles or clusters they belong to, from the `assignments`
    /// arrangement: (identifier's hash, id).
    pub fn assignments(&mut self) -> Vec<(u128, ProfileId)> {
        let mut assignments = Vec::new();
        let batches = self.assignments.batches_through(Antichain::new().borrow()).unwrap_or_default();
        let (mut cursor, storage) = cursor_list(batches);
        while let Some(identifier) = cursor.get_key(&storage) {
            while let Some(profile) = cursor.get_val(&storage) {
                let mut count = 0;
                cursor.map_times(&storage, |_, diff| count += diff);
                if count != 0 {
                    assignments.push((*identifier, ProfileId(*profile)));
                }
                cursor.step_val(&storage);
            }
            cursor.step_key(&storage);
        }
        assignments
    }

    /// This worker's share of all profiles, in no particular order.
    pub fn profiles(&self, found: &mut dyn FnMut(Profile)) {
        let state = &self.worker.borrow().state;
        state.homes().filter_map(|record| state.read_profile(record)).for_each(found);
    }

    /// This worker's share of all identifiers as (index of the identifier, value, cluster's id), from the
    /// clusters that have their home here, in no particular order.
    pub fn identities(&self, found: &mut dyn FnMut(usize, &str, ProfileId)) {
        let state = &self.worker.borrow().state;
        for record in state.homes() {
            let id = ProfileId(state.slab.get(record).hash());
            for member in state.members(record) {
                state.texts.read(member.text, |text| found(member.rank.into(), text, id));
            }
        }
    }

    /// Begins to give texts back that no trait has any more, where that is worth it, and goes on with it. Call it once behind each
    /// epoch, when its results are on their way.
    pub fn collect_after_epoch(&mut self) {
        self.worker.borrow_mut().state.collect_after_epoch();
    }

    /// Begins to give texts back even if they are few: for an engine that has too much memory. Call it between epochs.
    pub fn begin_collecting(&mut self) {
        self.worker.borrow_mut().state.begin_collecting();
    }

    /// Whether texts are being given back: a little after each epoch, and whenever [`collect`](Self::collect) is called in
    /// between.
    pub fn is_collecting(&self) -> bool {
        self.worker.borrow().state.is_collecting()
    }

    /// Goes on with giving texts back, for about a millisecond; false if there is nothing to do. Call it between epochs.
    pub fn collect(&mut self) -> bool {
        self.worker.borrow_mut().state.collect()
    }

    /// Takes notes of what changes, so that snapshots can be taken. Call it before anything is fed or read.
    pub fn track_changes(&mut self) {
        self.worker.borrow_mut().state.marks.turn_on();
    }

    /// Begins a snapshot as of the epoch finished last, of all state or of what has changed since the last one was
    /// begun. Returns pieces that [`read_rest`](Self::read_rest) reads; the nodes follow with
    /// [`write_snapshot`](Self::write_snapshot), between the epochs that come.
    pub fn begin_snapshot(&mut self, all: bool) -> Vec<Vec<u8>> {
        self.worker.borrow_mut().state.begin_snapshot(all)
    }

    /// Appends nodes of the snapshot under way to `out`, until it has at least `bytes` bytes; true when all are written.
    /// What has been appended by then is a chunk that [`read_nodes`](Self::read_nodes) reads.
    pub fn write_snapshot(&mut self, out: &mut Vec<u8>, bytes: usize) -> bool {
        self.worker.borrow_mut().state.write_snapshot(out, bytes)
    }

    /// Reads this worker's share of a chunk of nodes, of a snapshot taken when the engine's clock showed `now`. Snapshots
    /// are read newest first, all chunks on every worker, whichever wrote them.
    ///
    /// # Errors
    /// [`Damaged`]: the dataflow is of no use any more.
    pub fn read_nodes(&mut self, now: Timestamp, chunk: &[u8]) -> Result<(), Damaged> {
        self.worker.borrow_mut().state.read_nodes(now.0, chunk)
    }

    /// Reads one of the pieces that [`begin_snapshot`](Self::begin_snapshot) returned on any worker for the newest snapshot,
    /// after all nodes. When all are read, feed the snapshot's epoch, [`restored`](EpochInput::is_restored).
    ///
    /// # Errors
    /// As [`read_nodes`](Self::read_nodes).
    pub fn read_rest(&mut self, rest: &[u8]) -> Result<(), Damaged> {
        self.worker.borrow_mut().state.read_rest(rest)
    }

    /// How much state there is.
    pub fn stats(&self) -> WorkerStats {
        let state = &self.worker.borrow().state;
        let links: u64 = state.links.iter().map(crate::identity::LinkList::bytes).sum();
        WorkerStats {
            identifiers: state.counts.identifiers,
            profiles: state.counts.profiles,
            merges: state.counts.merges,
            members: state.counts.members.clone(),
            bytes: vec![
                ("records", state.slab.bytes()),
                ("index", state.index.bytes()),
                ("panes", state.panes.bytes()),
                ("texts", state.texts.bytes(state.worker)),
                ("trait_texts", state.trait_texts.bytes()),
                ("links", links),
                ("timers", state.timers.capacity() as u64 * 16),
                ("marks", state.marks.bytes() + state.saved.capacity() as u64),
            ],
        }
    }
}

#[cfg(test)]
mod tests;
