//! What a sink needs that was not there for a while, or was killed, when the log is retired behind it.

use tidewater::SinkState;

use super::*;

impl Setup {
    /// The epochs of the checkpoints there are.
    fn checkpoints(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(self.path().join("checkpoints")).unwrap().flatten();
        let paths = entries.map(|entry| entry.path());
        let manifests = paths.filter(|path| path.extension().is_some_and(|ending| ending == "manifest"));
        manifests.map(|path| path.file_stem().unwrap().to_str().unwrap().parse().unwrap()).collect()
    }

    /// A log that begins behind what its sink has acknowledged, which there was nothing for since. The last epoch.
    async fn killed_without_news(&mut self) -> u64 {
        let engine = self.start().await;
        self.orders(&engine, 0..21).await;
        stop(&engine).await;
        let acks = self.acks();
        drop(engine);
        self.settings.log_keep_bytes = Some(1_000);
        let engine = self.start().await;
        self.orders(&engine, 21..40).await;
        stop(&engine).await;
        drop(engine);
        // The checkpoint with which the log begins is kept in any case, so there is to be a later one.
        self.settings.log_keep_bytes = None;
        let engine = self.start().await;
        self.orders(&engine, 40..44).await;
        stop(&engine).await;
        drop(engine);
        // A kill leaves it like this: only in good order is it recorded how far a sink has come that takes nothing.
        acks.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        let acknowledged = offline::open_state(self.path()).unwrap().acknowledged("ads").unwrap();
        assert!(acknowledged.unwrap() + 1 < self.starts());
        self.epoch()
    }
}

/// Lives without sinks, as `redrive` has them; in each somebody orders for the first time. The last epoch.
async fn lives_without_sinks(setup: &Setup, pipeline: &Pipeline, count: u32) -> u64 {
    let mut last = 0;
    for n in 0..count {
        let engine = setup.try_start(pipeline, &[], false).await.unwrap();
        soon(engine.ingest(order(&format!("v{n}"), &format!("v{n}")))).await.unwrap();
        last = soon(engine.checkpoint()).await.unwrap();
        stop(&engine).await;
    }
    last
}

#[tokio::test]
async fn an_engine_without_sinks_keeps_the_checkpoint_that_the_sinks_of_the_directory_need() {
    let mut setup = Setup::new();
    // One that is taken out again soon: nothing is left that it could begin with.
    let engine = setup.try_start(&pipeline(), &["old"], false).await.unwrap();
    setup.orders(&engine, 0..2).await;
    stop(&engine).await;
    setup.record.deltas.lock().unwrap().clear();
    setup.settings.log_keep_bytes = Some(1_000);
    let engine = setup.start().await;
    setup.orders(&engine, 2..16).await;
    stop(&engine).await;
    assert!(setup.starts() > 2);
    // From here on the checkpoints of the changed pipeline are all there is to begin with.
    setup.settings.log_keep_bytes = None;
    let engine = setup.try_start(&changed(), &["ads"], false).await.unwrap();
    setup.orders(&engine, 16..18).await;
    let epoch = soon(engine.checkpoint()).await.unwrap();
    stop(&engine).await;
    let last = lives_without_sinks(&setup, &changed(), 8).await;
    let engine = setup.try_start(&changed(), &["ads"], false).await.unwrap();
    assert_eq!(engine.status().replay.epochs, last - epoch, "what they have not seen, and no more");
    soon(engine.flush()).await.unwrap();
    assert_eq!(setup.record.members("buyer").len(), 7 + 8);
    assert_eq!(setup.record.members("loyal").len(), 7);
    stop(&engine).await;
}

#[tokio::test]
async fn an_engine_without_sinks_keeps_what_a_sink_that_follows_earlier_definitions_needs() {
    let mut setup = Setup::new();
    setup.settings.log_keep_bytes = Some(1_000);
    let engine = setup.start().await;
    setup.orders(&engine, 0..16).await;
    stop(&engine).await;
    assert!(setup.starts() > 1);
    setup.settings.log_keep_bytes = None;
    // It is down when the pipeline changes, and the engine ends without a checkpoint.
    setup.record.failures.store(u64::MAX, Ordering::SeqCst);
    drop(setup.try_start(&changed(), &["ads"], false).await.unwrap());
    lives_without_sinks(&setup, &changed(), 8).await;
    setup.record.failures.store(0, Ordering::SeqCst);
    let engine = setup.try_start(&changed(), &["ads"], false).await.unwrap();
    soon(engine.flush()).await.unwrap();
    assert_eq!(setup.record.members("loyal").len(), 7);
    assert_eq!(setup.record.members("buyer").len(), 7 + 8);
    stop(&engine).await;
}

