//! What the process tells the shell: the exit codes are part of the contract, each failure has exactly one.

use std::{fmt, io, process::ExitCode};

use tidewater::{Error, PipelineErrors};
use tidewater_storage::StorageError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// Differences were found, or the file is not valid.
    Differences = 1,
    /// The command line can't be understood.
    Usage = 2,
    /// The data is damaged.
    BadData = 65,
    /// Something the command needs can't be reached: a sink, a source, an address, a state directory in use.
    Unavailable = 69,
    /// A failure of our own, or of the machine.
    Internal = 70,
    /// The configuration has to change.
    Config = 78,
}

impl Exit {
    /// The one of this number; of one that there is not a failure of our own.
    pub(crate) fn of(code: u8) -> Self {
        let all =
            [Self::Fine, Self::Differences, Self::Usage, Self::BadData, Self::Unavailable, Self::Config];
        all.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Self::Internal)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the process ends with.
    pub exit: Exit,
    /// One or more lines for people; without a full stop.
    pub message: String,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Writing the output failed. Whoever reads it may stop reading, which is no failure. Only for commands that do nothing
    /// but write: what others have found out must not get lost with their reader.
    pub fn output(target: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Fine, String::new()),
            _ => Self::new(Exit::Internal, format!("cannot write {target}: {error}")),
        }
    }

    /// A part of the contract that this version does not have.
    pub fn not_built(what: impl fmt::Display) -> Self {
        Self::new(Exit::Config, format!("{what} is not built yet"))
    }
}

impl From<PipelineErrors> for Failure {
    fn from(errors: PipelineErrors) -> Self {
        Self::new(Exit::Config, errors.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Config { .. } | Error::LogRetired { .. } => Exit::Config,
            Error::Storage(error) => storage_exit(error),
            Error::Unknown { .. } => Exit::Usage,
            Error::Full { .. } => Exit::Unavailable,
            Error::DefinitionChanged { changes } => return definition_changed(changes),
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string())
    }
}

fn definition_changed(changes: &[String]) -> Failure {
    let mut message = "not everything in the state directory can be kept for this pipeline:".to_owned();
    for change in changes {
        message.push_str("\n  ");
        message.push_str(change);
    }
    message.push_str(
        "\nrun the old file, or `tidewater run --rebuild` to compute it again from the log; `tidewater plan` says more",
    );
    Failure::new(Exit::Config, message)
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::new(storage_exit(&error), error.to_string())
    }
}

fn storage_exit(error: &StorageError) -> Exit {
    match error {
        StorageError::Damaged { .. } => Exit::BadData,
        StorageError::Locked { .. } | StorageError::NoSpace { .. } => Exit::Unavailable,
        StorageError::NotFound { .. }
        | StorageError::NotEmpty { .. }
        | StorageError::Unfinished { .. }
        | StorageError::Newer { .. }
        | StorageError::Refused { .. } => Exit::Config,
        _ => Exit::Internal,
    }
}
