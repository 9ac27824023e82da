//! Events in: acknowledgements, duplicates, quarantine, backpressure, and that failures reach every handle.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tidewater::{
    Clock, Engine, EngineState, Error, ErrorKind, ManualClock, Millis, QuarantineFilter, RawEvents,
    RejectReason, Settings, Source, SourceContext, Timestamp, TrySendError, Update,
};
use tidewater_connector_api::{Position, ReadError, SourceCapabilities};

use crate::common::*;

const NOON: Timestamp = Timestamp(1_767_268_800_000);

#[tokio::test]
async fn an_acknowledgement_names_the_epoch_that_holds_the_event() {
    let engine = Engine::builder(&pipeline()).start().await.unwrap();
    let first = soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    assert_eq!((first.epoch, first.events, first.duplicates, first.quarantined), (1, 1, 0, 0));
    let profile = soon(engine.profile("user_id", "u1").at_least(first.epoch).into_future()).await.unwrap();
    assert_eq!(profile.unwrap().segments, [0]);

    let again = soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    assert_eq!((again.epoch, again.events, again.duplicates), (1, 0, 1));
    let other = soon(engine.ingest(order("u2", "m1"))).await.unwrap();
    assert_eq!((other.events, other.quarantined), (0, 1));
    let broken = soon(engine.ingest("{")).await.unwrap();
    assert_eq!(broken.quarantined, 1);

    let reasons = engine.quarantine().read(QuarantineFilter::All).unwrap().map(|event| event.unwrap().reason);
    assert_eq!(reasons.collect::<Vec<_>>(), ["duplicate_conflict", "bad_json"]);
    let counts = engine.status().counts;
    assert_eq!((counts.events, counts.duplicates), (1, 1));
    let by_reason: u64 = counts.quarantined.iter().map(|(_, count)| count).sum();
    assert_eq!(by_reason, 2);
    stop(&engine).await;
}

#[tokio::test]
async fn events_are_taken_in_every_form() {
    let engine = Engine::builder(&pipeline()).start().await.unwrap();
    let text = order("u1", "m1");
    soon(engine.ingest(text.as_str())).await.unwrap();
    soon(engine.ingest(order("u1", "m2").into_bytes())).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&order("u1", "m3")).unwrap();
    let accepted = soon(engine.ingest(&json)).await.unwrap();
    let members = soon(engine.memberships("loyal").at_least(accepted.epoch).into_future()).await.unwrap();
    assert_eq!(members.members.len(), 1);
    stop(&engine).await;
}

#[tokio::test]
async fn a_large_batch_is_spread_over_epochs_of_the_largest_size() {
    let settings = Settings { max_epoch_events: 100, ..Settings::default() };
    let engine = Engine::builder(&pipeline()).settings(settings).start().await.unwrap();
    let batch: RawEvents = (0..1_050).map(|n| order(&format!("u{n}"), &format!("m{n}"))).collect();
    let accepted = soon(engine.ingest_batch(batch)).await.unwrap();
    assert_eq!(accepted.events, 1_050);
    assert_eq!(accepted.epoch, 11);
    assert_eq!(soon(engine.flush()).await.unwrap().epoch, 11);
    assert_eq!(soon(engine.stats()).await.unwrap().profiles, 1_050);
    stop(&engine).await;
}

#[tokio::test]
async fn oversized_events_are_quarantined_with_what_was_kept() {
    let settings = Settings { max_event_bytes: 200, ..Settings::default() };
    let engine = Engine::builder(&pipeline()).settings(settings).start().await.unwrap();
    let mut batch = RawEvents::new();
    batch.push(order("u1", "m1").as_bytes());
    batch.push_oversized(b"{\"type\":", 1 << 40);
    batch.push(&[b' '; 201]);
    batch.push(order("u1", "m2").as_bytes());
    let accepted = soon(engine.ingest_batch(batch)).await.unwrap();
    assert_eq!((accepted.events, accepted.quarantined), (2, 2));
    let kept: Vec<_> = engine.quarantine().read(QuarantineFilter::All).unwrap().map(Result::unwrap).collect();
    assert!(kept.iter().all(|event| event.reason == RejectReason::TooLarge.name()));
    assert_eq!(kept[0].original_len, 1 << 40);
    assert!(!kept[0].is_whole() && kept[1].is_whole());
    stop(&engine).await;
}

