//! The way down, in the order data flows: sources, then what was taken in, then sinks; never past the deadline, of which
//! sources use half at most.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use crate::{
    delivery::task::AFTER_FAILURE,
    engine::Shared,
    error::Error,
    sequencer::message::Message,
    status::{ShutdownReport, SinkState},
    threads::{self, Thread},
};

/// Everything an engine has started.
pub(crate) struct Tasks {
    pub(crate) threads: Vec<Thread>,
    pub(crate) sources: Vec<JoinHandle<()>>,
    pub(crate) sinks: Vec<SinkTask>,
    pub(crate) monitor: JoinHandle<()>,
}

/// The tasks of one sink.
pub(crate) struct SinkTask {
    pub(crate) delivery: JoinHandle<()>,
    /// Ends behind the last acknowledgement, once the delivery has ended.
    pub(crate) acks: Option<JoinHandle<()>>,
}

/// Sources have this part of the time there is, and the rest is kept for what was taken in: one that does not stop, for a request
/// that never ends, must cost neither the last deltas nor the last checkpoint.
const SHARE_OF_SOURCES: u32 = 2;

/// How long a last fsync may take beyond the deadline: without it what was delivered is delivered again.
const LAST_ACK: Duration = Duration::from_secs(2);

/// How long it may take beyond the deadline to notice that a checkpoint is not wanted any more: one fsync of a few
/// megabytes.
const LAST_PIECE: Duration = Duration::from_secs(2);

/// Stops the engine; see [`Engine::shutdown`](crate::Engine::shutdown).
pub(crate) async fn shutdown(
    shared: &Arc<Shared>,
    tasks: Tasks,
    deadline: Duration,
) -> Result<ShutdownReport, Error> {
    let begun = Instant::now();
    let (sources_until, deadline) = (begun + deadline / SHARE_OF_SOURCES, begun + deadline);
    let cancelled = AbandonWhenDropped(shared);
    shared.lifecycle.drain();
    let unfinished_sources = stop_sources(shared, tasks.sources, sources_until).await;
    shared.intake.close();
    shared.intake.post(Message::Finish);
    let mut threads = std::pin::pin!(threads::join(tasks.threads));
    let mut drained = tokio::time::timeout_at(deadline, &mut threads).await.is_ok();
    let is_all_out = shared.progress.epochs().lag() == 0;
    if !drained && is_all_out && shared.checkpoints.as_ref().is_some_and(|control| control.is_busy()) {
        // Everything is in the log and published; without this checkpoint the next start only takes longer.
        tracing::warn!("the last checkpoint was not made before the shutdown deadline");
        shared.lifecycle.give_up_checkpoint();
        drained = tokio::time::timeout(LAST_PIECE, &mut threads).await.is_ok();
    }
    if !drained {
        // Whatever blocks (a dataflow in a long epoch, a disk) can't be interrupted; the process may end regardless.
        shared.lifecycle.fail("it did not drain before the shutdown deadline");
    }
    let until = match shared.lifecycle.is_failed() {
        true => deadline.min(Instant::now() + AFTER_FAILURE),
        false => deadline,
    };
    close_sinks(shared, tasks.sinks, until).await;
    tasks.monitor.abort();
    std::mem::forget(cancelled);
    shared.lifecycle.stopped();
    match shared.lifecycle.ended() {
        Some(error @ Error::Failed { .. }) => Err(error),
        _ => Ok(report(shared, unfinished_sources)),
    }
}

/// A shutdown that is not waited for to its end leaves an engine that has to stop by itself.
struct AbandonWhenDropped<'a>(&'a Shared);

impl Drop for AbandonWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.lifecycle.abandon();
        self.0.intake.close();
        self.0.intake.post(Message::Finish);
        self.0.sinks.iter().for_each(|sink| sink.abandon());
    }
}

/// What is left undone.
pub(crate) fn report(shared: &Shared, unfinished_sources: Vec<String>) -> ShutdownReport {
    let epoch = shared.progress.epochs().published;
    let undelivered = shared.sinks.iter().filter(|sink| sink.status().state != SinkState::Closed);
    let undelivered_sinks = undelivered.map(|sink| sink.name().to_owned()).collect();
    ShutdownReport { epoch, unfinished_sources, undelivered_sinks }
}

async fn stop_sources(shared: &Shared, tasks: Vec<JoinHandle<()>>, deadline: Instant) -> Vec<String> {
    let mut unfinished = Vec::new();
    for (mut task, source) in tasks.into_iter().zip(&shared.sources) {
        if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
            task.abort();
            tracing::warn!(source = source.name(), "source did not stop in time");
            unfinished.push(source.name().to_owned());
        }
    }
    unfinished
}

async fn close_sinks(shared: &Shared, tasks: Vec<SinkTask>, deadline: Instant) {
    for (mut task, sink) in tasks.into_iter().zip(&shared.sinks) {
        if tokio::time::timeout_at(deadline, &mut task.delivery).await.is_err() {
            sink.abandon();
            task.delivery.abort();
            tracing::warn!(sink = sink.name(), "sink does not have everything at the shutdown deadline");
        }
        if let Some(acks) = task.acks
            && tokio::time::timeout(LAST_ACK, acks).await.is_err()
        {
            tracing::warn!(sink = sink.name(), "the last acknowledgement could not be recorded in time");
        }
        sink.release();
    }
}
