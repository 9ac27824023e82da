//! The checkpoint thread: takes what belongs to a checkpoint as it comes, writes it, and makes it count.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidewater_model::Timestamp;
use tidewater_storage::{Checkpoints, Manifest, StateFile, StorageError};

use super::{
    choose::{add, to_keep},
    control::{Asker, CheckpointStatus, Control},
    earlier::Earlier,
    pace::Pace,
    pieces::{Member, MemberChanges, Messages, add_members, kind, write_members, write_messages},
    whole::{self, Since},
};
use crate::{
    absent::Absent,
    delivery::SinkHandle,
    error::Error,
    lifecycle::Lifecycle,
    metrics::Metrics,
    retention::Retention,
    sequencer::{assembler::Snapshot, intake::Intake, message::Message},
    status::SinkState,
    threads::{self, Receiver, RecvTimeoutError, Sender, unbounded},
};

/// How many pieces of nodes wait to be written. Workers do not wait for room: they write less.
const QUEUED_PIECES: usize = 8;

/// How long sinks are waited for: what one that lags a moment takes meanwhile need not be written to its outbox.
const DELIVERY_WAIT: Duration = Duration::from_millis(100);

/// How often it is looked whether they have come that far.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How often it is looked for log files that have become too old, while no checkpoint is made.
const RETIRE_EVERY: Duration = Duration::from_secs(60);

/// A chain gets no longer than this, since every file of it must be whole.
const LONGEST_CHAIN: usize = 64;

/// A message to the checkpoint thread. Those of an epoch for which no checkpoint is being made are of one that failed.
pub(crate) enum ToCheckpoint {
    /// The sequencer has cut an epoch.
    Begin(Box<Begin>),
    /// Nodes of a worker.
    Nodes { epoch: u64, piece: Vec<u8> },
    /// A worker has begun; what it knows besides nodes.
    Rest { epoch: u64, piece: Vec<u8> },
    /// A worker has sent all nodes.
    Complete { epoch: u64 },
    /// The epoch is published, and with it durable; who entered and exited since the last such message.
    Members { epoch: u64, changes: MemberChanges },
}

/// The way to the checkpoint thread. It never makes anyone wait. Nodes, which are most of a checkpoint, ask for room first;
/// what changes meanwhile is kept at its worker, at most all of its state.
#[derive(Clone)]
pub(crate) struct PieceSender {
    sender: Sender<ToCheckpoint>,
    nodes: Arc<AtomicUsize>,
}

/// The other end.
pub(crate) struct PieceReceiver {
    receiver: Receiver<ToCheckpoint>,
    nodes: Arc<AtomicUsize>,
}

/// Both ends.
pub(crate) fn channel() -> (PieceSender, PieceReceiver) {
    let (sender, receiver) = unbounded();
    let nodes = Arc::new(AtomicUsize::new(0));
    (PieceSender { sender, nodes: Arc::clone(&nodes) }, PieceReceiver { receiver, nodes })
}

impl PieceSender {
    /// Whether nodes should be sent now.
    pub(crate) fn has_room(&self) -> bool {
        self.nodes.load(Ordering::Relaxed) < QUEUED_PIECES
    }

    pub(crate) fn send(&self, message: ToCheckpoint) {
        if matches!(message, ToCheckpoint::Nodes { .. }) {
            self.nodes.fetch_add(1, Ordering::Relaxed);
        }
        // Without the checkpoint thread the engine is about to end.
        let _ = self.sender.send(message);
    }
}

impl PieceReceiver {
    /// The next message; `None` once all senders have gone.
    fn recv(&self) -> Option<ToCheckpoint> {
        self.receiver.recv().ok().inspect(|message| self.note(message))
    }

    /// The next message within so long.
    fn recv_for(&self, time: Duration) -> Result<ToCheckpoint, RecvTimeoutError> {
        self.receiver.recv_timeout(time).inspect(|message| self.note(message))
    }

