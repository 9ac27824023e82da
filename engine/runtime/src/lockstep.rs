//! The dataflow driven by its caller: an epoch goes in and its deltas come back, in one call.
//!
//! With one worker there is no thread at all; with several each has its own, and the caller waits for all of them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam::channel::{Receiver, Sender, bounded};
use tidewater_model::{Change, DeltaBatch, Profile, ProfileId, Timestamp, delta::DeltaNames};
use tidewater_operators::{
    Changes, Plan, Texts,
    dataflow::{EpochInput, EpochOutput, WorkerDataflow, WorkerStats},
    merge, worker_of,
};
use tidewater_storage::{Manifest, StateReader};
use timely::{communication::AllocatorBuilder, worker::Worker};

use crate::{
    assembly::delta_names,
    checkpoint::{
        pieces::{Member, kind, read_members},
        restore::{self, unreadable},
    },
    error::Error,
    query::add_stats,
    sequencer::assembler::Assembler,
    worker::{allocators, new_worker},
};

/// How often a worker that waits for the others looks whether one of them has failed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A member of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Membership {
    /// Index of the segment.
    pub segment: usize,
    /// The profile.
    pub profile: ProfileId,
    /// The `now` of the epoch in which it last entered.
    pub since: Timestamp,
}

/// An identifier and the cluster it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Identity {
    /// Index of the identifier.
    pub identifier: usize,
    /// Its normalized value.
    pub value: String,
    /// The cluster's id; that of a profile if the cluster owns an event.
    pub profile: ProfileId,
}

/// Acceptance and dataflow of an engine without threads of its own.
pub(crate) struct Lockstep {
    pub(crate) plan: Arc<Plan>,
    pub(crate) assembler: Assembler,
    workers: Workers,
    count: usize,
    names: Arc<DeltaNames>,
    texts: Arc<Texts>,
    next_timer: Option<Timestamp>,
    since: HashMap<(usize, ProfileId), Timestamp>,
    /// Of a checkpoint that is being read: of each member the newest change.
    members: HashMap<Member, Option<Timestamp>>,
}

/// A piece of nodes is of about this size.
const PIECE_BYTES: usize = 1 << 20;

impl Lockstep {
    pub(crate) fn new(plan: Arc<Plan>, workers: usize) -> Result<Self, Error> {
        let texts = Texts::new(workers);
        Ok(Self {
            assembler: Assembler::new(&plan, workers),
            workers: Workers::new(workers, &plan, &texts)?,
            count: workers,
            names: delta_names(&plan),
            texts,
            next_timer: None,
            since: HashMap::new(),
            members: HashMap::new(),
            plan,
        })
    }

