//! The fakes misbehave in the way their names say, in front of a running engine.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, time::Duration};

use tidewater::{Builder, Engine, Pipeline, ProfileId, Settings, Sink, Source, pipeline::FixedEnvironment};
use tidewater_connector_api::DeliveryError;
use tidewater_testkit::fake::{
    sink::{BasicSink, Delivered, DuplicatingSink, FailingSink, PanickingSink, SlowSink, StuckSink},
    source::{BasicSource, DuplicatingSource, FailingSource, PanickingSource, SlowSource, StuckSource},
};

const USERS: usize = 20;

fn events() -> impl Iterator<Item = String> {
    (0..USERS)
        .map(|user| format!(r#"{{"type":"track","event":"x","messageId":"m{user}","userId":"u{user}"}}"#))
}

fn list() -> BasicSource {
    BasicSource::new(events(), 3)
}

fn builder() -> Builder {
    let pipeline = "
workers: 1
identifiers: { user_id: { from: userId } }
traits: { events: { count: '*' } }
segments: { seen: events >= 1, twice: events >= 2 }
";
    let pipeline = Pipeline::from_yaml(pipeline, &FixedEnvironment::new()).unwrap();
    let mut settings = Settings::default();
    (settings.retry.first_ms, settings.retry.longest_ms) = (1, 5);
    Engine::builder(&pipeline).settings(settings)
}

/// Tests are not timed: only what never happens ends them.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waited).await.is_ok(), "never happened: {what}");
}

/// Everybody once, nobody twice.
fn is_whole(members: &BTreeSet<(usize, ProfileId)>) -> bool {
    members.len() == USERS && members.iter().all(|(segment, _)| *segment == 0)
}

async fn all_arrive<K: Sink>(source: impl Source, wrap: impl FnOnce(BasicSink) -> K) {
    let delivered = Delivered::default();
    let sink = wrap(BasicSink::new(&delivered));
    let engine = builder().source("list", source).sink("sink", sink).start().await.unwrap();
    until("everything delivered", || is_whole(&delivered.members())).await;
    engine.shutdown(Duration::from_secs(30)).await.unwrap();
    assert!(is_whole(&delivered.members()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sources_that_misbehave_lose_and_double_nothing() {
    all_arrive(list(), |sink| sink).await;
    all_arrive(DuplicatingSource::new(list()), |sink| sink).await;
    all_arrive(FailingSource::unavailable(list(), 3, 2), |sink| sink).await;
    all_arrive(SlowSource::new(list(), Duration::from_millis(1)), |sink| sink).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sinks_that_misbehave_get_everything() {
    let not_applied = || DeliveryError::not_applied("as it was told to");
    all_arrive(list(), |sink| FailingSink::new(sink, not_applied(), 1, 3)).await;
    all_arrive(list(), DuplicatingSink::new).await;
    all_arrive(list(), |sink| SlowSink::new(sink, Duration::from_millis(1))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_that_hangs_or_panics_holds_up_nobody_else() {
    let delivered = Delivered::default();
    let engine = builder()
        .source("list", list())
        .source("stuck", StuckSource)
        .source("panicking", PanickingSource::new(BasicSource::new(events(), 3), 1))
        .source("broken", FailingSource::broken(BasicSource::new(events(), 3), 1))
        .sink("stuck", StuckSink)
        .sink("panicking", PanickingSink::new(BasicSink::new(&Delivered::default()), 0))
        .sink("sink", BasicSink::new(&delivered))
        .start()
        .await
        .unwrap();
    until("everything delivered", || is_whole(&delivered.members())).await;
    // What hangs does not hang the shutdown, which says so.
    let _ = engine.shutdown(Duration::from_millis(300)).await;
    assert!(is_whole(&delivered.members()));
}
