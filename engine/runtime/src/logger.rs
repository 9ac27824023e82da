//! The log thread: nothing is acknowledged before it is on disk, and one fsync serves all epochs that wait for it.

pub(crate) mod refused;
pub(crate) mod trouble;

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tidewater_connector_api::{Accepted, Position, RawEvents, ReceiptSender, SendError};
use tidewater_model::{RejectReason, Timestamp};
use tidewater_storage::{EpochHeader, Extent, LogWriter, NewRecord};
use tokio::sync::oneshot;

use self::{
    refused::{Refused, Removal},
    trouble::Trouble,
};
use crate::{
    error::Error,
    lifecycle::Lifecycle,
    metrics::Metrics,
    progress::Progress,
    publisher::ToPublisher,
    retention::seal::SealSender,
    sequencer::intake::Intake,
    threads::{Receiver, Sender},
};

/// One fsync is not made to wait for more than this many bytes.
const GROUP_BYTES: u64 = 32 << 20;

/// A message to the log thread.
pub(crate) enum ToLog {
    /// Something to make durable.
    Entry(LogEntry),
    /// Take these events out of quarantine; answers how many they were.
    Remove(Removal, oneshot::Sender<Result<u64, Error>>),
    /// Say how much is durable.
    Extent(oneshot::Sender<Result<Extent, Error>>),
}

/// What one pass of the sequencer leaves to be made durable.
#[derive(Default)]
pub(crate) struct LogEntry {
    /// `None`: no epoch was cut, since nothing was accepted and no source has moved.
    pub(crate) header: Option<EpochHeader>,
    /// The batches that the accepted and refused events lie in.
    pub(crate) batches: Vec<TakenBatch>,
    pub(crate) rejects: Vec<Reject>,
    /// To be resolved once it is durable.
    pub(crate) receipts: Vec<(ReceiptSender, Accepted)>,
    /// The wall clock at which refused events came in.
    pub(crate) received_at: Timestamp,
}

/// A batch and which of its events were accepted.
pub(crate) struct TakenBatch {
    /// Shared by the epochs it is spread over, if it is larger than one.
    pub(crate) events: Arc<RawEvents>,
    pub(crate) accepted: Vec<Range<u32>>,
    pub(crate) source: Option<Arc<str>>,
    /// They come from the quarantine.
    pub(crate) is_again: bool,
}

/// A refused event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reject {
    /// Which of the entry's batches it lies in.
    pub(crate) batch: usize,
    pub(crate) index: usize,
    pub(crate) reason: RejectReason,
}

impl LogEntry {
    /// The accepted events in order.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &[u8]> {
        self.batches.iter().flat_map(|batch| {
            batch.accepted.iter().flat_map(|run| run.clone().map(|index| batch.events.get(index as usize)))
        })
    }

    /// A refused event as it is stored.
    pub(crate) fn record(&self, reject: &Reject) -> NewRecord<'_> {
        let batch = &self.batches[reject.batch];
        let bytes = batch.events.get(reject.index);
        NewRecord {
            reason: reject.reason.name(),
            source: batch.source.as_deref().unwrap_or(""),
            received_at: self.received_at,
            bytes,
            original_len: batch.events.oversized(reject.index).unwrap_or(bytes.len() as u64),
        }
    }

    /// How many bytes its events have, accepted and refused.
    fn event_bytes(&self) -> u64 {
        let refused = self.rejects.iter().map(|reject| self.batches[reject.batch].events.get(reject.index));
        self.accepted().chain(refused).map(|event| event.len() as u64).sum()
    }

    /// Resolves the receipts and gives the buffers back.
    pub(crate) fn done(self, intake: &Intake) {
        for (receipt, accepted) in self.receipts {
            receipt.resolve(Ok(accepted));
        }
        for batch in self.batches {
            if let Some(events) = Arc::into_inner(batch.events) {
                intake.recycle(events);
            }
        }
    }

    /// Resolves the receipts.
    #[cfg(feature = "planted-bugs")]
    fn answer(&mut self) {
        self.receipts.drain(..).for_each(|(receipt, accepted)| receipt.resolve(Ok(accepted)));
    }

    /// Fails the receipts.
    pub(crate) fn failed(self, reason: &str) {
        for (receipt, _) in self.receipts {
            receipt.resolve(Err(SendError::Failed { reason: reason.to_owned() }));
        }
    }
}

/// Where each source resumes, as far as it is durable.
pub(crate) type Positions = Arc<Mutex<HashMap<String, Position>>>;

/// Notes the positions of an entry that is durable now.
pub(crate) fn note_positions(positions: &Positions, header: &EpochHeader) {
    if !header.positions.is_empty() {
        let mut known = positions.lock().unwrap_or_else(PoisonError::into_inner);
        for (source, position) in &header.positions {
            known.insert(source.clone(), Position(position.clone()));
        }
    }
}

