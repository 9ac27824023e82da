//! The way in: events wait here for the sequencer, never more bytes of them than the settings allow.
//!
//! Sources that wait for room (files) and callers that are turned away instead (HTTP) have parts of it that the others
//! can't use up, so that neither kind starves.

use std::{
    ops::RangeInclusive,
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
use tokio::sync::{Notify, TryAcquireError};

use super::{
    message::{Message, Submission},
    room::{Permits, Room, UNIT_BYTES},
};
use crate::{
    lifecycle::{EngineState, Lifecycle},
    settings::Settings,
    threads::{self, Sender},
};

/// Emptied buffers that are kept to be filled again.
const SPARE_BUFFERS: usize = 8;

/// How large a buffer may be to be kept. A full batch of the file source must fit: fresh pages for each cost more than
/// reading the file. Small ones are made anew for next to nothing, and would only be in the place of large ones.
const SPARE_BUFFER_BYTES: RangeInclusive<usize> = 64 << 10..=4 << 20;

/// A batch may hold this many times the memory that it fills, as much as growing by doubling leaves in buffer and index;
/// what holds more is copied. So a request's one event does not take the room of the buffer that it came in.
const SLACK: usize = 4;

/// The engine's end of all sources and of the handle's `ingest`.
pub(crate) struct Intake {
    /// Unbounded as a channel: `room` bounds what is in it.
    inbox: Sender<Message>,
    room: Room,
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
        Self {
            inbox,
            room: Room::new(settings.ingest_queue_bytes),
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
        self.room.used_bytes()
    }

    pub(crate) fn buffer(&self) -> RawEvents {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a buffer back once its events are in the log.
    pub(crate) fn recycle(&self, mut events: RawEvents) {
        if SPARE_BUFFER_BYTES.contains(&events.capacity_bytes()) {
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
        let events = self.fit(events);
        let permits = self.until_room(&events).await?;
        self.submit(source, events, position, false, permits).map_err(|_| self.why_closed())
    }

    /// As [`send`](Self::send), of events that come from the quarantine.
    pub(crate) async fn send_again(&self, events: RawEvents) -> Result<Receipt, SendError> {
        let permits = self.until_room(&events).await?;
        self.submit(None, events, None, true, permits).map_err(|_| self.why_closed())
    }

    async fn until_room(&self, events: &RawEvents) -> Result<Permits, SendError> {
        self.until_memory_is_free().await?;
        self.room.wait(events.capacity_bytes()).await.map_err(|_| self.why_closed())
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
        let events = self.fit(events);
        match self.room.take(events.capacity_bytes()) {
            Ok(permits) => self
                .submit(source, events, position, false, permits)
                .map_err(|events| self.closed_for(events)),
            Err(TryAcquireError::NoPermits) => {
                Err(TrySendError::Full { retry_after: self.retry_after, events: Box::new(events) })
            }
            Err(TryAcquireError::Closed) => Err(self.closed_for(events)),
        }
    }

    /// The events in no more memory than a small multiple of what they need.
    fn fit(&self, mut events: RawEvents) -> RawEvents {
        let used = events.used_bytes();
        if events.capacity_bytes() <= SLACK * used + UNIT_BYTES {
            return events;
        }
        let mut fitting = RawEvents::with_capacity(used);
        fitting.append(&mut events);
        self.recycle(events);
        fitting
    }

    fn submit(
        &self,
        source: Option<Arc<str>>,
        events: RawEvents,
        position: Option<Position>,
        is_again: bool,
        permits: Permits,
    ) -> Result<Receipt, RawEvents> {
        let (sender, receipt) = Receipt::channel();
        let submission = Submission { source, events, position, is_again, receipt: sender, permits };
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

#[cfg(test)]
mod tests;
