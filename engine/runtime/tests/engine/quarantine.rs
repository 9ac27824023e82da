//! The quarantine with a state directory: one that is full stops nothing, what is in it can be fed again and dropped.

use std::{path::Path, sync::Arc};

use tidewater::{
    Engine, ManualClock, Millis, QuarantineFilter, QuarantinedEvent, RawEvents, RejectReason, Settings,
    Status, Timestamp, offline,
};

use crate::common::*;

const NOON: Timestamp = Timestamp(1_767_268_800_000);

/// Room for some tens of small events.
const ROOM: u64 = 4_000;

async fn start(directory: &Path, clock: &Arc<ManualClock>, settings: Settings) -> Engine {
    let builder = Engine::builder(&pipeline()).state(directory).settings(settings);
    builder.clock(Arc::clone(clock) as _).start().await.unwrap()
}

fn small() -> Settings {
    Settings { quarantine_bytes: ROOM, ..Settings::default() }
}

/// Refused as long as its day has not come.
fn early(n: u32) -> String {
    format!(r#"{{"type":"page","userId":"u{n}","messageId":"early{n}","timestamp":"2026-01-03T00:00:00Z"}}"#)
}

fn broken(n: u32) -> String {
    format!("no json {n}")
}

fn kept(engine: &Engine, filter: QuarantineFilter) -> Vec<QuarantinedEvent> {
    engine.quarantine().read(filter).unwrap().map(Result::unwrap).collect()
}

fn refused(status: &Status, reason: RejectReason) -> u64 {
    status.counts.quarantined.iter().find(|(known, _)| *known == reason).unwrap().1
}

/// Sends events that are refused in turn for one reason and for the other until many have found no room; how many were sent.
async fn fill(engine: &Engine) -> u64 {
    let mut sent: u32 = 0;
    while engine.status().counts.quarantine_lost < 20 {
        let event = if sent.is_multiple_of(2) { early(sent) } else { broken(sent) };
        assert_eq!(soon(engine.ingest(event)).await.unwrap().quarantined, 1);
        sent += 1;
    }
    sent.into()
}

#[tokio::test]
async fn a_full_quarantine_stops_nothing_and_keeps_what_began() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOON));
    let engine = start(directory.path(), &clock, small()).await;
    let sent = fill(&engine).await;
    let status = engine.status();
    assert!(status.quarantine_trouble.unwrap().contains("the quarantine is full"));
    assert_eq!(status.log_trouble, None);
    let by_reason =
        [RejectReason::FutureTime, RejectReason::BadJson].map(|reason| refused(&engine.status(), reason));
    assert_eq!(by_reason, [sent.div_ceil(2), sent / 2], "all are counted");
    let there = kept(&engine, QuarantineFilter::All);
    assert_eq!(there.len() as u64, sent - engine.status().counts.quarantine_lost);
    let ids: Vec<u64> = there.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=there.len() as u64).collect::<Vec<_>>());
    assert_eq!(there[0].bytes, early(0).as_bytes());

    // The stream, checkpoints and copies go on, and so does the next life.
    assert_eq!(soon(engine.ingest(order("u1", "m1"))).await.unwrap().events, 1);
    soon(engine.checkpoint()).await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    soon(engine.copy_to(copy.path())).await.unwrap();
    assert_eq!(soon(engine.flush()).await.unwrap().epoch, 1);
    stop(&engine).await;
    drop(engine);
    let engine = start(directory.path(), &clock, small()).await;
    assert_eq!(soon(engine.ingest(broken(1_000))).await.unwrap().quarantined, 1);
    assert_eq!(engine.status().counts.quarantine_lost, 1);
    assert_eq!(soon(engine.ingest(order("u2", "m2"))).await.unwrap().events, 1);
    assert_eq!(kept(&engine, QuarantineFilter::All), there);
    stop(&engine).await;
}

#[tokio::test]
async fn events_of_a_full_quarantine_are_fed_again_and_their_room_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOON));
    let engine = start(directory.path(), &clock, small()).await;
    fill(&engine).await;
    let before = kept(&engine, QuarantineFilter::All);
    let lost = engine.status().counts.quarantine_lost;

    // Nothing has changed: all are refused again, once, and none is lost for it.
    let redriven = soon(engine.redrive(QuarantineFilter::All)).await.unwrap();
    assert_eq!((redriven.accepted, redriven.quarantined), (0, before.len() as u64));
    let bytes = |events: &[QuarantinedEvent]| -> Vec<Vec<u8>> {
        events.iter().map(|event| event.bytes.clone()).collect()
    };
    assert_eq!(bytes(&kept(&engine, QuarantineFilter::All)), bytes(&before));
    assert_eq!(engine.status().counts.quarantine_lost, lost);

    clock.advance(Millis::DAY);
    clock.advance(Millis::DAY);
    let redriven = soon(engine.redrive(QuarantineFilter::All)).await.unwrap();
    let good = before.iter().filter(|event| event.reason == "future_time").count() as u64;
    assert_eq!((redriven.accepted, redriven.quarantined), (good, before.len() as u64 - good));
    assert_eq!(engine.status().quarantine_trouble, None);
    assert_eq!(soon(engine.ingest(broken(1_000))).await.unwrap().quarantined, 1);
    assert_eq!(engine.status().counts.quarantine_lost, lost, "there is room again");
    stop(&engine).await;
}

