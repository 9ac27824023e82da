//! Finds out what it is that a destination does not take: one delta, a few, or everything.
//!
//! What is refused alone, by a destination that takes other deltas, becomes a dead letter. If nothing at all is taken the
//! fault is not the deltas': a wrong token must not make dead letters of a million of them. Then the sink waits, and says so.
//!
//! Epochs are settled in order: a later one is tried only once it is known of every delta of the ones before that it is
//! refused. Within an epoch order is free, since a profile enters or leaves a segment once at most.
//!
//! A token may be put right in the middle of this. So what was refused before anything was taken is asked about once more:
//! within an epoch at once, else as a dead letter, unless something newer has superseded it by then.

use std::{ops::Range, sync::Arc};

use tidewater_connector_api::{DeliveryError, Position};
use tidewater_model::{DeltaBatch, Timestamp};

use super::{
    bury::on_letters,
    letters::{Letters, Refusal},
    task::Delivery,
};

/// So many deltas are tried alone, spread over a refused epoch, before it is taken that all are refused. If half of them
/// are fine, one of 16 is fine in all but 1 of 65,536 cases; and a destination that refuses everything is not asked more
/// often than this each time. So many refused epochs are tried at most, too, which is enough to hold in memory for it.
pub(super) const PROBES: usize = 16;

/// The cause of a dead letter that the destination would not have.
const REFUSED: &str = "refused";

/// The failed attempts at one delivery.
pub(super) struct Failing {
    pub(super) attempts: u32,
    pub(super) first_failed_at: Timestamp,
    /// It went on failing for so long that what fails may be given up, as if it were refused.
    pub(super) is_given_up: bool,
}

impl Failing {
    /// Whether the deltas themselves may be at fault.
    pub(super) fn suspects(&self, error: &DeliveryError) -> bool {
        self.is_given_up || matches!(error, DeliveryError::Refused { .. })
    }
}

/// An epoch of which the destination has taken some: that must not be delivered again as long as this process lives. After a
/// crash nothing of it is acknowledged, and the sink knows what to do.
pub(crate) struct Partial {
    epoch: u64,
    /// What is still to be delivered, the last part first.
    open: Vec<Range<usize>>,
    refused: Vec<Refusal>,
    /// Where the destination stands.
    position: Position,
}

/// What became of an epoch.
enum Tried {
    /// All was taken but these.
    Taken(Position, Vec<Refusal>),
    /// Every single delta was refused.
    Refused(Vec<Refusal>, DeliveryError),
    /// It is not known.
    Unknown(DeliveryError),
}

impl Delivery {
    /// Delivers of these epochs what the destination takes, as far as it can be told apart from what it does not, and leaves
    /// in `batches` those that are not settled, with the reason. `Err` if the sink is not to be used any more.
    pub(super) async fn isolate(
        &mut self,
        batches: &mut Vec<Arc<DeltaBatch>>,
        failing: &Failing,
    ) -> Result<Option<DeliveryError>, ()> {
        let (mut at, mut refused, mut error) = (0, Vec::new(), None);
        let mut takes_some = false;
        while at < batches.len() && refused.len() < PROBES {
            let batch = Arc::clone(&batches[at]);
            at += 1;
            match self.try_apart(&batch, failing).await {
                Tried::Taken(position, few) => {
                    refused.extend(few);
                    takes_some = true;
                    let settled: Vec<_> = batches.drain(..at).collect();
                    if !self.settle(&settled, std::mem::take(&mut refused), position).await {
                        return Err(());
                    }
                    at = 0;
                }
                Tried::Refused(mut all, last) => {
                    // What failed in another way than by being refused has been tried for days.
                    let is_doubtful = |refusal: &Refusal| !takes_some && refusal.cause == REFUSED;
                    all.iter_mut().for_each(|refusal| refusal.is_doubtful = is_doubtful(refusal));
                    refused.extend(all);
                    error = Some(last);
                }
                Tried::Unknown(last) => {
                    error = Some(last);
                    let before = at - 1;
                    if before > 0 && self.is_partly_taken(&batches[before..at]) {
                        // It takes something, so the epochs before are refused. It stands where it stood before this one.
                        let settled: Vec<_> = batches.drain(..before).collect();
                        let position = self.recorded_position();
                        if !self.settle(&settled, std::mem::take(&mut refused), position).await {
                            return Err(());
                        }
                    }
                    break;
                }
            }
        }
        Ok(error.filter(|_| !batches.is_empty()))
    }

