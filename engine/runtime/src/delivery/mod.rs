//! Deltas out: one task and one queue a sink, so that none can hold up another, the engine, or a subscriber.

pub(crate) mod acks;
mod bury;
pub(crate) mod codec;
pub(crate) mod correction;
mod isolate;
pub(crate) mod letters;
pub(crate) mod queue;
pub(crate) mod retry;
pub(crate) mod task;
mod wait;

use std::sync::{Arc, Mutex, PoisonError};

use tidewater_model::DeltaBatch;
use tokio::sync::watch;

use self::{
    acks::AckWatch,
    letters::Letters,
    queue::{Queued, SinkQueue},
};
use crate::{
    metrics::SinkMetrics,
    status::{SinkState, SinkStatus},
};

/// What the rest of the engine sees of a sink.
pub(crate) struct SinkHandle {
    name: String,
    queue: Arc<SinkQueue>,
    letters: Arc<Letters>,
    progress: watch::Sender<SinkProgress>,
    /// What it had acknowledged before the engine was started.
    acknowledged: u64,
    /// `None` without a state directory.
    acks: Mutex<Option<AckWatch>>,
    metrics: SinkMetrics,
}

/// How far a sink has come, and how it is.
#[derive(Clone, Debug)]
pub(crate) struct SinkProgress {
    /// It has everything up to this epoch.
    pub(crate) delivered: u64,
    pub(crate) state: SinkState,
    /// Failed attempts are given up rather than repeated: nobody waits any more.
    pub(crate) abandoned: bool,
}

impl SinkHandle {
    pub(crate) fn new(
        name: &str,
        acknowledged: u64,
        queue: Arc<SinkQueue>,
        letters: Letters,
        metrics: SinkMetrics,
    ) -> Self {
        let delivered = queue.has_nothing().unwrap_or(acknowledged);
        let progress = SinkProgress { delivered, state: SinkState::Opening, abandoned: false };
        metrics.epoch.set(delivered as f64);
        metrics.down.set(0.0);
        let (progress, letters) = (watch::Sender::new(progress), Arc::new(letters));
        Self {
            name: name.to_owned(),
            queue,
            letters,
            progress,
            acknowledged,
            acks: Mutex::default(),
            metrics,
        }
    }

    pub(crate) fn watch_acks(&self, acks: AckWatch) {
        *self.acks.lock().unwrap_or_else(PoisonError::into_inner) = Some(acks);
    }

    /// Whether it has everything up to `epoch`, and all it has acknowledged is durable: a restart that makes no earlier
    /// deltas again loses it nothing.
    pub(crate) fn has_recorded(&self, epoch: u64) -> bool {
        self.recorded_epoch() >= epoch
    }

    /// The last epoch up to which a restart need not make deltas again for it.
    pub(crate) fn recorded_epoch(&self) -> u64 {
        // In this order: what was delivered by now has been sent to be recorded before.
        let delivered = self.progress.borrow().delivered;
        let acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
        match acks.as_ref() {
            Some(acks) if acks.is_settled() => delivered,
            Some(acks) => acks.epoch().unwrap_or(self.acknowledged),
            None => self.acknowledged,
        }
    }

    /// The last epoch up to which a start need not make deltas again for it: it has acknowledged them, or they are in its
    /// outbox.
    pub(crate) fn kept_epoch(&self) -> u64 {
        let recorded = self.recorded_epoch();
        self.queue.kept(recorded).unwrap_or(0).max(recorded)
    }

    /// Makes what it has not acknowledged durable in its outbox; waits for the disk. Where that can't be done a start makes
    /// it again from the log.
    pub(crate) fn keep(&self) {
        if let Err(error) = self.queue.keep() {
            tracing::warn!(sink = self.name, %error, "what waits for a sink can't be kept: an earlier checkpoint is");
        }
    }

    pub(crate) fn queue(&self) -> &Arc<SinkQueue> {
        &self.queue
    }

    pub(crate) fn letters(&self) -> &Arc<Letters> {
        &self.letters
    }

    /// Has the sink's task look for dead letters that are to be delivered again.
    pub(crate) fn nudge(&self) {
        self.queue.nudge();
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Gives the sink the deltas of a published epoch. Never waits.
    pub(crate) fn publish(&self, batch: &Arc<DeltaBatch>) {
        match self.queue.push(batch) {
            Queued::Waits => {}
            Queued::Nothing => self.delivered(batch.epoch()),
            Queued::NoRoom(reason) => self.fail(reason),
        }
    }

    /// No more deltas follow.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// Closes the files, once the sink's task has ended.
    pub(crate) fn release(&self) {
        self.queue.release();
        self.letters.release();
    }

    /// Gives up at the next failed attempt.
    pub(crate) fn abandon(&self) {
        self.progress.send_modify(|progress| progress.abandoned = true);
    }

    pub(crate) async fn until_abandoned(&self) {
        // The sender lives as long as `self`.
        let _ = self.progress.subscribe().wait_for(|progress| progress.abandoned).await;
    }

    pub(crate) fn fail(&self, reason: String) {
        tracing::error!(sink = self.name, reason, "sink failed");
        self.queue.give_up();
        self.set_state(SinkState::Failed(reason));
    }

    /// Changes the state; a failed sink stays failed.
    pub(crate) fn set_state(&self, state: SinkState) {
        self.metrics.down.set(f64::from(u8::from(state.is_down())));
        self.progress.send_if_modified(|progress| {
            let changed = !matches!(progress.state, SinkState::Failed(_)) && progress.state != state;
            if changed {
                progress.state = state;
            }
            changed
        });
    }

    pub(crate) fn delivered(&self, epoch: u64) {
        self.metrics.epoch.set(epoch as f64);
        self.progress.send_if_modified(|progress| {
            let grown = epoch > progress.delivered;
            progress.delivered = progress.delivered.max(epoch);
            grown
        });
    }

    /// Waits until the sink has everything up to `epoch`: true. False as soon as it is known not to take it now.
    pub(crate) async fn until_delivered(&self, epoch: u64) -> bool {
        let settled = |progress: &SinkProgress| {
            progress.delivered >= epoch
                || matches!(progress.state, SinkState::Retrying { .. } | SinkState::Closed)
                || progress.state.is_down()
        };
        let mut progress = self.progress.subscribe();
        // The sender lives as long as `self`.
        progress.wait_for(settled).await.is_ok_and(|progress| progress.delivered >= epoch)
    }

    pub(crate) fn status(&self) -> SinkStatus {
        let waiting = self.queue.waiting();
        let SinkProgress { delivered, state, .. } = self.progress.borrow().clone();
        let letters = self.letters.counts();
        SinkStatus {
            name: self.name.clone(),
            state,
            acknowledged_epoch: delivered,
            queued_epochs: waiting.epochs,
            queued_bytes: waiting.memory_bytes,
            spilled_bytes: waiting.spilled_bytes,
            deltas: self.metrics.deltas.get(),
            failures: self.metrics.failures.get(),
            dead_letters: letters.letters,
            dead_letter_bytes: letters.bytes,
            dropped_letters: letters.dropped,
        }
    }

    /// Sets the gauges of the queue; returns its bytes in memory.
    pub(crate) fn sample(&self) -> u64 {
        let waiting = self.queue.waiting();
        self.metrics.queue_bytes.set(waiting.memory_bytes as f64);
        self.metrics.spilled_bytes.set(waiting.spilled_bytes as f64);
        self.metrics.dead_letters.set(self.letters.counts().letters as f64);
        waiting.memory_bytes
    }
}

#[cfg(test)]
mod tests;