    /// Reads a checkpoint, and tells of each of its pieces; nothing may have been computed before.
    pub(crate) fn restore(
        &mut self,
        state: &StateReader,
        manifest: &Manifest,
        seen: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<(), Error> {
        self.begin_restore(manifest);
        restore::read(state, manifest, |kind, piece| {
            seen(kind, &piece);
            self.read(kind, piece)
        })?;
        self.end_restore()
    }

    /// Goes on behind the epoch of a checkpoint, whose pieces follow in the order in which they are to be read.
    pub(crate) fn begin_restore(&mut self, manifest: &Manifest) {
        self.assembler.resume(manifest);
    }

    /// Reads a piece.
    pub(crate) fn read(&mut self, kind: u8, piece: Vec<u8>) -> Result<(), Error> {
        self.assembler.read(kind, &piece).map_err(unreadable)?;
        let now = self.assembler.now();
        match kind {
            kind::NODES | kind::REST => {
                let piece: Arc<[u8]> = piece.into();
                let read = self.workers.ask_all(move |dataflow| match kind {
                    kind::NODES => dataflow.read_nodes(now, &piece),
                    _ => dataflow.read_rest(&piece),
                })?;
                read.into_iter().try_for_each(|read| read.map_err(unreadable))
            }
            // The newest stands first.
            kind::MEMBERS => {
                for (member, since) in read_members(&piece).map_err(unreadable)? {
                    self.members.entry(member).or_insert(since);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// All pieces are read: computes what follows from them.
    pub(crate) fn end_restore(&mut self) -> Result<(), Error> {
        let (epoch, now) = (self.assembler.epoch(), self.assembler.now());
        let input = || EpochInput { epoch, now, is_restored: true, ..EpochInput::default() };
        let outputs = self.workers.compute((0..self.count).map(|_| input()).collect())?;
        self.next_timer = outputs.iter().filter_map(|output| output.next_timer).min();
        let since =
            std::mem::take(&mut self.members).into_iter().filter_map(|((segment, profile), since)| {
                since.map(|since| ((segment as usize, profile), since))
            });
        self.since = since.collect();
        Ok(())
    }

    /// Says of every member, by the segment's name, since when it is one.
    pub(crate) fn set_since(&mut self, since: impl Fn(&str, ProfileId) -> Timestamp) -> Result<(), Error> {
        let names = Arc::clone(&self.names);
        let members = self.memberships()?;
        let since = members.into_iter().map(|Membership { segment, profile, .. }| {
            ((segment, profile), since(&names.segments()[segment], profile))
        });
        self.since = since.collect();
        Ok(())
    }

    /// Calls `each` with all nodes, and then with what stands beside them, as the pieces of a checkpoint.
    pub(crate) fn pieces(
        &mut self,
        each: &mut dyn FnMut(u8, Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut rest = Vec::new();
        for worker in 0..self.count {
            rest.extend(self.workers.ask(worker, |dataflow| dataflow.begin_snapshot(true))?);
            loop {
                let (piece, complete) = self.workers.ask(worker, |dataflow| {
                    let mut piece = Vec::new();
                    let mut complete = false;
                    while !complete && piece.len() < PIECE_BYTES {
                        complete = dataflow.write_snapshot(&mut piece, PIECE_BYTES);
                    }
                    (piece, complete)
                })?;
                if !piece.is_empty() {
                    each(kind::NODES, piece)?;
                }
                if complete {
                    break;
                }
            }
        }
        rest.into_iter().try_for_each(|piece| each(kind::REST, piece))
    }

    /// Cuts an epoch and computes it.
    #[cfg(feature = "testing")]
    pub(crate) fn cut(&mut self, wall: Timestamp, unlinks: &[(u128, u128)]) -> Result<DeltaBatch, Error> {
        let mut inputs = self.assembler.cut(wall).inputs;
        inputs.iter_mut().for_each(|input| input.unlinks.extend_from_slice(unlinks));
        self.compute(inputs)
    }

    pub(crate) fn compute(&mut self, inputs: Vec<EpochInput>) -> Result<DeltaBatch, Error> {
        let mut outputs = self.workers.compute(inputs)?;
        let at = (outputs[0].epoch, outputs[0].now);
        self.next_timer = outputs.iter().filter_map(|output| output.next_timer).min();
        self.assembler.recycle(outputs.iter_mut().map(|output| std::mem::take(&mut output.events)));
        let shares: Vec<Changes> = outputs.into_iter().map(|output| output.changes).collect();
        let batch = merge(at, &self.names, &self.texts, &shares);
        for delta in batch.iter() {
            let member = (delta.segment_index(), delta.profile());
            match delta.change() {
                Change::Entered => self.since.insert(member, batch.now()),
                Change::Exited => self.since.remove(&member),
            };
        }
        Ok(batch)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.next_timer
    }

    /// All profiles, by id.
    pub(crate) fn profiles(&mut self) -> Result<Vec<Profile>, Error> {
        let parts = self.workers.ask_all(|state| {
            let mut profiles = Vec::new();
            state.profiles(&mut |profile| profiles.push(profile));
            profiles
        })?;
        let mut profiles: Vec<Profile> = parts.into_iter().flatten().collect();
        profiles.sort_unstable_by_key(|profile| profile.id);
        Ok(profiles)
    }

    /// All identifiers, by (identifier, value).
    pub(crate) fn identities(&mut self) -> Result<Vec<Identity>, Error> {
        let parts = self.workers.ask_all(|state| {
            let mut identities = Vec::new();
            state.identities(&mut |identifier, value, profile| {
                identities.push(Identity { identifier, value: value.to_owned(), profile });
            });
            identities
        })?;
        let mut identities: Vec<Identity> = parts.into_iter().flatten().collect();
        identities.sort_unstable();
        Ok(identities)
    }

    /// All members, by (segment's index, profile).
    pub(crate) fn memberships(&mut self) -> Result<Vec<Membership>, Error> {
        let mut memberships = Vec::new();
        for segment in 0..self.names.segments().len() {
            let parts = self.workers.ask_all(move |state| state.members(segment))?;
            memberships.extend(parts.into_iter().flatten().map(|profile| Membership {
                segment,
                profile,
                // Every member entered once; should a delta be missing, the present is the best there is.
                since: self.since.get(&(segment, profile)).copied().unwrap_or(self.assembler.now()),
            }));
        }
        memberships.sort_unstable();
        Ok(memberships)
    }

    /// The profile of an identifier.
    pub(crate) fn profile(&mut self, hash: u128) -> Result<Option<Profile>, Error> {
        let Some(place) = self.workers.ask(worker_of(hash, self.count), move |state| state.locate(hash))?
        else {
            return Ok(None);
        };
        self.workers.ask(place.worker, move |state| state.profile(place, hash))
    }

    pub(crate) fn stats(&mut self) -> Result<WorkerStats, Error> {
        Ok(add_stats(self.workers.ask_all(|state| state.stats())?))
    }

    pub(crate) fn names(&self) -> &Arc<DeltaNames> {
        &self.names
    }
}

/// The workers.
enum Workers {
    /// One, on the caller's thread. The dataflow goes before its worker.
    Here(Box<(WorkerDataflow, Worker)>),
    Threads(Threads),
}

type Task = Box<dyn FnOnce(&mut WorkerDataflow, &mut Worker) + Send>;

struct Threads {
    tasks: Vec<Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
    failed: Arc<AtomicBool>,
}

impl Workers {
    fn new(workers: usize, plan: &Arc<Plan>, texts: &Arc<Texts>) -> Result<Self, Error> {
        let mut allocators = allocators(workers)?;
        if workers == 1
            && let Some(allocator) = allocators.pop()
        {
            let mut worker = new_worker(allocator);
            let dataflow = WorkerDataflow::build(&mut worker, Arc::clone(plan), Arc::clone(texts));
            return Ok(Self::Here(Box::new((dataflow, worker))));
        }
        let failed = Arc::new(AtomicBool::new(false));
        let mut all = Threads { tasks: Vec::new(), threads: Vec::new(), failed };
        for allocator in allocators {
            let (sender, receiver) = bounded(1);
            let (plan, texts, failed) = (Arc::clone(plan), Arc::clone(texts), Arc::clone(&all.failed));
            let spawned = std::thread::Builder::new()
                .name("tidewater lockstep".to_owned())
                .spawn(move || work(allocator, plan, texts, &receiver, &failed));
            let thread = spawned.map_err(|error| Error::failed(format!("no thread: {error}")))?;
            all.tasks.push(sender);
            all.threads.push(thread);
        }
        Ok(Self::Threads(all))
    }

    fn compute(&mut self, inputs: Vec<EpochInput>) -> Result<Vec<EpochOutput>, Error> {
        match self {
            Self::Here(here) => {
                let (dataflow, worker) = &mut **here;
                let mut outputs = Vec::with_capacity(1);
                for input in inputs {
                    dataflow.feed(input);
                    while !dataflow.is_complete() {
                        worker.step();
                    }
                    outputs.push(dataflow.finish());
                    dataflow.collect_after_epoch();
                }
                Ok(outputs)
            }
            Self::Threads(threads) => {
                let failed = Arc::clone(&threads.failed);
                let mut inputs: Vec<Option<EpochInput>> = inputs.into_iter().map(Some).collect();
                threads.run(&mut |index| {
                    let (input, failed) = (inputs[index].take().unwrap_or_default(), Arc::clone(&failed));
                    Box::new(move |dataflow: &mut WorkerDataflow, worker: &mut Worker| {
                        dataflow.feed(input);
                        while !dataflow.is_complete() && !failed.load(Ordering::Relaxed) {
                            worker.step_or_park(Some(LOOK_EVERY));
                        }
                        let output = dataflow.finish();
                        dataflow.collect_after_epoch();
                        output
                    })
                })
            }
        }
    }

    fn ask<T: Send + 'static>(
        &mut self,
        worker: usize,
        question: impl FnOnce(&mut WorkerDataflow) -> T + Send + 'static,
    ) -> Result<T, Error> {
        match self {
            Self::Here(here) => Ok(question(&mut here.0)),
            Self::Threads(threads) => {
                let (sender, receiver) = bounded(1);
                let task: Task = Box::new(move |dataflow, _| {
                    // The caller waits for it.
                    let _ = sender.send(question(dataflow));
                });
                threads.tasks[worker].send(task).map_err(|_| panicked())?;
                receiver.recv().map_err(|_| panicked())
            }
        }
    }

    fn ask_all<T: Send + 'static>(
        &mut self,
        question: impl Fn(&mut WorkerDataflow) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Error> {
        match self {
            Self::Here(here) => Ok(vec![question(&mut here.0)]),
            Self::Threads(threads) => threads.run(&mut |_| {
                let question = question.clone();
                Box::new(move |dataflow, _| question(dataflow))
            }),
        }
    }
}

/// What one worker is to compute.
type Work<T> = Box<dyn FnOnce(&mut WorkerDataflow, &mut Worker) -> T + Send>;

impl Threads {
    /// Has all workers do something at the same time; the results in their order.
    fn run<T: Send + 'static>(&self, work: &mut dyn FnMut(usize) -> Work<T>) -> Result<Vec<T>, Error> {
        let mut receivers: Vec<Receiver<T>> = Vec::new();
        for (index, tasks) in self.tasks.iter().enumerate() {
            let (sender, receiver) = bounded(1);
            let work = work(index);
            let task: Task = Box::new(move |dataflow, worker| {
                // The caller waits for it.
                let _ = sender.send(work(dataflow, worker));
            });
            tasks.send(task).map_err(|_| panicked())?;
            receivers.push(receiver);
        }
        let results: Result<Vec<T>, _> = receivers.iter().map(Receiver::recv).collect();
        match results {
            Ok(results) if !self.failed.load(Ordering::Relaxed) => Ok(results),
            _ => Err(panicked()),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.tasks.clear();
        for thread in self.threads.drain(..) {
            // A panic in it has been reported as an error.
            let _ = thread.join();
        }
    }
}

fn panicked() -> Error {
    Error::failed("a worker panicked")
}

fn work(
    allocator: AllocatorBuilder,
    plan: Arc<Plan>,
    texts: Arc<Texts>,
    tasks: &Receiver<Task>,
    failed: &Arc<AtomicBool>,
) {
    struct FailOnPanic<'a>(&'a AtomicBool);
    impl Drop for FailOnPanic<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.store(true, Ordering::Relaxed);
            }
        }
    }
    let _fail = FailOnPanic(failed);
    let mut worker = new_worker(allocator);
    let mut dataflow = WorkerDataflow::build(&mut worker, plan, texts);
    for task in tasks {
        task(&mut dataflow, &mut worker);
    }
}
