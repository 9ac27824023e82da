//! Settings are plain data: they can be printed, compared and read from a file. Components go to the builder.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How the engine runs; nothing in it changes a result. Times are in milliseconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The most events in one epoch. Larger epochs are hardly faster, and their deltas come later.
    pub max_epoch_events: usize,
    /// The most bytes of events in one epoch: it is one entry of the log, held in memory as a whole.
    pub max_epoch_bytes: usize,
    /// Epochs that wait in front of the dataflow. Two keep the workers busy; more only make deltas older.
    pub queued_epochs: usize,
    /// Epochs that wait to be written to the log. While one fsync runs the next ones gather here and share one.
    pub log_queue_epochs: usize,
    /// Bytes of memory for events that wait to be taken into an epoch. Half of them are kept for `try_ingest` and sources that are
    /// pushed to, such as HTTP; when the other half is used up, `ingest` and sources that pull, such as files, wait. One batch that
    /// is larger than its part takes all of the part.
    pub ingest_queue_bytes: usize,
    /// The largest event; larger ones go to quarantine.
    pub max_event_bytes: usize,
    /// Above this many bytes of memory in use the engine takes no new events: `try_ingest` says full, sources
    /// wait. `None`: no limit.
    pub memory_limit_bytes: Option<u64>,
    /// How often memory is measured and gauges are set. It costs a walk over counters, not over state.
    pub sample_every_ms: u64,
    /// What a caller is told to wait when the engine is full: about the time to work off the ingest queue.
    pub full_retry_after_ms: u64,
    /// A checkpoint is made this long after the one before was begun, with the next epoch: a restart then replays hardly
    /// more than this.
    pub checkpoint_every_ms: u64,
    /// A checkpoint is made earlier when so many bytes of events have been logged: about a second of replay.
    pub checkpoint_log_bytes: u64,
    /// A file of the log of at least so many bytes is full: it is compressed, and only full ones are ever retired.
    pub log_file_bytes: u64,
    /// Full log files whose newest event was accepted longer ago are retired, as far as nothing needs them. `None`: kept.
    pub log_keep_ms: Option<u64>,
    /// The oldest full log files are retired while the log has more bytes on disk, as far as nothing needs them. `None`:
    /// no limit.
    pub log_keep_bytes: Option<u64>,
    /// How delivery to a sink is retried.
    pub retry: RetrySettings,
    /// Bytes of deltas kept in memory for each sink that lags; what goes beyond is spilled to the state directory.
    pub sink_memory_bytes: usize,
    /// Bytes of deltas spilled for each sink. A sink that lags further has failed until the engine is restarted,
    /// when what is not on disk is made again from the log, whose checkpoints wait for it.
    pub sink_spill_bytes: u64,
    /// A delivery that went on failing this long, while its destination takes others, becomes dead letters. Three days, as
    /// webhook services usually try: long enough for a weekend's outage. One that is *refused* is not tried for long.
    pub sink_give_up_after_ms: u64,
    /// Bytes of dead letters on disk for each sink: about a million. When they are full the sink waits; nothing is dropped.
    pub dead_letter_bytes: u64,
    /// Bytes of dead letters for each sink without a state directory; the oldest make room.
    pub dead_letter_memory_bytes: usize,
    /// How long `flush` waits for sinks that neither take what they are given nor fail.
    pub flush_deadline_ms: u64,
    /// Deltas that wait for a subscriber. One that falls further behind is told so and gets a new snapshot.
    pub subscriber_deltas: usize,
    /// Bytes of published batches that wait for a subscriber: a batch has the deltas of all segments, and stays in memory for a
    /// single one. As much as for a sink. Who falls further behind is told so, too.
    pub subscriber_bytes: usize,
    /// Bytes of refused events on disk: about a million. When they are used up the stream goes on: further ones are counted
    /// and not kept, until some are redriven or dropped. What is there stays, since the oldest show what began.
    pub quarantine_bytes: u64,
    /// Refused events that are kept without a state directory; the oldest go first.
    pub quarantine_ring: usize,
}

/// Exponential backoff with full jitter: before attempt n + 1 a random time up to `first_ms * 2^n`, at most
/// `longest_ms`. Full jitter, because many senders that failed together would otherwise come back together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// The upper end of the first wait.
    pub first_ms: u64,
    /// The upper end of every wait.
    pub longest_ms: u64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { first_ms: 250, longest_ms: 60_000 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_epoch_events: 10_000,
            max_epoch_bytes: 16 << 20,
            queued_epochs: 4,
            log_queue_epochs: 16,
            ingest_queue_bytes: 32 << 20,
            max_event_bytes: 1 << 20,
            memory_limit_bytes: None,
            sample_every_ms: 1_000,
            full_retry_after_ms: 1_000,
            checkpoint_every_ms: 60_000,
            checkpoint_log_bytes: 256 << 20,
            log_file_bytes: 256 << 20,
            log_keep_ms: None,
            log_keep_bytes: None,
            retry: RetrySettings::default(),
            sink_memory_bytes: 16 << 20,
            sink_spill_bytes: 8 << 30,
            sink_give_up_after_ms: 3 * 24 * 3_600 * 1_000,
            dead_letter_bytes: 256 << 20,
            dead_letter_memory_bytes: 4 << 20,
            flush_deadline_ms: 30_000,
            subscriber_deltas: 65_536,
            subscriber_bytes: 16 << 20,
            quarantine_bytes: 1 << 30,
            quarantine_ring: 10_000,
        }
    }
}

impl Settings {
    /// Whether the engine can run with these.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let positive = [
            ("max_epoch_events", self.max_epoch_events),
            ("max_epoch_bytes", self.max_epoch_bytes),
            ("queued_epochs", self.queued_epochs),
            ("log_queue_epochs", self.log_queue_epochs),
            ("ingest_queue_bytes", self.ingest_queue_bytes),
            ("max_event_bytes", self.max_event_bytes),
            ("sink_memory_bytes", self.sink_memory_bytes),
            ("subscriber_deltas", self.subscriber_deltas),
            ("subscriber_bytes", self.subscriber_bytes),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Error::config(format!("`{name}` must be at least 1")));
        }
        let positive = [
            ("sample_every_ms", self.sample_every_ms),
            ("checkpoint_every_ms", self.checkpoint_every_ms),
            ("checkpoint_log_bytes", self.checkpoint_log_bytes),
            ("log_file_bytes", self.log_file_bytes),
            ("quarantine_bytes", self.quarantine_bytes),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Error::config(format!("`{name}` must be at least 1")));
        }
        // One event more than the bytes of an epoch may be in it, and the log's entries have a limit of their own.
        let largest = self.max_epoch_bytes.saturating_add(self.max_event_bytes);
        if largest > tidewater_storage::MAX_PAYLOAD / 2 {
            let limit = tidewater_storage::MAX_PAYLOAD / 2;
            let reason = format!("`max_epoch_bytes` and `max_event_bytes` together exceed {limit} bytes");
            return Err(Error::config(reason));
        }
        Ok(())
    }
}
