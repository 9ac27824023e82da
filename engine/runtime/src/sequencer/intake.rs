//! The way in: events wait here for the sequencer, never more bytes of them than the settings allow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crossbeam::queue::ArrayQueue;
use tidewater_connector_api::{
    BoxFuture, Clock, Ingress, Position, RawEvents, Receipt, SendError, TrySendError,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::message::{Message, Submission};
use crate::{
    lifecycle::{EngineState, Lifecycle},
    settings::Settings,
    threads::{self, Sender},
};

/// The ingest queue is counted in units of this many bytes, which is also about what an empty batch costs.
const UNIT_BYTES: usize = 512;

/// Emptied buffers that are kept to be filled again; a larger one is given back to the allocator. A full batch of the
/// file source must fit: fresh pages for each cost more than reading the file.
const SPARE_BUFFERS: usize = 8;
const SPARE_BUFFER_BYTES: usize = 4 << 20;

/// The engine's end of all sources and of the handle's `ingest`.
pub(crate) struct Intake {
    /// Unbounded as a channel: `room` bounds what is in it.
    inbox: Sender<Message>,
    room: Arc<Semaphore>,
    units: usize,
    over_memory: AtomicBool,
    memory_changed: Notify,
    closed: AtomicBool,
    spare: ArrayQueue<RawEvents>,
    lifecycle: Arc<Lifecycle>,
    clock: Arc<dyn Clock>,
    retry_after: Duration,
}

impl Intake {
    pub(crate) fn new(
        inbox: Sender<Message>,
        lifecycle: Arc<Lifecycle>,
        clock: Arc<dyn Clock>,
        settings: &Settings,
    ) -> Self {
        let units = settings.ingest_queue_bytes.div_ceil(UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            inbox,
            room: Arc::new(Semaphore::new(units)),
            units,
            over_memory: AtomicBool::new(false),
            memory_changed: Notify::new(),
            closed: AtomicBool::new(false),
            spare: ArrayQueue::new(SPARE_BUFFERS),
            lifecycle,
            clock,
            retry_after: Duration::from_millis(settings.full_retry_after_ms),
        }
    }

    /// Sends a message that is no event. False once the sequencer has ended.
    pub(crate) fn post(&self, message: Message) -> bool {
        self.inbox.send(message).is_ok()
    }

    /// Takes nothing more from anyone; those who wait for room are told so.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.room.close();
        self.memory_changed.notify_waiters();
    }

    /// Says whether memory is above its limit.
    pub(crate) fn set_over_memory(&self, over: bool) {
        if self.over_memory.swap(over, Ordering::SeqCst) != over {
            tracing::warn!(over, "memory limit");
            self.memory_changed.notify_waiters();
        }
    }

    pub(crate) fn is_over_memory(&self) -> bool {
        self.over_memory.load(Ordering::SeqCst)
    }

    /// Bytes of events that wait, in whole units.
    pub(crate) fn queued_bytes(&self) -> u64 {
        (self.units.saturating_sub(self.room.available_permits()) * UNIT_BYTES) as u64
    }

    pub(crate) fn buffer(&self) -> RawEvents {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a buffer back once its events are in the log.
    pub(crate) fn recycle(&self, mut events: RawEvents) {
        if events.capacity_bytes() <= SPARE_BUFFER_BYTES {
            events.clear();
            // A full stack of spares drops it, which is fine.
            let _ = self.spare.push(events);
        }
    }

    pub(crate) async fn send(
        &self,
        source: Option<Arc<str>>,
        events: RawEvents,
        position: Option<Position>,
    ) -> Result<Receipt, SendError> {
        let permit = self.until_room(&events).await?;
        self.submit(source, events, position, false, permit).map_err(|_| self.why_closed())
    }

    /// As [`send`](Self::send), of events that come from the quarantine.
    pub(crate) async fn send_again(&self, events: RawEvents) -> Result<Receipt, SendError> {
        let permit = self.until_room(&events).await?;
        self.submit(None, events, None, true, permit).map_err(|_| self.why_closed())
    }

    async fn until_room(&self, events: &RawEvents) -> Result<OwnedSemaphorePermit, SendError> {
        self.until_memory_is_free().await?;
        let room = Arc::clone(&self.room);
        room.acquire_many_owned(self.cost(events)).await.map_err(|_| self.why_closed())
    }

    pub(crate) fn try_send(
        &self,
        source: Option<Arc<str>>,
        events: RawEvents,
        position: Option<Position>,
    ) -> Result<Receipt, TrySendError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(self.closed_for(events));
        }
        if self.is_over_memory() {
            return Err(TrySendError::Full { retry_after: self.retry_after, events: Box::new(events) });
        }
        match Arc::clone(&self.room).try_acquire_many_owned(self.cost(&events)) {
            Ok(permit) => {
                self.submit(source, events, position, false, permit).map_err(|events| self.closed_for(events))
            }
            Err(tokio::sync::TryAcquireError::NoPermits) => {
                Err(TrySendError::Full { retry_after: self.retry_after, events: Box::new(events) })
            }
            Err(tokio::sync::TryAcquireError::Closed) => Err(self.closed_for(events)),
        }
    }

    /// A batch larger than the whole queue takes the whole queue.
    fn cost(&self, events: &RawEvents) -> u32 {
        let units = events.capacity_bytes().div_ceil(UNIT_BYTES).clamp(1, self.units);
        u32::try_from(units).unwrap_or(u32::MAX)
    }

    fn submit(
        &self,
        source: Option<Arc<str>>,
        events: RawEvents,
        position: Option<Position>,
        is_again: bool,
        permit: OwnedSemaphorePermit,
    ) -> Result<Receipt, RawEvents> {
        let (sender, receipt) = Receipt::channel();
        let submission = Submission { source, events, position, is_again, receipt: sender, permit };
        match self.inbox.send(Message::Submit(submission)) {
            Ok(()) => Ok(receipt),
            Err(threads::SendError(Message::Submit(submission))) => Err(submission.events),
            Err(_) => Err(RawEvents::new()),
        }
    }

    async fn until_memory_is_free(&self) -> Result<(), SendError> {
        loop {
            let changed = self.memory_changed.notified();
            if self.closed.load(Ordering::SeqCst) {
                return Err(self.why_closed());
            }
            if !self.is_over_memory() {
                return Ok(());
            }
            changed.await;
        }
    }

    fn why_closed(&self) -> SendError {
        match self.lifecycle.state() {
            EngineState::Failed(reason) => SendError::Failed { reason: reason.to_string() },
            _ => SendError::Closed,
        }
    }

    fn closed_for(&self, events: RawEvents) -> TrySendError {
        let events = Box::new(events);
        match self.lifecycle.state() {
            EngineState::Failed(reason) => TrySendError::Failed { reason: reason.to_string(), events },
            _ => TrySendError::Closed { events },
        }
    }
}

