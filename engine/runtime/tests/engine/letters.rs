//! What a destination does not take: set aside alone, never without proof that others are taken, never dropped.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tidewater::{
    DeadLetter, DeadLetterFilter, Engine, ManualClock, Millis, Settings, SinkState, SinkStatus, Timestamp,
    offline,
};
use tidewater_connector_api::{DeliveryError, RawEvents};

use crate::common::*;

const NOON: Timestamp = Timestamp(1_767_268_800_000);

/// Ingests an order of each of these users, all in one epoch; the epoch.
async fn orders(engine: &Engine, users: std::ops::Range<u32>) -> u64 {
    let events: RawEvents = users.map(|user| order(&format!("u{user}"), &format!("m{user}"))).collect();
    soon(engine.ingest_batch(events)).await.unwrap().epoch
}

fn refused() -> DeliveryError {
    DeliveryError::refused("422: not of my taste")
}

fn status(engine: &Engine) -> SinkStatus {
    engine.status().sinks[0].clone()
}

async fn letters(engine: &Engine) -> Vec<DeadLetter> {
    soon(engine.dead_letters("sink")).await.unwrap()
}

/// The user that each of the letters is about.
fn users(letters: &[DeadLetter]) -> Vec<String> {
    let user = |letter: &DeadLetter| letter.delta().unwrap().identifiers().next().unwrap().1.to_owned();
    letters.iter().map(user).collect()
}

async fn start(directory: Option<&Path>, record: &Arc<SinkRecord>, settings: Settings) -> Engine {
    let builder = Engine::builder(&pipeline()).settings(settings).sink("sink", TestSink(record.clone()));
    let builder = match directory {
        Some(directory) => builder.state(directory),
        None => builder.in_memory(),
    };
    let engine = builder.start().await.unwrap();
    soon(engine.ready()).await.unwrap();
    engine
}

#[tokio::test]
async fn refused_deltas_are_set_aside_and_all_others_are_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    for user in ["u7", "u8", "u70", "u203"] {
        record.poison(user, refused());
    }
    let engine = start(Some(directory.path()), &record, eager()).await;
    // Large and small epochs, and one that is nothing but refused.
    let ends = [0, 60, 120, 199, 203, 204, 210];
    for window in ends.windows(2) {
        orders(&engine, window[0]..window[1]).await;
    }
    let last = orders(&engine, 210..211).await;
    until("it has all", || status(&engine).acknowledged_epoch == last).await;
    assert_eq!(status(&engine).state, SinkState::Running);
    assert_eq!(record.members("buyer").len(), 207);
    assert!(record.epochs().is_sorted());
    let letters = letters(&engine).await;
    let mut found = users(&letters);
    found.sort();
    assert_eq!(found, ["u203", "u7", "u70", "u8"]);
    for letter in &letters {
        assert_eq!((letter.cause.as_str(), letter.batch().len()), ("refused", 1));
        assert!(letter.reason.contains("422: not of my taste") && letter.attempts > 0);
        assert!(letter.first_failed_at <= letter.last_failed_at && letter.superseded_by.is_none());
    }
    assert_eq!((status(&engine).dead_letters, status(&engine).deltas), (4, 207));
    // A bounded number of calls: not one a delta.
    assert!(record.attempts.load(Ordering::SeqCst) < 150, "{:?}", record.attempts);
    stop(&engine).await;
    // They are there after a restart, also for whoever looks from outside.
    drop(engine);
    assert_eq!(offline::dead_letters(directory.path(), "sink").unwrap().len(), 4);
    assert!(offline::dead_letters(directory.path(), "other").is_err());
    let engine = start(Some(directory.path()), &record, eager()).await;
    assert_eq!(status(&engine).dead_letters, 4);
    stop(&engine).await;
}

#[tokio::test]
async fn a_destination_that_refuses_everything_makes_no_dead_letters() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    record.refuse.store(true, Ordering::SeqCst);
    let engine = start(Some(directory.path()), &record, eager()).await;
    for n in 0..5 {
        orders(&engine, n * 50..n * 50 + 50).await;
    }
    until("it was asked many times", || record.attempts.load(Ordering::SeqCst) > 100).await;
    assert_eq!(status(&engine).state, SinkState::Parked("not of my taste".to_owned()));
    assert_eq!((status(&engine).dead_letters, status(&engine).acknowledged_epoch), (0, 0));
    // The token is put right: it goes on by itself.
    record.refuse.store(false, Ordering::SeqCst);
    until("it has all", || record.members("buyer").len() == 250).await;
    assert!(letters(&engine).await.is_empty());
    stop(&engine).await;
    assert_eq!(status(&engine).state, SinkState::Closed);
}

