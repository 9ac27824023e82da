//! Checkpoints from outside: when they are made, what a start does with them, and what it does with damaged ones.

use std::path::{Path, PathBuf};

use tidewater::{Engine, Error, Settings};

use crate::common::*;

async fn start(directory: &Path) -> Engine {
    let engine = Engine::builder(&pipeline()).state(directory).settings(eager()).start().await.unwrap();
    soon(engine.ready()).await.unwrap();
    engine
}

/// The same on a directory that an engine which was left has yet to let go of.
async fn start_again(engine: Engine, directory: &Path) -> Engine {
    drop(engine);
    loop {
        match Engine::builder(&pipeline()).state(directory).settings(eager()).start().await {
            Ok(engine) => {
                soon(engine.ready()).await.unwrap();
                return engine;
            }
            Err(Error::Storage(_)) => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn orders(engine: &Engine, messages: std::ops::Range<u32>) {
    for message in messages {
        soon(engine.ingest(order("u1", &format!("m{message}")))).await.unwrap();
    }
}

/// How many epochs the start replayed, and how many orders there are.
async fn replayed(engine: &Engine) -> (u64, tidewater::Value) {
    let profile = soon(engine.profile("user_id", "u1").into_future()).await.unwrap().unwrap();
    (engine.status().replay.epochs, profile.traits[0].clone())
}

fn count(orders: i64) -> tidewater::Value {
    tidewater::Value::Number(tidewater_model::Decimal::from_int(orders))
}

fn state_file(directory: &Path, epoch: u64) -> PathBuf {
    directory.join(format!("checkpoints/{epoch:020}.state"))
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_start_replays_what_came_behind_the_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let engine = start(directory.path()).await;
    assert_eq!(soon(engine.checkpoint()).await.unwrap(), 0, "there is nothing to be kept");
    orders(&engine, 0..4).await;
    let made = soon(engine.checkpoint()).await.unwrap();
    assert_eq!((made, engine.status().checkpoint.unwrap().epoch), (4, 4));
    assert_eq!(soon(engine.checkpoint()).await.unwrap(), 4, "nothing has been logged since");
    orders(&engine, 4..7).await;
    let engine = start_again(engine, directory.path()).await;
    assert_eq!(replayed(&engine).await, (3, count(7)));
    assert_eq!(engine.status().checkpoint.unwrap().epoch, 4);
    assert_eq!(
        soon(engine.ingest(order("u1", "m2"))).await.unwrap().duplicates,
        1,
        "of before the checkpoint"
    );
    assert_eq!(soon(engine.ingest(order("u1", "m5"))).await.unwrap().duplicates, 1, "of behind it");
    stop(&engine).await;
}

#[tokio::test]
async fn damaged_checkpoints_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = start(directory.path()).await;
    for epoch in [3, 6] {
        orders(&engine, epoch - 3..epoch).await;
        assert_eq!(soon(engine.checkpoint()).await.unwrap(), u64::from(epoch));
    }
    engine = start_again(engine, directory.path()).await;
    assert_eq!(replayed(&engine).await, (0, count(6)));
    damage(&state_file(directory.path(), 6));
    engine = start_again(engine, directory.path()).await;
    assert_eq!(replayed(&engine).await, (3, count(6)), "the one before it is used");
    damage(&state_file(directory.path(), 3));
    engine = start_again(engine, directory.path()).await;
    assert_eq!(replayed(&engine).await, (6, count(6)), "all of the log is read");
    // The next one holds everything, and builds on none of these.
    orders(&engine, 6..7).await;
    assert_eq!(soon(engine.checkpoint()).await.unwrap(), 7);
    engine = start_again(engine, directory.path()).await;
    assert_eq!(replayed(&engine).await, (0, count(7)));
    stop(&engine).await;
}

#[tokio::test]
async fn one_is_made_when_enough_has_been_logged() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { checkpoint_log_bytes: 1, ..eager() };
    let engine =
        Engine::builder(&pipeline()).state(directory.path()).settings(settings).start().await.unwrap();
    orders(&engine, 0..1).await;
    until("a checkpoint", || engine.status().checkpoint.unwrap().epoch > 0).await;
    stop(&engine).await;
}

#[tokio::test]
async fn without_a_state_directory_there_are_none() {
    let engine = Engine::builder(&pipeline()).in_memory().start().await.unwrap();
    assert!(matches!(soon(engine.checkpoint()).await, Err(Error::Config { .. })));
    assert!(engine.status().checkpoint.is_none());
    stop(&engine).await;
}
