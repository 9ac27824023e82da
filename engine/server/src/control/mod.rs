//! Questions to an engine that runs: a socket in its state directory, one request and one answer a connection.
//!
//! Request and answer are one line of JSON each. Whoever may write to the state directory's socket (its owner) may ask.
//!
//! ```text
//! {"command":"checkpoint"}                    {"ok":{"epoch":41,"written_bytes":1830,"total_bytes":90210,"seconds":0.02}}
//! {"command":"copy","to":"/backup/today"}     {"error":{"exit":78,"message":"/backup/today is not empty: …"}}
//! {"command":"redrive","reason":"bad_time"}   {"ok":{"accepted":2,"duplicates":0,"quarantined":1,"incomplete":0}}
//! ```
//!
//! To add a command: a variant of [`Request`], and an arm in [`serve`](server::serve)'s `execute`.

#[cfg(unix)]
pub mod client;
#[cfg(unix)]
pub mod server;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tidewater::{DeadLetterFilter, Error, QuarantineFilter, Redriven};
use tidewater_storage::StorageError;

use crate::exit::{Exit, Failure};

/// The socket's name in the state directory.
const SOCKET: &str = "control.sock";

/// A request is no longer than this: it says what a command line says.
const REQUEST_BYTES: u64 = 1 << 20;

/// An answer is no longer than this.
const ANSWER_BYTES: u64 = 1 << 20;

/// Where an engine that runs on this state directory is asked.
pub fn socket_path(state: &Path) -> PathBuf {
    state.join(SOCKET)
}

/// What an engine can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Make a checkpoint of everything logged by now; answered with a [`Taken`].
    Checkpoint,
    /// Copy the state directory; answered with a [`Copy`].
    Copy {
        /// Where to, an absolute path; nothing must stand there.
        to: PathBuf,
    },
    /// Have dead letters of a sink delivered again, at once; answered with how many they are.
    RetryDeadLetters(Letters),
    /// Drop dead letters of a sink for good; answered with how many they were.
    DropDeadLetters(Letters),
    /// Feed refused events once more; answered with a [`Fed`].
    Redrive(Refused),
    /// Drop refused events for good; answered with how many they were.
    DropQuarantined(Refused),
}

/// Which dead letters are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letters {
    /// The sink.
    pub sink: String,
    /// Their numbers; if left out, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<BTreeSet<u64>>,
}

impl Letters {
    /// The same for an engine.
    pub fn filter(&self) -> DeadLetterFilter {
        self.ids.clone().map_or(DeadLetterFilter::All, DeadLetterFilter::Ids)
    }
}

/// Which refused events are meant: those of a reason, else those of these numbers, else all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Why they were refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Their numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<BTreeSet<u64>>,
}

impl Refused {
    /// The same for an engine.
    pub fn filter(&self) -> QuarantineFilter {
        match (&self.reason, &self.ids) {
            (Some(reason), _) => QuarantineFilter::Reason(reason.clone()),
            (None, Some(ids)) => QuarantineFilter::Ids(ids.clone()),
            (None, None) => QuarantineFilter::All,
        }
    }
}

/// A checkpoint that counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// Its epoch.
    pub epoch: u64,
    /// Bytes that were written for it.
    pub written_bytes: u64,
    /// Bytes of all it is made of.
    pub total_bytes: u64,
    /// From its beginning until it counted.
    pub seconds: f64,
}

/// A copy that is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    /// Its last epoch.
    pub epoch: u64,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes of those that are linked.
    pub linked_bytes: u64,
}

/// What became of events that were fed once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fed {
    /// Accepted this time.
    pub accepted: u64,
    /// Duplicates of accepted ones.
    pub duplicates: u64,
    /// Refused again.
    pub quarantined: u64,
    /// Left in quarantine because only their beginning was kept.
    pub incomplete: u64,
}

impl From<Redriven> for Fed {
    fn from(done: Redriven) -> Self {
        let Redriven { accepted, duplicates, quarantined, incomplete, .. } = done;
        Self { accepted, duplicates, quarantined, incomplete }
    }
}

/// What a command says that could neither ask an engine nor do without one.
pub fn unanswered(error: Error, state: &Path) -> Failure {
    match &error {
        Error::Storage(inner) if matches!(**inner, StorageError::Locked { .. }) => Failure::new(
            Exit::Unavailable,
            format!("{error}, which does not answer at {}", socket_path(state).display()),
        ),
        _ => error.into(),
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(serde_json::Value),
    Error { exit: u8, message: String },
}

impl From<Result<serde_json::Value, Failure>> for Answer {
    fn from(result: Result<serde_json::Value, Failure>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(failure) => Self::Error { exit: failure.exit as u8, message: failure.message },
        }
    }
}

impl From<Answer> for Result<serde_json::Value, Failure> {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Ok(value) => Ok(value),
            Answer::Error { exit, message } => Err(Failure::new(Exit::of(exit), message)),
        }
    }
}

/// Without such sockets nothing runs that could be asked.
#[cfg(not(unix))]
pub mod client {
    use super::*;

    /// Asks the engine that runs on a state directory; `None` if none answers there.
    ///
    /// # Errors
    /// Never.
    pub fn ask<T>(_: &Path, _: &Request, _: std::time::Duration) -> Result<Option<T>, Failure> {
        Ok(None)
    }
}
