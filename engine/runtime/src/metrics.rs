//! Every metric of the engine: its name, unit and meaning stand in this file and nowhere else.
//!
//! All go through the `metrics` facade with the label `pipeline`, to whatever recorder the process has installed by
//! the time the engine starts; without one they cost next to nothing. The counters are kept twice, since a facade's
//! counter can't be read back and `status()` shows them too.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, Unit};
use tidewater_model::RejectReason;
use tidewater_operators::dataflow::WorkerStats;

/// Events accepted into an epoch.
pub const EVENTS: &str = "tidewater_events_total";
/// Events dropped as duplicates.
pub const DUPLICATES: &str = "tidewater_events_duplicate_total";
/// Events refused and, but for those lost, put in quarantine, by `reason`.
pub const QUARANTINED: &str = "tidewater_events_quarantined_total";
/// Refused events that found no room in the quarantine and are not kept; [`QUARANTINED`] counts them too.
pub const QUARANTINE_LOST: &str = "tidewater_quarantine_lost_total";
/// Values that read as null because they are no number or too large for one.
pub const BAD_NUMBERS: &str = "tidewater_values_not_numeric_total";
/// Identifier values that were too long to be used.
pub const LONG_IDENTIFIERS: &str = "tidewater_identifiers_too_long_total";
/// Epochs cut.
pub const EPOCHS: &str = "tidewater_epochs_total";
/// The last epoch that was published.
pub const EPOCH: &str = "tidewater_epoch";
/// Seconds from cutting an epoch to publishing its deltas.
pub const EPOCH_SECONDS: &str = "tidewater_epoch_seconds";
/// Epochs cut and not yet published.
pub const EPOCH_LAG: &str = "tidewater_epoch_lag";
/// Membership deltas published.
pub const DELTAS: &str = "tidewater_deltas_total";
/// Bytes of events waiting to be taken into an epoch.
pub const INGEST_QUEUE_BYTES: &str = "tidewater_ingest_queue_bytes";
/// 1 while the log waits for room on the disk: someone has to act.
pub const LOG_WAITING: &str = "tidewater_log_waiting";
/// Bytes appended to the log.
pub const LOG_BYTES: &str = "tidewater_log_bytes_total";
/// Seconds one fsync of the log took.
pub const LOG_SYNC_SECONDS: &str = "tidewater_log_sync_seconds";
/// Bytes of memory in use, as the memory limit counts them.
pub const MEMORY_BYTES: &str = "tidewater_memory_bytes";
/// The limit on those bytes, above which no more events are taken; 0 if there is none.
pub const MEMORY_LIMIT_BYTES: &str = "tidewater_memory_limit_bytes";
/// Identifiers known.
pub const IDENTIFIERS: &str = "tidewater_identifiers";
/// Profiles.
pub const PROFILES: &str = "tidewater_profiles";
/// Merges of two clusters.
pub const MERGES: &str = "tidewater_merges";
/// Bytes of state, by `part`.
pub const STATE_BYTES: &str = "tidewater_state_bytes";
/// Members, by `segment`.
pub const SEGMENT_MEMBERS: &str = "tidewater_segment_members";
/// 1 once a source has failed and is read no more, by `source`: someone has to act.
pub const SOURCE_DOWN: &str = "tidewater_source_down";
/// Attempts of a sink that failed, by `sink`.
pub const SINK_FAILURES: &str = "tidewater_sink_failures_total";
/// Deltas a sink has acknowledged, by `sink`.
pub const SINK_DELTAS: &str = "tidewater_sink_deltas_total";
/// The last epoch a sink has acknowledged, by `sink`.
pub const SINK_EPOCH: &str = "tidewater_sink_acknowledged_epoch";
/// Bytes of deltas that wait for a sink in memory, by `sink`.
pub const SINK_QUEUE_BYTES: &str = "tidewater_sink_queue_bytes";
/// Bytes of deltas that wait for a sink on disk, by `sink`.
pub const SINK_SPILLED_BYTES: &str = "tidewater_sink_spilled_bytes";
/// Deltas that a sink's destination would not take and that became dead letters, by `sink`.
pub const SINK_LETTERS: &str = "tidewater_sink_dead_letters_total";
/// Dead letters that are kept for a sink, by `sink`.
pub const SINK_DEAD_LETTERS: &str = "tidewater_sink_dead_letters";
/// Dead letters that were to be delivered again and were dropped, since something newer had taken their place, by `sink`.
pub const SINK_SUPERSEDED: &str = "tidewater_sink_dead_letters_superseded_total";
/// 1 while a sink is parked or failed, by `sink`: someone has to act.
pub const SINK_DOWN: &str = "tidewater_sink_down";
/// Bytes of state files written for checkpoints.
pub const CHECKPOINT_BYTES: &str = "tidewater_checkpoint_bytes_total";
/// From the cut of a checkpoint's epoch until it counts, in seconds.
pub const CHECKPOINT_SECONDS: &str = "tidewater_checkpoint_seconds";
/// 1 while the last attempt at a checkpoint has failed.
pub const CHECKPOINT_FAILING: &str = "tidewater_checkpoint_failing";
/// The epoch of the last checkpoint, also of one that an earlier process made; 0 if there is none.
pub const CHECKPOINT_EPOCH: &str = "tidewater_checkpoint_epoch";
/// Times a subscriber fell behind and got a new snapshot.
pub const SUBSCRIBERS_LAGGED: &str = "tidewater_subscribers_lagged_total";

