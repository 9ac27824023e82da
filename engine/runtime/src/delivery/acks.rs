//! Acknowledgements on their way to disk: recorded in order, the latest one wins, and delivery never waits for one.
//!
//! An acknowledgement that a crash takes back only means that the same deltas come once more under the same keys.

use std::{sync::Arc, time::Duration};

use tidewater_connector_api::Acknowledged;
use tidewater_storage::{AckFile, StorageError};
use tokio::{sync::watch, task::JoinHandle};

use super::queue::SinkQueue;

/// How long to wait for room on a full disk before the next attempt.
const NO_SPACE_WAIT: Duration = Duration::from_secs(1);

/// Takes the acknowledgements of one sink. Once it is dropped, the last one is written and the file closed.
pub(crate) struct AckSender {
    latest: watch::Sender<Option<Acknowledged>>,
    written: watch::Receiver<Option<Acknowledged>>,
}

/// Sees how far a sink's acknowledgements are durable.
pub(crate) struct AckWatch {
    latest: watch::Receiver<Option<Acknowledged>>,
    written: watch::Receiver<Option<Acknowledged>>,
}

impl AckWatch {
    /// Whether the last acknowledgement sent is durable.
    pub(crate) fn is_settled(&self) -> bool {
        *self.written.borrow() == *self.latest.borrow()
    }

    /// The last epoch of which an acknowledgement is durable, if there is one since the start.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.written.borrow().as_ref().map(|written| written.epoch)
    }
}

impl AckSender {
    pub(crate) fn watch(&self) -> AckWatch {
        AckWatch { latest: self.latest.subscribe(), written: self.written.clone() }
    }

    pub(crate) fn record(&self, acknowledged: Acknowledged) {
        self.latest.send_replace(Some(acknowledged));
    }

    /// The last acknowledgement sent.
    pub(crate) fn latest(&self) -> Option<Acknowledged> {
        self.latest.borrow().clone()
    }

    /// Waits until the last acknowledgement sent is durable: true. False if it never can be.
    pub(crate) async fn settled(&self) -> bool {
        let mut written = self.written.clone();
        // An error means that the writer has ended, which it reported.
        written.wait_for(|written| *written == *self.latest.borrow()).await.is_ok()
    }
}

/// Starts the task that writes what is sent; it ends behind the last one. The queue's outbox keeps what is not recorded.
pub(crate) fn spawn(sink: &str, file: AckFile, queue: Arc<SinkQueue>) -> (AckSender, JoinHandle<()>) {
    let (latest, receiver) = watch::channel(None);
    let (done, written) = watch::channel(None);
    let writing = write_all(sink.to_owned(), (file, queue), receiver, done);
    (AckSender { latest, written }, tokio::spawn(writing))
}

async fn write_all(
    sink: String,
    (mut file, queue): (AckFile, Arc<SinkQueue>),
    mut latest: watch::Receiver<Option<Acknowledged>>,
    written: watch::Sender<Option<Acknowledged>>,
) {
    // After the sender is gone the last value still counts as changed once.
    while latest.changed().await.is_ok() {
        let Some(acknowledged) = latest.borrow_and_update().clone() else { continue };
        match record(file, acknowledged.clone(), Arc::clone(&queue)).await {
            Some((returned, Ok(()))) => {
                file = returned;
                written.send_replace(Some(acknowledged));
            }
            Some((returned, Err(StorageError::NoSpace { path }))) => {
                tracing::warn!(sink, path = %path.display(), "no space to record an acknowledgement");
                file = returned;
                latest.mark_changed();
                if latest.has_changed().is_err() {
                    // Nothing more comes: the deltas behind the last record are delivered again.
                    return;
                }
                tokio::time::sleep(NO_SPACE_WAIT).await;
            }
            Some((_, Err(error))) => {
                tracing::error!(sink, %error, "acknowledgements are recorded no more: a restart delivers again");
                return;
            }
            None => return,
        }
    }
}

async fn record(
    mut file: AckFile,
    acknowledged: Acknowledged,
    queue: Arc<SinkQueue>,
) -> Option<(AckFile, Result<(), StorageError>)> {
    let recorded = crate::threads::blocking(move || {
        let result = file.record(acknowledged.epoch, acknowledged.position.as_bytes());
        if result.is_ok() {
            queue.forget(acknowledged.epoch);
        }
        (file, result)
    });
    recorded.await.ok()
}
