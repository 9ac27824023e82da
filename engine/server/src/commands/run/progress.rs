//! Progress bars of a run: the replay, then files as they are read. Only on a terminal.

use std::{collections::HashMap, time::Duration};

use indicatif::ProgressBar;
use tidewater::{Engine, EngineState, SourceStatus};

use crate::terminal::Bars;

/// Shows how far the engine is until it has ended.
pub(super) async fn show(engine: Engine, bars: Bars) {
    if !bars.are_shown() {
        return;
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut replay: Option<ProgressBar> = None;
    let mut sources: HashMap<String, ProgressBar> = HashMap::new();
    loop {
        ticks.tick().await;
        let status = engine.status();
        if matches!(status.state, EngineState::Stopped | EngineState::Failed(_)) {
            return;
        }
        if status.state == EngineState::Replaying && status.replay.total_bytes > 0 {
            let total = status.replay.total_bytes;
            replay
                .get_or_insert_with(|| bars.bytes("replaying the log", Some(total)))
                .set_position(status.replay.bytes);
        } else if let Some(bar) = replay.take() {
            bar.finish_and_clear();
        }
        for source in status.sources.iter().filter(|source| source.finite) {
            show_source(source, &mut sources, &bars);
        }
    }
}

fn show_source(source: &SourceStatus, shown: &mut HashMap<String, ProgressBar>, bars: &Bars) {
    let (done, total) = source.read_bytes;
    if source.state.is_ended() {
        if let Some(bar) = shown.remove(&source.name) {
            bar.finish_and_clear();
        }
    } else if done > 0 {
        let bar = shown.entry(source.name.clone()).or_insert_with(|| bars.bytes(&source.name, total));
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
    }
}