/// Tells the recorder of this process what the metrics mean. Call it once, after installing one.
pub fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};

    describe_counter!(EVENTS, Unit::Count, "events accepted into an epoch");
    describe_counter!(DUPLICATES, Unit::Count, "events dropped as duplicates");
    describe_counter!(QUARANTINED, Unit::Count, "events refused, by reason");
    describe_counter!(QUARANTINE_LOST, Unit::Count, "refused events that the full quarantine did not keep");
    describe_counter!(BAD_NUMBERS, Unit::Count, "values that read as null because they are no number");
    describe_counter!(LONG_IDENTIFIERS, Unit::Count, "identifier values too long to be used");
    describe_counter!(EPOCHS, Unit::Count, "epochs cut");
    describe_gauge!(EPOCH, Unit::Count, "the last epoch that was published");
    describe_histogram!(EPOCH_SECONDS, Unit::Seconds, "from cutting an epoch to publishing its deltas");
    describe_gauge!(EPOCH_LAG, Unit::Count, "epochs cut and not yet published");
    describe_counter!(DELTAS, Unit::Count, "membership deltas published");
    describe_gauge!(INGEST_QUEUE_BYTES, Unit::Bytes, "events waiting to be taken into an epoch");
    describe_gauge!(LOG_WAITING, Unit::Count, "1 while the log waits for room on the disk");
    describe_counter!(LOG_BYTES, Unit::Bytes, "bytes appended to the log");
    describe_histogram!(LOG_SYNC_SECONDS, Unit::Seconds, "one fsync of the log");
    describe_gauge!(MEMORY_BYTES, Unit::Bytes, "memory in use, as the memory limit counts it");
    describe_gauge!(
        MEMORY_LIMIT_BYTES,
        Unit::Bytes,
        "above which no more events are taken; 0 if there is none"
    );
    describe_gauge!(IDENTIFIERS, Unit::Count, "identifiers known");
    describe_gauge!(PROFILES, Unit::Count, "profiles");
    describe_gauge!(MERGES, Unit::Count, "merges of two clusters");
    describe_gauge!(STATE_BYTES, Unit::Bytes, "bytes of state, by part");
    describe_gauge!(SEGMENT_MEMBERS, Unit::Count, "members, by segment");
    describe_gauge!(SOURCE_DOWN, Unit::Count, "1 once a source has failed, by source");
    describe_counter!(SINK_FAILURES, Unit::Count, "failed attempts to deliver, by sink");
    describe_counter!(SINK_DELTAS, Unit::Count, "deltas acknowledged, by sink");
    describe_gauge!(SINK_EPOCH, Unit::Count, "last epoch acknowledged, by sink");
    describe_gauge!(SINK_QUEUE_BYTES, Unit::Bytes, "deltas that wait in memory, by sink");
    describe_gauge!(SINK_SPILLED_BYTES, Unit::Bytes, "deltas that wait on disk, by sink");
    describe_counter!(SINK_LETTERS, Unit::Count, "deltas that became dead letters, by sink");
    describe_gauge!(SINK_DEAD_LETTERS, Unit::Count, "dead letters that are kept, by sink");
    describe_counter!(SINK_SUPERSEDED, Unit::Count, "dead letters that something newer replaced, by sink");
    describe_gauge!(SINK_DOWN, Unit::Count, "1 while a sink is parked or failed, by sink");
    describe_counter!(CHECKPOINT_BYTES, Unit::Bytes, "bytes of state files written for checkpoints");
    describe_histogram!(CHECKPOINT_SECONDS, Unit::Seconds, "from a checkpoint's epoch until it counts");
    describe_gauge!(CHECKPOINT_FAILING, Unit::Count, "1 while the last attempt at a checkpoint has failed");
    describe_gauge!(CHECKPOINT_EPOCH, Unit::Count, "the epoch of the last checkpoint");
    describe_counter!(SUBSCRIBERS_LAGGED, Unit::Count, "times a subscriber fell behind");
}

