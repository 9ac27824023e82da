//! Sends nothing and hears nothing, not even that the engine closes.

use tidewater_connector_api::{ReadError, Source, SourceCapabilities, SourceContext};

/// A source that hangs.
#[derive(Clone, Copy, Debug, Default)]
pub struct StuckSource;

impl Source for StuckSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { finite: false, replayable: true }
    }

    async fn run(&mut self, _context: SourceContext) -> Result<(), ReadError> {
        std::future::pending().await
    }
}