    /// Makes dead letters of what was refused, then acknowledges the epochs. What was refused when nothing had been taken yet
    /// is to be tried again.
    async fn settle(
        &mut self,
        batches: &[Arc<DeltaBatch>],
        refused: Vec<Refusal>,
        position: Position,
    ) -> bool {
        #[cfg(feature = "planted-bugs")]
        {
            use tidewater_operators::planted::{Bug, active};
            if active(Bug::DeadLetterAcknowledgedFirst) {
                return self.acknowledge(batches, refused.len(), position).await && self.bury(refused).await;
            }
        }
        let buried = refused.len();
        let is_doubtful = refused.iter().any(|refusal| refusal.is_doubtful);
        // Marked before the acknowledgement, behind which nobody would think of them again.
        self.bury(refused).await
            && (!is_doubtful || on_letters(self.place(), Letters::mark_doubtful).await.is_some())
            && self.acknowledge(batches, buried, position).await
    }

    /// Whether some of these epochs has been taken, so that they can't be delivered as they are.
    pub(super) fn is_partly_taken(&self, batches: &[Arc<DeltaBatch>]) -> bool {
        let taken = self.partial.as_ref().map(|partial| partial.epoch);
        taken.is_some_and(|epoch| batches.iter().any(|batch| batch.epoch() == epoch))
    }

    /// Delivers what can be delivered of an epoch.
    async fn try_apart(&mut self, batch: &Arc<DeltaBatch>, failing: &Failing) -> Tried {
        if let Some(partial) = self.partial.take_if(|partial| partial.epoch == batch.epoch()) {
            return self.try_rest(batch, partial, failing).await;
        }
        let all = 0..batch.len();
        let mut error = match self.attempt(std::slice::from_ref(batch)).await {
            Ok(position) => return Tried::Taken(position, Vec::new()),
            Err(error) => error,
        };
        if !failing.suspects(&error) {
            return Tried::Unknown(error);
        }
        if all.len() == 1 {
            return Tried::Refused(vec![self.refusal(batch, 0, failing, &error)], error);
        }
        let (mut refused, mut asked, mut taken) = (Vec::new(), Vec::new(), None);
        let probes = PROBES.min(all.len());
        for place in (0..probes).map(|probe| probe * all.len() / probes) {
            asked.push(place);
            match self.try_part(batch, place..place + 1).await {
                Ok(position) => {
                    taken = Some(position);
                    break;
                }
                Err(last) if failing.suspects(&last) => {
                    refused.push(self.refusal(batch, place, failing, &last));
                    error = last;
                }
                Err(last) => return Tried::Unknown(last),
            }
        }
        let Some(position) = taken else {
            return match refused.len() == all.len() {
                true => Tried::Refused(refused, error),
                false => Tried::Unknown(error),
            };
        };
        let mut open = Vec::new();
        let mut end = batch.len();
        asked.pop().into_iter().for_each(|taken| {
            open.push(taken + 1..end);
            end = taken;
        });
        for place in asked.into_iter().rev() {
            open.extend([place + 1..end, place..place + 1]);
            end = place;
        }
        open.push(0..end);
        let partial = Partial { epoch: batch.epoch(), open, refused: Vec::new(), position };
        self.try_rest(batch, partial, failing).await
    }

    /// Delivers what can be delivered of the rest of an epoch: a destination that takes some of it is asked about ever smaller
    /// parts of what it refuses.
    async fn try_rest(&mut self, batch: &DeltaBatch, mut partial: Partial, failing: &Failing) -> Tried {
        while let Some(part) = partial.open.pop() {
            if part.is_empty() {
                continue;
            }
            match self.try_part(batch, part.clone()).await {
                Ok(position) => partial.position = position,
                Err(error) if !failing.suspects(&error) => {
                    partial.open.push(part);
                    self.partial = Some(partial);
                    return Tried::Unknown(error);
                }
                Err(error) if part.len() == 1 => {
                    partial.refused.push(self.refusal(batch, part.start, failing, &error));
                }
                Err(_) => {
                    let middle = part.start + part.len() / 2;
                    partial.open.push(middle..part.end);
                    partial.open.push(part.start..middle);
                }
            }
        }
        let Partial { position, mut refused, .. } = partial;
        refused.sort_by_key(|refusal| refusal.delta.offset());
        Tried::Taken(position, refused)
    }

    async fn try_part(&mut self, batch: &DeltaBatch, part: Range<usize>) -> Result<Position, DeliveryError> {
        self.attempt(&[Arc::new(batch.part(part))]).await
    }

    fn refusal(&self, batch: &DeltaBatch, place: usize, failing: &Failing, error: &DeliveryError) -> Refusal {
        let cause = match error {
            DeliveryError::Refused { .. } => REFUSED,
            _ => "given_up",
        };
        Refusal {
            delta: batch.part(place..place + 1),
            cause,
            reason: error.to_string(),
            attempts: failing.attempts + 1,
            first_failed_at: failing.first_failed_at,
            last_failed_at: self.clock.now(),
            is_doubtful: false,
        }
    }
}
