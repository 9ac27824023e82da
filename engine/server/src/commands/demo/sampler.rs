//! Looks at the engine ten times a second and updates the picture.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidewater::{Engine, EngineState};

use super::{feed::Control, meter::Meter, picture::Picture};

const EVERY: Duration = Duration::from_millis(100);
/// Numbers that change ten times a second can't be read: rates and sizes are taken every so many looks.
const LOOKS_PER_POINT: u64 = 5;
/// A delta is shown every so many looks.
const LOOKS_PER_DELTA: u64 = 3;

/// Samples until the engine ends.
pub(super) async fn sample(engine: Engine, meter: Arc<Meter>, picture: Arc<Picture>, control: Arc<Control>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = (Instant::now(), 0, 0);
    for look in 1_u64.. {
        ticks.tick().await;
        let status = engine.status();
        picture.change(|frame| {
            if status.epochs.published > 0 {
                frame.now = Some(status.epochs.now);
            }
            frame.events = status.counts.events;
            frame.duplicates = status.counts.duplicates;
            frame.quarantined = status.counts.quarantined.iter().map(|(_, count)| count).sum();
            frame.deltas = status.counts.deltas;
            frame.epochs = status.counts.epochs;
            if look.is_multiple_of(LOOKS_PER_DELTA) && !control.is_paused() {
                meter.next_delta().into_iter().for_each(|delta| frame.show_delta(delta));
            }
            if let EngineState::Failed(reason) = &status.state {
                frame.failure = Some(reason.to_string());
            }
        });
        if !look.is_multiple_of(LOOKS_PER_POINT) || control.is_paused() {
            continue;
        }
        let Ok(stats) = engine.stats().await else { return };
        let seconds = before.0.elapsed().as_secs_f64();
        let rate = |count: u64, before: u64| ((count - before) as f64 / seconds.max(0.001)).round() as u64;
        picture.change(|frame| {
            frame.event_rate.push(rate(frame.events, before.1));
            frame.delta_rate.push(rate(frame.deltas, before.2));
            frame.latency_ms = meter.latency_ms();
            if let Some((median, _)) = frame.latency_ms {
                frame.latency.push((median * 1_000.0) as u64);
            }
            frame.profiles = stats.profiles;
            frame.identifiers = stats.identifiers;
            frame.merges = stats.merges;
            frame.state_bytes = stats.bytes.iter().map(|(_, bytes)| bytes).sum();
            for (row, members) in frame.segments.iter_mut().zip(&stats.members) {
                row.size.push(*members);
            }
            before = (Instant::now(), frame.events, frame.deltas);
        });
    }
}
