//! What is left of a shutdown's deadline when a part of the engine uses up its share.

use std::{sync::atomic::Ordering, time::Duration};

use tidewater::{Engine, EngineState, Settings, Source, SourceState, SourceStatus};
use tidewater_connector_api::{ReadError, SourceCapabilities, SourceContext};
use tokio::time::Instant;

use crate::common::*;

/// Does not notice that the engine closes, as a connection whose request never ends.
struct Deaf;

impl Source for Deaf {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { finite: false, replayable: false }
    }

    async fn run(&mut self, _: SourceContext) -> Result<(), ReadError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_source_that_does_not_stop_leaves_half_of_the_deadline_to_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { checkpoint_every_ms: u64::MAX, ..eager() };
    let builder = Engine::builder(&pipeline()).state(directory.path()).settings(settings);
    let engine = builder.source("deaf", Deaf).source("deaf too", Deaf).start().await.unwrap();
    soon(engine.ready()).await.unwrap();
    let accepted = soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    // One that has not begun yet ends at once.
    let runs = |source: &SourceStatus| source.state == SourceState::Running;
    until("both sources run", || engine.status().sources.iter().all(runs)).await;

    // From here on time passes only when there is nothing else to wait for: not while threads are.
    tokio::time::pause();
    let begun = Instant::now();
    let report = engine.shutdown(Duration::from_secs(10)).await.unwrap();
    assert_eq!(report.unfinished_sources, ["deaf", "deaf too"]);
    // Timers are as fine as a millisecond.
    let taken = begun.elapsed();
    assert!((5_000..5_100).contains(&taken.as_millis()), "{taken:?}");
    assert_eq!(report.epoch, accepted.epoch);
    assert_eq!(engine.status().checkpoint.unwrap().epoch, report.epoch, "it is in a checkpoint");
}

#[tokio::test]
async fn a_shutdown_that_was_given_up_while_it_waited_for_sinks_can_be_asked_for_again() {
    let record = SinkRecord::new();
    record.failures.store(u64::MAX, Ordering::SeqCst);
    let engine =
        Engine::builder(&pipeline()).settings(eager()).sink("sink", TestSink(record)).start().await.unwrap();
    soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    soon(engine.flush()).await.unwrap();
    // Everything has been published long before that.
    let first = engine.shutdown(Duration::from_secs(3_600));
    assert!(tokio::time::timeout(Duration::from_millis(500), first).await.is_err());
    let report = soon(engine.shutdown(Duration::from_secs(3_600))).await.unwrap();
    assert_eq!(report.undelivered_sinks, ["sink"]);
    assert_eq!(engine.state(), EngineState::Stopped);
}