    fn note(&self, message: &ToCheckpoint) {
        if matches!(message, ToCheckpoint::Nodes { .. }) {
            self.nodes.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What the sequencer adds to a checkpoint.
pub(crate) struct Begin {
    pub(crate) snapshot: Snapshot,
    /// Where each source resumes.
    pub(crate) positions: Vec<(String, Vec<u8>)>,
    /// Everything, not only what has changed.
    pub(crate) all: bool,
    pub(crate) askers: Vec<Asker>,
}

/// The checkpoint thread's state.
pub(crate) struct Collector {
    pub(crate) receiver: PieceReceiver,
    pub(crate) store: Checkpoints,
    pub(crate) definitions: Vec<u8>,
    pub(crate) workers: usize,
    pub(crate) sinks: Vec<Arc<SinkHandle>>,
    pub(crate) absent: Absent,
    pub(crate) earlier: Earlier,
    pub(crate) control: Arc<Control>,
    /// The time between two checkpoints.
    pub(crate) every: Duration,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) metrics: Arc<Metrics>,
    /// All there are, newest first.
    pub(crate) all: Vec<Manifest>,
    /// What the next one builds on: the last one made here, or the one that this engine began with.
    pub(crate) base: Option<Manifest>,
    /// Not in a checkpoint yet.
    pub(crate) messages: Messages,
    pub(crate) members: MemberChanges,
    /// What the next one builds on can't be read.
    pub(crate) is_lost: bool,
    pub(crate) retention: Retention,
}

impl Collector {
    /// Works until nobody is left who could ask for a checkpoint.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        threads::stand_back();
        loop {
            let message = match self.receiver.recv_for(RETIRE_EVERY) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    self.retire();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            match message {
                ToCheckpoint::Begin(begin) => self.make(*begin),
                // The members are those of a checkpoint that failed; the next one needs them.
                ToCheckpoint::Members { changes, .. } => add_members(&mut self.members, changes),
                ToCheckpoint::Nodes { .. } | ToCheckpoint::Rest { .. } | ToCheckpoint::Complete { .. } => {}
            }
        }
    }

    fn make(&mut self, mut begin: Begin) {
        let askers = std::mem::take(&mut begin.askers);
        let answer = match self.try_make(begin) {
            Ok(epoch) => Ok(epoch),
            Err(error) if self.is_lost => {
                let reason = format!(
                    "the checkpoint that the next one would be made from can't be read, so there can be none before a \
                     restart, which does with an earlier one and the log: {error}"
                );
                tracing::error!("{reason}");
                self.control.lost(reason.clone());
                Err(reason)
            }
            Err(error) => {
                if !self.lifecycle.is_failed() {
                    tracing::error!(%error, "checkpoint failed: it is tried again when the next one is due");
                }
                self.control.failed(error.to_string());
                Err(error.to_string())
            }
        };
        for asker in askers {
            // Whoever asked may have gone.
            let _ = asker.send(answer.clone().map_err(Error::failed));
        }
        self.intake.post(Message::Wake);
    }

    fn try_make(&mut self, mut begin: Begin) -> Result<u64, Error> {
        self.messages.append(&mut begin.snapshot.messages);
        self.messages.retain(|(half, _)| *half >= begin.snapshot.oldest_half);
        let file = self.write(&begin)?;
        let Snapshot { epoch, now, latest, dedup_half, next_place, .. } = begin.snapshot;
        let mut delivered = self.delivered(epoch);
        delivered.extend(self.absent.delivered(epoch));
        let mut files = vec![file];
        if !begin.all {
            files.extend(self.base.iter().flat_map(|before| before.files.iter().copied()));
        }
        let manifest = Manifest {
            epoch,
            now,
            latest,
            dedup_half,
            next_place,
            positions: begin.positions,
            definitions: self.definitions.clone(),
            delivered,
            files,
            is_base: false,
        };
        self.store.commit(&manifest)?;
        self.count(manifest);
        Ok(epoch)
    }

    /// A checkpoint counts: forgets what it holds, and removes those that are not needed any more.
    fn count(&mut self, manifest: Manifest) {
        self.messages.clear();
        self.members.clear();
        let status = CheckpointStatus::of(&manifest);
        let first = manifest.files.last().map_or(0, |file| file.bytes);
        let total = status.total_bytes;
        tracing::debug!(epoch = status.epoch, bytes = status.written_bytes, of = total, "checkpoint");
        self.base = Some(manifest.clone());
        add(&mut self.all, manifest);
        let mut pinned = self.retention.pinned(&self.all);
        pinned.append(&mut self.absent.needed(&self.all));
        self.all = to_keep(&self.all, status.epoch, &acknowledged(&self.sinks), &pinned);
        self.retire();
        if let Err(error) = self.store.keep(&[&self.all[..], self.earlier.needed(&self.sinks)].concat()) {
            tracing::warn!(%error, "an old checkpoint could not be removed; it is tried again with the next one");
        }
        let is_long = self.base.as_ref().is_some_and(|base| base.files.len() >= LONGEST_CHAIN);
        // So a start reads about twice what it must, and three times at the worst: just before the limit and just behind it.
        let rewrite = is_long || total - first >= first;
        self.metrics.checkpoint_bytes.add(status.written_bytes);
        self.control.done(status, rewrite);
        self.metrics.checkpoint_made(self.control.status().took);
    }

    /// Retires old log files.
    fn retire(&mut self) {
        if let Err(error) = self.retention.retire(&self.store, &mut self.all, &self.sinks) {
            tracing::warn!(%error, "old log files could not be retired; it is tried again");
        }
    }

    /// Writes the state file, as its pieces come.
    fn write(&mut self, begin: &Begin) -> Result<StateFile, Error> {
        let Self { receiver, store, lifecycle, control, members, messages, base, is_lost, .. } = self;
        let mut pace = Pace::new(lifecycle, control, self.every);
        let is_over = || lifecycle.is_failed() || lifecycle.is_given_up();
        let before = base.as_ref().filter(|_| begin.all);
        let (workers, of) = (self.workers, begin.snapshot.epoch);
        let file = store.write_state(of, |writer| {
            begin.snapshot.aliases.iter().try_for_each(|piece| writer.append(kind::ALIASES, piece))?;
            let (mut complete, mut published) = (0, false);
            while complete < workers || !published {
                let message = receiver.recv().ok_or_else(stopped)?;
                if is_over() {
                    return Err(stopped());
                }
                pace.go_on();
                match message {
                    ToCheckpoint::Nodes { epoch, piece } if epoch == of => {
                        writer.append(kind::NODES, &piece)?;
                    }
                    ToCheckpoint::Rest { epoch, piece } if epoch == of => {
                        writer.append(kind::REST, &piece)?;
                    }
                    ToCheckpoint::Complete { epoch } if epoch == of => complete += 1,
                    ToCheckpoint::Members { epoch, changes } => {
                        add_members(members, changes);
                        published |= epoch == of;
                    }
                    _ => {}
                }
                pace.rest();
            }
            // Damage to the last nodes can so be told from damage to what follows.
            writer.append(kind::REST, &[])?;
            match before {
                Some(before) => {
                    let since = Since { messages, members, oldest_half: begin.snapshot.oldest_half };
                    whole::write((store, before), &since, writer, || {
                        pace.rest();
                        if is_over() { Err(stopped()) } else { Ok(()) }
                    })
                    .map_err(|failure| {
                        *is_lost = failure.is_for_good();
                        failure.into_error()
                    })
                }
                None => {
                    write_messages(messages, |piece| writer.append(kind::MESSAGES, piece))?;
                    // Of several changes of one member the last one counts.
                    let changes: BTreeMap<Member, Option<Timestamp>> = members.iter().copied().collect();
                    write_members(changes.into_iter(), |piece| writer.append(kind::MEMBERS, piece))
                }
            }
        });
        Ok(file?)
    }

    /// The sinks that have everything up to this epoch, and whose acknowledgements of it are durable. Of the others what they
    /// lack is durable in their outboxes then, where that is possible. When the engine stops nobody is waited for: sinks record
    /// themselves how far they have come by then.
    fn delivered(&self, epoch: u64) -> Vec<String> {
        let until = threads::now() + DELIVERY_WAIT;
        loop {
            let delivered: Vec<String> = self
                .sinks
                .iter()
                .filter(|sink| sink.has_recorded(epoch))
                .map(|sink| sink.name().to_owned())
                .collect();
            let is_hopeless =
                |state: SinkState| state.is_down() || matches!(state, SinkState::Retrying { .. });
            let is_lacking = |sink: &&Arc<SinkHandle>| !delivered.iter().any(|name| name == sink.name());
            let lacking = self.sinks.iter().filter(is_lacking);
            let hopeless = lacking.filter(|sink| is_hopeless(sink.status().state)).count();
            if delivered.len() + hopeless >= self.sinks.len()
                || threads::now() >= until
                || self.lifecycle.is_stopping()
            {
                #[cfg(feature = "planted-bugs")]
                if tidewater_operators::planted::active(
                    tidewater_operators::planted::Bug::CheckpointAheadOfSink,
                ) {
                    return delivered;
                }
                self.sinks.iter().filter(is_lacking).for_each(|sink| sink.keep());
                return delivered;
            }
            threads::sleep(LOOK_EVERY);
        }
    }
}

/// Up to which epoch a start need not make deltas again for each sink.
pub(crate) fn acknowledged(sinks: &[Arc<SinkHandle>]) -> HashMap<String, Option<u64>> {
    sinks.iter().map(|sink| (sink.name().to_owned(), Some(sink.kept_epoch()))).collect()
}

fn stopped() -> StorageError {
    StorageError::Refused { detail: "the engine stopped".to_owned() }
}
