//! An engine that only remembers what it was given, and refuses, lags or fails when told to.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    Accepted, BoxFuture, Clock, Ingress, Position, RawEvents, Receipt, ReceiptSender, SendError, SystemClock,
    TrySendError,
};

/// One batch as a source sent it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The events; oversized ones as far as they were kept.
    pub events: RawEvents,
    /// Where the source resumes behind them.
    pub position: Option<Position>,
}

/// An [`Ingress`] for tests of a source.
pub struct Recorder {
    state: Mutex<State>,
    closing: watch::Sender<bool>,
    events: watch::Sender<usize>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    batches: Vec<Recorded>,
    close_after: Option<usize>,
    full: Option<Duration>,
    failure: Option<String>,
    holding: bool,
    held: Vec<(ReceiptSender, Accepted)>,
    progress: Option<(u64, Option<u64>)>,
}

impl Default for Recorder {
    fn default() -> Self {
        let (closing, events) = (watch::Sender::new(false), watch::Sender::new(0));
        Self { state: Mutex::default(), closing, events, clock: Arc::new(SystemClock) }
    }
}

impl Recorder {
    /// A recorder that takes everything.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Asks the source to stop and takes nothing more.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Closes by itself once it holds this many batches.
    pub fn close_after(&self, batches: usize) {
        self.state().close_after = Some(batches);
    }

    /// From now on `try_send` says that the engine is full (`Some`: retry after this long), or not (`None`).
    pub fn set_full(&self, retry_after: Option<Duration>) {
        self.state().full = retry_after;
    }

    /// From now on receipts fail for this reason, or resolve again (`None`).
    pub fn set_failure(&self, reason: Option<&str>) {
        self.state().failure = reason.map(str::to_owned);
    }

    /// From now on receipts stay open until [`release`](Self::release).
    pub fn hold(&self) {
        self.state().holding = true;
    }

    /// Resolves all receipts that were held back, and holds back no more.
    pub fn release(&self) {
        let mut state = self.state();
        state.holding = false;
        for (sender, accepted) in std::mem::take(&mut state.held) {
            sender.resolve(Ok(accepted));
        }
    }

    /// The batches so far.
    pub fn batches(&self) -> Vec<Recorded> {
        self.state().batches.clone()
    }

    /// The events of all batches so far, in order.
    pub fn events(&self) -> Vec<Vec<u8>> {
        flatten(&self.state().batches)
    }

    /// What the source last said about its progress: bytes done, bytes in all.
    pub fn last_progress(&self) -> Option<(u64, Option<u64>)> {
        self.state().progress
    }

    /// Waits until at least this many events have come.
    pub async fn wait_for(&self, events: usize) {
        // The sender lives in `self`, so the channel can't close.
        let _ = self.events.subscribe().wait_for(|count| *count >= events).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, events: RawEvents, position: Option<Position>) -> Receipt {
        let mut state = self.state();
        let accepted = Accepted {
            epoch: state.batches.len() as u64 + 1,
            events: (0..events.len()).filter(|index| events.oversized(*index).is_none()).count() as u64,
            duplicates: 0,
            quarantined: (0..events.len()).filter(|index| events.oversized(*index).is_some()).count() as u64,
        };
        let count = *self.events.borrow() + events.len();
        state.batches.push(Recorded { events, position });
        if state.close_after.is_some_and(|limit| state.batches.len() >= limit) {
            self.close();
        }
        self.events.send_replace(count);
        if let Some(reason) = &state.failure {
            return Receipt::ready(Err(SendError::Failed { reason: reason.clone() }));
        }
        let (sender, receipt) = Receipt::channel();
        if state.holding {
            state.held.push((sender, accepted));
        } else {
            sender.resolve(Ok(accepted));
        }
        receipt
    }
}

/// The events of batches, in order.
pub(super) fn flatten(batches: &[Recorded]) -> Vec<Vec<u8>> {
    batches.iter().flat_map(|batch| batch.events.iter().map(<[u8]>::to_vec)).collect()
}

impl Ingress for Recorder {
    fn send(
        &self,
        events: RawEvents,
        position: Option<Position>,
    ) -> BoxFuture<'_, Result<Receipt, SendError>> {
        Box::pin(async move {
            if self.is_closing() { Err(SendError::Closed) } else { Ok(self.take(events, position)) }
        })
    }

    fn try_send(&self, events: RawEvents, position: Option<Position>) -> Result<Receipt, TrySendError> {
        if self.is_closing() {
            return Err(TrySendError::Closed { events: Box::new(events) });
        }
        if let Some(retry_after) = self.state().full {
            return Err(TrySendError::Full { retry_after, events: Box::new(events) });
        }
        Ok(self.take(events, position))
    }

    fn closing(&self) -> BoxFuture<'_, ()> {
        let mut closing = self.closing.subscribe();
        Box::pin(async move {
            let _ = closing.wait_for(|closing| *closing).await;
        })
    }

    fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    fn progress(&self, done_bytes: u64, total_bytes: Option<u64>) {
        self.state().progress = Some((done_bytes, total_bytes));
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }
}
