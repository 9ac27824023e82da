//! Sends a list of events and ends; resumes exactly where it was.

use tidewater_connector_api::{
    Position, RawEvents, ReadError, SendError, Source, SourceCapabilities, SourceContext,
};

/// A finite, replayable source of a list of events.
#[derive(Clone, Debug, Default)]
pub struct BasicSource {
    events: Vec<String>,
    batch: usize,
}

impl BasicSource {
    /// A source of these events, sent in batches of at most `batch`.
    pub fn new(events: impl IntoIterator<Item = impl Into<String>>, batch: usize) -> Self {
        Self { events: events.into_iter().map(Into::into).collect(), batch: batch.max(1) }
    }

    /// Where a run on this context begins.
    ///
    /// # Errors
    /// [`ReadError::BadPosition`] if the position is none of this source.
    pub(super) fn start(&self, context: &SourceContext) -> Result<usize, ReadError> {
        let Some(position) = context.resume_from() else { return Ok(0) };
        let at = <[u8; 8]>::try_from(position.as_bytes()).map(u64::from_le_bytes).ok();
        at.map(|at| at as usize).filter(|at| *at <= self.events.len()).ok_or_else(|| ReadError::BadPosition {
            reason: format!("{position:?} in a list of {}", self.events.len()),
        })
    }

    /// Sends the batch that begins at `at`; where the next one begins, or `None` at the end or when the engine closes.
    ///
    /// # Errors
    /// [`ReadError::Failed`] if the engine has failed.
    pub(super) async fn send(&self, context: &SourceContext, at: usize) -> Result<Option<usize>, ReadError> {
        let end = (at + self.batch).min(self.events.len());
        if at == end || context.is_closing() {
            return Ok(None);
        }
        let mut events = RawEvents::new();
        self.events[at..end].iter().for_each(|event| events.push(event.as_bytes()));
        let position = Position((end as u64).to_le_bytes().to_vec());
        match context.send(events, Some(position)).await {
            Ok(_receipt) => Ok(Some(end)),
            Err(SendError::Closed) => Ok(None),
            Err(error) => Err(ReadError::failed(error.to_string())),
        }
    }
}

impl Source for BasicSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { finite: true, replayable: true }
    }

    async fn run(&mut self, context: SourceContext) -> Result<(), ReadError> {
        let mut at = Some(self.start(&context)?);
        while let Some(start) = at {
            at = self.send(&context, start).await?;
        }
        Ok(())
    }
}
