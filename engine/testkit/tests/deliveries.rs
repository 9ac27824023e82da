//! Destinations that answer badly, at length: what stands there in the end is what should, in order, and under one name each.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tidewater::{
    Engine, ManualClock, Millis, Pipeline, RawEvents, Settings, Timestamp, pipeline::FixedEnvironment,
};
use tidewater_testkit::fake::sink::{
    Applied, BasicSink, Delivered, Shares, SlowSink, StuckSink, UncertainSink,
};

const PIPELINE: &str = "
workers: 1
identifiers: { user_id: { from: userId } }
traits: { views: { count: Page Viewed, window: 1h, resolution: 1ms } }
segments: { active: views >= 1 }
";
const NOON: Timestamp = Timestamp(1_767_268_800_000);

fn pipeline() -> Pipeline {
    Pipeline::from_yaml(PIPELINE, &FixedEnvironment::new()).unwrap()
}

fn eager() -> Settings {
    let mut settings = Settings { flush_deadline_ms: 120_000, ..Settings::default() };
    (settings.retry.first_ms, settings.retry.longest_ms) = (1, 2);
    settings
}

fn views(users: std::ops::Range<u32>, round: u32) -> RawEvents {
    users
        .map(|user| format!(r#"{{"type":"page","messageId":"{round}-{user}","userId":"u{user}"}}"#))
        .collect()
}

/// Waits until the sinks have everything: they may be between two attempts.
async fn flushed(engine: &Engine) {
    while !engine.flush().await.unwrap().undelivered_sinks.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// 100,000 deltas in 1,000 epochs and more: people come, and leave after an hour.
async fn hundred_thousand(shares: Shares, seed: u64) -> Applied {
    const USERS: u32 = 10_000;
    let applied = Arc::new(Mutex::new(Applied::default()));
    let clock = Arc::new(ManualClock::new(NOON));
    let engine = Engine::builder(&pipeline())
        .in_memory()
        .clock(Arc::clone(&clock) as _)
        .settings(Settings { sink_memory_bytes: 1 << 30, ..eager() })
        .sink("uncertain", UncertainSink::new(&applied, shares, seed, 2))
        .start()
        .await
        .unwrap();
    for round in 0..5 {
        for users in (0..USERS).step_by(100) {
            engine.ingest_batch(views(users..users + 100, round)).await.unwrap();
            clock.advance(Millis(1));
        }
        // All of them are in; then they leave, a hundred a millisecond.
        engine.seal().await.unwrap();
        clock.advance(Millis(3_600_000 - 100));
        for _ in 0..=100 {
            clock.advance(Millis(1));
            engine.seal().await.unwrap();
        }
    }
    // And half of them come back.
    engine.ingest_batch(views(0..USERS / 2, 9)).await.unwrap();
    flushed(&engine).await;
    let members = engine.memberships("active").await.unwrap().members;
    engine.shutdown(Duration::from_secs(60)).await.unwrap();
    let applied = applied.lock().unwrap().clone();
    let expected: Vec<_> = members.into_iter().map(|profile| (0, profile)).collect();
    assert_eq!(applied.members.iter().copied().collect::<Vec<_>>(), expected);
    assert_eq!(expected.len(), USERS as usize / 2);
    assert!(applied.wrong.is_empty(), "seed {seed}: {:?}", &applied.wrong[..applied.wrong.len().min(5)]);
    assert_eq!(applied.arrived - applied.repeated, u64::from(USERS) * 10 + u64::from(USERS) / 2);
    println!("{shares:?}: {:?}, {} of {} came again", applied.outcomes, applied.repeated, applied.arrived);
    applied
}

#[tokio::test]
async fn deliveries_that_are_applied_and_not_answered_come_again_under_their_names() {
    for (silent, seed) in [(5, 1), (50, 2)] {
        let applied = hundred_thousand(Shares { silent, busy: 0, partly: 0, burst: 1 }, seed).await;
        assert!(applied.repeated > 0);
    }
}

#[tokio::test]
async fn requests_to_wait_and_breakdowns_in_bursts_lose_and_reorder_nothing() {
    for (share, seed) in [(1, 3), (30, 4)] {
        hundred_thousand(Shares { silent: 0, busy: share, partly: share, burst: 5 }, seed).await;
    }
    // Everything at once.
    hundred_thousand(Shares { silent: 20, busy: 20, partly: 20, burst: 3 }, 5).await;
}

/// A sink that hangs for ever, and one that takes a second a call, beside one that is well.
#[tokio::test]
async fn sinks_that_hang_or_crawl_stay_within_their_memory_and_hold_up_nobody() {
    const MEMORY: usize = 64 << 10;
    let directory = tempfile::tempdir().unwrap();
    let (well, slow) = (Delivered::default(), Delivered::default());
    let engine = Engine::builder(&pipeline())
        .state(directory.path())
        .settings(Settings { sink_memory_bytes: MEMORY, flush_deadline_ms: 1, ..eager() })
        .sink("well", BasicSink::new(&well))
        .sink("slow", SlowSink::new(BasicSink::new(&slow), Duration::from_secs(1)))
        .sink("stuck", StuckSink)
        .start()
        .await
        .unwrap();
    let mut largest = 0;
    for users in (0..20_000u32).step_by(100) {
        engine.ingest_batch(views(users..users + 100, 0)).await.unwrap();
        let sinks = engine.status().sinks;
        largest = largest.max(sinks.iter().map(|sink| sink.queued_bytes).max().unwrap());
    }
    let published = engine.seal().await.unwrap();
    while engine.status().sinks[0].acknowledged_epoch < published {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(well.members().len(), 20_000);
    assert!(largest <= MEMORY as u64, "{largest} bytes in memory");
    let sinks = engine.status().sinks;
    assert!(sinks[1].spilled_bytes > MEMORY as u64 && sinks[2].spilled_bytes > MEMORY as u64, "{sinks:?}");
    // A checkpoint waits for neither of them.
    assert_eq!(engine.checkpoint().await.unwrap(), published);
    // One of them never ends.
    let _ = engine.shutdown(Duration::from_secs(1)).await;
}
