//! All that a source sees of the engine.

use std::{fmt, sync::Arc};

use crate::{Clock, Ingress, Position, RawEvents, Receipt, SendError, TrySendError};

/// A source's way into the engine. Cheap to clone; all clones are the same source.
#[derive(Clone)]
pub struct SourceContext {
    name: Arc<str>,
    resume: Option<Arc<Position>>,
    ingress: Arc<dyn Ingress>,
}

impl SourceContext {
    /// Makes a context; done by the engine, and by tests of a source.
    pub fn new(name: &str, resume: Option<Position>, ingress: Arc<dyn Ingress>) -> Self {
        Self { name: name.into(), resume: resume.map(Arc::new), ingress }
    }

    /// The source's name in the pipeline.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where to go on: the position of the last batch that is durable. `None`: from the start.
    pub fn resume_from(&self) -> Option<&Position> {
        self.resume.as_deref()
    }

    /// Hands events to the engine, waiting for room; `position` is where to resume once they are durable.
    ///
    /// # Errors
    /// [`SendError::Closed`] once the engine stops: the source ends then, which is no fault of its own.
    pub async fn send(&self, events: RawEvents, position: Option<Position>) -> Result<Receipt, SendError> {
        self.ingress.send(events, position).await
    }

    /// Hands events to the engine if there is room at once.
    ///
    /// # Errors
    /// Gives the events back when the engine is full or closing.
    pub fn try_send(&self, events: RawEvents, position: Option<Position>) -> Result<Receipt, TrySendError> {
        self.ingress.try_send(events, position)
    }

    /// Resolves when the engine wants the source to stop reading; [`Source::run`](crate::Source::run) returns soon
    /// after.
    pub async fn closing(&self) {
        self.ingress.closing().await;
    }

    /// Whether [`closing`](Self::closing) has resolved; for threads that can't await.
    pub fn is_closing(&self) -> bool {
        self.ingress.is_closing()
    }

    /// Tells how far the source has read, in bytes of its input, for whoever shows progress.
    pub fn progress(&self, done_bytes: u64, total_bytes: Option<u64>) {
        self.ingress.progress(done_bytes, total_bytes);
    }

    /// An empty buffer for the next events, if possible one whose memory has been used before.
    pub fn buffer(&self) -> RawEvents {
        self.ingress.buffer()
    }

    /// The engine's clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.ingress.clock()
    }
}

impl fmt::Debug for SourceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceContext").field("name", &self.name).field("resume", &self.resume).finish()
    }
}
