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
    open(&state, max_bytes, 0)
}

fn open(state: &StateDir, max_bytes: u64, acknowledged: u64) -> Outbox {
    let options = OutboxOptions { max_bytes, ..OutboxOptions::default() };
    state.open_outbox("sink", options, acknowledged).unwrap().0
}

/// A queue that has nothing.
fn queue(memory_limit: usize, outbox: Option<Outbox>) -> Arc<SinkQueue> {
    Arc::new(SinkQueue::new((0, 0), memory_limit, outbox, None))
}

async fn drain(queue: &Arc<SinkQueue>) -> Vec<u64> {
    queue.close();
    let mut epochs = Vec::new();
    while let Some(batches) = queue.next(3).await {
        assert!(batches.len() <= 3);
        epochs.extend(batches.iter().map(|batch| batch.epoch()));
        queue.delivered(usize::MAX);
    }
    epochs
}

#[tokio::test]
async fn what_goes_beyond_memory_comes_back_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let limit = 3 * batch(1, 1).bytes();
    let queue = queue(limit, Some(outbox(directory.path(), 1 << 20)));
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
    assert_eq!(queue.delivered(usize::MAX), 2);
    assert_eq!(drain(&queue).await, (3..=51).collect::<Vec<_>>());
    assert_eq!(queue.waiting(), Waiting::default());
}

#[tokio::test]
async fn without_room_the_queue_is_given_up() {
    let queue = queue(1, None);
    assert_eq!(queue.push(&batch(1, 1)), Queued::Waits);
    assert!(matches!(queue.push(&batch(2, 1)), Queued::NoRoom(reason) if reason.contains("state directory")));
    assert!(queue.is_given_up());
    assert_eq!(queue.push(&batch(3, 1)), Queued::Waits);
    assert!(queue.next(9).await.is_none());

    let directory = tempfile::tempdir().unwrap();
    let queue = super::tests::queue(1, Some(outbox(directory.path(), 300)));
    let full = (1..100).find_map(|epoch| match queue.push(&batch(epoch, 1)) {
        Queued::NoRoom(reason) => Some(reason),
        _ => None,
    });
    assert!(full.unwrap().contains("more than may be kept"));
}

#[tokio::test]
async fn what_was_acknowledged_is_not_queued_again() {
    let queue = Arc::new(SinkQueue::new((7, 7), 1 << 20, None, None));
    for epoch in 1..=9 {
        assert_eq!(queue.push(&batch(epoch, 1)), Queued::Waits);
    }
    assert_eq!(drain(&queue).await, [8, 9]);
}

#[tokio::test]
async fn quiet_epochs_advance_a_sink_that_has_everything() {
    let queue = queue(1 << 20, None);
    assert_eq!(queue.push(&batch(1, 0)), Queued::Nothing);
    assert_eq!(queue.push(&batch(2, 1)), Queued::Waits);
    assert_eq!(queue.push(&batch(3, 0)), Queued::Waits);
    let taken = queue.next(9).await.unwrap();
    assert_eq!(taken.len(), 1);
    // It is out, so it is not delivered yet.
    assert_eq!(queue.push(&batch(4, 0)), Queued::Waits);
    assert_eq!(queue.delivered(usize::MAX), 4);
    assert_eq!(queue.push(&batch(5, 0)), Queued::Nothing);
    // With more behind it, only what was taken out is delivered.
    assert_eq!(queue.push(&batch(6, 1)), Queued::Waits);
    assert_eq!(queue.push(&batch(7, 1)), Queued::Waits);
    queue.next(1).await.unwrap();
    assert_eq!(queue.delivered(usize::MAX), 6);
}

#[tokio::test]
async fn a_sink_that_failed_meanwhile_is_not_said_to_have_everything() {
    let queue = queue(1, None);
    queue.push(&batch(1, 1));
    queue.next(1).await.unwrap();
    queue.push(&batch(2, 1));
    assert!(matches!(queue.push(&batch(3, 1)), Queued::NoRoom(_)));
    assert_eq!(queue.delivered(usize::MAX), 1);
}

#[tokio::test]
async fn a_sink_that_followed_another_pipeline_gets_the_difference_once() {
    let mut before = View::default();
    before.members.insert(("removed".into(), ProfileId(1)), ());
    before.identifiers.insert(ProfileId(1), vec![("phone".into(), "1".into())]);
    let correction = Correction::new(5, &names(), &before, &View::default());
    let directory = tempfile::tempdir().unwrap();
    let outbox = outbox(directory.path(), 1 << 20);
    let queue = Arc::new(SinkQueue::new((2, 2), 1, Some(outbox), Some(correction)));
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
        queue.delivered(usize::MAX);
    }
    let told: Vec<_> = told.iter().map(|(epoch, segment)| (*epoch, segment.as_str())).collect();
    assert_eq!(told, [(5, "loyal"), (5, "removed"), (6, "loyal"), (7, "loyal")]);
}

