//! A subscription: the members as of one epoch, then every change behind it, in order, without a gap.
//!
//! Whoever folds the updates always holds the exact membership as of the last [`Update::EpochComplete`].

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidewater_model::{Delta, DeltaBatch, ProfileId, Timestamp};
use tokio::sync::Notify;

use crate::{engine::Shared, error::Error, sequencer::message::Message};

/// What a subscriber is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Update {
    /// All members as of the end of an epoch. The first update, and again after each [`Lagged`](Self::Lagged);
    /// it replaces everything before it.
    Snapshot {
        /// The epoch.
        epoch: u64,
        /// Its `now`.
        now: Timestamp,
        /// The members, sorted.
        members: Vec<ProfileId>,
    },
    /// One profile entered or exited.
    Delta(OwnedDelta),
    /// All changes up to and including this epoch have been told. Epochs that change nothing are told together.
    EpochComplete {
        /// The epoch.
        epoch: u64,
        /// Its `now`.
        now: Timestamp,
    },
    /// The subscriber did not keep up: the changes of this many epochs were dropped. A snapshot follows.
    Lagged(u64),
}

/// One delta and the batch that holds it.
#[derive(Clone, Debug)]
pub struct OwnedDelta {
    batch: Arc<DeltaBatch>,
    index: usize,
}

impl OwnedDelta {
    /// The delta.
    pub fn get(&self) -> Delta<'_> {
        self.batch.get(self.index)
    }

    /// The epoch it belongs to.
    pub fn epoch(&self) -> u64 {
        self.batch.epoch()
    }

    /// The epoch's `now`.
    pub fn now(&self) -> Timestamp {
        self.batch.now()
    }
}

/// The updates of one segment. Dropping it ends the subscription.
///
/// See [`Engine::subscribe`](crate::Engine::subscribe).
pub struct Subscription {
    shared: Arc<Shared>,
    segment: usize,
    mailbox: Arc<Mailbox>,
    /// The batch that is being handed out, and the next of its deltas to look at.
    current: Option<(Arc<DeltaBatch>, usize)>,
    /// Told once the current batch is.
    complete: Option<(u64, Timestamp)>,
}

impl Subscription {
    pub(crate) fn open(shared: Arc<Shared>, segment: usize) -> Result<Self, Error> {
        let mailbox = Self::ask(&shared, segment)?;
        Ok(Self { shared, segment, mailbox, current: None, complete: None })
    }

    fn ask(shared: &Shared, segment: usize) -> Result<Arc<Mailbox>, Error> {
        let limit =
            Held { deltas: shared.settings.subscriber_deltas, bytes: shared.settings.subscriber_bytes };
        let mailbox = Arc::new(Mailbox::new(segment, limit));
        let message = Message::Subscribe { segment, mailbox: Opening(Some(Arc::clone(&mailbox))) };
        if !shared.intake.post(message) {
            return Err(shared.lifecycle.ended().unwrap_or(Error::Closed));
        }
        Ok(mailbox)
    }

    /// The next update; waits for it. `None` once the engine has stopped and everything has been told.
    ///
    /// It may be dropped and called again without losing an update.
    ///
    /// # Errors
    /// [`Error::Failed`] if the engine fails.
    pub async fn next(&mut self) -> Result<Option<Update>, Error> {
        loop {
            if let Some(update) = self.next_of_current() {
                return Ok(Some(update));
            }
            let mailbox = Arc::clone(&self.mailbox);
            let shared = Arc::clone(&self.shared);
            let letter = match shared.lifecycle.or_ended(mailbox.take()).await {
                Ok(letter) => letter,
                // Stopped: what was published before still lies in the mailbox.
                Err(Error::Closed) => mailbox.try_take().unwrap_or(Letter::End),
                Err(error) => return Err(error),
            };
            match letter {
                Letter::Snapshot { epoch, now, members } => {
                    return Ok(Some(Update::Snapshot { epoch, now, members }));
                }
                Letter::Epoch { epoch, now, batch } => {
                    self.current = batch.map(|batch| (batch, 0));
                    self.complete = Some((epoch, now));
                }
                Letter::Lagged(epochs) => {
                    shared.metrics.subscribers_lagged.add(1);
                    // Should the engine be stopping, the new mailbox stays empty and the next call says the end.
                    self.mailbox = Self::ask(&shared, self.segment)?;
                    return Ok(Some(Update::Lagged(epochs)));
                }
                Letter::End => {
                    return match shared.lifecycle.ended() {
                        Some(error @ Error::Failed { .. }) => Err(error),
                        _ => Ok(None),
                    };
                }
            }
        }
    }