#[tokio::test]
async fn dropped_events_make_room() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOON));
    let engine = start(directory.path(), &clock, small()).await;
    fill(&engine).await;
    let lost = engine.status().counts.quarantine_lost;
    let of = |reason: &str| QuarantineFilter::Reason(reason.to_owned());
    let (early, broken_ones) = (kept(&engine, of("future_time")), kept(&engine, of("bad_json")).len() as u64);
    let one = QuarantineFilter::Ids([early[0].id, 1_000_000].into());
    assert_eq!(soon(engine.drop_quarantined(one.clone())).await.unwrap(), 1);
    assert_eq!(soon(engine.drop_quarantined(one)).await.unwrap(), 0);
    assert_eq!(engine.status().quarantine_trouble, None, "one that is dropped makes room for one");
    assert_eq!(soon(engine.drop_quarantined(of("bad_json"))).await.unwrap(), broken_ones);
    assert_eq!(kept(&engine, QuarantineFilter::All), early[1..]);
    assert_eq!(soon(engine.ingest(broken(1_000))).await.unwrap().quarantined, 1);
    assert_eq!(engine.status().counts.quarantine_lost, lost);
    assert_eq!(kept(&engine, of("bad_json")).len(), 1);
    stop(&engine).await;
    drop(engine);

    // Without an engine too, and without the log being read.
    assert_eq!(offline::drop_quarantined(directory.path(), &of("bad_json")).unwrap(), 1);
    let left = early.len() as u64 - 1;
    assert_eq!(offline::drop_quarantined(directory.path(), &QuarantineFilter::All).unwrap(), left);
    assert_eq!(offline::drop_quarantined(directory.path(), &QuarantineFilter::All).unwrap(), 0);
    let state = offline::open_state(directory.path()).unwrap();
    assert_eq!(state.quarantine(QuarantineFilter::All).unwrap().count(), 0);
    assert!(offline::drop_quarantined(directory.path().join("none"), &QuarantineFilter::All).is_err());
}

#[tokio::test]
async fn events_are_dropped_from_memory_too() {
    let engine = Engine::builder(&pipeline()).start().await.unwrap();
    for n in 0..5 {
        soon(engine.ingest(broken(n))).await.unwrap();
    }
    let some = QuarantineFilter::Ids([2, 4].into());
    assert_eq!(soon(engine.drop_quarantined(some)).await.unwrap(), 2);
    let left: Vec<u64> = kept(&engine, QuarantineFilter::All).iter().map(|event| event.id).collect();
    assert_eq!(left, [1, 3, 5]);
    assert_eq!(soon(engine.drop_quarantined(QuarantineFilter::All)).await.unwrap(), 3);
    stop(&engine).await;
}

#[tokio::test]
async fn an_event_is_kept_whole_if_one_of_its_size_can_be_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOON));
    let large = Settings { max_event_bytes: 4 << 20, ..Settings::default() };
    let engine = start(directory.path(), &clock, large).await;
    // More of them than are fed at a time.
    let mut batch = RawEvents::new();
    let filler = "x".repeat(3 << 20);
    for n in 0..4 {
        let event = early(n).replace("\"type\"", &format!("\"filler\":\"{filler}\",\"type\""));
        batch.push(event.as_bytes());
    }
    assert_eq!(soon(engine.ingest_batch(batch)).await.unwrap().quarantined, 4);
    assert!(kept(&engine, QuarantineFilter::All).iter().all(QuarantinedEvent::is_whole));
    // What is refused again is whole, too.
    assert_eq!(soon(engine.redrive(QuarantineFilter::All)).await.unwrap().quarantined, 4);
    clock.advance(Millis::DAY);
    clock.advance(Millis::DAY);
    let redriven = soon(engine.redrive(QuarantineFilter::All)).await.unwrap();
    assert_eq!((redriven.accepted, redriven.incomplete), (4, 0));
    stop(&engine).await;
}
