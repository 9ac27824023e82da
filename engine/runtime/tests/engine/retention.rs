//! The log behind a base: what is retired and when, and what can't be had any more is said.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use tidewater::{Engine, Error, ErrorKind, ManualClock, Millis, Pipeline, Settings, Timestamp, offline};
use tidewater_storage::StorageError;

use crate::common::*;

mod absent;

const START: Timestamp = Timestamp(1_780_000_000_000);

struct Setup {
    directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
    settings: Settings,
    record: Arc<SinkRecord>,
}

impl Setup {
    fn new() -> Self {
        let settings = Settings { log_file_bytes: 300, checkpoint_every_ms: u64::MAX, ..eager() };
        let clock = Arc::new(ManualClock::new(START));
        Self { directory: tempfile::tempdir().unwrap(), clock, settings, record: SinkRecord::new() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    async fn try_start(&self, pipeline: &Pipeline, sinks: &[&str], rebuild: bool) -> Result<Engine, Error> {
        loop {
            let mut builder = Engine::builder(pipeline)
                .state(self.path())
                .clock(Arc::clone(&self.clock) as _)
                .settings(self.settings.clone())
                .rebuild(rebuild);
            for sink in sinks {
                builder = builder.sink(*sink, TestSink(Arc::clone(&self.record)));
            }
            match builder.start().await {
                Ok(engine) => {
                    soon(engine.ready()).await.unwrap();
                    return Ok(engine);
                }
                Err(Error::Storage(error)) if matches!(*error, StorageError::Locked { .. }) => {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn start(&self) -> Engine {
        self.try_start(&pipeline(), &["ads"], false).await.unwrap()
    }

    /// Files of the log with this ending.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path().join("log")).unwrap().flatten();
        let paths = entries.map(|entry| entry.path());
        let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().unwrap() == ending).collect();
        paths.sort();
        paths
    }

    /// Orders of one user each, in an epoch each; then all full files are sealed and a checkpoint is made.
    async fn orders(&self, engine: &Engine, users: std::ops::Range<u32>) {
        for n in users {
            let sent = engine.ingest(order(&format!("u{}", n % 7), &format!("m{n}")));
            soon(sent).await.unwrap();
            soon(engine.seal()).await.unwrap();
        }
        soon(engine.flush()).await.unwrap();
        until("full files are sealed", || self.files("log").len() == 1).await;
        soon(engine.checkpoint()).await.unwrap();
    }

    /// A log that begins behind the first event, and an engine that was stopped in good order.
    async fn retired(&mut self) -> u64 {
        self.settings.log_keep_bytes = Some(1_000);
        let engine = self.start().await;
        self.orders(&engine, 0..16).await;
        stop(&engine).await;
        assert!(self.starts() > 1);
        self.epoch()
    }

    /// The files in which it stands what sinks have acknowledged.
    fn acks(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(self.path().join("acks")).unwrap().flatten();
        entries.map(|entry| (entry.path(), std::fs::read(entry.path()).unwrap())).collect()
    }

    /// The last epoch, computed as by `export`.
    fn epoch(&self) -> u64 {
        offline::open_state(self.path()).unwrap().epoch()
    }

    fn starts(&self) -> u64 {
        offline::open_state(self.path()).unwrap().log_complete_from().unwrap().map_or(1, |from| from.0)
    }
}

fn is_retired(result: Result<Engine, Error>, what: &str) {
    let error = result.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::LogRetired { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.starts_with(what) && text.contains("complete only from epoch"), "{text}");
}

#[tokio::test]
async fn without_limits_files_are_sealed_and_all_are_kept() {
    let setup = Setup::new();
    let engine = setup.start().await;
    setup.orders(&engine, 0..40).await;
    assert!(setup.files("sealed").len() > 5);
    stop(&engine).await;
    assert_eq!(setup.starts(), 1);
    let mut events = offline::open_state(setup.path()).unwrap().events().unwrap();
    let mut count = 0;
    while events.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 40);
}

#[tokio::test]
async fn what_is_over_the_limit_is_retired_and_a_restart_goes_on_from_the_checkpoint() {
    let mut setup = Setup::new();
    setup.settings.log_keep_bytes = Some(1_000);
    let engine = setup.start().await;
    setup.orders(&engine, 0..40).await;
    let size = |path: &PathBuf| path.metadata().unwrap().len();
    let bytes: u64 = setup.files("sealed").iter().chain(&setup.files("log")).map(size).sum();
    assert!(bytes <= 1_000, "{bytes}");
    let starts = setup.starts();
    assert!(starts > 20);
    drop(engine);
    let engine = setup.start().await;
    setup.orders(&engine, 40..47).await;
    let loyal = setup.record.members("loyal").len();
    assert_eq!(loyal, 7, "every user has ordered three times or more");
    stop(&engine).await;
    assert!(setup.starts() > starts);
    let mut state = offline::open_state(setup.path()).unwrap();
    assert_eq!(state.profiles().unwrap().len(), 7);
    let orders: Vec<String> =
        state.profiles().unwrap().iter().map(|profile| profile.traits[0].to_string()).collect();
    assert_eq!(orders.iter().map(|count| count.parse::<u32>().unwrap()).sum::<u32>(), 47);
    let base = state.base().unwrap().unwrap();
    assert!(base.epoch + 1 >= setup.starts() && base.next_place > 0);
    assert_eq!(base.facts.identifiers.len(), 7);
}

#[tokio::test]
async fn the_log_stays_as_long_as_the_checkpoint_that_would_stand_for_it_is_damaged() {
    let mut setup = Setup::new();
    setup.settings.log_keep_bytes = Some(1_000);
    let engine = setup.start().await;
    setup.orders(&engine, 0..3).await;
    let states = || {
        let entries = std::fs::read_dir(setup.path().join("checkpoints")).unwrap().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.extension().unwrap() == "state").collect::<Vec<_>>()
    };
    let first = states();
    assert_eq!(first.len(), 1, "all state");
    let mut bytes = std::fs::read(&first[0]).unwrap();
    // Behind the file's header and that of the first piece, which are nodes.
    bytes[70] ^= 1;
    std::fs::write(&first[0], bytes).unwrap();
    setup.orders(&engine, 3..30).await;
    assert!(states().len() > 1, "built on what is damaged");
    assert_eq!(setup.starts(), 1);
    // Whole ones come, which build on nothing.
    for n in 30..60 {
        setup.orders(&engine, n..n + 1).await;
    }
    let starts = setup.starts();
    assert!(starts > 1);
    drop(engine);
    let engine = setup.start().await;
    assert_eq!(setup.record.members("loyal").len(), 7);
    let profile = soon(engine.profile("user_id", "u1").into_future()).await.unwrap().unwrap();
    assert_eq!(profile.traits[0].to_string(), "9");
    stop(&engine).await;
}

#[tokio::test]
async fn files_are_retired_once_they_are_old() {
    let mut setup = Setup::new();
    setup.settings.log_keep_ms = Some(60_000);
    let engine = setup.start().await;
    setup.orders(&engine, 0..20).await;
    assert_eq!(setup.starts(), 1);
    setup.clock.advance(Millis(60_000));
    setup.orders(&engine, 20..21).await;
    assert_eq!(setup.starts(), 1, "not older than a minute");
    setup.clock.advance(Millis(1));
    setup.orders(&engine, 21..22).await;
    assert!(setup.starts() > 15, "{}", setup.starts());
    stop(&engine).await;
}

#[tokio::test]
async fn a_sink_that_lags_holds_what_it_needs() {
    let mut setup = Setup::new();
    setup.settings.log_keep_bytes = Some(0);
    let engine = setup.start().await;
    setup.orders(&engine, 0..10).await;
    let before = setup.starts();
    assert!(before > 1);
    setup.record.failures.store(u64::MAX, Ordering::SeqCst);
    // Each of them is the first order of a user.
    for n in 100..130 {
        soon(engine.ingest(order(&format!("v{n}"), &format!("m{n}")))).await.unwrap();
        soon(engine.seal()).await.unwrap();
    }
    until("full files are sealed", || setup.files("log").len() == 1).await;
    for n in 0..5 {
        soon(engine.ingest(order("w", &format!("w{n}")))).await.unwrap();
        soon(engine.checkpoint()).await.unwrap();
    }
    let held = setup.starts();
    drop(engine);
    setup.record.failures.store(0, Ordering::SeqCst);
    let engine = setup.start().await;
    soon(engine.flush()).await.unwrap();
    assert_eq!(setup.record.members("buyer").len(), 7 + 30 + 1, "nothing was lost for it");
    setup.orders(&engine, 10..20).await;
    assert!(setup.starts() > held, "it was what held the log");
    stop(&engine).await;
}

#[tokio::test]
async fn what_needs_the_retired_events_is_refused_and_changes_nothing() {
    let mut setup = Setup::new();
    setup.settings.log_keep_bytes = Some(0);
    let engine = setup.start().await;
    setup.orders(&engine, 0..20).await;
    stop(&engine).await;
    assert!(setup.starts() > 1);
    let changed = pipeline_of(&PIPELINE.replace("{ count: Order Completed }", "{ count: Page Viewed }"));
    for rebuild in [false, true] {
        is_retired(setup.try_start(&changed, &["ads"], rebuild).await, "a changed pipeline (trait `orders`");
    }
    let engine = setup.start().await;
    setup.orders(&engine, 20..21).await;
    stop(&engine).await;
    // Without any checkpoint nothing is left to start from.
    for entry in std::fs::read_dir(setup.path().join("checkpoints")).unwrap().flatten() {
        let mut bytes = std::fs::read(entry.path()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(entry.path(), bytes).unwrap();
    }
    for opened in [
        setup.try_start(&pipeline(), &[], false).await.map(|_| ()),
        offline::open_state(setup.path()).map(|_| ()),
    ] {
        let error = opened.unwrap_err();
        let Error::Storage(storage) = &error else { panic!("{error}") };
        assert!(matches!(**storage, StorageError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("the log begins only at epoch"), "{error}");
    }
}

#[tokio::test]
async fn a_damaged_newest_checkpoint_falls_back_to_an_older_one_and_the_log_from_there() {
    let mut setup = Setup::new();
    setup.settings.log_keep_bytes = Some(2_000);
    let engine = setup.start().await;
    for n in 0..8 {
        setup.orders(&engine, n * 5..n * 5 + 5).await;
    }
    stop(&engine).await;
    assert!(setup.starts() > 1);
    let mut manifests: Vec<PathBuf> = std::fs::read_dir(setup.path().join("checkpoints"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().unwrap() == "manifest")
        .collect();
    manifests.sort();
    assert!(manifests.len() >= 3, "the base and some more: {manifests:?}");
    for path in &manifests[1..] {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[60] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    // Without sinks: what they lack could not be made from here.
    let engine = setup.try_start(&pipeline(), &[], false).await.unwrap();
    let profile = soon(engine.profile("user_id", "u1").into_future()).await.unwrap().unwrap();
    assert_eq!(profile.traits[0].to_string(), "6");
    stop(&engine).await;
}

/// A change that needs no event.
fn changed() -> Pipeline {
    pipeline_of(&PIPELINE.replace("orders >= 3", "orders >= 2"))
}

/// Segments are answered anew from the traits, which a checkpoint has.
#[tokio::test]
async fn a_change_that_needs_no_events_is_made_on_a_retired_log() {
    let mut setup = Setup::new();
    setup.retired().await;
    let before = setup.starts();
    assert_eq!(setup.record.members("loyal").len(), 2);
    let engine = setup.try_start(&changed(), &["ads"], false).await.unwrap();
    soon(engine.flush()).await.unwrap();
    assert_eq!(setup.record.members("loyal").len(), 7);
    setup.orders(&engine, 16..40).await;
    stop(&engine).await;
    assert!(setup.starts() > before);
    let mut state = offline::open_state(setup.path()).unwrap();
    assert_eq!(state.profiles().unwrap().len(), 7);
    assert!(state.base().unwrap().is_some());
}

const HOUR: i64 = 3_600_000;

/// A page view of one person, dated so many hours after the start.
fn dated(message: &str, hours: i64) -> String {
    let time = START.0 + hours * HOUR;
    format!(r#"{{"type":"page","messageId":"{message}","userId":"{message}","timestamp":{time}}}"#)
}

/// The pipeline of these tests with another trait, and other settings.
fn with_another_trait(settings: &str) -> Pipeline {
    pipeline_of(
        &format!("{settings}\n{PIPELINE}").replace("traits:", "traits:\n  pages: { count: Page Viewed }"),
    )
}

/// How far ahead an event could be dated when it was accepted is not what it can be now.
#[tokio::test]
async fn a_retired_event_that_waits_for_its_time_is_not_lost_to_a_changed_trait() {
    let mut setup = Setup::new();
    setup.settings.log_keep_ms = Some(36 * HOUR as u64);
    let far = pipeline_of(&format!("max_future: 7d\n{PIPELINE}"));
    let engine = setup.try_start(&far, &["ads"], false).await.unwrap();
    assert_eq!(soon(engine.ingest(dated("late", 5 * 24))).await.unwrap().quarantined, 0);
    setup.orders(&engine, 0..20).await;
    // What is accepted now stays in the log, which so begins more than 24 hours before it is changed.
    setup.clock.advance(Millis(20 * HOUR));
    setup.orders(&engine, 20..40).await;
    setup.clock.advance(Millis(28 * HOUR));
    setup.orders(&engine, 40..41).await;
    stop(&engine).await;
    assert!((10..40).contains(&setup.starts()), "{}", setup.starts());

    let changed = with_another_trait("max_future: 24h");
    let what = "a changed trait, while retired events dated in the future";
    is_retired(setup.try_start(&changed, &["ads"], false).await, what);
    // The file of before still runs, and the event comes to its window.
    let engine = setup.try_start(&far, &["ads"], false).await.unwrap();
    assert!(setup.record.members("active").is_empty());
    setup.clock.advance(Millis(72 * HOUR));
    setup.orders(&engine, 41..42).await;
    assert_eq!(setup.record.members("active").len(), 1);
    stop(&engine).await;
    // Nothing waits any more.
    let engine = setup.try_start(&changed, &["ads"], false).await.unwrap();
    stop(&engine).await;
}

#[tokio::test]
async fn an_event_that_waits_and_is_in_the_log_allows_a_changed_trait() {
    let mut setup = Setup::new();
    setup.settings.log_keep_bytes = Some(1_000);
    let engine = setup.start().await;
    setup.orders(&engine, 0..40).await;
    assert!(setup.starts() > 1);
    soon(engine.ingest(dated("late", 5))).await.unwrap();
    stop(&engine).await;
    let engine = setup.try_start(&with_another_trait(""), &["ads"], false).await.unwrap();
    let profile = soon(engine.profile("user_id", "late").into_future()).await.unwrap().unwrap();
    assert_eq!(profile.traits[2].to_string(), "1", "the new trait, behind the others, is filled");
    setup.clock.advance(Millis(5 * HOUR));
    setup.orders(&engine, 40..41).await;
    assert_eq!(setup.record.members("active").len(), 1);
    stop(&engine).await;
}

/// The lines of the traits and those of the first two segments the other way round.
fn reordered() -> Pipeline {
    let (traits, segments) = (PIPELINE.find("  orders:").unwrap(), PIPELINE.find("segments:").unwrap());
    let mut lines: Vec<&str> = PIPELINE[traits..segments].lines().collect();
    lines.reverse();
    let text = PIPELINE.replace(&PIPELINE[traits..segments], &(lines.join("\n") + "\n"));
    let (buyer, loyal) = ("  buyer:  orders >= 1\n", "  loyal:  orders >= 3\n");
    pipeline_of(&text.replace(&format!("{buyer}{loyal}"), &format!("{loyal}{buyer}")))
}

#[tokio::test]
async fn lines_that_change_places_change_nothing_on_a_retired_log() {
    let mut setup = Setup::new();
    let last = setup.retired().await;
    let moved = reordered();
    assert_ne!(moved.definitions(), pipeline().definitions());
    assert!(offline::plan_change(setup.path(), &moved).unwrap().changes.is_empty());
    let engine = setup.try_start(&moved, &["ads"], false).await.unwrap();
    let status = engine.status();
    assert_eq!((status.replay.epochs, status.checkpoint.unwrap().epoch), (0, last));
    setup.orders(&engine, 16..18).await;
    stop(&engine).await;
    assert_eq!(setup.record.members("loyal").len(), 4);
    // Of both files the state is the same.
    setup.epoch();
    let engine = setup.start().await;
    assert_eq!(engine.status().replay.epochs, 0);
    stop(&engine).await;
}

/// A change that is stored and then fails would leave a directory on which neither file starts.
#[tokio::test]
async fn another_dedup_window_and_another_result_at_once_are_made_on_a_retired_log() {
    for dedup in ["14d", "1h", "forever"] {
        let mut setup = Setup::new();
        let last = setup.retired().await;
        let text = format!("dedup: {dedup}{}", PIPELINE.replace("orders >= 3", "orders >= 2"));
        let changed = pipeline_of(&text);
        let plan = offline::plan_change(setup.path(), &changed).unwrap();
        assert!(!plan.computes_everything && plan.refused.is_none(), "{plan:?}");
        let engine = setup.try_start(&changed, &["ads"], false).await.unwrap();
        soon(engine.flush()).await.unwrap();
        assert_eq!(setup.record.members("loyal").len(), 7);
        assert_eq!(engine.status().checkpoint.unwrap().epoch, last + 1);
        // What was known is known.
        for n in [0, 15] {
            let again = engine.ingest(order(&format!("u{}", n % 7), &format!("m{n}")));
            assert_eq!(soon(again).await.unwrap().duplicates, 1, "m{n} with {dedup}");
        }
        stop(&engine).await;
        setup.epoch();
        let engine = setup.start().await;
        soon(engine.flush()).await.unwrap();
        assert_eq!(setup.record.members("loyal").len(), 2);
        stop(&engine).await;
    }
}

/// What other traits take from an event that waits for its time was not kept, and the event may have been retired.
#[tokio::test]
async fn other_traits_are_refused_while_an_event_waits_that_may_be_gone_and_nothing_is_stored() {
    let mut setup = Setup::new();
    setup.settings.log_keep_bytes = Some(1_000);
    let engine = setup.start().await;
    let ahead = page("u1", "p1").replace('{', r#"{"timestamp":"2026-05-28T21:00:00Z","#);
    assert_eq!(soon(engine.ingest(ahead)).await.unwrap().events, 1);
    stop(&engine).await;
    let last = setup.retired().await;
    let added = PIPELINE.replace("segments:\n", "  seen: { count: \"*\" }\nsegments:\n");
    let removed = PIPELINE.replace("  orders: { count: Order Completed }\n", "");
    let removed = removed.replace("  buyer:  orders >= 1\n  loyal:  orders >= 3\n", "");
    for changed in [added, removed] {
        let changed = pipeline_of(&changed);
        let refused = offline::plan_change(setup.path(), &changed).unwrap().refused.unwrap();
        for rebuild in [false, true] {
            let result = setup.try_start(&changed, &["ads"], rebuild).await;
            assert_eq!(result.as_ref().map(|_| ()).unwrap_err().to_string(), refused);
            is_retired(result, "a changed trait, while");
        }
    }
    assert_eq!(setup.epoch(), last);
    let engine = setup.start().await;
    setup.orders(&engine, 16..17).await;
    stop(&engine).await;
    // Once its time has come nothing waits.
    setup.clock.advance(Millis::DAY);
    let engine = setup.start().await;
    setup.orders(&engine, 17..18).await;
    stop(&engine).await;
    let added = pipeline_of(&PIPELINE.replace("segments:\n", "  seen: { count: \"*\" }\nsegments:\n"));
    assert_eq!(offline::plan_change(setup.path(), &added).unwrap().refused, None);
    let engine = setup.try_start(&added, &["ads"], false).await.unwrap();
    stop(&engine).await;
}

/// It was opened, and killed before there was anything for it: its acknowledgement is of epoch 0.
#[tokio::test]
async fn a_sink_that_was_given_nothing_yet_gets_what_a_change_brings() {
    let mut setup = Setup::new();
    setup.settings.log_keep_bytes = Some(1_000);
    let nobody = pipeline_of(&PIPELINE.replace("orders >= ", "orders >= 100"));
    let engine = setup.try_start(&nobody, &["ads"], false).await.unwrap();
    let acknowledged = || offline::open_state(setup.path()).unwrap().acknowledged("ads").unwrap();
    until("it is opened", || acknowledged() == Some(0)).await;
    let acks = setup.acks();
    setup.orders(&engine, 0..16).await;
    stop(&engine).await;
    drop(engine);
    // A kill leaves it like this: only in good order is it recorded how far a sink has come that takes nothing.
    acks.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    assert_eq!((acknowledged(), setup.starts() > 1), (Some(0), true));
    let engine = setup.start().await;
    soon(engine.flush()).await.unwrap();
    assert_eq!((setup.record.members("buyer").len(), setup.record.members("loyal").len()), (7, 2));
    stop(&engine).await;
}

/// Nobody waited for it while it was not in the file, so its members as of what it has can't be computed.
#[tokio::test]
async fn a_sink_that_can_not_be_told_what_changes_is_refused_and_nothing_is_stored() {
    let mut setup = Setup::new();
    setup.settings.log_keep_bytes = Some(1_000);
    let engine = setup.try_start(&pipeline(), &["ads", "crm"], false).await.unwrap();
    setup.orders(&engine, 0..3).await;
    stop(&engine).await;
    let engine = setup.start().await;
    setup.orders(&engine, 3..30).await;
    stop(&engine).await;
    let last = setup.epoch();
    let sinks = "sinks:\n  ads: { type: file, path: a }\n  crm: { type: file, path: b }\n";
    let changed = pipeline_of(&(PIPELINE.replace("orders >= 3", "orders >= 2") + sinks));
    let refused = offline::plan_change(setup.path(), &changed).unwrap().refused.unwrap();
    let result = setup.try_start(&changed, &["ads", "crm"], false).await;
    assert_eq!(result.as_ref().map(|_| ()).unwrap_err().to_string(), refused);
    is_retired(result, "a changed pipeline with the sink `crm`");
    assert_eq!(setup.epoch(), last);
    let engine = setup.try_start(&changed, &["ads"], false).await.unwrap();
    stop(&engine).await;
}
