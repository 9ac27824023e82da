//! Faults of the disk, drawn from a seed: calls that fail, writes that are short, a disk that is full, power that goes.

use std::{
    io::ErrorKind,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidewater::testing::Turns;
use tidewater_storage::sim::{Fault, Operation, SimFiles};

use super::turns::Baton;
use tidewater_testkit::random::Random;

/// What goes wrong with the disk.
pub(super) struct DiskFaults {
    inside: Mutex<Inside>,
}

struct Inside {
    random: Random,
    /// How likely a call fails.
    share: f64,
    /// The power goes with the call that makes this 0.
    cut_in: Option<u64>,
    /// A sync of the log has failed since this was last asked.
    log_sync_failed: bool,
    counts: DiskCounts,
}

/// How often something went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskCounts {
    /// Calls that failed.
    pub(crate) failed: u64,
    /// Of them, syncs.
    pub(crate) syncs: u64,
    /// Writes that took fewer bytes.
    pub(crate) short: u64,
    /// Times the power went in the middle of a call.
    pub(crate) cuts: u64,
}

impl DiskFaults {
    /// Faults of a disk, none before they are allowed. Threads pass at its calls.
    pub(super) fn new(files: &SimFiles, baton: &Arc<Baton>, seed: u64) -> Arc<Self> {
        let inside = Inside {
            random: Random::new(seed ^ 0xd15c),
            share: 0.0,
            cut_in: None,
            log_sync_failed: false,
            counts: DiskCounts::default(),
        };
        let faults = Arc::new(Self { inside: Mutex::new(inside) });
        let (asked, baton) = (Arc::clone(&faults), Arc::clone(baton));
        files.on_call(Some(Arc::new(move |operation, path| {
            // A queue's own files are used with its lock held: whoever went on meanwhile could wait for that for ever.
            if !is_in(path, "outbox") {
                baton.pass();
            }
            asked.lock().fault(operation, path)
        })));
        faults
    }

    /// From now on calls fail in this share of all cases.
    pub(super) fn allow(&self, share: f64) {
        self.lock().share = share;
    }

    /// The power goes with one of the next calls.
    pub(super) fn cut_power_soon(&self) {
        let mut inside = self.lock();
        inside.cut_in = Some(inside.random.below(25));
    }

    /// A life is over: no power cut is planned any more. Whether a sync of the log failed in it.
    pub(super) fn end_life(&self) -> bool {
        let mut inside = self.lock();
        inside.cut_in = None;
        std::mem::take(&mut inside.log_sync_failed)
    }

    /// What went wrong so far.
    pub(super) fn counts(&self) -> DiskCounts {
        self.lock().counts
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn fault(&mut self, operation: Operation, path: &Path) -> Option<Fault> {
        if let Some(left) = &mut self.cut_in {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => {
                    self.cut_in = None;
                    self.counts.cuts += 1;
                    return Some(Fault::PowerCut(self.random.bits()));
                }
            }
        }
        if operation == Operation::Write && self.share > 0.0 && self.random.chance(0.03) {
            self.counts.short += 1;
            return Some(Fault::Short(self.random.below(40) as usize));
        }
        // A failed read only ends a start.
        let share = if operation == Operation::Read { self.share / 10.0 } else { self.share };
        if !self.random.chance(share) {
            return None;
        }
        self.counts.failed += 1;
        if operation == Operation::Sync {
            self.counts.syncs += 1;
            self.log_sync_failed |= is_in(path, "log");
        }
        let is_full = operation == Operation::Write && self.random.chance(0.3);
        Some(Fault::Error(if is_full { ErrorKind::StorageFull } else { ErrorKind::Other }))
    }
}

/// Whether a file is in this part of the state directory.
fn is_in(path: &Path, part: &str) -> bool {
    path.components().any(|component| component.as_os_str() == part)
}