/// Whenever a token is put right, also in the middle of finding out what is refused.
#[tokio::test]
async fn a_destination_that_comes_round_is_given_what_it_refused_before() {
    // All in one epoch, in several, one in each.
    for per_epoch in [24, 4, 1] {
        for refusals in 1..60 {
            let record = SinkRecord::new();
            record.stuck.store(true, Ordering::SeqCst);
            record.refusals.store(refusals, Ordering::SeqCst);
            let engine = start(None, &record, eager()).await;
            let mut last = 0;
            for first in (0..24).step_by(per_epoch as usize) {
                last = orders(&engine, first..first + per_epoch).await;
            }
            record.release();
            until("all is settled", || status(&engine).acknowledged_epoch == last).await;
            until("there is no letter", || status(&engine).dead_letters == 0).await;
            assert_eq!(record.members("buyer").len(), 24, "{per_epoch} an epoch, {refusals} refusals");
            stop(&engine).await;
        }
    }
}

/// What is asked about again as a letter must not undo what is newer.
#[tokio::test]
async fn a_destination_that_comes_round_is_not_given_what_is_superseded() {
    for refusals in 1..30 {
        let record = SinkRecord::new();
        let clock = Arc::new(ManualClock::new(NOON));
        record.stuck.store(true, Ordering::SeqCst);
        record.refusals.store(refusals, Ordering::SeqCst);
        let builder = Engine::builder(&pipeline()).settings(eager()).clock(clock.clone());
        let engine = builder.in_memory().sink("sink", TestSink(record.clone())).start().await.unwrap();
        let mut last = 0;
        for round in 0..4 {
            soon(engine.ingest(page("u0", &format!("m{round}")))).await.unwrap();
            // The next event finds that it has left.
            clock.advance(Millis(2 * 60 * 60_000));
            last = soon(engine.ingest(order("u1", &format!("o{round}")))).await.unwrap().epoch;
        }
        record.release();
        until("all is settled", || status(&engine).acknowledged_epoch == last).await;
        until("there is no letter", || status(&engine).dead_letters == 0).await;
        let deltas = record.deltas.lock().unwrap().clone();
        let of = |segment: &str| deltas.iter().filter(move |delta| delta.1 == segment).collect::<Vec<_>>();
        let (active, buyer) = (of("active"), of("buyer"));
        assert!(active.is_sorted_by_key(|delta| delta.0), "{refusals} refusals: {active:?}");
        assert_eq!(active.last().unwrap().3, tidewater::Change::Exited);
        assert_eq!(buyer.len(), 1);
        stop(&engine).await;
    }
}

/// The destination may have it already, under a name that it will not look at again.
#[tokio::test]
async fn a_letter_does_not_come_behind_something_newer_whose_answer_was_lost() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    let clock = Arc::new(ManualClock::new(NOON));
    let start = async || {
        let builder = Engine::builder(&pipeline()).settings(eager()).clock(clock.clone());
        builder.state(directory.path()).sink("sink", TestSink(record.clone())).start().await.unwrap()
    };
    record.poison("u0", refused());
    let engine = start().await;
    let pages: RawEvents = (0..2).map(|user| page(&format!("u{user}"), &format!("m{user}"))).collect();
    let first = soon(engine.ingest_batch(pages)).await.unwrap().epoch;
    until("one is a letter", || status(&engine).acknowledged_epoch == first).await;
    record.poison.lock().unwrap().clear();
    record.failures.store(u64::MAX, Ordering::SeqCst);
    clock.advance(Millis(2 * 60 * 60_000));
    let last = soon(engine.ingest(order("u2", "m2"))).await.unwrap().epoch;
    until("it was tried", || record.failures.load(Ordering::SeqCst) < u64::MAX).await;
    assert_eq!(soon(engine.retry_dead_letters("sink", DeadLetterFilter::All)).await.unwrap(), 1);
    soon(engine.shutdown(Duration::from_millis(30))).await.unwrap();
    drop(engine);
    record.failures.store(0, Ordering::SeqCst);
    let engine = start().await;
    until("all is settled", || status(&engine).acknowledged_epoch == last).await;
    until("there is no letter", || status(&engine).dead_letters == 0).await;
    let deltas = record.deltas.lock().unwrap().clone();
    let count = |change| deltas.iter().filter(|delta| delta.1 == "active" && delta.3 == change).count();
    assert_eq!((count(tidewater::Change::Entered), count(tidewater::Change::Exited)), (1, 2), "{deltas:?}");
    stop(&engine).await;
}

