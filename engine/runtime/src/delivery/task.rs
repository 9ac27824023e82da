//! One sink's life: open, deliver in order, try again with the same batches, set aside what is refused.

use std::{sync::Arc, time::Duration};

use tidewater_connector_api::{Acknowledged, BoxSink, Clock, DeliveryError, Position, Sink};
use tidewater_model::DeltaBatch;
use tokio::time::Instant;

use super::{
    SinkHandle,
    acks::AckSender,
    bury::on_letters,
    isolate::{Failing, PROBES, Partial},
    retry::Backoff,
    wait::{Verdict, failed},
};
use crate::{clock::Random, lifecycle::panic_text, settings::RetrySettings, status::SinkState};

/// What a sink's task works with.
pub(crate) struct Delivery {
    pub(crate) sink: BoxSink,
    pub(crate) handle: Arc<SinkHandle>,
    /// What was recorded before the engine was started.
    pub(crate) acknowledged: Option<Acknowledged>,
    /// `None` without a state directory.
    pub(crate) acks: Option<AckSender>,
    pub(crate) retry: RetrySettings,
    /// What goes on failing so long is not tried for ever.
    pub(crate) give_up_after: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    /// `None` to begin with.
    pub(crate) partial: Option<Partial>,
}

/// Runs a sink until nothing more follows. A panic in it fails the sink and nothing else.
pub(crate) async fn run(delivery: Delivery) {
    let handle = Arc::clone(&delivery.handle);
    // A task of its own: that is where tokio catches panics.
    let task = tokio::spawn(delivery.run());
    let _abort = AbortWhenDropped(task.abort_handle());
    if let Err(error) = task.await
        && let Ok(panic) = error.try_into_panic()
    {
        handle.fail(format!("it panicked: {}", panic_text(&*panic)));
    }
}

/// Aborting a task must end the one inside it, too.
pub(crate) struct AbortWhenDropped(pub(crate) tokio::task::AbortHandle);

impl Drop for AbortWhenDropped {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Delivery {
    async fn run(mut self) {
        let complete = self.deliver_all().await;
        let down = self.handle.progress.borrow().state.is_down();
        if !down && self.handle.queue.is_given_up() {
            self.handle.fail("what was kept for it on disk can't be read".to_owned());
        } else if !down && complete {
            self.handle.set_state(SinkState::Closed);
        }
    }

    /// Delivers until nothing more follows. False if something was left.
    async fn deliver_all(&mut self) -> bool {
        if !self.open().await {
            return false;
        }
        self.handle.set_state(SinkState::Running);
        let max = self.sink.max_batches();
        let queue = Arc::clone(&self.handle.queue);
        // First what waits longest.
        if !self.deliver_letters().await {
            return false;
        }
        while let Some(batches) = queue.next(max).await {
            if !batches.is_empty() && !self.deliver(batches).await || !self.deliver_letters().await {
                return false;
            }
        }
        self.record_end();
        true
    }

    /// At the end: it has everything, also the epochs that had nothing for it. Unless that is recorded, a restart could not
    /// begin with a checkpoint of those.
    fn record_end(&self) {
        let delivered = self.handle.progress.borrow().delivered;
        let recorded = self.acks.as_ref().and_then(AckSender::latest);
        if let Some(Acknowledged { epoch, position }) = recorded
            && epoch < delivered
            && !self.handle.queue.is_given_up()
        {
            self.record(delivered, position);
        }
    }

    /// Opens the sink and records where it stands. False if it is not to be used.
    async fn open(&mut self) -> bool {
        let mut backoff = Backoff::new(self.retry.clone());
        loop {
            match self.sink.open(self.acknowledged.as_ref()).await {
                Ok(position) => {
                    #[cfg(feature = "planted-bugs")]
                    if tidewater_storage::planted::active(tidewater_storage::planted::Bug::OpeningNotRecorded)
                    {
                        return true;
                    }
                    let epoch = self.acknowledged.as_ref().map_or(0, |acknowledged| acknowledged.epoch);
                    self.record(epoch, position);
                    // Until that is durable a crash would open the sink as if for the first time, behind what it
                    // had written by then, and the same deltas would be written again.
                    if let Some(acks) = &self.acks
                        && !acks.settled().await
                    {
                        self.handle.fail("where it stands can't be recorded".to_owned());
                        return false;
                    }
                    return true;
                }
                Err(error) => {
                    self.handle.metrics.failures.add(1);
                    if let Verdict::Over = failed((&self.handle, &*self.random), error, &mut backoff).await {
                        return false;
                    }
                }
            }
        }
    }

