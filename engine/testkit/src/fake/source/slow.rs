//! Takes its time between batches.

use std::time::Duration;

use tidewater_connector_api::{ReadError, Source, SourceCapabilities, SourceContext};

use super::BasicSource;

/// A finite source that waits before every batch.
#[derive(Clone, Debug)]
pub struct SlowSource {
    inner: BasicSource,
    wait: Duration,
}

impl SlowSource {
    /// Sends what `inner` sends, waiting this long before each batch.
    pub fn new(inner: BasicSource, wait: Duration) -> Self {
        Self { inner, wait }
    }
}

impl Source for SlowSource {
    fn capabilities(&self) -> SourceCapabilities {
        self.inner.capabilities()
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let mut at = Some(self.inner.start(&context)?);
        while let Some(start) = at {
            tokio::select! {
                () = tokio::time::sleep(self.wait) => at = self.inner.send(&context, start).await?,
                () = context.closing() => return Ok(()),
            }
        }
        Ok(())
    }
}
