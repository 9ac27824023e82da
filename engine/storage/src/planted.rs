//! Planted bugs of durability: mistakes that the simulation must catch, compiled in only with the feature `planted-bugs` and
//! dormant until a test selects one.
//!
//! Storage and runtime ask [`active`] behind `#[cfg(feature = "planted-bugs")]`, at the place where the mistake would
//! naturally be made.

use std::sync::atomic::{AtomicU32, Ordering};

/// A mistake that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum Bug {
    /// Receipts resolve when an epoch is written, not when it is synced.
    AcknowledgedBeforeSync = 1,
    /// A repeated event is answered at once, though the first may not be durable yet.
    RepetitionAnsweredAtOnce,
    /// Refused events are answered before the quarantine is synced.
    QuarantineNotSynced,
    /// An epoch is written before the refused events that a position in it lies behind are synced.
    LogAheadOfQuarantine,
    /// Deltas leave when they are computed.
    LetOutBeforeDurable,
    /// Where a source resumes is stored with the epoch before that of its events.
    PositionAheadOfLog,
    /// A sink's acknowledgement is recorded when it is given deltas, not when it has taken them.
    AcknowledgedAheadOfDelivery,
    /// Where a destination stood when it was first opened is not recorded.
    OpeningNotRecorded,
    /// An fsync that failed counts as one that did not.
    SyncErrorIgnored,
    /// A start writes on behind an unfinished write.
    TornTailTrusted,
    /// A start takes what it reads behind the last known fsync for durable.
    UnsyncedTailTrusted,
    /// A start cuts the log where it was known to be durable when its last entry was written.
    LogCutTooEarly,
    /// A state file is not synced before the manifest that names it is written.
    ManifestBeforeData,
    /// A state file is removed with its own checkpoint, although later ones build on it.
    StateFileRemovedTooEarly,
    /// `now` follows a clock that is set back.
    NowGoesBack,
    /// A start that finds nothing behind its checkpoint numbers the next epoch like the last.
    EpochReused,
}

impl Bug {
    /// Every one, in the order of their declaration.
    pub const ALL: [Self; 16] = [
        Self::AcknowledgedBeforeSync,
        Self::RepetitionAnsweredAtOnce,
        Self::QuarantineNotSynced,
        Self::LogAheadOfQuarantine,
        Self::LetOutBeforeDurable,
        Self::PositionAheadOfLog,
        Self::AcknowledgedAheadOfDelivery,
        Self::OpeningNotRecorded,
        Self::SyncErrorIgnored,
        Self::TornTailTrusted,
        Self::UnsyncedTailTrusted,
        Self::LogCutTooEarly,
        Self::ManifestBeforeData,
        Self::StateFileRemovedTooEarly,
        Self::NowGoesBack,
        Self::EpochReused,
    ];
}

/// The bug selected for every thread; 0 for none.
static EVERYWHERE: AtomicU32 = AtomicU32::new(0);

/// Whether `bug` is selected.
pub fn active(bug: Bug) -> bool {
    EVERYWHERE.load(Ordering::Relaxed) == bug as u32
}

/// Keeps a bug selected until it is dropped.
#[derive(Debug)]
#[must_use = "the bug is gone when this is dropped"]
pub struct Planted(());

/// Selects `bug` for every thread of the process, in a test that runs alone.
pub fn plant(bug: Bug) -> Planted {
    EVERYWHERE.store(bug as u32, Ordering::Relaxed);
    Planted(())
}

impl Drop for Planted {
    fn drop(&mut self) {
        EVERYWHERE.store(0, Ordering::Relaxed);
    }
}
