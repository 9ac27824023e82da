//! What one sink has yet to take, oldest first: in memory up to a limit, behind that on disk.
//!
//! Whoever publishes never waits for a sink. A sink that has no room left has failed, and its queue is given up. For a
//! checkpoint all that waits is put into the outbox and synced, so that a start can go on from there.

mod disk;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidewater_model::{DeltaBatch, delta::DeltaNames};
use tidewater_storage::{Outbox, Span};
use tokio::sync::Notify;

use self::disk::spill;
use super::correction::Correction;

/// The queue of one sink.
pub(crate) struct SinkQueue {
    memory_limit: usize,
    inside: Mutex<Inside>,
    changed: Notify,
}

#[derive(Default)]
struct Inside {
    /// Epochs up to this one have been delivered before, or are in the outbox: a replay makes their deltas again.
    has: u64,
    /// The sink follows earlier definitions until this has been queued.
    correction: Option<Correction>,
    /// What was taken out and is not yet said to be delivered.
    out: VecDeque<Item>,
    memory: VecDeque<Item>,
    memory_bytes: usize,
    /// Behind what is in memory.
    outbox: Option<Outbox>,
    /// What of the outbox is durable.
    kept: Option<Span>,
    /// The last epoch that was put into memory.
    read: u64,
    /// The last epoch that was read back from the outbox: up to there it is whole.
    read_back: u64,
    /// The last epoch that was queued.
    last: u64,
    /// The last epoch that was published, with or without deltas.
    published: u64,
    /// Names and how they are stored, of what was last written or read.
    names: Option<(Arc<DeltaNames>, Arc<[u8]>)>,
    /// Whoever waits for the next batches is to look after something else.
    nudged: bool,
    /// No more follows.
    closed: bool,
    /// Nothing is taken any more.
    given_up: bool,
}

/// A batch in memory.
#[derive(Clone)]
struct Item {
    batch: Arc<DeltaBatch>,
    /// The last epoch before it that had deltas.
    after: u64,
    is_on_disk: bool,
}

impl Inside {
    fn is_spilled(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| !outbox.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.memory.is_empty() && !self.is_spilled() && self.out.is_empty()
    }
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) epochs: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) spilled_bytes: u64,
}

/// What [`SinkQueue::push`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It waits, or nothing of it was for this sink.
    Waits,
    /// Nothing waits and the epoch changed nothing: the sink has it by having nothing to do.
    Nothing,
    /// There is no room: the sink has failed, for this reason.
    NoRoom(String),
}

impl SinkQueue {
    /// A queue for deltas behind the epoch `has`, up to which the sink has acknowledged all or finds it in the outbox; of
    /// those it has acknowledged all up to `acknowledged`. Without an outbox there is only memory.
    pub(crate) fn new(
        (acknowledged, has): (u64, u64),
        memory_limit: usize,
        outbox: Option<Outbox>,
        correction: Option<Correction>,
    ) -> Self {
        let kept = outbox.as_ref().map(Outbox::span);
        let last = kept.map_or(acknowledged, |kept| kept.through);
        let inside = Inside {
            has,
            correction,
            outbox,
            kept,
            read: acknowledged,
            last,
            published: has,
            ..Inside::default()
        };
        Self { memory_limit, inside: Mutex::new(inside), changed: Notify::new() }
    }

    /// Puts the deltas of a published epoch behind the others.
    pub(crate) fn push(&self, batch: &Arc<DeltaBatch>) -> Queued {
        let mut inside = self.lock();
        if inside.given_up || batch.epoch() <= inside.has {
            return Queued::Waits;
        }
        let corrected;
        let batch = match inside.correction.take_if(|correction| correction.at() <= batch.epoch()) {
            Some(correction) => {
                corrected = Arc::new(correction.with(batch));
                &corrected
            }
            // The difference that is to come has their deltas in it.
            None if inside.correction.is_some() => return Queued::Waits,
            None => batch,
        };
        inside.published = batch.epoch();
        if batch.is_empty() {
            return if inside.is_empty() { Queued::Nothing } else { Queued::Waits };
        }
        let item = Item { batch: Arc::clone(batch), after: inside.last, is_on_disk: false };
        let bytes = batch.bytes();
        // A single batch always fits, or a sink with a small limit would never get on.
        let fits = inside.memory.is_empty() || inside.memory_bytes + bytes <= self.memory_limit;
        if fits && !inside.is_spilled() {
            (inside.last, inside.read) = (batch.epoch(), batch.epoch());
            inside.memory_bytes += bytes;
            inside.memory.push_back(item);
            drop(inside);
            self.changed.notify_one();
            return Queued::Waits;
        }
        match spill(&mut inside, &item) {
            Ok(()) => {
                inside.last = batch.epoch();
                Queued::Waits
            }
            Err(reason) => {
                give_up(&mut inside);
                drop(inside);
                self.changed.notify_one();
                Queued::NoRoom(reason)
            }
        }
    }

