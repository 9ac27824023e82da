//! The replay at start: the log through the same dataflow, with the recorded cuts and times.

use tidewater_operators::ingest::PaddedEvent;
use tidewater_storage::EpochEntry;

use super::{Sequencer, message::Message};
use crate::{
    error::Error, logger::note_positions, sequencer::send, status::ReplayProgress, worker::ToWorker,
};

impl Sequencer {
    /// Replays the log, and waits until all of it has been computed. False if the engine is to stop before: what the
    /// workers hold is of no use then.
    pub(super) fn replay_log(&mut self) -> Result<bool, Error> {
        if let Some(mut reader) = self.replay.take() {
            let mut entry = EpochEntry::default();
            while reader.read(&mut entry)? {
                if self.lifecycle.is_stopping() {
                    return Ok(false);
                }
                self.replay_epoch(&entry)?;
            }
        }
        while self.in_flight() > 0 {
            if self.lifecycle.is_stopping() {
                return Ok(false);
            }
            match self.receiver.recv() {
                Ok(message) => self.while_replaying(message),
                Err(_) => return Ok(false),
            }
        }
        self.decoded = self.assembler.decode_stats();
        self.replay_progress.send_modify(|progress| progress.done = true);
        Ok(true)
    }

    fn replay_epoch(&mut self, entry: &EpochEntry) -> Result<(), Error> {
        let sealed_at = std::time::Instant::now();
        let events = (0..entry.events.len()).filter_map(|index| {
            let (buffer, len) = entry.events.padded(index)?;
            PaddedEvent::new(buffer, len)
        });
        let inputs = self.assembler.replay(&entry.header, events);
        note_positions(&self.positions, &entry.header);
        self.progress.sealed(entry.header.epoch);
        self.progress.durable(entry.header.epoch);
        for (worker, input) in self.workers.iter().zip(inputs) {
            send(worker, ToWorker::Feed { input, sealed_at })?;
        }
        self.replay_progress.send_modify(|ReplayProgress { epochs, events, bytes, .. }| {
            *epochs += 1;
            *events += entry.events.len() as u64;
            *bytes += entry.events.bytes().len() as u64;
        });
        while let Ok(message) = self.receiver.try_recv() {
            self.while_replaying(message);
        }
        Ok(())
    }

    /// Buffers come back while the replay goes on; everything else waits for its end.
    fn while_replaying(&mut self, message: Message) {
        match message {
            Message::Computed(computed) => self.note_computed(computed),
            Message::Wake => {}
            message => self.flow.postponed.push_back(message),
        }
    }
}
