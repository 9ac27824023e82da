//! Sends every batch twice, as a client does that never saw the answer.

use tidewater_connector_api::{ReadError, Source, SourceCapabilities, SourceContext};

use super::BasicSource;

/// A finite source that repeats itself.
#[derive(Clone, Debug)]
pub struct DuplicatingSource(BasicSource);

impl DuplicatingSource {
    /// Sends what `inner` sends, each batch twice.
    pub fn new(inner: BasicSource) -> Self {
        Self(inner)
    }
}

impl Source for DuplicatingSource {
    fn capabilities(&self) -> SourceCapabilities {
        self.0.capabilities()
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let mut at = self.0.start(&context)?;
        while let Some(end) = self.0.send(&context, at).await? {
            self.0.send(&context, at).await?;
            at = end;
        }
        Ok(())
    }
}
