//! The dead letters of a sink's task: what is refused becomes some, and those that someone has marked are delivered again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tidewater_connector_api::{Acknowledged, DeliveryError};
use tidewater_storage::{StorageError, StoredDeadLetter};

use super::{
    SinkHandle,
    acks::AckSender,
    letters::{Added, Letters, Refusal, delta_of},
    retry::Backoff,
    task::Delivery,
    wait::{Verdict, failed, wait_for},
};
use crate::status::SinkState;

/// So many dead letters are read at a time to be delivered again.
const RETRIED_AT_ONCE: usize = 256;

impl Delivery {
    /// Makes dead letters of what was refused, durably; waits for room. False if the sink is not to be used any more.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "a sink can be sent, but not shared")]
    pub(super) async fn bury(&mut self, mut refused: Vec<Refusal>) -> bool {
        for refusal in &refused {
            let (epoch, reason) = (refusal.delta.epoch(), &refusal.reason);
            tracing::warn!(sink = self.handle.name(), epoch, reason, "a delta becomes a dead letter");
        }
        while !refused.is_empty() {
            let these = refused.clone();
            let added = match on_letters(self.place(), move |letters| letters.add(&these)).await {
                Some(added) => added,
                None => return false,
            };
            let Added::Full(count) = added else {
                self.handle.metrics.letters.add(refused.len() as u64);
                return true;
            };
            self.handle.metrics.letters.add(count as u64);
            refused.drain(..count);
            let reason =
                "its dead letters have no more room: drop some, or have them tried again by a restart";
            self.handle.set_state(SinkState::Parked(reason.to_owned()));
            if let Verdict::Over = wait_for(&self.handle, self.place().1).await {
                return false;
            }
        }
        true
    }

    /// The dead letters, and how long to wait for room.
    pub(super) fn place(&self) -> (&SinkHandle, Duration) {
        (&self.handle, Duration::from_millis(self.retry.longest_ms))
    }

    /// Delivers the dead letters that someone has marked. False if the sink is not to be used any more.
    pub(super) async fn deliver_letters(&mut self) -> bool {
        let mut backoff = Backoff::new(self.retry.clone());
        // An epoch that a crash has left without its acknowledgement is delivered once more, with what became a letter.
        let delivered = self.handle.progress.borrow().delivered;
        while self.handle.letters.is_due(delivered) {
            let due = move |letters: &Letters| letters.due(delivered, RETRIED_AT_ONCE);
            let Some(letters) = on_letters(self.place(), due).await else { return false };
            for letter in letters {
                match self.deliver_letter(&letter).await {
                    Some(Ok(())) => {}
                    // They wait for the next delivery, unless there is none.
                    Some(Err(_)) if self.handle.queue.has_nothing().is_none() => return true,
                    Some(Err(error)) => {
                        match failed((&self.handle, &*self.random), error, &mut backoff).await {
                            Verdict::Again => break,
                            Verdict::Over => return false,
                        }
                    }
                    None => return false,
                }
            }
        }
        true
    }

    /// Delivers a dead letter under its old epoch and place, unless something newer has taken its place. An error asks to
    /// try again later; `None`: the sink is not to be used any more.
    async fn deliver_letter(&mut self, letter: &StoredDeadLetter) -> Option<Result<(), DeliveryError>> {
        let (id, sink) = (letter.id, self.handle.name().to_owned());
        if let Some(epoch) = letter.superseded_by {
            tracing::info!(sink, id, epoch, "a dead letter is dropped: it is superseded");
            self.handle.metrics.superseded.add(1);
            let gone = move |letters: &Letters| letters.remove(Some(&BTreeSet::from([id])));
            return on_letters(self.place(), gone).await.map(|_| Ok(()));
        }
        let (attempts, at) = (letter.attempts.saturating_add(1), self.clock.now());
        let failed = |reason: String| move |letters: &Letters| letters.failed(id, &reason, attempts, at);
        let Some(delta) = delta_of(letter).map(Arc::new) else {
            return on_letters(self.place(), failed("it can't be read".to_owned())).await.map(Ok);
        };
        match self.attempt(std::slice::from_ref(&delta)).await {
            Ok(position) => {
                tracing::info!(sink, id, "a dead letter was delivered");
                let recorded = self.acks.as_ref().and_then(AckSender::latest);
                if let (Some(acks), Some(Acknowledged { epoch, .. })) = (&self.acks, recorded) {
                    self.record(epoch, position);
                    // The destination may be cut back to where it stood before: then the letter is all there is.
                    if !acks.settled().await {
                        self.handle.fail("where it stands can't be recorded".to_owned());
                        return None;
                    }
                }
                self.handle.metrics.deltas.add(1);
                self.handle.set_state(SinkState::Running);
                let delivered = move |letters: &Letters| letters.delivered(id, &delta);
                on_letters(self.place(), delivered).await.map(Ok)
            }
            Err(DeliveryError::Refused { reason }) => {
                tracing::warn!(sink, id, reason, "a dead letter was refused again");
                on_letters(self.place(), failed(reason)).await.map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Works on the dead letters, away from the threads that must not block; while the disk is full it is tried again.
/// `None` if the sink is not to be used any more.
pub(super) async fn on_letters<T: Send + 'static>(
    (handle, longest): (&SinkHandle, Duration),
    work: impl Fn(&Letters) -> Result<T, StorageError> + Clone + Send + 'static,
) -> Option<T> {
    loop {
        let (letters, work) = (Arc::clone(&handle.letters), work.clone());
        match crate::threads::blocking(move || work(&letters)).await {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error @ StorageError::NoSpace { .. })) => {
                handle.set_state(SinkState::Parked(error.to_string()));
                if let Verdict::Over = wait_for(handle, longest).await {
                    return None;
                }
            }
            Ok(Err(error)) => {
                handle.fail(format!("its dead letters can't be written: {error}"));
                return None;
            }
            Err(_) => {
                handle.fail("its dead letters can't be written: that panicked".to_owned());
                return None;
            }
        }
    }
}
