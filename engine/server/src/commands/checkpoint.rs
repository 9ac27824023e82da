//! `tidewater checkpoint`: a checkpoint of a running engine now, or a copy of its state directory.

use std::{
    path::{Path, PathBuf, absolute},
    time::Duration,
};

use tidewater::{Error, offline};
use tidewater_model::Millis;
use tidewater_storage::{StateReader, StorageError};

use crate::{
    control::{self, Copy, Request, Taken, client::ask},
    exit::{Exit, Failure},
    output::print,
    paths::resolved,
};

/// What `checkpoint` can be told.
#[derive(Debug, clap::Args)]
pub struct CheckpointArgs {
    /// The state directory.
    #[arg(long, value_name = "DIR", default_value = "./state")]
    pub state: PathBuf,
    /// Copy the state directory to this one, which must be empty or not there; also if no engine runs.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// How long the engine may take to answer.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = super::generate::parse_span)]
    pub patience: Millis,
}

/// Makes a checkpoint, or a copy.
///
/// # Errors
/// If no engine runs that could make the checkpoint, or what is asked for can't be done.
pub fn checkpoint(args: &CheckpointArgs) -> Result<Exit, Failure> {
    // A directory that is none is said to be none.
    let reader = StateReader::open(&args.state)?;
    let patience = Duration::from_millis(args.patience.0.unsigned_abs());
    let said = match &args.to {
        None => {
            let taken: Option<Taken> = ask(&args.state, &Request::Checkpoint, patience)?;
            let Some(taken) = taken else { return Err(nobody(&args.state, &reader)) };
            let Taken { epoch, written_bytes, total_bytes, seconds } = taken;
            format!(
                "checkpoint of epoch {epoch}: {written_bytes} bytes written, {total_bytes} in all, in {seconds:.3} s\n"
            )
        }
        Some(to) => {
            let to = absolute(to)
                .map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", to.display())))?;
            // A copy in there goes with what it is a copy of, and would be one of the files of which the engine knows nothing.
            if resolved(&to).starts_with(resolved(&args.state)) {
                let message =
                    format!("--to {} is in the state directory: name a place outside it", to.display());
                return Err(Failure::new(Exit::Usage, message));
            }
            let asked: Option<Copy> = ask(&args.state, &Request::Copy { to: to.clone() }, patience)?;
            let Copy { epoch, bytes, linked_bytes } = match asked {
                Some(copy) => copy,
                None => copy_stopped(&args.state, &to)?,
            };
            let to = to.display();
            format!("copied to {to} up to epoch {epoch}: {bytes} bytes, of which {linked_bytes} are linked\n")
        }
    };
    print(said)?;
    Ok(Exit::Fine)
}

/// Nobody answers; what there is without.
fn nobody(state: &Path, reader: &StateReader) -> Failure {
    let newest = reader.checkpoints().into_iter().flatten().flatten().next();
    let newest = match newest {
        Some(newest) => format!("the newest checkpoint is of epoch {} ({})", newest.epoch, newest.now),
        None => "there is no checkpoint yet".to_owned(),
    };
    let path = control::socket_path(state);
    Failure::new(Exit::Unavailable, format!("no engine answers at {}; {newest}", path.display()))
}

fn copy_stopped(state: &Path, to: &Path) -> Result<Copy, Failure> {
    let copied = match offline::copy_state(state, to) {
        Ok(copied) => copied,
        Err(Error::Storage(error)) if is_in_use(&error, state) => {
            return Err(control::unanswered(Error::Storage(error), state));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Copy { epoch: copied.epoch, bytes: copied.bytes, linked_bytes: copied.linked_bytes })
}

/// Whether it is this directory that is in use, and not the one that is copied to.
fn is_in_use(error: &StorageError, state: &Path) -> bool {
    matches!(error, StorageError::Locked { directory, .. } if directory == state)
}