    /// The next batches, at most `max`; waits for them. None of them if it was nudged; `None` once nothing more follows or
    /// the queue is given up.
    ///
    /// What it returned counts as waiting until [`delivered`](Self::delivered).
    pub(crate) async fn next(self: &Arc<Self>, max: usize) -> Option<Vec<Arc<DeltaBatch>>> {
        loop {
            let refill = {
                let mut inside = self.lock();
                if inside.given_up {
                    return None;
                }
                if std::mem::take(&mut inside.nudged) {
                    return Some(Vec::new());
                }
                if !inside.memory.is_empty() {
                    return Some(take(&mut inside, max.max(1)));
                }
                if !inside.is_spilled() && inside.closed {
                    return None;
                }
                inside.is_spilled()
            };
            if refill {
                self.refill_apart().await;
            } else {
                self.changed.notified().await;
            }
        }
    }

    /// Further batches, at most `max`, behind those that were taken out and could not be delivered. Does not wait.
    pub(crate) async fn more(self: &Arc<Self>, max: usize) -> Vec<Arc<DeltaBatch>> {
        let refill = {
            let inside = self.lock();
            max > 0 && inside.memory.is_empty() && inside.is_spilled()
        };
        if refill {
            self.refill_apart().await;
        }
        take(&mut self.lock(), max)
    }

    /// Has whoever waits for the next batches look after something else first.
    pub(crate) fn nudge(&self) {
        self.lock().nudged = true;
        self.changed.notify_one();
    }

    /// Says that so many of the batches that were taken out have been delivered, oldest first; returns the epoch up to which
    /// the sink now has everything.
    pub(crate) fn delivered(&self, count: usize) -> u64 {
        let mut inside = self.lock();
        let count = count.min(inside.out.len());
        let last = inside.out.drain(..count).next_back().map_or(0, |item| item.batch.epoch());
        if inside.is_empty() && !inside.given_up { inside.published } else { last }
    }

    /// Whether nothing waits, up to the epoch that is returned.
    pub(crate) fn has_nothing(&self) -> Option<u64> {
        let inside = self.lock();
        (inside.is_empty() && !inside.given_up && inside.correction.is_none()).then_some(inside.published)
    }

    /// No more follows.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits until no more follows.
    pub(crate) async fn until_closed(&self) {
        while !self.lock().closed {
            self.changed.notified().await;
        }
    }

    /// Drops everything, now and from now on. What is on disk stays for the next start.
    pub(crate) fn give_up(&self) {
        give_up(&mut self.lock());
        self.changed.notify_one();
    }

    /// Closes the files, once nothing is taken out any more.
    pub(crate) fn release(&self) {
        self.lock().outbox = None;
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.lock().given_up
    }

    pub(crate) fn waiting(&self) -> Waiting {
        let inside = self.lock();
        let spilled = inside.outbox.as_ref();
        let in_memory = inside.memory.len() + inside.out.len();
        Waiting {
            epochs: in_memory as u64 + spilled.map_or(0, Outbox::len),
            memory_bytes: inside.memory_bytes as u64,
            spilled_bytes: spilled.map_or(0, Outbox::bytes),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(inside: &mut Inside, max: usize) -> Vec<Arc<DeltaBatch>> {
    let count = max.min(inside.memory.len());
    let items: Vec<Item> = inside.memory.drain(..count).collect();
    let batches: Vec<_> = items.iter().map(|item| Arc::clone(&item.batch)).collect();
    inside.memory_bytes -= batches.iter().map(|batch| batch.bytes()).sum::<usize>();
    inside.out.extend(items);
    batches
}

fn give_up(inside: &mut Inside) {
    inside.given_up = true;
    inside.memory = VecDeque::new();
    inside.memory_bytes = 0;
    inside.outbox = None;
}

#[cfg(test)]
mod tests;
