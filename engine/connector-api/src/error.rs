//! Errors, split by what the one who gets them must do.

use std::time::Duration;

use crate::RawEvents;

/// Why a source stopped reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The input can't be reached at present: run the source again from its last position, after a while.
    #[error("{reason}")]
    Unavailable {
        /// What was tried and what came back.
        reason: String,
    },
    /// The position names a place the input does not have: stop and say so, since going on would skip or repeat.
    #[error("cannot resume: {reason}")]
    BadPosition {
        /// What the position says and what is there.
        reason: String,
    },
    /// The input is broken or missing: stop. Everything before the fault has been sent.
    #[error("{reason}")]
    Failed {
        /// What is broken, and where.
        reason: String,
    },
}

impl ReadError {
    /// A [`ReadError::Failed`].
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into() }
    }
}

/// Why a sink did not acknowledge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// Nothing of what failed has reached the destination: deliver the same batches again.
    #[error("not delivered: {reason}")]
    NotApplied {
        /// What was tried and what came back.
        reason: String,
        /// The destination asked to be left alone for this long.
        retry_after: Option<Duration>,
    },
    /// It may have reached the destination: deliver the same batches again, the sink uses the same keys.
    #[error("perhaps not delivered: {reason}")]
    MaybeApplied {
        /// What was tried and what came back.
        reason: String,
        /// The destination asked to be left alone for this long.
        retry_after: Option<Duration>,
    },
    /// The destination does not want it, now or later: someone has to act. The sink is parked.
    #[error("refused: {reason}")]
    Refused {
        /// What was refused, and in which words.
        reason: String,
    },
}

impl DeliveryError {
    /// A [`DeliveryError::NotApplied`] that may be retried at any time.
    pub fn not_applied(reason: impl Into<String>) -> Self {
        Self::NotApplied { reason: reason.into(), retry_after: None }
    }

    /// A [`DeliveryError::MaybeApplied`] that may be retried at any time.
    pub fn maybe_applied(reason: impl Into<String>) -> Self {
        Self::MaybeApplied { reason: reason.into(), retry_after: None }
    }

    /// A [`DeliveryError::Refused`].
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    /// How long the destination asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotApplied { retry_after, .. } | Self::MaybeApplied { retry_after, .. } => *retry_after,
            Self::Refused { .. } => None,
        }
    }
}

/// Why the engine did not take events, or lost them before they were durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The engine is stopping and takes no more events; none of these is in the log.
    #[error("the engine is closing")]
    Closed,
    /// The engine failed before the events were durable: whether they are in the log is unknown.
    #[error("the events were not logged: {reason}")]
    Failed {
        /// What failed.
        reason: String,
    },
}

/// Why the engine did not take events at once; they come back untouched. Boxed: the error path is the rare one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// The engine lags.
    #[error("the engine is full, retry in {} ms", retry_after.as_millis())]
    Full {
        /// When there may be room again.
        retry_after: Duration,
        /// The events, given back.
        events: Box<RawEvents>,
    },
    /// The engine is stopping and takes no more events.
    #[error("the engine is closing")]
    Closed {
        /// The events, given back.
        events: Box<RawEvents>,
    },
    /// The engine has failed.
    #[error("the engine has failed: {reason}")]
    Failed {
        /// What failed.
        reason: String,
        /// The events, given back.
        events: Box<RawEvents>,
    },
}
