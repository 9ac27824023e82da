//! Ten times as many events as before, for a while: the queue stays within its bound, and nothing of it is lost.

use std::time::Duration;

use tidewater::{Engine, RawEvents, Settings, TrySendError};

use crate::common::*;

/// Bytes of events that may wait.
const BOUND: usize = 64 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_waits_in_front_of_a_queue_that_keeps_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { ingest_queue_bytes: BOUND, ..Settings::default() };
    let engine =
        Engine::builder(&pipeline()).settings(settings).state(directory.path()).start().await.unwrap();
    engine.ready().await.unwrap();
    let (mut number, mut turned_away, mut receipts) = (0, 0, Vec::new());
    // Steady, ten times as much at once, steady again.
    for batches in [20, 200, 20] {
        for _ in 0..batches {
            let mut events: RawEvents =
                (number..number + 50).map(|n| order(&format!("u{n}"), &format!("m{n}"))).collect();
            number += 50;
            loop {
                match engine.try_ingest_batch(events) {
                    Ok(receipt) => break receipts.push(receipt),
                    Err(TrySendError::Full { events: back, .. }) => {
                        turned_away += 1;
                        events = *back;
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            let waiting = engine.status().ingest_queue_bytes;
            assert!(waiting <= BOUND as u64, "{waiting} bytes wait");
            if batches == 20 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
    let mut accepted = 0;
    for receipt in receipts {
        accepted += receipt.await.unwrap().events;
    }
    assert_eq!(accepted, number);
    assert!(turned_away > 0, "the burst was none");
    engine.flush().await.unwrap();
    assert_eq!(engine.status().ingest_queue_bytes, 0);
    engine.shutdown(Duration::from_secs(60)).await.unwrap();
}