/// A counter that can also be read.
#[derive(Debug)]
pub(crate) struct Tally {
    value: AtomicU64,
    counter: Counter,
}

impl Tally {
    fn new(counter: Counter) -> Self {
        Self { value: AtomicU64::new(0), counter }
    }

    pub(crate) fn add(&self, count: u64) {
        if count > 0 {
            self.value.fetch_add(count, Ordering::Relaxed);
            self.counter.increment(count);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// The metrics of one engine.
#[derive(Debug)]
pub(crate) struct Metrics {
    pipeline: String,
    pub(crate) events: Tally,
    pub(crate) duplicates: Tally,
    /// In the order of [`RejectReason::ALL`].
    quarantined: Vec<Tally>,
    pub(crate) quarantine_lost: Tally,
    pub(crate) bad_numbers: Tally,
    pub(crate) long_identifiers: Tally,
    pub(crate) epochs: Tally,
    pub(crate) deltas: Tally,
    pub(crate) log_bytes: Tally,
    pub(crate) subscribers_lagged: Tally,
    epoch_seconds: Histogram,
    log_sync_seconds: Histogram,
    pub(crate) epoch: Gauge,
    pub(crate) epoch_lag: Gauge,
    pub(crate) log_waiting: Gauge,
    pub(crate) ingest_queue_bytes: Gauge,
    pub(crate) memory_bytes: Gauge,
    pub(crate) memory_limit_bytes: Gauge,
    pub(crate) checkpoint_bytes: Tally,
    pub(crate) checkpoint_epoch: Gauge,
    pub(crate) checkpoint_failing: Gauge,
    checkpoint_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new(pipeline: &str) -> Self {
        let counter =
            |name: &'static str| Tally::new(metrics::counter!(name, "pipeline" => pipeline.to_owned()));
        let gauge = |name: &'static str| metrics::gauge!(name, "pipeline" => pipeline.to_owned());
        let histogram = |name: &'static str| metrics::histogram!(name, "pipeline" => pipeline.to_owned());
        let by_reason = |reason: RejectReason| {
            let labels = [("pipeline", pipeline.to_owned()), ("reason", reason.name().to_owned())];
            Tally::new(metrics::counter!(QUARANTINED, &labels))
        };
        Self {
            pipeline: pipeline.to_owned(),
            events: counter(EVENTS),
            duplicates: counter(DUPLICATES),
            quarantined: RejectReason::ALL.into_iter().map(by_reason).collect(),
            quarantine_lost: counter(QUARANTINE_LOST),
            bad_numbers: counter(BAD_NUMBERS),
            long_identifiers: counter(LONG_IDENTIFIERS),
            epochs: counter(EPOCHS),
            deltas: counter(DELTAS),
            log_bytes: counter(LOG_BYTES),
            subscribers_lagged: counter(SUBSCRIBERS_LAGGED),
            epoch_seconds: histogram(EPOCH_SECONDS),
            log_sync_seconds: histogram(LOG_SYNC_SECONDS),
            epoch: gauge(EPOCH),
            epoch_lag: gauge(EPOCH_LAG),
            log_waiting: gauge(LOG_WAITING),
            ingest_queue_bytes: gauge(INGEST_QUEUE_BYTES),
            memory_bytes: gauge(MEMORY_BYTES),
            memory_limit_bytes: gauge(MEMORY_LIMIT_BYTES),
            checkpoint_bytes: counter(CHECKPOINT_BYTES),
            checkpoint_epoch: gauge(CHECKPOINT_EPOCH),
            checkpoint_failing: gauge(CHECKPOINT_FAILING),
            checkpoint_seconds: histogram(CHECKPOINT_SECONDS),
        }
    }

    pub(crate) fn quarantined(&self, reason: RejectReason) {
        if let Some(place) = RejectReason::ALL.iter().position(|known| *known == reason) {
            self.quarantined[place].add(1);
        }
    }

    pub(crate) fn quarantined_by_reason(&self) -> Vec<(RejectReason, u64)> {
        RejectReason::ALL.into_iter().zip(self.quarantined.iter().map(Tally::get)).collect()
    }

    pub(crate) fn epoch_published(&self, took: Duration) {
        self.epoch_seconds.record(took);
    }

    pub(crate) fn checkpoint_made(&self, took: Duration) {
        self.checkpoint_seconds.record(took);
    }

    pub(crate) fn log_synced(&self, took: Duration) {
        self.log_sync_seconds.record(took);
    }

    /// Sets the gauges that describe the state.
    pub(crate) fn state(&self, stats: &WorkerStats, segments: &[String]) {
        let pipeline = || self.pipeline.clone();
        metrics::gauge!(IDENTIFIERS, "pipeline" => pipeline()).set(stats.identifiers as f64);
        metrics::gauge!(PROFILES, "pipeline" => pipeline()).set(stats.profiles as f64);
        metrics::gauge!(MERGES, "pipeline" => pipeline()).set(stats.merges as f64);
        for (part, bytes) in &stats.bytes {
            metrics::gauge!(STATE_BYTES, "pipeline" => pipeline(), "part" => *part).set(*bytes as f64);
        }
        for (segment, members) in segments.iter().zip(&stats.members) {
            let labels = [("pipeline", pipeline()), ("segment", segment.clone())];
            metrics::gauge!(SEGMENT_MEMBERS, &labels).set(*members as f64);
        }
    }

    /// Says whether a source has failed.
    pub(crate) fn source_down(&self, source: &str) -> Gauge {
        let labels = [("pipeline", self.pipeline.clone()), ("source", source.to_owned())];
        metrics::gauge!(SOURCE_DOWN, &labels)
    }

    pub(crate) fn sink(&self, sink: &str) -> SinkMetrics {
        let labels = [("pipeline", self.pipeline.clone()), ("sink", sink.to_owned())];
        SinkMetrics {
            failures: Tally::new(metrics::counter!(SINK_FAILURES, &labels)),
            deltas: Tally::new(metrics::counter!(SINK_DELTAS, &labels)),
            epoch: metrics::gauge!(SINK_EPOCH, &labels),
            queue_bytes: metrics::gauge!(SINK_QUEUE_BYTES, &labels),
            spilled_bytes: metrics::gauge!(SINK_SPILLED_BYTES, &labels),
            letters: Tally::new(metrics::counter!(SINK_LETTERS, &labels)),
            dead_letters: metrics::gauge!(SINK_DEAD_LETTERS, &labels),
            superseded: Tally::new(metrics::counter!(SINK_SUPERSEDED, &labels)),
            down: metrics::gauge!(SINK_DOWN, &labels),
        }
    }
}

/// The metrics of one sink.
#[derive(Debug)]
pub(crate) struct SinkMetrics {
    pub(crate) failures: Tally,
    pub(crate) deltas: Tally,
    pub(crate) epoch: Gauge,
    pub(crate) queue_bytes: Gauge,
    pub(crate) spilled_bytes: Gauge,
    pub(crate) letters: Tally,
    pub(crate) dead_letters: Gauge,
    pub(crate) superseded: Tally,
    pub(crate) down: Gauge,
}
