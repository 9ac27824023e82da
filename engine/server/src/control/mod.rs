//! Questions to an engine that runs: a socket in its state directory, one request and one answer a connection.
//!
//! Request and answer are one line of JSON each. Whoever may write to the state directory's socket (its owner) may ask.
//!
//! ```text
//! {"command":"checkpoint"}                    {"ok":{"epoch":41,"written_bytes":1830,"total_bytes":90210,"seconds":0.02}}
//! {"command":"copy","to":"/backup/today"}     {"error":{"exit":78,"message":"/backup/today is not empty: …"}}
//! ```
//!
//! To add a command: a variant of [`Request`], and an arm in [`serve`](server::serve)'s `execute`.

#[cfg(unix)]
pub mod client;
#[cfg(unix)]
pub mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

/// The socket's name in the state directory.
const SOCKET: &str = "control.sock";

/// A request is no longer than this: its largest part is a path.
const REQUEST_BYTES: u64 = 64 << 10;

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