#[tokio::test]
async fn one_that_is_refused_alone_waits_for_proof_that_others_are_taken() {
    for max_batches in [0, 1, 2] {
        let record = SinkRecord::new();
        record.max_batches.store(max_batches, Ordering::SeqCst);
        // Others may be refused behind it.
        (0..4).for_each(|user| record.poison(&format!("u{user}"), refused()));
        let engine = start(None, &record, eager()).await;
        let mut asked = 0;
        for user in 0..4 {
            orders(&engine, user..user + 1).await;
            asked += 2;
            until("it was asked twice", || record.attempts.load(Ordering::SeqCst) > asked).await;
            assert_eq!(status(&engine).dead_letters, 0);
            until("it waits", || matches!(status(&engine).state, SinkState::Parked(_))).await;
        }
        orders(&engine, 4..5).await;
        let last = orders(&engine, 5..6).await;
        until("it has all", || status(&engine).acknowledged_epoch == last).await;
        assert_eq!(users(&letters(&engine).await), ["u0", "u1", "u2", "u3"]);
        assert_eq!(record.members("buyer").len(), 2);
        stop(&engine).await;
    }
}

#[tokio::test]
async fn what_waits_behind_something_refused_comes_in_calls_as_small_as_ever() {
    let record = SinkRecord::new();
    record.max_batches.store(1, Ordering::SeqCst);
    record.refuse.store(true, Ordering::SeqCst);
    let engine = start(None, &record, eager()).await;
    for user in 0..30 {
        orders(&engine, user..user + 1).await;
    }
    until("it was asked often", || record.attempts.load(Ordering::SeqCst) > 100).await;
    record.refuse.store(false, Ordering::SeqCst);
    until("it has all", || record.members("buyer").len() == 30).await;
    let mut epochs = record.epochs();
    epochs.sort_unstable();
    assert_eq!(epochs, (1..=30).collect::<Vec<_>>());
    assert!(letters(&engine).await.is_empty());
    stop(&engine).await;
}

/// What one delivery had to be tried for is not held against the next.
#[tokio::test]
async fn every_delivery_counts_its_own_attempts() {
    let record = SinkRecord::new();
    record.max_batches.store(1, Ordering::SeqCst);
    record.poison("u0", refused());
    let engine = start(None, &record, eager()).await;
    orders(&engine, 0..1).await;
    until("it waits", || matches!(status(&engine).state, SinkState::Parked(_))).await;
    record.stuck.store(true, Ordering::SeqCst);
    until("it is asked once more", || record.held.load(Ordering::SeqCst)).await;
    // What is there when it has answered is tried together with it.
    for user in 1..6 {
        orders(&engine, user..user + 1).await;
    }
    until("all wait", || status(&engine).queued_epochs == 6).await;
    record.poison("u2", DeliveryError::not_applied("503: later"));
    record.poison("u4", refused());
    record.release();
    until("it was tried often", || record.attempts.load(Ordering::SeqCst) > 30).await;
    record.poison.lock().unwrap().remove("u2");
    until("the others are there", || record.members("buyer").len() == 4).await;
    until("it is noted", || status(&engine).dead_letters == 2).await;
    // With the others, alone, and once it was known that others are taken.
    soon(async {
        while letters(&engine).await[1].attempts < 3 {
            tokio::time::sleep(Duration::from_millis(2)).await
        }
    })
    .await;
    let letters = letters(&engine).await;
    assert_eq!((users(&letters), letters[1].attempts), (vec!["u0".to_owned(), "u4".to_owned()], 3));
    stop(&engine).await;
}

