//! A life of an engine: a scenario, and what happens to the engine behind each of its epochs.
#![allow(dead_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use tidewater::{
    DeltaBatch, Engine, Error, ManualClock, Pipeline, Profile, ProfileId, Random, RawEvents, Settings, Sink,
    Timestamp, Value,
    offline::{self, Identity, Membership},
    pipeline::FixedEnvironment,
};
use tidewater_connector_api::{Acknowledged, DeliveryError, Position, json::write_delta};
use tidewater_oracle::{Event, Outcome, Unlinked, evaluate_from};
use tidewater_storage::StorageError;
use tidewater_testkit::generate::{START, Scenario, yaml};

/// How many epochs a scenario has at most.
pub(crate) const EPOCHS: usize = 14;

/// What happens behind an epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happens {
    Nothing,
    /// A checkpoint is asked for, and made while the next epochs are computed.
    Checkpoint,
    /// A checkpoint is waited for.
    Checkpointed,
    /// A checkpoint is asked for, and can't be written.
    CheckpointFails,
    /// A checkpoint is waited for when all full log files are sealed, so that they are retired.
    Retired,
    /// The sink takes nothing until it is told to.
    SinkDown,
    /// The sink takes what it is given.
    SinkUp,
    /// The engine is stopped in good order, and starts again on so many workers.
    Stop(usize),
    /// The engine is left as it is, and starts again on so many workers.
    Leave(usize),
    /// The engine is stopped, run with another pipeline, which is computed from the log, and then again with this one.
    Rebuild(usize),
}

/// What may happen.
pub(crate) fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => Just(Happens::Nothing),
        3 => Just(Happens::Checkpoint),
        3 => Just(Happens::Checkpointed),
        2 => Just(Happens::Retired),
        2 => Just(Happens::SinkDown),
        1 => Just(Happens::SinkUp),
        2 => (1..=3usize).prop_map(Happens::Stop),
        3 => (1..=3usize).prop_map(Happens::Leave),
    ]
}

/// What may happen where sinks may be told of detours.
pub(crate) fn happens_with_rebuilds() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => happens(),
        1 => Just(Happens::CheckpointFails),
        1 => (1..=3usize).prop_map(Happens::Rebuild),
    ]
}

/// Everything that was delivered, by epoch.
#[derive(Clone, Debug, Default)]
struct Lines {
    delivered: Arc<Mutex<BTreeMap<u64, Vec<String>>>>,
    is_down: Arc<AtomicBool>,
}

impl Sink for Lines {
    async fn open(&mut self, _: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        Ok(Position::default())
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(DeliveryError::not_applied("it is down"));
        }
        for batch in batches {
            let line = |delta: tidewater::Delta<'_>| {
                let mut line = Vec::new();
                write_delta(&mut line, 0, batch.now(), &delta);
                String::from_utf8(line).unwrap()
            };
            let lines: Vec<String> = batch.iter().map(line).collect();
            let mut known = self.delivered.lock().unwrap();
            let before = known.insert(batch.epoch(), lines.clone());
            if before.is_some_and(|before| before != lines) {
                return Err(DeliveryError::refused("an epoch was delivered again with other deltas"));
            }
        }
        Ok(Position::default())
    }
}

/// The same key for every state directory, so that ids can be compared.
struct Fixed;

impl Random for Fixed {
    fn next(&self) -> u64 {
        7
    }
}

/// What is left of a life. Whether events were retired makes no difference.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) retired: bool,
    pub(crate) lines: Vec<String>,
    memberships: Vec<Membership>,
    profiles: Vec<Profile>,
    identities: Vec<Identity>,
    /// Names of segments and traits, which the memberships and profiles give by place.
    segments: Vec<String>,
    traits: Vec<String>,
}

/// A profile with what the pipeline defines by name.
type Named<'a> = (ProfileId, &'a [Vec<String>], BTreeMap<&'a str, &'a Value>, BTreeSet<&'a str>);

impl PartialEq for End {
    fn eq(&self, other: &Self) -> bool {
        let key = |end: &Self| (end.lines.clone(), end.memberships.clone(), end.identities.clone());
        key(self) == key(other) && self.profiles == other.profiles
    }
}

/// What the engines of a life have in common.
struct Life<'a> {
    directory: &'a Path,
    clock: Arc<ManualClock>,
    lines: Lines,
    /// When so many bytes have been logged a checkpoint is made; by time none is.
    log_bytes: u64,
    /// How many bytes of the log are kept.
    keep: Option<u64>,
}

