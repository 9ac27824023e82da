//! Refused events on their way into quarantine: one that finds no room there is counted and stops nothing.

use std::{collections::BTreeSet, sync::Arc};

use tidewater_storage::{Appended, NewRecord, Quarantine, StorageError};

use super::trouble::Trouble;
use crate::{error::Error, metrics::Metrics};

/// Events that were read from the quarantine and are done with.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    pub(crate) ids: BTreeSet<u64>,
    /// About how many bytes they take.
    pub(crate) bytes: u64,
    /// Nothing more of what was asked for follows: what has no room yet gets it now.
    pub(crate) is_last: bool,
}

/// The quarantine, and what is said of it.
pub(crate) struct Refused {
    quarantine: Quarantine,
    metrics: Arc<Metrics>,
    trouble: Arc<Trouble>,
    /// It has been said that it is full, and not yet that there is room again.
    is_told: bool,
}

impl Refused {
    pub(crate) fn new(quarantine: Quarantine, metrics: &Arc<Metrics>, trouble: &Arc<Trouble>) -> Self {
        let (metrics, trouble) = (Arc::clone(metrics), Arc::clone(trouble));
        Self { quarantine, metrics, trouble, is_told: false }
    }

    pub(super) fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Keeps an event, or counts it as lost. One that comes from the quarantine again is always kept.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`]: neither of both has been done, the call may be repeated. [`StorageError::Poisoned`].
    pub(super) fn keep(&mut self, record: &NewRecord<'_>, is_again: bool) -> Result<(), StorageError> {
        let appended = match is_again {
            true => self.quarantine.append_again(record)?,
            false => self.quarantine.append(record)?,
        };
        if appended == Appended::Full {
            self.metrics.quarantine_lost.add(1);
        }
        self.tell();
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        self.quarantine.sync()
    }

    /// Takes events out, durably; how many.
    pub(super) fn remove(&mut self, removal: &Removal) -> Result<u64, Error> {
        let removed = self.quarantine.mark_read(&removal.ids, removal.bytes)?;
        if removal.is_last {
            match self.quarantine.end_marks() {
                // They are out of it all the same, and there is room at the next start.
                Err(error @ StorageError::NoSpace { .. }) => {
                    tracing::warn!(%error, "the quarantine stays full");
                }
                other => other?,
            }
        }
        self.tell();
        Ok(removed)
    }

    /// Says it once when the quarantine is full, not for every event, and once when it is not any more.
    fn tell(&mut self) {
        let is_full = self.quarantine.is_full();
        if is_full == self.is_told {
            return;
        }
        self.is_told = is_full;
        let (events, bytes) = (self.quarantine.len(), self.quarantine.bytes());
        let lost = self.metrics.quarantine_lost.get();
        if is_full {
            let trouble = "the quarantine is full: refused events are counted and not kept, until some are redriven or dropped";
            tracing::error!(events, bytes, "{trouble}");
            self.trouble.set_quarantine(Some(trouble.to_owned()));
        } else {
            tracing::info!(events, bytes, lost, "the quarantine has room again");
            self.trouble.set_quarantine(None);
        }
    }
}
