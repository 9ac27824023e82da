//! Copies of a state directory, of a running engine and of a stopped one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tidewater_storage::{
    Copied, Extent, LogOptions, NewState, QuarantineOptions, StateDir, StateReader, StorageError,
};

use crate::{
    engine::{Engine, Shared},
    error::Error,
    opening::report,
    sequencer::message::Message,
};

/// How often it is looked whether the log waits for room, while its answer is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Engine {
    /// Makes a checkpoint, and copies the state directory to another one, which must be empty or not there. Nothing waits
    /// for it: files that never change are linked where that can be, the others read beside the stream.
    ///
    /// The copy is complete up to some epoch that is no earlier than the call: an engine that is started on it goes on
    /// there, exactly as this one did. It holds what sinks have acknowledged by then, and so gives the same sinks what they got
    /// from this engine since, once more. Two engines must not feed one destination.
    ///
    /// ```
    /// use tidewater::{Engine, Pipeline, offline, pipeline::FixedEnvironment};
    ///
    /// # #[tokio::main(flavor = "multi_thread", worker_threads = 1)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let (state, backup) = (directory.path().join("state"), directory.path().join("backup"));
    /// let pipeline = Pipeline::from_yaml(
    ///     "
    ///     workers: 1
    ///     identifiers: { user_id: { from: userId } }
    ///     traits:      { orders: { count: Order Completed } }
    ///     segments:    { loyal: orders >= 3 }
    ///     ",
    ///     &FixedEnvironment::new(),
    /// )?;
    /// let engine = Engine::builder(&pipeline).state(&state).start().await?;
    /// engine.ingest(r#"{"type":"track","event":"Order Completed","messageId":"m1","userId":"u42"}"#).await?;
    /// let copied = engine.copy_to(&backup).await?;
    /// assert_eq!(offline::open_state(&backup)?.epoch(), copied.epoch);
    /// # engine.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] without a state directory; [`Error::Storage`] if the copy can't be written, or something stands where
    /// it should, or the log waits for room on the disk, which the copy keeps others from making; [`Error::Failed`] if there can be
    /// no checkpoint; [`Error::Closed`] once the engine has ended. What has
    /// been written of the copy by then is refused by everything that opens it.
    pub async fn copy_to(&self, to: impl Into<PathBuf>) -> Result<Copied, Error> {
        let Some(state) = self.shared.state.clone() else {
            return Err(Error::config("without a state directory there is nothing to copy"));
        };
        self.checkpoint().await?;
        let (shared, to) = (Arc::clone(&self.shared), to.into());
        let runtime = tokio::runtime::Handle::current();
        let copying =
            tokio::task::spawn_blocking(move || state.copy_to(&to, || runtime.block_on(extent(&shared))));
        copying.await.map_err(|_| Error::failed("copying panicked"))?
    }
}

/// How far log and quarantine go. While a copy is made nothing is removed, so a log that waits for room on the disk may wait
/// for just this copy: it is given up.
async fn extent(shared: &Shared) -> Result<Extent, Error> {
    let mut answer = std::pin::pin!(shared.request(Message::Extent));
    loop {
        if let Ok(extent) = tokio::time::timeout(LOOK_EVERY, &mut answer).await {
            return extent?;
        }
        if let Some(trouble) = shared.trouble.log() {
            let detail = format!(
                "the copy is given up, and what there is of it can be removed: while it is made the log may wait for room for good \
                 ({trouble})"
            );
            return Err(StorageError::Refused { detail }.into());
        }
    }
}

/// See [`offline::copy_state`](crate::offline::copy_state).
pub(crate) fn copy_stopped(from: &Path, to: &Path) -> Result<Copied, Error> {
    // Without a lock first: a directory that is none must not be made.
    let meta = StateReader::open(from)?.meta().clone();
    let new = NewState { key: meta.key, deployment: meta.deployment, definitions: meta.definitions };
    let state = StateDir::open(from, &new)?;
    let (log, cut) = state.open_log(LogOptions::default())?;
    report("log", cut);
    let (quarantine, cut) = state.open_quarantine(QuarantineOptions::default())?;
    report("quarantine", cut);
    let extent = Extent::of(&log, &quarantine)?;
    Ok(state.reader().copy_to(to, || Ok::<_, StorageError>(extent))?)
}