#[tokio::test]
async fn what_goes_on_failing_is_given_up_but_not_in_an_outage() {
    let record = SinkRecord::new();
    record.poison("u3", DeliveryError::maybe_applied("500: it crashes"));
    let settings = Settings { sink_give_up_after_ms: 0, ..eager() };
    let engine = start(None, &record, settings.clone()).await;
    orders(&engine, 0..40).await;
    until("the others are there", || record.members("buyer").len() == 39).await;
    let found = letters(&engine).await;
    assert_eq!((users(&found), found[0].cause.as_str()), (vec!["u3".to_owned()], "given_up"));
    // Nothing is taken at all.
    record.failures.store(u64::MAX, Ordering::SeqCst);
    orders(&engine, 40..80).await;
    let before = record.attempts.load(Ordering::SeqCst);
    until("it was tried often", || record.attempts.load(Ordering::SeqCst) > before + 100).await;
    assert_eq!(status(&engine).dead_letters, 1);
    assert!(matches!(status(&engine).state, SinkState::Retrying { .. }));
    record.failures.store(0, Ordering::SeqCst);
    until("they are there, too", || record.members("buyer").len() == 79).await;
    stop(&engine).await;

    // One that came alone, to a sink of few epochs a call.
    for max_batches in [0, 1] {
        let record = SinkRecord::new();
        record.max_batches.store(max_batches, Ordering::SeqCst);
        record.poison("u3", DeliveryError::maybe_applied("500: it crashes"));
        let settings = Settings { sink_give_up_after_ms: 0, ..eager() };
        let engine = start(None, &record, settings).await;
        orders(&engine, 3..4).await;
        until("it was asked twice", || record.attempts.load(Ordering::SeqCst) > 2).await;
        assert_eq!(status(&engine).dead_letters, 0);
        orders(&engine, 4..5).await;
        until("the other one is there", || record.members("buyer").len() == 1).await;
        assert_eq!(users(&letters(&engine).await), ["u3"]);
        stop(&engine).await;
    }

    // Before the time has come, it is waited for.
    let record = SinkRecord::new();
    record.poison("u3", DeliveryError::maybe_applied("500: it crashes"));
    let engine = start(None, &record, eager()).await;
    orders(&engine, 0..40).await;
    until("it was tried often", || record.attempts.load(Ordering::SeqCst) > 20).await;
    assert_eq!((status(&engine).dead_letters, record.members("buyer").len()), (0, 0));
    drop(engine);
}

#[tokio::test]
async fn a_letter_is_delivered_again_under_its_old_name() {
    let directory = tempfile::tempdir().unwrap();
    let record = SinkRecord::new();
    for user in ["u4", "u9", "u15"] {
        record.poison(user, refused());
    }
    let engine = start(Some(directory.path()), &record, eager()).await;
    let epoch = orders(&engine, 0..20).await;
    soon(engine.flush()).await.unwrap();
    let all = letters(&engine).await;
    let names: Vec<(u64, usize)> =
        all.iter().map(|letter| (letter.batch().epoch(), letter.batch().offset())).collect();
    assert!(names.iter().all(|name| name.0 == epoch));
    // Refused again, it stays; u4 is fine by now.
    record.poison.lock().unwrap().remove("u4");
    assert_eq!(soon(engine.retry_dead_letters("sink", DeadLetterFilter::All)).await.unwrap(), 3);
    until("one is delivered", || status(&engine).dead_letters == 2).await;
    until("the others were tried", || record.attempts.load(Ordering::SeqCst) > 5).await;
    soon(engine.flush()).await.unwrap();
    assert_eq!(record.members("buyer").len(), 18);
    let taken = record.places.lock().unwrap().last().cloned().unwrap();
    assert!(names.contains(&(taken.0, taken.1)));
    let mut places: Vec<usize> = record.places.lock().unwrap().iter().map(|place| place.1).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 18, "no two have one name");
    assert_eq!(status(&engine).acknowledged_epoch, epoch);
    stop(&engine).await;
    drop(engine);

    // Marked while nothing runs, the next start delivers it before anything else.
    record.poison.lock().unwrap().clear();
    let left = offline::dead_letters(directory.path(), "sink").unwrap();
    assert!(left.iter().all(|letter| letter.attempts > all[0].attempts && !letter.is_marked));
    let filter = DeadLetterFilter::Ids([left[0].id].into());
    assert_eq!(offline::retry_dead_letters(directory.path(), "sink", &filter).unwrap(), 1);
    let filter = DeadLetterFilter::Ids([left[1].id].into());
    assert_eq!(offline::drop_dead_letters(directory.path(), "sink", &filter).unwrap(), 1);
    let engine = start(Some(directory.path()), &record, eager()).await;
    orders(&engine, 30..31).await;
    soon(engine.flush()).await.unwrap();
    let epochs = record.epochs();
    assert_eq!(epochs[18..], [epoch, epoch + 1]);
    assert_eq!((status(&engine).dead_letters, record.members("buyer").len()), (0, 20));
    let error = offline::retry_dead_letters(directory.path(), "sink", &DeadLetterFilter::All).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    stop(&engine).await;
}