#[tokio::test]
async fn redriven_events_leave_the_quarantine() {
    let clock = Arc::new(ManualClock::new(NOON));
    let engine = Engine::builder(&pipeline()).clock(clock.clone()).start().await.unwrap();
    let early = r#"{"type":"page","userId":"u1","messageId":"m1","timestamp":"2026-01-03T00:00:00Z"}"#;
    let refused = soon(engine.ingest(early)).await.unwrap();
    assert_eq!(refused.quarantined, 1);
    soon(engine.ingest("nothing at all")).await.unwrap();
    clock.advance(Millis::DAY);
    let redriven = soon(engine.redrive(QuarantineFilter::All)).await.unwrap();
    assert_eq!((redriven.accepted, redriven.quarantined), (1, 1));
    let left: Vec<_> = engine.quarantine().read(QuarantineFilter::All).unwrap().map(Result::unwrap).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].reason, "bad_json");
    stop(&engine).await;
}

#[tokio::test]
async fn what_is_redriven_twice_at_a_time_is_refused_once_each() {
    let engine = Engine::builder(&pipeline()).start().await.unwrap();
    for _ in 0..3 {
        soon(engine.ingest("nothing at all")).await.unwrap();
    }
    let both =
        async { tokio::join!(engine.redrive(QuarantineFilter::All), engine.redrive(QuarantineFilter::All)) };
    let (one, other) = soon(both).await;
    assert_eq!((one.unwrap().quarantined, other.unwrap().quarantined), (3, 3));
    assert_eq!(engine.quarantine().read(QuarantineFilter::All).unwrap().count(), 3);
    stop(&engine).await;
}

#[tokio::test]
async fn a_timer_moves_members_on_an_idle_engine() {
    let clock = Arc::new(ManualClock::new(NOON));
    let engine = Engine::builder(&pipeline()).clock(clock.clone()).start().await.unwrap();
    let mut active = engine.subscribe("active").unwrap();
    soon(engine.ingest(page("u1", "m1"))).await.unwrap();
    assert_eq!(next_change(&mut active).await, ("entered", NOON));
    let cut = engine.status().epochs.sealed;
    clock.advance(Millis(3_599_999));
    // One millisecond before its time nothing happens, however often the engine looks.
    for _ in 0..3 {
        assert_eq!(soon(engine.flush()).await.unwrap().epoch, cut);
    }
    clock.advance(Millis(1));
    assert_eq!(next_change(&mut active).await, ("exited", Timestamp(NOON.0 + 3_600_000)));
    // Idle again: nothing is due any more.
    clock.advance(Millis::WEEK);
    assert_eq!(soon(engine.flush()).await.unwrap().epoch, cut + 1);
    stop(&engine).await;
}

#[tokio::test]
async fn an_event_without_a_time_is_of_when_it_came_whatever_was_refused_before() {
    let clock = Arc::new(ManualClock::new(NOON));
    let engine = Engine::builder(&pipeline()).clock(clock.clone()).start().await.unwrap();
    let mut active = engine.subscribe("active").unwrap();
    soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    assert_eq!(soon(engine.ingest("nothing at all")).await.unwrap().quarantined, 1);
    assert_eq!(soon(engine.ingest(order("u1", "m1"))).await.unwrap().duplicates, 1);
    clock.advance(Millis(5 * 3_600_000));
    let later = Timestamp(NOON.0 + 5 * 3_600_000);
    soon(engine.ingest(page("u1", "m2"))).await.unwrap();
    assert_eq!(next_change(&mut active).await, ("entered", later));
    stop(&engine).await;
}

/// A clock at which whoever looks waits until it is let go.
#[derive(Default)]
struct StoppedClock {
    runs: Mutex<bool>,
    started: Condvar,
}

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        let runs = self.runs.lock().unwrap();
        drop(self.started.wait_while(runs, |runs| !*runs).unwrap());
        NOON
    }
}

/// Sends so many batches of ten events that are of no use, each with where it stands.
struct Useless {
    batches: u8,
    all_sent: Arc<AtomicBool>,
}

