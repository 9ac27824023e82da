//! Start again on the same state directory: nothing acknowledged is lost, nothing acknowledged comes twice.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use tidewater::{
    Engine, EngineState, Error, ErrorKind, ManualClock, Millis, QuarantineFilter, RawEvents, Source,
    SourceContext, SourceState, Timestamp, TrySendError, offline,
};
use tidewater_connector_api::{Position, ReadError, SourceCapabilities};

use crate::common::*;

const NOON: Timestamp = Timestamp(1_767_268_800_000);

async fn start(directory: &Path, record: &Arc<SinkRecord>) -> Engine {
    let builder = Engine::builder(&pipeline()).state(directory).sink("sink", TestSink(record.clone()));
    let engine = builder.settings(eager()).start().await.unwrap();
    soon(engine.ready()).await.unwrap();
    engine
}

#[tokio::test]
async fn a_restart_sends_nothing_again_and_forgets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    let engine = start(directory.path(), &record).await;
    for n in 0..3 {
        soon(engine.ingest(order("u1", &format!("m{n}")))).await.unwrap();
    }
    soon(engine.flush()).await.unwrap();
    stop(&engine).await;
    assert_eq!(record.epochs(), [1, 3]);
    assert!(record.opened.lock().unwrap()[0].is_none());

    let engine = start(directory.path(), &record).await;
    // The checkpoint of the shutdown holds everything, and all of it is published by now.
    let status = engine.status();
    assert_eq!((status.replay.epochs, status.checkpoint.unwrap().epoch, status.epochs.published), (0, 3, 3));
    assert!(status.replay.done);
    // The dedup window and the profile are as they were.
    assert_eq!(soon(engine.ingest(order("u1", "m2"))).await.unwrap().duplicates, 1);
    let profile = soon(engine.profile("user_id", "u1").into_future()).await.unwrap().unwrap();
    assert_eq!(profile.segments, [0, 1]);
    soon(engine.ingest(order("u2", "m9"))).await.unwrap();
    soon(engine.flush()).await.unwrap();
    assert_eq!(record.epochs(), [1, 3, 4]);
    assert_eq!(record.members("buyer").len(), 2);
    let acknowledged = record.opened.lock().unwrap()[1].clone().unwrap();
    assert_eq!((acknowledged.epoch, acknowledged.position.0), (3, 3u64.to_be_bytes().to_vec()));
    stop(&engine).await;
}

