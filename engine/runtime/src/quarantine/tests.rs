//! How much is read at a time.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use tidewater_model::Timestamp;

use super::*;

fn event(id: u64, bytes: usize) -> QuarantinedEvent {
    QuarantinedEvent {
        id,
        reason: "bad_json".into(),
        source: String::new(),
        received_at: Timestamp(0),
        bytes: vec![b'x'; bytes],
        original_len: bytes as u64,
    }
}

/// Events of so many bytes each, and how many of them were read.
fn many(count: u64, bytes: usize) -> (QuarantinedEvents, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let events = (1..=count).map(move |id| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(event(id, bytes))
    });
    (Box::new(events), read)
}

#[test]
fn no_more_is_read_than_is_fed_next() {
    for (bytes, expected) in [(10, REDRIVE_EVENTS), (1 << 20, 4), (3 << 20, 2), (16 << 20, 1)] {
        let (mut events, read) = many(2_000, bytes);
        for round in 1..=2 {
            let part = Part::to_feed(&mut events).unwrap();
            assert_eq!((part.batch.len(), part.removal.ids.len()), (expected, expected));
            assert!(part.removal.bytes >= (expected * bytes) as u64);
            assert_eq!(read.load(Ordering::SeqCst), round * expected);
        }
    }
}

#[test]
fn what_is_incomplete_is_counted_and_left() {
    let mut part_of_one = event(2, 10);
    part_of_one.original_len = 11;
    let mut events: QuarantinedEvents =
        Box::new([event(1, 10), part_of_one, event(3, 10)].map(Ok).into_iter());
    let part = Part::to_feed(&mut events).unwrap();
    assert_eq!((part.removal.ids, part.incomplete), (BTreeSet::from([1, 3]), 1));
}

#[test]
fn a_ring_is_read_as_of_the_beginning() {
    let ring = Arc::new(Ring::new(5));
    let add = || {
        let (reason, source) = ("bad_json", "");
        ring.add(&NewRecord { reason, source, received_at: Timestamp(0), bytes: b"x", original_len: 1 });
    };
    (0..5).for_each(|_| add());
    let view = QuarantineView::new(Place::Memory(Arc::clone(&ring)));
    let mut events = view.read(QuarantineFilter::All).unwrap().map(|event| event.unwrap().id);
    assert_eq!(events.next(), Some(1));
    // 6, 7 and 8 take the place of 1, 2 and 3.
    (0..3).for_each(|_| add());
    assert_eq!(ring.remove(&BTreeSet::from([4, 6])), 2);
    assert_eq!(events.collect::<Vec<_>>(), [5]);
}
