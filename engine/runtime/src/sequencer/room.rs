//! Room in the ingest queue: whoever waits for some can't take what is kept for those who can't wait.
//!
//! Invariant: no more is given out than there is, and nobody ever stands in line for the part that is kept.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// Room is counted in units of this many bytes, which is also about what an empty batch costs.
pub(super) const UNIT_BYTES: usize = 512;

/// One in so many units is kept for those who can't wait: half, so that a backlog of files and live requests, each with
/// more than fits, get about the same.
const KEPT_SHARE: u32 = 2;

/// The room of one queue.
pub(super) struct Room {
    /// For everyone. What is given back goes to those who stand in line, down to the last unit: while anyone does, there is
    /// as good as never any for who does not wait.
    common: Arc<Semaphore>,
    /// For those who don't wait.
    kept: Arc<Semaphore>,
    common_units: u32,
    kept_units: u32,
}

/// Room that was given out; given back when dropped.
pub(crate) struct Permits {
    _kept: Option<OwnedSemaphorePermit>,
    _common: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let units = in_units(bytes, most);
        let kept_units = units / KEPT_SHARE;
        let common_units = units - kept_units;
        let semaphore = |units: u32| Arc::new(Semaphore::new(units as usize));
        Self { common: semaphore(common_units), kept: semaphore(kept_units), common_units, kept_units }
    }

    /// Waits for room, in the order of the calls. What is larger than all that may be waited for takes all of that.
    pub(super) async fn wait(&self, bytes: usize) -> Result<Permits, AcquireError> {
        let cost = in_units(bytes, self.common_units);
        let common = Arc::clone(&self.common).acquire_many_owned(cost).await?;
        Ok(Permits { _kept: None, _common: common })
    }

    /// Takes room if there is enough at once, first of what is kept. What is larger than the whole takes the whole.
    pub(super) fn take(&self, bytes: usize) -> Result<Permits, TryAcquireError> {
        let cost = in_units(bytes, self.common_units + self.kept_units);
        loop {
            let available = u32::try_from(self.kept.available_permits()).unwrap_or(u32::MAX);
            let from_kept = cost.min(available);
            let kept = match Arc::clone(&self.kept).try_acquire_many_owned(from_kept) {
                // Somebody took of it since it was counted.
                Err(TryAcquireError::NoPermits) => continue,
                kept => kept?,
            };
            let common = Arc::clone(&self.common).try_acquire_many_owned(cost - from_kept)?;
            return Ok(Permits { _kept: Some(kept), _common: common });
        }
    }

    /// Gives out nothing more.
    pub(super) fn close(&self) {
        self.common.close();
        self.kept.close();
    }

    /// What is given out.
    pub(super) fn used_bytes(&self) -> u64 {
        let left = self.common.available_permits() + self.kept.available_permits();
        let units = u64::from(self.common_units) + u64::from(self.kept_units);
        units.saturating_sub(left as u64) * UNIT_BYTES as u64
    }
}

/// How many units that many bytes are; nothing is for free.
fn in_units(bytes: usize, most: u32) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, most)
}