impl Source for Useless {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { finite: true, replayable: true }
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        for batch in 0..self.batches {
            let events = RawEvents::from_iter(["{}"; 10]);
            if context.send(events, Some(Position(vec![batch]))).await.is_err() {
                break;
            }
        }
        self.all_sent.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_no_use_are_not_collected_without_end() {
    let clock = Arc::new(StoppedClock::default());
    let all_sent = Arc::new(AtomicBool::new(false));
    let source = Useless { batches: 50, all_sent: all_sent.clone() };
    let settings = Settings { max_epoch_events: 20, ..Settings::default() };
    let builder = Engine::builder(&pipeline()).clock(clock.clone()).settings(settings);
    let engine = builder.source("useless", source).start().await.unwrap();
    // All of them wait, so that they could be taken in at once.
    until("everything is sent", || all_sent.load(Ordering::SeqCst)).await;
    *clock.runs.lock().unwrap() = true;
    clock.started.notify_all();
    soon(engine.sources_ended()).await.unwrap();
    // Positions of two batches at a time are noted, each time with an epoch.
    assert_eq!(soon(engine.flush()).await.unwrap().epoch, 25);
    stop(&engine).await;
}

#[tokio::test]
async fn now_never_goes_back() {
    let clock = Arc::new(ManualClock::new(NOON));
    let engine = Engine::builder(&pipeline()).clock(clock.clone()).start().await.unwrap();
    let mut buyers = engine.subscribe("buyer").unwrap();
    soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    assert_eq!(next_change(&mut buyers).await, ("entered", NOON));
    clock.set(Timestamp(NOON.0 - 1_000));
    soon(engine.ingest(order("u2", "m2"))).await.unwrap();
    assert_eq!(next_change(&mut buyers).await, ("entered", NOON));
    stop(&engine).await;
}

async fn next_change(subscription: &mut tidewater::Subscription) -> (&'static str, Timestamp) {
    loop {
        if let Update::Delta(delta) = soon(subscription.next()).await.unwrap().unwrap() {
            return (delta.get().change().name(), delta.now());
        }
    }
}

#[tokio::test]
async fn under_the_event_clock_time_passes_with_events() {
    let pipeline = pipeline_of(&format!("clock: event\n{PIPELINE}"));
    let engine = Engine::builder(&pipeline).start().await.unwrap();
    let at = |user: &str, time: &str| {
        format!(
            r#"{{"type":"page","userId":"{user}","messageId":"{user}{time}","timestamp":"2026-01-01T{time}Z"}}"#
        )
    };
    let mut active = engine.subscribe("active").unwrap();
    soon(engine.ingest(at("u1", "10:00:00"))).await.unwrap();
    let ten = Timestamp::parse(b"2026-01-01T10:00:00Z").unwrap();
    assert_eq!(next_change(&mut active).await, ("entered", ten));
    // A late event does not turn it back.
    soon(engine.ingest(at("u2", "09:30:00"))).await.unwrap();
    assert_eq!(next_change(&mut active).await, ("entered", ten));
    soon(engine.ingest(at("u3", "10:30:00"))).await.unwrap();
    let mut changes = vec![next_change(&mut active).await.0, next_change(&mut active).await.0];
    changes.sort_unstable();
    assert_eq!(changes, ["entered", "exited"]);
    let without_time = soon(engine.ingest(page("u9", "m9"))).await.unwrap();
    assert_eq!(without_time.quarantined, 1);
    stop(&engine).await;
}

#[tokio::test]
async fn over_its_memory_limit_the_engine_turns_events_away_and_lives() {
    let settings = Settings { memory_limit_bytes: Some(1), sample_every_ms: 1, ..Settings::default() };
    let engine = Engine::builder(&pipeline()).settings(settings).start().await.unwrap();
    until("the limit is noticed", || engine.status().over_memory_limit).await;
    let refused = engine.try_ingest(order("u1", "m1"));
    assert!(matches!(refused, Err(TrySendError::Full { events, .. }) if events.len() == 1));
    // Those who wait are told when the engine stops.
    let waiting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.ingest(order("u1", "m1")).await }
    });
    assert_eq!(soon(engine.memberships("buyer").into_future()).await.unwrap().members, []);
    stop(&engine).await;
    assert!(matches!(soon(waiting).await.unwrap(), Err(Error::Closed)));
}

