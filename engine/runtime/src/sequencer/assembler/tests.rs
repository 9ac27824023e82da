//! Acceptance by a wall clock that is set by hand, and the same again from the log, with no checkpoint.
#![allow(clippy::unwrap_used)]

use tidewater_model::{Dedup as Remember, HashKey, IdentifierSpec, Millis, Normalize, Path, PipelineSpec};

use super::*;

/// The start of a half of a window in every test: 2023-11-14.
const START: i64 = 1_700_000_000_000;

fn spec() -> PipelineSpec {
    let user = IdentifierSpec {
        name: "user_id".to_owned(),
        from: vec![Path::parse("userId").unwrap()],
        normalize: Normalize::None,
        block: Vec::new(),
    };
    PipelineSpec { identifiers: vec![user], ..PipelineSpec::default() }
}

/// An assembler with the log of what it has accepted. Times are counted from [`START`].
struct Life {
    spec: PipelineSpec,
    assembler: Assembler,
    log: Vec<(EpochHeader, Vec<String>)>,
    /// Accepted since the last epoch was cut.
    open: Vec<String>,
}

impl Life {
    fn new(spec: PipelineSpec) -> Self {
        let plan = Plan::compile(spec.clone(), HashKey::FIXED).unwrap();
        Self { spec, assembler: Assembler::new(&plan, 1), log: Vec::new(), open: Vec::new() }
    }

    fn send(&mut self, wall: i64, event: &str) -> Outcome {
        let mut scratch = Vec::new();
        let padded = PaddedEvent::copied(event.as_bytes(), &mut scratch);
        let mut outcome = None;
        let wall = Timestamp(START + wall);
        self.assembler.take(wall, std::iter::once((0, padded)), |_, decided| outcome = Some(decided));
        let outcome = outcome.unwrap();
        if outcome == Outcome::Accepted {
            self.open.push(event.to_owned());
        }
        outcome
    }

    fn seal(&mut self, wall: i64) -> Cut {
        let cut = self.assembler.cut(Timestamp(START + wall));
        self.log.push((cut.header.clone(), std::mem::take(&mut self.open)));
        cut
    }

    /// What a start makes of the log, perhaps with another dedup window.
    fn restarted(&self, dedup: Remember) -> Self {
        let mut life = Self::new(PipelineSpec { dedup, ..self.spec.clone() });
        life.assembler.note_changes();
        for (header, events) in &self.log {
            let mut buffers = vec![Vec::new(); events.len()];
            let padded = events.iter().zip(&mut buffers);
            let padded = padded.map(|(event, buffer)| PaddedEvent::copied(event.as_bytes(), buffer));
            life.assembler.replay(header, padded);
        }
        life.log.clone_from(&self.log);
        life
    }

    /// What a start makes of a checkpoint.
    fn resumed(&mut self) -> Self {
        let mut life = Self::new(self.spec.clone());
        let Snapshot { now, dedup_half, messages, .. } = self.assembler.snapshot(true);
        life.assembler.now = now;
        life.assembler.dedup.resume(dedup_half);
        for (half, entries) in messages {
            entries.into_iter().for_each(|entry| life.assembler.dedup.read(half, entry));
        }
        life
    }
}

const SENT: &str = r#"{"type":"track","userId":"u","messageId":"m"}"#;

#[test]
fn a_message_sent_again_behind_the_window_is_remembered_from_then_on_also_after_a_replay() {
    let window = Remember::For(Millis(2_000));
    let mut life = Life::new(PipelineSpec { dedup: window, ..spec() });
    // The epoch ends in the next half of a window, and that is all that the log knows of when it was accepted.
    assert_eq!(life.send(999, SENT), Outcome::Accepted);
    life.seal(1_001);
    assert_eq!(life.send(2_500, SENT), Outcome::Duplicate);
    assert_eq!(life.send(3_000, SENT), Outcome::Accepted);
    life.seal(3_000);
    // A checkpoint behind a replay has both.
    let resumed = life.restarted(window).resumed();
    for mut life in [life.restarted(window), resumed, life] {
        assert_eq!(life.send(4_500, SENT), Outcome::Duplicate, "1.5 s after it was accepted");
        assert_eq!(life.send(7_000, SENT), Outcome::Accepted, "4 s after it was accepted");
    }
}

#[test]
fn a_longer_window_begins_with_the_last_of_the_messages_that_the_shorter_one_accepted() {
    let mut life = Life::new(PipelineSpec { dedup: Remember::For(Millis(2_000)), ..spec() });
    for at in [1_000, 5_000] {
        assert_eq!(life.send(at, SENT), Outcome::Accepted);
        life.seal(at);
    }
    let mut longer = life.restarted(Remember::For(Millis(6_000)));
    assert_eq!(longer.send(10_900, SENT), Outcome::Duplicate, "5.9 s after it was accepted");
}

#[test]
fn a_clock_set_back_within_an_epoch_dates_no_event_in_the_future() {
    let mut life = Life::new(PipelineSpec { max_future: Millis(0), ..spec() });
    let undated = r#"{"type":"track","userId":"u"}"#;
    assert_eq!(life.send(1_000, undated), Outcome::Accepted);
    // Of the epoch's time as the first one, though the clock has not shown that for the second time yet.
    assert_eq!(life.send(999, undated), Outcome::Accepted);
    let dated = |at| format!(r#"{{"type":"track","userId":"u","timestamp":{}}}"#, START + at);
    assert_eq!(life.send(999, &dated(1_000)), Outcome::Refused(RejectReason::FutureTime));
    assert_eq!(life.send(999, &dated(999)), Outcome::Accepted);
    let cut = life.seal(999);
    assert_eq!(
        (cut.header.now, cut.header.accepted_at),
        (Timestamp(START + 1_000), Timestamp(START + 1_000))
    );
    assert_eq!(cut.inputs[0].events.len(), 3);
}
