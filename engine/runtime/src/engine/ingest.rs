//! Events in: one or many, waiting or not.

use tidewater_connector_api::{Accepted, RawEvents, Receipt, TrySendError};

use super::Engine;
use crate::{
    error::Error,
    event::{IntoEvent, batch_of},
};

impl Engine {
    /// Hands in one event and waits until it is in the log (without a state directory: in an epoch).
    ///
    /// An event that can't be used is no error: it is counted in [`Accepted::quarantined`]. While the engine replays
    /// its log, events wait.
    ///
    /// # Errors
    /// [`Error::Closed`] once the engine stops; the event is not in the log then. [`Error::Failed`]: it may be.
    pub async fn ingest(&self, event: impl IntoEvent) -> Result<Accepted, Error> {
        self.ingest_batch(batch_of(event)).await
    }

    /// Hands in events and waits until they are in the log (without a state directory: in an epoch).
    ///
    /// # Errors
    /// As [`ingest`](Self::ingest).
    pub async fn ingest_batch(&self, events: RawEvents) -> Result<Accepted, Error> {
        Ok(self.submit(events).await?.await?)
    }

    /// Hands in events, waiting only for room; the receipt resolves when they are in the log. So a caller can have
    /// many batches under way.
    ///
    /// # Errors
    /// As [`ingest`](Self::ingest).
    pub async fn submit(&self, events: RawEvents) -> Result<Receipt, Error> {
        self.check_open()?;
        Ok(self.shared.intake.send(None, events, None).await?)
    }

    /// As [`submit`](Self::submit), of events that come from the quarantine.
    pub(crate) async fn submit_again(&self, events: RawEvents) -> Result<Receipt, Error> {
        self.check_open()?;
        Ok(self.shared.intake.send_again(events).await?)
    }

    /// Hands in one event if there is room at once.
    ///
    /// # Errors
    /// [`TrySendError::Full`] when the engine lags or is over its memory limit; [`TrySendError::Closed`] and
    /// [`TrySendError::Failed`] once it has ended.
    pub fn try_ingest(&self, event: impl IntoEvent) -> Result<Receipt, TrySendError> {
        self.try_ingest_batch(batch_of(event))
    }

    /// Hands in events if there is room at once.
    ///
    /// # Errors
    /// As [`try_ingest`](Self::try_ingest).
    pub fn try_ingest_batch(&self, events: RawEvents) -> Result<Receipt, TrySendError> {
        match self.check_open() {
            Ok(()) => self.shared.intake.try_send(None, events, None),
            Err(Error::Failed { reason }) => {
                Err(TrySendError::Failed { reason: reason.to_string(), events: Box::new(events) })
            }
            Err(_) => Err(TrySendError::Closed { events: Box::new(events) }),
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        match self.shared.lifecycle.takes_events() {
            true => Ok(()),
            false => Err(self.shared.lifecycle.ended().unwrap_or(Error::Closed)),
        }
    }
}