/// What a start finds after `queue` was left as it is, with this acknowledged: the queue again, and the epoch it has.
fn restart(directory: &std::path::Path, queue: Arc<SinkQueue>, acknowledged: u64) -> (Arc<SinkQueue>, u64) {
    queue.release();
    let new = NewState { key: HashKey::FIXED, deployment: 1, definitions: Vec::new() };
    let outbox = open(&StateDir::open(directory, &new).unwrap(), 1 << 20, acknowledged);
    let has = outbox.span().through;
    (Arc::new(SinkQueue::new((acknowledged, has), 1 << 20, Some(outbox), None)), has)
}

#[tokio::test]
async fn what_waits_at_a_checkpoint_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    // Room for four in memory; the first two of eight are being delivered when the checkpoint is made.
    let limit = 4 * batch(1, 1).bytes();
    for epochs in [2, 4, 8] {
        let directory = directory.path().join(epochs.to_string());
        let queue = queue(limit, Some(outbox(&directory, 1 << 20)));
        for epoch in 1..=epochs {
            assert_eq!(queue.push(&batch(epoch, 1)), Queued::Waits);
        }
        assert_eq!(queue.push(&batch(epochs + 1, 0)), Queued::Waits);
        queue.next(2).await.unwrap();
        assert_eq!(queue.kept(0), Some(0));
        queue.keep().unwrap();
        assert_eq!(queue.kept(0), Some(epochs + 1));
        let written = std::fs::read_dir(directory.join("outbox/sink")).unwrap().count();
        queue.keep().unwrap();
        // Nothing has come since: nothing is written again.
        assert_eq!(std::fs::read_dir(directory.join("outbox/sink")).unwrap().count(), written);

        let (queue, has) = restart(&directory, queue, 1);
        assert_eq!(has, epochs + 1);
        // The log makes them again, and what follows.
        for epoch in 1..=epochs + 2 {
            assert_eq!(queue.push(&batch(epoch, 1)), Queued::Waits);
        }
        let expected: Vec<u64> = (2..=epochs).chain([epochs + 2]).collect();
        assert_eq!(drain(&queue).await, expected);
        queue.forget(epochs + 2);
        assert_eq!(std::fs::read_dir(directory.join("outbox/sink")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn what_was_delivered_without_being_written_down_counts_once_it_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let queue = queue(1 << 20, Some(outbox(directory.path(), 1 << 20)));
    for epoch in 1..=3 {
        queue.push(&batch(epoch, 1));
    }
    queue.next(2).await.unwrap();
    assert_eq!(queue.delivered(1), 1);
    queue.keep().unwrap();
    // The acknowledgement of the first may be lost: then it is nowhere.
    assert_eq!((queue.kept(0), queue.kept(1)), (None, Some(3)));
    let (queue, has) = restart(directory.path(), queue, 0);
    assert_eq!(has, 0);
    drop(queue);
}

#[tokio::test]
async fn what_can_not_be_read_back_counts_no_more_as_kept() {
    let directory = tempfile::tempdir().unwrap();
    for place in (0..).step_by(23) {
        let directory = directory.path().join(place.to_string());
        let queue = queue(1, Some(outbox(&directory, 1 << 20)));
        for epoch in 1..=10 {
            assert_eq!(queue.push(&batch(epoch, 1)), Queued::Waits);
        }
        queue.keep().unwrap();
        assert_eq!(queue.kept(0), Some(10));
        let file = std::fs::read_dir(directory.join("outbox/sink")).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        let Some(byte) = bytes.get_mut(place) else { break };
        *byte ^= 1;
        std::fs::write(file, bytes).unwrap();
        let mut taken = 0;
        while let Some(batches) = queue.next(1).await {
            taken = batches[0].epoch();
            queue.delivered(1);
        }
        assert!(queue.is_given_up() && taken < 10, "byte {place}: {taken}");
        // The first one never left memory; that the sink has it is recorded.
        let kept = queue.kept(1).unwrap_or(0).max(1);
        let (_queue, has) = restart(&directory, queue, 1);
        assert_eq!((kept, has), (taken, taken), "byte {place}");
    }
}
