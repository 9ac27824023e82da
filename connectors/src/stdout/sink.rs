//! Stdout sink: one JSON object a line, whole lines only, flushed with every delivery.

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tidewater_connector_api::{Acknowledged, DeliveryError, Position, Sink, json};
use tidewater_model::DeltaBatch;
use tokio::task::spawn_blocking;

use super::StdoutSinkConfig;

/// Prints one JSON object a delta. At least once: nobody can take back what was printed.
pub struct StdoutSink {
    /// Locked while a delivery writes, also by one that nobody waits for any more.
    out: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl StdoutSink {
    /// Prints to standard output.
    pub fn new(_config: StdoutSinkConfig) -> Self {
        Self::to(Box::new(io::stdout()))
    }

    /// Prints to anything else.
    pub fn to(out: Box<dyn Write + Send>) -> Self {
        Self { out: Arc::new(Mutex::new(out)) }
    }
}

impl Sink for StdoutSink {
    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        Ok(acknowledged.map(|acknowledged| acknowledged.position.clone()).unwrap_or_default())
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        let mut lines = Vec::new();
        for batch in batches {
            for delta in batch.iter() {
                json::write_delta(&mut lines, batch.epoch(), batch.now(), &delta);
                lines.push(b'\n');
            }
        }
        if lines.is_empty() {
            return Ok(Position::default());
        }
        let out = Arc::clone(&self.out);
        // A pager or a full pipe may block for long.
        let written = spawn_blocking(move || {
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(&lines).and_then(|()| out.flush())
        });
        match written.await {
            Ok(Ok(())) => Ok(Position::default()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(DeliveryError::refused("the reader of standard output is gone"))
            }
            Ok(Err(error)) => Err(DeliveryError::maybe_applied(format!("cannot print: {error}"))),
            Err(error) => Err(DeliveryError::maybe_applied(format!("printing panicked: {error}"))),
        }
    }
}

impl fmt::Debug for StdoutSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StdoutSink")
    }
}