    fn next_of_current(&mut self) -> Option<Update> {
        if let Some((batch, next)) = &mut self.current {
            while *next < batch.len() {
                let index = *next;
                *next += 1;
                if batch.get(index).segment_index() == self.segment {
                    return Some(Update::Delta(OwnedDelta { batch: Arc::clone(batch), index }));
                }
            }
            self.current = None;
        }
        self.complete.take().map(|(epoch, now)| Update::EpochComplete { epoch, now })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.mailbox.leave();
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("segment", &self.segment).finish_non_exhaustive()
    }
}

/// What lies in a mailbox.
pub(crate) enum Letter {
    Snapshot {
        epoch: u64,
        now: Timestamp,
        members: Vec<ProfileId>,
    },
    /// An epoch; without a batch if it changed nothing in the segment.
    Epoch {
        epoch: u64,
        now: Timestamp,
        batch: Option<Arc<DeltaBatch>>,
    },
    Lagged(u64),
    End,
}

/// What one subscriber has not read yet; bounded in deltas, in bytes, and in epochs because quiet ones are joined.
pub(crate) struct Mailbox {
    segment: usize,
    limit: Held,
    inside: Mutex<Inside>,
    arrived: Notify,
}

/// What the letters of a mailbox hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Of the segment.
    deltas: usize,
    /// Of the batches that they are in.
    bytes: usize,
}

/// A mailbox on its way to the publisher. Should it get lost, its subscriber is told the end.
pub(crate) struct Opening(Option<Arc<Mailbox>>);

impl Opening {
    /// The mailbox, once it can't get lost any more.
    pub(crate) fn arrived(mut self) -> Option<Arc<Mailbox>> {
        self.0.take()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.iter().for_each(|mailbox| mailbox.end());
    }
}

#[derive(Default)]
struct Inside {
    letters: VecDeque<Letter>,
    held: Held,
    /// Epochs dropped since the mailbox was full; nothing is put in it any more.
    lagged: u64,
    ended: bool,
    left: bool,
}

impl Mailbox {
    pub(crate) fn new(segment: usize, limit: Held) -> Self {
        Self { segment, limit, inside: Mutex::default(), arrived: Notify::new() }
    }

    pub(crate) fn segment(&self) -> usize {
        self.segment
    }

    pub(crate) fn snapshot(&self, epoch: u64, now: Timestamp, members: Vec<ProfileId>) {
        self.lock().letters.push_back(Letter::Snapshot { epoch, now, members });
        self.arrived.notify_one();
    }

    /// Puts an epoch in that has `deltas` changes in the segment. False once the subscriber has left or been lost.
    pub(crate) fn epoch(&self, batch: &Arc<DeltaBatch>, deltas: usize) -> bool {
        let mut inside = self.lock();
        if inside.left {
            return false;
        }
        let (epoch, now) = (batch.epoch(), batch.now());
        let Held { deltas: held, bytes } = inside.held;
        let fits = held + deltas <= self.limit.deltas && bytes + batch.bytes() <= self.limit.bytes;
        // A single epoch always fits, or a subscriber with a small limit would never get on; and one without a change in the
        // segment takes nothing.
        if inside.lagged > 0 || (held > 0 && deltas > 0 && !fits) {
            inside.lagged += 1;
        } else if deltas > 0 {
            inside.held = Held { deltas: held + deltas, bytes: bytes + batch.bytes() };
            inside.letters.push_back(Letter::Epoch { epoch, now, batch: Some(Arc::clone(batch)) });
        } else if let Some(Letter::Epoch { epoch: last, now: last_now, .. }) = inside.letters.back_mut() {
            (*last, *last_now) = (epoch, now);
        } else {
            inside.letters.push_back(Letter::Epoch { epoch, now, batch: None });
        }
        drop(inside);
        self.arrived.notify_one();
        true
    }

    /// No more letters follow.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.arrived.notify_one();
    }

    fn leave(&self) {
        self.lock().left = true;
    }

    async fn take(&self) -> Letter {
        loop {
            if let Some(letter) = self.try_take() {
                return letter;
            }
            self.arrived.notified().await;
        }
    }

    fn try_take(&self) -> Option<Letter> {
        let mut inside = self.lock();
        match inside.letters.pop_front() {
            Some(letter) => {
                if let Letter::Epoch { batch: Some(batch), .. } = &letter {
                    inside.held.deltas -= count_of(batch, self.segment).min(inside.held.deltas);
                    inside.held.bytes -= batch.bytes().min(inside.held.bytes);
                }
                Some(letter)
            }
            None if inside.lagged > 0 => {
                // From here on nobody reads this mailbox: a new one takes its place.
                inside.left = true;
                Some(Letter::Lagged(inside.lagged))
            }
            None if inside.ended => Some(Letter::End),
            None => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many deltas of a batch are of a segment.
pub(crate) fn count_of(batch: &DeltaBatch, segment: usize) -> usize {
    batch.iter().filter(|delta| delta.segment_index() == segment).count()
}
