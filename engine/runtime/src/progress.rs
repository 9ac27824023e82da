//! How far each stage has come: sealed, durable, computed, published. Each number only grows.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tidewater_model::Timestamp;
use tokio::sync::watch;

/// Epochs by stage. Published is the least of durable and computed: what the outside world may know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Epochs {
    /// The last one that was cut.
    pub sealed: u64,
    /// The last one that a crash can't take back; without a state directory, the last one that was cut.
    pub durable: u64,
    /// The last one that all workers have computed.
    pub computed: u64,
    /// The last one whose deltas have gone to sinks and subscribers.
    pub published: u64,
    /// `now` of the last published epoch.
    pub now: Timestamp,
}

impl Epochs {
    /// How many epochs have been cut and not yet published.
    pub fn lag(&self) -> u64 {
        self.sealed.saturating_sub(self.published)
    }
}

/// Written by the threads of an engine, read by its handles.
#[derive(Debug)]
pub(crate) struct Progress {
    sealed: AtomicU64,
    durable: AtomicU64,
    computed: AtomicU64,
    now: AtomicI64,
    published: watch::Sender<u64>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            sealed: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            computed: AtomicU64::new(0),
            now: AtomicI64::new(Timestamp::MIN.0),
            published: watch::Sender::new(0),
        }
    }

    pub(crate) fn sealed(&self, epoch: u64) {
        self.sealed.fetch_max(epoch, Ordering::Relaxed);
    }

    pub(crate) fn durable(&self, epoch: u64) {
        self.durable.fetch_max(epoch, Ordering::Relaxed);
    }

    pub(crate) fn computed(&self, epoch: u64) {
        self.computed.fetch_max(epoch, Ordering::Relaxed);
    }

    pub(crate) fn published(&self, epoch: u64, now: Timestamp) {
        self.now.fetch_max(now.0, Ordering::Relaxed);
        self.published.send_if_modified(|published| {
            let grown = epoch > *published;
            *published = (*published).max(epoch);
            grown
        });
    }

    pub(crate) fn epochs(&self) -> Epochs {
        // Read back to front, so that no stage seems to be ahead of the one before it.
        let published = *self.published.borrow();
        let now = Timestamp(self.now.load(Ordering::Relaxed));
        let computed = self.computed.load(Ordering::Relaxed).max(published);
        let durable = self.durable.load(Ordering::Relaxed).max(published);
        let sealed = self.sealed.load(Ordering::Relaxed).max(durable).max(computed);
        Epochs { sealed, durable, computed, published, now }
    }

    /// Waits until `epoch` has been published. Never resolves if it is not.
    pub(crate) async fn until_published(&self, epoch: u64) {
        // The sender lives as long as `self`.
        let _ = self.published.subscribe().wait_for(|published| *published >= epoch).await;
    }
}
