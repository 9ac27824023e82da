//! Durability, on a file system that loses what was not synced: what was acknowledged or delivered is in the log.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    sync::{Arc, Mutex},
    time::Duration,
};

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, SendError, Sink};
use tidewater_model::DeltaBatch;
use tidewater_storage::sim::{Fault, Operation, SimFiles};

use crate::{Engine, EngineState, Pipeline, pipeline::FixedEnvironment};

fn pipeline() -> Pipeline {
    let text = "
workers: 1
identifiers: { user_id: { from: userId } }
traits:      { orders: { count: Order Completed } }
segments:    { buyer: orders >= 1 }
";
    Pipeline::from_yaml(text, &FixedEnvironment::new()).unwrap()
}

fn order(user: u32) -> String {
    format!(r#"{{"type":"track","event":"Order Completed","messageId":"m{user}","userId":"u{user}"}}"#)
}

/// `future`, which must resolve.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

async fn start(files: &SimFiles) -> Engine {
    Engine::builder(&pipeline()).state("state").files(Arc::new(files.clone())).start().await.unwrap()
}

/// The members that have entered, by what was delivered.
struct Delivered(Arc<Mutex<Vec<(u64, String)>>>);

impl Sink for Delivered {
    async fn open(&mut self, _: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        Ok(Position::default())
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        let mut delivered = self.0.lock().unwrap();
        for batch in batches {
            for delta in batch.iter() {
                let user = delta.identifiers().next().unwrap().1.to_owned();
                delivered.push((batch.epoch(), user));
            }
        }
        Ok(Position::default())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_or_delivered_survives_a_power_loss() {
    let files = SimFiles::new();
    let delivered = Arc::new(Mutex::new(Vec::new()));
    let builder = Engine::builder(&pipeline()).state("state").files(Arc::new(files.clone()));
    let engine = builder.sink("sink", Delivered(Arc::clone(&delivered))).start().await.unwrap();
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let mut feeders = Vec::new();
    for feeder in 0..4 {
        let (engine, acknowledged) = (engine.clone(), Arc::clone(&acknowledged));
        feeders.push(tokio::spawn(async move {
            for n in 0..200 {
                let user = feeder * 1_000 + n;
                let accepted = engine.ingest(order(user)).await.unwrap();
                acknowledged.lock().unwrap().insert((accepted.epoch, format!("u{user}")));
            }
        }));
    }
    for seed in 0..12 {
        while acknowledged.lock().unwrap().len() < seed as usize * 50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // What is known before the power goes must be there after it.
        let told = acknowledged.lock().unwrap().clone();
        let out = delivered.lock().unwrap().clone();
        let lost = files.fork();
        lost.kill();
        lost.crash(seed);
        let after = start(&lost).await;
        soon(after.ready()).await.unwrap();
        for (epoch, user) in told.iter().chain(&out) {
            let found = soon(after.profile("user_id", user).into_future()).await.unwrap();
            assert!(found.is_some(), "{user} of epoch {epoch} is gone, seed {seed}");
        }
        let durable = after.status().epochs.durable;
        assert!(told.iter().chain(&out).all(|(epoch, _)| *epoch <= durable));
        soon(after.shutdown(Duration::from_secs(30))).await.unwrap();
    }
    for feeder in feeders {
        soon(feeder).await.unwrap();
    }
    soon(engine.shutdown(Duration::from_secs(30))).await.unwrap();
    assert_eq!(delivered.lock().unwrap().len(), 800);
}

#[tokio::test]
async fn after_a_failed_fsync_nothing_is_acknowledged() {
    let files = SimFiles::new();
    let engine = start(&files).await;
    let first = soon(engine.ingest(order(1))).await.unwrap();
    soon(engine.flush()).await.unwrap();
    files.fail(Operation::Sync, 0, Fault::Error(ErrorKind::Other));
    let receipt = engine.try_ingest(order(2)).unwrap();
    assert!(matches!(soon(receipt).await, Err(SendError::Failed { .. })));
    let mut state = engine.watch_state();
    soon(state.wait_for(|state| matches!(state, EngineState::Failed(_)))).await.unwrap();
    assert_eq!(engine.status().epochs.published, first.epoch);
    assert!(soon(engine.shutdown(Duration::from_secs(30))).await.is_err());
}

#[tokio::test]
async fn a_full_disk_makes_events_wait() {
    let files = SimFiles::new();
    let engine = start(&files).await;
    soon(engine.ingest(order(1))).await.unwrap();
    soon(engine.flush()).await.unwrap();
    files.set_capacity(Some(0));
    let waiting = engine.try_ingest(order(2)).unwrap();
    let trouble = async {
        while engine.status().log_trouble.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(trouble).await;
    assert_eq!(engine.status().epochs.published, 1);
    files.set_capacity(None);
    assert_eq!(soon(waiting).await.unwrap().epoch, 2);
    assert_eq!(engine.status().log_trouble, None);
    soon(engine.shutdown(Duration::from_secs(30))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_given_up_while_the_log_waits_for_room() {
    let files = SimFiles::new();
    let engine = start(&files).await;
    soon(engine.ingest(order(1))).await.unwrap();
    // The disk is full for the log, once the copy has begun.
    let waiting = Arc::new(Mutex::new(None));
    let (inside, sender) = (Arc::clone(&waiting), engine.clone());
    files.on_call(Some(Arc::new(move |operation, path| {
        let mut waiting = inside.lock().unwrap();
        if waiting.is_none() && path.starts_with("copy") {
            *waiting = Some(sender.try_ingest(order(2)).unwrap());
        }
        let is_full = waiting.is_some() && operation == Operation::Write && path.starts_with("state/log");
        is_full.then_some(Fault::Error(ErrorKind::StorageFull))
    })));
    let given_up = soon(engine.copy_to("copy")).await.unwrap_err().to_string();
    assert!(given_up.contains("the copy is given up") && given_up.contains("no space left"), "{given_up}");
    assert!(engine.status().log_trouble.is_some());
    files.on_call(None);
    let waiting = waiting.lock().unwrap().take().unwrap();
    assert_eq!(soon(waiting).await.unwrap().epoch, 2);
    let copied = soon(engine.copy_to("another")).await.unwrap();
    assert_eq!(copied.epoch, 2);
    soon(engine.shutdown(Duration::from_secs(30))).await.unwrap();
}