/// Those that came during the replay must not wait until nothing more comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_during_a_replay_is_taken_in_before_what_comes_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    let engine = start(directory.path(), &record).await;
    for n in 0..300 {
        soon(engine.ingest(order(&format!("u{n}"), &format!("m{n}")))).await.unwrap();
    }
    stop(&engine).await;
    drop(engine);
    std::fs::remove_dir_all(directory.path().join("checkpoints")).unwrap();

    let builder = Engine::builder(&pipeline()).state(directory.path()).sink("sink", TestSink(record));
    let engine = builder.settings(eager()).start().await.unwrap();
    let (mut receipts, mut behind) = (Vec::new(), 0);
    while behind < 500 {
        let n = receipts.len();
        match engine.try_ingest(order("u1", &format!("n{n}"))) {
            Ok(receipt) => receipts.push(receipt),
            Err(TrySendError::Full { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
        behind += u32::from(engine.state() == EngineState::Running);
        tokio::task::yield_now().await;
    }
    let mut epochs = Vec::new();
    for receipt in receipts {
        epochs.push(soon(receipt).await.unwrap().epoch);
    }
    assert!(epochs.is_sorted(), "{epochs:?}");
    stop(&engine).await;
}

#[tokio::test]
async fn what_was_not_delivered_is_delivered_after_the_restart() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    let engine = start(directory.path(), &record).await;
    soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    soon(engine.flush()).await.unwrap();
    record.stuck.store(true, Ordering::SeqCst);
    for n in 2..20 {
        soon(engine.ingest(order(&format!("u{n}"), &format!("m{n}")))).await.unwrap();
    }
    let report = soon(engine.shutdown(std::time::Duration::from_millis(30))).await.unwrap();
    assert_eq!(report.undelivered_sinks, ["sink"]);
    record.release();
    let engine = start(directory.path(), &record).await;
    soon(engine.flush()).await.unwrap();
    assert_eq!(record.epochs(), (1..20).collect::<Vec<_>>());
    assert_eq!(record.members("buyer").len(), 19);
    stop(&engine).await;
}

#[tokio::test]
async fn a_directory_that_was_run_by_several_workers_is_read_by_any_number() {
    let directory = tempfile::tempdir().unwrap();
    let builder = || Engine::builder(&pipeline()).state(directory.path());
    let engine = builder().workers(3).start().await.unwrap();
    for n in 0..200 {
        let (user, message) = (format!("u{}", n % 50), format!("m{n}"));
        soon(engine.ingest(order(&user, &message))).await.unwrap();
    }
    let live = soon(engine.memberships("loyal").into_future()).await.unwrap();
    assert_eq!(live.members.len(), 50);
    stop(&engine).await;
    for workers in [1, 2] {
        let mut state = offline::open_state_with(directory.path(), workers, &mut |_| {}).unwrap();
        assert_eq!(state.epoch(), live.epoch);
        let members = state.memberships().unwrap();
        let loyal: Vec<_> = members.iter().filter(|m| m.segment == 1).map(|m| m.profile).collect();
        assert_eq!(loyal, live.members);
        assert_eq!(state.profiles().unwrap().len(), 50);
        assert_eq!(state.identities().unwrap().len(), 50);
    }
}

#[tokio::test]
async fn offline_answers_are_those_of_the_last_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOON));
    let builder = Engine::builder(&pipeline()).state(directory.path()).clock(clock.clone());
    let engine = builder.start().await.unwrap();
    soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    clock.advance(Millis::HOUR);
    soon(engine.ingest(page("u1", "m2"))).await.unwrap();
    soon(engine.ingest("not json")).await.unwrap();
    // Also while the engine runs.
    let mut state = offline::open_state(directory.path()).unwrap();
    assert_eq!((state.epoch(), state.now()), (2, Timestamp(NOON.0 + 3_600_000)));
    let since: Vec<_> =
        state.memberships().unwrap().iter().map(|m| (m.segment, m.since.0 - NOON.0)).collect();
    assert_eq!(since, [(0, 0), (2, 3_600_000)]);
    assert_eq!(state.profile("user_id", "u1").unwrap().unwrap().segments, [0, 2]);
    let mut events = state.events().unwrap();
    let mut logged = Vec::new();
    while let Some(event) = events.next().unwrap() {
        logged.push((event.epoch, event.place, event.accepted_at.0 - NOON.0, event.bytes.len()));
    }
    let len = order("u1", "m1").len();
    assert_eq!(logged, [(1, 0, 0, len), (2, 1, 3_600_000, page("u1", "m2").len())]);
    assert_eq!(state.quarantine(QuarantineFilter::All).unwrap().count(), 1);
    assert_eq!(state.pipeline().spec(), pipeline().spec());
    stop(&engine).await;
}

#[tokio::test]
async fn after_a_restart_time_jumps_to_the_present_in_one_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    let clock = Arc::new(ManualClock::new(NOON));
    let builder = || {
        let builder = Engine::builder(&pipeline()).state(directory.path()).clock(clock.clone());
        builder.sink("sink", TestSink(record.clone()))
    };
    let engine = builder().start().await.unwrap();
    for n in 0..5 {
        soon(engine.ingest(page(&format!("u{n}"), &format!("m{n}")))).await.unwrap();
        clock.advance(Millis::MINUTE);
    }
    stop(&engine).await;
    clock.advance(Millis::DAY);
    let engine = builder().start().await.unwrap();
    until("they leave", || record.members("active").is_empty() && record.epochs().len() == 10).await;
    assert_eq!(record.epochs()[5..], [6; 5]);
    soon(engine.flush()).await.unwrap();
    assert_eq!(engine.status().epochs.now, clock_now(&clock));
    stop(&engine).await;
}

fn clock_now(clock: &ManualClock) -> Timestamp {
    tidewater::Clock::now(clock)
}

#[tokio::test]
async fn other_identifiers_need_a_rebuild() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::builder(&pipeline()).state(directory.path()).start().await.unwrap();
    soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    stop(&engine).await;
    let changed = pipeline_of(&PIPELINE.replace("{ from: userId }", "{ from: userId, block: [u1] }"));
    assert_ne!(changed.definitions(), pipeline().definitions());
    let error = Engine::builder(&changed).state(directory.path()).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        matches!(&error, Error::DefinitionChanged { changes } if changes.len() == 1 && changes[0].contains("user_id")),
        "{error}"
    );
    let engine = Engine::builder(&changed).state(directory.path()).rebuild(true).start().await.unwrap();
    let buyers = soon(engine.memberships("buyer").into_future()).await.unwrap();
    assert_eq!(buyers.members.len(), 0);
    stop(&engine).await;
    // From now on these are its definitions.
    let engine = Engine::builder(&changed).state(directory.path()).start().await.unwrap();
    stop(&engine).await;
}

