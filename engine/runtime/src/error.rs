//! Every failure of the engine says what the caller has to do about it.

use std::{sync::Arc, time::Duration};

use tidewater_connector_api::SendError;
use tidewater_model::Timestamp;
use tidewater_operators::PlanError;
use tidewater_storage::StorageError;

/// Why the engine did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pipeline or the settings can't be run.
    #[error("{reason}")]
    Config {
        /// What is wrong with them.
        reason: String,
    },
    /// The state directory was made with other definitions, and not all of it can be kept for these. Rebuild from the log, or
    /// run the old ones.
    #[error("not all of this state can be kept for the changed pipeline: {}; rebuild it from the log to run this", changes.join("; "))]
    DefinitionChanged {
        /// One fragment a difference that loses something, such as ``identifier `email` from: …``.
        changes: Vec<String>,
    },
    /// Old events have been retired from the log, and this needs them.
    #[error(
        "{what} needs all events from the first one on, and the log is complete only from epoch {from_epoch} ({from}) on: \
         older ones were retired"
    )]
    LogRetired {
        /// What was asked for.
        what: String,
        /// The first epoch that is still in the log.
        from_epoch: u64,
        /// When its events were accepted.
        from: Timestamp,
    },
    /// The state directory can't be used.
    #[error("{0}")]
    Storage(Arc<StorageError>),
    /// There is no identifier, segment or sink of this name.
    #[error("there is no {what} called `{name}`{}", near.as_ref().map(|near| format!(", did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// `identifier`, `segment`, …
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// The nearest name there is.
        near: Option<String>,
    },
    /// The engine takes nothing more: it is stopping or has stopped.
    #[error("the engine is closing")]
    Closed,
    /// The engine lags or is over its memory limit: try again later.
    #[error("the engine is full, retry in {} ms", retry_after.as_millis())]
    Full {
        /// When there may be room again.
        retry_after: Duration,
    },
    /// A part of the engine failed; it will never answer again. Events without an acknowledgement may or may not
    /// be in the log.
    #[error("the engine has failed: {reason}")]
    Failed {
        /// Which part, and how.
        reason: Arc<str>,
    },
}

/// What kind of failure it is; the binary maps it to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration has to change (exit code 78).
    Config,
    /// The state directory is damaged, full or in use.
    Storage,
    /// The caller asked for something that does not exist.
    Usage,
    /// Try again later.
    Busy,
    /// The engine is stopping.
    Closed,
    /// The engine failed (exit code 70).
    Internal,
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } | Self::DefinitionChanged { .. } | Self::LogRetired { .. } => {
                ErrorKind::Config
            }
            Self::Storage(_) => ErrorKind::Storage,
            Self::Unknown { .. } => ErrorKind::Usage,
            Self::Full { .. } => ErrorKind::Busy,
            Self::Closed => ErrorKind::Closed,
            Self::Failed { .. } => ErrorKind::Internal,
        }
    }

    pub(crate) fn config(reason: impl Into<String>) -> Self {
        Self::Config { reason: reason.into() }
    }

    pub(crate) fn failed(reason: impl Into<Arc<str>>) -> Self {
        Self::Failed { reason: reason.into() }
    }

    pub(crate) fn unknown<'a>(what: &'static str, name: &str, names: impl Iterator<Item = &'a str>) -> Self {
        let near = tidewater_model::suggest::nearest(name, names).map(str::to_owned);
        Self::Unknown { what, name: name.to_owned(), near }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Self::config(error.to_string())
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Closed => Self::Closed,
            SendError::Failed { reason } => Self::failed(reason),
            other => Self::failed(other.to_string()),
        }
    }
}
