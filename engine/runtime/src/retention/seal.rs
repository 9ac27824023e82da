//! The thread that seals log files: one at a time, at most half of a core, and never in anyone's way.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tidewater_storage::{LogArchive, StorageError};

use crate::{
    error::Error,
    lifecycle::Lifecycle,
    threads::{self, Receiver, RecvTimeoutError, Sender, bounded},
};

/// What could not be sealed, on a full disk for example, is tried again after so long.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// After a block the thread rests as long as the block took, but no longer than this.
const LONGEST_REST: Duration = Duration::from_millis(50);

/// Tells the thread that a file is full. It never makes anyone wait: what is told twice counts once.
#[derive(Clone)]
pub(crate) struct SealSender(Sender<()>);

impl SealSender {
    pub(crate) fn tell(&self) {
        self.0.offer(());
    }
}

/// Both ends.
pub(crate) fn channel() -> (SealSender, Receiver<()>) {
    let (sender, receiver) = bounded(1);
    (SealSender(sender), receiver)
}

/// The sealing thread's state.
pub(crate) struct Sealer {
    pub(crate) archive: Arc<LogArchive>,
    pub(crate) receiver: Receiver<()>,
    pub(crate) lifecycle: Arc<Lifecycle>,
}

impl Sealer {
    /// Works until nobody writes to the log any more. What is not sealed by then the next life seals.
    pub(crate) fn run(self) -> Result<(), Error> {
        threads::stand_back();
        let mut given_up = BTreeSet::new();
        loop {
            self.seal_all(&mut given_up);
            match self.receiver.recv_timeout(TRY_AGAIN) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn seal_all(&self, given_up: &mut BTreeSet<u64>) {
        let full = match self.archive.unsealed() {
            Ok(full) => full,
            Err(error) => {
                return tracing::warn!(%error, "the log's files can't be listed; they are sealed later");
            }
        };
        for first_epoch in full.into_iter().filter(|first| !given_up.contains(first)).collect::<Vec<_>>() {
            // Small files have no second block before which it would be asked.
            if self.is_over() {
                return;
            }
            let mut since = threads::now();
            let mut go_on = || {
                if self.is_over() {
                    return false;
                }
                threads::sleep(threads::now().duration_since(since).min(LONGEST_REST));
                since = threads::now();
                true
            };
            match self.archive.seal(first_epoch, &mut go_on) {
                Ok(Some(file)) => {
                    tracing::debug!(
                        first_epoch,
                        bytes = file.bytes,
                        raw = file.raw_bytes,
                        "a log file is sealed"
                    );
                }
                Ok(None) => return,
                Err(error @ StorageError::Damaged { .. }) => {
                    given_up.insert(first_epoch);
                    tracing::error!(%error, "a log file can't be sealed, nor replayed");
                }
                Err(error) => {
                    return tracing::warn!(%error, "a log file could not be sealed; it is tried again");
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.lifecycle.is_stopping() || self.lifecycle.is_failed()
    }
}
