//! Test a pipeline: the engine's own acceptance and dataflow, one call at a time, with a clock that you move.
//!
//! In your crate these functions are `#[test]`s, on the pipeline file that you deploy (`Pipeline::from_file`).

use std::error::Error;

use tidewater::{
    DeltaBatch, Pipeline, RejectReason, Timestamp, pipeline::FixedEnvironment, testing::TestEngine,
};

const PIPELINE: &str = "
identifiers:
  user_id:      { from: userId }
  anonymous_id: { from: anonymousId }
traits:
  views_7d:  { count: Page Viewed, window: 7d }
  orders:    { count: Order Completed }
  last_seen: { last_time: '*' }
segments:
  hot:    views_7d >= 2 and orders == 0
  lapsed: orders >= 1 and now - last_seen > 30d
";

type Tested = Result<(), Box<dyn Error>>;

fn main() -> Tested {
    leaves_when_the_window_ends()?;
    lapses_while_nothing_happens()?;
    signing_in_brings_two_halves_together()?;
    a_late_event_counts_for_its_own_time()?;
    bad_events_are_refused_with_a_reason()?;
    println!("all as expected");
    Ok(())
}

/// No event comes, and no clock runs: the engine says when time alone changes something next, and is moved there.
fn leaves_when_the_window_ends() -> Tested {
    let mut engine = engine("2026-03-01T00:00:00Z")?;
    accept(&mut engine, r#"{"type":"page","userId":"u1","timestamp":"2026-03-01T00:00:00Z"}"#)?;
    assert!(changes(&engine.seal()?).is_empty());
    accept(&mut engine, r#"{"type":"page","userId":"u1","timestamp":"2026-02-28T12:00:00Z"}"#)?;
    assert_eq!(changes(&engine.seal()?), ["hot entered"]);

    let end = engine.next_timer().ok_or("the first view leaves the window")?;
    assert_eq!(end, Timestamp::parse(b"2026-03-07T12:00:00Z")?);
    assert!(changes(&engine.advance(Timestamp(end.0 - 1))?).is_empty(), "not a millisecond early");
    assert_eq!(changes(&engine.advance(end)?), ["hot exited"]);
    Ok(())
}

fn lapses_while_nothing_happens() -> Tested {
    let mut engine = engine("2026-03-01T00:00:00Z")?;
    let order =
        r#"{"type":"track","event":"Order Completed","userId":"u1","timestamp":"2026-03-01T00:00:00Z"}"#;
    accept(&mut engine, order)?;
    assert!(changes(&engine.seal()?).is_empty());
    let due = engine.next_timer().ok_or("who buys once lapses one day")?;
    assert_eq!(changes(&engine.advance(due)?), ["lapsed entered"]);
    Ok(())
}

/// Neither half is hot; together they are, whichever of the three events came first.
fn signing_in_brings_two_halves_together() -> Tested {
    let device = r#"{"type":"page","anonymousId":"d1","timestamp":"2026-03-01T00:00:00Z"}"#;
    let user = r#"{"type":"page","userId":"u1","timestamp":"2026-03-01T00:00:01Z"}"#;
    let link = r#"{"type":"identify","userId":"u1","anonymousId":"d1","timestamp":"2026-03-01T00:00:02Z"}"#;
    for order in [[device, user, link], [link, user, device], [user, link, device]] {
        let mut engine = engine("2026-03-01T00:01:00Z")?;
        let mut last = Vec::new();
        for event in order {
            accept(&mut engine, event)?;
            last = changes(&engine.seal()?);
        }
        assert_eq!(last, ["hot entered"]);
        let (by_user, by_device) = (engine.profile("user_id", "u1")?, engine.profile("anonymous_id", "d1")?);
        assert_eq!(by_user.map(|profile| profile.id), by_device.map(|profile| profile.id));
    }
    Ok(())
}

fn a_late_event_counts_for_its_own_time() -> Tested {
    let mut engine = engine("2026-03-20T00:00:00Z")?;
    for _ in 0..2 {
        // Eight days old: outside the window from the start.
        accept(&mut engine, r#"{"type":"page","userId":"u1","timestamp":"2026-03-12T00:00:00Z"}"#)?;
        accept(&mut engine, r#"{"type":"page","userId":"u1","timestamp":"2026-03-19T00:00:00Z"}"#)?;
    }
    // And what came twice is one event: only one view is left.
    assert!(changes(&engine.seal()?).is_empty());
    Ok(())
}

fn bad_events_are_refused_with_a_reason() -> Tested {
    let mut engine = engine("2026-03-01T00:00:00Z")?;
    assert_eq!(engine.accept(br#"{"type":"page"}"#), Err(RejectReason::NoIdentifier));
    let ahead = br#"{"type":"page","userId":"u1","timestamp":"2026-04-01T00:00:00Z"}"#;
    assert_eq!(engine.accept(ahead), Err(RejectReason::FutureTime));
    Ok(())
}

/// An engine whose wall clock stands at `wall`.
fn engine(wall: &str) -> Result<TestEngine, Box<dyn Error>> {
    let mut engine = TestEngine::new(&Pipeline::from_yaml(PIPELINE, &FixedEnvironment::new())?, 1)?;
    engine.set_wall(Timestamp::parse(wall.as_bytes())?);
    Ok(engine)
}

fn accept(engine: &mut TestEngine, event: &str) -> Tested {
    engine.accept(event.as_bytes()).map_err(|reason| format!("refused: {}", reason.name()))?;
    Ok(())
}

fn changes(batch: &DeltaBatch) -> Vec<String> {
    batch.iter().map(|delta| format!("{} {}", delta.segment(), delta.change().name())).collect()
}
