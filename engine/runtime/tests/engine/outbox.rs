//! A sink that lags holds no checkpoint back, and one that is new does not need all that ever happened.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use tidewater::{Engine, Error, Settings, SinkState};

use crate::common::*;

fn state_of(engine: &Engine, sink: &str) -> SinkState {
    engine.status().sinks.iter().find(|status| status.name == sink).unwrap().state.clone()
}

/// It takes nothing until it is up again.
fn down(record: &SinkRecord) {
    record.failures.store(u64::MAX, Ordering::SeqCst);
}

fn up(record: &SinkRecord) {
    record.failures.store(0, Ordering::SeqCst);
}

/// Starts on a directory that an engine which was left may have yet to let go of.
async fn start(directory: &Path, sinks: &[(&str, &Arc<SinkRecord>)], settings: &Settings) -> Engine {
    loop {
        let builder = Engine::builder(&pipeline()).state(directory).settings(settings.clone());
        let builder = sinks
            .iter()
            .fold(builder, |builder, (name, record)| builder.sink(*name, TestSink((*record).clone())));
        match builder.start().await {
            Ok(engine) => {
                soon(engine.ready()).await.unwrap();
                return engine;
            }
            Err(Error::Storage(_)) => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until the sinks have everything: they may be between two attempts.
async fn delivered(engine: &Engine) {
    while !soon(engine.flush()).await.unwrap().undelivered_sinks.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// Ingests an order of each of these users, one epoch each.
async fn orders(engine: &Engine, users: std::ops::Range<u32>) {
    for user in users {
        soon(engine.ingest(order(&format!("u{user}"), &format!("m{user}")))).await.unwrap();
    }
}

#[tokio::test]
async fn a_checkpoint_counts_for_a_sink_that_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    let sinks = [("slow", &record)];
    // Some in memory, most on disk; or all in memory.
    for (round, sink_memory_bytes) in [2_000, 1 << 20].into_iter().enumerate() {
        let settings = Settings { sink_memory_bytes, ..eager() };
        let directory = directory.path().join(round.to_string());
        down(&record);
        let mut engine = start(&directory, &sinks, &settings).await;
        let from = 1_000 * round as u32;
        for life in 0..4 {
            orders(&engine, from + life * 30..from + life * 30 + 20).await;
            assert_eq!(soon(engine.checkpoint()).await.unwrap(), u64::from(life * 30 + 20));
            orders(&engine, from + life * 30 + 20..from + life * 30 + 30).await;
            drop(engine);
            engine = start(&directory, &sinks, &settings).await;
            // Only what came behind the checkpoint is made again.
            assert_eq!(engine.status().replay.epochs, 10);
            let queued = u64::from(life + 1) * 30;
            // The last epochs of the replay are published a moment after the start.
            until("all that it lacks waits", || engine.status().sinks[0].queued_epochs == queued).await;
            assert_eq!(engine.status().sinks[0].acknowledged_epoch, 0);
        }
        up(&record);
        delivered(&engine).await;
        assert_eq!(record.epochs(), (1..=120).collect::<Vec<_>>());
        assert_eq!(record.members("buyer").len(), 120);
        stop(&engine).await;
        drop(engine);
        // All is acknowledged: nothing is left on disk, but perhaps the last file, which the next start removes.
        let left = std::fs::read_dir(directory.join("outbox/slow")).unwrap().count();
        assert!(left <= 1, "{left}");
        record.deltas.lock().unwrap().clear();
    }
}

#[tokio::test]
async fn a_sink_that_lags_too_far_holds_a_checkpoint_instead() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    down(&record);
    let settings = Settings { sink_memory_bytes: 500, sink_spill_bytes: 1_500, ..eager() };
    let sinks = [("slow", &record)];
    let engine = start(directory.path(), &sinks, &settings).await;
    orders(&engine, 0..5).await;
    assert_eq!(soon(engine.checkpoint()).await.unwrap(), 5);
    orders(&engine, 5..100).await;
    until("it has failed", || state_of(&engine, "slow").is_down()).await;
    for n in 0..4 {
        orders(&engine, 100 + n..101 + n).await;
        assert_eq!(soon(engine.checkpoint()).await.unwrap(), u64::from(101 + n));
    }
    drop(engine);
    up(&record);
    let engine = start(directory.path(), &sinks, &Settings { sink_spill_bytes: 1 << 20, ..settings }).await;
    assert_eq!(engine.status().replay.epochs, 99, "the checkpoint that it needs was kept");
    delivered(&engine).await;
    assert_eq!(record.epochs(), (1..=104).collect::<Vec<_>>());
    stop(&engine).await;
}

#[tokio::test]
async fn a_damaged_outbox_is_made_again_from_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    down(&record);
    let sinks = [("slow", &record)];
    let engine = start(directory.path(), &sinks, &eager()).await;
    orders(&engine, 0..30).await;
    soon(engine.checkpoint()).await.unwrap();
    drop(engine);
    let engine = start(directory.path(), &sinks, &eager()).await;
    assert_eq!(engine.status().replay.epochs, 0);
    drop(engine);
    // Let go of before it is damaged.
    drop(start(directory.path(), &[], &eager()).await);
    for file in std::fs::read_dir(directory.path().join("outbox/slow")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 8;
        std::fs::write(path, bytes).unwrap();
    }
    up(&record);
    let engine = start(directory.path(), &sinks, &eager()).await;
    assert_eq!(engine.status().replay.epochs, 30);
    delivered(&engine).await;
    assert_eq!(record.epochs(), (1..=30).collect::<Vec<_>>());
    stop(&engine).await;
}

/// What a sink was given, by epoch and place, with its reason.
fn given(record: &SinkRecord) -> BTreeMap<(u64, usize), String> {
    let places = record.places.lock().unwrap();
    places.iter().map(|(epoch, place, reason)| ((*epoch, *place), reason.clone())).collect()
}

#[tokio::test]
async fn a_new_sink_begins_with_the_members_and_gets_the_same_again_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (SinkRecord::new(), SinkRecord::new());
    let engine = start(directory.path(), &[("old", &old)], &eager()).await;
    for time in 0..3 {
        for user in 0..10 {
            let (user, message) = (format!("u{user}"), format!("m{user}-{time}"));
            soon(engine.ingest(order(&user, &message))).await.unwrap();
        }
    }
    let epoch = soon(engine.checkpoint()).await.unwrap();
    orders(&engine, 20..23).await;
    drop(engine);

    // It takes nothing, and the engine is left.
    down(&new);
    let sinks = [("old", &old), ("new", &new)];
    let engine = start(directory.path(), &sinks, &eager()).await;
    assert_eq!(engine.status().replay.epochs, 3);
    until("it is asked", || new.attempts.load(Ordering::SeqCst) > 0).await;
    // Meanwhile time goes on, and a later checkpoint is made.
    orders(&engine, 30..33).await;
    soon(engine.checkpoint()).await.unwrap();
    drop(engine);
    let engine = start(directory.path(), &sinks, &eager()).await;
    assert_eq!(engine.status().replay.epochs, 0);
    up(&new);
    delivered(&engine).await;
    let all = given(&new);
    let first: Vec<&String> = all.iter().filter(|(place, _)| place.0 == epoch).map(|(_, r)| r).collect();
    assert_eq!(first.len(), 20, "each of ten is a buyer and loyal");
    assert!(first.iter().all(|reason| reason.starts_with("already a member, since 20")), "{first:?}");
    assert_eq!(all.keys().filter(|place| place.0 > epoch).count(), 6);
    for segment in ["buyer", "loyal"] {
        assert_eq!(new.members(segment), old.members(segment));
    }
    assert!(new.opened.lock().unwrap()[0].is_none());

    // One that is there already begins with nothing.
    stop(&engine).await;
    drop(engine);
    let engine = start(directory.path(), &sinks, &eager()).await;
    delivered(&engine).await;
    assert_eq!(given(&new), all);
    stop(&engine).await;
}

#[tokio::test]
async fn a_new_sink_of_a_directory_without_a_checkpoint_gets_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (SinkRecord::new(), SinkRecord::new());
    let engine = start(directory.path(), &[("old", &old)], &eager()).await;
    orders(&engine, 0..5).await;
    drop(engine);
    let engine = start(directory.path(), &[("old", &old), ("new", &new)], &eager()).await;
    delivered(&engine).await;
    assert_eq!(new.epochs(), (1..=5).collect::<Vec<_>>());
    stop(&engine).await;
}
