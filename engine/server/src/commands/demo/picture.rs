//! What is shown at any moment, made by the sampler and read by whoever draws it.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tidewater::{Pipeline, Timestamp};

use super::meter::ShownDelta;

/// Points of a history, more than any terminal is wide.
const HISTORY: usize = 240;
/// Deltas kept, more than any terminal is high.
const DELTAS: usize = 100;

/// Shared by the sampler and the view.
#[derive(Debug)]
pub(super) struct Picture {
    frame: Mutex<Frame>,
}

/// One moment.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) seed: u64,
    pub(super) segments: Vec<SegmentRow>,
    pub(super) now: Option<Timestamp>,
    pub(super) events: u64,
    pub(super) duplicates: u64,
    pub(super) quarantined: u64,
    pub(super) deltas: u64,
    pub(super) epochs: u64,
    pub(super) event_rate: History,
    pub(super) delta_rate: History,
    /// Median and 99th percentile.
    pub(super) latency_ms: Option<(f64, f64)>,
    /// Median latencies in microseconds.
    pub(super) latency: History,
    pub(super) profiles: u64,
    pub(super) identifiers: u64,
    pub(super) merges: u64,
    pub(super) state_bytes: u64,
    /// The latest first.
    pub(super) latest: VecDeque<ShownDelta>,
    /// The engine has failed.
    pub(super) failure: Option<String>,
}

/// A segment and how its size went.
#[derive(Clone, Debug)]
pub(super) struct SegmentRow {
    pub(super) name: String,
    pub(super) definition: String,
    pub(super) size: History,
}

/// The last values of something, the newest last.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<u64>);

impl History {
    pub(super) fn push(&mut self, value: u64) {
        if self.0.len() == HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The newest value; 0 before there is one.
    pub(super) fn last(&self) -> u64 {
        self.0.back().copied().unwrap_or(0)
    }

    /// A line of bars, one for each of the last values, from the lowest of them to the highest.
    pub(super) fn sparkline(&self, width: usize) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let values = self.0.iter().skip(self.0.len().saturating_sub(width));
        let (low, high) =
            values.clone().fold((u64::MAX, 0), |(low, high), value| (low.min(*value), high.max(*value)));
        let bar = |value: &u64| match high.checked_sub(low) {
            None | Some(0) => BARS[0],
            Some(range) => BARS[((value - low) as f64 / range as f64 * 7.0).round() as usize],
        };
        let line: String = values.map(bar).collect();
        let missing = width.saturating_sub(self.0.len());
        format!("{}{line}", " ".repeat(missing))
    }
}

impl Picture {
    pub(super) fn new(pipeline: &Pipeline, seed: u64) -> Self {
        let segments = pipeline.spec().segments.iter().enumerate().map(|(index, segment)| SegmentRow {
            name: segment.name.clone(),
            definition: pipeline.segment_text(index).unwrap_or_default().to_owned(),
            size: History::default(),
        });
        let frame = Frame {
            seed,
            segments: segments.collect(),
            now: None,
            events: 0,
            duplicates: 0,
            quarantined: 0,
            deltas: 0,
            epochs: 0,
            event_rate: History::default(),
            delta_rate: History::default(),
            latency_ms: None,
            latency: History::default(),
            profiles: 0,
            identifiers: 0,
            merges: 0,
            state_bytes: 0,
            latest: VecDeque::new(),
            failure: None,
        };
        Self { frame: Mutex::new(frame) }
    }

    /// A copy, so that drawing holds nobody up.
    pub(super) fn frame(&self) -> Frame {
        self.lock().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Frame)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Frame> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frame {
    pub(super) fn show_delta(&mut self, delta: ShownDelta) {
        self.latest.truncate(DELTAS - 1);
        self.latest.push_front(delta);
    }
}

/// A number with commas: `1,234,567`.
pub(super) fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds with about three digits: `0.042 ms`, `1.25 ms`, `318 ms`.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.3} ms"),
        ms if ms < 100.0 => format!("{ms:.2} ms"),
        ms => format!("{ms:.0} ms"),
    }
}
