//! What is in the way of the log, or of refused events: shown in the status for as long as it is.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tidewater_storage::StorageError;

use crate::{error::Error, lifecycle::Lifecycle, threads};

/// How long to wait on a full disk before the next attempt. Short beside what it takes someone to make room.
const NO_SPACE_WAIT: Duration = Duration::from_secs(1);

/// What is wrong, if anything is.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    log: Mutex<Option<String>>,
    quarantine: Mutex<Option<String>>,
}

impl Trouble {
    /// What the log waits for.
    pub(crate) fn log(&self) -> Option<String> {
        get(&self.log)
    }

    /// What refused events are not kept for.
    pub(crate) fn quarantine(&self) -> Option<String> {
        get(&self.quarantine)
    }

    pub(super) fn set_quarantine(&self, trouble: Option<String>) {
        set(&self.quarantine, trouble);
    }

    /// Tries until there is room on the disk. What can't be stored is not acknowledged, so it must not be dropped either. An
    /// engine that is to stop does not wait for room.
    pub(super) fn with_room<T>(
        &self,
        lifecycle: &Lifecycle,
        mut attempt: impl FnMut() -> Result<T, StorageError>,
    ) -> Result<T, Error> {
        let mut waited = false;
        loop {
            let lack = match attempt() {
                Ok(done) => {
                    if waited {
                        set(&self.log, None);
                    }
                    return Ok(done);
                }
                Err(error @ StorageError::NoSpace { .. }) => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            if lifecycle.is_stopping() {
                return Err(Error::failed(lack));
            }
            tracing::error!(trouble = lack, "the log waits");
            set(&self.log, Some(lack));
            waited = true;
            threads::sleep(NO_SPACE_WAIT);
        }
    }
}

fn get(trouble: &Mutex<Option<String>>) -> Option<String> {
    trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set(trouble: &Mutex<Option<String>>, value: Option<String>) {
    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = value;
}
