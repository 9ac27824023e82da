//! The load: so many events a second of the same people for ever, and a sink that takes its time.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use tidewater::{SendError, Sink, Source, SourceContext};
use tidewater_benches::clickstream::Random;
use tidewater_connector_api::{
    Acknowledged, DeliveryError, Position, ReadError, SinkCapabilities, SourceCapabilities,
};
use tidewater_model::DeltaBatch;

/// How often events are sent: each time a hundredth of a second's worth.
const TICK: Duration = Duration::from_millis(10);
/// Every person has so many devices, and one user id.
const DEVICES: u64 = 2;

/// Sends events at a steady rate. First every identifier once, so that the live set is whole from then on.
pub(crate) struct Steady {
    pub(crate) people: u64,
    pub(crate) per_second: u64,
    pub(crate) lasts: Duration,
    pub(crate) random: Random,
}

impl Source for Steady {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { finite: true, replayable: false }
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let started = Instant::now();
        let (mut sent, mut line) = (0_u64, String::new());
        loop {
            let elapsed = started.elapsed();
            if elapsed >= self.lasts {
                return Ok(());
            }
            let due = (elapsed.as_secs_f64() * self.per_second as f64) as u64;
            let mut batch = context.buffer();
            while sent < due {
                line.clear();
                self.write(sent, &mut line);
                batch.push(line.as_bytes());
                sent += 1;
            }
            if !batch.is_empty() {
                match context.send(batch, None).await {
                    Ok(receipt) => drop(receipt),
                    Err(SendError::Closed) => return Ok(()),
                    Err(error) => return Err(ReadError::failed(error.to_string())),
                }
            }
            tokio::time::sleep(TICK).await;
        }
    }
}

impl Steady {
    /// Events say no time, so they happen when they are accepted.
    fn write(&mut self, number: u64, line: &mut String) {
        let all = self.people * DEVICES;
        let (place, signs_in) =
            if number < all { (number, true) } else { (self.random.below(all), self.random.below(10) == 0) };
        let (person, device) = (place / DEVICES, place % DEVICES);
        let name = match self.random.below(100) {
            0..=3 => "Order Completed",
            4..=13 => "Product Added",
            _ => "Page Viewed",
        };
        let (page, cents) = (self.random.below(5_000), 500 + self.random.below(20_000));
        // Writing to memory can't fail.
        let _ = write!(
            line,
            r#"{{"messageId":"m{number}","type":"track","anonymousId":"a{person}-{device}","event":"{name}","properties":{{"path":"/p/{page}","revenue":{}.{:02}}}"#,
            cents / 100,
            cents % 100,
        );
        if signs_in {
            let _ = write!(line, r#","userId":"u{person}""#);
        }
        line.push('}');
    }
}

/// Takes what it is given, but every delivery takes a while.
pub(crate) struct Slow(pub(crate) Duration);

impl Sink for Slow {
    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities { exactly_once: false }
    }

    async fn open(&mut self, _: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        Ok(Position::default())
    }

    async fn deliver(&mut self, _: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        tokio::time::sleep(self.0).await;
        Ok(Position::default())
    }
}
