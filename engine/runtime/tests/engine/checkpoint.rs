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

/// Makes checkpoints until one holds everything, which must be soon while state is small; how the last one went.
async fn until_whole(engine: &Engine, first: u32) -> Result<u64, Error> {
    for message in first..first + 20 {
        orders(engine, message..message + 1).await;
        let made = soon(engine.checkpoint()).await?;
        let status = engine.status().checkpoint.unwrap();
        if status.written_bytes == status.total_bytes {
            return Ok(made);
        }
    }
    panic!("none holds everything");
}

#[tokio::test]
async fn when_nodes_that_were_written_go_bad_the_next_whole_checkpoint_does_without_them() {
    let directory = tempfile::tempdir().unwrap();
    let engine = start(directory.path()).await;
    orders(&engine, 0..3).await;
    assert_eq!(soon(engine.checkpoint()).await.unwrap(), 3);
    let path = state_file(directory.path(), 3);
    let mut bytes = std::fs::read(&path).unwrap();
    // Behind the file's header and that of the first piece, which are nodes.
    bytes[70] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let made = until_whole(&engine, 3).await.unwrap();
    let engine = start_again(engine, directory.path()).await;
    assert_eq!(engine.status().checkpoint.unwrap().epoch, made);
    assert_eq!(replayed(&engine).await, (0, count(made as i64)));
    for message in 0..made {
        let again = soon(engine.ingest(order("u1", &format!("m{message}")))).await.unwrap();
        assert_eq!(again.duplicates, 1, "message {message} is remembered");
    }
    stop(&engine).await;
}

#[tokio::test]
async fn when_all_that_was_written_goes_bad_the_engine_goes_on_and_a_restart_repairs_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = start(directory.path()).await;
    orders(&engine, 0..3).await;
    assert_eq!(soon(engine.checkpoint()).await.unwrap(), 3);
    std::fs::remove_file(state_file(directory.path(), 3)).unwrap();
    let failed = until_whole(&engine, 3).await.unwrap_err().to_string();
    assert!(failed.contains("no") && failed.contains("before a restart"), "{failed}");
    let epoch = engine.status().checkpoint.unwrap().epoch;
    assert!(engine.status().checkpoint.unwrap().trouble.unwrap().contains("restart"));
    orders(&engine, 100..102).await;
    let again = soon(engine.checkpoint()).await.unwrap_err().to_string();
    assert_eq!(again, failed, "nothing is tried again");
    engine = start_again(engine, directory.path()).await;
    let orders_made = i64::try_from(epoch).unwrap() + 1 + 2;
    assert_eq!(replayed(&engine).await, (orders_made as u64, count(orders_made)));
    orders(&engine, 102..103).await;
    let made = soon(engine.checkpoint()).await.unwrap();
    engine = start_again(engine, directory.path()).await;
    assert_eq!((made as i64, replayed(&engine).await), (orders_made + 1, (0, count(orders_made + 1))));
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
async fn a_copy_goes_on_where_it_was_made_and_the_original_does_not_notice() {
    let directory = tempfile::tempdir().unwrap();
    let (state, copy) = (directory.path().join("state"), directory.path().join("copy"));
    let engine = start(&state).await;
    orders(&engine, 0..4).await;
    let copied = soon(engine.copy_to(&copy)).await.unwrap();
    assert_eq!(copied.epoch, 4);
    assert!(copied.bytes > copied.linked_bytes && copied.linked_bytes > 0);
    orders(&engine, 4..6).await;
    let occupied = soon(engine.copy_to(&copy)).await.unwrap_err().to_string();
    assert!(occupied.contains("is not empty"), "{occupied}");
    let other = start(&copy).await;
    assert_eq!(replayed(&other).await, (0, count(4)), "it begins with the checkpoint");
    assert_eq!(soon(other.ingest(order("u1", "m3"))).await.unwrap().duplicates, 1);
    assert_eq!(soon(other.ingest(order("u1", "m4"))).await.unwrap().duplicates, 0, "of behind it");
    orders(&other, 10..12).await;
    soon(other.checkpoint()).await.unwrap();
    orders(&engine, 6..7).await;
    assert_eq!((replayed(&other).await.1, replayed(&engine).await.1), (count(7), count(7)));
    stop(&other).await;
    stop(&engine).await;
    // Neither has written into the other's files.
    for path in [&state, &copy] {
        let mut left = tidewater::offline::open_state(path).unwrap();
        assert_eq!(left.profile("user_id", "u1").unwrap().unwrap().traits[0], count(7));
    }
    let third = directory.path().join("third");
    let copied = tidewater::offline::copy_state(&copy, &third).unwrap();
    assert_eq!(tidewater::offline::open_state(&third).unwrap().epoch(), copied.epoch);
}

#[tokio::test]
async fn without_a_state_directory_there_are_none() {
    let engine = Engine::builder(&pipeline()).in_memory().start().await.unwrap();
    assert!(matches!(soon(engine.copy_to("nowhere")).await, Err(Error::Config { .. })));
    assert!(matches!(soon(engine.checkpoint()).await, Err(Error::Config { .. })));
    assert!(engine.status().checkpoint.is_none());
    stop(&engine).await;
}
