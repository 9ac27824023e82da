//! A life of an engine: a scenario, and what happens to the engine behind each of its epochs.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use tidewater::{
    DeltaBatch, Engine, Error, ManualClock, Pipeline, Profile, Random, RawEvents, Settings, Sink, Timestamp,
    offline::{self, Identity, Membership},
    pipeline::FixedEnvironment,
};
use tidewater_connector_api::{Acknowledged, DeliveryError, Position, json::write_delta};
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
    /// The sink takes nothing until it is told to.
    SinkDown,
    /// The sink takes what it is given.
    SinkUp,
    /// The engine is stopped in good order, and starts again on so many workers.
    Stop(usize),
    /// The engine is left as it is, and starts again on so many workers.
    Leave(usize),
}

/// What may happen.
pub(crate) fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => Just(Happens::Nothing),
        3 => Just(Happens::Checkpoint),
        3 => Just(Happens::Checkpointed),
        2 => Just(Happens::SinkDown),
        1 => Just(Happens::SinkUp),
        2 => (1..=3usize).prop_map(Happens::Stop),
        3 => (1..=3usize).prop_map(Happens::Leave),
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

/// What is left of a life.
#[derive(Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) lines: Vec<String>,
    memberships: Vec<Membership>,
    profiles: Vec<Profile>,
    identities: Vec<Identity>,
}

async fn start(pipeline: &Pipeline, clock: &Arc<ManualClock>, lines: &Lines, at: (&Path, usize)) -> Engine {
    loop {
        // By time and bytes none is made: those that happen are enough.
        let mut settings =
            Settings { checkpoint_every_ms: u64::MAX, checkpoint_log_bytes: u64::MAX, ..Settings::default() };
        (settings.retry.first_ms, settings.retry.longest_ms) = (1, 2);
        let builder = Engine::builder(pipeline)
            .settings(settings)
            .clock(Arc::clone(clock) as _)
            .random(Arc::new(Fixed));
        match builder.workers(at.1).sink("lines", lines.clone()).state(at.0).start().await {
            Ok(engine) => return engine,
            // One that was left takes a moment to let go of it.
            Err(Error::Storage(error)) if matches!(*error, StorageError::Locked { .. }) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Lives a life in a directory of its own, to its end.
pub(crate) fn live(scenario: &Scenario, all: &[Happens]) -> End {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    runtime.block_on(live_in(scenario, all, directory.path()))
}

async fn live_in(scenario: &Scenario, all: &[Happens], directory: &Path) -> End {
    let pipeline = Pipeline::from_yaml(&yaml(&scenario.spec), &FixedEnvironment::new()).unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(START + 5_000)));
    let lines = Lines::default();
    let mut engine = start(&pipeline, &clock, &lines, (directory, 1)).await;
    for (epoch, happens) in scenario.epochs.iter().zip(all) {
        clock.advance(epoch.wait);
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
            Happens::SinkDown => lines.is_down.store(true, Ordering::SeqCst),
            Happens::SinkUp => lines.is_down.store(false, Ordering::SeqCst),
            Happens::Stop(workers) => {
                // A sink that is down is not waited for any longer than this.
                engine.shutdown(Duration::from_millis(100)).await.unwrap();
                engine = start(&pipeline, &clock, &lines, (directory, workers)).await;
            }
            Happens::Leave(workers) => {
                drop(engine);
                engine = start(&pipeline, &clock, &lines, (directory, workers)).await;
            }
        }
    }
    lines.is_down.store(false, Ordering::SeqCst);
    engine.flush().await.unwrap();
    engine.shutdown(Duration::from_secs(60)).await.unwrap();
    let mut state = offline::open_state(directory).unwrap();
    End {
        lines: lines.delivered.lock().unwrap().values().flatten().cloned().collect(),
        memberships: state.memberships().unwrap(),
        profiles: state.profiles().unwrap(),
        identities: state.identities().unwrap(),
    }
}
