//! Looks at the engine once in a while: rates, memory, gauges. Nothing here decides a result.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::engine::Shared;

/// What was measured last.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// As the bits of an f64.
    events: AtomicU64,
    deltas: AtomicU64,
    memory_bytes: AtomicU64,
}

impl Rates {
    pub(crate) fn events(&self) -> f64 {
        f64::from_bits(self.events.load(Ordering::Relaxed))
    }

    pub(crate) fn deltas(&self) -> f64 {
        f64::from_bits(self.deltas.load(Ordering::Relaxed))
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }
}

/// Measures until the engine has ended or its last handle has gone.
pub(crate) async fn run(shared: Weak<Shared>, every: Duration) {
    let mut before = (Instant::now(), 0, 0);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        if shared.lifecycle.ended().is_some() {
            return;
        }
        let counts = (Instant::now(), shared.metrics.events.get(), shared.metrics.deltas.get());
        let seconds = counts.0.duration_since(before.0).as_secs_f64();
        if seconds > 0.0 {
            let rate = |now: u64, before: u64| ((now - before) as f64 / seconds).to_bits();
            shared.rates.events.store(rate(counts.1, before.1), Ordering::Relaxed);
            shared.rates.deltas.store(rate(counts.2, before.2), Ordering::Relaxed);
        }
        before = counts;
        sample(&shared).await;
    }
}

async fn sample(shared: &Arc<Shared>) {
    // While the log is replayed the workers are busy with it, and the answer would come at its end.
    let replaying = !shared.replay.borrow().done;
    let stats = if replaying { None } else { shared.stats().await.ok() };
    let queued: u64 = shared.sinks.iter().map(|sink| sink.sample()).sum();
    let state: u64 = stats.iter().flat_map(|stats| &stats.bytes).map(|(_, bytes)| bytes).sum();
    let memory = resident_bytes().unwrap_or(state + queued + shared.intake.queued_bytes());
    shared.rates.memory_bytes.store(memory, Ordering::Relaxed);
    let limit = shared.settings.memory_limit_bytes;
    let is_over = limit.is_some_and(|limit| memory > limit);
    shared.intake.set_over_memory(is_over);
    if is_over && !replaying {
        // What is not worth it otherwise: no events come now, and so no epochs that would begin it.
        _ = shared.ask_all(|state| state.begin_collecting()).await;
    }
    let metrics = &shared.metrics;
    metrics.memory_bytes.set(memory as f64);
    metrics.ingest_queue_bytes.set(shared.intake.queued_bytes() as f64);
    let epochs = shared.progress.epochs();
    metrics.epoch.set(epochs.published as f64);
    metrics.epoch_lag.set(epochs.lag() as f64);
    metrics.memory_limit_bytes.set(limit.unwrap_or(0) as f64);
    let is = |condition: bool| f64::from(u8::from(condition));
    metrics.log_waiting.set(is(shared.trouble.log().is_some()));
    if let Some(checkpoints) = &shared.checkpoints {
        let status = checkpoints.status();
        metrics.checkpoint_epoch.set(status.epoch as f64);
        metrics.checkpoint_failing.set(is(status.trouble.is_some()));
    }
    if let Some(stats) = stats {
        metrics.state(&stats, shared.names.segments());
    }
}

/// The memory this process has in use, where the operating system says.
fn resident_bytes() -> Option<u64> {
    // The second number is the resident set in pages; pages of other sizes than 4 KiB only shift the estimate.
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}
