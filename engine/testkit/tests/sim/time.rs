//! Time that passes only when everybody waits for it, and a clock that is set to and fro.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tidewater::{Clock, Timestamp, testing::Turns};

use super::turns::Baton;
use tidewater_testkit::{generate::START, random::Random};

/// The longest step of time while nobody has anything to do.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// Lets threads and tasks go on until the future beside it is done. To be run on a runtime whose clock is paused.
pub(super) async fn pump(baton: Arc<Baton>, seed: u64) {
    let mut random = Random::new(seed ^ 0x7153);
    let began = tokio::time::Instant::now();
    loop {
        baton.pass();
        baton.set_now(began.elapsed());
        if baton.is_busy() {
            // Work takes time, too, or nothing would ever time out while it is done.
            match random.below(400) {
                0 => tokio::time::advance(Duration::from_millis(1 + random.below(20))).await,
                _ => tokio::task::yield_now().await,
            }
            continue;
        }
        let now = began.elapsed();
        let until = baton.next_wait().map_or(LONGEST_STEP, |until| until.saturating_sub(now));
        tokio::select! {
            biased;
            () = baton.woken() => {}
            () = tokio::time::sleep(until.min(LONGEST_STEP)) => {}
        }
    }
}

/// The wall clock of the machine: it goes with the time that passes, and is set now and then.
pub(super) struct SimClock {
    baton: Arc<Baton>,
    /// By how much it is off, in milliseconds.
    off: AtomicI64,
    watchers: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl SimClock {
    pub(super) fn new(baton: Arc<Baton>) -> Arc<Self> {
        Arc::new(Self { baton, off: AtomicI64::new(0), watchers: Mutex::default() })
    }

    /// Sets it forward or back.
    pub(super) fn jump(&self, ms: i64) {
        self.off.fetch_add(ms, Ordering::SeqCst);
        for watcher in self.watchers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            watcher();
        }
    }

    /// Those who watch belong to a process that has ended.
    pub(super) fn forget_watchers(&self) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.baton.elapsed().as_millis() as i64;
        Timestamp(START + elapsed + self.off.load(Ordering::SeqCst))
    }

    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(changed);
    }
}
