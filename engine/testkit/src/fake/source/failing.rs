//! Can't be reached again and again, and goes on from where it was once it can.

use tidewater_connector_api::{ReadError, Source, SourceCapabilities, SourceContext};

use super::BasicSource;

/// A finite source whose first runs fail after some batches.
#[derive(Clone, Debug)]
pub struct FailingSource {
    inner: BasicSource,
    failures: usize,
    batches: usize,
    forever: bool,
}

impl FailingSource {
    /// Sends what `inner` sends; the first `failures` runs end with [`ReadError::Unavailable`] after `batches` batches.
    pub fn unavailable(inner: BasicSource, failures: usize, batches: usize) -> Self {
        Self { inner, failures, batches, forever: false }
    }

    /// Ends with [`ReadError::Failed`] after `batches` batches.
    pub fn broken(inner: BasicSource, batches: usize) -> Self {
        Self { inner, failures: 1, batches, forever: true }
    }
}

impl Source for FailingSource {
    fn capabilities(&self) -> SourceCapabilities {
        self.inner.capabilities()
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let mut at = self.inner.start(&context)?;
        let fails = self.failures > 0;
        self.failures = if self.forever { self.failures } else { self.failures.saturating_sub(1) };
        for sent in 0.. {
            if fails && sent == self.batches {
                return Err(match self.forever {
                    true => ReadError::failed("the input is broken, as it was told to be"),
                    false => ReadError::Unavailable { reason: "unavailable, as it was told to be".into() },
                });
            }
            match self.inner.send(&context, at).await? {
                Some(end) => at = end,
                None => break,
            }
        }
        Ok(())
    }
}