/// The log thread's state.
pub(crate) struct Logger {
    pub(crate) receiver: Receiver<ToLog>,
    pub(crate) publisher: Sender<ToPublisher>,
    pub(crate) log: LogWriter,
    pub(crate) refused: Refused,
    pub(crate) positions: Positions,
    pub(crate) intake: Arc<Intake>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) sealer: SealSender,
}

impl Logger {
    /// Works until the sequencer has gone and everything is durable.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let mut group: Vec<LogEntry> = Vec::new();
        while let Ok(message) = self.receiver.recv() {
            let file = self.log.file_starts();
            let outcome = self.group(message, &mut group);
            if let Err(error) = outcome {
                let reason = error.to_string();
                group.into_iter().for_each(|entry| entry.failed(&reason));
                return Err(error);
            }
            self.acknowledge(&mut group);
            if self.log.file_starts() != file {
                self.sealer.tell();
            }
        }
        Ok(())
    }

    /// Appends this message and all that wait behind it, then syncs once.
    ///
    /// From the first refused event on, epochs are appended once the quarantine is synced: a source's position in one of them may lie
    /// behind that event, and of two files that are not synced a power cut may keep either.
    fn group(&mut self, first: ToLog, group: &mut Vec<LogEntry>) -> Result<(), Error> {
        let mut next = Some(first);
        let (mut bytes, mut grown, mut refused, mut appended) = (0, 0, false, 0);
        let (mut removals, mut extents) = (Vec::new(), Vec::new());
        while let Some(message) = next {
            match message {
                ToLog::Entry(entry) => {
                    // In the group before it is written: a failure must reach its receipts too.
                    group.push(entry);
                    let entry = &group[group.len() - 1];
                    self.keep_refused(entry)?;
                    refused |= !entry.rejects.is_empty();
                    let waits = refused;
                    #[cfg(feature = "planted-bugs")]
                    let waits = waits && {
                        use tidewater_storage::planted::{Bug, active};
                        !active(Bug::LogAheadOfQuarantine)
                    };
                    if waits {
                        bytes += entry.event_bytes();
                    } else {
                        let written = self.append(entry)?;
                        (bytes, grown, appended) = (bytes + written, grown + written, group.len());
                    }
                }
                ToLog::Remove(removal, done) => removals.push((removal, done)),
                ToLog::Extent(done) => extents.push(done),
            }
            next = if bytes < GROUP_BYTES { self.receiver.try_recv().ok() } else { None };
        }
        #[cfg(feature = "planted-bugs")]
        {
            use tidewater_storage::planted::{Bug, active};
            refused &= !active(Bug::QuarantineNotSynced);
            if active(Bug::AcknowledgedBeforeSync) {
                group.iter_mut().for_each(LogEntry::answer);
            }
        }
        if refused {
            self.refused.sync()?;
        }
        for entry in &group[appended..] {
            grown += self.append(entry)?;
        }
        if grown > 0 {
            let started = Instant::now();
            self.log.sync()?;
            self.metrics.log_synced(started.elapsed());
            self.metrics.log_bytes.add(grown);
        }
        for (removal, done) in removals {
            // Whoever asked may have gone.
            let _ = done.send(self.refused.remove(&removal));
        }
        for done in extents {
            let _ = done.send(Extent::of(&self.log, self.refused.quarantine()).map_err(Error::from));
        }
        Ok(())
    }

    /// Puts an entry's refused events into quarantine, waiting for room on the disk.
    fn keep_refused(&mut self, entry: &LogEntry) -> Result<(), Error> {
        let Self { refused, trouble, lifecycle, .. } = self;
        entry.rejects.iter().try_for_each(|reject| {
            let is_again = entry.batches[reject.batch].is_again;
            trouble.with_room(lifecycle, || refused.keep(&entry.record(reject), is_again))
        })
    }

    /// Appends an entry's epoch, waiting for room on the disk; returns the bytes the log has grown.
    fn append(&mut self, entry: &LogEntry) -> Result<u64, Error> {
        let Self { log, trouble, lifecycle, .. } = self;
        match &entry.header {
            None => Ok(0),
            Some(header) => trouble.with_room(lifecycle, || log.append_events(header, entry.accepted())),
        }
    }

    /// Tells everyone that the group is durable.
    fn acknowledge(&self, group: &mut Vec<LogEntry>) {
        let epoch = self.log.durable_epoch();
        // Before anyone is told: a source that runs again once its events are published resumes behind them.
        for header in group.iter().filter_map(|entry| entry.header.as_ref()) {
            note_positions(&self.positions, header);
        }
        self.progress.durable(epoch);
        // Deltas first: who waits for a receipt often waits for what follows from it. Without a publisher the engine
        // has failed, and the receipts tell it.
        let _ = self.publisher.send(ToPublisher::Durable(epoch));
        group.drain(..).for_each(|entry| entry.done(&self.intake));
    }
}

#[cfg(test)]
mod tests;
