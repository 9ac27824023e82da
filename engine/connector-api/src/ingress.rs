//! The engine's side of a source, as a trait: the runtime implements it, and so do the tests' recorders.

use std::{pin::Pin, sync::Arc};

use crate::{Clock, Position, RawEvents, Receipt, SendError, TrySendError};

/// A boxed future, as object-safe async methods return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where one source's events go. One per source: it knows whose events it takes.
///
/// Sources see it through their [`SourceContext`](crate::SourceContext).
pub trait Ingress: Send + Sync + 'static {
    /// Takes events, waiting for room. Batches are taken in the order of the calls. Dropping the future before it
    /// resolves takes none of them.
    fn send(
        &self,
        events: RawEvents,
        position: Option<Position>,
    ) -> BoxFuture<'_, Result<Receipt, SendError>>;

    /// Takes events if there is room at once.
    ///
    /// # Errors
    /// Gives the events back when the engine lags or closes.
    fn try_send(&self, events: RawEvents, position: Option<Position>) -> Result<Receipt, TrySendError>;

    /// Resolves when the engine wants the source to stop reading. Any number may wait for it.
    fn closing(&self) -> BoxFuture<'_, ()>;

    /// Whether [`closing`](Self::closing) has resolved; for threads that can't await.
    fn is_closing(&self) -> bool;

    /// How far the source has read, in bytes of its input. `total_bytes` is `None` where nobody knows.
    fn progress(&self, done_bytes: u64, total_bytes: Option<u64>) {
        let _ = (done_bytes, total_bytes);
    }

    /// An empty buffer, if possible one whose memory has been used before.
    fn buffer(&self) -> RawEvents {
        RawEvents::new()
    }

    /// The engine's clock.
    fn clock(&self) -> Arc<dyn Clock>;
}
