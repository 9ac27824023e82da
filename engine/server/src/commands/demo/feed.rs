//! Hands the shop's events to the engine, at a steady rate or as fast as it takes them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tidewater::{Engine, RawEvents, Receipt};
use tokio::sync::mpsc;

use super::meter::Meter;
use crate::{exit::Failure, shop::Shop};

/// What the one who watches can change.
#[derive(Debug)]
pub(super) struct Control {
    /// Events a second; 0: no limit.
    rate: AtomicU64,
    is_paused: AtomicBool,
    /// How long it has been paused, in all.
    paused_ms: AtomicU64,
    is_stopped: AtomicBool,
    is_done: AtomicBool,
}

impl Control {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate: AtomicU64::new(rate),
            is_paused: AtomicBool::new(false),
            paused_ms: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
            is_done: AtomicBool::new(false),
        }
    }

    /// Events a second; 0: no limit.
    pub(super) fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Twice as fast, or half as fast. From 100 a second to no limit at all.
    pub(super) fn change_rate(&self, faster: bool) {
        const MOST: u64 = 1_000_000;
        let rate = match (self.rate(), faster) {
            (0, true) => 0,
            (0, false) => MOST,
            (rate, true) if rate >= MOST => 0,
            (rate, true) => rate * 2,
            (rate, false) => (rate / 2).max(100),
        };
        self.rate.store(rate, Ordering::Relaxed);
    }

    pub(super) fn toggle_pause(&self) {
        self.is_paused.fetch_xor(true, Ordering::Relaxed);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// How long it has been paused, in all.
    pub(super) fn paused(&self) -> Duration {
        Duration::from_millis(self.paused_ms.load(Ordering::Relaxed))
    }

    /// No more events.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Whether all events have been handed over.
    pub(super) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Relaxed)
    }
}

/// The most events handed over at once.
const BATCH_EVENTS: u64 = 1_000;
/// How often a batch is handed over at a steady rate: often enough that waiting for the next one is no part of the
/// latency anybody would notice.
const PACE: Duration = Duration::from_millis(5);

/// Feeds until the shop has no more events or is told to stop.
pub(super) async fn feed(
    engine: Engine,
    mut shop: Shop,
    control: Arc<Control>,
    meter: Arc<Meter>,
) -> Result<(), Failure> {
    let result = feed_all(&engine, &mut shop, &control, meter).await;
    control.is_done.store(true, Ordering::Relaxed);
    result
}

async fn feed_all(
    engine: &Engine,
    shop: &mut Shop,
    control: &Control,
    meter: Arc<Meter>,
) -> Result<(), Failure> {
    let (handed_over, receipts) = mpsc::unbounded_channel();
    let settling = tokio::spawn(settle(receipts, meter));
    let mut last = Instant::now();
    // Events that are due, with the fraction of the next one.
    let mut due = 0.0;
    let mut line = Vec::new();
    let mut more = true;
    while more && !control.is_stopped() {
        if control.is_paused() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            control.paused_ms.fetch_add(last.elapsed().as_millis() as u64, Ordering::Relaxed);
            last = Instant::now();
            continue;
        }
        let count = match control.rate() {
            0 => BATCH_EVENTS,
            rate => {
                tokio::time::sleep(PACE).await;
                // What could not be handed over in time is not made up for: then this is as fast as it gets.
                due = (due + last.elapsed().as_secs_f64() * rate as f64).min(rate as f64 / 10.0 + 1.0);
                due as u64
            }
        };
        last = Instant::now();
        let mut left = count;
        while left > 0 && more {
            let mut batch = RawEvents::new();
            for _ in 0..left.min(BATCH_EVENTS) {
                line.clear();
                more = shop.write_next(&mut line);
                if !more {
                    break;
                }
                batch.push(&line);
            }
            left -= left.min(BATCH_EVENTS);
            if !batch.is_empty() {
                let at = Instant::now();
                // Nobody listens only once this task has ended.
                let _ = handed_over.send((at, engine.submit(batch).await?));
            }
        }
        due -= (count as f64).min(due);
    }
    drop(handed_over);
    let _ = settling.await;
    Ok(())
}

/// Waits for the receipts, in the order of their events.
async fn settle(mut receipts: mpsc::UnboundedReceiver<(Instant, Receipt)>, meter: Arc<Meter>) {
    while let Some((at, receipt)) = receipts.recv().await {
        if let Ok(accepted) = receipt.await {
            meter.handed_over(accepted.epoch, at);
        }
    }
}