/// The way in of one source.
pub(crate) struct SourceIngress {
    pub(crate) name: Arc<str>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) progress: Arc<ReadProgress>,
}

/// How far a source has read.
#[derive(Debug, Default)]
pub(crate) struct ReadProgress {
    done: AtomicU64,
    /// Zero: unknown.
    total: AtomicU64,
}

impl ReadProgress {
    pub(crate) fn get(&self) -> (u64, Option<u64>) {
        let total = self.total.load(Ordering::Relaxed);
        (self.done.load(Ordering::Relaxed), (total > 0).then_some(total))
    }
}

impl Ingress for SourceIngress {
    fn send(
        &self,
        events: RawEvents,
        position: Option<Position>,
    ) -> BoxFuture<'_, Result<Receipt, SendError>> {
        Box::pin(self.intake.send(Some(Arc::clone(&self.name)), events, position))
    }

    fn try_send(&self, events: RawEvents, position: Option<Position>) -> Result<Receipt, TrySendError> {
        self.intake.try_send(Some(Arc::clone(&self.name)), events, position)
    }

    fn closing(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.intake.lifecycle.sources_closing())
    }

    fn is_closing(&self) -> bool {
        self.intake.lifecycle.is_closing_sources()
    }

    fn progress(&self, done_bytes: u64, total_bytes: Option<u64>) {
        self.progress.done.store(done_bytes, Ordering::Relaxed);
        self.progress.total.store(total_bytes.unwrap_or(0), Ordering::Relaxed);
    }

    fn buffer(&self) -> RawEvents {
        self.intake.buffer()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.intake.clock)
    }
}
