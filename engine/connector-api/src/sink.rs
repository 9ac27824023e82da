//! What a sink is held to.

use std::sync::Arc;

use tidewater_model::DeltaBatch;

use crate::{Acknowledged, BoxFuture, DeliveryError, Position, SinkCapabilities};

/// Takes membership deltas somewhere.
///
/// The rules, each checked by the conformance suite:
/// - The engine calls [`open`](Self::open) once, then [`deliver`](Self::deliver) with consecutive epochs, in order,
///   one call at a time. Epochs without deltas may be left out.
/// - What `open` returns is where the destination stands; the engine stores it, with the epoch acknowledged so far (0
///   if none), before it delivers. So a crash before the first acknowledgement is told from a first start.
/// - `Ok` acknowledges everything through the last batch; the engine stores the position and never delivers those
///   epochs again to a sink opened with it.
/// - After an error, or a crash before the acknowledgement was stored, the same batches come again. The sink makes
///   that harmless as well as its destination allows: by undoing what was not acknowledged, or under the same keys.
/// - A sink does not retry by itself for long: it returns the error, and the engine waits and calls again.
pub trait Sink: Send + 'static {
    /// What this sink promises.
    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities::default()
    }

    /// Gets ready, once, before the first delivery; `acknowledged` is what the engine recorded last. `None`: the
    /// engine has never opened this sink. Returns where the destination stands now, to be recorded before the first
    /// delivery.
    ///
    /// # Errors
    /// [`DeliveryError::Refused`] if the destination is not in the state that was acknowledged; the others to be
    /// called again.
    fn open(
        &mut self,
        acknowledged: Option<&Acknowledged>,
    ) -> impl Future<Output = Result<Position, DeliveryError>> + Send;

    /// Delivers the deltas of consecutive epochs, all of them or, with an error, possibly some.
    ///
    /// # Errors
    /// See [`DeliveryError`]: the variant says whether the same batches may be delivered again.
    fn deliver(
        &mut self,
        batches: &[Arc<DeltaBatch>],
    ) -> impl Future<Output = Result<Position, DeliveryError>> + Send;

    /// How many epochs it wants in one call at most.
    fn max_batches(&self) -> usize {
        64
    }
}

/// Any sink, so that sinks of different types can stand in one list.
pub struct BoxSink(Box<dyn ErasedSink>);

impl BoxSink {
    /// Boxes a sink.
    pub fn new(sink: impl Sink) -> Self {
        Self(Box::new(sink))
    }
}

impl Sink for BoxSink {
    fn capabilities(&self) -> SinkCapabilities {
        self.0.erased_capabilities()
    }

    async fn open(&mut self, acknowledged: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        self.0.erased_open(acknowledged).await
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        self.0.erased_deliver(batches).await
    }

    fn max_batches(&self) -> usize {
        self.0.erased_max_batches()
    }
}

impl std::fmt::Debug for BoxSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BoxSink").field(&self.capabilities()).finish()
    }
}

/// The object-safe twin of [`Sink`].
trait ErasedSink: Send {
    fn erased_capabilities(&self) -> SinkCapabilities;
    fn erased_open<'a>(
        &'a mut self,
        acknowledged: Option<&'a Acknowledged>,
    ) -> BoxFuture<'a, Result<Position, DeliveryError>>;
    fn erased_deliver<'a>(
        &'a mut self,
        batches: &'a [Arc<DeltaBatch>],
    ) -> BoxFuture<'a, Result<Position, DeliveryError>>;
    fn erased_max_batches(&self) -> usize;
}

impl<S: Sink> ErasedSink for S {
    fn erased_capabilities(&self) -> SinkCapabilities {
        self.capabilities()
    }

    fn erased_open<'a>(
        &'a mut self,
        acknowledged: Option<&'a Acknowledged>,
    ) -> BoxFuture<'a, Result<Position, DeliveryError>> {
        Box::pin(self.open(acknowledged))
    }

    fn erased_deliver<'a>(
        &'a mut self,
        batches: &'a [Arc<DeltaBatch>],
    ) -> BoxFuture<'a, Result<Position, DeliveryError>> {
        Box::pin(self.deliver(batches))
    }

    fn erased_max_batches(&self) -> usize {
        self.max_batches()
    }
}
