//! Cuts an epoch, and sends it to the workers and to the log.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{LogEnd, Sequencer, send, take::Pass};
use crate::{
    error::Error,
    logger::{LogEntry, ToLog, note_positions},
    worker::ToWorker,
};

/// How often memory is measured at most.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

impl Sequencer {
    /// Cuts an epoch and sends it on; waits while log or dataflow are behind.
    pub(super) fn cut(&mut self, pass: Pass) -> Result<(), Error> {
        let sealed_at = Instant::now();
        let mut cut = self.assembler.cut(self.clock.now());
        let epoch = cut.header.epoch;
        cut.header.positions = pass.positions;
        self.progress.sealed(epoch);
        self.metrics.epochs.add(1);
        self.measure(sealed_at);
        for (worker, input) in self.workers.iter().zip(cut.inputs) {
            send(worker, ToWorker::Feed { input, sealed_at })?;
        }
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.logged(&cut.header, pass.bytes as u64);
        }
        self.log(LogEntry { header: Some(cut.header), ..pass.entry }, epoch)?;
        self.serve_checkpoints()
    }

    /// Measures memory, now and then: it takes longer than a small epoch.
    pub(super) fn measure(&mut self, now: Instant) {
        if self.flow.measured_at.is_none_or(|at| now.duration_since(at) >= MEASURE_EVERY) {
            self.flow.measured_at = Some(now);
            let (dedup, aliases) = self.assembler.bytes();
            self.acceptance.dedup.store(dedup, Ordering::Relaxed);
            self.acceptance.aliases.store(aliases, Ordering::Relaxed);
        }
    }

    /// Makes what a pass has taken in durable.
    pub(super) fn log(&self, mut entry: LogEntry, epoch: u64) -> Result<(), Error> {
        for (_, accepted) in &mut entry.receipts {
            accepted.epoch = epoch;
        }
        match &self.log {
            LogEnd::Thread(log) => send(log, ToLog::Entry(entry)),
            LogEnd::Memory(ring) => {
                for reject in &entry.rejects {
                    ring.add(&entry.record(reject));
                }
                if let Some(header) = &entry.header {
                    note_positions(&self.positions, header);
                }
                self.progress.durable(epoch);
                entry.done(&self.intake);
                Ok(())
            }
        }
    }
}
