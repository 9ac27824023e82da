//! The wait between two attempts, and whether there is to be another.

use std::time::Duration;

use tidewater_connector_api::DeliveryError;

use super::{SinkHandle, retry::Backoff};
use crate::{clock::Random, status::SinkState};

/// Whether an attempt is worth another.
pub(super) enum Verdict {
    Again,
    Over,
}

/// Waits as long as the error asks for.
pub(super) async fn failed(
    (handle, random): (&SinkHandle, &dyn Random),
    error: DeliveryError,
    backoff: &mut Backoff,
) -> Verdict {
    let wait = backoff.failed(random.next(), error.retry_after());
    let (attempts, wait_ms) = (backoff.attempts(), wait.as_millis() as u64);
    if let DeliveryError::Refused { reason } = error {
        tracing::error!(sink = handle.name(), reason, attempts, wait_ms, "sink parked: it takes nothing");
        handle.set_state(SinkState::Parked(reason));
    } else {
        let reason = error.to_string();
        tracing::warn!(sink = handle.name(), reason, attempts, wait_ms, "delivery failed");
        handle.set_state(SinkState::Retrying { reason, attempts, wait });
    }
    wait_for(handle, wait).await
}

/// Waits. Nobody waits for a sink that is parked once nothing more follows: it gets the rest after the next start.
pub(super) async fn wait_for(handle: &SinkHandle, wait: Duration) -> Verdict {
    let is_parked = matches!(handle.progress.borrow().state, SinkState::Parked(_));
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = handle.until_abandoned() => return Verdict::Over,
        () = handle.queue.until_closed(), if is_parked => return Verdict::Over,
    }
    if handle.queue.is_given_up() { Verdict::Over } else { Verdict::Again }
}
