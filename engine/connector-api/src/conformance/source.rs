//! The rules of a source, each checked against a recording engine.

use std::sync::Arc;

use super::{Recorded, Recorder, Violation, ensure, recorder::flatten, within};
use crate::{Position, ReadError, Source, SourceContext};

/// How many positions are tried at most: each costs a run.
const POSITIONS_MAX: usize = 24;

/// Checks sources that find `expected` in their input. `make` gives a fresh source on the same input each time; make
/// it send several batches, or there is little to resume from.
///
/// # Errors
/// The first rule that is broken.
pub async fn check<S: Source>(make: impl AsyncFn() -> S, expected: &[Vec<u8>]) -> Result<(), Violation> {
    let (finite, replayable) = {
        let capabilities = make().await.capabilities();
        (capabilities.finite, capabilities.replayable)
    };
    let until = if finite { usize::MAX } else { expected.len() };
    let (result, whole) = drive(&make, None, until).await?;
    ended(&result)?;
    same("sends every event, in order", &flatten(&whole), expected)?;
    if replayable {
        check_resume(&make, &whole, finite).await?;
        check_bad_position(&make).await?;
    }
    check_closing(&make, &whole, finite, replayable).await
}

/// Checks a source that can't repeat its input, such as a server: `feed` brings exactly `expected` into it, once it
/// runs.
///
/// # Errors
/// The first rule that is broken.
pub async fn check_fed<S: Source>(
    mut source: S,
    feed: impl Future<Output = ()>,
    expected: &[Vec<u8>],
) -> Result<(), Violation> {
    let recorder = Recorder::new();
    let context = SourceContext::new("conformance", None, Arc::clone(&recorder) as _);
    let feeding = async {
        feed.await;
        recorder.wait_for(expected.len()).await;
        recorder.close();
    };
    let run = async { tokio::join!(source.run(context), feeding) };
    let (result, ()) = within("sends what it gets, and returns once the engine closes", run).await?;
    ended(&result)?;
    same("sends every event, in order", &recorder.events(), expected)
}

/// Runs a fresh source; closes once it has sent `until` events.
async fn drive<S: Source>(
    make: &impl AsyncFn() -> S,
    resume: Option<Position>,
    until: usize,
) -> Result<(Result<(), ReadError>, Vec<Recorded>), Violation> {
    let recorder = Recorder::new();
    let mut source = make().await;
    let context = SourceContext::new("conformance", resume, Arc::clone(&recorder) as _);
    let closing = async {
        if until == usize::MAX {
            return;
        }
        recorder.wait_for(until).await;
        recorder.close();
    };
    let run = async { tokio::join!(source.run(context), closing) };
    let (result, ()) = within("reads on, and returns at the end or once the engine closes", run).await?;
    Ok((result, recorder.batches()))
}

async fn check_resume<S: Source>(
    make: &impl AsyncFn() -> S,
    whole: &[Recorded],
    finite: bool,
) -> Result<(), Violation> {
    let step = whole.len().div_ceil(POSITIONS_MAX).max(1);
    for (place, batch) in whole.iter().enumerate().step_by(step) {
        let rest = flatten(&whole[place + 1..]);
        let position = position_of(batch)?;
        let until = if finite { usize::MAX } else { rest.len() };
        let (result, resumed) = drive(make, Some(position), until).await?;
        ended(&result)?;
        same("resumes with exactly the events behind the position", &flatten(&resumed), &rest)?;
    }
    Ok(())
}

async fn check_bad_position<S: Source>(make: &impl AsyncFn() -> S) -> Result<(), Violation> {
    let garbage = Position(vec![0xff; 7]);
    let (result, batches) = drive(make, Some(garbage), 0).await?;
    let rule = "says BadPosition to a position it can't read";
    ensure(matches!(result, Err(ReadError::BadPosition { .. })), rule, || format!("{result:?}"))?;
    ensure(batches.is_empty(), rule, || format!("sent {} batches first", batches.len()))
}

/// Closes after every number of batches, and once before the start.
async fn check_closing<S: Source>(
    make: &impl AsyncFn() -> S,
    whole: &[Recorded],
    finite: bool,
    replayable: bool,
) -> Result<(), Violation> {
    let expected = flatten(whole);
    let step = whole.len().div_ceil(POSITIONS_MAX).max(1);
    for count in (0..whole.len()).step_by(step) {
        let recorder = Recorder::new();
        recorder.close_after(count);
        if count == 0 {
            recorder.close();
        }
        let mut source = make().await;
        let context = SourceContext::new("conformance", None, Arc::clone(&recorder) as _);
        let result = within("returns once the engine closes", source.run(context)).await?;
        drop(source);
        ended(&result)?;
        let taken = recorder.batches();
        ensure(taken.len() == count, "sends nothing once the engine is closed", || {
            format!("{} batches after closing at {count}", taken.len())
        })?;
        let Some(last) = taken.last().filter(|_| replayable) else { continue };
        let mut events = flatten(&taken);
        let until = if finite { usize::MAX } else { expected.len() - events.len() };
        let (result, rest) = drive(make, Some(position_of(last)?), until).await?;
        ended(&result)?;
        events.extend(flatten(&rest));
        same("goes on exactly after it was closed", &events, &expected)?;
    }
    Ok(())
}

fn position_of(batch: &Recorded) -> Result<Position, Violation> {
    batch.position.clone().ok_or_else(|| Violation {
        rule: "a replayable source gives a position with every batch",
        detail: format!("a batch of {} events came without", batch.events.len()),
    })
}

fn ended(result: &Result<(), ReadError>) -> Result<(), Violation> {
    ensure(result.is_ok(), "returns Ok at the end of its input and when closed", || format!("{result:?}"))
}

fn same(rule: &'static str, got: &[Vec<u8>], expected: &[Vec<u8>]) -> Result<(), Violation> {
    let show = |event: Option<&Vec<u8>>| {
        event.map_or_else(
            || "nothing".to_owned(),
            |event| String::from_utf8_lossy(&event[..event.len().min(80)]).into_owned(),
        )
    };
    let differs = (0..got.len().max(expected.len())).find(|place| got.get(*place) != expected.get(*place));
    match differs {
        None => Ok(()),
        Some(place) => Err(Violation {
            rule,
            detail: format!(
                "event {place} of {} is {}, expected of {}: {}",
                got.len(),
                show(got.get(place)),
                expected.len(),
                show(expected.get(place))
            ),
        }),
    }
}
