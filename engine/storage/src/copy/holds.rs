//! Who wants files to stay: nobody removes any while a copy is made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who wants files of a state directory to stay: what an owner would remove is left until a later time.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    held: Mutex<usize>,
    /// How often a file of dead letters was replaced.
    replaced: AtomicU64,
}

/// Files stay until it is dropped.
pub(super) struct Hold(Arc<Holds>);

impl Holds {
    /// Waits for a removal that is under way.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        *self.lock() += 1;
        Hold(Arc::clone(self))
    }

    /// The right to remove files as long as the value lives; `None` while somebody wants them to stay.
    pub(crate) fn removing(&self) -> Option<MutexGuard<'_, usize>> {
        Some(self.lock()).filter(|held| **held == 0)
    }

    /// A file of dead letters was replaced; to be said before the new one is written to.
    pub(crate) fn replaced(&self) {
        self.replaced.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn count_replaced(&self) -> u64 {
        self.replaced.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
    }
}
