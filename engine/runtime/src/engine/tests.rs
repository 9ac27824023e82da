//! Failures inside the engine: they reach every handle, and none of them hangs.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, Sink};
use tidewater_model::DeltaBatch;

use crate::{
    Engine, EngineState, Error, Pipeline, RawEvents, Settings, TrySendError, pipeline::FixedEnvironment,
};

fn pipeline() -> Pipeline {
    let text = "
identifiers: { user_id: { from: userId } }
traits:      { orders: { count: Order Completed } }
segments:    { loyal: orders >= 3 }
";
    Pipeline::from_yaml(text, &FixedEnvironment::new()).unwrap()
}

fn order(message: u32) -> String {
    format!(r#"{{"type":"track","event":"Order Completed","messageId":"m{message}","userId":"u1"}}"#)
}

/// `future`, which must resolve.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

fn is_of_the_panic(error: &Error) -> bool {
    matches!(error, Error::Failed { reason } if reason.contains("worker 0 panicked: planned"))
}

#[tokio::test]
async fn a_worker_that_panics_fails_every_handle() {
    for workers in [1, 3] {
        let directory = tempfile::tempdir().unwrap();
        let builder = Engine::builder(&pipeline()).workers(workers).state(directory.path());
        let engine = builder.start().await.unwrap();
        let logged = soon(engine.ingest(order(0))).await.unwrap();
        let mut loyal = engine.subscribe("loyal").unwrap();
        let ahead = engine.clone();
        let ahead = tokio::spawn(async move { ahead.memberships("loyal").at_least(1_000).await });

        let answer = soon(engine.shared.ask(0, |_| panic!("planned"))).await;
        assert!(is_of_the_panic(&answer.map(|(answer, _): ((), _)| answer).unwrap_err()));
        assert!(matches!(engine.state(), EngineState::Failed(_)));
        assert!(is_of_the_panic(&soon(engine.ingest(order(1))).await.unwrap_err()));
        assert!(matches!(engine.try_ingest(order(1)), Err(TrySendError::Failed { .. })));
        assert!(is_of_the_panic(&soon(engine.memberships("loyal").into_future()).await.unwrap_err()));
        assert!(is_of_the_panic(&soon(engine.profile("user_id", "u1").into_future()).await.unwrap_err()));
        assert!(is_of_the_panic(&soon(ahead).await.unwrap().unwrap_err()));
        assert!(is_of_the_panic(&soon(engine.flush()).await.unwrap_err()));
        let updates = async {
            loop {
                match loyal.next().await {
                    Err(error) => break error,
                    Ok(update) => assert!(update.is_some()),
                }
            }
        };
        assert!(is_of_the_panic(&soon(updates).await));
        assert!(is_of_the_panic(&soon(engine.shutdown(Duration::from_secs(30))).await.unwrap_err()));
        drop(engine);

        // What was acknowledged is there after a new start.
        let engine = Engine::builder(&pipeline()).state(directory.path()).start().await.unwrap();
        let found = soon(engine.profile("user_id", "u1").at_least(logged.epoch).into_future()).await.unwrap();
        assert!(found.is_some());
        soon(engine.shutdown(Duration::from_secs(30))).await.unwrap();
    }
}

/// A destination that is down.
struct Down;

impl Sink for Down {
    async fn open(&mut self, _: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        Ok(Position::default())
    }

    async fn deliver(&mut self, _: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        Err(DeliveryError::not_applied("503: later"))
    }
}

#[tokio::test]
async fn a_failed_engine_that_is_dropped_lets_its_directory_go() {
    let directory = tempfile::tempdir().unwrap();
    let builder = || Engine::builder(&pipeline()).state(directory.path()).sink("down", Down);
    let engine = builder().start().await.unwrap();
    for message in 0..3 {
        soon(engine.ingest(order(message))).await.unwrap();
    }
    soon(engine.flush()).await.unwrap();
    let answer = soon(engine.shared.ask(0, |_| panic!("planned"))).await;
    assert!(is_of_the_panic(&answer.map(|(answer, _): ((), _)| answer).unwrap_err()));
    drop(engine);
    let again = async {
        loop {
            match builder().start().await {
                Ok(engine) => break engine,
                Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let engine = soon(again).await;
    assert!(soon(engine.shutdown(Duration::from_millis(50))).await.is_ok());
}

#[tokio::test]
async fn events_that_wait_are_failed_with_the_engine() {
    let engine = Engine::builder(&pipeline()).start().await.unwrap();
    let (entered, hold) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let busy = engine.clone();
    let busy = tokio::spawn(async move {
        let (entered, hold) = (entered.0, hold.1);
        busy.shared
            .ask(0, move |_| {
                entered.send(()).unwrap();
                let _ = hold.recv();
                panic!("planned")
            })
            .await
            .map(|(answer, _): ((), _)| answer)
    });
    soon(tokio::task::spawn_blocking(move || entered.1.recv())).await.unwrap().unwrap();
    let mut receipts = Vec::new();
    for message in 0..50 {
        receipts.push(engine.try_ingest(order(message)).unwrap());
    }
    drop(hold.0);
    assert!(is_of_the_panic(&soon(busy).await.unwrap().unwrap_err()));
    // Without a log they are acknowledged once they are in an epoch, the others must fail; none may hang.
    for receipt in receipts {
        let _ = soon(receipt).await;
    }
    assert!(soon(engine.shutdown(Duration::from_secs(30))).await.is_err());
}

#[tokio::test]
async fn a_dataflow_that_lags_slows_ingest_down() {
    let settings = Settings {
        ingest_queue_bytes: 64 << 10,
        max_epoch_events: 10,
        queued_epochs: 2,
        ..Settings::default()
    };
    let engine = Engine::builder(&pipeline()).settings(settings).start().await.unwrap();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let busy = engine.clone();
    let busy =
        tokio::spawn(async move { busy.shared.ask(0, move |_| held.recv().is_ok()).await.map(|_| ()) });
    let mut taken = 0u32;
    let mut receipts = Vec::new();
    loop {
        let batch = RawEvents::from_iter((0..10).map(|n| order(taken * 10 + n)));
        match engine.try_ingest_batch(batch) {
            Ok(receipt) => receipts.push(receipt),
            Err(TrySendError::Full { events, .. }) => {
                assert_eq!(events.len(), 10);
                // The sequencer may have made room in the meantime; full for good is what is waited for.
                if engine.status().ingest_queue_bytes > 60 << 10 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        taken += 1;
        assert!(taken < 10_000, "the queue has no bound");
    }
    assert!(engine.status().ingest_queue_bytes <= 64 << 10);
    drop(hold);
    soon(busy).await.unwrap().unwrap();
    for receipt in receipts {
        assert_eq!(soon(receipt).await.unwrap().events, 10);
    }
    assert_eq!(soon(engine.stats()).await.unwrap().profiles, 1);
    soon(engine.shutdown(Duration::from_secs(30))).await.unwrap();
}
