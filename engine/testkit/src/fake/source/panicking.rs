//! Panics in the middle of its input.

use tidewater_connector_api::{ReadError, Source, SourceCapabilities, SourceContext};

use super::BasicSource;

/// A source with a bug.
#[derive(Clone, Debug)]
pub struct PanickingSource {
    inner: BasicSource,
    batches: usize,
}

impl PanickingSource {
    /// Sends what `inner` sends and panics after `batches` batches.
    pub fn new(inner: BasicSource, batches: usize) -> Self {
        Self { inner, batches }
    }
}

impl Source for PanickingSource {
    fn capabilities(&self) -> SourceCapabilities {
        self.inner.capabilities()
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let mut at = self.inner.start(&context)?;
        for _ in 0..self.batches {
            match self.inner.send(&context, at).await? {
                Some(end) => at = end,
                None => break,
            }
        }
        panic!("a source that panics, as it was told to")
    }
}
