//! The end of a finite input: sinks get all the time they need, as long as they get on.

use std::time::Duration;

use tidewater::{Engine, SinkState, SinkStatus};
use tokio::time::Instant;

/// Waits until every sink that is able to has everything. Gives up when all that are left are down, or when none has
/// got on for as long as `patience`.
pub(super) async fn drain(engine: &Engine, patience: Duration) {
    let (mut last, mut since) = (0, Instant::now());
    // Fails only when the engine has ended, and its shutdown then tells why.
    while let Ok(flushed) = engine.flush().await {
        let sinks = engine.status().sinks;
        let left = sinks.iter().filter(|sink| flushed.undelivered_sinks.contains(&sink.name));
        if left.clone().all(|sink| sink.state.is_down()) {
            return;
        }
        let progress: u64 = left.map(|sink| sink.acknowledged_epoch).sum();
        if progress != last {
            (last, since) = (progress, Instant::now());
        } else if since.elapsed() >= patience {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What is wrong with a sink that does not have everything.
pub(super) fn describe(sink: &SinkStatus) -> String {
    let SinkStatus { name, acknowledged_epoch, .. } = sink;
    let state = match &sink.state {
        SinkState::Parked(reason) => format!("is parked: {reason}"),
        SinkState::Failed(reason) => format!("has failed: {reason}"),
        SinkState::Retrying { reason, attempts, .. } => {
            format!("was still being retried after {attempts} attempts: {reason}")
        }
        _ => "did not take everything in time".to_owned(),
    };
    format!("sink `{name}` {state} (it has acknowledged epoch {acknowledged_epoch})")
}
