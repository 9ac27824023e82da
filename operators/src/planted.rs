//! Planted bugs: mistakes that the property tests must catch, compiled in only with the feature `planted-bugs` and
//! dormant until a test selects one.
//!
//! Production code asks [`active`] behind `#[cfg(feature = "planted-bugs")]`, at the place where the mistake would
//! naturally be made.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering},
};

/// A mistake that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum Bug {
    /// The dedup window calls a duplicate new.
    DuplicateCounted = 1,
    /// An event more than an hour older than the newest seen is dropped.
    LateEventIgnored,
    /// An event's owner is the identifier that stands first in its text, not the one with the highest rank.
    OwnerByArrival,
    /// Of a key that stands twice, the first counts.
    DuplicateKeyFirst,
    /// Numbers go through a 64-bit float.
    NumberAsFloat,
    /// A timer for the end of a window, or for `now`, is a millisecond late.
    WindowEdgeOffByOne,
    /// A segment is not evaluated again when one that it refers to by `in_segment` changed its answer.
    NestedSegmentStale,
    /// A value that rises exactly to a threshold does not cross it.
    ThresholdSkipped,
    /// `null == x` is yes.
    NullComparesEqual,
    /// A merge leaves one member of the cluster that goes behind.
    MemberNotRelabelled,
    /// A split puts members under their new label without what they did.
    PartialDroppedOnSplit,
    /// `last` is what came last, not what is dated last.
    LastByArrival,
    /// A merged profile has the id of the side that was met first.
    UnionInArrivalOrder,
    /// Nothing is looked at again when only time has passed.
    ExpiryMissedOnIdle,
    /// An event dated in the future counts in its windows at once.
    FutureEventCountedAtOnce,
    /// What joins a cluster comes without its windows.
    WindowMergeDropsPanes,
    /// A merge that changes the id of the cluster that stays says nothing of it.
    IdChangeNotPublished,
    /// A link that is taken back goes on joining what it has joined.
    RetractedLinkKept,
    /// An event counts for the last of its identifiers, not for its owner.
    OwnerCountsForOther,
    /// What panes have stays where it is when texts are collected.
    TextLeftBehind,
    /// What the dedup window remembers is gone after a restart.
    DedupLostOnRestart,
    /// A snapshot leaves out what has changed since the one that it is read on top of.
    SnapshotMissesChanges,
    /// A snapshot has nodes as they are when they are written, not as they were at its epoch.
    SnapshotTooNew,
    /// A checkpoint's messages are not read.
    MessagesNotRestored,
    /// A checkpoint's aliases that still wait are not read.
    AliasesNotRestored,
    /// Events dated in the future are not in a snapshot.
    FutureNotRestored,
    /// After a checkpoint was read no timer is due.
    TimersNotRestored,
    /// A checkpoint does not know since when who is a member.
    SinceNotRestored,
    /// A start replays the log from the epoch behind the next one.
    TailBeginsTooLate,
    /// A checkpoint is begun with although a sink lacks deltas of earlier epochs.
    CheckpointAheadOfSink,
    /// Of two snapshots in which a node stands, the older one counts.
    OldestNodeCounts,
    /// A sink's outbox says that it has an epoch which has yet to come.
    OutboxAheadOfEpoch,
    /// A sink's acknowledgement moves past a delta before that is a dead letter.
    DeadLetterAcknowledgedFirst,
}

impl Bug {
    /// The bugs of checkpoints that whole engines show, in the order of their declaration.
    pub const OF_CHECKPOINTS: [Self; 9] = [
        Self::SnapshotMissesChanges,
        Self::MessagesNotRestored,
        Self::AliasesNotRestored,
        Self::FutureNotRestored,
        Self::TimersNotRestored,
        Self::SinceNotRestored,
        Self::TailBeginsTooLate,
        Self::CheckpointAheadOfSink,
        Self::OldestNodeCounts,
    ];

    /// The bugs of deliveries, in the order of their declaration.
    pub const OF_DELIVERIES: [Self; 2] = [Self::OutboxAheadOfEpoch, Self::DeadLetterAcknowledgedFirst];

    /// Every bug but those of checkpoints and deliveries, in the order of their declaration.
    pub const ALL: [Self; 21] = [
        Self::DuplicateCounted,
        Self::LateEventIgnored,
        Self::OwnerByArrival,
        Self::DuplicateKeyFirst,
        Self::NumberAsFloat,
        Self::WindowEdgeOffByOne,
        Self::NestedSegmentStale,
        Self::ThresholdSkipped,
        Self::NullComparesEqual,
        Self::MemberNotRelabelled,
        Self::PartialDroppedOnSplit,
        Self::LastByArrival,
        Self::UnionInArrivalOrder,
        Self::ExpiryMissedOnIdle,
        Self::FutureEventCountedAtOnce,
        Self::WindowMergeDropsPanes,
        Self::IdChangeNotPublished,
        Self::RetractedLinkKept,
        Self::OwnerCountsForOther,
        Self::TextLeftBehind,
        Self::DedupLostOnRestart,
    ];
}

/// The bug selected for every thread; 0 for none.
static EVERYWHERE: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The bug selected for this thread; 0 for none.
    static HERE: Cell<u32> = const { Cell::new(0) };
}

/// Whether `bug` is selected, for this thread or for every thread.
pub fn active(bug: Bug) -> bool {
    HERE.get() == bug as u32 || EVERYWHERE.load(Ordering::Relaxed) == bug as u32
}

/// Keeps a bug selected until it is dropped.
#[derive(Debug)]
#[must_use = "the bug is gone when this is dropped"]
pub struct Planted {
    everywhere: bool,
}

/// Selects `bug` for the calling thread only, so that tests beside it stay sound.
pub fn plant_here(bug: Bug) -> Planted {
    HERE.set(bug as u32);
    Planted { everywhere: false }
}

/// Selects `bug` for every thread of the process: for engines with worker threads, in a test that runs alone.
pub fn plant_everywhere(bug: Bug) -> Planted {
    EVERYWHERE.store(bug as u32, Ordering::Relaxed);
    Planted { everywhere: true }
}

impl Drop for Planted {
    fn drop(&mut self) {
        if self.everywhere {
            EVERYWHERE.store(0, Ordering::Relaxed);
        } else {
            HERE.set(0);
        }
    }
}
