//! Measures from the hand-over of an event to the arrival of its deltas, and keeps one delta of each kind to show.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tidewater::{Change, Delta, DeltaBatch, Sink, Timestamp};
use tidewater_connector_api::{Acknowledged, DeliveryError, Position};

/// Latencies that percentiles are taken from: at the usual rate those of the last ten seconds.
const KEPT_LATENCIES: usize = 2_048;
/// Epochs whose receipt and deltas may miss each other.
const KEPT_EPOCHS: usize = 4_096;

/// A delta as it is shown.
#[derive(Clone, Debug)]
pub(super) struct ShownDelta {
    pub(super) now: Timestamp,
    pub(super) segment: usize,
    pub(super) change: Change,
    pub(super) who: String,
    pub(super) reason: String,
}

/// What the demo's own sink has seen.
#[derive(Debug)]
pub(super) struct Meter {
    inside: Mutex<Inside>,
}

/// A delta, as its batch and its place in it.
type Place = (Arc<DeltaBatch>, usize);

#[derive(Debug, Default)]
struct Inside {
    /// When events of epochs that have not arrived were handed over.
    handed_over: BTreeMap<u64, Instant>,
    /// When the deltas of epochs arrived whose receipt has not.
    arrived: VecDeque<(u64, Instant)>,
    /// Microseconds.
    latencies: VecDeque<u32>,
    /// By segment and change: the latest delta that nobody has seen, as the batch and its place in it.
    unseen: Vec<[Option<Place>; 2]>,
    /// By segment and change: when one was last shown; 0 is never.
    shown_at: Vec<[u64; 2]>,
    shown: u64,
}

impl Meter {
    pub(super) fn new(segments: usize) -> Self {
        let unseen = (0..segments).map(|_| [None, None]).collect();
        let inside = Inside { unseen, shown_at: vec![[0; 2]; segments], ..Inside::default() };
        Self { inside: Mutex::new(inside) }
    }

    /// The sink to give to the engine.
    pub(super) fn sink(self: &Arc<Self>) -> MeterSink {
        MeterSink(Arc::clone(self))
    }

    /// Events handed over at `at` are in `epoch`.
    pub(super) fn handed_over(&self, epoch: u64, at: Instant) {
        let mut inside = self.lock();
        if let Some((_, arrived)) = inside.arrived.iter().rev().find(|(known, _)| *known == epoch) {
            let latency = arrived.saturating_duration_since(at);
            inside.add_latency(latency.as_micros());
        } else {
            inside.handed_over.entry(epoch).or_insert(at);
        }
    }

    fn arrived(&self, batch: &Arc<DeltaBatch>) {
        let mut inside = self.lock();
        let (epoch, now) = (batch.epoch(), Instant::now());
        // Epochs before this one that have not come had nothing to say.
        let later = inside.handed_over.split_off(&(epoch + 1));
        if let Some(at) = std::mem::replace(&mut inside.handed_over, later).remove(&epoch) {
            inside.add_latency(now.duration_since(at).as_micros());
        }
        if inside.arrived.len() == KEPT_EPOCHS {
            inside.arrived.pop_front();
        }
        inside.arrived.push_back((epoch, now));
        for (place, delta) in batch.iter().enumerate() {
            let change = usize::from(delta.change() == Change::Exited);
            match &mut inside.unseen[delta.segment_index()][change] {
                // Of one batch any will do.
                Some((known, _)) if Arc::ptr_eq(known, batch) => {}
                slot => *slot = Some((Arc::clone(batch), place)),
            }
        }
    }

    /// The median and the 99th percentile of late, in milliseconds; `None` before the first delta.
    pub(super) fn latency_ms(&self) -> Option<(f64, f64)> {
        let mut latencies: Vec<u32> = self.lock().latencies.iter().copied().collect();
        latencies.sort_unstable();
        let at = |percent: usize| {
            latencies.get(latencies.len() * percent / 100).map(|us| f64::from(*us) / 1_000.0)
        };
        at(50).zip(at(99))
    }

    /// A delta that has not been shown, of the kind that was shown the longest ago: at this rate nobody could read
    /// all of them, and so each segment has its turn.
    pub(super) fn next_delta(&self) -> Option<ShownDelta> {
        let mut guard = self.lock();
        let inside = &mut *guard;
        let kinds = (0..inside.unseen.len()).flat_map(|segment| [(segment, 0), (segment, 1)]);
        let waiting = kinds.filter(|(segment, change)| inside.unseen[*segment][*change].is_some());
        let (segment, change) = waiting.min_by_key(|(segment, change)| inside.shown_at[*segment][*change])?;
        inside.shown += 1;
        inside.shown_at[segment][change] = inside.shown;
        let (batch, place) = inside.unseen[segment][change].take()?;
        Some(shown(&batch, &batch.get(place)))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn add_latency(&mut self, us: u128) {
        if self.latencies.len() == KEPT_LATENCIES {
            self.latencies.pop_front();
        }
        self.latencies.push_back(u32::try_from(us).unwrap_or(u32::MAX));
    }
}

fn shown(batch: &DeltaBatch, delta: &Delta<'_>) -> ShownDelta {
    // An address says more than a number, and anything says more than a device.
    let names = batch.names().identifiers();
    let rank = |identifier: usize| ["email", "user_id"].iter().position(|name| *name == names[identifier]);
    let best = delta.identifiers().min_by_key(|(identifier, _)| rank(*identifier).unwrap_or(usize::MAX));
    let who = match best {
        Some((identifier, value)) if rank(identifier).is_none() => {
            format!("visitor {}", value.get(..8).unwrap_or(value))
        }
        Some((_, value)) => value.to_owned(),
        None => delta.profile().to_string(),
    };
    ShownDelta {
        now: batch.now(),
        segment: delta.segment_index(),
        change: delta.change(),
        who,
        reason: delta.reason().to_owned(),
    }
}

/// Takes the deltas of the demo's engine.
pub(super) struct MeterSink(Arc<Meter>);

impl Sink for MeterSink {
    async fn open(&mut self, _: Option<&Acknowledged>) -> Result<Position, DeliveryError> {
        Ok(Position(Vec::new()))
    }

    async fn deliver(&mut self, batches: &[Arc<DeltaBatch>]) -> Result<Position, DeliveryError> {
        batches.iter().for_each(|batch| self.0.arrived(batch));
        Ok(Position(Vec::new()))
    }
}
