//! One sink's life: open, deliver in order, try again with the same batches, park when refused.

use std::{sync::Arc, time::Duration};

use tidewater_connector_api::{Acknowledged, BoxSink, DeliveryError, Position, Sink};
use tidewater_model::DeltaBatch;

use super::{SinkHandle, acks::AckSender, retry::Backoff};
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
    pub(crate) random: Arc<dyn Random>,
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

/// Whether an attempt is worth another.
enum Verdict {
    Again,
    Over,
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
        while let Some(batches) = queue.next(max).await {
            if !self.deliver(&batches).await {
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
                    if let Verdict::Over = failed(&self.handle, &*self.random, error, &mut backoff).await {
                        return false;
                    }
                }
            }
        }
    }

    /// Delivers batches until the sink has them. False if it is not to be used any more.
    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> bool {
        let mut backoff = Backoff::new(self.retry.clone());
        #[cfg(feature = "planted-bugs")]
        if tidewater_storage::planted::active(tidewater_storage::planted::Bug::AcknowledgedAheadOfDelivery)
            && let Some(last) = batches.last()
            && let Some(before) = self.acks.as_ref().and_then(AckSender::latest)
        {
            self.record(last.epoch(), before.position);
        }
        loop {
            match self.sink.deliver(batches).await {
                Ok(position) => {
                    self.acknowledged(batches, position);
                    self.handle.set_state(SinkState::Running);
                    return true;
                }
                Err(error) => {
                    if let Verdict::Over = failed(&self.handle, &*self.random, error, &mut backoff).await {
                        return false;
                    }
                }
            }
        }
    }

    fn acknowledged(&self, batches: &[Arc<DeltaBatch>], position: Position) {
        let deltas: usize = batches.iter().map(|batch| batch.len()).sum();
        self.handle.metrics.deltas.add(deltas as u64);
        if let Some(last) = batches.last() {
            self.record(last.epoch(), position);
        }
        self.handle.delivered(self.handle.queue.delivered());
    }

    fn record(&self, epoch: u64, position: Position) {
        if let Some(acks) = &self.acks {
            acks.record(Acknowledged { epoch, position });
        }
    }
}

/// Waits as long as the error asks for.
async fn failed(
    handle: &SinkHandle,
    random: &dyn Random,
    error: DeliveryError,
    backoff: &mut Backoff,
) -> Verdict {
    handle.metrics.failures.add(1);
    if let DeliveryError::Refused { reason } = error {
        tracing::error!(sink = handle.name(), reason, "sink parked");
        handle.set_state(SinkState::Parked(reason));
        return Verdict::Over;
    }
    let wait = backoff.failed(random.next(), error.retry_after());
    let (reason, attempts) = (error.to_string(), backoff.attempts());
    let wait_ms = wait.as_millis() as u64;
    tracing::warn!(sink = handle.name(), reason, attempts, wait_ms, "delivery failed");
    handle.set_state(SinkState::Retrying { reason, attempts, wait });
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = handle.until_abandoned() => return Verdict::Over,
    }
    if handle.queue.is_given_up() { Verdict::Over } else { Verdict::Again }
}

/// The longest a stuck sink is waited for once its engine has failed; its deltas come again after the restart.
pub(crate) const AFTER_FAILURE: Duration = Duration::from_secs(1);
