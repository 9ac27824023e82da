//! One task a source: it runs, and runs again from the last durable position when its input was out of reach.

use std::{sync::Arc, time::Duration};

use metrics::Gauge;
use tidewater_connector_api::{BoxSource, ReadError, Source, SourceContext};
use tokio::sync::watch;

use crate::{
    clock::Random,
    delivery::{retry::Backoff, task::AbortWhenDropped},
    engine::Shared,
    lifecycle::{EngineState, panic_text},
    logger::Positions,
    sequencer::intake::{ReadProgress, SourceIngress},
    status::{SourceState, SourceStatus},
};

/// What the rest of the engine sees of a source.
#[derive(Debug)]
pub(crate) struct SourceHandle {
    name: Arc<str>,
    finite: bool,
    state: watch::Sender<SourceState>,
    progress: Arc<ReadProgress>,
    down: Gauge,
}

impl SourceHandle {
    pub(crate) fn new(name: &str, source: &BoxSource, down: Gauge) -> Self {
        let finite = source.capabilities().finite;
        let state = watch::Sender::new(SourceState::Waiting);
        down.set(0.0);
        Self { name: name.into(), finite, state, progress: Arc::default(), down }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn status(&self) -> SourceStatus {
        SourceStatus {
            name: self.name.to_string(),
            state: self.state.borrow().clone(),
            finite: self.finite,
            read_bytes: self.progress.get(),
        }
    }

    pub(crate) async fn until_ended(&self) -> SourceState {
        let mut state = self.state.subscribe();
        // The sender lives as long as `self`.
        let ended = state.wait_for(SourceState::is_ended).await.map(|state| state.clone());
        ended.unwrap_or(SourceState::Finished)
    }

    fn set(&self, state: SourceState) {
        self.down.set(f64::from(u8::from(state.is_down())));
        self.state.send_replace(state);
    }
}

/// Runs a source until it ends for good. A panic in it ends the source and nothing else.
pub(crate) async fn run(
    shared: Arc<Shared>,
    handle: Arc<SourceHandle>,
    mut source: BoxSource,
    positions: Positions,
    random: Arc<dyn Random>,
) {
    let mut backoff = Backoff::new(shared.settings.retry.clone());
    if !is_running(&shared).await {
        return handle.set(SourceState::Finished);
    }
    loop {
        handle.set(SourceState::Running);
        let started = tokio::time::Instant::now();
        let resume = {
            let positions = positions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            positions.get(&*handle.name).cloned()
        };
        let ingress = SourceIngress {
            name: Arc::clone(&handle.name),
            intake: Arc::clone(&shared.intake),
            progress: Arc::clone(&handle.progress),
        };
        let context = SourceContext::new(&handle.name, resume, Arc::new(ingress));
        // A task of its own: that is where tokio catches panics.
        let task = tokio::spawn(async move {
            let result = source.run(context).await;
            (source, result)
        });
        let abort = AbortWhenDropped(task.abort_handle());
        let ended = task.await;
        drop(abort);
        let error = match ended {
            Ok((_, Ok(()))) => return handle.set(SourceState::Finished),
            Ok((returned, Err(error))) => {
                source = returned;
                error
            }
            Err(error) => {
                let panic = error.try_into_panic().map(|panic| panic_text(&*panic));
                let reason = panic.map_or("it was stopped".to_owned(), |text| format!("it panicked: {text}"));
                return fail(&handle, reason);
            }
        };
        let ReadError::Unavailable { reason } = error else { return fail(&handle, error.to_string()) };
        if shared.lifecycle.is_closing_sources() {
            return handle.set(SourceState::Finished);
        }
        // It ran well for a while, so this is a new outage.
        if started.elapsed() >= Duration::from_millis(shared.settings.retry.longest_ms) {
            backoff = Backoff::new(shared.settings.retry.clone());
        }
        let wait = backoff.failed(random.next(), None);
        tracing::warn!(
            source = handle.name(),
            reason,
            wait_ms = wait.as_millis() as u64,
            "source unavailable"
        );
        handle.set(SourceState::Retrying(reason));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.lifecycle.sources_closing() => return handle.set(SourceState::Finished),
        }
        // What it has sent must be durable, or it would resume before it and send it twice.
        let durable = async {
            let epoch = shared.cut().await?;
            shared.until_published(epoch).await
        };
        if durable.await.is_err() {
            return handle.set(SourceState::Finished);
        }
    }
}

/// Waits for the end of the replay; whether the engine runs then.
async fn is_running(shared: &Shared) -> bool {
    let mut state = shared.lifecycle.watch();
    let replayed = state.wait_for(|state| *state != EngineState::Replaying).await;
    matches!(replayed.as_deref(), Ok(EngineState::Running))
}

fn fail(handle: &SourceHandle, reason: String) {
    tracing::error!(source = handle.name(), reason, "source failed");
    handle.set(SourceState::Failed(reason));
}