#[tokio::test]
async fn other_traits_and_segments_go_on_from_the_state_there_is() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOON));
    let start = async |pipeline: &tidewater::Pipeline| {
        Engine::builder(pipeline).state(directory.path()).clock(clock.clone()).start().await.unwrap()
    };
    let engine = start(&pipeline()).await;
    soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    clock.advance(Millis::HOUR);
    soon(engine.ingest(order("u1", "m2"))).await.unwrap();
    stop(&engine).await;
    let changed = PIPELINE.replace("orders >= 3", "orders >= 2").replace(
        "segments:\n",
        "  first_order: { first_time: Order Completed }\nsegments:\n  dated: has(first_order)\n",
    );
    clock.advance(Millis::HOUR);
    let engine = start(&pipeline_of(&changed)).await;
    // Whoever did not ask for it is not told that the log was replayed: the old state was.
    assert_eq!(engine.status().replay.events, 0);
    soon(engine.ingest(order("u2", "m3"))).await.unwrap();
    stop(&engine).await;
    for without in ["", "checkpoints"] {
        if !without.is_empty() {
            std::fs::remove_dir_all(directory.path().join(without)).unwrap();
        }
        let mut state = offline::open_state(directory.path()).unwrap();
        let names = state.names().segments().to_vec();
        let members = state.memberships().unwrap();
        let mut since: Vec<_> = members
            .iter()
            .map(|member| (names[member.segment].as_str(), (member.since.0 - NOON.0) / 3_600_000))
            .filter(|(name, _)| ["buyer", "loyal", "dated"].contains(name))
            .collect();
        since.sort_unstable();
        // Who was a member is one since then; whom the change lets in is one since the change.
        assert_eq!(since, [("buyer", 0), ("buyer", 2), ("dated", 1), ("dated", 2), ("loyal", 1)]);
    }
}

/// Neither needs an event again: a start begins with the checkpoint, also where all of the log is there.
#[tokio::test]
async fn lines_that_change_places_and_another_dedup_window_keep_the_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOON));
    let record = SinkRecord::new();
    let start = async |text: &str| {
        let builder = Engine::builder(&pipeline_of(text)).state(directory.path()).clock(clock.clone());
        let builder = builder.settings(eager()).sink("sink", TestSink(record.clone()));
        let engine = builder.start().await.unwrap();
        soon(engine.ready()).await.unwrap();
        engine
    };
    let known = async |engine: &Engine, message: &str| {
        soon(engine.ingest(order("u1", message))).await.unwrap().duplicates == 1
    };
    let engine = start(PIPELINE).await;
    soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    clock.advance(Millis(5 * Millis::DAY.0));
    for n in 2..4 {
        soon(engine.ingest(order("u1", &format!("m{n}")))).await.unwrap();
    }
    soon(engine.flush()).await.unwrap();
    stop(&engine).await;

    let (buyer, loyal) = ("  buyer:  orders >= 1\n", "  loyal:  orders >= 3\n");
    let moved = PIPELINE.replace(&format!("{buyer}{loyal}"), &format!("{loyal}{buyer}"));
    let engine = start(&moved).await;
    let status = engine.status();
    assert_eq!((status.replay.epochs, status.checkpoint.unwrap().epoch, status.epochs.published), (0, 3, 3));
    assert_eq!(soon(engine.memberships("loyal").into_future()).await.unwrap().members.len(), 1);
    stop(&engine).await;

    // Longer: what is known now is known for longer, to the next checkpoint and behind it.
    let engine = start(&format!("dedup: 20d{moved}")).await;
    let status = engine.status();
    assert_eq!((status.replay.epochs, status.checkpoint.unwrap().epoch), (0, 4));
    stop(&engine).await;
    clock.advance(Millis(10 * Millis::DAY.0));
    let engine = start(&format!("dedup: 20d{moved}")).await;
    assert!(known(&engine, "m1").await && known(&engine, "m3").await);
    stop(&engine).await;

    // Shorter: what is older than it can be is forgotten.
    let engine = start(&format!("dedup: 1d{moved}")).await;
    assert_eq!(engine.status().replay.epochs, 0);
    assert!(!known(&engine, "m1").await);
    stop(&engine).await;
    assert_eq!((record.members("buyer").len(), record.epochs().len()), (1, 2), "sinks were told nothing");
    // Whatever checkpoints there are, the log says the same.
    std::fs::remove_dir_all(directory.path().join("checkpoints")).unwrap();
    let mut state = offline::open_state(directory.path()).unwrap();
    assert_eq!(state.profiles().unwrap()[0].traits[0].to_string(), "4");
}

