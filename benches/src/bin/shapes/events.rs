//! Events made by hand, and ordinary ones to compare them with.

use std::io::Write;

use tidewater::{RawEvents, Value};
use tidewater_benches::{
    Failure,
    clickstream::Clickstream,
    pipeline::{self, Segments},
    stepper::Stepper,
};
use tidewater_model::Decimal;

/// When the ordinary events begin; those made by hand are dated by this, too.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// Where the trait that counts all events stands in a profile.
pub(crate) const EVENTS: usize = 0;
/// Where the trait that counts the views of the last week stands.
pub(crate) const VIEWS_7D: usize = 6;

/// The value of a trait that has counted so many events.
pub(crate) fn count(events: usize) -> Value {
    Value::Number(Decimal::from_int(events as i64))
}

/// A batch of events made by hand, numbered in the order they are added.
#[derive(Default)]
pub(crate) struct Made {
    events: RawEvents,
    line: Vec<u8>,
    /// What their message ids begin with, so that those of two batches differ.
    prefix: &'static str,
}

impl Made {
    /// An empty batch.
    pub(crate) fn new(prefix: &'static str) -> Self {
        Self { prefix, ..Self::default() }
    }

    /// Adds an event of a device at a time in milliseconds, signed in as a user or not.
    pub(crate) fn add(&mut self, name: &str, time: i64, device: &str, user: Option<&str>) {
        let (number, prefix) = (self.events.len(), self.prefix);
        self.line.clear();
        // Writing to memory can't fail.
        let _ = write!(
            self.line,
            r#"{{"messageId":"{prefix}{number}","type":"track","timestamp":{time},"anonymousId":"{device}","event":"{name}""#
        );
        if let Some(user) = user {
            let _ = write!(self.line, r#","userId":"{user}""#);
        }
        self.line.push(b'}');
        self.events.push(&self.line);
    }

    /// The events.
    pub(crate) fn events(&self) -> &RawEvents {
        &self.events
    }
}

/// An engine that runs CDP-1 and knows nothing yet.
pub(crate) fn fresh() -> Result<Stepper, Failure> {
    Stepper::new(&pipeline::cdp1(Segments::Five)?)
}

/// An engine that has seen the first `events` of a clickstream, and the stream, which has `more` events left.
pub(crate) fn warm(events: usize, more: usize) -> Result<(Stepper, Clickstream), Failure> {
    let total = (events + more) as u64;
    let mut stream = Clickstream::new(total, total * 3 / 20, 7);
    let mut engine = fresh()?;
    engine.epochs(&stream.next_batch(events), 10_000)?;
    Ok((engine, stream))
}

/// Fails unless `found` is what was `expected`.
pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), Failure> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, expected {expected:?}").into()),
    }
}
