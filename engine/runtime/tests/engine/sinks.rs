//! Deltas out: a sink that is slow, stuck, failing, refusing or panicking slows nothing else and loses nothing.

use std::{sync::atomic::Ordering, time::Duration};

use tidewater::{Engine, Settings, SinkState};

use crate::common::*;

/// Ingests an order of each of these users, one epoch each; the last epoch.
async fn orders(engine: &Engine, users: std::ops::Range<u32>) -> u64 {
    let mut last = 0;
    for user in users {
        last = soon(engine.ingest(order(&format!("u{user}"), &format!("m{user}")))).await.unwrap().epoch;
    }
    last
}

fn state_of(engine: &Engine, sink: &str) -> SinkState {
    engine.status().sinks.iter().find(|status| status.name == sink).unwrap().state.clone()
}

#[tokio::test]
async fn a_flush_waits_until_every_sink_has_everything() {
    let record = SinkRecord::new();
    let engine = Engine::builder(&pipeline()).sink("sink", TestSink(record.clone())).start().await.unwrap();
    let last = orders(&engine, 0..20).await;
    let flushed = soon(engine.flush()).await.unwrap();
    assert_eq!(flushed.epoch, last);
    assert!(flushed.undelivered_sinks.is_empty());
    assert_eq!(record.members("buyer").len(), 20);
    assert_eq!(record.epochs(), (1..=20).collect::<Vec<_>>());
    stop(&engine).await;
    assert_eq!(state_of(&engine, "sink"), SinkState::Closed);
}

#[tokio::test]
async fn a_sink_gets_epochs_in_order_whatever_it_does() {
    let record = SinkRecord::new();
    record.failures.store(5, Ordering::SeqCst);
    let builder = Engine::builder(&pipeline()).sink("flaky", TestSink(record.clone())).settings(eager());
    let engine = builder.start().await.unwrap();
    for round in 0..5 {
        orders(&engine, round * 10..round * 10 + 10).await;
        record.failures.store(2, Ordering::SeqCst);
    }
    until("all is delivered", || record.epochs().len() == 50).await;
    assert!(record.epochs().is_sorted());
    assert_eq!(record.members("buyer").len(), 50);
    let status = engine.status().sinks[0].clone();
    assert!(status.failures >= 1, "{status:?}");
    assert_eq!(status.deltas, 50);
    stop(&engine).await;
}

#[tokio::test]
async fn misbehaving_sinks_hold_up_nobody() {
    let [good, stuck, failing, refusing, panicking] = std::array::from_fn(|_| SinkRecord::new());
    stuck.stuck.store(true, Ordering::SeqCst);
    failing.failures.store(u64::MAX, Ordering::SeqCst);
    refusing.refuse.store(true, Ordering::SeqCst);
    panicking.panic.store(true, Ordering::SeqCst);
    let engine = Engine::builder(&pipeline())
        .sink("stuck", TestSink(stuck.clone()))
        .sink("failing", TestSink(failing.clone()))
        .sink("refusing", TestSink(refusing.clone()))
        .sink("panicking", TestSink(panicking.clone()))
        .sink("good", TestSink(good.clone()))
        .settings(Settings { flush_deadline_ms: 20, ..eager() })
        .start()
        .await
        .unwrap();
    let last = orders(&engine, 0..200).await;
    until("the good one has everything", || good.epochs().last() == Some(&last)).await;
    assert_eq!(good.members("buyer").len(), 200);
    let mut flushed = soon(engine.flush()).await.unwrap();
    flushed.undelivered_sinks.sort();
    assert_eq!(flushed.undelivered_sinks, ["failing", "panicking", "refusing", "stuck"]);
    assert_eq!(state_of(&engine, "stuck"), SinkState::Running);
    assert!(matches!(state_of(&engine, "failing"), SinkState::Retrying { .. }));
    assert_eq!(state_of(&engine, "refusing"), SinkState::Parked("not of my taste".to_owned()));
    let told = "it panicked: the sink was told to panic";
    assert_eq!(state_of(&engine, "panicking"), SinkState::Failed(told.to_owned()));
    assert!(refusing.attempts.load(Ordering::SeqCst) >= 1);
    // The stuck one goes on where it was, and the failing one too.
    stuck.release();
    failing.failures.store(0, Ordering::SeqCst);
    until("the others catch up", || {
        stuck.epochs().last() == Some(&last) && failing.epochs().last() == Some(&last)
    })
    .await;
    assert_eq!(stuck.members("buyer"), good.members("buyer"));
    assert_eq!(failing.members("buyer"), good.members("buyer"));
    let report = soon(engine.shutdown(Duration::from_secs(20))).await.unwrap();
    assert_eq!(report.undelivered_sinks, ["refusing", "panicking"]);
}

#[tokio::test]
async fn a_stuck_sink_spills_to_disk_and_catches_up() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    record.stuck.store(true, Ordering::SeqCst);
    let settings = Settings { sink_memory_bytes: 2_000, ..eager() };
    let builder = Engine::builder(&pipeline()).state(directory.path()).settings(settings);
    let engine = builder.sink("slow", TestSink(record.clone())).start().await.unwrap();
    let last = orders(&engine, 0..300).await;
    until("it spills", || engine.status().epochs.published == last).await;
    let status = engine.status().sinks[0].clone();
    assert!(status.spilled_bytes > 0 && status.queued_bytes <= 2_000, "{status:?}");
    record.release();
    soon(engine.flush()).await.unwrap();
    assert_eq!(record.members("buyer").len(), 300);
    assert_eq!(engine.status().sinks[0].spilled_bytes, 0);
    stop(&engine).await;
}

#[tokio::test]
async fn a_sink_that_lags_without_a_state_directory_fails_alone() {
    let (slow, good) = (SinkRecord::new(), SinkRecord::new());
    slow.stuck.store(true, Ordering::SeqCst);
    let engine = Engine::builder(&pipeline())
        .settings(Settings { sink_memory_bytes: 1_000, ..eager() })
        .sink("slow", TestSink(slow.clone()))
        .sink("good", TestSink(good.clone()))
        .start()
        .await
        .unwrap();
    for n in 0..100 {
        orders(&engine, n..n + 1).await;
        // It may not lag either.
        until("the good one has everything", || good.epochs().len() as u32 == n + 1).await;
    }
    until("the slow one fails", || state_of(&engine, "slow").is_down()).await;
    slow.release();
    // What it was given when it got stuck is all it ever gets.
    let report = soon(engine.shutdown(Duration::from_secs(20))).await.unwrap();
    assert_eq!(report.undelivered_sinks, ["slow"]);
    assert!(slow.epochs().len() < 100);
    assert_eq!(good.epochs().len(), 100);
}

#[tokio::test]
async fn a_parked_sink_does_not_end_the_engine_and_keeps_what_it_misses() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    record.refuse.store(true, Ordering::SeqCst);
    let builder =
        || Engine::builder(&pipeline()).state(directory.path()).sink("sink", TestSink(record.clone()));
    let engine = builder().start().await.unwrap();
    orders(&engine, 0..10).await;
    until("it is parked", || state_of(&engine, "sink").is_down()).await;
    stop(&engine).await;
    assert!(record.epochs().is_empty());
    record.refuse.store(false, Ordering::SeqCst);
    let engine = builder().start().await.unwrap();
    soon(engine.flush()).await.unwrap();
    assert_eq!(record.epochs(), (1..=10).collect::<Vec<_>>());
    stop(&engine).await;
}
