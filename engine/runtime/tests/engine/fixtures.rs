//! A state directory of every version of what the engine stores, run on from then on.

use std::{path::Path, sync::Arc};

use tidewater::{
    Engine, ManualClock, Profile, Random, Settings, Timestamp,
    offline::{self, Identity, Membership},
};
use tidewater_model::HashKey;

use crate::common::*;

/// Something of everything that is stored with a node, and beside nodes.
const EVERYTHING: &str = "
workers: 1
identifiers:
  user_id:      { from: userId }
  email:        { from: traits.email, normalize: email }
  anonymous_id: { from: anonymousId }
traits:
  plan:       { last: traits.plan }
  source:     { first: properties.source }
  orders:     { count: Order Completed }
  revenue:    { sum: properties.revenue, event: Order Completed }
  least:      { min: properties.revenue }
  most:       { max: properties.revenue }
  mean:       { avg: properties.revenue }
  seen:       { last_time: \"*\" }
  joined:     { first_time: \"*\" }
  orders_1h:  { count: Order Completed, window: 1h }
  spent_1d:   { sum: properties.revenue, window: 1d }
  highest_1d: { max: properties.revenue, window: 1d }
segments:
  buyer:   orders >= 1
  big:     revenue >= 100
  recent:  orders_1h >= 1
  unknown: has(anonymous_id) and not has(user_id)
";

/// When the clock of the sample begins: 2024-01-01T00:00:00Z.
const START: i64 = 1_704_067_200_000;

struct Fixed;

impl Random for Fixed {
    fn next(&self) -> u64 {
        HashKey::FIXED.0
    }
}

async fn start(directory: &Path, now: i64) -> Engine {
    let settings = Settings { checkpoint_every_ms: u64::MAX, ..eager() };
    let builder = Engine::builder(&pipeline_of(EVERYTHING)).settings(settings).random(Arc::new(Fixed));
    let clock = Arc::new(ManualClock::new(Timestamp(now)));
    let builder = builder.clock(clock).state(directory).sink("updates", TestSink(SinkRecord::new()));
    let engine = builder.start().await.unwrap();
    soon(engine.ready()).await.unwrap();
    engine
}

fn event(number: i64, rest: &str) -> String {
    format!("{{\"messageId\":\"m{number}\",\"timestamp\":{},{rest}}}", START - 600_000 + number * 60_000)
}

async fn ingest(engine: &Engine, events: &[String]) {
    for event in events {
        let taken = soon(engine.ingest(event.as_str())).await.unwrap();
        assert_eq!((taken.duplicates, taken.quarantined), (0, 0), "{event}");
    }
}

/// Writes the directory that `fixtures/v1` is a copy of: two checkpoints, the second on top of the first, and a log that goes on
/// behind it. To add a version: write it to a new place under a new number.
async fn write_sample(directory: &Path) {
    let engine = start(directory, START).await;
    ingest(&engine, &[
        event(1, r#""type":"track","event":"Order Completed","userId":"u1","anonymousId":"a1","properties":{"revenue":120.5,"source":"ad"}"#),
        event(2, r#""type":"identify","userId":"u1","traits":{"email":"One@Example.com","plan":"gold"}"#),
        event(3, r#""type":"page","anonymousId":"a2""#),
        event(4, r#""type":"alias","userId":"u2","previousId":"a3""#),
        event(5, r#""type":"alias","userId":"u3","previousId":"u9""#),
        // Dated in the future.
        event(60, r#""type":"track","event":"Order Completed","userId":"u2","properties":{"revenue":7}"#),
    ])
    .await;
    assert!(soon(engine.flush()).await.unwrap().undelivered_sinks.is_empty());
    soon(engine.checkpoint()).await.unwrap();
    ingest(
        &engine,
        &[
            event(
                7,
                r#""type":"track","event":"Order Completed","userId":"u1","properties":{"revenue":-3.25}"#,
            ),
            // Shows that an alias is one of user ids.
            event(8, r#""type":"identify","userId":"u9","traits":{"plan":true}"#),
            event(9, r#""type":"alias","userId":"u4","previousId":"a5""#),
        ],
    )
    .await;
    assert!(soon(engine.flush()).await.unwrap().undelivered_sinks.is_empty());
    soon(engine.checkpoint()).await.unwrap();
    ingest(&engine, &[event(10, r#""type":"page","userId":"u1","anonymousId":"a2""#)]).await;
    // As after a crash: at a clean end there would be one more checkpoint.
    drop(engine);
}

type All = (Vec<Profile>, Vec<Membership>, Vec<Identity>);

fn all(directory: &Path) -> All {
    let mut state = offline::open_state(directory).unwrap();
    (state.profiles().unwrap(), state.memberships().unwrap(), state.identities().unwrap())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_state_directory_of_every_version_is_run_on_from_its_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    // Set this variable to see what a new version's fixture would be.
    if let Some(target) = std::env::var_os("TIDEWATER_WRITE_STATE_FIXTURE") {
        write_sample(Path::new(&target)).await;
    }
    let version = 1;
    // A test runs in its package, wherever it was built: checkouts may share a cache.
    let fixture = std::path::PathBuf::from(format!("tests/fixtures/v{version}"));
    let (with, without) = (directory.path().join("with"), directory.path().join("without"));
    copy(&fixture, &with);
    copy(&fixture, &without);
    std::fs::remove_dir_all(without.join("checkpoints")).unwrap();
    let expected = all(&without);
    assert_eq!((expected.0.len(), expected.1.len()), (4, 4), "{expected:?}");
    assert_eq!(all(&with), expected, "the checkpoint says what the log says");

    for (path, replayed) in [(&with, 1), (&without, 10)] {
        // In the hour of the event that is dated in the future.
        let engine = start(path, START + 3_600_000).await;
        assert_eq!(engine.status().replay.epochs, replayed);
        let again = event(9, r#""type":"alias","userId":"u4","previousId":"a5""#);
        assert_eq!(soon(engine.ingest(again)).await.unwrap().duplicates, 1);
        // Settles the alias that still waits.
        ingest(&engine, &[event(11, r#""type":"identify","userId":"a5","traits":{"plan":1}"#)]).await;
        stop(&engine).await;
    }
    assert_eq!(all(&with), all(&without));
    assert_ne!(all(&with), expected);
}
