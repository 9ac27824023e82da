//! Time comes in through [`Clock`], so that tests and embedding programs decide what it says.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use tidewater_model::{Millis, Timestamp};

pub use tidewater_connector_api::{Clock, SystemClock};

/// A clock that stands still until it is told to move. Engines that run on it see the jump at once.
#[derive(Default)]
pub struct ManualClock {
    now: AtomicI64,
    watchers: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { now: AtomicI64::new(now.0), watchers: Mutex::default() }
    }

    /// Sets the clock, also back.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::SeqCst);
        self.notify();
    }

    /// Moves the clock by `span`.
    pub fn advance(&self, span: Millis) {
        self.now.fetch_add(span.0, Ordering::SeqCst);
        self.notify();
    }

    fn notify(&self) {
        let watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.iter().for_each(|changed| changed());
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(changed);
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

/// Randomness comes in through this interface: the id key of a new state directory, and the jitter of retries.
pub trait Random: Send + Sync + 'static {
    /// 64 random bits. They must be unpredictable where profile ids are to be so.
    fn next(&self) -> u64;
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};

        // The standard library seeds its hash maps with 128 random bits of the operating system; hashing nothing
        // under such a key gives 64 unpredictable ones without a dependency.
        std::hash::RandomState::new().build_hasher().finish()
    }
}
