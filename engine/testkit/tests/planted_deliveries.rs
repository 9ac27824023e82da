//! Every planted bug of deliveries is found.
//!
//! Engines work on threads of their own, so a bug is planted for the whole process and all are tried in one test.
#![allow(clippy::unwrap_used)]

mod lives;

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tidewater::{
    DeltaBatch, Engine, Error, Pipeline, RawEvents, Settings, Sink, SinkState, offline,
    pipeline::FixedEnvironment,
};
use tidewater_connector_api::{Acknowledged, DeliveryError, Position};
use tidewater_operators::planted::{Bug, plant_everywhere};
use tidewater_testkit::generate::scenario;

use lives::{EPOCHS, Happens, live};

#[test]
fn every_planted_bug_of_deliveries_is_found() {
    for bug in Bug::OF_DELIVERIES {
        let is_fine = || match bug {
            Bug::OutboxAheadOfEpoch => (0..60).all(outbox_of),
            _ => every_delta_is_somewhere(),
        };
        assert!(is_fine(), "without {bug:?}");
        let _planted = plant_everywhere(bug);
        // A panic counts as found: it would be one in production, too.
        let found = std::panic::catch_unwind(AssertUnwindSafe(|| !is_fine())).unwrap_or(true);
        assert!(found, "{bug:?}");
        println!("{bug:?}");
    }
}

/// A life with a sink that is down while a checkpoint is made, and comes up again in the next one: as if it had not been.
fn outbox_of(seed: u64) -> bool {
    let scenario = scenario(EPOCHS, 10, seed);
    let mut happens = [Happens::Nothing; EPOCHS];
    let at = seed as usize % (EPOCHS - 6);
    happens[at] = Happens::SinkDown;
    happens[at + 2] = Happens::Checkpointed;
    happens[at + 3] = Happens::Leave(1 + seed as usize % 2);
    happens[at + 4] = Happens::SinkUp;
    live(&scenario, &happens) == live(&scenario, &[Happens::Nothing; EPOCHS])
}

fn pipeline() -> Pipeline {
    let text = "
workers: 1
identifiers: { user_id: { from: userId } }
traits: { orders: { count: Order Completed } }
segments: { buyer: orders >= 1 }
";
    Pipeline::from_yaml(text, &FixedEnvironment::new()).unwrap()
}

/// What a destination has, and how it behaves.
#[derive(Clone, Default)]
struct Destination {
    users: Arc<Mutex<BTreeSet<String>>>,
    refuses_even: bool,
    is_down: Arc<AtomicBool>,
    attempts: Arc<Mutex<u64>>,
}

impl Sink for Destination {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        Ok(acknowledged.map_or(Position::default(), |acknowledged| acknowledged.position.clone()))
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        *self.attempts.lock().unwrap() += 1;
        if self.is_down.load(Ordering::SeqCst) {
            return Err(DeliveryError::maybe_applied("no answer"));
        }
        let users: Vec<String> = batches
            .iter()
            .flat_map(|batch| batch.iter())
            .flat_map(|delta| delta.identifiers().map(|(_, value)| value.to_owned()).collect::<Vec<_>>())
            .collect();
        let is_even = |user: &String| user[1..].parse::<u32>().unwrap() % 2 == 0;
        if self.refuses_even && users.iter().any(is_even) {
            return Err(DeliveryError::refused("even"));
        }
        self.users.lock().unwrap().extend(users);
        Ok(Position::default())
    }
}

async fn start(directory: &Path, destination: &Destination, dead_letter_bytes: u64) -> Engine {
    loop {
        let mut settings = Settings { dead_letter_bytes, ..Settings::default() };
        (settings.retry.first_ms, settings.retry.longest_ms) = (1, 2);
        let builder = Engine::builder(&pipeline()).state(directory).settings(settings);
        match builder.sink("sink", destination.clone()).start().await {
            Ok(engine) => return engine,
            Err(Error::Storage(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

fn orders(count: u32) -> RawEvents {
    let order = |user| {
        format!(r#"{{"type":"track","event":"Order Completed","messageId":"m{user}","userId":"u{user}"}}"#)
    };
    (0..count).map(order).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs") })
}

/// The dead letters are full when the process dies. After the restart, with room, every delta is delivered or a letter.
fn every_delta_is_somewhere() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let destination = Destination { refuses_even: true, ..Destination::default() };
    block_on(async {
        let engine = start(directory.path(), &destination, 900).await;
        engine.ingest_batch(orders(40)).await.unwrap();
        while !matches!(engine.status().sinks[0].state, SinkState::Parked(_)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(engine);
        let engine = start(directory.path(), &destination, 1 << 20).await;
        engine.ready().await.unwrap();
        engine.flush().await.unwrap();
        engine.shutdown(Duration::from_secs(60)).await.unwrap();
    });
    let letters = offline::dead_letters(directory.path(), "sink").unwrap();
    let dead: BTreeSet<String> = letters
        .iter()
        .map(|letter| letter.delta().unwrap().identifiers().next().unwrap().1.to_owned())
        .collect();
    destination.users.lock().unwrap().len() == 20 && dead.len() == 20
}

/// The process dies while a delivery is not answered. After the restart the destination has it.
#[test]
fn what_was_being_delivered_comes_again() {
    assert!(comes_again());
}

fn comes_again() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let destination = Destination::default();
    destination.is_down.store(true, Ordering::SeqCst);
    block_on(async {
        let engine = start(directory.path(), &destination, 1 << 20).await;
        engine.ingest_batch(orders(10)).await.unwrap();
        while *destination.attempts.lock().unwrap() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(engine);
        destination.is_down.store(false, Ordering::SeqCst);
        let engine = start(directory.path(), &destination, 1 << 20).await;
        engine.ready().await.unwrap();
        engine.flush().await.unwrap();
        engine.shutdown(Duration::from_secs(60)).await.unwrap();
    });
    destination.users.lock().unwrap().len() == 10
}