/// Else an engine over its memory limit, which takes no events, would never get below. With planted bugs in the build a
/// collection begins after every epoch, also of so little.
#[cfg(feature = "planted-bugs")]
#[tokio::test]
async fn strings_that_nobody_has_any_more_go_while_no_event_comes() {
    let pipeline = pipeline_of(
        "
identifiers: { user_id: { from: userId } }
traits: { last_url: { last: context.page.url } }
segments: { anyone: has(last_url) }
",
    );
    let engine = Engine::builder(&pipeline).workers(1).start().await.unwrap();
    let visit = |n: usize| {
        let (user, url) = (n % 30, format!("{n:0>8000}"));
        format!(
            r#"{{"type":"page","messageId":"m{n}","userId":"u{user}","context":{{"page":{{"url":"{url}"}}}}}}"#
        )
    };
    let batch: RawEvents = (0..500).map(visit).collect();
    assert_eq!(soon(engine.ingest_batch(batch)).await.unwrap().events, 500);
    let epoch = soon(engine.flush()).await.unwrap().epoch;
    soon(async {
        loop {
            let stats = engine.stats().await.unwrap();
            let bytes = stats.bytes.iter().find(|(part, _)| *part == "trait_texts").unwrap().1;
            // A page or two and an index, no longer 4 MB.
            if bytes < 1_000_000 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_eq!(engine.status().epochs.sealed, epoch);
    stop(&engine).await;
}

#[tokio::test]
async fn names_that_do_not_exist_are_answered_with_the_nearest() {
    let engine = Engine::builder(&pipeline()).start().await.unwrap();
    let error = engine.subscribe("loyaly").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(error.to_string(), "there is no segment called `loyaly`, did you mean `loyal`?");
    let error = soon(engine.profile("userid", "u1").into_future()).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no identifier called `userid`, did you mean `user_id`?");
    stop(&engine).await;
}

#[tokio::test]
async fn a_value_is_asked_for_as_events_bring_it() {
    let engine = Engine::builder(&pipeline()).start().await.unwrap();
    let event = r#"{"type":"identify","userId":"u1","messageId":"m1","traits":{"email":" Ann@Example.COM"}}"#;
    let epoch = soon(engine.ingest(event)).await.unwrap().epoch;
    let by_user = soon(engine.profile("user_id", "u1").at_least(epoch).into_future()).await.unwrap().unwrap();
    let by_email = soon(engine.profile("email", "ANN@example.com ").into_future()).await.unwrap();
    assert_eq!(by_email, Some(by_user));
    assert_eq!(soon(engine.profile("email", "nobody@example.com").into_future()).await.unwrap(), None);
    assert_eq!(soon(engine.profile("email", "no email").into_future()).await.unwrap(), None);
    stop(&engine).await;
}

#[tokio::test]
async fn two_engines_run_in_one_process() {
    let pipeline = pipeline();
    let first = Engine::builder(&pipeline).start().await.unwrap();
    let second = Engine::builder(&pipeline).workers(2).start().await.unwrap();
    let epoch = soon(first.ingest(order("u1", "m1"))).await.unwrap().epoch;
    let other = soon(second.ingest(order("u2", "m1"))).await.unwrap();
    assert_eq!((epoch, other.epoch, other.events), (1, 1, 1));
    let found = soon(first.profile("user_id", "u2").at_least(epoch).into_future()).await.unwrap();
    assert_eq!(found, None);
    stop(&first).await;
    assert_eq!(first.state(), EngineState::Stopped);
    assert!(matches!(soon(first.ingest(order("u3", "m3"))).await, Err(Error::Closed)));
    assert_eq!(soon(second.ingest(order("u3", "m3"))).await.unwrap().epoch, 2);
    assert_eq!(soon(second.stats()).await.unwrap().profiles, 2);
    stop(&second).await;
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_engine() {
    let record = SinkRecord::new();
    let engine = Engine::builder(&pipeline()).sink("sink", TestSink(record.clone())).start().await.unwrap();
    let mut state = engine.watch_state();
    let mut buyers = engine.subscribe("buyer").unwrap();
    soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    drop(engine);
    soon(state.wait_for(|state| *state == EngineState::Draining)).await.unwrap();
    // What was accepted still goes out.
    until("it is delivered", || record.epochs() == [1]).await;
    while soon(buyers.next()).await.unwrap().is_some() {}
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    for settings in [
        Settings { max_epoch_events: 0, ..Settings::default() },
        Settings { max_epoch_bytes: 1 << 40, ..Settings::default() },
        Settings { sample_every_ms: 0, ..Settings::default() },
    ] {
        let error = Engine::builder(&pipeline()).settings(settings).start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    // As in a file.
    for workers in [0, 65] {
        let error = Engine::builder(&pipeline()).workers(workers).start().await.unwrap_err();
        assert_eq!(error.to_string(), format!("{workers} workers: from 1 to 64 are possible"));
    }
    let twice = Engine::builder(&pipeline())
        .sink("a", TestSink(SinkRecord::new()))
        .sink("a", TestSink(SinkRecord::new()));
    assert_eq!(twice.start().await.unwrap_err().to_string(), "two sinks are called `a`");
}

#[tokio::test]
async fn a_shutdown_keeps_its_deadline() {
    let record = SinkRecord::new();
    record.stuck.store(true, std::sync::atomic::Ordering::SeqCst);
    let engine = Engine::builder(&pipeline()).sink("slow", TestSink(record)).start().await.unwrap();
    soon(engine.ingest(order("u1", "m1"))).await.unwrap();
    let report = soon(engine.shutdown(Duration::from_millis(50))).await.unwrap();
    assert_eq!(report.undelivered_sinks, ["slow"]);
    assert_eq!(report.epoch, 1);
    assert_eq!(engine.state(), EngineState::Stopped);
    // A second call has nothing left to do.
    assert_eq!(soon(engine.shutdown(Duration::ZERO)).await.unwrap().epoch, 1);
}
