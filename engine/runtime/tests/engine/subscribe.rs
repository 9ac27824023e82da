//! Subscriptions: whoever folds the updates holds the exact membership at every mark.

use std::collections::BTreeSet;

use tidewater::{Change, Engine, ProfileId, Settings, Subscription, Update};

use crate::common::*;

/// Folds updates up to the mark of `epoch`, holding every change against what is there.
struct Fold {
    members: BTreeSet<ProfileId>,
    epoch: u64,
    lagged: u64,
    snapshots: u64,
}

impl Fold {
    fn new() -> Self {
        Self { members: BTreeSet::new(), epoch: 0, lagged: 0, snapshots: 0 }
    }

    async fn until(&mut self, subscription: &mut Subscription, last: u64) {
        while self.epoch < last {
            match soon(subscription.next()).await.unwrap().expect("the engine runs") {
                Update::Snapshot { epoch, members, .. } => {
                    assert!(members.is_sorted() && epoch >= self.epoch);
                    self.members = members.into_iter().collect();
                    self.epoch = epoch;
                    self.snapshots += 1;
                }
                Update::Delta(delta) => {
                    assert!(self.snapshots > 0 && delta.epoch() > self.epoch);
                    let profile = delta.get().profile();
                    let fits = match delta.get().change() {
                        Change::Entered => self.members.insert(profile),
                        Change::Exited => self.members.remove(&profile),
                    };
                    assert!(fits, "a change out of turn in epoch {}", delta.epoch());
                }
                Update::EpochComplete { epoch, .. } => {
                    assert!(epoch > self.epoch);
                    self.epoch = epoch;
                }
                Update::Lagged(epochs) => self.lagged += epochs,
                _ => unreachable!("there are no other updates"),
            }
        }
    }
}

#[tokio::test]
async fn a_subscription_opened_under_load_misses_nothing() {
    for workers in [1, 2] {
        let engine = Engine::builder(&pipeline()).workers(workers).start().await.unwrap();
        let feeder = tokio::spawn({
            let engine = engine.clone();
            async move {
                let mut last = 0;
                for n in 0..2_000 {
                    let (user, message) = (format!("u{}", n % 400), format!("m{n}"));
                    last = engine.ingest(order(&user, &message)).await.unwrap().epoch;
                }
                last
            }
        });
        let mut subscriptions = Vec::new();
        for n in 0..10 {
            until("the load is on", || engine.status().counts.events >= n * 100).await;
            subscriptions.push(engine.subscribe("loyal").unwrap());
        }
        let last = soon(feeder).await.unwrap();
        let exact = soon(engine.memberships("loyal").at_least(last).into_future()).await.unwrap();
        assert_eq!(exact.members.len(), 400);
        for mut subscription in subscriptions {
            let mut fold = Fold::new();
            fold.until(&mut subscription, last).await;
            assert_eq!((fold.snapshots, fold.lagged), (1, 0));
            assert!(fold.members.iter().eq(&exact.members));
        }
        stop(&engine).await;
    }
}

#[tokio::test]
async fn a_subscriber_that_does_not_keep_up_gets_a_new_snapshot() {
    let settings = Settings { subscriber_deltas: 5, ..Settings::default() };
    let engine = Engine::builder(&pipeline()).settings(settings).start().await.unwrap();
    let mut subscription = engine.subscribe("buyer").unwrap();
    let mut fold = Fold::new();
    // The snapshot is taken before the first event.
    soon(engine.flush()).await.unwrap();
    let mut last = 0;
    for n in 0..100 {
        last = soon(engine.ingest(order(&format!("u{n}"), &format!("m{n}")))).await.unwrap().epoch;
    }
    soon(engine.flush()).await.unwrap();
    fold.until(&mut subscription, last).await;
    assert_eq!((fold.snapshots, fold.lagged), (2, 95));
    assert_eq!(fold.members.len(), 100);
    // From there on it keeps up.
    let epoch = soon(engine.ingest(order("late", "m1000"))).await.unwrap().epoch;
    fold.until(&mut subscription, epoch).await;
    assert_eq!((fold.snapshots, fold.members.len()), (2, 101));
    stop(&engine).await;
}

#[tokio::test]
async fn a_subscriber_to_a_rare_segment_does_not_keep_the_batches_of_all_others() {
    let settings = Settings { subscriber_bytes: 1, ..Settings::default() };
    let engine = Engine::builder(&pipeline()).settings(settings).start().await.unwrap();
    let mut subscription = engine.subscribe("loyal").unwrap();
    let mut fold = Fold::new();
    soon(engine.flush()).await.unwrap();
    let mut last = 0;
    for n in 0..12 {
        last = soon(engine.ingest(order(&format!("u{}", n / 3), &format!("m{n}")))).await.unwrap().epoch;
    }
    soon(engine.flush()).await.unwrap();
    // It holds the first epoch in which someone became loyal, and the second one is too much.
    fold.until(&mut subscription, last).await;
    assert_eq!((fold.snapshots, fold.lagged, fold.members.len()), (2, 7, 4));
    // From there on it keeps up.
    for n in 12..24 {
        let epoch = soon(engine.ingest(order(&format!("u{}", n / 3), &format!("m{n}")))).await.unwrap().epoch;
        fold.until(&mut subscription, epoch).await;
    }
    assert_eq!((fold.snapshots, fold.members.len()), (2, 8));
    stop(&engine).await;
}

#[tokio::test]
async fn quiet_epochs_are_told_together_and_other_segments_not_at_all() {
    let settings = Settings { subscriber_deltas: 1, ..Settings::default() };
    let engine = Engine::builder(&pipeline()).settings(settings).start().await.unwrap();
    let mut loyal = engine.subscribe("loyal").unwrap();
    let mut last = 0;
    for n in 0..500 {
        last = soon(engine.ingest(order(&format!("u{n}"), &format!("m{n}")))).await.unwrap().epoch;
    }
    soon(engine.flush()).await.unwrap();
    let mut fold = Fold::new();
    fold.until(&mut loyal, last).await;
    assert_eq!((fold.lagged, fold.members.len()), (0, 0));
    stop(&engine).await;
}

#[tokio::test]
async fn the_end_of_the_engine_is_the_end_of_the_subscription() {
    let engine = Engine::builder(&pipeline()).start().await.unwrap();
    let mut buyers = engine.subscribe("buyer").unwrap();
    soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    stop(&engine).await;
    let mut told = Vec::new();
    while let Some(update) = soon(buyers.next()).await.unwrap() {
        told.push(update);
    }
    // Everything published before the end is told.
    assert!(told.iter().any(|update| matches!(update, Update::Delta(_))));
    assert!(matches!(told.last(), Some(Update::EpochComplete { epoch: 1, .. })));
    assert!(engine.subscribe("buyer").is_err());
}
