#![allow(clippy::unwrap_used)]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use tidewater_connector_api::SystemClock;

use super::*;
use crate::threads::{Receiver, unbounded};

const QUEUE_BYTES: usize = 1 << 20;

/// An intake and its other end, which takes nothing by itself.
fn held_back() -> (Arc<Intake>, Receiver<Message>) {
    let (inbox, receiver) = unbounded();
    let settings = Settings { ingest_queue_bytes: QUEUE_BYTES, ..Settings::default() };
    let intake = Intake::new(inbox, Arc::new(Lifecycle::new()), Arc::new(SystemClock), &settings);
    (Arc::new(intake), receiver)
}

fn batch(bytes: usize) -> RawEvents {
    let mut events = RawEvents::with_capacity(bytes);
    events.push(&vec![b' '; bytes]);
    events
}

/// Polls once.
fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn is_full(result: Result<Receipt, TrySendError>) -> bool {
    matches!(result, Err(TrySendError::Full { .. }))
}

#[test]
fn whoever_can_wait_leaves_room_for_who_can_not() {
    let (intake, receiver) = held_back();
    let mut sent = 0;
    while poll(intake.send(None, batch(50_000), None)).is_ready() {
        sent += 1;
        assert!(sent < 1_000, "the queue has no bound");
    }
    assert!(sent >= 5, "{sent}");
    // A source with more than fits: one batch always waits, and is given whatever comes back.
    let mut waiting = Box::pin(intake.send(None, batch(50_000), None));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..5 {
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert!(intake.try_send(None, batch(300), None).is_ok());
        drop(receiver.try_recv().unwrap());
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        waiting = Box::pin(intake.send(None, batch(50_000), None));
    }
    // What is kept has an end too, and the bound is one for all.
    let mut taken = 0;
    while !is_full(intake.try_send(None, batch(50_000), None)) {
        taken += 1;
        assert!(taken < 1_000, "the queue has no bound");
    }
    assert!(taken >= 5, "{taken}");
    assert!(intake.queued_bytes() <= QUEUE_BYTES as u64);
    // All of it comes back.
    drop(waiting);
    while receiver.try_recv().is_ok() {}
    assert_eq!(intake.queued_bytes(), 0);
}

#[test]
fn where_nobody_waits_all_of_the_queue_is_there_for_who_does_not() {
    let (intake, receiver) = held_back();
    assert!(intake.try_send(None, batch(QUEUE_BYTES / 4 * 3), None).is_ok());
    assert!(is_full(intake.try_send(None, batch(QUEUE_BYTES / 2), None)));
    assert!(intake.try_send(None, batch(QUEUE_BYTES / 8), None).is_ok());
    while receiver.try_recv().is_ok() {}
    // More than the whole goes when nothing else does.
    assert!(intake.try_send(None, batch(2 * QUEUE_BYTES), None).is_ok());
    assert!(is_full(intake.try_send(None, batch(1), None)));
    while receiver.try_recv().is_ok() {}
    assert!(poll(intake.send(None, batch(2 * QUEUE_BYTES), None)).is_ready());
    assert!(poll(intake.send(None, batch(1), None)).is_pending());
    intake.close();
    assert!(matches!(poll(intake.send(None, batch(1), None)), Poll::Ready(Err(SendError::Closed))));
    assert!(matches!(intake.try_send(None, batch(1), None), Err(TrySendError::Closed { .. })));
}

#[test]
fn a_small_batch_does_not_take_the_room_of_the_large_buffer_it_came_in() {
    let (intake, receiver) = held_back();
    intake.recycle(batch(QUEUE_BYTES));
    for _ in 0..2 {
        // The large one is there again at once.
        let mut events = intake.buffer();
        assert!(events.capacity_bytes() > QUEUE_BYTES);
        events.push(&[b'x'; 300]);
        assert!(intake.try_send(None, events, None).is_ok());
    }
    assert!(intake.queued_bytes() <= 2 * 1_024, "{}", intake.queued_bytes());
    let Message::Submit(submission) = receiver.try_recv().unwrap() else { panic!("no events") };
    assert_eq!(submission.events.get(0), [b'x'; 300]);
    // What it counts for is what it holds.
    assert!(submission.events.capacity_bytes() <= 1_024);
}

#[test]
fn small_buffers_are_not_kept_in_the_place_of_large_ones() {
    let (intake, _receiver) = held_back();
    (0..2 * SPARE_BUFFERS).for_each(|_| intake.recycle(batch(300)));
    intake.recycle(batch(QUEUE_BYTES));
    assert!(intake.buffer().capacity_bytes() > QUEUE_BYTES);
}
