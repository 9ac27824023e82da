#![allow(clippy::unwrap_used)]

use tidewater_model::{Change, DeltaBatchBuilder, HashKey, ProfileId, Timestamp};
use tidewater_storage::{NewState, OutboxOptions, StateDir};

use super::{super::correction::View, *};

fn names() -> Arc<DeltaNames> {
    Arc::new(DeltaNames::new(vec!["loyal".into()], vec!["user_id".into()]))
}

/// A batch with this many deltas.
fn batch(epoch: u64, deltas: u128) -> Arc<DeltaBatch> {
    let mut builder = DeltaBatchBuilder::new(epoch, Timestamp(0), names());
    for profile in 0..deltas {
        builder.delta(0, ProfileId(profile), Change::Entered);
        builder.reason("because");
    }
    Arc::new(builder.finish())
}

fn outbox(directory: &std::path::Path, max_bytes: u64) -> Outbox {
    let new = NewState { key: HashKey::FIXED, deployment: 1, definitions: Vec::new() };
    let state = StateDir::open(directory, &new).unwrap();
    state.open_outbox("sink", OutboxOptions { max_bytes, ..OutboxOptions::default() }).unwrap()
}

async fn drain(queue: &Arc<SinkQueue>) -> Vec<u64> {
    queue.close();
    let mut epochs = Vec::new();
    while let Some(batches) = queue.next(3).await {
        assert!(batches.len() <= 3);
        epochs.extend(batches.iter().map(|batch| batch.epoch()));
        queue.delivered();
    }
    epochs
}

#[tokio::test]
async fn what_goes_beyond_memory_comes_back_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let limit = 3 * batch(1, 1).bytes();
    let queue = Arc::new(SinkQueue::new(0, names(), limit, Some(outbox(directory.path(), 1 << 20)), None));
    for epoch in 1..=50 {
        assert_eq!(queue.push(&batch(epoch, 1)), Queued::Waits);
        assert!(queue.waiting().memory_bytes <= limit as u64);
    }
    assert!(queue.waiting().spilled_bytes > 0);
    assert_eq!(queue.waiting().epochs, 50);
    let first = queue.next(2).await.unwrap();
    assert_eq!(first.iter().map(|batch| batch.epoch()).collect::<Vec<_>>(), [1, 2]);
    // Memory has room again, but what is on disk goes first.
    assert_eq!(queue.push(&batch(51, 1)), Queued::Waits);
    assert_eq!(queue.delivered(), 2);
    assert_eq!(drain(&queue).await, (3..=51).collect::<Vec<_>>());
    assert_eq!(queue.waiting(), Waiting::default());
}

#[tokio::test]
async fn without_room_the_queue_is_given_up() {
    let queue = Arc::new(SinkQueue::new(0, names(), 1, None, None));
    assert_eq!(queue.push(&batch(1, 1)), Queued::Waits);
    assert!(matches!(queue.push(&batch(2, 1)), Queued::NoRoom(reason) if reason.contains("state directory")));
    assert!(queue.is_given_up());
    assert_eq!(queue.push(&batch(3, 1)), Queued::Waits);
    assert!(queue.next(9).await.is_none());

    let directory = tempfile::tempdir().unwrap();
    let queue = Arc::new(SinkQueue::new(0, names(), 1, Some(outbox(directory.path(), 300)), None));
    let full = (1..100).find_map(|epoch| match queue.push(&batch(epoch, 1)) {
        Queued::NoRoom(reason) => Some(reason),
        _ => None,
    });
    assert!(full.unwrap().contains("more than may be kept"));
}

#[tokio::test]
async fn what_was_acknowledged_is_not_queued_again() {
    let queue = Arc::new(SinkQueue::new(7, names(), 1 << 20, None, None));
    for epoch in 1..=9 {
        assert_eq!(queue.push(&batch(epoch, 1)), Queued::Waits);
    }
    assert_eq!(drain(&queue).await, [8, 9]);
}

#[tokio::test]
async fn quiet_epochs_advance_a_sink_that_has_everything() {
    let queue = Arc::new(SinkQueue::new(0, names(), 1 << 20, None, None));
    assert_eq!(queue.push(&batch(1, 0)), Queued::Nothing);
    assert_eq!(queue.push(&batch(2, 1)), Queued::Waits);
    assert_eq!(queue.push(&batch(3, 0)), Queued::Waits);
    let taken = queue.next(9).await.unwrap();
    assert_eq!(taken.len(), 1);
    // It is out, so it is not delivered yet.
    assert_eq!(queue.push(&batch(4, 0)), Queued::Waits);
    assert_eq!(queue.delivered(), 4);
    assert_eq!(queue.push(&batch(5, 0)), Queued::Nothing);
    // With more behind it, only what was taken out is delivered.
    assert_eq!(queue.push(&batch(6, 1)), Queued::Waits);
    assert_eq!(queue.push(&batch(7, 1)), Queued::Waits);
    queue.next(1).await.unwrap();
    assert_eq!(queue.delivered(), 6);
}

#[tokio::test]
async fn a_sink_that_failed_meanwhile_is_not_said_to_have_everything() {
    let queue = Arc::new(SinkQueue::new(0, names(), 1, None, None));
    queue.push(&batch(1, 1));
    queue.next(1).await.unwrap();
    queue.push(&batch(2, 1));
    assert!(matches!(queue.push(&batch(3, 1)), Queued::NoRoom(_)));
    assert_eq!(queue.delivered(), 1);
}

#[tokio::test]
async fn a_sink_that_followed_another_pipeline_gets_the_difference_once() {
    let mut before = View::default();
    before.members.insert(("removed".into(), ProfileId(1)), ());
    before.identifiers.insert(ProfileId(1), vec![("phone".into(), "1".into())]);
    let correction = Correction::new(5, &names(), &before, &View::default());
    let directory = tempfile::tempdir().unwrap();
    let outbox = outbox(directory.path(), 1 << 20);
    let queue = Arc::new(SinkQueue::new(2, names(), 1, Some(outbox), Some(correction)));
    for epoch in 1..=7 {
        // All but the first that fits go through the disk, names and all.
        assert_eq!(queue.push(&batch(epoch, 1)), Queued::Waits);
    }
    queue.close();
    let mut told = Vec::new();
    while let Some(batches) = queue.next(9).await {
        for batch in batches {
            let row = |delta: tidewater_model::Delta<'_>| (batch.epoch(), delta.segment().to_owned());
            told.extend(batch.iter().map(row));
        }
        queue.delivered();
    }
    let told: Vec<_> = told.iter().map(|(epoch, segment)| (*epoch, segment.as_str())).collect();
    assert_eq!(told, [(5, "loyal"), (5, "removed"), (6, "loyal"), (7, "loyal")]);
}