/// The log was retired behind what the sink has acknowledged, but a checkpoint says that it lacks nothing.
#[tokio::test]
async fn an_engine_without_sinks_knows_who_lacked_nothing() {
    let mut setup = Setup::new();
    let epoch = setup.killed_without_news().await;
    let last = lives_without_sinks(&setup, &pipeline(), 24).await;
    let engine = setup.start().await;
    assert_eq!(engine.status().replay.epochs, last - epoch);
    soon(engine.flush()).await.unwrap();
    assert_eq!((setup.record.members("buyer").len(), setup.record.members("loyal").len()), (7 + 24, 7));
    stop(&engine).await;
}

/// As of then, and not as of what it has acknowledged, its members can be computed.
#[tokio::test]
async fn a_sink_that_lacked_nothing_gets_what_a_change_brings() {
    let mut setup = Setup::new();
    setup.killed_without_news().await;
    let changed = pipeline_of(&PIPELINE.replace("orders >= 3", "orders >= 7"));
    let engine = setup.try_start(&changed, &["ads"], false).await.unwrap();
    soon(engine.flush()).await.unwrap();
    assert_eq!((setup.record.members("buyer").len(), setup.record.members("loyal").len()), (7, 2));
    stop(&engine).await;
}

/// It fails before it has what the change brings, and nothing of that is in its outbox.
#[tokio::test]
async fn a_sink_that_fails_at_a_change_gets_what_it_brings_from_a_later_start() {
    let mut setup = Setup::new();
    let last = setup.retired().await;
    let is_failed = |engine: &Engine| matches!(engine.status().sinks[0].state, SinkState::Failed(_));
    setup.record.panic.store(true, Ordering::SeqCst);
    for life in 0..2 {
        let engine = setup.try_start(&changed(), &["ads"], false).await.unwrap();
        for n in 0..4 {
            let name = format!("v{life}-{n}");
            soon(engine.ingest(order(&name, &name))).await.unwrap();
            until("it has failed", || is_failed(&engine)).await;
            soon(engine.checkpoint()).await.unwrap();
        }
        stop(&engine).await;
    }
    setup.record.panic.store(false, Ordering::SeqCst);
    let engine = setup.try_start(&changed(), &["ads"], false).await.unwrap();
    soon(engine.flush()).await.unwrap();
    assert_eq!((setup.record.members("buyer").len(), setup.record.members("loyal").len()), (7 + 8, 7));
    // It has come there: what it was corrected from is not needed any more.
    soon(engine.ingest(order("v", "v"))).await.unwrap();
    soon(engine.checkpoint()).await.unwrap();
    let epochs = setup.checkpoints();
    assert!(!epochs.is_empty() && epochs.iter().all(|epoch| *epoch > last), "{epochs:?}");
    stop(&engine).await;
}

/// While it runs; what a start finds there no more is still in the log.
#[tokio::test]
async fn a_sink_whose_outbox_is_found_damaged_holds_what_it_needs() {
    let mut setup = Setup::new();
    setup.settings.sink_memory_bytes = 500;
    setup.record.failures.store(u64::MAX, Ordering::SeqCst);
    let engine = setup.start().await;
    for n in 1..=30 {
        soon(engine.ingest(order(&format!("v{n}"), &format!("m{n}")))).await.unwrap();
        if n % 10 == 0 {
            soon(engine.checkpoint()).await.unwrap();
        }
    }
    drop(engine);
    setup.settings.log_keep_bytes = Some(0);
    setup.record.failures.store(0, Ordering::SeqCst);
    setup.record.stuck.store(true, Ordering::SeqCst);
    let engine = setup.start().await;
    until("it is given the first", || setup.record.held.load(Ordering::SeqCst)).await;
    let outbox = std::fs::read_dir(setup.path().join("outbox/ads")).unwrap().flatten();
    let last = outbox.map(|entry| entry.path()).max().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 8;
    std::fs::write(last, bytes).unwrap();
    setup.record.release();
    until("it has failed", || matches!(engine.status().sinks[0].state, SinkState::Failed(_))).await;
    for n in 31..=34 {
        soon(engine.ingest(order(&format!("v{n}"), &format!("m{n}")))).await.unwrap();
        until("full files are sealed", || setup.files("log").len() == 1).await;
        soon(engine.checkpoint()).await.unwrap();
    }
    assert!((2..=21).contains(&setup.starts()), "{}", setup.starts());
    drop(engine);
    let engine = setup.start().await;
    assert_eq!(engine.status().replay.epochs, 14, "behind the newest checkpoint that it has the deltas of");
    soon(engine.flush()).await.unwrap();
    assert_eq!(setup.record.epochs(), (1..=34).collect::<Vec<_>>());
    stop(&engine).await;
}
