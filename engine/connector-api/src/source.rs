//! What a source is held to.

use crate::{BoxFuture, ReadError, SourceCapabilities, SourceContext};

/// Reads events from somewhere and hands them to the engine.
///
/// The rules, each checked by the conformance suite:
/// - Every batch goes through [`SourceContext::send`] (waits for room) or `try_send`, in order.
/// - The position given with a batch is where a later run resumes with *exactly* the events behind the batch: none
///   twice, none left out. A source that can't do that says so in its capabilities and gives none.
/// - Once [`SourceContext::closing`] resolves, or a send says `Closed`, it stops reading and returns `Ok`.
/// - An event that can't be used is handed on as it is, it is the engine that puts it in quarantine; one larger
///   than the limit as its first part, with [`RawEvents::push_oversized`](crate::RawEvents::push_oversized).
/// - Before it returns an error it has sent everything that lies before the fault.
/// - It may run again after [`ReadError::Unavailable`], on a context that resumes from the last durable position.
pub trait Source: Send + 'static {
    /// What this source promises, as configured.
    fn capabilities(&self) -> SourceCapabilities;

    /// Reads until the input ends or the engine closes.
    ///
    /// # Errors
    /// See [`ReadError`]: one variant for each thing the engine can do about it.
    fn run(&mut self, context: SourceContext) -> impl Future<Output = Result<(), ReadError>> + Send;
}

/// Any source, so that sources of different types can stand in one list.
pub struct BoxSource(Box<dyn ErasedSource>);

impl BoxSource {
    /// Boxes a source.
    pub fn new(source: impl Source) -> Self {
        Self(Box::new(source))
    }
}

impl Source for BoxSource {
    fn capabilities(&self) -> SourceCapabilities {
        self.0.erased_capabilities()
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        self.0.erased_run(context).await
    }
}

impl std::fmt::Debug for BoxSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BoxSource").field(&self.capabilities()).finish()
    }
}

/// The object-safe twin of [`Source`].
trait ErasedSource: Send {
    fn erased_capabilities(&self) -> SourceCapabilities;
    fn erased_run(&mut self, context: SourceContext) -> BoxFuture<'_, Result<(), ReadError>>;
}

impl<S: Source> ErasedSource for S {
    fn erased_capabilities(&self) -> SourceCapabilities {
        self.capabilities()
    }

    fn erased_run(&mut self, context: SourceContext) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(self.run(context))
    }
}
