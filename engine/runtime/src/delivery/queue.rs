//! What one sink has yet to take, oldest first: in memory up to a limit, behind that on disk.
//!
//! Whoever publishes never waits for a sink. A sink that has no room left has failed, and its queue is given up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidewater_model::{DeltaBatch, delta::DeltaNames};
use tidewater_storage::{Outbox, Pushed};
use tokio::sync::Notify;

use super::{codec, correction::Correction};

/// So many bytes are read back from disk at a time.
const REFILL_BYTES: usize = 1 << 20;

/// The queue of one sink.
pub(crate) struct SinkQueue {
    names: Arc<DeltaNames>,
    memory_limit: usize,
    inside: Mutex<Inside>,
    changed: Notify,
}

#[derive(Default)]
struct Inside {
    /// Epochs up to this one have been delivered before: a replay makes their deltas again.
    acknowledged: u64,
    /// The sink follows earlier definitions until this has been queued.
    correction: Option<Correction>,
    memory: VecDeque<Arc<DeltaBatch>>,
    memory_bytes: usize,
    spilled: Option<Outbox>,
    /// The last epoch that was published, with or without deltas.
    published: u64,
    /// The last epoch of what was taken out and not yet said to be delivered.
    out: Option<u64>,
    /// No more follows.
    closed: bool,
    /// Nothing is taken any more.
    given_up: bool,
}

impl Inside {
    fn is_spilled(&self) -> bool {
        self.spilled.as_ref().is_some_and(|outbox| !outbox.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.memory.is_empty() && !self.is_spilled() && self.out.is_none()
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
    /// A queue for deltas behind the epoch `acknowledged`. Without an outbox there is only memory.
    pub(crate) fn new(
        acknowledged: u64,
        names: Arc<DeltaNames>,
        memory_limit: usize,
        spilled: Option<Outbox>,
        correction: Option<Correction>,
    ) -> Self {
        let names = correction.as_ref().map_or(names, |correction| Arc::clone(correction.names()));
        let published = acknowledged;
        let inside = Inside { acknowledged, published, spilled, correction, ..Inside::default() };
        Self { names, memory_limit, inside: Mutex::new(inside), changed: Notify::new() }
    }

    /// Puts the deltas of a published epoch behind the others.
    pub(crate) fn push(&self, batch: &Arc<DeltaBatch>) -> Queued {
        let mut inside = self.lock();
        if inside.given_up || batch.epoch() <= inside.acknowledged {
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
        let bytes = batch.bytes();
        // A single batch always fits, or a sink with a small limit would never get on.
        let fits = inside.memory.is_empty() || inside.memory_bytes + bytes <= self.memory_limit;
        if fits && !inside.is_spilled() {
            inside.memory_bytes += bytes;
            inside.memory.push_back(Arc::clone(batch));
            drop(inside);
            self.changed.notify_one();
            return Queued::Waits;
        }
        match spill(&mut inside, batch) {
            Ok(()) => Queued::Waits,
            Err(reason) => {
                give_up(&mut inside);
                drop(inside);
                self.changed.notify_one();
                Queued::NoRoom(reason)
            }
        }
    }

    /// The next batches, at most `max`; waits for them. `None` once nothing more follows or the queue is given up.
    ///
    /// What it returned counts as waiting until [`delivered`](Self::delivered).
    pub(crate) async fn next(self: &Arc<Self>, max: usize) -> Option<Vec<Arc<DeltaBatch>>> {
        loop {
            let refill = {
                let mut inside = self.lock();
                if inside.given_up {
                    return None;
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
                let queue = Arc::clone(self);
                // Reading the disk has no place on the threads that drive all sinks.
                let refilled = crate::threads::blocking(move || queue.refill()).await;
                if refilled.is_err() {
                    self.give_up();
                }
            } else {
                self.changed.notified().await;
            }
        }
    }

    fn refill(&self) {
        let mut inside = self.lock();
        while inside.memory_bytes < REFILL_BYTES.min(self.memory_limit) {
            let popped = inside.spilled.as_mut().and_then(|outbox| outbox.pop().transpose());
            let batch = match popped {
                None => return,
                Some(Ok(bytes)) => codec::decode(&bytes, &self.names),
                Some(Err(error)) => {
                    tracing::error!(%error, "spilled deltas can't be read");
                    None
                }
            };
            let Some(batch) = batch else {
                give_up(&mut inside);
                return;
            };
            inside.memory_bytes += batch.bytes();
            inside.memory.push_back(Arc::new(batch));
        }
    }

    /// Says that what [`next`](Self::next) returned has been delivered; returns the epoch up to which the sink now
    /// has everything.
    pub(crate) fn delivered(&self) -> u64 {
        let mut inside = self.lock();
        let out = inside.out.take();
        if inside.is_empty() && !inside.given_up { inside.published } else { out.unwrap_or(0) }
    }

    /// No more follows.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Drops everything, now and from now on.
    pub(crate) fn give_up(&self) {
        give_up(&mut self.lock());
        self.changed.notify_one();
    }

    /// Closes the files, once nothing is taken out any more.
    pub(crate) fn release(&self) {
        self.lock().spilled = None;
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.lock().given_up
    }

    pub(crate) fn waiting(&self) -> Waiting {
        let inside = self.lock();
        let spilled = inside.spilled.as_ref();
        Waiting {
            epochs: inside.memory.len() as u64
                + spilled.map_or(0, Outbox::len)
                + u64::from(inside.out.is_some()),
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
    let batches: Vec<_> = inside.memory.drain(..count).collect();
    inside.memory_bytes -= batches.iter().map(|batch| batch.bytes()).sum::<usize>();
    inside.out = batches.last().map(|batch| batch.epoch());
    batches
}

fn spill(inside: &mut Inside, batch: &DeltaBatch) -> Result<(), String> {
    let Some(outbox) = &mut inside.spilled else {
        return Err("it lags and there is no state directory to keep its deltas in".to_owned());
    };
    let mut bytes = Vec::new();
    codec::encode(batch, &mut bytes);
    match outbox.push(&bytes) {
        Ok(Pushed::Queued) => Ok(()),
        Ok(Pushed::Full) => Err("it lags by more than may be kept for it on disk".to_owned()),
        Err(error) => Err(format!("it lags and its deltas can't be kept on disk: {error}")),
    }
}

fn give_up(inside: &mut Inside) {
    inside.given_up = true;
    inside.memory = VecDeque::new();
    inside.memory_bytes = 0;
    inside.spilled = None;
}

#[cfg(test)]
mod tests;