#[tokio::test]
async fn a_rebuild_brings_sinks_from_the_old_memberships_to_the_new() {
    let directory = tempfile::tempdir().unwrap();
    let (prompt, late) = (SinkRecord::new(), SinkRecord::new());
    let start = async |pipeline: &tidewater::Pipeline| {
        let builder = Engine::builder(pipeline).state(directory.path()).rebuild(true).settings(eager());
        let builder = builder.sink("prompt", TestSink(prompt.clone())).sink("late", TestSink(late.clone()));
        builder.start().await.unwrap()
    };
    let engine = start(&pipeline()).await;
    let orders = async |engine: &Engine, users: std::ops::Range<u32>, times: u32| {
        for user in users {
            for time in 0..times {
                let (user, message) = (format!("u{user}"), format!("m{user}-{time}"));
                soon(engine.ingest(order(&user, &message))).await.unwrap();
            }
        }
    };
    orders(&engine, 0..3, 3).await;
    soon(engine.flush()).await.unwrap();
    late.stuck.store(true, Ordering::SeqCst);
    orders(&engine, 3..6, 2).await;
    until("the prompt one has everything", || prompt.members("buyer").len() == 6).await;
    // Whatever is not done by then is left as by a crash.
    let _ = soon(engine.shutdown(std::time::Duration::from_millis(30))).await;
    assert_eq!((late.members("buyer").len(), late.members("loyal").len()), (3, 3));
    late.release();

    // `buyer` is gone, `loyal` is easier, `twice` is new.
    let changed = PIPELINE.replace("  buyer:  orders >= 1\n", "  twice: orders == 2\n");
    let engine = start(&pipeline_of(&changed.replace("orders >= 3", "orders >= 2"))).await;
    soon(engine.flush()).await.unwrap();
    let sizes =
        |record: &SinkRecord| ["buyer", "loyal", "twice"].map(|segment| record.members(segment).len());
    assert_eq!((sizes(&prompt), sizes(&late)), ([0, 6, 3], [0, 6, 3]));
    orders(&engine, 10..11, 2).await;
    soon(engine.flush()).await.unwrap();
    stop(&engine).await;
    assert_eq!((sizes(&prompt), sizes(&late)), ([0, 7, 4], [0, 7, 4]));

    // The change is behind everyone: nothing is told twice.
    let engine = start(&pipeline_of(&changed.replace("orders >= 3", "orders >= 2"))).await;
    soon(engine.flush()).await.unwrap();
    stop(&engine).await;
    assert_eq!((sizes(&prompt), sizes(&late)), ([0, 7, 4], [0, 7, 4]));
    assert_eq!(prompt.members("loyal"), late.members("loyal"));
}

#[tokio::test]
async fn a_directory_belongs_to_one_engine() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::builder(&pipeline()).state(directory.path()).start().await.unwrap();
    let error = Engine::builder(&pipeline()).state(directory.path()).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    stop(&engine).await;
    drop(engine);
    let engine = Engine::builder(&pipeline()).state(directory.path()).start().await.unwrap();
    stop(&engine).await;
}

/// Sends an order of each user from its position on, one batch each; fails once on the way.
struct Numbered {
    users: u8,
    fail_at: Option<u8>,
    starts: Arc<Mutex<Vec<u8>>>,
}

impl Source for Numbered {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { finite: true, replayable: true }
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let first = context.resume_from().map_or(0, |position| position.0[0]);
        self.starts.lock().unwrap().push(first);
        for user in first..self.users {
            if self.fail_at == Some(user) {
                self.fail_at = None;
                return Err(ReadError::Unavailable { reason: "gone for a moment".into() });
            }
            let events = RawEvents::from_iter([order_without_id(user)]);
            if context.send(events, Some(Position(vec![user + 1]))).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Deduplication can't hide an order that is sent twice: it carries neither an id nor a time.
fn order_without_id(user: u8) -> String {
    format!(r#"{{"type":"track","event":"Order Completed","userId":"u{user}"}}"#)
}

#[tokio::test]
async fn a_source_goes_on_behind_what_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let starts = Arc::new(Mutex::new(Vec::new()));
    let run = async |users: u8, fail_at: Option<u8>| {
        let source = Numbered { users, fail_at, starts: starts.clone() };
        let builder = Engine::builder(&pipeline()).state(directory.path()).settings(eager());
        let engine = builder.source("numbers", source).start().await.unwrap();
        let ended = soon(engine.sources_ended()).await.unwrap();
        assert_eq!(ended, [("numbers".to_owned(), SourceState::Finished)]);
        stop(&engine).await;
        assert_eq!(engine.state(), EngineState::Stopped);
    };
    run(20, Some(7)).await;
    run(30, None).await;
    assert_eq!(*starts.lock().unwrap(), [0, 7, 20]);
    let mut state = offline::open_state(directory.path()).unwrap();
    let profiles = state.profiles().unwrap();
    assert_eq!(profiles.len(), 30);
    let once: BTreeSet<_> = profiles.iter().map(|profile| profile.traits[0].to_string()).collect();
    assert_eq!(once, BTreeSet::from(["1".to_owned()]));
}