async fn start(pipeline: &Pipeline, life: &Life<'_>, workers: usize, rebuild: bool) -> Engine {
    let Life { directory, clock, lines, log_bytes, keep } = life;
    loop {
        let mut settings = Settings {
            checkpoint_every_ms: u64::MAX,
            checkpoint_log_bytes: *log_bytes,
            ..Settings::default()
        };
        (settings.retry.first_ms, settings.retry.longest_ms) = (1, 2);
        (settings.log_file_bytes, settings.log_keep_bytes) = (LOG_FILE_BYTES, *keep);
        let builder = Engine::builder(pipeline)
            .settings(settings)
            .clock(Arc::clone(clock) as _)
            .random(Arc::new(Fixed))
            .rebuild(rebuild);
        match builder.workers(workers).sink("lines", lines.clone()).state(directory).start().await {
            Ok(engine) => return engine,
            // One that was left takes a moment to let go of it.
            Err(Error::Storage(error)) if matches!(*error, StorageError::Locked { .. }) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A file of the log has a few epochs.
const LOG_FILE_BYTES: u64 = 700;

/// Waits until only the file that is written to is not sealed; then makes a checkpoint.
async fn retire(engine: &Engine, directory: &Path) {
    let is_plain = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "log");
    let plain = || std::fs::read_dir(directory.join("log")).unwrap().flatten().filter(is_plain).count();
    // The thread that seals is not waited for by anything else, so only a hang ends this.
    for _ in 0..60_000 {
        if plain() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(plain(), 1, "full files are sealed");
    engine.checkpoint().await.unwrap();
}

/// What the batch evaluator says of the base and the events since, or of all events.
fn evaluated(state: &offline::OfflineState) -> Outcome {
    let base = state.base().unwrap();
    let mut events = state.events_since(base.as_ref().map_or(0, |base| base.epoch)).unwrap();
    let mut owned = Vec::new();
    while let Some(event) = events.next().unwrap() {
        owned.push((event.place, event.accepted_at, event.bytes.to_vec()));
    }
    let events: Vec<Event<'_>> = owned
        .iter()
        .map(|(place, accepted_at, bytes)| Event { place: *place, accepted_at: *accepted_at, bytes })
        .collect();
    let facts = base.map(|base| base.facts).unwrap_or_default();
    evaluate_from(state.spec(), state.key(), &facts, &events, state.now(), &Unlinked::default())
}

/// Lives a life in a directory of its own, to its end.
pub(crate) fn live(scenario: &Scenario, all: &[Happens]) -> End {
    live_with(scenario, all, u64::MAX)
}

/// The same with a checkpoint whenever so many bytes have been logged, also while a start replays its log.
pub(crate) fn live_with(scenario: &Scenario, all: &[Happens], log_bytes: u64) -> End {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let pipeline = Pipeline::from_yaml(&yaml(&scenario.spec), &FixedEnvironment::new()).unwrap();
    runtime.block_on(live_in(scenario, all, (&[pipeline], &[]), directory.path(), log_bytes))
}

/// The same, beginning with the first of the pipelines and going on with the next one behind each of these epochs.
pub(crate) fn live_changing(
    scenario: &Scenario,
    all: &[Happens],
    pipelines: &[Pipeline],
    at: &[usize],
) -> End {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    runtime.block_on(live_in(scenario, all, (pipelines, at), directory.path(), u64::MAX))
}

async fn live_in(
    scenario: &Scenario,
    all: &[Happens],
    (pipelines, at): (&[Pipeline], &[usize]),
    directory: &Path,
    log_bytes: u64,
) -> End {
    let text = yaml(&scenario.spec);
    let mut pipelines = pipelines.iter();
    let mut pipeline = pipelines.next().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(START + 5_000)));
    // Once anything is retired all is that can be; what needs all events is tried on whole logs.
    let is_changed = !at.is_empty() || all.iter().any(|happens| matches!(happens, Happens::Rebuild(_)));
    let keep = all.iter().any(|happens| matches!(happens, Happens::Retired) && !is_changed).then_some(0);
    let life = Life { directory, clock, lines: Lines::default(), log_bytes, keep };
    let is_down = &life.lines.is_down;
    let mut engine = start(pipeline, &life, 1, false).await;
    for (number, (epoch, happens)) in scenario.epochs.iter().zip(all).enumerate() {
        life.clock.advance(epoch.wait);
        // What time alone changes is cut off from what the events do.
        engine.seal().await.unwrap();
        engine.ingest_batch(epoch.events.iter().collect::<RawEvents>()).await.unwrap();
        match *happens {
            Happens::Nothing => {}
            Happens::Checkpoint => {
                let engine = engine.clone();
                tokio::spawn(async move { engine.checkpoint().await });
                tokio::task::yield_now().await;
            }
            Happens::Checkpointed => _ = engine.checkpoint().await.unwrap(),
            Happens::Retired => retire(&engine, directory).await,
            Happens::CheckpointFails => checkpoint_that_fails(&engine, directory).await,
            Happens::SinkDown => is_down.store(true, Ordering::SeqCst),
            Happens::SinkUp => is_down.store(false, Ordering::SeqCst),
            Happens::Stop(workers) => {
                stop(engine).await;
                engine = start(pipeline, &life, workers, false).await;
            }
            Happens::Leave(workers) => {
                drop(engine);
                engine = start(pipeline, &life, workers, false).await;
            }
            Happens::Rebuild(workers) => {
                stop(engine).await;
                let other = start(&with_one_more_segment(&text), &life, workers, true).await;
                other.seal().await.unwrap();
                stop(other).await;
                engine = start(pipeline, &life, workers, true).await;
            }
        }
        for changed in
            at.iter().filter(|behind| **behind == number).zip(&mut pipelines).map(|(_, changed)| changed)
        {
            pipeline = changed;
            stop(engine).await;
            engine = start(pipeline, &life, 1, false).await;
        }
    }
    // A scenario may end before its last changes.
    for changed in pipelines {
        stop(engine).await;
        engine = start(changed, &life, 1, false).await;
    }
    is_down.store(false, Ordering::SeqCst);
    engine.flush().await.unwrap();
    engine.shutdown(Duration::from_secs(60)).await.unwrap();
    let mut state = offline::open_state(directory).unwrap();
    let outcome = evaluated(&state);
    let identities = state.identities().unwrap();
    assert_eq!(outcome.profiles, state.profiles().unwrap(), "by the evaluator, and by the dataflow");
    let by_dataflow: Vec<_> =
        identities.iter().map(|own| (own.identifier, own.value.clone(), own.profile)).collect();
    assert_eq!(outcome.identities, by_dataflow, "by the evaluator, and by the dataflow");
    End {
        retired: state.log_complete_from().unwrap().is_some(),
        lines: life.lines.delivered.lock().unwrap().values().flatten().cloned().collect(),
        memberships: state.memberships().unwrap(),
        profiles: state.profiles().unwrap(),
        identities,
        segments: state.spec().segments.iter().map(|segment| segment.name.clone()).collect(),
        traits: state.spec().traits.iter().map(|entry| entry.name.clone()).collect(),
    }
}

/// A sink that is down is not waited for any longer than this. What else is not done by then, on a slow machine, is left as
/// by a crash.
async fn stop(engine: Engine) {
    let _ = engine.shutdown(Duration::from_millis(100)).await;
}

/// Something stands where the checkpoint of the last epoch would be written.
async fn checkpoint_that_fails(engine: &Engine, directory: &Path) {
    let epoch = engine.status().epochs.sealed;
    let obstacle = directory.join(format!("checkpoints/{epoch:020}.state.tmp"));
    // One that is being written stands there already.
    if std::fs::create_dir(&obstacle).is_ok() {
        // There may be one of that epoch.
        let _ = engine.checkpoint().await;
        std::fs::remove_dir(&obstacle).unwrap();
    }
}

/// The pipeline of this text, which ends with its segments, and one more.
fn with_one_more_segment(text: &str) -> Pipeline {
    let text = text.replace("\nsegments: {}\n", "\nsegments:\n");
    let first = text.split("identifiers:\n  ").nth(1).and_then(|rest| rest.split(':').next()).unwrap();
    let text = format!("{text}  one_more: 'has({first})'\n");
    Pipeline::from_yaml(&text, &FixedEnvironment::new()).unwrap()
}

impl End {
    /// What holds in the end, by name, but for since when.
    pub(crate) fn without_since(&self) -> (BTreeSet<(String, String)>, Vec<Named<'_>>, &[Identity]) {
        (self.members(), self.profiles.iter().map(|profile| self.named(profile)).collect(), &self.identities)
    }

    fn named<'a>(&'a self, profile: &'a Profile) -> Named<'a> {
        let traits = self.traits.iter().map(String::as_str).zip(&profile.traits).collect();
        let segments = profile.segments.iter().map(|segment| self.segments[*segment].as_str()).collect();
        (profile.id, &profile.identifiers, traits, segments)
    }

    /// The members per segment by its name.
    pub(crate) fn members(&self) -> BTreeSet<(String, String)> {
        let name = |segment: usize| self.segments[segment].clone();
        self.memberships.iter().map(|member| (name(member.segment), member.profile.to_string())).collect()
    }

    /// What holds in the end, whatever was told on the way.
    pub(crate) fn state(&self) -> (&[Membership], &[Profile], &[Identity]) {
        (&self.memberships, &self.profiles, &self.identities)
    }

    /// The members that the deltas add up to, per segment by its name; each must have entered before it exits.
    pub(crate) fn folded(&self) -> BTreeSet<(String, String)> {
        let mut members = BTreeSet::new();
        for line in &self.lines {
            let delta: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| delta[key].as_str().unwrap().to_owned();
            let member = (text("segment"), text("profile"));
            let changed = match delta["change"].as_str().unwrap() {
                "entered" => members.insert(member),
                _ => members.remove(&member),
            };
            assert!(changed, "a delta that changes nothing: {line}");
        }
        members
    }
}