#[tokio::test]
async fn a_letter_does_not_undo_what_is_newer() {
    for directory in [None, Some(tempfile::tempdir().unwrap())] {
        let record = SinkRecord::new();
        let clock = Arc::new(ManualClock::new(NOON));
        let builder = || {
            let builder = Engine::builder(&pipeline()).settings(eager()).clock(clock.clone());
            let builder = builder.sink("sink", TestSink(record.clone()));
            match &directory {
                Some(directory) => builder.state(directory.path()),
                None => builder.in_memory(),
            }
        };
        let mut engine = builder().start().await.unwrap();
        let views: RawEvents = (0..20).map(|user| page(&format!("u{user}"), &format!("m{user}"))).collect();
        record.poison("u5", refused());
        record.poison("u6", refused());
        soon(engine.ingest_batch(views)).await.unwrap();
        soon(engine.flush()).await.unwrap();
        assert_eq!(status(&engine).dead_letters, 2);
        // u5 leaves, which the destination takes; u6 stays.
        soon(engine.ingest(page("u6", "again"))).await.unwrap();
        clock.advance(Millis(30 * 60_000));
        soon(engine.ingest(page("u6", "and again"))).await.unwrap();
        record.poison.lock().unwrap().clear();
        clock.advance(Millis(45 * 60_000));
        until("they leave", || {
            let deltas = record.deltas.lock().unwrap();
            deltas.iter().filter(|delta| delta.3 == tidewater::Change::Exited).count() == 19
        })
        .await;
        if directory.is_some() {
            stop(&engine).await;
            drop(engine);
            engine = builder().start().await.unwrap();
        }
        let all = letters(&engine).await;
        let superseded = all.iter().map(|letter| letter.superseded_by.is_some());
        let found: std::collections::BTreeMap<String, bool> =
            users(&all).into_iter().zip(superseded).collect();
        assert_eq!(found, [("u5".to_owned(), true), ("u6".to_owned(), false)].into());
        let before = record.deltas.lock().unwrap().len();
        soon(engine.retry_dead_letters("sink", DeadLetterFilter::All)).await.unwrap();
        until("both have gone", || status(&engine).dead_letters == 0).await;
        let deltas = record.deltas.lock().unwrap().clone();
        assert_eq!(deltas.len(), before + 1, "only that of u6 is delivered");
        assert_eq!(deltas[before].3, tidewater::Change::Entered);
        stop(&engine).await;
    }
}

#[tokio::test]
async fn full_dead_letters_stop_their_sink_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (record, other) = (SinkRecord::new(), SinkRecord::new());
    (0..20).for_each(|user| record.poison(&format!("u{}", 2 * user), refused()));
    let settings = Settings { dead_letter_bytes: 1_500, ..eager() };
    let engine = Engine::builder(&pipeline())
        .settings(settings)
        .state(directory.path())
        .sink("sink", TestSink(record.clone()))
        .sink("other", TestSink(other.clone()))
        .start()
        .await
        .unwrap();
    let last = orders(&engine, 0..40).await;
    until(
        "it waits",
        || matches!(&status(&engine).state, SinkState::Parked(reason) if reason.contains("no more room")),
    )
    .await;
    until("the other has all", || other.epochs().last() == Some(&last)).await;
    assert_eq!(status(&engine).acknowledged_epoch, 0, "what is no dead letter yet is not acknowledged");
    let mut dropped = 0;
    until("there is room for all", || status(&engine).dead_letters > 0).await;
    while status(&engine).acknowledged_epoch < last {
        dropped += soon(engine.drop_dead_letters("sink", DeadLetterFilter::All)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(dropped + status(&engine).dead_letters, 20);
    assert_eq!(record.members("buyer").len(), 20);
    stop(&engine).await;
}

#[tokio::test]
async fn without_a_state_directory_the_last_ones_are_kept() {
    let record = SinkRecord::new();
    (0..20).for_each(|user| record.poison(&format!("u{}", 2 * user), refused()));
    let settings = Settings { dead_letter_memory_bytes: 2_000, ..eager() };
    let engine = start(None, &record, settings).await;
    orders(&engine, 0..40).await;
    soon(engine.flush()).await.unwrap();
    let status = status(&engine);
    assert!(status.dead_letters > 1 && status.dead_letter_bytes <= 2_000, "{status:?}");
    assert_eq!(status.dead_letters + status.dropped_letters, 20);
    assert_eq!(letters(&engine).await.len() as u64, status.dead_letters);
    assert!(matches!(soon(engine.dead_letters("sin")).await, Err(tidewater::Error::Unknown { .. })));
    stop(&engine).await;
}
