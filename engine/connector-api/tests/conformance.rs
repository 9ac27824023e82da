//! The suites let good connectors pass and name the rule that a bad one breaks.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use tidewater_connector_api::{
    Acknowledged, BoxSink, BoxSource, DeliveryError, Position, RawEvents, ReadError, SendError, Sink,
    SinkCapabilities, Source, SourceCapabilities, SourceContext,
    conformance::{self, sink::Arrival},
};
use tidewater_model::DeltaBatch;

/// How a source or sink misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    SkipsAnEvent,
    SwapsEvents,
    RepeatsTheLastBatch,
    ForgetsThePosition,
    GivesNoPosition,
    TakesAnyPosition,
    CallsClosingAnError,
}

/// Events `0..9`, two a batch.
struct Counter(Fault);

impl Source for Counter {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { finite: true, replayable: true }
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let fault = self.0;
        let mut next = match context.resume_from().map(Position::as_bytes) {
            None => 0,
            Some([byte]) if fault == Fault::RepeatsTheLastBatch => byte.saturating_sub(2),
            Some([_]) if fault == Fault::ForgetsThePosition => 0,
            Some([byte]) => *byte,
            Some(_) if fault == Fault::TakesAnyPosition => 0,
            Some(_) => return Err(ReadError::BadPosition { reason: "not one byte".into() }),
        };
        while next < 9 {
            let end = (next + 2).min(9);
            let mut events: Vec<u8> = (next..end).collect();
            if fault == Fault::SwapsEvents {
                events.reverse();
            }
            let kept = events.iter().filter(|event| fault != Fault::SkipsAnEvent || **event != 5);
            let events: RawEvents = kept.map(|event| [*event]).collect();
            next = end;
            let position = (fault != Fault::GivesNoPosition).then(|| Position(vec![next]));
            match context.send(events, position).await {
                Ok(receipt) => drop(receipt),
                Err(SendError::Closed) if fault != Fault::CallsClosingAnError => return Ok(()),
                Err(error) => return Err(ReadError::failed(error.to_string())),
            }
        }
        Ok(())
    }
}

async fn check_source(fault: Fault) -> Option<&'static str> {
    let expected: Vec<Vec<u8>> = (0..9).map(|event| vec![event]).collect();
    let result = conformance::source::check(async || BoxSource::new(Counter(fault)), &expected).await;
    result.err().map(|violation| violation.rule)
}

#[tokio::test]
async fn sources_are_held_to_their_rules() {
    for (fault, rule) in [
        (Fault::None, None),
        (Fault::SkipsAnEvent, Some("sends every event, in order")),
        (Fault::SwapsEvents, Some("sends every event, in order")),
        (Fault::RepeatsTheLastBatch, Some("resumes with exactly the events behind the position")),
        (Fault::ForgetsThePosition, Some("resumes with exactly the events behind the position")),
        (Fault::GivesNoPosition, Some("a replayable source gives a position with every batch")),
        (Fault::TakesAnyPosition, Some("says BadPosition to a position it can't read")),
        (Fault::CallsClosingAnError, Some("returns Ok at the end of its input and when closed")),
    ] {
        assert_eq!(check_source(fault).await, rule, "{fault:?}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SinkFault {
    None,
    /// Promises more than it does.
    DoesNotCutBack,
    LosesTheLastEpoch,
    ReversesEpochs,
    CountsAttempts,
}

/// Deltas in a list that outlives the sink; the position is its length.
struct List {
    fault: SinkFault,
    exactly_once: bool,
    rows: Arc<Mutex<Vec<Arrival>>>,
    committed: usize,
    attempts: u64,
}

impl Sink for List {
    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities { exactly_once: self.exactly_once }
    }

    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        let length = acknowledged.map(|acknowledged| acknowledged.position.as_bytes()[0] as usize);
        self.committed = length.unwrap_or_else(|| self.rows.lock().unwrap().len());
        Ok(Position(vec![self.committed as u8]))
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        self.attempts += 1;
        let mut batches = batches.to_vec();
        match self.fault {
            SinkFault::ReversesEpochs => batches.reverse(),
            SinkFault::LosesTheLastEpoch => drop(batches.pop()),
            _ => {}
        }
        let mut rows = self.rows.lock().unwrap();
        if self.exactly_once && self.fault != SinkFault::DoesNotCutBack {
            rows.truncate(self.committed);
        }
        for delta in batches.iter().flat_map(|batch| batch.iter().map(move |delta| (batch.epoch(), delta))) {
            let attempt = if self.fault == SinkFault::CountsAttempts { self.attempts } else { 0 };
            rows.push(Arrival {
                key: Some(format!("{}-{attempt}", delta.0)),
                epoch: delta.0,
                segment: delta.1.segment().to_owned(),
                profile: delta.1.profile().to_string(),
                change: delta.1.change().name().to_owned(),
            });
        }
        self.committed = rows.len();
        Ok(Position(vec![rows.len() as u8]))
    }
}

async fn check_sink(fault: SinkFault, exactly_once: bool) -> Option<&'static str> {
    let rows: Arc<Mutex<Vec<Arrival>>> = Arc::default();
    let make = async || {
        let rows = Arc::clone(&rows);
        BoxSink::new(List { fault, exactly_once, rows, committed: 0, attempts: 0 })
    };
    let read = async || rows.lock().unwrap().clone();
    conformance::sink::check(make, read).await.err().map(|violation| violation.rule)
}

#[tokio::test]
async fn sinks_are_held_to_their_rules() {
    let once = "every delta stands once at the destination, in order";
    let ordered = "every delta arrives, for the first time in order";
    for (fault, exactly_once, rule) in [
        (SinkFault::None, true, None),
        (SinkFault::None, false, None),
        (SinkFault::DoesNotCutBack, true, Some(once)),
        (SinkFault::LosesTheLastEpoch, true, Some(once)),
        (SinkFault::LosesTheLastEpoch, false, Some(ordered)),
        (SinkFault::ReversesEpochs, false, Some(ordered)),
        (SinkFault::CountsAttempts, false, Some("a repeated delta comes under the same key")),
    ] {
        assert_eq!(check_sink(fault, exactly_once).await, rule, "{fault:?} {exactly_once}");
    }
}