    /// Delivers batches until the sink has them, or has refused them one by one. False if it is not to be used any more.
    async fn deliver(&mut self, mut batches: Vec<Arc<DeltaBatch>>) -> bool {
        let mut backoff = Backoff::new(self.retry.clone());
        #[cfg(feature = "planted-bugs")]
        if tidewater_storage::planted::active(tidewater_storage::planted::Bug::AcknowledgedAheadOfDelivery)
            && let Some(last) = batches.last()
            && let Some(before) = self.acks.as_ref().and_then(AckSender::latest)
        {
            self.record(last.epoch(), before.position);
        }
        if !self.supersede(&batches).await {
            return false;
        }
        let (mut began, mut first_failed_at) = (Instant::now(), self.clock.now());
        let most = self.sink.max_batches().max(1);
        while !batches.is_empty() {
            let together = most.min(batches.len());
            let error = match self.is_partly_taken(&batches) {
                true => None,
                false => match self.attempt(&batches[..together]).await {
                    Ok(position) => {
                        let taken: Vec<_> = batches.drain(..together).collect();
                        if !self.acknowledge(&taken, 0, position).await {
                            return false;
                        }
                        backoff = Backoff::new(self.retry.clone());
                        (began, first_failed_at) = (Instant::now(), self.clock.now());
                        continue;
                    }
                    Err(error) => Some(error),
                },
            };
            let is_given_up = began.elapsed() >= self.give_up_after;
            let failing = Failing { attempts: backoff.attempts() + 1, first_failed_at, is_given_up };
            let before = batches.len();
            let error = match error {
                Some(error) if !failing.suspects(&error) => error,
                _ => match self.isolate(&mut batches, &failing).await {
                    Ok(Some(error)) => error,
                    Ok(None) => return true,
                    Err(()) => return false,
                },
            };
            if batches.len() < before {
                // It takes something: what fails now is another delivery.
                backoff = Backoff::new(self.retry.clone());
                (began, first_failed_at) = (Instant::now(), self.clock.now());
            }
            let is_suspect = failing.suspects(&error);
            if let Verdict::Over = failed((&self.handle, &*self.random), error, &mut backoff).await {
                return false;
            }
            if is_suspect {
                // Something that it takes may have come since, which shows what is at fault. They are tried one by one, so it
                // may be more than the sink wants in one call.
                let room = most.max(PROBES).saturating_sub(batches.len());
                let more = self.handle.queue.more(room).await;
                if !self.supersede(&more).await {
                    return false;
                }
                batches.extend(more);
            }
        }
        true
    }

    /// Before these are sent: older letters of the same must not follow them, also if the answer is lost. False if that can't
    /// be noted.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "a sink can be sent, but not shared")]
    async fn supersede(&mut self, batches: &[Arc<DeltaBatch>]) -> bool {
        if self.handle.letters.is_current() {
            return true;
        }
        let batches = batches.to_vec();
        on_letters(self.place(), move |letters| letters.supersede(&batches)).await.is_some()
    }

    /// Delivers once.
    pub(super) async fn attempt(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        let result = self.sink.deliver(batches).await;
        self.handle.metrics.failures.add(result.is_err().into());
        result
    }

    /// Notes that the sink has these batches, but for so many deltas that are dead letters, durably. False if that can't
    /// be noted.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "a sink can be sent, but not shared")]
    pub(super) async fn acknowledge(
        &mut self,
        batches: &[Arc<DeltaBatch>],
        buried: usize,
        position: Position,
    ) -> bool {
        if !self.handle.letters.is_current() {
            let batches = batches.to_vec();
            if on_letters(self.place(), move |letters| letters.taken(&batches)).await.is_none() {
                return false;
            }
        }
        let deltas: usize = batches.iter().map(|batch| batch.len()).sum();
        self.handle.metrics.deltas.add((deltas - buried) as u64);
        if let Some(last) = batches.last() {
            self.record(last.epoch(), position);
        }
        self.handle.delivered(self.handle.queue.delivered(batches.len()));
        self.handle.set_state(SinkState::Running);
        true
    }

    pub(super) fn record(&self, epoch: u64, position: Position) {
        if let Some(acks) = &self.acks {
            acks.record(Acknowledged { epoch, position });
        }
    }

    /// The position that was acknowledged last.
    pub(super) fn recorded_position(&self) -> Position {
        self.acks.as_ref().and_then(AckSender::latest).map(|latest| latest.position).unwrap_or_default()
    }
}

/// The longest a stuck sink is waited for once its engine has failed; its deltas come again after the restart.
pub(crate) const AFTER_FAILURE: Duration = Duration::from_secs(1);
