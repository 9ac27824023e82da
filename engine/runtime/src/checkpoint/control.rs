//! What sequencer, checkpoint thread and status know of each other.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tidewater_model::Timestamp;
use tidewater_storage::Manifest;
use tokio::sync::oneshot;

use super::restore::Found;
use crate::error::Error;

/// Whoever asked for a checkpoint; answered with its epoch.
pub(crate) type Asker = oneshot::Sender<Result<u64, Error>>;

/// A checkpoint that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointStatus {
    /// The epoch whose end it holds; 0 if there is none.
    pub epoch: u64,
    /// The engine's clock at that epoch.
    pub now: Timestamp,
    /// Bytes of the state file that was written for it.
    pub written_bytes: u64,
    /// Bytes of all that it is made of, together with what earlier ones wrote.
    pub total_bytes: u64,
    /// From the cut of its epoch until it counted; zero for one that an earlier process made.
    pub took: Duration,
    /// Why the last attempt failed, if it did. It is tried again when the next one is due.
    pub trouble: Option<String>,
}

impl Default for CheckpointStatus {
    fn default() -> Self {
        Self {
            epoch: 0,
            now: Timestamp::MIN,
            written_bytes: 0,
            total_bytes: 0,
            took: Duration::ZERO,
            trouble: None,
        }
    }
}

impl CheckpointStatus {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        Self {
            epoch: manifest.epoch,
            now: manifest.now,
            written_bytes: manifest.files.first().map_or(0, |file| file.bytes),
            total_bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            ..Self::default()
        }
    }
}

/// Shared by the threads that make checkpoints.
#[derive(Debug, Default)]
pub(crate) struct Control {
    inside: Mutex<Inside>,
    /// Changes of members that wait for the next one.
    changes: AtomicU64,
    /// Somebody waits for the one that is being made, or for the one behind it.
    is_awaited: AtomicBool,
}

#[derive(Debug, Default)]
struct Inside {
    begun: Option<Instant>,
    all_next: bool,
    /// There will be no other one.
    is_lost: bool,
    status: CheckpointStatus,
}

impl Control {
    /// Before the first one: what there is from earlier lives.
    pub(crate) fn start(&self, found: &Found) {
        let mut inside = self.lock();
        inside.all_next = found.usable.is_none();
        if let Some(usable) = &found.usable {
            inside.status = CheckpointStatus::of(usable);
        }
    }

    /// Takes note of how many changes of members wait.
    pub(crate) fn set_changes(&self, count: usize) {
        self.changes.store(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.lock().begun.is_some()
    }

    /// Whether the next one must hold all state. It stays so until that one ends.
    pub(crate) fn is_all_next(&self) -> bool {
        self.lock().all_next
    }

    /// Somebody waits: the one that is being made is to be over soon.
    pub(crate) fn hurry(&self) {
        self.is_awaited.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }

    /// Begins one, that somebody waits for or nobody.
    pub(crate) fn begin(&self, is_awaited: bool) {
        self.is_awaited.store(is_awaited, Ordering::Relaxed);
        self.lock().begun = Some(Instant::now());
    }

    /// Ends it: with what counts now, and whether the next one must hold all state.
    pub(crate) fn done(&self, mut status: CheckpointStatus, all_next: bool) {
        let mut inside = self.lock();
        status.took = inside.begun.take().map_or(Duration::ZERO, |begun| begun.elapsed());
        (inside.status, inside.all_next) = (status, all_next);
    }

    /// Ends it without a result. What it would have held is not noted any more, so the next one must hold everything.
    pub(crate) fn failed(&self, reason: String) {
        let mut inside = self.lock();
        (inside.begun, inside.all_next) = (None, true);
        inside.status.trouble = Some(reason);
    }

    /// Ends it, and all that would follow.
    pub(crate) fn lost(&self, reason: String) {
        self.failed(reason);
        self.lock().is_lost = true;
    }

    /// Whether there will be no other one, for what the status says.
    pub(crate) fn is_lost(&self) -> bool {
        self.lock().is_lost
    }

    pub(crate) fn status(&self) -> CheckpointStatus {
        self.lock().status.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
